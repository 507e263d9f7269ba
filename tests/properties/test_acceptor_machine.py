"""Arbitrary messages and times at one acceptor: what must always be true of it (protocol.md section 2)."""

from __future__ import annotations

from random import Random

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from paxlock.core.handles import lock_of
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Accepted,
    Forbidden,
    Prepare,
    Promise,
    Refused,
    Release,
    Released,
    Renew,
    Renewed,
    StandingPrepare,
)
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.node.handles import Handles
from paxlock.core.node.learner import Learner
from paxlock.core.timers import Timers

NAME = "agora"
MAX_TTL = 30.0
GRACE = 0.05
TOMBSTONE_S = 60.0
RIGHT = b"right" * 3 + b"!"

candidates = st.builds(Candidate, st.sampled_from([b"a" * 16, b"b" * 16, b"c" * 16]), st.integers(1, 4))
terms = st.integers(1, 60)
numbers = st.integers(1, 30)
ttls = st.sampled_from([200, 1_000, 10_000, 30_000, 30_001])
secrets = st.sampled_from([RIGHT, b"wrong" * 3 + b"!"])
pauses = st.sampled_from([0.0, 0.01, 0.05, 0.2, 1.0, 9.0, 31.0, 61.0])


class AcceptorMachine(RuleBasedStateMachine):
    """Before every step time may pass; after it the old and the new state are compared."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers()
        self.acceptor = Acceptor(
            floor=0, ceiling=40, max_ttl=MAX_TTL, grace=GRACE, timers=self.timers, wall_offset=0.0
        )
        learner = Learner(
            node_id="a",
            others=("b", "c"),
            acceptor=self.acceptor,
            timers=self.timers,
            rng=Random(1),
            first_version=1,
        )
        self.handles = Handles(self.acceptor, learner)
        self.now = 0.0
        self.term = 0
        self.owners: dict[int, Candidate] = {}
        self.ended: dict[bytes, tuple[int, float]] = {}
        self.opened: dict[Candidate, float] = {}  #: by a right handle, where nothing was held
        self.held: tuple[Candidate, float] | None = None
        self.numbers: dict[tuple[Candidate, int], tuple[float, float]] = {}
        self.last_number = 100

    def passes(self, pause: float) -> None:
        """Time goes on; what has run out by then runs out, whether or not anybody has ticked."""
        self.look_at_pushes()  # those of the last message, which have left
        self.now += pause
        self.timers.run(self.now)
        self.look(None)
        self.look_at_pushes()

    def look_at_pushes(self) -> None:
        """A pushed Accepted names a number that has come, and the deadline counts from it at the earliest."""
        pushes, self.acceptor.pushes = self.acceptor.pushes, []
        for peer, message in pushes:
            assert (peer, message.request) == (message.candidate.session, 0)
            if isinstance(message, Accepted):
                received_at, ttl = self.numbers[message.candidate, message.seq]
                record = self.acceptor.records[NAME]
                assert self.now <= received_at + ttl
                assert not record.holds(message.candidate) or record.deadline >= received_at + ttl

    def tombstone(self, candidate: Candidate) -> bool:
        attempt, until = self.ended.get(candidate.session, (0, 0.0))
        return attempt >= candidate.attempt and self.now < until

    def barred(self, candidate: Candidate) -> bool:
        """Whether a lease of this candidate may not come here any more."""
        return self.tombstone(candidate) or self.now < self.opened.get(candidate, 0.0)

    def look(self, by: Candidate | None) -> None:
        """Compare with what was before a message of this candidate."""
        record = self.acceptor.records.get(NAME)
        term = self.acceptor.floor if record is None else record.term
        assert term >= self.term
        assert term <= self.acceptor.ceiling
        self.term = term
        if record is not None and record.owner is not None:
            # One candidate in a term, for ever.
            assert self.owners.setdefault(term, record.owner) == record.owner
        before, self.held = self.held, None
        if record is not None and record.lease is not None:
            assert record.deadline > self.now
            assert record.owner in (None, record.lease.candidate)
            self.held = (record.lease.candidate, record.deadline)
        if before is None or before[1] <= self.now:
            return
        # A lease that has not run out is still held, and no sooner over, unless its own candidate said so.
        candidate, deadline = before
        if self.held is not None and self.held[0] == candidate:
            assert self.held[1] >= deadline
        else:
            assert by == candidate
            assert self.held is None or not self.tombstone(self.held[0])  # the next in line, in the same step

    @rule(
        who=candidates,
        at_least=terms,
        age=st.integers(0, 3_000),
        refresh=st.sampled_from([0, 50, 1_000]),
        pause=pauses,
    )
    def prepare(self, who: Candidate, at_least: int, age: int, refresh: int, pause: float) -> None:
        self.passes(pause)
        before = self.held
        answer = self.acceptor.prepare(Prepare(1, NAME, at_least, who, age, refresh, 0, ""), self.now)
        if isinstance(answer, Promise):
            assert not self.tombstone(who)
            assert before is None or before[0] == who
            assert answer.candidate == who
            assert answer.term >= at_least
            assert answer.term == self.acceptor.records[NAME].term
        elif isinstance(answer, Refused):
            assert answer.occupant is None or answer.occupant.candidate != who
        self.look(None)

    @rule(
        who=candidates,
        at_least=terms,
        age=st.integers(0, 3_000),
        refresh=st.sampled_from([0, 50, 1_000]),
        pause=pauses,
    )
    def stand(self, who: Candidate, at_least: int, age: int, refresh: int, pause: float) -> None:
        self.passes(pause)
        before = self.held
        self.last_number += 1
        self.numbers[who, self.last_number] = (self.now, 10.0)
        message = StandingPrepare(1, NAME, at_least, who, age, refresh, 0, "", 10_000, b"", self.last_number)
        answer = self.acceptor.prepare(attrs.evolve(message, lock=lock_of(who, RIGHT)), self.now)
        if isinstance(answer, Accepted):
            assert not self.barred(who)
            assert before is None or before[0] == who
            assert answer.term >= at_least
            record = self.acceptor.records[NAME]
            assert record.holds(who) and record.lease_term == answer.term
            if before is not None:
                assert record.deadline == before[1]  # never re-armed
        self.look(None)
        self.look_at_pushes()

    @rule(who=candidates, term=terms, ttl_ms=ttls, seq=numbers, pause=pauses)
    def accept(self, who: Candidate, term: int, ttl_ms: int, seq: int, pause: float) -> None:
        self.passes(pause)
        before, highest = self.held, self.term
        lease = Lease(who, ttl_ms, "", b"")
        answer = self.acceptor.accept(Accept(2, NAME, term, lease, seq, 0, 0, lock_of(who, RIGHT)), self.now)
        if isinstance(answer, Accepted):
            assert not self.barred(who)
            assert before is None or before[0] == who
            assert lease.ttl <= MAX_TTL
            assert answer.term == term >= highest
            record = self.acceptor.records[NAME]
            assert record.holds(who)
            assert answer.seq >= seq
            if answer.seq == seq and before is None:
                assert record.deadline == self.now + lease.ttl
        self.look(None)

    @rule(
        session=st.sampled_from([b"a" * 16, b"b" * 16, b"c" * 16]),
        attempts=st.lists(st.integers(1, 4), unique=True),
        sender=st.sampled_from([b"a" * 16, b"z" * 16]),
        secret=secrets,
        seq=numbers,
        pause=pauses,
    )
    def renew(
        self, session: bytes, attempts: list[int], sender: bytes, secret: bytes, seq: int, pause: float
    ) -> None:
        self.passes(pause)
        before = self.held
        message = Renew(3, session, seq, tuple(attempts), (secret,) * len(attempts))
        answer = self.handles.renew(message, sender, self.now)
        if isinstance(answer, Forbidden):
            assert before is not None and before[0] in [Candidate(session, attempt) for attempt in attempts]
            assert sender != session and secret != RIGHT
            self.look(None)
            assert self.held == before
            return
        for attempt, lease_term in answer.held:
            candidate = Candidate(session, attempt)
            assert before is not None and before[0] == candidate
            assert not self.tombstone(candidate)
            assert lease_term == self.acceptor.records[NAME].lease_term
            assert sender == session or secret == RIGHT
        for attempt in answer.not_held:
            assert before is None or before[0] != Candidate(session, attempt) or self.tombstone(before[0])
        deadline = self.held[1] if self.held is not None else 0.0
        again = self.handles.renew(attrs.evolve(message, request=4), sender, self.now)
        assert isinstance(again, Renewed)
        assert (again.held, again.not_held) == (answer.held, answer.not_held)
        self.look(None)
        assert self.held is None or self.held[1] >= deadline

    @rule(who=candidates, term=terms, pause=pauses)
    def release(self, who: Candidate, term: int, pause: float) -> None:
        self.passes(pause)
        before = self.acceptor.records.get(NAME)
        others = before is not None and before.owner not in (None, who)
        state = (self.term, None if before is None else before.owner, self.held)
        answer = self.handles.release(Release(5, NAME, who, term), who.session, self.now)
        if isinstance(answer, Released):
            self.ended[who.session] = (max(who.attempt, self.ended_up_to(who)), self.now + TOMBSTONE_S)
        self.look(who)
        if others:
            record = self.acceptor.records[NAME]
            assert (record.term, record.owner, self.held) == state
        if isinstance(answer, Released):
            record = self.acceptor.records[NAME]
            assert not record.holds(who)
            assert record.owner != who

    @rule(who=candidates, term=terms, secret=secrets, pause=pauses)
    def release_by_a_handle(self, who: Candidate, term: int, secret: bytes, pause: float) -> None:
        self.passes(pause)
        before, right = self.held, secret == RIGHT
        held = before is not None and before[0] == who
        answer = self.handles.release(Release(6, NAME, who, term, secret), b"z" * 16, self.now)
        assert isinstance(answer, Forbidden) == (held and not right)
        if isinstance(answer, Released) and held:
            self.ended[who.session] = (max(who.attempt, self.ended_up_to(who)), self.now + TOMBSTONE_S)
        elif isinstance(answer, Released) and right:
            self.opened[who] = self.now + TOMBSTONE_S
        self.look(who if held and right else None)
        if not (held and right):
            assert self.held == before

    def ended_up_to(self, who: Candidate) -> int:
        attempt, until = self.ended.get(who.session, (0, 0.0))
        return attempt if self.now < until else 0

    @rule(pause=pauses)
    def raise_the_ceiling(self, pause: float) -> None:
        self.passes(pause)
        self.acceptor.raised(self.acceptor.wanted_ceiling, self.now)
        self.look(None)

    @rule(pause=pauses)
    def tick(self, pause: float) -> None:
        self.passes(pause)

    @invariant()
    def a_free_name_with_a_line_is_promised_to_somebody(self) -> None:
        record = self.acceptor.records.get(NAME)
        if record is None or record.line is None or record.lease is not None or record.owner is not None:
            return
        head = record.line.head(self.now)
        if head is not None:  # its next term waits for the durable ceiling
            assert max(head.at_least, record.term + 1, self.acceptor.floor + 1) > self.acceptor.ceiling

    @invariant()
    def what_is_held_is_found_by_its_candidate(self) -> None:
        record = self.acceptor.records.get(NAME)
        held = {} if record is None or record.lease is None else {record.lease.candidate: record}
        assert self.acceptor.held == held


AcceptorMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAcceptorMachine = AcceptorMachine.TestCase
