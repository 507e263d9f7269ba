"""How the members of a cell are found and trusted: their addresses, and the key that they share.

An address counts only while the configuration names it, or the resolver finds it under the name that the
configuration has: a datagram alone, whoever has sealed it, moves no node (protocol.md section 1). But it is a
reason to look the name up at once, and so is silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf

import trio

from paxlock.config.cell import Cell
from paxlock.core.messages import Member
from paxlock.errors import ConfigError
from paxlock.runtime.udp import resolve
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.keyring import Keyring
from paxlock.wire.transport import Address, is_literal

__all__ = ["Whereabouts", "has_names", "keyring_of", "resolve_addresses", "resolve_members"]

LOOK_UP_EVERY_S = 10.0  #: while there is no reason to
LOOK_UP_AGAIN_S = 1.0  #: and never more often than this
OTHERS_PATIENCE_S = 0.1  #: once the first is known, so long is waited for the rest


async def resolve_members(members: Sequence[Member]) -> dict[str, list[Address]]:
    """The addresses of the nodes, host names resolved side by side; none for those that cannot be resolved at
    the moment, or take longer than the others. Raises ConfigError where not one can be.
    """
    return await _resolve_all({member.node_id: member.address for member in members})


async def resolve_addresses(addresses: Iterable[str]) -> list[Address]:
    """The same for addresses of which nothing else is known."""
    found = await _resolve_all({address: address for address in addresses})
    return [address for several in found.values() for address in several]


async def _resolve_all(wanted: Mapping[str, str]) -> dict[str, list[Address]]:
    found: dict[str, list[Address]] = {}
    troubles: list[ConfigError] = []

    async def look_up(key: str, address: str) -> None:
        try:
            found[key] = await resolve(address)
        except ConfigError as trouble:
            troubles.append(trouble)
        if found:
            scope.deadline = min(scope.deadline, trio.current_time() + OTHERS_PATIENCE_S)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            for key, address in wanted.items():
                nursery.start_soon(look_up, key, address)
    if troubles and not found:
        raise troubles[0]
    return {key: found.get(key, []) for key in wanted}


def has_names(addresses: Iterable[str]) -> bool:
    """Whether one of them is a host name, which may have any address tomorrow."""
    return not all(map(is_literal, addresses))


class Whereabouts:
    """Where the members of a cell are, as far as it is known: keeps an endpoint informed.

    ``moved`` is called with all that is known whenever it has changed.
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
        self._cell = cell
        self._endpoint = endpoint
        self._moved = moved
        self._named = [member for member in cell.members if not is_literal(member.address)]
        self._silent: set[str] = set()
        self._elsewhere: set[str] = set()
        self._news = {member.node_id: trio.Event() for member in self._named}
        endpoint.look_up = self.look_up
        self._tell()

    def look_up(self, node_id: str, elsewhere: bool) -> None:
        """A node was heard from ``elsewhere``, or has not been heard at all for a while."""
        reasons = self._elsewhere if elsewhere else self._silent
        if node_id in self._news and node_id not in reasons:
            reasons.add(node_id)
            self._news[node_id].set()

    async def keep(self) -> None:
        """Look host names up again from time to time, and when there is a reason to, each by itself: one that
        the resolver is silent about holds up no other. Where the resolver is out of order, what is known
        stays.
        """
        async with trio.open_nursery() as nursery:
            for member in self._named:
                nursery.start_soon(self._follow, member)

    async def _follow(self, member: Member) -> None:
        node_id = member.node_id
        began = trio.current_time() if self.found.get(node_id) else -inf
        pause = LOOK_UP_AGAIN_S  # a node that is silent because it is down is looked up ever more rarely
        while True:
            while trio.current_time() < (due := self._due(node_id, began, pause)):
                with trio.move_on_at(due):
                    await self._news[node_id].wait()
                self._news[node_id] = trio.Event()
            began = trio.current_time()
            self._silent.discard(node_id)
            self._elsewhere.discard(node_id)
            known = self.found.get(node_id, [])
            try:
                found: Sequence[Address] = await resolve(member.address)
            except ConfigError:
                found = known
            pause = min(2.0 * pause, LOOK_UP_EVERY_S)
            if list(found) != list(known):
                pause = LOOK_UP_AGAIN_S
                self.found[node_id] = found
                self._tell()

    def _due(self, node_id: str, began: float, pause: float) -> float:
        """When to look a name up again that was looked up before."""
        if node_id in self._elsewhere or not self.found.get(node_id):
            return began + LOOK_UP_AGAIN_S
        return began + (pause if node_id in self._silent else LOOK_UP_EVERY_S)

    def _tell(self) -> None:
        self._endpoint.configure(self._cell.cell_id, self._cell.epoch, self.found)
        if self._moved is not None:
            self._moved(self.found)


def keyring_of(keys: Sequence[tuple[int, bytes]]) -> Keyring:
    """The keyring of a configuration; without keys, the unsealed one."""
    return Keyring(dict(keys)) if keys else Keyring.unsealed()
