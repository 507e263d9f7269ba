"""Real traffic: what three nodes and two sessions say to each other when everything is used once."""

from __future__ import annotations

from collections import deque
from functools import cache
from random import Random

import attrs

from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, StartWord
from paxlock.core.handles import secret_of
from paxlock.core.lease import Candidate
from paxlock.core.messages import Forbidden, Greeted, Member, Message, NodeMode, Peer, Prepare
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.node.starts import begin
from paxlock.core.reasons import Barrier
from paxlock.core.session.session import Session, SessionSettings

from .script import SESSIONS

__all__ = [
    "CELL_ID",
    "DRIFT_PPM",
    "EPOCH",
    "GRACE_MS",
    "MAX_TTL_MS",
    "MEMBERS",
    "NODES",
    "RUN",
    "UNIX_S",
    "Sent",
    "new_replica",
    "new_session",
    "serve",
    "traffic",
]

CELL_ID = b"cell" * 4
EPOCH = 3
NODES = ("a", "b", "c")
MEMBERS = tuple(Member(node, f"10.0.0.{number}:7400") for number, node in enumerate(NODES, 1))
RUN = b"r" * 16
UNIX_S = 1_000
MAX_TTL_MS, DRIFT_PPM, GRACE_MS = 30_000, 10_000, 10


@attrs.frozen
class Sent:
    """One message on its way."""

    at: float
    sender: Peer
    receiver: Peer
    message: Message


def new_replica(node: str, how: str, *, now: float = 0.0, run: bytes = RUN) -> Replica:
    """A node's machine without a past; ``how``: alone, create, join or memory."""
    start = begin(
        None,
        None,
        cell_id=CELL_ID,
        epoch=EPOCH,
        node_id=node,
        nodes=1 if how == "alone" else len(NODES),
        max_ttl_ms=MAX_TTL_MS,
        drift=DRIFT_PPM / 1e6,
        durability=Durability.MEMORY if how == "memory" else Durability.RECORD,
        unix_seconds=UNIX_S,
        run=run,
        word=StartWord.CREATE if how in ("alone", "create") else StartWord.JOIN,
    )
    members = MEMBERS[:1] if how == "alone" else MEMBERS
    settings = ReplicaSettings(node, Configuration(members, MAX_TTL_MS, DRIFT_PPM, GRACE_MS), float(UNIX_S))
    return Replica(settings, start, run=run, now=now, rng=Random(1))


def new_session(session: bytes) -> Session:
    """A client's machine."""
    settings = SessionSettings(Configuration(MEMBERS, MAX_TTL_MS, DRIFT_PPM, GRACE_MS), "label")
    return Session(settings, session=session, secret=session, now=0.0, rng=Random(1))


def greeted(replica: Replica, phase: int, ceiling: int) -> Greeted:
    """What another member, in service, answers to the greeting of this node: it never saw it."""
    record = replica.record
    mine = (record.incarnation, replica._recovery.run)
    seen = (0, b"", 1, RUN)
    ttl = record.max_ttl_ms
    return Greeted(phase, *mine, *seen, ceiling, NodeMode.SERVING, True, False, ttl, 0, 0, ())


def serve(replica: Replica, now: float) -> None:
    """Bring a node of a new cell into service: the others never saw it."""
    for node in NODES:
        if node != replica.settings.node_id:
            replica.receive(greeted(replica, 1, 1000), node, now)
    while (record := replica.take_effects().persist) is not None:
        replica.persisted(record, now)
    assert replica.mode is NodeMode.SERVING


class _Cell:
    """Machines that hear each other at once and whose disks are fast."""

    def __init__(self) -> None:
        self.replicas = {node: new_replica(node, "create") for node in NODES}
        self.sessions = {session: new_session(session) for session in SESSIONS[:2]}
        self.log: list[Sent] = []
        self.now = 0.0
        self.deaf: set[Peer] = set()

    def run(self, seconds: float) -> None:
        """Carry everything that is said, and let time pass from deadline to deadline."""
        until = self.now + seconds
        while True:
            self._carry()
            machines: list[Replica | Session] = [*self.replicas.values(), *self.sessions.values()]
            due = min(machine.deadline() for machine in machines)
            if due > until:
                break
            self.now = max(self.now, due)
            for machine in machines:
                machine.tick(self.now)
        self.now = until

    def _carry(self) -> None:
        queue: deque[Sent] = deque()
        while True:
            for node, replica in self.replicas.items():
                effects = replica.take_effects()
                if effects.persist is not None:
                    replica.persisted(effects.persist, self.now)
                queue.extend(Sent(self.now, node, peer, message) for peer, message in effects.sends)
            for session, client in self.sessions.items():
                sends = client.take_effects().sends
                queue.extend(Sent(self.now, session, peer, message) for peer, message in sends)
            if not queue:
                return
            sent = queue.popleft()
            self.log.append(sent)
            if self.deaf & {sent.sender, sent.receiver}:
                continue
            if isinstance(sent.receiver, str):
                self.replicas[sent.receiver].receive(sent.message, sent.sender, self.now)
            else:
                self.sessions[sent.receiver].receive(sent.message, sent.sender, self.now)


@cache
def traffic() -> tuple[Sent, ...]:
    """Everything once: elections, a line, watches, questions, handles, other data, what is lost."""
    cell = _Cell()
    one, two = cell.sessions.values()
    cell.run(0.5)
    held = one.campaign("n", ttl=5.0, now=cell.now, data=b"here")
    watch = two.watch("", True, cell.now)
    two.watch("n", False, cell.now)
    cell.run(0.5)
    waits = two.campaign("n", ttl=5.0, now=cell.now)
    two.campaign("m/1", ttl=1.0, now=cell.now, wait=0)
    cell.run(0.5)
    two.poll("n", cell.now, line=True)
    one.names("", cell.now)
    one.survey(cell.now)
    one.journal("n", cell.now)
    one.ping(NODES, cell.now)
    one.count(cell.now)
    cell.run(2.0)
    one.publish(held, b"there", cell.now)
    cell.run(0.2)
    mine = Candidate(one.session, 1)
    two.revoke("n", mine, 1, cell.now, force=False, successor=Candidate(two.session, 1))
    cell.run(0.2)
    one.release(held, cell.now)
    cell.run(0.5)
    two.detach(waits, cell.now)
    one.renew_detached(Candidate(two.session, 1), 1, secret_of(two.session, 1), cell.now, patience=1.0)
    cell.run(0.5)
    one.release_detached("n", Candidate(two.session, 1), 1, secret_of(two.session, 1), cell.now, patience=1.0)
    two.unwatch(watch)
    cell.run(0.5)
    # A node that the holder lacks has promised a higher term meanwhile: the holder goes there (L3).
    cell.deaf = {"c"}
    one.campaign("far", ttl=1.0, now=cell.now)
    cell.run(0.1)
    cell.deaf = set()
    prepare = Prepare(1, "far", 50, Candidate(two.session, 99), 0, 0, 10, "label")
    cell.log.append(Sent(cell.now, two.session, "c", prepare))
    cell.replicas["c"].receive(prepare, two.session, cell.now)
    cell.run(1.0)
    # A holder that dies before it hears that it was chosen: the nodes ask each other.
    one.campaign("lost", ttl=5.0, now=cell.now)
    for peer, message in one.take_effects().sends:
        assert isinstance(peer, str)
        cell.log.append(Sent(cell.now, one.session, peer, message))
        cell.replicas[peer].receive(message, one.session, cell.now)
    cell.deaf = {one.session}
    cell.run(1.0)
    # A node that lost its disk sits out.
    cell.replicas["c"] = new_replica("c", "join", now=cell.now)
    two.poll("n", cell.now)
    cell.run(0.5)
    # A node that does not take a client's key.
    cell.log.append(Sent(cell.now, "a", one.session, Forbidden(1, Barrier.RIGHTS)))
    return tuple(cell.log)
