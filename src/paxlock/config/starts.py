"""How a node is told to start (contract.md section 1; protocol.md section 7)."""

from __future__ import annotations

from paxlock.config.cell import NodeConfig
from paxlock.config.durations import abbreviate
from paxlock.core.durable import StartWord
from paxlock.errors import ConfigError

__all__ = ["StartWord", "check_node_config", "start_word"]


def check_node_config(config: object) -> None:
    """Raise TypeError for what is no NodeConfig, such as the path that ``open_client`` takes."""
    if not isinstance(config, NodeConfig):
        raise TypeError(f"a node needs a NodeConfig(cell, node_id, data_dir), not {abbreviate(config)}")


def start_word(
    start: StartWord | str, *, create: bool = False, join: bool = False, by_clock: bool = False
) -> StartWord:
    """The one word that was meant: ``"auto"``, ``"create"``, ``"join"`` or ``"by-clock"``, or a short one.

    Raises ConfigError for another word, and for two of them.
    """
    try:
        word = StartWord(start)
    except ValueError:
        words = ", ".join(f'"{word.value}"' for word in StartWord)
        raise ConfigError(f"start must be one of {words}, not {abbreviate(start)}") from None
    told = {word} - {StartWord.AUTO}
    if create:
        told.add(StartWord.CREATE)
    if join:
        told.add(StartWord.JOIN)
    if by_clock:
        told.add(StartWord.BY_CLOCK)
    if len(told) > 1:
        raise ConfigError(
            'say "create" for a new cell, "join" after a lost disk or "by-clock" where members are gone for '
            'good, not two of these; "auto" finds out by itself'
        )
    return told.pop() if told else StartWord.AUTO
