"""A whole cell in memory, under trio's mock clock: three nodes, any number of clients, a network that fails
on demand.
"""

# There is no event for "somebody stands in line".
# ruff: noqa: ASYNC110

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import attrs
import trio

from paxlock import Cell, Client, HeldLease, Member, NodeConfig, open_client
from paxlock.clock import Clock, TrioClock
from paxlock.node import Service, run_service
from paxlock.store import MemoryStore
from paxlock.wire.transport import Address, MemoryNetwork, MemoryTransport, format_address

NODE_IDS = ("a", "b", "c")


class HandClock:
    """The clock of the trio run, and an offset to be moved by hand: a sleep of the machine."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return trio.current_time() + self.offset


@attrs.define(eq=False)
class MemoryCell:
    """What ``memory_cell`` gives."""

    network: MemoryNetwork
    cell: Cell
    nodes: dict[str, MemoryTransport]
    services: dict[str, Service] = attrs.field(factory=dict)
    addresses: list[Address] = attrs.field(factory=list)
    _cut: set[str] = attrs.field(factory=set)

    @asynccontextmanager
    async def client(self, label: str = "client", *, clock: Clock | None = None) -> AsyncIterator[Client]:
        """A client of the cell, with the configuration in hand."""
        transport = self.bind()
        async with open_client(
            self.cell, label=label, transport=transport, clock=clock or TrioClock()
        ) as client:
            yield client

    def bind(self) -> MemoryTransport:
        """A transport for one more client, which the nodes cut off do not reach either."""
        transport = self.network.bind()
        self.addresses.append(transport.address)
        for node_id in self._cut:
            self._both_ways(node_id, transport.address, cut=True)
        return transport

    def cut(self, *node_ids: str) -> None:
        """Nothing goes to or from these nodes any more."""
        for node_id in node_ids:
            self._cut.add(node_id)
            for address in self.addresses:
                self._both_ways(node_id, address, cut=True)

    def heal(self, *node_ids: str) -> None:
        """Take back ``cut``."""
        for node_id in node_ids:
            self._cut.discard(node_id)
            for address in self.addresses:
                self._both_ways(node_id, address, cut=False)

    def _both_ways(self, node_id: str, address: Address, *, cut: bool) -> None:
        node = self.nodes[node_id].address
        change = self.network.block if cut else self.network.unblock
        change(node, address)
        change(address, node)


@asynccontextmanager
async def memory_cell(
    *,
    seed: int = 1,
    max_ttl: float = 30.0,
    max_ttl_of: dict[str, float] | None = None,
    hosts: dict[str, str] | None = None,
) -> AsyncIterator[MemoryCell]:
    """A cell of three nodes that serve. ``max_ttl_of`` gives some nodes another one, against the rules;
    ``hosts`` gives nodes host names in the place of addresses.
    """
    network = MemoryNetwork(Random(seed))
    nodes = {node_id: network.bind() for node_id in NODE_IDS}
    members = []
    for node_id in NODE_IDS:
        host, port = nodes[node_id].address
        members.append(Member(node_id, format_address(((hosts or {}).get(node_id, host), port))))
    cell = Cell.new(members, max_ttl=max_ttl)
    found = MemoryCell(network, cell, nodes)
    found.addresses.extend(transport.address for transport in nodes.values())
    async with AsyncExitStack() as stack:
        for node_id in NODE_IDS:
            own = attrs.evolve(cell, max_ttl=(max_ttl_of or {}).get(node_id, max_ttl))
            found.services[node_id] = await stack.enter_async_context(
                run_service(
                    NodeConfig(own, node_id, durability="memory"),
                    create=True,
                    transport=nodes[node_id],
                    store=MemoryStore(),
                    clock=TrioClock(),
                    fresh_cell=True,
                )
            )
        for service in found.services.values():
            with trio.fail_after(30):
                await service.serving.wait()
        yield found


async def until_lost(held: HeldLease) -> None:
    """Wait, with the time bounded, until a lease is lost."""
    with trio.fail_after(60):
        await held.wait_lost()


async def until_waiting(client: Client, name: str, count: int) -> None:
    """Wait until so many stand in line for a name at the node that knows most of them."""
    with trio.fail_after(10):
        while len((await client.inspect(name)).waiters) < count:
            await trio.sleep(0.005)
