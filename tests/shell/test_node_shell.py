"""Nodes: starting, stopping, restarting on what they kept; embedded in a program (protocol.md section 7)."""

# A body that is cut off is several statements.
# ruff: noqa: PT012

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest
import trio
from cells import NODE_IDS
from trio.testing import MockClock

from paxlock import (
    Cell,
    ConfigError,
    InternalError,
    LeaseLost,
    LossReason,
    Member,
    Node,
    NodeConfig,
    State,
    StoreError,
    open_client,
    open_dev_cell,
    open_node,
    serve_node,
)
from paxlock.core.durable import NodeRecord
from paxlock.core.messages import NodeMode
from paxlock.node.server import Service, run_service
from paxlock.runtime.clock import TrioClock
from paxlock.runtime.udp import UdpTransport
from paxlock.store.folder import MemoryStore
from paxlock.testing import open_virtual_cell
from paxlock.testing.memory_network import MemoryNetwork
from paxlock.wire.transport import Address, format_address

MAX_TTL_S = 10.0
SITS_OUT_S = MAX_TTL_S * 1.01 / 0.99


class Lives:
    """Nodes in memory that can be ended in every way and started again on what they kept."""

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
        join: bool = False,
        task_status: trio.TaskStatus[tuple[Service, trio.CancelScope]],
    ) -> None:
        """One life: until the scope is cancelled, which is a clean stop."""
        with trio.CancelScope() as scope:
            async with run_service(
                # The folder stands for the mode "record"; what is used is the store in memory.
                NodeConfig(self.cell, node_id, "/nowhere"),
                create=create,
                join=join,
                report=self.said[node_id].append,
                transport=self.network.bind(*self.addresses[node_id]),
                store=self.stores[node_id],
                clock=TrioClock(),
            ) as service:
                task_status.started((service, scope))
                await trio.sleep_forever()


async def test_restarts_clean_and_unclean(autojump_clock: MockClock) -> None:
    lives = Lives()
    async with trio.open_nursery() as nursery:
        running: dict[str, tuple[Service, trio.CancelScope]] = {}

        async def start(node_id: str, *, create: bool = False) -> None:
            async def live(*, task_status: trio.TaskStatus[tuple[Service, trio.CancelScope]]) -> None:
                await lives.live(node_id, create=create, task_status=task_status)

            running[node_id] = await nursery.start(live)

        for node_id in NODE_IDS:
            await start(node_id, create=True)
        for service, _ in running.values():
            await service.serving.wait()
        assert lives.said["a"] == ["node a waits for the other nodes of the new cell", "node a serves"]
        async with open_client(lives.cell, transport=lives.network.bind(), clock=TrioClock()) as client:
            held = await client.acquire("x", ttl=MAX_TTL_S)
            for node_id in NODE_IDS:
                before = lives.stores[node_id].read_record()
                assert before is not None and not before.clean
                running[node_id][1].cancel()
                await trio.testing.wait_all_tasks_blocked()
                kept = lives.stores[node_id].read_record()
                assert kept is not None and kept.clean
                began = trio.current_time()
                await start(node_id)
                unmarked = lives.stores[node_id].read_record()
                assert unmarked is not None and not unmarked.clean
                assert unmarked.incarnation == before.incarnation + 1
                await running[node_id][0].serving.wait()
                assert trio.current_time() - began < 0.1
                assert lives.said[node_id][2:] == [f"node {node_id} serves"]
            held.check()
            # An unclean end: what is on the disk is what a running node keeps there.
            record = lives.stores["a"].read_record()
            assert record is not None
            running["a"][1].cancel()
            await trio.testing.wait_all_tasks_blocked()
            lives.stores["a"].write_record(record)
            began = trio.current_time()
            await start("a")
            await trio.testing.wait_all_tasks_blocked()
            assert "sits out 10.2 s" in lives.said["a"][-1]
            assert running["a"][0].replica.mode is NodeMode.RECOVERING
            await running["a"][0].serving.wait()
            assert trio.current_time() - began == pytest.approx(SITS_OUT_S, abs=0.1)
            assert running["a"][0].replica.statistics().floor >= record.ceiling
            held.check()
            await held.release()
        nursery.cancel_scope.cancel()


async def test_a_disk_that_fails_stops_the_node_with_a_store_error(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    network = MemoryNetwork(Random(1))
    transport = network.bind()
    cell = Cell.new([Member("a", format_address(transport.address))])

    def full(record: NodeRecord) -> None:
        raise StoreError("the disk is full")

    with pytest.raises(StoreError, match="the disk is full"):
        async with run_service(
            NodeConfig(cell, "a", "/nowhere"),
            create=True,
            transport=transport,
            store=store,
            clock=TrioClock(),
        ) as service:
            await service.serving.wait()
            monkeypatch.setattr(store, "write_record", full)
            async with open_client(cell, transport=network.bind(), clock=TrioClock()) as client:
                # Until the durable ceiling has to be raised.
                for _ in range(2000):
                    async with client.lock("x"):
                        pass
                pytest.fail("the ceiling was never written")
    record = store.read_record()
    assert record is not None and not record.clean


async def test_after_a_bug_the_stop_is_not_a_clean_one(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = Lives()

    def broken(now: float) -> None:
        raise ZeroDivisionError("planted")

    async def live_with_a_bug() -> None:
        with pytest.raises(InternalError):
            async with run_service(
                NodeConfig(lives.cell, "a", "/nowhere"),
                create=True,
                transport=lives.network.bind(*lives.addresses["a"]),
                store=lives.stores["a"],
                clock=TrioClock(),
            ) as service:
                await service.serving.wait()
                monkeypatch.setattr(service.replica, "tick", broken)
                service.driver.poke()
                monkeypatch.setattr(service.replica, "deadline", lambda: 0.0)
                await trio.sleep_forever()

    async with AsyncExitStack() as stack:
        for node_id in ("b", "c"):
            await stack.enter_async_context(
                run_service(
                    NodeConfig(lives.cell, node_id, "/nowhere"),
                    create=True,
                    transport=lives.network.bind(*lives.addresses[node_id]),
                    store=lives.stores[node_id],
                    clock=TrioClock(),
                )
            )
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(live_with_a_bug)
    record = lives.stores["a"].read_record()
    assert record is not None and not record.clean


async def test_an_error_of_the_body_comes_bare_out_of_a_service(autojump_clock: MockClock) -> None:
    with pytest.raises(KeyError):
        async with open_virtual_cell():
            raise KeyError("mine")


@pytest.mark.parametrize("number", [0, 2, 4, 9])
async def test_a_cell_has_an_odd_number_of_nodes(number: int) -> None:
    with pytest.raises(ConfigError, match="1, 3, 5 or 7"):
        async with open_dev_cell(number):
            pytest.fail("opened")


async def test_a_dev_cell_serves_at_once_and_says_so() -> None:
    said: list[str] = []
    with trio.fail_after(20):
        async with open_dev_cell(3, max_ttl=5.0, report=said.append) as cell, open_client(cell) as client:
            assert (await client.acquire("x", ttl=5.0)).term == 1
    assert sorted(sentence for sentence in said if "serves" in sentence) == [
        f"node {node_id} serves" for node_id in NODE_IDS
    ]


def free_addresses() -> dict[str, str]:
    transports = {node_id: UdpTransport.bind("127.0.0.1", 0) for node_id in NODE_IDS}
    addresses = {node_id: format_address(transport.address) for node_id, transport in transports.items()}
    for transport in transports.values():
        transport.close()
    return addresses


async def test_embedded_nodes_elect_among_themselves(tmp_path: Path) -> None:
    """Three programs in one: each is a node and campaigns; the leader's end hands over."""
    cell = Cell.new(free_addresses(), max_ttl=5.0)
    led: list[tuple[str, int]] = []

    async def program(node_id: str) -> None:
        async with open_node(
            NodeConfig(cell, node_id, tmp_path / node_id), create=True, label=node_id
        ) as node:
            await node.wait_serving()
            assert (node.node_id, node.mode) == (node_id, NodeMode.SERVING)
            async with node.campaign("primary", ttl=5.0, data=node_id.encode()) as held:
                standing = await node.poll("primary")
                assert (standing.state, standing.data) == (State.LED, node_id.encode())
                led.append((node_id, held.term))
                if len(led) == len(NODE_IDS):
                    everybody.set()
            counts = node.node_statistics().messages
            assert counts["standing_prepare"] > 0
            with pytest.raises(TypeError):
                counts["prepare"] = 0  # type: ignore[index]
            await everybody.wait()

    everybody = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for node_id in NODE_IDS:
                nursery.start_soon(program, node_id)
    assert sorted(node_id for node_id, _ in led) == list(NODE_IDS)
    terms = [term for _, term in led]
    assert terms == sorted(set(terms))


async def test_a_node_that_breaks_takes_its_lease_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    cell = Cell.new({"a": next(iter(free_addresses().values()))}, max_ttl=5.0)
    found: list[Node] = []
    with trio.fail_after(20), pytest.raises(InternalError) as caught:
        async with open_node(NodeConfig(cell, "a", tmp_path / "a"), create=True) as node:
            found.append(node)
            held = await node.acquire("x", ttl=1.0)
            monkeypatch.setattr(node._service.replica, "receive", broken)
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert not held.valid
    with pytest.raises(LeaseLost) as lost:
        held.check()
    assert lost.value.reason is LossReason.CLOSED
    with pytest.raises(trio.ClosedResourceError):
        await found[0].poll("x")


async def test_serve_node_starts_when_bound_and_refuses_with_a_sentence(tmp_path: Path) -> None:
    cell = Cell.new(free_addresses())
    config = NodeConfig(cell, "a", tmp_path / "a")
    async with trio.open_nursery() as nursery:
        service = await nursery.start(lambda **k: serve_node(config, create=True, **k))
        assert not service.serving.is_set()  # the others are missing
        with pytest.raises(ConfigError, match="the port is in use"):
            await serve_node(config)
        nursery.cancel_scope.cancel()
    alone = NodeConfig(Cell.new({"a": free_addresses()["a"]}), "a", tmp_path / "alone")
    async with run_service(alone, create=True) as service:
        await service.serving.wait()
    with pytest.raises(ConfigError, match="has a record"):
        await serve_node(alone, create=True)
    with pytest.raises(ConfigError, match="not two"):
        await serve_node(alone, create=True, join=True)
    with pytest.raises(ConfigError, match="not two"):
        await serve_node(alone, start="by-clock", join=True)
    async with run_service(alone, start="by-clock") as service:  # with a record an ordinary start
        await service.serving.wait()
