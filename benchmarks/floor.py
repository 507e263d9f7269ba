"""The floor under an acquire: a request of its size to three processes, and the wait for two answers.

Each of the three answers without looking: no acceptor, no lease. The datagrams go through the transport, the
codec and the seal that paxlock uses, so that only the lock itself makes the difference. Run as a program it
is one echo (``echo NODE CELLFILE``) or the client (its specification in JSON).
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

import paxlock
from benchmarks.machine import LOOPBACK, Meter
from benchmarks.peers.ours import NODES, Cell
from benchmarks.processes import PYTHON
from paxlock.core.lease import Candidate
from paxlock.core.messages import Accepted, Hello, StandingPrepare, Welcome
from paxlock.host.labels import default_label
from paxlock.host.whereabouts import keyring_of
from paxlock.runtime.udp import UdpTransport
from paxlock.wire.endpoint import Endpoint, NodeSender, Received, SessionSender
from paxlock.wire.transport import split_address

NAME = "pairs"
QUORUM = 2
ANSWER_WAIT_S = 5.0
GREETING_WAIT_S = 0.2
TTL_MS = 10_000
REFRESH_MS = 5_000
WINDOW_MS = 10


class EchoCluster(Cell):
    """Three echoes in the place of nodes."""

    def commands(self) -> list[list[str]]:
        return [[PYTHON, "-m", "benchmarks.floor", "echo", node, str(self.cell_file)] for node in NODES]


class Party:
    """One end: an endpoint on a socket."""

    def __init__(self, sender: NodeSender | SessionSender, cell: paxlock.Cell, port: int) -> None:
        self.endpoint = Endpoint(
            sender,
            keyring_of(cell.keys),
            cell_id=cell.cell_id,
            epoch=cell.epoch,
            members={member.node_id: [split_address(member.address)] for member in cell.members},
        )
        self.transport = UdpTransport.bind(LOOPBACK, port)

    def flush(self) -> None:
        for datagram, address in self.endpoint.flush():
            self.transport.send_nowait(datagram, address)

    async def receive(self) -> Received | None:
        """The next datagram; None for one that was dropped."""
        while (found := self.transport.receive_nowait()) is None:
            await self.transport.wait_readable()
        return self.endpoint.receive_untrusted(*found)


async def echo(node: str, cell: paxlock.Cell) -> None:
    """Answer everything, until cancelled."""
    party = Party(NodeSender(node, 1, secrets.token_bytes(16)), cell, split_address(cell.address_of(node))[1])
    welcome = Welcome(
        request=1,
        node_id=node,
        members=cell.members,
        max_ttl_ms=cell.max_ttl_ms,
        drift_ppm=cell.configuration.drift_ppm,
        grace_ms=cell.grace_ms,
        mode=paxlock.NodeMode.SERVING,
        remaining_ms=0,
        floor=0,
    )
    while True:
        received = await party.receive()
        for message in received.messages if received is not None else ():
            assert received is not None
            if isinstance(message, StandingPrepare):
                answer = Accepted(message.request, message.name, message.candidate, 1, message.seq)
                party.endpoint.queue(received.peer, answer)
            elif isinstance(message, Hello):
                party.endpoint.queue(received.peer, welcome)
        party.flush()


class Asker:
    """The client of the floor."""

    def __init__(self, cell: paxlock.Cell) -> None:
        self._session = secrets.token_bytes(16)
        self._party = Party(SessionSender(self._session), cell, 0)
        self._label = default_label()
        self._attempt = 0

    async def greet(self) -> None:
        """Exchange cookies with every node, as a session does before its first request."""
        heard: set[object] = set()
        while len(heard) < len(NODES):
            for node in NODES:
                self._party.endpoint.queue(node, Hello(1))
            self._party.flush()
            with trio.move_on_after(GREETING_WAIT_S):
                await self._hear(heard, lambda message: isinstance(message, Welcome), len(NODES))

    async def round_trip(self) -> None:
        self._attempt += 1
        attempt = self._attempt
        request = StandingPrepare(
            attempt,
            NAME,
            attempt,
            Candidate(self._session, attempt),
            0,
            REFRESH_MS,
            WINDOW_MS,
            self._label,
            TTL_MS,
            b"",
            attempt,
        )
        for node in NODES:
            self._party.endpoint.queue(node, request)
        self._party.flush()
        with trio.fail_after(ANSWER_WAIT_S):
            await self._hear(set(), lambda m: isinstance(m, Accepted) and m.request == attempt, QUORUM)

    async def _hear(self, heard: set[object], wanted: Callable[[object], bool], count: int) -> None:
        while len(heard) < count:
            received = await self._party.receive()
            if received is not None and any(map(wanted, received.messages)):
                heard.add(received.peer)


async def ask(specification: dict[str, Any]) -> dict[str, object]:
    """Round trips for some seconds: their durations, and the CPU seconds."""
    arguments, servers = specification["arguments"], specification["servers"]
    asker = Asker(paxlock.Cell.load(specification["connection"]["cell"]))
    await asker.greet()
    print(json.dumps({"ready": True}), flush=True)
    await trio.to_thread.run_sync(sys.stdin.readline)
    await _round_trips(asker, arguments["warm_up_s"])
    meter = Meter(servers)
    took = await _round_trips(asker, arguments["seconds"])
    return {"took": took, **meter.read()}


async def _round_trips(asker: Asker, seconds: float) -> list[int]:
    took = []
    end = time.monotonic_ns() + int(seconds * 1e9)
    moment = time.monotonic_ns()
    while moment < end:
        await asker.round_trip()
        after = time.monotonic_ns()
        took.append(after - moment)
        moment = after
    return took


def main() -> None:
    match sys.argv[1:]:
        case ["echo", node, cell_file]:
            trio.run(echo, node, paxlock.Cell.load(Path(cell_file)))
        case [specification]:
            print(json.dumps({"result": trio.run(ask, json.loads(specification))}), flush=True)
        case _:
            raise SystemExit("usage: echo NODE CELLFILE, or a specification in JSON")


if __name__ == "__main__":
    main()
