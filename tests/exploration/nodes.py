"""A node as the explorer drives it: the shipped Replica, and a key for each situation.

Two situations with one key behave alike from then on, so that the machine is run only once for each. A key
leaves out what only tells how long something has lasted: the explorer decides when something runs out.
"""

# The key is made of what no message shows.

from __future__ import annotations

import enum

import attrs

from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, Kept, Membership, NodeRecord
from paxlock.core.effects import Effects
from paxlock.core.handles import lock_stone, secret_of
from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Greeted,
    Message,
    NodeMode,
    Promise,
    RefusalReason,
    Refused,
    Release,
    Renew,
    Renewed,
    StandingPrepare,
)
from paxlock.core.node import starts
from paxlock.core.node.acceptor import CEILING_STEP_TERMS, Record
from paxlock.core.node.keeping import replay
from paxlock.core.node.line import Entry
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.steering import Revoke
from paxlock.simulator.checkers import CheckFailed
from tests.exploration.bounds import Bounds
from tests.exploration.cell import (
    DRIFT,
    GRACE_MS,
    MEMBERS,
    NAME,
    NODES,
    SECRET,
    SESSIONS,
    STEP_S,
    TTL_S,
    OutOfBounds,
    Steady,
    lock,
    who,
)
from tests.exploration.invariant import check_node

__all__ = ["ExploredNode", "NodeEvent"]

OLD_S = TTL_S / 4  #: by section 5, not by what the code makes of it
OPERATOR = bytes(16)  #: whoever may administer the name, or has a handle: no session of those explored
WRONG = b"wrong" * 3 + b"!"
ROUNDED_S = 0.001001  #: what is left of a lease is told in whole milliseconds
MEMORY_S = 60.0  #: a tombstone is kept so long; no path may outlast it


class NodeEvent(enum.Enum):
    """What happens to a node besides messages. At most one candidate is in line: the other session's."""

    EXPIRES = "its lease runs out"
    PASSES_OVER = "its promise lapses after the grace"
    IS_FORCED = "an operator ends by force whoever holds here"
    IS_LIED_TO = "somebody shows made-up handles of everybody"
    IS_BARRED = "whoever does not hold here is released by its handle"
    CRASHES = "crashes and starts again without its memory"
    IS_KILLED = "is killed and starts again with its state file"
    SERVES = "has sat out and serves"
    REFRESH_AGES = "the refresh of the place in line is older than a quarter of the ttl"
    PLACE_LAPSES = "the place in line is not refreshed any more"


def _settings(node: str) -> ReplicaSettings:
    return ReplicaSettings(
        node, Configuration(MEMBERS, round(TTL_S * 1000), round(DRIFT * 1e6), GRACE_MS), wall_offset=0.0
    )


def _first_record() -> NodeRecord:
    return NodeRecord(
        cell_id=bytes(16),
        epoch=1,
        node_id=NODES[0],
        incarnation=1,
        ceiling=CEILING_STEP_TERMS,
        durability=Durability.RECORD,
        membership=Membership.MEMBER,
        max_ttl_ms=round(TTL_S * 1000),
        clean=False,
    )


@attrs.define(eq=False)
class ExploredNode:
    """A node: the shipped Replica, and what the explorer remembers of it.

    ``armed`` is whose number, and which, set the deadline of the lease held here, or of the one that was
    forgotten in a crash, and the term of that lease. ``ended`` are the candidates whose Release was taken,
    ``barred`` those that were released by their handles where they did not hold.
    ``received`` tells when each number of a session came here first.
    """

    replica: Replica
    bounds: Bounds
    now: float = 0.0
    holder: tuple[int, int] | None = None
    armed: tuple[int, int, int] | None = None
    ended: frozenset[tuple[int, int]] = frozenset()
    barred: frozenset[tuple[int, int]] = frozenset()
    received: dict[tuple[int, int], float] = attrs.field(factory=dict)
    kept: Kept | None = None  #: the state file, as one entry

    @classmethod
    def fresh(cls, bounds: Bounds) -> ExploredNode:
        start = starts.Start(_first_record(), 0, 0.0, None)
        node = cls(Replica(_settings(NODES[0]), start, run=bytes(16), now=0.0, rng=Steady()), bounds)
        node._keep(node.replica.take_effects())
        return node

    @property
    def record(self) -> Record:
        acceptor = self.replica._acceptor
        return acceptor.records.get(NAME) or Record(NAME, acceptor.floor)

    @property
    def serving(self) -> bool:
        return self.replica.mode is NodeMode.SERVING

    @property
    def keeps(self) -> tuple[int, int] | None:
        """Whose lease keeps the others out, and its term: held, or forgotten in a crash and sat out."""
        if self.holder is not None:
            return self.holder[0], self.record.lease_term
        if self.armed is not None and not self.serving:
            return self.armed[0], self.armed[2]
        return None

    def key(self) -> tuple[object, ...]:
        record = self.record
        lease = record.lease
        stones = record.tombstones or {}
        return (
            self.serving,
            self.replica._acceptor.floor,
            record.term,
            None if record.owner is None else who(record.owner),
            self.holder,
            record.lease_term if lease is not None else 0,
            record.seq if lease is not None else 0,
            self.armed,
            tuple((at, stones[session][0]) for at, session in enumerate(SESSIONS) if session in stones),
            tuple(who(one) for one in self._all_candidates() if lock_stone(lock(one))[0] in stones),
            tuple(sorted(self.ended)),
            tuple(sorted(self.barred)),
            None if record.revoked is None else who(record.revoked),
            tuple(map(self._place, self._line)),
            self._told_key() if self.bounds.handles else None,
            self._kept_key() if self.bounds.kills else None,
        )

    def _told_key(self) -> tuple[object, ...]:
        """What others are told of the name, and by which locks a handle would count where it is not held."""
        learner = self.replica._learner
        view = attrs.evolve(learner.view(NAME, self.now), remaining_ms=0)
        return view, tuple(learner.lock_told(NAME, one) for one in self._all_candidates())

    def _kept_key(self) -> tuple[object, ...]:
        """The state file, without times: does it let go of the lease when the node does?"""
        assert self.kept is not None
        names = tuple(
            (kept._replace(deadline=0.0), kept.session != b"" and kept.deadline == self.record.deadline)
            for kept in self.kept.names
        )
        meant = {*SESSIONS, *(lock_stone(lock(one))[0] for one in self._all_candidates())}
        return self.kept.floor, names, tuple(sorted(s for s in self.kept.stones if s.session in meant))

    def _all_candidates(self) -> list[Candidate]:
        return [Candidate(s, attempt) for s in SESSIONS for attempt in range(1, self.bounds.attempts + 1)]

    @property
    def _line(self) -> list[Entry]:
        """The places in line, in order, also those that have lapsed: a refresh would revive them."""
        line = self.record.line
        return [] if line is None else [line._entries[candidate] for _, candidate in line._order]

    def _place(self, entry: Entry) -> tuple[object, ...]:
        standing = entry.standing
        return (
            who(entry.candidate),
            entry.at_least,
            standing is not None and standing.seq,
            entry.received_at > entry.arrival,
            self._old(entry),
            entry.lapses_at <= self.now,
        )

    def _old(self, entry: Entry) -> bool:
        return self.now - entry.received_at > OLD_S

    def events(self) -> list[NodeEvent]:
        if not self.serving:
            return [NodeEvent.SERVES]
        found = [NodeEvent.CRASHES] if self.bounds.crashes else []
        if self.bounds.kills:
            found.append(NodeEvent.IS_KILLED)
        if self.bounds.handles:
            found.append(NodeEvent.IS_LIED_TO)
            if any(who(one) not in {self.holder} | self.barred for one in self._all_candidates()):
                found.append(NodeEvent.IS_BARRED)
        if self.holder is not None:
            found.append(NodeEvent.EXPIRES)
            if self.bounds.forced and self.record.revoked is None:
                found.append(NodeEvent.IS_FORCED)
        elif self.record.owner is not None:
            found.append(NodeEvent.PASSES_OVER)
        # In the last term nobody is taken from the line any more.
        if self.record.term < self.bounds.max_term and any(not self._old(entry) for entry in self._line):
            found.append(NodeEvent.REFRESH_AGES)
        if any(entry.lapses_at > self.now for entry in self._line):
            found.append(NodeEvent.PLACE_LAPSES)
        return found

    def happens(self, event: NodeEvent) -> list[tuple[int, Message]]:
        """Let the event happen; gives what is sent, and to which session."""
        self.now += STEP_S
        before, old = attrs.evolve(self.record), self._old_ones()
        match event:
            case NodeEvent.EXPIRES:
                # Its clock stands still meanwhile: the line beside it has events of its own.
                self.record.deadline = self.now
                self.replica._acceptor._schedule(self.record)
                self.replica.tick(self.now)
                stays = before.owner is not None and self.record.owner == before.owner
                if stays and self.record.term == before.term:
                    raise CheckFailed("expiry", f"the lease ran out and term {before.term} is still open")
            case NodeEvent.PASSES_OVER:
                self.now = before.owner_since + GRACE_MS / 1000.0
                self.replica.tick(self.now)
            case NodeEvent.IS_FORCED:
                assert before.lease is not None
                revoke = Revoke(
                    0, NAME, before.lease.candidate, before.lease.token or before.lease_term, True, None
                )
                self.replica.receive(revoke, OPERATOR, self.now)
            case NodeEvent.IS_LIED_TO:
                self._hear_lies()
            case NodeEvent.IS_BARRED:
                for one in self._all_candidates():
                    if who(one) != self.holder:
                        secret = secret_of(SECRET, one.attempt)
                        self.replica.receive(Release(1, NAME, one, 0, secret), OPERATOR, self.now)
                        self.barred |= {who(one)}
            case NodeEvent.CRASHES:
                self._restart()
            case NodeEvent.IS_KILLED:
                self._start_again(before)
            case NodeEvent.SERVES:
                self.now = self.replica._recovery.serve_at
                self.replica.tick(self.now)
            case NodeEvent.REFRESH_AGES:
                for entry in self._line:
                    entry.received_at = min(entry.received_at, self.now - OLD_S - STEP_S)
            case NodeEvent.PLACE_LAPSES:
                for entry in self._line:
                    entry.lapses_at = min(entry.lapses_at, self.now)
        if event is not NodeEvent.IS_KILLED:  # what it only promised is gone
            self._check_term(before, crashed=event is NodeEvent.CRASHES)
        if event is not NodeEvent.CRASHES:
            self._check_held(before, None, old, ended=event is NodeEvent.EXPIRES)
        self._look()
        return self._sent()

    def _hear_lies(self) -> None:
        """Whatever is shown that is not right: nothing changes, but that the state file knows the name."""
        self._sent()
        *before, _ = self.key()
        for one in self._all_candidates():
            self.replica.receive(Release(1, NAME, one, self.record.term, WRONG), OPERATOR, self.now)
            self.replica.receive(Renew(1, one.session, 99, (one.attempt,), (WRONG,)), OPERATOR, self.now)
        self._sent()
        if [*self.key()][:-1] != before:
            raise CheckFailed("handles", "a handle that was made up is heeded")

    def takes(self, message: Message, session: int) -> list[tuple[int, Message]]:
        """Deliver a message of a session; gives what is sent, and to which session."""
        self.now += STEP_S
        before, old = attrs.evolve(self.record), self._old_ones()
        if isinstance(message, StandingPrepare | Accept | Renew):
            self.received.setdefault((session, message.seq), self.now)
        self.replica.receive(message, SESSIONS[session], self.now)
        self._check_term(before)
        released = isinstance(message, Release) and before.holds(message.candidate)
        self._check_held(before, message, old, ended=released)
        if isinstance(message, Release) and self.serving:
            self.ended |= {who(message.candidate)}
        self._look()
        return self._sent()

    def _old_ones(self) -> set[Candidate]:
        """Who waits in line by a refresh that is too old for a standing accept."""
        return {entry.candidate for entry in self._line if self._old(entry)}

    def _look(self) -> None:
        """Who holds here now; what must hold of a node in every situation."""
        record = self.record
        if record.lease is not None and record.owner not in (None, record.lease.candidate):
            raise CheckFailed("promised while held", f"term {record.term} was given to another")
        self.holder = None if record.lease is None else who(record.lease.candidate)
        if self.holder in self.barred:
            raise CheckFailed("handles", "a lease is held that was released by its handle before")
        owners = {self.holder, None if record.owner is None else who(record.owner)}
        if owners & self.ended:
            raise CheckFailed("ended", "a candidate whose Release was taken is held or promised again")
        check_node(self)

    def _restart(self) -> None:
        """Without memory. Its durable ceiling is the lowest that the rules allow: the highest term used."""
        replica = self.replica
        ceiling = max(replica._acceptor.highest_term, replica._acceptor.floor)
        self.ended = self.barred = frozenset()
        self._start(attrs.evolve(_first_record(), ceiling=ceiling), None)

    def _start_again(self, before: Record) -> None:
        """With what the state file says: everything but promises and the line. In whole milliseconds a lease
        may have a little more time than was left of it.
        """
        assert self.kept is not None
        for kept in self.kept.names:
            if before.lease is not None and kept.session and kept.deadline < before.deadline:
                raise CheckFailed("kept", "the state file does not know until when the lease is held")
        self._start(_first_record(), self.kept)
        life = (self.replica.record.incarnation, bytes(16))
        confirmed = Greeted(
            *(0, *life, life[0] - 1, bytes(16), 1, bytes(16), 0, NodeMode.SERVING),
            *(True, False, round(TTL_S * 1000), 0, 0, ()),
        )
        self.replica.receive(confirmed, NODES[1], self.now)
        after = self.record
        if after.lease is not None and before.deadline <= after.deadline <= before.deadline + ROUNDED_S:
            after.deadline = before.deadline
            self.replica._acceptor._schedule(after)

    def _start(self, record: NodeRecord, kept: Kept | None) -> None:
        start = starts.begin(
            record,
            None,
            cell_id=record.cell_id,
            epoch=record.epoch,
            node_id=record.node_id,
            nodes=len(NODES),
            max_ttl_ms=record.max_ttl_ms,
            drift=DRIFT,
            durability=Durability.RECORD,
            unix_seconds=0,
            kept=kept,
            now=self.now,
        )
        self.replica = Replica(_settings(NODES[0]), start, run=bytes(16), now=self.now, rng=Steady())

    def _check_term(self, before: Record, *, crashed: bool = False) -> None:
        after = self.record
        if after.term < before.term:
            raise CheckFailed("term", f"a term went back from {before.term} to {after.term}")
        taken = after.owner is not None and after.owner != before.owner
        if not crashed and taken and after.term == before.term and before.term > 0:
            raise CheckFailed("one candidate per term", f"term {after.term} was given twice")

    def _check_held(
        self, before: Record, message: Message | None, old_ones: set[Candidate], *, ended: bool
    ) -> None:
        """A lease goes by its own Release or at its deadline only; it is armed by new numbers only, and for
        its ttl from their receipt on. The head of the line is accepted by a refresh that is not too old.
        """
        after = self.record
        old = before.lease.candidate if before.lease is not None else None
        new = after.lease.candidate if after.lease is not None else None
        what = "the line" if message is None else type(message).__name__
        if old is not None and new != old and not ended:
            raise CheckFailed("let go", f"{what} ended a lease that was held")
        if new is None:
            self.armed = None if self.serving else self.armed
        elif new != old or after.deadline != before.deadline:
            asked = isinstance(message, StandingPrepare | Accept | Renew | Commit)
            number = getattr(message, "seq", 0) if asked else after.seq
            if new == old and after.deadline < before.deadline:
                raise CheckFailed("let go", "a deadline went back (S6)")
            if new == old and number <= before.seq:
                raise CheckFailed("re-armed", f"number {number} armed again, after {before.seq} (S5)")
            if new == old and isinstance(message, StandingPrepare):
                raise CheckFailed("re-armed", "a standing Prepare armed again (section 5)")
            if not asked and new in old_ones:
                raise CheckFailed("old refresh", "the head of the line was accepted by an old refresh")
            session = who(new)[0]
            if after.deadline < self.received.get((session, number), self.now) + TTL_S - STEP_S / 2:
                raise CheckFailed("too short", f"number {number} did not arm for its ttl (section 5)")
            self.armed = (session, number, after.lease_term)

    def _sent(self) -> list[tuple[int, Message]]:
        if self.now > MEMORY_S:
            raise AssertionError("a path outlasts the tombstones")
        if self.record.term > self.bounds.max_term:
            raise OutOfBounds
        # A push may come again at any time, as it is.
        self.replica._timers.cancel(self.replica._acceptor.push_again, NAME)
        sent: list[tuple[int, Message]] = []
        effects = self.replica.take_effects()
        self._keep(effects)
        if effects.persist is not None:
            self.replica.persisted(effects.persist, self.now)
        for peer, message in effects.sends:
            if isinstance(peer, bytes) and peer != OPERATOR:
                normal = self._normal(message, peer)
                if normal is not None:
                    sent.append((SESSIONS.index(peer), normal))
        return sent

    def _keep(self, effects: Effects) -> None:
        if effects.keep is not None:
            self.kept = replay([effects.keep] if self.kept is None else [self.kept, effects.keep])

    def _normal(self, message: Message, session: bytes) -> Message | None:
        """Without what a session only reports, or needs against repetitions of other questions."""
        match message:
            case Promise():
                return attrs.evolve(message, lease_term=0)
            case Accepted():
                return attrs.evolve(message, request=min(message.request, 1))  # 0 where it was pushed
            case Renewed():
                return attrs.evolve(message, request=0)
            case Refused(reason=RefusalReason.REVOKED) if self.bounds.forced:
                return attrs.evolve(message, request=0, term=0, occupant=None)
            case Refused() if not self.bounds.refusals:
                return None
            case Refused(occupant=occupant):
                own = occupant is not None and occupant.candidate.session == session
                if occupant is not None and own:
                    occupant = attrs.evolve(occupant, age_ms=0, remaining_ms=0)
                return attrs.evolve(message, occupant=occupant if own else None)
            case _:
                return None
