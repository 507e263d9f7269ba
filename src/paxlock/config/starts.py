"""How a node is told to start (contract.md section 1; protocol.md section 7)."""

from __future__ import annotations

from paxlock.config.durations import abbreviate
from paxlock.core.durable import StartWord
from paxlock.errors import ConfigError

__all__ = ["StartWord", "start_word"]


def start_word(start: StartWord | str, *, create: bool = False, join: bool = False) -> StartWord:
    """The one word that was meant: ``"auto"``, ``"create"`` or ``"join"``, or one of the two for short.

    Raises ConfigError for another word, and for two of them.
    """
    try:
        word = StartWord(start)
    except ValueError:
        raise ConfigError(f'start must be "auto", "create" or "join", not {abbreviate(start)}') from None
    told = {word} - {StartWord.AUTO}
    if create:
        told.add(StartWord.CREATE)
    if join:
        told.add(StartWord.JOIN)
    if len(told) > 1:
        raise ConfigError(
            'say "create" for a new cell or "join" after a lost disk, not both; "auto" finds out by itself'
        )
    return told.pop() if told else StartWord.AUTO
