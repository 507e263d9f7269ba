"""What the tests of the shell need besides the virtual cell of paxlock.testing."""

# There is no event for "somebody stands in line".
# ruff: noqa: ASYNC110

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from paxlock import Cell, Client, HeldLease, Member, NodeConfig
from paxlock.node.server import Service, run_service
from paxlock.testing import VirtualCell, open_virtual_cell
from paxlock.wire.transport import format_address, split_address

NODE_IDS = ("a", "b", "c")


class HandClock:
    """The clock of the trio run, and an offset to be moved by hand: a sleep of the machine."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return trio.current_time() + self.offset


def service_of(cell: VirtualCell, node_id: str) -> Service:
    """A running node of the cell, from within."""
    return cell.nodes.lives[node_id].service


@asynccontextmanager
async def open_odd_cell(
    *, max_ttl_of: dict[str, float] | None = None, hosts: dict[str, str] | None = None
) -> AsyncIterator[VirtualCell]:
    """A virtual cell of three nodes. ``max_ttl_of`` gives some of them another one, against the rules;
    ``hosts`` gives nodes host names in the place of addresses.
    """
    async with open_virtual_cell(embedded=True) as cell, AsyncExitStack() as stack:
        literal = {member.node_id: member.address for member in cell.cell.members}
        cell.cell = with_hosts(cell, hosts or {})
        services = []
        for node_id in NODE_IDS:
            own = attrs.evolve(cell.cell, max_ttl=(max_ttl_of or {}).get(node_id, cell.cell.max_ttl))
            config = NodeConfig(own, node_id, "/virtual", listen=literal[node_id])
            services.append(await stack.enter_async_context(run_service(config, create=True)))
        for service in services:
            with trio.fail_after(30):
                await service.serving.wait()
        yield cell


def with_hosts(cell: VirtualCell, hosts: dict[str, str]) -> Cell:
    """The cell's configuration, with host names for some of its nodes."""
    members = []
    for member in cell.cell.members:
        host, port = split_address(member.address)
        members.append(Member(member.node_id, format_address((hosts.get(member.node_id, host), port))))
    return attrs.evolve(cell.cell, members=members)


async def until_lost(held: HeldLease) -> None:
    """Wait, with the time bounded, until a lease is lost."""
    with trio.fail_after(60):
        await held.wait_lost()


async def until_waiting(client: Client, name: str, count: int) -> None:
    """Wait until so many stand in line for a name at the node that knows most of them."""
    with trio.fail_after(10):
        while len((await client.inspect(name)).waiters) < count:
            await trio.sleep(0.005)
