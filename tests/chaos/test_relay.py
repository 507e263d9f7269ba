"""The relay: who sees whom, and what becomes of datagrams on the way."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest

from .relay import Address, Relay, Weather

PATIENCE_S = 5.0
CLEAR = Weather(delay=0.0, spread=0.0, tail=0.0, loss=0.0, repeat=0.0)


class Net:
    """Two nodes and a client around a relay."""

    def __init__(self) -> None:
        self.sockets = {name: socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for name in "abc"}
        for sock in self.sockets.values():
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(PATIENCE_S)
        private = {name: self.sockets[name].getsockname() for name in "ab"}
        self.relay = Relay(dict.fromkeys("ab", ("127.0.0.1", 0)), private, Random(1), CLEAR)
        self.public = self.relay.faces()
        self.relay.start()
        self.relay.add_client("c", self.sockets["c"].getsockname(), "127.0.0.1")

    def send(self, source: str, target: str, datagram: bytes) -> None:
        self.sockets[source].sendto(datagram, self.public[target])

    def receive(self, name: str) -> tuple[bytes, Address]:
        datagram, (host, port) = self.sockets[name].recvfrom(2048)
        return datagram, (host, port)

    def close(self) -> None:
        self.relay.close()
        for sock in self.sockets.values():
            sock.close()


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net()
    yield net
    net.close()


def test_nodes_see_each_other_at_their_public_addresses(net: Net) -> None:
    net.send("a", "b", b"hello")
    assert net.receive("b") == (b"hello", net.public["a"])
    net.send("b", "a", b"answer")
    assert net.receive("a") == (b"answer", net.public["b"])


def test_a_client_has_one_address_for_all_nodes_and_is_answered(net: Net) -> None:
    net.send("c", "a", b"one")
    net.send("c", "b", b"two")
    (one, seen_by_a), (two, seen_by_b) = net.receive("a"), net.receive("b")
    assert (one, two) == (b"one", b"two")
    assert seen_by_a == seen_by_b
    assert seen_by_a not in (*net.public.values(), net.sockets["c"].getsockname())
    net.sockets["b"].sendto(b"answer", seen_by_b)
    assert net.receive("c") == (b"answer", net.public["b"])


def test_a_link_is_cut_in_one_direction_only(net: Net) -> None:
    net.relay.block(["c"], ["a"])
    net.send("c", "a", b"cut off")
    net.send("c", "b", b"passes")
    _, client = net.receive("b")
    net.sockets["a"].sendto(b"back", client)
    assert net.receive("c") == (b"back", net.public["a"])
    net.relay.blocked = frozenset()
    net.send("c", "a", b"healed")
    assert net.receive("a")[0] == b"healed"
    assert net.relay.counts["cut off"] == 1


def test_what_a_stranger_sends_goes_nowhere(net: Net) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"junk", net.public["a"])
        net.send("b", "a", b"known")
        assert net.receive("a")[0] == b"known"
    assert net.relay.counts["strangers"] == 1


def test_a_client_that_was_removed_is_a_stranger(net: Net) -> None:
    net.relay.remove_client("c")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        net.relay.add_client("d", other.getsockname(), "127.0.0.1")
        other.sendto(b"known", net.public["a"])
        assert net.receive("a")[0] == b"known"  # so the orders before have been carried out
        net.send("c", "a", b"removed")
        other.sendto(b"again", net.public["a"])
        assert net.receive("a")[0] == b"again"
    assert net.relay.counts["strangers"] == 1


def test_weather_loses_repeats_and_reorders(net: Net) -> None:
    net.relay.weather = Weather(delay=0.0, spread=0.02, tail=0.0, loss=0.3, repeat=0.3)
    got: list[bytes] = []
    counts = net.relay.counts
    sent = 0
    while not (counts["lost"] and counts["repeated"] and counts["reordered"] and len(got) >= 50):
        net.send("a", "b", str(sent).encode())
        sent += 1
        with suppress(BlockingIOError):
            net.sockets["b"].setblocking(False)
            got.append(net.receive("b")[0])
        assert sent < 1_000_000
    net.sockets["b"].settimeout(PATIENCE_S)
    assert got != sorted(got, key=int)
    assert len(set(got)) < sent


def test_delays_are_at_least_the_delay_and_tails_are_longer() -> None:
    rng = Random(7)
    weather = Weather(delay=0.01, spread=0.01, tail=0.5, tail_mean=1.0, loss=0.0, repeat=0.0)
    delays = [weather.delays(rng) for _ in range(1000)]
    assert all(len(each) == 1 and each[0] >= 0.01 for each in delays)
    late = sum(each[0] > 0.02 for each in delays)
    assert 400 < late < 600
