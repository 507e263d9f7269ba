"""Far places: what the relay does with packets, and that nothing of a network is left behind."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from benchmarks.places import Distance, FarPlaces, Here, missing
from benchmarks.relay import Network

ONE, OTHER = socket.inet_aton("10.75.1.1"), socket.inet_aton("10.75.2.1")


def packet(source: bytes, destination: bytes, body: bytes = b"") -> bytes:
    return b"\x45" + bytes(11) + source + destination + body


def network(jitter: float = 0.0, loss: float = 0.0) -> Network:
    return Network({ONE: 7, OTHER: 8}, round_trip=0.1, jitter=jitter, loss=loss, seed=1)


def test_a_packet_arrives_after_half_a_round_trip() -> None:
    found = network()
    assert found.wait(0.0) is None
    found.take(packet(ONE, OTHER), 1.0)
    assert found.wait(1.0) == pytest.approx(0.05)
    assert found.arrived(1.04) == []
    assert found.arrived(1.051) == [(8, packet(ONE, OTHER))]
    assert found.arrived(2.0) == []


def test_no_packet_overtakes_another_on_its_way() -> None:
    found = network(jitter=0.05)
    sent = [packet(ONE, OTHER, bytes([number])) for number in range(200)]
    for number, one in enumerate(sent):
        found.take(one, number / 1000)
    assert [body for _, body in found.arrived(100.0)] == sent


def test_so_many_are_lost() -> None:
    found = network(loss=0.1)
    for _ in range(5_000):
        found.take(packet(ONE, OTHER), 0.0)
    assert 4_300 < len(found.arrived(1.0)) < 4_700


@pytest.mark.parametrize(
    "other", [b"", b"\x60" + bytes(39), packet(ONE, socket.inet_aton("10.75.9.1")), b"\x45"]
)
def test_what_goes_nowhere_is_dropped(other: bytes) -> None:
    found = network()
    found.take(other, 0.0)
    assert found.wait(0.0) is None


def test_here_everything_is_on_loopback() -> None:
    assert Here().command(2, ["sh", "-c", ":"]) == ["sh", "-c", ":"]
    assert {Here().address(number) for number in range(6)} == {"127.0.0.1"}


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(bool(missing()), reason="needs a TUN device, root and iproute2")
def test_far_places_are_far_and_leave_nothing_behind() -> None:
    program = """if True:
        import socket, sys, time
        listener = socket.create_server((sys.argv[1], 7000))
        print("listens", flush=True)
        listener.accept()[0].sendall(b"x")
    """
    caller = """if True:
        import socket, sys, time
        began = time.monotonic()
        socket.create_connection((sys.argv[1], 7000), 30).recv(1)
        print(time.monotonic() - began)
    """
    with FarPlaces(2, Distance(round_trip=0.1, jitter=0.0, loss=0.0)) as places:
        names = [places.command(number, [])[3] for number in range(2)]
        words = places.command(0, [sys.executable, "-c", program, places.address(0)])
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None and server.stdout.readline() == "listens\n"
            words = places.command(1, [sys.executable, "-c", caller, places.address(0)])
            took = float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
            server.wait(30)
    assert took > 0.14  # a connection is made in one round trip, and the byte comes with half of another
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not any(name in left for name in names)
