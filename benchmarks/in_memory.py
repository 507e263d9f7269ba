"""Three replicas and their sessions, wired together in memory, on a clock that is only a number."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import paxlock
from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, Membership, NodeRecord, Snapshot, SnapshotName
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Member, Message, NodeMode, Peer
from paxlock.core.node.recovery import CONFIRM_PATIENCE_S
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.node.starts import Start
from paxlock.core.session.events import Granted
from paxlock.core.session.session import Session, SessionSettings
from paxlock.host.whereabouts import keyring_of
from paxlock.wire.codec import encode
from paxlock.wire.endpoint import Endpoint, NodeSender, SessionSender

NODES = ("a", "b", "c")
MEMBERS = tuple(Member(node, f"{node}.example:7400") for node in NODES)
MAX_TTL_S = 30.0
TTL_S = 10.0
GRACE_S = 0.01
DRIFT_PPM = 10_000
FAR = 1 << 40
STEP_S = 1e-6  #: between two events that are to cost no waiting


def drawn_id(number: int) -> bytes:
    return (b"session-%d" % number).ljust(16, b".")


def session_id(number: int) -> bytes:
    return SessionSender(drawn_id(number)).session


def replica(node: str, snapshot: Snapshot | None = None) -> Replica:
    """A node that serves at once, and never needs its disk."""
    record = NodeRecord(
        b"c" * 16, 1, node, 3, FAR, Durability.RECORD, Membership.MEMBER, int(MAX_TTL_S * 1000), clean=False
    )
    settings = ReplicaSettings(
        node, Configuration(MEMBERS, int(MAX_TTL_S * 1000), DRIFT_PPM, int(GRACE_S * 1000)), 0.0
    )
    start = Start(record, snapshot.floor if snapshot is not None else 0, 0.0, snapshot)
    found = Replica(settings, start, run=b"r" * 16, now=0.0, rng=Random(1))
    found.tick(CONFIRM_PATIENCE_S)  # nobody confirms that a snapshot is the newest
    assert found.mode is NodeMode.SERVING
    return found


def session(number: int, now: float) -> Session:
    settings = SessionSettings(
        Configuration(MEMBERS, int(MAX_TTL_S * 1000), DRIFT_PPM, int(GRACE_S * 1000)), "benchmark"
    )
    own = session_id(number)
    return Session(settings, session=own, secret=own, now=now, rng=Random(number))


def known_names(count: int, left_ms: int = 10**9) -> Snapshot:
    """So many names, each held by somebody who is not here; unless told, for longer than anything lasts."""
    absent = session_id(999)
    names = []
    for number in range(count):
        lease = Lease(Candidate(absent, number + 1), int(MAX_TTL_S * 1000), "absent", b"")
        names.append(
            SnapshotName(f"name-{number:06d}", 1, lease, 1, absent, 1, left_ms, (), lease, 1, released=False)
        )
    return Snapshot(2, 1, tuple(names))


class World:
    """Three replicas and any number of sessions; messages arrive at once, in the order of their sending."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.now = 1.0
        self.replicas = {node: replica(node, snapshot) for node in NODES}
        self.sessions: dict[bytes, Session] = {}
        self.granted: deque[tuple[bytes, Granted]] = deque()
        self.recorded: list[tuple[float, bytes, bytes]] | None = None  #: what comes to node a, encoded
        self._under_way: deque[tuple[Peer, Peer, Message]] = deque()
        self._expiry: list[tuple[float, str, Peer]] = []

    def join(self, number: int) -> Session:
        found = self.sessions[session_id(number)] = session(number, self.now)
        self.carry_out(found.session)
        self.settle()
        return found

    def machine(self, peer: Peer) -> Replica | Session:
        return self.replicas[peer] if isinstance(peer, str) else self.sessions[peer]

    def carry_out(self, peer: Peer) -> None:
        """Take up what a machine wants done."""
        machine = self.machine(peer)
        effects = machine.take_effects()
        for other, message in effects.sends:
            self._under_way.append((peer, other, message))
        if isinstance(machine, Session):
            for notice in effects.published:
                if isinstance(notice, Granted):
                    self.granted.append((machine.session, notice))
        due = machine.deadline()
        heapq.heappush(self._expiry, (due, repr(peer), peer))

    def settle(self) -> None:
        """Let every message arrive, and those that answer them."""
        under_way = self._under_way
        while under_way:
            sender, receiver, message = under_way.popleft()
            if self.recorded is not None and receiver == "a" and isinstance(sender, bytes):
                self.recorded.append((self.now, sender, encode(message)))
            if isinstance(receiver, bytes) and receiver not in self.sessions:
                continue
            self.machine(receiver).receive(message, sender, self.now)
            self.carry_out(receiver)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self._expiry and self._expiry[0][0] <= until:
            due, _, peer = heapq.heappop(self._expiry)
            if self.machine(peer).deadline() > due:
                continue  # it has been called since, and has another alarm
            self.now = max(self.now, due)
            self.tick(peer)
            self.carry_out(peer)
            self.settle()
        self.now = until

    def tick(self, peer: Peer) -> None:
        self.machine(peer).tick(self.now)

    def acquire(self, of: Session, name: str, ttl: float = TTL_S) -> int:
        ticket = of.campaign(name, ttl=ttl, now=self.now)
        self.carry_out(of.session)
        self.settle()
        return ticket

    def release(self, of: Session, ticket: int) -> None:
        of.release(ticket, self.now)
        self.carry_out(of.session)
        self.settle()

    def pair(self, of: Session, name: str) -> None:
        ticket = self.acquire(of, name)
        assert self.granted.pop()[1].ticket == ticket
        self.release(of, ticket)
        self.now += STEP_S


class SealedWorld(World):
    """A world in which the messages travel in sealed datagrams, as they do on the wire, without the wire.

    One turn of a machine is what a driver does with one datagram or alarm: receive, take, pack, seal.
    """

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        super().__init__(snapshot)
        self._keyring = keyring_of(paxlock.Cell.new({n: f"{n}.example:7400" for n in NODES}).keys)
        self._addresses: dict[Peer, tuple[str, int]] = {n: (f"10.0.0.{i}", 1) for i, n in enumerate(NODES)}
        members = {n: [self._addresses[n]] for n in NODES}
        self._endpoints: dict[Peer, Endpoint] = {
            n: Endpoint(
                NodeSender(n, 1, n.encode() * 16), self._keyring, cell_id=b"c" * 16, epoch=1, members=members
            )
            for n in NODES
        }
        self._members = members
        self._peers: dict[tuple[str, int], Peer] = {a: p for p, a in self._addresses.items()}
        self._flying: deque[tuple[bytes, tuple[str, int], Peer]] = deque()
        self.datagrams = 0
        self.used = {"nodes": 0.0, "client": 0.0}
        self.longest = {"nodes": 0.0, "client": 0.0}
        for node in NODES:
            self.carry_out(node)
        self.settle()

    def join(self, number: int) -> Session:
        sender, place = SessionSender(drawn_id(number)), (f"10.1.0.{number}", 2)
        identity = sender.session
        self._addresses[identity] = place
        self._peers[place] = identity
        self._endpoints[identity] = Endpoint(
            sender, self._keyring, cell_id=b"c" * 16, epoch=1, members=self._members
        )
        return super().join(number)

    @contextmanager
    def turn(self, peer: Peer) -> Iterator[None]:
        kind = "nodes" if isinstance(peer, str) else "client"
        begin = time.thread_time()
        yield
        took = time.thread_time() - begin
        self.used[kind] += took
        self.longest[kind] = max(self.longest[kind], took)

    def forget_figures(self) -> None:
        self.datagrams = 0
        self.used = dict.fromkeys(self.used, 0.0)
        self.longest = dict.fromkeys(self.longest, 0.0)

    def carry_out(self, peer: Peer) -> None:
        endpoint, machine = self._endpoints[peer], self.machine(peer)
        with self.turn(peer):
            effects = machine.take_effects()
            if effects.lives is not None:
                endpoint.live(effects.lives)
            for other, message in effects.sends:
                endpoint.queue(other, message)
            datagrams = endpoint.flush()
            due = machine.deadline()
        self.datagrams += len(datagrams)
        for datagram, place in datagrams:
            self._flying.append((datagram, place, peer))
        for notice in effects.published:
            if isinstance(machine, Session) and isinstance(notice, Granted):
                self.granted.append((machine.session, notice))
        heapq.heappush(self._expiry, (due, repr(peer), peer))

    def settle(self) -> None:
        while self._flying:
            datagram, place, sender = self._flying.popleft()
            peer = self._peers[place]
            machine = self.machine(peer)
            with self.turn(peer):
                received = self._endpoints[peer].receive_untrusted(datagram, self._addresses[sender])
                for message in received.messages if received is not None else ():
                    machine.receive(message, received.peer, self.now, received.lives)  # type: ignore[union-attr]
            self.carry_out(peer)

    def tick(self, peer: Peer) -> None:
        with self.turn(peer):
            super().tick(peer)
