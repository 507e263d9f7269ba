"""The filter on a node's socket lets pass what the node may take, and hardly anything of junk."""

from __future__ import annotations

import os
import random
import select
import socket
import sys
from collections.abc import Iterator

import attrs
import pytest

from paxlock.core.messages import Greet, Hello, Poll
from paxlock.host import socket_filter
from paxlock.host.socket_filter import FOREIGN_SHARE, JUNK_SHARE, keep_junk_away
from paxlock.host.udp import TwoSockets, UdpSocket
from paxlock.wire.codec import encode, join
from paxlock.wire.endpoint import Endpoint, NodeSender, SessionSender
from paxlock.wire.grants import draw_session
from paxlock.wire.header import VERSION
from paxlock.wire.keyring import Keyring

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such filters")

CELL, OTHER = bytes(range(16)), bytes(range(1, 17))
RING = Keyring({1: bytes(32)})
MEMBERS = {"a": [("127.0.0.1", 1)], "b": [("127.0.0.1", 2)]}


@attrs.define
class Pipe:
    """A socket with the filter, and one that sends to it."""

    sock: UdpSocket
    out: socket.socket

    def passes(self, *datagrams: bytes) -> int:
        """How many of them arrive."""
        arrived = 0
        for datagram in datagrams:
            self.out.sendto(datagram, self.sock.address)
            # On loopback it is there, or was dropped, when the send returns.
            arrived += self.sock.receive_nowait() is not None
        return arrived


@pytest.fixture(params=["127.0.0.1", "::1"])
def pipe(request: pytest.FixtureRequest) -> Iterator[Pipe]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        sock = UdpSocket.bind(request.param, 0)
    except Exception as error:  # noqa: BLE001 - whatever it is
        pytest.skip(f"no {request.param} here: {error}")
    out = socket.socket(family, socket.SOCK_DGRAM)
    assert keep_junk_away(sock, CELL)
    yield Pipe(sock, out)
    sock.close()
    out.close()


def node(cell: bytes = CELL, epoch: int = 1) -> Endpoint:
    return Endpoint(NodeSender("b", 1, b"r" * 16), RING, cell_id=cell, epoch=epoch, members=MEMBERS)


def client(cell: bytes | None = CELL, epoch: int = 1, grant: bytes = b"") -> Endpoint:
    ring = Keyring({1: bytes(32)}, grant=grant) if grant else RING
    sender = SessionSender(os.urandom(16), grant)
    if cell is None:
        return Endpoint(sender, ring)
    return Endpoint(sender, ring, cell_id=cell, epoch=epoch, members=MEMBERS)


def sealed(one: Endpoint) -> bytes:
    one.queue("a", Poll(1, "n") if isinstance(one.sender, SessionSender) else Greet(1, 9, b"r" * 16))
    ((datagram, _),) = one.flush()
    return datagram


def greeting() -> bytes:
    one = client(None)
    one.greet_seeds([("127.0.0.1", 1)], 1)
    ((datagram, _),) = one.flush()
    return datagram


def test_what_a_node_may_take_always_passes(pipe: Pipe) -> None:
    empty = node()._sealing.seal(join([]), 1, 1, "a")
    for datagram in (
        sealed(node()),
        sealed(client()),
        sealed(client(grant=b"g" * 160)),
        greeting(),
        empty,
        client()._sealing.seal(join([encode(Hello(1))]), 1, 1),
    ):
        assert pipe.passes(*[datagram] * 50) == 50
    unsealed = Endpoint(
        SessionSender(draw_session()), Keyring.unsealed(), cell_id=CELL, epoch=1, members=MEMBERS
    )
    assert pipe.passes(*[sealed(unsealed)] * 50) == 50


def test_what_operators_are_told_of_passes_too(pipe: Pipe) -> None:
    """Another epoch, other members, an older version, a foreign key: counted by the node, not here."""
    other_members = Endpoint(
        SessionSender(os.urandom(16)), RING, cell_id=CELL, epoch=1, members={"z": [("h", 1)]}
    )
    other_members.queue("z", Hello(1))
    ((of_others, _),) = other_members.flush()
    for datagram in (sealed(node(epoch=2)), sealed(client(epoch=7)), of_others):
        assert pipe.passes(*[datagram] * 50) == 50
    for version in range(1, VERSION):
        assert pipe.passes(*[bytes([version]) + os.urandom(40)] * 50) == 50


def test_of_another_cell_and_of_a_newer_version_some_pass(pipe: Pipe) -> None:
    assert 800 / FOREIGN_SHARE / 2 < pipe.passes(*[sealed(client(OTHER))] * 800) < 800 / FOREIGN_SHARE * 2
    newer = bytes([VERSION + 1]) + sealed(client())[1:]
    assert 0 < pipe.passes(*[newer] * 2000) < 2000 / JUNK_SHARE * 3


@pytest.mark.parametrize("place", range(3, 19))
def test_every_byte_of_the_cell_is_looked_at(pipe: Pipe, place: int) -> None:
    datagram = bytearray(sealed(client()))
    datagram[place] ^= 1
    assert pipe.passes(*[bytes(datagram)] * 40) < 30


def test_junk_is_dropped_and_counted_by_the_kernel(pipe: Pipe) -> None:
    rng = random.Random(7)
    datagrams = [rng.randbytes(rng.choice((0, 1, 2, 3, 20, 75, 76, 500, 1200))) for _ in range(4000)]
    short = [bytes([VERSION, 1, 1]) + CELL + bytes(20)] * 1000
    strange_kind = [bytes([VERSION, 1, 3]) + CELL + bytes(200)] * 1000
    passed = pipe.passes(*datagrams, *short, *strange_kind)
    assert passed < 6000 * 3 / JUNK_SHARE
    assert pipe.sock.statistics()["kernel_drops"] == 6000 - passed


def test_two_sockets_are_both_filtered() -> None:
    first, second = UdpSocket.bind("127.0.0.1", 0), UdpSocket.bind("127.0.0.1", 0)
    both = TwoSockets(first, second)
    try:
        assert keep_junk_away(both, CELL)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for one in (first, second):
                for _ in range(200):
                    out.sendto(bytes(300), one.address)
        assert both.statistics()["kernel_drops"] > 300
    finally:
        both.close()


def test_where_the_kernel_takes_no_filter_all_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_filter, "_assembled", lambda lines: b"\xff" * 8)
    sock = UdpSocket.bind("127.0.0.1", 0)
    try:
        assert not keep_junk_away(sock, CELL)
        assert not keep_junk_away(object(), CELL)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(b"junk", sock.address)
            assert select.select([sock.fileno()], [], [], 10.0)[0]
            assert sock.receive_nowait() is not None
    finally:
        sock.close()
