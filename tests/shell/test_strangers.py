"""Who cannot be understood is told of, on both sides; and what a clean restart says that nobody confirms."""

# A body that is cut off is several statements.

from __future__ import annotations

from random import Random

import attrs
import pytest
import trio
from cells import NODE_IDS
from trio.testing import MockClock

from paxlock import Cell, ConfigError, Member, NodeConfig, open_client
from paxlock.cli.status import cell_facts, format_cell
from paxlock.node.server import Service, run_service
from paxlock.runtime.clock import TrioClock
from paxlock.store.folder import MemoryStore
from paxlock.testing.memory_network import MemoryNetwork
from paxlock.wire.header import VERSION
from paxlock.wire.transport import Address, format_address

MAX_TTL_S = 10.0


class Running:
    """A cell in memory, and what its nodes say."""

    def __init__(self) -> None:
        self.network = MemoryNetwork(Random(5))
        self.addresses: dict[str, Address] = {}
        for node_id in NODE_IDS:
            transport = self.network.bind()
            self.addresses[node_id] = transport.address
            transport.close()
        members = [Member(node_id, format_address(self.addresses[node_id])) for node_id in NODE_IDS]
        self.cell = Cell.new(members, max_ttl=MAX_TTL_S)
        self.stores = {node_id: MemoryStore() for node_id in NODE_IDS}
        self.said: dict[str, list[str]] = {node_id: [] for node_id in NODE_IDS}

    async def live(
        self,
        node_id: str,
        *,
        create: bool = False,
        task_status: trio.TaskStatus[tuple[Service, trio.CancelScope]],
    ) -> None:
        with trio.CancelScope() as scope:
            async with run_service(
                NodeConfig(self.cell, node_id, "/nowhere"),
                create=create,
                report=self.said[node_id].append,
                transport=self.network.bind(*self.addresses[node_id]),
                store=self.stores[node_id],
                clock=TrioClock(),
            ) as service:
                task_status.started((service, scope))
                await trio.sleep_forever()

    async def create(self, nursery: trio.Nursery) -> dict[str, tuple[Service, trio.CancelScope]]:
        """All nodes of the new cell, in service."""

        async def one(
            node_id: str, *, task_status: trio.TaskStatus[tuple[Service, trio.CancelScope]]
        ) -> None:
            await self.live(node_id, create=True, task_status=task_status)

        running = {node_id: await nursery.start(one, node_id) for node_id in NODE_IDS}
        for service, _ in running.values():
            await service.serving.wait()
        return running

    def complaints(self, node_id: str) -> list[str]:
        return [said for said in self.said[node_id] if said.startswith("WARNING")]


def with_other_nodes(cell: Cell) -> Cell:
    """The same cell and epoch, but the file names another node in the place of the last."""
    *members, last = cell.members
    return attrs.evolve(cell, members=(*members, Member("z", last.address)))


async def test_a_client_with_other_nodes_in_its_cell_file_is_told_and_so_are_the_nodes(
    autojump_clock: MockClock,
) -> None:
    running = Running()
    async with trio.open_nursery() as nursery:
        await running.create(nursery)
        with pytest.raises(ConfigError, match="has other nodes in its cell file"):
            async with open_client(
                with_other_nodes(running.cell), transport=running.network.bind(), clock=TrioClock()
            ):
                await trio.sleep(10.0)
        assert "a client at" in running.complaints(NODE_IDS[0])[0]
        async with open_client(running.cell, transport=running.network.bind(), clock=TrioClock()) as client:
            nodes = await client.survey()
            assert {node.complaint for node in nodes} == {"a client has other nodes in its cell file"}
            assert "complains: a client has other nodes" in format_cell(nodes)
            assert str(cell_facts(nodes)).count("'complaint'") == len(NODE_IDS)
            await trio.sleep(61.0)  # it has not been heard since
            nodes = await client.survey()
            assert {node.complaint for node in nodes} == {""}
            assert "complain" not in format_cell(nodes) + str(cell_facts(nodes))
        nursery.cancel_scope.cancel()


async def test_an_older_version_is_told_of_once_and_harms_no_client(autojump_clock: MockClock) -> None:
    running = Running()
    async with trio.open_nursery() as nursery:
        nodes = await running.create(nursery)
        old = bytes((VERSION - 1,)) + bytes(100)
        stranger = running.network.bind()
        async with open_client(running.cell, transport=running.network.bind(), clock=TrioClock()) as client:
            for _ in range(3):
                stranger.send_nowait(old, running.addresses[NODE_IDS[0]])
                stranger.send_nowait(old, client._driver.transport.address)
                await trio.sleep(0.1)
            async with client.lock("x", ttl=5.0):
                pass
        (told,) = running.complaints(NODE_IDS[0])
        assert f"speaks version {VERSION - 1}" in told
        assert nodes[NODE_IDS[0]][0].endpoint.statistics()["dropped_older_version"] == 3
        nursery.cancel_scope.cancel()


async def test_a_clean_restart_that_nobody_confirms_says_so_loudly(autojump_clock: MockClock) -> None:
    running = Running()
    async with trio.open_nursery() as nursery:
        nodes = await running.create(nursery)
        for _, scope in nodes.values():
            scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        first = NODE_IDS[0]
        said = len(running.said[first])
        began = trio.current_time()
        service, _ = await nursery.start(running.live, first)
        await service.serving.wait()
        assert trio.current_time() - began == pytest.approx(1.0, abs=0.1)
        warning, serves = running.said[first][said:]
        assert "no other node has confirmed" in warning and "--join" in warning
        assert serves == f"node {first} serves"
        nursery.cancel_scope.cancel()
