"""Nodes that come back elsewhere, names that cannot be looked up, and cells of two families of addresses."""

# There is no event for "so many nodes answer".
# ruff: noqa: ASYNC110

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import pytest
import trio
from resolvers import Hosts
from trio.testing import MockClock

from paxlock import Cell, Client, ConfigError, NodeConfig, open_client
from paxlock.config.keys import new_key
from paxlock.core.messages import Greet, Poll
from paxlock.host.whereabouts import LOOK_UP_AGAIN_S, LOOK_UP_EVERY_S, keyring_of
from paxlock.node.server import Service, run_service
from paxlock.runtime.clock import TrioClock
from paxlock.runtime.environment import Environment
from paxlock.runtime.resolving import resolve_members
from paxlock.runtime.udp import TwoFamilies, UdpTransport, bind_all
from paxlock.store.folder import MemoryStore
from paxlock.testing.memory_network import MemoryNetwork
from paxlock.wire.endpoint import Endpoint, NodeSender
from paxlock.wire.keyring import Keyring
from paxlock.wire.transport import Address, Transport

PORT = 7400
MAX_TTL_S = 2.0
SITS_OUT_S = MAX_TTL_S * 1.01 / 0.99
HERE = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}
THERE = {"a": "10.0.9.1", "b": "10.0.9.2", "c": "10.0.9.3"}
RUN = b"r" * 16


def book(places: dict[str, str]) -> dict[str, list[str]]:
    return {f"{node_id}.test": [address] for node_id, address in places.items()}


class Town:
    """A cell whose nodes have host names, in a network in memory."""

    def __init__(self) -> None:
        self.hosts = Hosts(book(HERE))
        self.cell = Cell.new({node_id: f"{node_id}.test:{PORT}" for node_id in HERE}, max_ttl=MAX_TTL_S)
        self.network = MemoryNetwork(random.Random(5))
        self.stores = {node_id: MemoryStore() for node_id in HERE}
        self.reports: list[str] = []

    @asynccontextmanager
    async def node(
        self, node_id: str, address: str, *, create: bool = False, join: bool = False
    ) -> AsyncIterator[Service]:
        if join:
            self.stores[node_id] = MemoryStore()
        config = NodeConfig(self.cell, node_id, "/virtual")
        async with run_service(
            config,
            create=create,
            join=join,
            report=self.reports.append,
            transport=self.network.bind(address, PORT),
            store=self.stores[node_id],
            clock=TrioClock(),
        ) as service:
            yield service

    @asynccontextmanager
    async def nodes(self, places: dict[str, str], *, create: bool = False) -> AsyncIterator[list[Service]]:
        async with AsyncExitStack() as stack:
            found = [
                await stack.enter_async_context(self.node(node_id, address, create=create))
                for node_id, address in places.items()
            ]
            with trio.fail_after(60):
                for service in found:
                    await service.serving.wait()
            yield found

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        transport = self.network.bind("10.0.5.5")
        async with open_client(self.cell, transport=transport, clock=TrioClock()) as client:
            yield client


async def until_up(client: Client, count: int, within: float) -> None:
    """Wait until so many nodes answer."""
    with trio.fail_after(within):
        while (await client.inspect("x")).nodes_up < count:
            await trio.sleep(0.1)


async def test_a_node_that_comes_back_elsewhere_is_looked_up_as_soon_as_it_is_heard(
    autojump_clock: MockClock,
) -> None:
    town = Town()
    async with AsyncExitStack() as stack:
        here = {node_id: HERE[node_id] for node_id in "ab"}
        third = AsyncExitStack()
        async with third:
            for node_id in HERE:
                into = third if node_id == "c" else stack
                await into.enter_async_context(town.node(node_id, HERE[node_id], create=True))
            await trio.sleep(LOOK_UP_EVERY_S / 2.0)
        town.hosts.book = book({**here, "c": THERE["c"]})
        began = trio.current_time()
        joined = await stack.enter_async_context(town.node("c", THERE["c"], join=True))
        await joined.serving.wait()
        assert trio.current_time() - began < SITS_OUT_S + 1.0 + 2.0 * LOOK_UP_AGAIN_S


async def test_where_the_resolver_is_behind_it_is_asked_at_most_once_a_second(
    autojump_clock: MockClock,
) -> None:
    town = Town()
    async with AsyncExitStack() as stack:
        async with AsyncExitStack() as third:
            for node_id in HERE:
                into = third if node_id == "c" else stack
                await into.enter_async_context(town.node(node_id, HERE[node_id], create=True))
            await trio.sleep(1.0)
        del town.hosts.asked[:]
        joined = await stack.enter_async_context(town.node("c", THERE["c"], join=True))
        await trio.sleep(30.0)
        assert not joined.serving.is_set()
        # Each of the other two, and the node itself.
        assert 40 <= len(town.hosts.times("c.test")) <= 95
        town.hosts.book = book({**HERE, "c": THERE["c"]})
        with trio.fail_after(2.0 * LOOK_UP_AGAIN_S + 1.0):
            await joined.serving.wait()


async def test_a_client_goes_on_although_all_nodes_come_back_elsewhere_at_once(
    autojump_clock: MockClock,
) -> None:
    town = Town()
    async with trio.open_nursery() as nursery:
        end = trio.Event()
        ended = trio.Event()

        async def first_life(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            async with town.nodes(HERE, create=True):
                task_status.started()
                await end.wait()
            ended.set()

        await nursery.start(first_life)
        async with town.client() as client, client.lock("x", ttl=MAX_TTL_S) as held:
            await until_up(client, 3, 5.0)
            end.set()
            await ended.wait()
            town.hosts.book = book(THERE)
            async with town.nodes(THERE):
                # Asked so often that the nodes are missed at once, they are found within a lease.
                await until_up(client, 3, 3.0 * LOOK_UP_AGAIN_S)
                async with client.lock("y", ttl=MAX_TTL_S, wait=1.0):
                    held.check()


async def test_a_node_that_is_down_is_looked_up_ever_more_rarely(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.nodes(HERE, create=True), town.client() as client:
        town.network.block(client._transport.address, (HERE["c"], PORT))
        began = trio.current_time()
        for _ in range(100):
            async with client.lock("x", ttl=1.0):
                await trio.sleep(1.0)
        times = [when - began for when in town.hosts.times("c.test") if when > began]
        asked_by_nodes = 3 * 100.0 / LOOK_UP_EVERY_S
        assert sum(when < 20.0 for when in times) >= 5
        assert len(times) < asked_by_nodes + 100.0 / LOOK_UP_EVERY_S + 5


async def test_two_silent_names_delay_no_opening(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.nodes(HERE, create=True):
        town.hosts.silent = {"b.test", "c.test"}
        began = trio.current_time()
        async with town.client() as client:
            assert trio.current_time() - began < 1.0
            await until_up(client, 1, 5.0)
            town.hosts.silent.clear()
            await until_up(client, 3, 25.0)


async def test_where_no_name_is_known_the_first_trouble_comes_out(autojump_clock: MockClock) -> None:
    town = Town()
    town.hosts.book.clear()
    with pytest.raises(ConfigError, match="cannot be resolved"):
        await resolve_members(town.cell.members)


async def test_seeds_are_looked_up_side_by_side(autojump_clock: MockClock) -> None:
    town = Town()
    async with town.nodes(HERE, create=True):
        town.hosts.silent = {"a.test"}
        began = trio.current_time()
        seeds = [f"{node_id}.test:{PORT}" for node_id in HERE]
        key = town.cell.keys[0][1]
        async with open_client(
            seeds, key=key, transport=town.network.bind("10.0.5.6"), clock=TrioClock()
        ) as client:
            assert trio.current_time() - began < 2.0
            assert len(client.cell.members) == 3


# Somebody who says to be a node


def forged(town: Town, ring: Keyring, incarnation: int) -> bytes:
    """As from node c, a later life of it, to node a."""
    forger = Endpoint(
        NodeSender("c", incarnation, RUN),
        ring,
        cell_id=town.cell.cell_id,
        epoch=town.cell.epoch,
        members={node_id: [(address, PORT)] for node_id, address in HERE.items()},
    )
    forger.queue("a", Greet(1, incarnation, RUN))
    ((datagram, _),) = forger.flush()
    return datagram


@pytest.mark.parametrize("insider", [True, False])
async def test_a_datagram_moves_no_node_and_only_a_sealed_one_is_a_reason_to_look_it_up(
    autojump_clock: MockClock, insider: bool
) -> None:
    """Else whoever has the key of the cell, as every client does, could take the place of a node."""
    town = Town()
    async with town.nodes(HERE, create=True) as nodes:
        await trio.sleep(LOOK_UP_EVERY_S / 2.0)
        rogue = town.network.bind("10.6.6.6", PORT)
        ring = keyring_of(town.cell.keys) if insider else keyring_of([(town.cell.keys[0][0], new_key())])
        asked = len(town.hosts.times("c.test"))
        for _ in range(5):
            rogue.send_nowait(forged(town, ring, 9), (HERE["a"], PORT))
            await trio.sleep(0.3)
        assert nodes[0].endpoint.statistics()["dropped_address" if insider else "dropped_seal"] == 5
        assert len(town.hosts.times("c.test")) - asked == (2 if insider else 0)
        assert rogue.receive_nowait() is None
        assert nodes[0].endpoint._nodes["c"].address == (HERE["c"], PORT)
        nodes[0].endpoint.queue("c", Poll(1, "x"))
        ((_, to),) = nodes[0].endpoint.flush()
        assert to == (HERE["c"], PORT)


# Two families


async def test_a_name_with_two_addresses_is_reached_at_the_one_that_answers(
    autojump_clock: MockClock,
) -> None:
    town = Town()
    for node_id, address in HERE.items():
        town.hosts.book[f"{node_id}.test"] = [f"fd00::{node_id}", address]
    async with (
        town.nodes(HERE, create=True),
        town.client() as client,
        client.lock("x", ttl=MAX_TTL_S, wait=20.0),
    ):
        await until_up(client, 3, 20.0)


def has_ipv6() -> bool:
    try:
        shut(UdpTransport.bind("::1", 0))
    except ConfigError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif("not has_ipv6()", reason="no IPv6 on this host")


@contextmanager
def both() -> Iterator[TwoFamilies]:
    transport = bind_all([("127.0.0.1", 0), ("::1", 0)])
    assert isinstance(transport, TwoFamilies)
    try:
        yield transport
    finally:
        transport.close()


async def receive(transport: Transport) -> tuple[bytes, Address]:
    with trio.fail_after(10):
        while (found := transport.receive_nowait()) is None:
            await transport.wait_readable()
        return found


@needs_ipv6
@pytest.mark.parametrize("epoll", [True, False])
async def test_one_transport_of_two_families(monkeypatch: pytest.MonkeyPatch, epoll: bool) -> None:
    if not epoll:
        monkeypatch.delattr("paxlock.host.udp.select.epoll", raising=False)
    with trio.fail_after(20), both() as transport:
        for host in ("::1", "127.0.0.1", "::1"):
            peer = UdpTransport.bind(host, 0)
            assert transport.reaches(peer.address)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive, transport)
                await trio.testing.wait_all_tasks_blocked()
                peer.send_nowait(b"ping", (host, transport.address[1]))
            transport.send_nowait(b"pong", peer.address)
            assert await receive(peer) == (b"pong", (host, transport.address[1]))
            peer.close()
        assert transport.statistics()["sent"] == transport.statistics()["received"] == 3


@needs_ipv6
@pytest.mark.parametrize("epoll", [True, False])
async def test_closing_two_families_wakes_the_waiter(monkeypatch: pytest.MonkeyPatch, epoll: bool) -> None:
    if not epoll:
        monkeypatch.delattr("paxlock.host.udp.select.epoll", raising=False)

    async def wait(transport: Transport) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await transport.wait_readable()

    with trio.fail_after(10), both() as transport:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, transport)
            await trio.testing.wait_all_tasks_blocked()
            transport.close()
        await wait(transport)
        with pytest.raises(trio.ClosedResourceError):
            transport.receive_nowait()


def test_a_socket_of_one_family_counts_what_it_cannot_reach() -> None:
    transport = bind_all([("127.0.0.1", 0), ("127.0.0.2", 0)])
    assert isinstance(transport, UdpTransport)
    assert not transport.reaches(("::1", 9))
    transport.send_nowait(b"x", ("::1", 9))
    assert transport.statistics()["send_errors_EAFNOSUPPORT"] == 1
    shut(transport)


def test_of_several_addresses_those_are_bound_that_this_host_has() -> None:
    transport = bind_all([("192.0.2.77", 0), ("127.0.0.1", 0)])
    assert transport.address[0] == "127.0.0.1"
    assert isinstance(transport, UdpTransport)
    shut(transport)
    with pytest.raises(ConfigError, match="does not have that address"):
        bind_all([("192.0.2.77", 0), ("192.0.2.78", 0)])


def free_ports(count: int) -> list[int]:
    """Ports that are free in both families at the moment."""
    found = [bind_all([("127.0.0.1", 0), ("::1", 0)]) for _ in range(count)]
    for transport in found:
        shut(transport)
    return [transport.address[1] for transport in found]


def shut(transport: Transport) -> None:
    """Close it outside of trio."""
    for one in transport._both if isinstance(transport, TwoFamilies) else (transport,):
        assert isinstance(one, UdpTransport)
        one._socket.close()


@needs_ipv6
@pytest.mark.parametrize(
    "places",
    [
        {"a": ["127.0.0.1", "::1"], "b": ["::1"], "c": ["::1", "127.0.0.1"]},
        {"a": ["::1", "127.0.0.1"], "b": ["127.0.0.1"], "c": ["127.0.0.1", "::1"]},
    ],
    ids=["one without IPv4", "one without IPv6"],
)
async def test_a_cell_of_both_families_on_real_sockets(places: dict[str, list[str]]) -> None:
    Hosts({f"{node_id}.test": addresses for node_id, addresses in places.items()})
    ports = dict(zip("abc", free_ports(3), strict=True))
    cell = Cell.new({node_id: f"{node_id}.test:{port}" for node_id, port in ports.items()}, max_ttl=MAX_TTL_S)
    with trio.fail_after(60):
        async with AsyncExitStack() as stack:
            nodes = [
                await stack.enter_async_context(
                    run_service(NodeConfig(cell, node_id, "/virtual"), create=True, store=MemoryStore())
                )
                for node_id in "abc"
            ]
            for node in nodes:
                await node.serving.wait()
            client = await stack.enter_async_context(open_client(cell))
            async with client.lock("x", ttl=MAX_TTL_S):
                await until_up(client, 3, 30.0)


def literal_cell(**addresses: str) -> Cell:
    return Cell.new(addresses, max_ttl=MAX_TTL_S)


async def test_addresses_of_two_families_that_cannot_meet_are_refused_with_a_sentence() -> None:
    cell = literal_cell(a="10.0.0.1:7400", b="[fd00::2]:7400", c="10.0.0.3:7400")
    with pytest.raises(ConfigError, match=r"node a and node b cannot reach each other: b has IPv6"):
        async with run_service(NodeConfig(cell, "a", "/virtual"), create=True, store=MemoryStore()):
            pytest.fail("it can never come up")
    with pytest.raises(ConfigError, match=r"node b and node a cannot reach each other: a has IPv4"):
        async with run_service(NodeConfig(cell, "b", "/virtual"), create=True, store=MemoryStore()):
            pytest.fail("it can never come up")


class OneFamily:
    """A transport in memory without a socket for IPv6."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def reaches(self, address: Address) -> bool:
        return ":" not in address[0]


async def test_names_of_two_families_that_do_not_meet_are_told_once_and_again_when_they_have_changed(
    autojump_clock: MockClock,
) -> None:
    town = Town()
    town.hosts.book = {"a.test": ["10.0.0.1"], "b.test": ["fd00::2"], "c.test": ["fd00::3", "10.0.0.3"]}
    transport = OneFamily(town.network.bind(HERE["a"], PORT))
    async with run_service(
        NodeConfig(town.cell, "a", "/virtual"),
        create=True,
        report=town.reports.append,
        transport=transport,  # type: ignore[arg-type]
        store=MemoryStore(),
        clock=TrioClock(),
    ):
        await trio.sleep(60.0)
        town.hosts.book["c.test"] = ["10.0.0.33"]
        await trio.sleep(15.0)
        told = [text for text in town.reports if "cannot reach each other" in text]
        assert len(told) == 1
        assert "node a and node b" in told[0] and 'listen = "[::]:PORT"' in told[0]
        town.hosts.book["b.test"] = ["10.0.0.2"]
        await trio.sleep(15.0)
        town.hosts.book["b.test"] = ["fd00::2"]
        await trio.sleep(15.0)
        assert len([text for text in town.reports if "cannot reach each other" in text]) == 2


def test_a_client_of_nodes_that_this_host_cannot_reach_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    bind = UdpTransport.bind

    def without_ipv6(host: str, port: int) -> UdpTransport:
        if ":" in host:
            raise ConfigError("cannot listen")
        return bind(host, port)

    monkeypatch.setattr(UdpTransport, "bind", without_ipv6)
    with pytest.raises(ConfigError, match="IPv6 addresses only, and this host cannot use IPv6"):
        Environment().bind_beside([("fd00::1", PORT)])
    transport = Environment().bind_beside([("fd00::1", PORT), ("127.0.0.1", PORT)])
    assert isinstance(transport, UdpTransport)
    shut(transport)


def test_a_client_binds_what_its_nodes_have_or_may_have() -> None:
    for addresses, named, wanted in (
        ([("127.0.0.1", 1)], False, UdpTransport),
        ([("127.0.0.1", 1), ("::1", 1)], False, TwoFamilies),
        ([("10.0.0.1", 1)], True, TwoFamilies),
        ([], True, TwoFamilies),
    ):
        transport = Environment().bind_beside(addresses, named=named)
        assert isinstance(transport, wanted)
        shut(transport)
