"""Real sockets on loopback, and the network in memory under trio's mock clock."""

from __future__ import annotations

import random
import socket
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from paxlock.errors import ConfigError
from paxlock.runtime.udp import UdpTransport, resolve
from paxlock.testing.memory_network import INBOX_MAX_DATAGRAMS, MemoryNetwork, MemoryTransport
from paxlock.wire.transport import Address, Transport, format_address, split_address

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOPBACKS = ["127.0.0.1", "::1"]


@pytest.fixture(params=LOOPBACKS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[UdpTransport, UdpTransport]]:
    try:
        first, second = UdpTransport.bind(request.param, 0), UdpTransport.bind(request.param, 0)
    except ConfigError:
        assert request.param == "::1"
        pytest.skip("no IPv6 on this host")
    yield first, second
    for transport in (first, second):
        if transport._socket.fileno() >= 0:
            transport._socket.close()


async def receive(transport: Transport) -> tuple[bytes, Address]:
    with trio.fail_after(5):
        while True:
            if (received := transport.receive_nowait()) is not None:
                return received
            await transport.wait_readable()


async def test_udp_there_and_back(pair: tuple[UdpTransport, UdpTransport]) -> None:
    first, second = pair
    assert second.receive_nowait() is None
    first.send_nowait(b"ping", second.address)
    assert await receive(second) == (b"ping", first.address)
    second.send_nowait(b"", first.address)
    assert await receive(first) == (b"", second.address)
    assert first.statistics()["sent"] == first.statistics()["received"] == 1
    assert len(first.address) == 2


async def test_udp_close_wakes_the_waiter(pair: tuple[UdpTransport, UdpTransport]) -> None:
    first, second = pair
    woken = trio.Event()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await first.wait_readable()
        woken.set()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            first.close()
            first.close()
            await woken.wait()
    with pytest.raises(trio.ClosedResourceError):
        first.receive_nowait()
    with pytest.raises(trio.ClosedResourceError):
        first.send_nowait(b"x", second.address)
    with pytest.raises(trio.ClosedResourceError):
        await first.wait_readable()


async def test_udp_send_trouble_is_counted() -> None:
    transport = UdpTransport.bind("127.0.0.1", 0)
    transport.send_nowait(b"x", ("255.255.255.255", 9))  # a broadcast is not allowed to this socket
    transport.send_nowait(bytes(70_000), ("127.0.0.1", 9))
    transport.send_nowait(b"x", ("::1", 9))  # of the other family
    counts = transport.statistics()
    assert counts["sent"] == 0 and counts["send_errors"] == 3
    assert counts["send_errors_EMSGSIZE"] == 1
    transport.close()


def test_udp_port_in_use() -> None:
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", 0))
    with taken, pytest.raises(ConfigError, match="port is in use"):
        UdpTransport.bind("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "words"), [("localhost", "give the IP address"), ("192.0.2.1", "does not have that address")]
)
def test_udp_bad_bind(host: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        UdpTransport.bind(host, 0)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.7:7400", ("10.0.0.7", 7400)),
        (" a.example:1 ", ("a.example", 1)),
        ("[::1]:7400", ("::1", 7400)),
        ("[fe80::1%eth0]:0", ("fe80::1%eth0", 0)),
    ],
)
def test_split_address(text: str, address: Address) -> None:
    assert split_address(text) == address
    assert format_address(address) == text.strip()


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":7400", "::1", "::1:7400", "[::1]", "[host]:1", "a b:1", "[]:1", "[::1:1"],
)
async def test_nonsense_is_not_an_address(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an address: write it as host:port"):
        await resolve(text)


@pytest.mark.parametrize("port", ["65536", "-1", "+1", "1_0", "\N{ARABIC-INDIC DIGIT THREE}", "9" * 5000])
async def test_nonsense_is_not_a_port(port: str) -> None:
    with pytest.raises(ConfigError, match="with a port from 0 to 65535"):
        await resolve(f"host:{port}")


async def test_resolve() -> None:
    assert await resolve("127.0.0.1:7400") == [("127.0.0.1", 7400)]
    assert await resolve("[::1]:7400") == [("::1", 7400)]
    with trio.fail_after(5):
        assert ("127.0.0.1", 80) in await resolve("localhost:80")


async def test_what_cannot_be_resolved() -> None:
    with pytest.raises(ConfigError, match="cannot be resolved"):
        await resolve("a..b:7400")


# The network in memory.


async def test_memory_takes_the_delay(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(random.Random(1), delay_min=0.25, delay_max=0.25)
    first, second = network.bind(), network.bind()
    assert first.address != second.address
    start = trio.current_time()
    first.send_nowait(b"ping", second.address)
    assert second.receive_nowait() is None
    assert await receive(second) == (b"ping", first.address)
    assert trio.current_time() - start == pytest.approx(0.25)


async def test_memory_wakes_for_an_earlier_arrival(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(random.Random(1), delay_min=4.0, delay_max=4.0)
    first, second = network.bind(), network.bind()
    first.send_nowait(b"slow", second.address)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def later() -> None:
            await trio.sleep(1)
            network.delay_min = network.delay_max = 0.5
            first.send_nowait(b"fast", second.address)

        assert (await receive(second))[0] == b"fast"
        assert (await receive(second))[0] == b"slow"


async def drain(transport: MemoryTransport) -> list[bytes]:
    got = []
    with trio.move_on_after(60):
        while True:
            await transport.wait_readable()
            while (received := transport.receive_nowait()) is not None:
                got.append(received[0])
    return got


async def trouble(seed: int) -> list[bytes]:
    network = MemoryNetwork(random.Random(seed), 0.001, 0.5, loss=0.3, duplication=0.3)
    first, second = network.bind(), network.bind()
    for number in range(200):
        first.send_nowait(b"%d" % number, second.address)
    got = await drain(second)
    assert first.statistics()["sent"] + first.statistics()["lost"] == 200
    assert second.statistics()["received"] == len(got)
    return got


async def test_memory_loses_repeats_and_reorders_by_its_seed(autojump_clock: trio.testing.MockClock) -> None:
    got = await trouble(3)
    assert got == await trouble(3)
    assert got != await trouble(4)
    assert 100 < len(set(got)) < 180
    assert len(got) > len(set(got)) + 20
    assert sorted(got, key=int) != got


async def test_memory_blocks_one_way(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(random.Random(1))
    first, second = network.bind("10.0.0.1", 7400), network.bind("10.0.0.2", 7400)
    network.block(first.address, second.address)
    first.send_nowait(b"a", second.address)
    second.send_nowait(b"b", first.address)
    assert (await receive(first))[0] == b"b"
    network.unblock(first.address, second.address)
    first.send_nowait(b"c", second.address)
    assert (await receive(second))[0] == b"c"
    assert first.statistics() == {"sent": 1, "lost": 1, "received": 1, "overflowed": 0}


async def test_memory_addresses_are_exclusive_and_freed(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(random.Random(1))
    first = network.bind("10.0.0.1", 7400)
    with pytest.raises(ConfigError, match="port is in use"):
        network.bind("10.0.0.1", 7400)
    first.close()
    second = network.bind("10.0.0.1", 7400)
    first.close()  # does not take the address from its successor
    third = network.bind()
    third.send_nowait(b"x", second.address)
    assert (await receive(second))[0] == b"x"
    third.send_nowait(b"x", ("10.9.9.9", 1))
    assert third.statistics()["lost"] == 1


async def test_memory_close_wakes_and_second_waiter_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    transport = MemoryNetwork(random.Random(1)).bind()

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await transport.wait_readable()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await transport.wait_readable()
        transport.close()
    with pytest.raises(trio.ClosedResourceError):
        transport.receive_nowait()


async def test_memory_inbox_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(random.Random(1))
    first, second = network.bind(), network.bind()
    for _ in range(INBOX_MAX_DATAGRAMS + 5):
        first.send_nowait(b"x", second.address)
    assert second.statistics()["overflowed"] == 5


def test_both_are_transports() -> None:
    memory: Transport = MemoryNetwork(random.Random(1)).bind()
    udp: Transport = UdpTransport.bind("127.0.0.1", 0)
    assert memory.address[0] == udp.address[0]
    assert isinstance(udp, UdpTransport)
    udp._socket.close()
