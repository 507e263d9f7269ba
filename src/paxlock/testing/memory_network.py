"""Datagrams in memory, for tests under trio's mock clock."""

from __future__ import annotations

import errno
import heapq
import itertools
import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs
import trio

from paxlock.errors import ConfigError
from paxlock.host.udp import bind_trouble
from paxlock.wire.transport import Address, format_address

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

__all__ = ["MemoryNetwork", "MemoryTransport"]

INBOX_MAX_DATAGRAMS = 4096


@attrs.define(eq=False)
class MemoryNetwork:
    """Datagrams in memory, by trio's clock: lost, repeated and out of order as a seeded generator says.

    ``delay_min`` and ``delay_max`` are seconds; a spread between them reorders. ``loss`` and ``duplication``
    are probabilities. All may be changed at any time. No task of its own: a datagram waits in the receiver's
    inbox until its time has come.
    """

    rng: random.Random
    delay_min: float = 0.001
    delay_max: float = 0.001
    loss: float = 0.0
    duplication: float = 0.0
    _transports: dict[Address, MemoryTransport] = attrs.field(init=False, factory=dict)
    _blocked: set[tuple[Address, Address]] = attrs.field(init=False, factory=set)
    _ports: itertools.count[int] = attrs.field(init=False, factory=lambda: itertools.count(49_152))
    _order: itertools.count[int] = attrs.field(init=False, factory=itertools.count)

    def bind(self, host: str = "127.0.0.1", port: int = 0) -> MemoryTransport:
        """A transport at this address (port 0: a free one); ConfigError where it is in use."""
        if port == 0:
            port = next(free for free in self._ports if (host, free) not in self._transports)
        elif (host, port) in self._transports:
            raise ConfigError(bind_trouble(format_address((host, port)), OSError(errno.EADDRINUSE, "")))
        transport = MemoryTransport(self, (host, port))
        self._transports[host, port] = transport
        return transport

    def block(self, source: Address, target: Address) -> None:
        """Lose everything sent from ``source`` to ``target`` from now on; the other way is not affected."""
        self._blocked.add((source, target))

    def unblock(self, source: Address, target: Address) -> None:
        """Take back `block`."""
        self._blocked.discard((source, target))

    def carry(self, datagram: bytes, source: Address, target: Address) -> str:
        """For the transport: put the datagram into the target's inbox, perhaps twice; say how it went."""
        # The draws are the same whatever becomes of the datagram, so that a block does not shift the rest.
        lost, twice = self.rng.random() < self.loss, self.rng.random() < self.duplication
        least, most = self.bounds(source, target)
        delays = [self.rng.uniform(least, most) for _ in range(2)]
        receiver = self._transports.get(target)
        if (source, target) in self._blocked or receiver is None or lost:
            return "lost"
        now = trio.current_time()
        for delay in delays if twice else delays[:1]:
            receiver.deliver((now + delay, next(self._order), datagram, source))
        return "sent"

    def bounds(self, source: Address, target: Address) -> tuple[float, float]:
        """How long a datagram takes from the one to the other, at least and at most."""
        return self.delay_min, self.delay_max

    def forget(self, transport: MemoryTransport) -> None:
        """For the transport: it was closed, and its address is free again."""
        if self._transports.get(transport.address) is transport:
            del self._transports[transport.address]


@attrs.define(eq=False)
class MemoryTransport:
    """One end of a MemoryNetwork; made by its `bind`."""

    _network: MemoryNetwork
    _address: Address
    _inbox: list[tuple[float, int, bytes, Address]] = attrs.field(init=False, factory=list)
    _changed: trio.Event | None = attrs.field(init=False, default=None)
    _closed: bool = attrs.field(init=False, default=False)
    _counts: dict[str, int] = attrs.field(
        init=False, factory=lambda: {"sent": 0, "lost": 0, "received": 0, "overflowed": 0}
    )

    @property
    def address(self) -> Address:
        return self._address

    def receive_nowait(self) -> tuple[bytes, Address] | None:
        self._refuse_closed()
        if not self._inbox or self._inbox[0][0] > trio.current_time():
            return None
        _, _, datagram, source = heapq.heappop(self._inbox)
        self._counts["received"] += 1
        return datagram, source

    async def wait_readable(self) -> None:
        self._refuse_closed()
        if self._changed is not None:
            raise trio.BusyResourceError("another task is waiting for this transport")
        await trio.lowlevel.checkpoint()
        try:
            while not self._inbox or self._inbox[0][0] > trio.current_time():
                self._refuse_closed()
                self._changed = trio.Event()
                with trio.move_on_at(self._inbox[0][0] if self._inbox else math.inf):
                    await self._changed.wait()
            self._refuse_closed()
        finally:
            self._changed = None

    def reaches(self, address: Address) -> bool:
        return True

    def send_nowait(self, datagram: bytes, address: Address) -> None:
        self._refuse_closed()
        self._counts[self._network.carry(datagram, self._address, address)] += 1

    def close(self) -> None:
        self._closed = True
        self._network.forget(self)
        self._wake()

    def statistics(self) -> Mapping[str, int]:
        return MappingProxyType(dict(self._counts))

    def deliver(self, arrival: tuple[float, int, bytes, Address]) -> None:
        """For the network: keep (time, order, datagram, source) until its time; count it when full."""
        if len(self._inbox) >= INBOX_MAX_DATAGRAMS:
            self._counts["overflowed"] += 1
            return
        heapq.heappush(self._inbox, arrival)
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("the transport was closed")
