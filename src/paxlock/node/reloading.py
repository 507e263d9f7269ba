"""Other keys for a node that runs, and which keys of clients it takes: read anew at SIGHUP and by ``reload``.

Nothing else of the configuration may change under a running node: what a quorum is, and for how long a lease
may last, were promised to others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from paxlock.config.cell import Cell, NodeConfig
from paxlock.core.rights import Revoked
from paxlock.errors import ConfigError
from paxlock.host.whereabouts import keyring_of
from paxlock.observe.noticing import Level, LogLine
from paxlock.wire.rekeying import rekey

if TYPE_CHECKING:
    from os import PathLike

    from paxlock.config.sources import Source
    from paxlock.node.server import Service

__all__ = ["cell_again", "reload_node", "say_failed"]

_AT_A_RESTART = ("members", "max_ttl", "sit_out", "drift", "grace")


def cell_again(config: NodeConfig, cell: Cell | str | PathLike[str] | None = None) -> Cell:
    """The cell of this node as its files say it now; or this cell, or that of this cell file, in its place.
    Raises ConfigError where it cannot be read, or is none that this node can go on with.
    """
    mine = config.cell
    assert isinstance(mine, Cell)
    if cell is not None and not isinstance(cell, Cell):
        cell = Cell.load(cell)
    found = _read_again(mine.source) if cell is None else cell
    _check_fits(mine, found)
    return found


def _read_again(source: Source | None) -> Cell:
    if source is None or source.cell_file is None:
        raise ConfigError("this cell was not read from a file: give the cell with its other keys")
    if not source.key_given:
        return Cell.load(source.cell_file)
    return Cell.load(source.cell_file, key_file=source.key_file, key=source.key)


def _check_fits(mine: Cell, found: Cell) -> None:
    """Raise ConfigError where a node that runs with ``mine`` cannot go on with the keys of ``found``."""
    if (found.cell_id, found.epoch, found.node_ids) != (mine.cell_id, mine.epoch, mine.node_ids):
        raise ConfigError("this is the file of another cell, or of other nodes: for that a node is restarted")
    if found.grant:
        raise ConfigError("a node needs the cell's own key, not the key of a client")
    if found.unsealed is not mine.unsealed:
        raise ConfigError("a cell cannot become sealed, or unsealed, while it runs: stop all nodes for that")


def reload_node(service: Service, found: Cell) -> Cell:
    """Take the keys, the generation and the denied ids of this cell, which `cell_again` gave, and say so.
    Gives the cell that the node has now.
    """
    mine = service.config.cell
    assert isinstance(mine, Cell)
    taken = attrs.evolve(mine, keys=found.keys, generation=found.generation, denied=found.denied)
    with service.driver.lock:
        rekey(service.endpoint, keyring_of(taken.keys))
        service.replica.revoked = Revoked(taken.generation, frozenset(taken.denied))
    service.config = attrs.evolve(service.config, cell=taken)
    service.eyes.say(_sentence(service.config.node_id, taken))
    other = [name for name in _AT_A_RESTART if getattr(found, name) != getattr(mine, name)]
    if other:
        sentence = (
            f"node {service.config.node_id} has read its keys anew, and nothing else: what has changed in "
            f"{', '.join(other)} counts after a restart"
        )
        service.eyes.say(LogLine(Level.WARNING, "needs_restart", sentence, {"changed": other}))
    return taken


def _sentence(node_id: str, cell: Cell) -> LogLine:
    numbers = [number for number, _ in cell.keys]
    seals = f"seals by key {numbers[0]}, opens by {', '.join(map(str, numbers))}" if numbers else "has no key"
    denied = ", ".join(cell.denied) or "none"
    return LogLine(
        Level.INFO,
        "reloaded",
        f"node {node_id} has read its keys anew: it {seals}; generation {cell.generation}, denied {denied}",
        {"keys": numbers, "generation": cell.generation, "denied": list(cell.denied)},
    )


def say_failed(service: Service, error: ConfigError) -> None:
    """What was read cannot be used."""
    sentence = f"node {service.config.node_id} goes on with the keys that it has: {error}"
    service.eyes.say(LogLine(Level.ERROR, "reload_failed", sentence, {}))
