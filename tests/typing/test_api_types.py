"""What the public API promises in types. mypy checks this file; the test runs it too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import assert_type

import trio

import paxlock
import paxlock.aio
import paxlock.blocking
from paxlock import (
    Cell,
    Change,
    Changes,
    Client,
    HeldLease,
    LeaseBlock,
    LeaseLost,
    LossReason,
    Member,
    Node,
    NodeConfig,
    NotAcquired,
    Reason,
    Standing,
    State,
    Statistics,
    Waiter,
    open_client,
    open_dev_cell,
    open_node,
    serve_node,
)
from paxlock.core.messages import NodeMode
from paxlock.core.session.events import NodeStanding
from paxlock.core.statistics import SessionStatistics
from paxlock.node.server import Service
from paxlock.observe.statistics import NodeStatistics
from paxlock.runtime.udp import UdpTransport
from paxlock.wire.transport import format_address


async def leading(held: HeldLease, factor: int) -> str:
    return f"{held.term * factor}"


async def leading_in_asyncio(held: paxlock.aio.HeldLease, factor: int) -> str:
    return f"{held.term * factor}"


def leading_in_a_thread(held: paxlock.blocking.HeldLease, factor: int) -> str:
    return f"{held.term * factor}"


async def on_change(change: Change) -> None:
    assert_type(change.state, State)
    assert_type(change.term, int)
    assert_type(change.data, bytes)
    assert_type(change.skipped, int)


async def test_locks_and_elections() -> None:
    async with open_dev_cell(1) as cell, open_client(cell, label="typed") as client:
        assert_type(cell, Cell)
        assert_type(client, Client)
        assert_type(client.lock("x"), LeaseBlock)
        assert_type(client.campaign("x", ttl=1.0, wait=None, label="me", data=b""), LeaseBlock)
        async with client.lock("x", ttl=1.0, wait=0) as held:
            assert_type(held, HeldLease)
            assert_type(held.name, str)
            assert_type(held.term, int)
            assert_type(held.handle, str)
            assert_type(held.ttl, float)
            assert_type(held.deadline, float)
            assert_type(held.remaining(), float)
            assert_type(held.valid, bool)
            held.check()
        assert_type(await client.acquire("x"), HeldLease)
        assert_type(await client.lead("y", leading, 3), str)


async def test_looking() -> None:
    async with open_dev_cell(1) as cell, open_client(cell) as client:
        async with client.watch("x") as changes:
            assert_type(changes, Changes)
            assert_type(await changes.receive(), Change)
        standing = await client.poll("x")
        assert_type(standing, Standing)
        assert_type(standing.state, State)
        assert_type(standing.remaining, float)
        assert_type(standing.waiters, tuple[Waiter, ...])
        assert_type(await client.inspect("x"), Standing)
        assert_type(await client.list(), list[Standing])
        nodes = await client.survey()
        assert_type(nodes, tuple[NodeStanding, ...])
        assert_type(nodes[0].mode, NodeMode | None)
        assert_type(client.statistics(), Statistics)
        assert_type(client.statistics().session, SessionStatistics)
        async with trio.open_nursery() as nursery:
            await nursery.start(client.watch_forever, "x", on_change)
            nursery.cancel_scope.cancel()


async def test_opening(tmp_path: Path) -> None:
    free = UdpTransport.bind("127.0.0.1", 0)
    free.close()
    cell = Cell.new([Member("a", format_address(free.address))])
    cell.save(tmp_path / "cell.toml")
    assert_type(open_client(cell), AbstractAsyncContextManager[Client])
    assert_type(open_client(tmp_path / "cell.toml"), AbstractAsyncContextManager[Client])
    assert_type(open_client(str(tmp_path / "cell.toml")), AbstractAsyncContextManager[Client])
    assert_type(open_client(["127.0.0.1:7400"], key=b"k" * 32), AbstractAsyncContextManager[Client])
    assert_type(cell, Cell)
    assert_type(cell.members, tuple[Member, ...])
    assert_type(cell.quorum, int)
    config = NodeConfig(cell, "a", durability="memory")
    assert_type(config, NodeConfig)
    async with trio.open_nursery() as nursery:
        service: Service = await nursery.start(serve_node, config)
        assert_type(service.serving, trio.Event)
        nursery.cancel_scope.cancel()


def leads(trio_client: Client, client: paxlock.aio.Client, blocking: paxlock.blocking.Client) -> list[object]:
    """Not called: what mypy says of what a function is called with. An ignore that is not needed fails."""
    return [
        trio_client.lead("x", leading, 3),
        trio_client.lead("x", leading),  # type: ignore[arg-type]
        trio_client.lead("x", leading, "3"),  # type: ignore[arg-type]
        trio_client.lead("x", leading_in_a_thread, 3),  # type: ignore[arg-type]
        client.lead("x", leading_in_asyncio, 3),
        client.lead("x", leading_in_asyncio),  # type: ignore[arg-type]
        client.lead("x", leading_in_asyncio, "3"),  # type: ignore[arg-type]
        client.lead("x", leading, 3),  # type: ignore[arg-type]
        blocking.lead("x", leading_in_a_thread, 3).upper(),
        blocking.lead("x", leading_in_a_thread),  # type: ignore[arg-type]
        blocking.lead("x", leading_in_a_thread, "3"),  # type: ignore[arg-type]
    ]


def of_a_node(node: Node) -> tuple[str, NodeMode, NodeStatistics, LeaseBlock]:
    """A node is a client too."""
    as_client: Client = node
    return node.node_id, node.mode, node.node_statistics(), as_client.lock("x")


def test_errors_carry_data() -> None:
    lost = LeaseLost("x", 3, LossReason.EXPIRED)
    assert_type(lost.name, str)
    assert_type(lost.term, int)
    assert_type(lost.reason, LossReason)
    refused = NotAcquired("x", Reason.HELD, "somebody")
    assert_type(refused.reason, Reason)
    assert_type(refused.holder, str | None)
    caught: list[paxlock.PaxlockError] = [lost, refused, paxlock.StoreError("x"), paxlock.InternalError("x")]
    also_values: list[ValueError] = [paxlock.ConfigError("x")]
    assert len(caught) == 4
    assert len(also_values) == 1


def test_functions_have_the_types_that_callers_rely_on() -> None:
    opener: Callable[[NodeConfig], AbstractAsyncContextManager[Node]] = open_node
    server: Callable[[NodeConfig], Awaitable[None]] = serve_node
    maker: Callable[[int], AbstractAsyncContextManager[Cell]] = open_dev_cell
    nodes: Callable[[Node], tuple[str, NodeMode, NodeStatistics, LeaseBlock]] = of_a_node
    assert [opener, server, maker, nodes] == [open_node, serve_node, open_dev_cell, of_a_node]
