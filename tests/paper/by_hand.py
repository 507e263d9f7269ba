"""Machines whose messages and clock are moved by hand: one acceptor, one session, or one replica."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TypeVar

from paxlock.config.starts import start_word
from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, Kept, Membership, NodeRecord, Snapshot
from paxlock.core.handles import lock_of, secret_of
from paxlock.core.lease import Candidate, Lease
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import (
    Accept,
    Accepted,
    Forbidden,
    Member,
    Message,
    Occupancy,
    Occupant,
    Peer,
    Prepare,
    Promise,
    RefusalReason,
    Refused,
    Release,
    Released,
    Renew,
    Renewed,
    StandingPrepare,
)
from paxlock.core.node.acceptor import Acceptor, Record
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.node.starts import Start, begin
from paxlock.core.round_trips import RoundTrip, RoundTrips
from paxlock.core.session.events import Granted
from paxlock.core.session.session import Session, SessionSettings
from paxlock.core.session.thrift import LEARNT, NEAR_S
from paxlock.core.timers import Timers

NAME = "agon"
TTL = 10.0
MAX_TTL = 30.0
GRACE = 0.05
DRIFT = 0.01
SPAN = TTL * (1.0 - DRIFT) / (1.0 + DRIFT)
MARGIN = TTL / 10.0
CELL_ID = b"cell" * 4

M = TypeVar("M")


def session_id(who: str) -> bytes:
    return who.encode().ljust(16, b".")


def session_secret(who: str) -> bytes:
    return who.encode().ljust(16, b"!")


def secret(who: Candidate) -> bytes:
    """What a handle of this candidate shows."""
    return secret_of(session_secret(who_is(who.session)), who.attempt)


def handle_of(granted: Granted) -> tuple[Candidate, int, bytes]:
    """What the handle of this lease names and shows."""
    return granted.candidate, granted.term, secret(granted.candidate)


def lock(who: Candidate) -> bytes:
    """What a lease of this candidate carries."""
    return lock_of(who, secret(who))


def who_is(session: bytes) -> str:
    return session.rstrip(b".").decode()


def candidate(who: str, attempt: int = 1) -> Candidate:
    return Candidate(session_id(who), attempt)


ATHENS = candidate("athens")
BYBLOS = candidate("byblos")
CYRENE = candidate("cyrene")


def lease_of(who: Candidate, ttl: float = TTL, token: int = 0) -> Lease:
    return Lease(who, round(ttl * 1000), who_is(who.session), b"", token)


def occupant(
    who: Candidate, occupancy: Occupancy = Occupancy.HELD, *, age: float = 0.0, ttl: float = TTL
) -> Occupant:
    held = occupancy is Occupancy.HELD
    left = round(ttl * 1000) if held else 0
    return Occupant(who, occupancy, round(age * 1000), who_is(who.session), left, left)


def members_of(nodes: Iterable[str]) -> tuple[Member, ...]:
    return tuple(Member(node, f"{node}.example:7400") for node in nodes)


class HandAcceptor:
    """One acceptor. Every event first lets run out what has run out, as its owner does."""

    def __init__(
        self, *, floor: int = 0, ceiling: int = 1 << 40, max_ttl: float = MAX_TTL, wall_offset: float = 0.0
    ) -> None:
        self.timers = Timers()
        self.acceptor = Acceptor(
            floor=floor,
            ceiling=ceiling,
            max_ttl=max_ttl,
            grace=GRACE,
            timers=self.timers,
            wall_offset=wall_offset,
        )

    def run_out(self, now: float) -> None:
        self.timers.run(now)

    def prepare(
        self,
        who: Candidate,
        *,
        now: float,
        at_least: int = 1,
        age: float = 0.0,
        refresh: float = 0.0,
        window: float = 0.0,
        name: str = NAME,
    ) -> Promise | Accepted | Refused | None:
        self.run_out(now)
        times = round(age * 1000), round(refresh * 1000), round(window * 1000)
        message = Prepare(1, name, at_least, who, *times, who_is(who.session))
        return self.acceptor.prepare(message, now)

    def stand(
        self,
        who: Candidate,
        seq: int,
        *,
        now: float,
        at_least: int = 1,
        age: float = 0.0,
        refresh: float = 1.0,
        window: float = 0.0,
        ttl: float = TTL,
        name: str = NAME,
    ) -> Promise | Accepted | Refused | None:
        """A standing Prepare: with the lease and a number."""
        self.run_out(now)
        label = who_is(who.session)
        times = round(age * 1000), round(refresh * 1000), round(window * 1000)
        message = StandingPrepare(
            1, name, at_least, who, *times, label, round(ttl * 1000), b"", seq, lock(who)
        )
        return self.acceptor.prepare(message, now)

    def accept(
        self,
        who: Candidate,
        term: int,
        seq: int,
        *,
        now: float,
        ttl: float = TTL,
        age: float = 0.0,
        name: str = NAME,
    ) -> Accepted | Refused | None:
        self.run_out(now)
        message = Accept(2, name, term, lease_of(who, ttl), seq, round(age * 1000), 0, lock(who))
        return self.acceptor.accept(message, now)

    def renew(self, *who: Candidate, seq: int, now: float, sender: str | None = None) -> Renewed:
        """By the candidates' own session, or by ``sender``, who has their handles."""
        self.run_out(now)
        session = who[0].session
        by = session if sender is None else session_id(sender)
        shown = () if sender is None else tuple(map(secret, who))
        answer = self.acceptor.renew(Renew(3, session, seq, tuple(c.attempt for c in who), shown), by, now)
        assert isinstance(answer, Renewed)
        return answer

    def release(
        self, who: Candidate, term: int, *, now: float, name: str = NAME
    ) -> Released | Refused | None:
        self.run_out(now)
        answer = self.acceptor.release(Release(4, name, who, term), who.session, now, who)
        assert not isinstance(answer, Forbidden)
        return answer

    @property
    def record(self) -> Record:
        return self.acceptor.records[NAME]

    def shows(self) -> tuple[int, str, bool]:
        """(term, owner or "-", held)."""
        return row(self.acceptor.records.get(NAME), self.acceptor.floor)

    def pushed(self) -> list[Promise | Accepted]:
        pushes, self.acceptor.pushes = self.acceptor.pushes, []
        return [message for _, message in pushes if isinstance(message, Promise | Accepted)]


def row(record: Record | None, floor: int) -> tuple[int, str, bool]:
    if record is None:
        return floor, "-", False
    owner = "-" if record.owner is None else who_is(record.owner.session)
    return record.term, owner, record.lease is not None


def refusal(answer: object) -> RefusalReason:
    """The reason of a refusal; fails where the answer is none."""
    assert isinstance(answer, Refused), answer
    return answer.reason


def promise(answer: object) -> Promise:
    assert isinstance(answer, Promise), answer
    return answer


def accepted(answer: object) -> Accepted:
    assert isinstance(answer, Accepted), answer
    return answer


def settings_for(nodes: str, *, thrifty: bool = False) -> SessionSettings:
    configuration = Configuration(
        members_of(nodes), round(MAX_TTL * 1000), round(DRIFT * 1e6), round(GRACE * 1000)
    )
    return SessionSettings(configuration, thrifty=thrifty)


def session_of(who: str, nodes: str, *, now: float, rng: Random, thrifty: bool = False) -> Session:
    settings = settings_for(nodes, thrifty=thrifty)
    return Session(settings, session=session_id(who), secret=session_secret(who), now=now, rng=rng)


class SteadyTrips(RoundTrips):
    """Round trips that were measured long ago, of which the window is as long as the grace: in these tests
    answers come when the test has them come.
    """

    def __init__(self, nodes: str) -> None:
        super().__init__(tuple(nodes))
        self._measured = dict.fromkeys(nodes, RoundTrip(GRACE / 4, 0.0))

    def measured(self, node: str, took: float) -> None:
        pass


def settled(session: Session, nodes: str) -> Session:
    """The session, with its round trips measured; one that may ask a quorum first has heard all nodes, and
    knows that to ask all takes no less time.
    """
    session._pacing.round_trips = trips = SteadyTrips(nodes)
    if session.settings.thrifty:
        trips._measured = {node: RoundTrip(GRACE / 4, 0.0, answers=2, shortest=NEAR_S) for node in nodes}
        session._pacing.heard.update(dict.fromkeys(nodes, 0.0))
        for _ in range(LEARNT):
            session._shared.thrift.granted(1.0, all_asked=True)
            session._shared.thrift.granted(1.0, all_asked=False)
    return session


class HandSession:
    """One session whose nodes are played by the test."""

    def __init__(
        self,
        who: str = "athens",
        nodes: str = "abc",
        *,
        now: float = 0.0,
        seed: int = 1,
        thrifty: bool = False,
    ) -> None:
        self.who = who
        self.nodes = nodes
        machine = session_of(who, nodes, now=now, rng=Random(seed), thrifty=thrifty)
        self.machine = settled(machine, nodes)
        self.sends: list[tuple[str, Message]] = []
        self.notices: list[object] = []
        self.lives: dict[str, Lives] = {}  #: what the datagrams of each node say from now on
        self.collect()
        self.sends.clear()

    def collect(self) -> None:
        effects = self.machine.take_effects()
        for peer, message in effects.sends:
            assert isinstance(peer, str)
            self.sends.append((peer, message))
        self.notices.extend(effects.published)

    def campaign(self, *, now: float, ttl: float = TTL, wait: float | None = None, name: str = NAME) -> int:
        return self.machine.campaign(name, ttl=ttl, now=now, wait=wait)

    def release(self, ticket: int, now: float) -> None:
        self.machine.release(ticket, now)

    def receive(self, node: str, message: Message, now: float) -> None:
        self.machine.receive(message, node, now, self.lives.get(node, UNKNOWN))

    def tick(self, now: float) -> None:
        self.machine.tick(now)

    def run_until(self, now: float) -> None:
        """Let every timer up to ``now`` come due at its own time."""
        while (due := self.machine.deadline()) <= now:
            self.machine.tick(due)
        self.machine.tick(now)

    def sent(self, kind: type[M]) -> list[tuple[str, M]]:
        """Take what was sent of this kind since the last look; the rest stays."""
        self.collect()
        found: list[tuple[str, M]] = [(to, sent) for to, sent in self.sends if isinstance(sent, kind)]
        self.sends = [(node, message) for node, message in self.sends if not isinstance(message, kind)]
        return found

    def forget_sent(self) -> None:
        """What was sent until now is looked at no more."""
        self.collect()
        self.sends.clear()

    def sent_to_all(self, kind: type[M]) -> M:
        """The one message of this kind that was just sent to every node."""
        found = self.sent(kind)
        assert [node for node, _ in found] == list(self.nodes)
        assert len({message for _, message in found}) == 1
        return found[0][1]

    def told(self, kind: type[M]) -> list[M]:
        """Take the notices of this kind."""
        self.collect()
        found = [notice for notice in self.notices if isinstance(notice, kind)]
        self.notices = [notice for notice in self.notices if not isinstance(notice, kind)]
        return found

    # What nodes answer

    def promised(self, node: str, asked: Prepare, term: int, *, now: float, floor: int = 0) -> None:
        self.receive(node, Promise(asked.request, asked.name, asked.candidate, term, 0, floor), now)

    def took(
        self, node: str, asked: Prepare, term: int, *, now: float, push: bool = False, seq: int | None = None
    ) -> None:
        """A node has accepted a standing Prepare: it answers, or it pushes without having been asked."""
        assert isinstance(asked, StandingPrepare)
        number = asked.seq if seq is None else seq
        answer = Accepted(0 if push else asked.request, asked.name, asked.candidate, term, number)
        self.receive(node, answer, now)

    def accepted(
        self, node: str, asked: Accept, *, now: float, term: int | None = None, seq: int | None = None
    ) -> None:
        answer = Accepted(
            asked.request,
            asked.name,
            asked.lease.candidate,
            asked.term if term is None else term,
            asked.seq if seq is None else seq,
        )
        self.receive(node, answer, now)

    def refused(
        self,
        node: str,
        asked: Prepare | Accept,
        reason: RefusalReason,
        *,
        now: float,
        term: int = 1,
        occupant: Occupant | None = None,
        floor: int = 0,
        place: int = 0,
    ) -> None:
        who = asked.candidate if isinstance(asked, Prepare) else asked.lease.candidate
        answer = Refused(asked.request, asked.name, who, reason, term, floor, occupant, place)
        self.receive(node, answer, now)

    def renewed(
        self,
        node: str,
        asked: Renew,
        held: Iterable[tuple[int, int]],
        *,
        now: float,
        not_held: Iterable[int] = (),
        sender: bytes | None = None,
        seq: int | None = None,
    ) -> None:
        by = self.machine.session if sender is None else sender
        number = asked.seq if seq is None else seq
        self.receive(
            node, Renewed(asked.request, by, asked.session, number, tuple(held), tuple(not_held)), now
        )

    # Whole rounds

    def to_accept(self, *, now: float, term: int = 1, ttl: float = TTL) -> Accept:
        """Campaign, and have a quorum promise: the Accept that went to all nodes."""
        self.campaign(now=now, ttl=ttl)
        asked = self.sent_to_all(Prepare)
        for node in self.nodes[: len(self.nodes) // 2 + 1]:
            self.promised(node, asked, term, now=now)
        return self.sent_to_all(Accept)

    def to_grant(self, *, now: float, term: int = 1, by: str | None = None) -> Granted:
        """The same, and a quorum accepts at once."""
        asked = self.to_accept(now=now, term=term)
        for node in self.nodes[: len(self.nodes) // 2 + 1] if by is None else by:
            self.accepted(node, asked, now=now)
        (granted,) = self.told(Granted)
        return granted


def member_record(node: str, **changes: object) -> NodeRecord:
    values: dict[str, object] = {
        "cell_id": CELL_ID,
        "epoch": 1,
        "node_id": node,
        "incarnation": 1,
        "ceiling": 1000,
        "durability": Durability.RECORD,
        "membership": Membership.MEMBER,
        "max_ttl_ms": round(MAX_TTL * 1000),
        "clean": False,
    }
    return NodeRecord(**{**values, **changes})  # type: ignore[arg-type]


def start_of(
    node: str,
    previous: NodeRecord | None,
    snapshot: Snapshot | None = None,
    *,
    nodes: int = 3,
    max_ttl: float = MAX_TTL,
    durability: Durability = Durability.RECORD,
    unix_seconds: int = 1_000,
    run: str = "second",
    create: bool = False,
    join: bool = False,
    by_clock: bool = False,
    kept: Kept | None = None,
    rebooted: bool = False,
    now: float = 0.0,
    sit_out: float = 0.0,
) -> Start:
    return begin(
        previous,
        snapshot,
        cell_id=CELL_ID,
        epoch=1,
        node_id=node,
        nodes=nodes,
        max_ttl_ms=round(max_ttl * 1000),
        drift=DRIFT,
        durability=durability,
        unix_seconds=unix_seconds,
        sit_out_ms=round(sit_out * 1000),
        run=session_id(run),
        word=start_word("auto", create=create, join=join, by_clock=by_clock),
        kept=kept,
        rebooted=rebooted,
        now=now,
    )


def replica_of(
    node: str,
    nodes: str,
    start: Start | None = None,
    *,
    now: float = 0.0,
    run: str = "first",
    max_ttl: float = MAX_TTL,
    wall_offset: float = 0.0,
    created: int = 0,
) -> Replica:
    """A replica; without ``start``, one that has been serving and remembers everything."""
    bounds = (round(max_ttl * 1000), round(DRIFT * 1e6), round(GRACE * 1000))
    settings = ReplicaSettings(node, Configuration(members_of(nodes), *bounds), wall_offset, created)
    if start is None:
        start = Start(member_record(node), 0, 0.0, None)
    return Replica(settings, start, run=session_id(run), now=now, rng=Random(7))


class HandReplica:
    """One replica whose disk writes at once, and whose peers are played by the test."""

    def __init__(self, machine: Replica) -> None:
        self.machine = machine
        self.sends: list[tuple[Peer, Message]] = []
        self.notices: list[object] = []
        self.disk: NodeRecord = machine.record
        self.kept: list[Kept] = []  #: the state file
        self.collect(0.0)

    def collect(self, now: float) -> None:
        while True:
            effects = self.machine.take_effects()
            if effects.keep is not None:
                self.kept.append(effects.keep)
            self.sends.extend(effects.sends)
            self.notices.extend(effects.published)
            if effects.persist is None:
                return
            self.disk = effects.persist
            self.machine.persisted(effects.persist, now)

    def receive(self, message: Message, peer: Peer, now: float) -> list[Message]:
        """Hand over one message; what was sent back to this peer."""
        before = len(self.sends)
        self.machine.receive(message, peer, now)
        self.collect(now)
        return [sent for to, sent in self.sends[before:] if to == peer]

    def tick(self, now: float) -> None:
        while (due := self.machine.deadline()) <= now:
            self.machine.tick(due)
            self.collect(due)
        self.machine.tick(now)
        self.collect(now)

    def sent(self, kind: type[M]) -> list[tuple[Peer, M]]:
        found: list[tuple[Peer, M]] = [(to, sent) for to, sent in self.sends if isinstance(sent, kind)]
        self.sends = [(peer, message) for peer, message in self.sends if not isinstance(message, kind)]
        return found

    def shows(self) -> tuple[int, str, bool]:
        acceptor = self.machine._acceptor
        return row(acceptor.records.get(NAME), acceptor.floor)
