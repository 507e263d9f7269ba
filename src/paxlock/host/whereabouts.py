"""How the members of a cell are found and trusted: their addresses, and the key that they share.

An address counts only while the configuration names it, or the resolver finds it under the name that the
configuration has: a datagram alone, whoever has sealed it, moves no node (protocol.md section 1). But it is a
reason to look the name up at once, and so is silence. How a look-up is waited for is the matter of each face.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

from paxlock.config.cell import Cell
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.keyring import Keyring
from paxlock.wire.transport import Address, is_literal

__all__ = ["OTHERS_PATIENCE_S", "Whereabouts", "has_names", "keyring_of"]

LOOK_UP_EVERY_S = 10.0  #: while there is no reason to
LOOK_UP_AGAIN_S = 1.0  #: and never more often than this
OTHERS_PATIENCE_S = 0.1  #: once the first is known, so long is waited for the rest


def has_names(addresses: Iterable[str]) -> bool:
    """Whether one of them is a host name, which may have any address tomorrow."""
    return not all(map(is_literal, addresses))


class Whereabouts:
    """Where the members of a cell are, as far as it is known: keeps an endpoint informed.

    ``moved`` is called with all that is known whenever it has changed, ``wake`` with the id of a node whose
    name may be due for a look-up earlier than was thought.
    """

    def __init__(
        self,
        cell: Cell,
        endpoint: Endpoint,
        found: Mapping[str, Sequence[Address]],
        *,
        moved: Callable[[Mapping[str, Sequence[Address]]], None] | None = None,
    ) -> None:
        self.found = dict(found)
        self.named = {m.node_id: m.address for m in cell.members if not is_literal(m.address)}
        self.wake: Callable[[str], None] = lambda node_id: None
        self._cell = cell
        self._endpoint = endpoint
        self._moved = moved
        self._silent: set[str] = set()
        self._elsewhere: set[str] = set()
        self._began: dict[str, float] = dict.fromkeys((n for n in self.named if not self.found.get(n)), -inf)
        self._pauses: dict[str, float] = {}
        endpoint.look_up = self.look_up
        self._tell()

    def look_up(self, node_id: str, elsewhere: bool) -> None:
        """A node was heard from ``elsewhere``, or has not been heard at all for a while."""
        reasons = self._elsewhere if elsewhere else self._silent
        if node_id in self.named and node_id not in reasons:
            reasons.add(node_id)
            self.wake(node_id)

    def due(self, node_id: str, now: float) -> float:
        """When to look a name up again: from time to time, and when there is a reason to. ``now`` is when
        that is asked, on whatever clock the face sleeps by.
        """
        began = self._began.setdefault(node_id, now)
        if node_id in self._elsewhere or not self.found.get(node_id):
            return began + LOOK_UP_AGAIN_S
        # A node that is silent because it is down is looked up ever more rarely.
        pause = self._pauses.get(node_id, LOOK_UP_AGAIN_S)
        return began + (pause if node_id in self._silent else LOOK_UP_EVERY_S)

    def begin(self, node_id: str, now: float) -> None:
        """A look-up begins."""
        self._began[node_id] = now
        self._silent.discard(node_id)
        self._elsewhere.discard(node_id)

    def end(self, node_id: str, found: Sequence[Address] | None) -> None:
        """A look-up has ended. Where the resolver is out of order (None), what is known stays."""
        known = self.found.get(node_id, [])
        self._pauses[node_id] = min(2.0 * self._pauses.get(node_id, LOOK_UP_AGAIN_S), LOOK_UP_EVERY_S)
        if found is not None and list(found) != list(known):
            self._pauses[node_id] = LOOK_UP_AGAIN_S
            self.found[node_id] = found
            self._tell()

    def _tell(self) -> None:
        self._endpoint.configure(self._cell.cell_id, self._cell.epoch, self.found)
        if self._moved is not None:
            self._moved(self.found)


def keyring_of(keys: Sequence[tuple[int, bytes]], grant: bytes = b"") -> Keyring:
    """The keyring of a configuration, or of a client with a grant; without keys, the unsealed one."""
    return Keyring(dict(keys), grant=grant) if keys else Keyring.unsealed()
