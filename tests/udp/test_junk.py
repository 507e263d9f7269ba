"""100,000 datagrams of noise at a real node of a sealed cell: none answered, all counted, service goes on."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from processes import Program, process_cell

from paxlock.core.messages import Hello, Poll
from paxlock.host.whereabouts import keyring_of
from paxlock.wire.endpoint import Endpoint, SessionSender

pytestmark = pytest.mark.processes

DATAGRAMS = 100_000
PATIENCE_S = 60.0
BATCH = 200  #: few enough for the smallest receive buffer


def counters(node: Program) -> dict[str, Any]:
    node.tell()
    return node.expect("counters")


def dropped(counts: dict[str, Any]) -> int:
    """By the node, and by the kernel for it."""
    node = sum(int(number) for what, number in counts["endpoint"].items() if what.startswith("dropped_"))
    return node + int(counts["transport"]["kernel_drops"])


def mutated(rng: random.Random, datagram: bytes) -> bytes:
    """Surely another datagram: bits turned, cut, or lengthened."""
    match rng.randrange(4):
        case 0:
            return datagram[: rng.randrange(len(datagram))]
        case 1:
            return datagram + rng.randbytes(rng.randint(1, 100))
        case 2:
            place = rng.randrange(len(datagram))
            return (
                datagram[:place] + bytes([datagram[place] ^ (1 << rng.randrange(8))]) + datagram[place + 1 :]
            )
        case _:
            start = rng.randrange(len(datagram) - 8)
            noise = bytes(byte ^ 0x55 for byte in datagram[start : start + 8])
            return datagram[:start] + noise + datagram[start + 8 :]


@pytest.mark.slow
def test_noise_is_counted_dropped_and_never_answered(tmp_path: Path) -> None:
    rng = random.Random(20)
    with process_cell(tmp_path) as cell, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        client = cell.client("client")
        client.expect("open")
        node, target = cell.nodes["a"], ("127.0.0.1", cell.ports["a"])
        noise.bind(("127.0.0.1", 0))
        noise.setblocking(False)
        endpoint = Endpoint(
            SessionSender(rng.randbytes(16)),
            keyring_of(cell.cell.keys),
            cell_id=cell.cell.cell_id,
            epoch=cell.cell.epoch,
            members={"a": [target]},
        )
        endpoint.queue("a", Hello(1))
        hello = endpoint.flush()[0][0]
        endpoint.queue("a", Poll(2, "x"))
        poll = endpoint.flush()[0][0]
        before = counters(node)
        sent = 0
        while sent < DATAGRAMS:
            for _ in range(BATCH):
                if rng.random() < 0.5:
                    junk = rng.randbytes(rng.choice((0, 1, 20, 46, 80, 300, 1200, 1400)))
                else:
                    junk = mutated(rng, rng.choice((hello, poll)))
                noise.sendto(junk, target)
            sent += BATCH
            # So that nothing overflows on the way, wait until all have come.
            until = time.monotonic() + PATIENCE_S
            while dropped(counters(node)) - dropped(before) < sent:
                assert time.monotonic() < until, "not all of it is counted"
        after = counters(node)
        assert dropped(after) - dropped(before) == DATAGRAMS
        with pytest.raises(BlockingIOError):
            noise.recvfrom(2048)
        # The node still counts: with it, and without another one, there is a quorum.
        cell.nodes["b"].kill()
        client.tell("lock", name="x", ttl=1.0)
        client.expect("acquired")
        # And the datagram that all the noise was made from is answered.
        noise.sendto(hello, target)
        noise.settimeout(10.0)
        assert noise.recvfrom(2048)[1] == target
