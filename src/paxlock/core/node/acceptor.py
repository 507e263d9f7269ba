"""What an acceptor does, for all names (protocol.md sections 2 and 5).

The states of a record are drawn in record.py. The one rule on which exclusion rests: while an acceptor holds
a lease, it neither promises to nor accepts from any other candidate (``Record.excludes``). A closed record
with a line goes to the head at once: its lease is accepted where it stands in line with one and was refreshed
lately, otherwise the next term is promised to it.

Time is an argument, read once per datagram after it was received. Whoever calls a handler first lets run out
what has run out. A handler returns its answer, or None where it has none: then the sender repeats.
"""

from __future__ import annotations

from collections.abc import Iterable

from paxlock.core.durable import KeptRenewal, KeptStone, SnapshotName
from paxlock.core.handles import Stone
from paxlock.core.journal import Happening
from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Accept,
    Accepted,
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
    Waiters,
    Waiting,
)
from paxlock.core.node.expiry import ExpiryWheel
from paxlock.core.node.forgetting import Sweeper
from paxlock.core.node.journal import Journal
from paxlock.core.node.record import Record, waiters_page, waiting_since
from paxlock.core.node.sharing import Sharing
from paxlock.core.node.sorted_names import SortedNames
from paxlock.core.steering import LetGo
from paxlock.core.timers import Timers

__all__ = ["CEILING_STEP_TERMS", "Acceptor", "Record"]

CEILING_STEP_TERMS = 1000
TERM_JUMP_MAX = 1 << 32
TERMS_PER_UNIX_SECOND = 1 << 20  #: a token fits into a double until the year 2242
STANDING_DIVISOR = 4  #: an entry refreshed longer ago than ttl / 4 is promised, not accepted (section 5)


class Acceptor:
    """Promises, leases, renewals, releases and expiry, for every name of one node.

    The replica takes after every event ``pushes``, told without having been asked, ``touched``, the names
    whose state changed, ``renewals`` and new ``stones``. ``wanted_ceiling``: a durable raise is wanted.
    """

    def __init__(
        self, *, floor: int, ceiling: int, max_ttl: float, grace: float, timers: Timers, wall_offset: float
    ) -> None:
        self.floor = floor
        self.ceiling = ceiling
        self.wanted_ceiling = ceiling
        self.highest_term = floor
        self.max_ttl = max_ttl
        self.grace = grace
        self.records: dict[str, Record] = {}
        self.names = SortedNames()  #: of all records
        self.pushes: list[tuple[Peer, Promise | Accepted | Refused | LetGo]] = []
        self.touched: set[str] = set()
        self.renewals: list[KeptRenewal] = []
        self.stones: list[KeptStone] = []
        self.journal = Journal()
        self._timers = timers
        self._wall_offset = wall_offset
        self.held: dict[tuple[bytes, int], Record] = {}  #: what is held, by candidate
        self.sweeper = Sweeper(timers, self.sweep, max_ttl)
        self._expiry = ExpiryWheel(self.records, timers, self.run_out_all)
        self._short_of_terms: set[str] = set()
        self._sharing = Sharing()

    # Phase 1

    def prepare(self, message: Prepare, now: float) -> Promise | Accepted | Refused | None:
        """Establish the latest generation: promise the next term, or say who stands in the way.

        A standing Prepare is accepted, in that term, where it would have been promised.
        """
        candidate = message.candidate
        record = self._record(message.name, now)
        standing = message if isinstance(message, StandingPrepare) else None
        over = record.end_of(candidate, standing.lock if standing is not None else b"")
        if over is not None:
            return self._refuse(message, record, over, now)
        if standing is not None and standing.ttl > self.max_ttl:
            return self._refuse(message, record, RefusalReason.TTL, now)
        if self.too_far(record, message.at_least, now):
            return self._refuse(message, record, RefusalReason.TERM, now)
        if record.excludes(candidate):
            return self._queue(message, record, RefusalReason.HELD, now)
        if standing is not None and record.holds(candidate):
            # Never re-armed by this: a candidate without a quorum would go on standing in the way.
            if record.lease_term >= message.at_least and record.sender == candidate.session:
                return Accepted(message.request, record.name, candidate, record.lease_term, record.seq)
            standing = None
        arrival = waiting_since(message, now)
        if record.owner == candidate and record.term >= message.at_least:
            if standing is None:
                return self._promise(record, message.request)
            return self._take(record, standing, record.term, arrival, now)
        if record.owner is not None and record.owner != candidate:
            return self._queue(message, record, RefusalReason.PROMISED, now)
        line = record.line if not record.holds(candidate) else None
        if line and line.goes_before(arrival, candidate, self._window(message), now):
            return self._queue(message, record, RefusalReason.QUEUED, now)
        if standing is not None:
            return self._take(record, standing, self._next_term(record, message.at_least), arrival, now)
        window = self._window(message)
        if not self._grant(record, candidate, message.at_least, arrival, message.label, window, now):
            return None
        return self._promise(record, message.request)

    def _window(self, message: Prepare | Accept) -> float:
        """For how long a promise to this candidate is kept: as long as it states, within bounds."""
        return self._sharing.window(message.window_ms) if message.window_ms else self.grace

    def _next_term(self, record: Record, at_least: int) -> int:
        return max(at_least, record.term + 1, self.floor + 1)

    def _grant(
        self,
        record: Record,
        candidate: Candidate,
        at_least: int,
        arrival: float,
        label: str,
        window: float,
        now: float,
    ) -> bool:
        """Promise the next term to a candidate; False where the durable ceiling must be raised first."""
        term = self._next_term(record, at_least)
        if not self._below_ceiling(term):
            return False
        if record.line is not None:
            entry = record.line.remove(candidate)
            arrival = entry.arrival if entry is not None else arrival
        record.term = term
        self.highest_term = max(self.highest_term, term)
        if record.owner != candidate:
            # The window counts from the first promise: neither repetition nor a higher term renews it (L6).
            record.owner = candidate
            record.owner_since = now
            record.owner_arrival = arrival
            record.owner_label = label
            record.window = window
            self.journal.promised(record, now)
        self._schedule(record)
        return True

    def _promise(self, record: Record, request: int) -> Promise:
        assert record.owner is not None
        lease_term = record.lease_term if record.holds(record.owner) else 0
        return Promise(request, record.name, record.owner, record.term, lease_term, self.floor)

    # Phase 2

    def accept(self, message: Accept, now: float) -> Accepted | Refused | None:
        """Hold the lease, unless another candidate is in the way. It never queues."""
        lease, term = message.lease, message.term
        candidate = lease.candidate
        record = self._record(message.name, now)
        if (over := record.end_of(candidate, message.lock)) is not None:
            return self._refuse(message, record, over, now)
        if lease.ttl > self.max_ttl:
            return self._refuse(message, record, RefusalReason.TTL, now)
        if self.too_far(record, term, now):
            return self._refuse(message, record, RefusalReason.TERM, now)
        if record.excludes(candidate):
            return self._refuse(message, record, RefusalReason.HELD, now)
        if term < record.term or (term == record.term and record.owner != candidate):
            return self._refuse(message, record, RefusalReason.STALE, now)
        self._heard(record)
        same_sender = record.holds(candidate) and record.sender == candidate.session
        if same_sender and record.lease_term == term and message.seq <= record.seq:
            return Accepted(message.request, record.name, candidate, term, record.seq)
        if not self._below_ceiling(term):
            return None
        since, window = waiting_since(message, now), self._window(message)
        self._hold(record, message, term, since, window, now, now)
        return Accepted(message.request, record.name, candidate, term, record.seq)

    def _take(
        self, record: Record, message: StandingPrepare, term: int, arrival: float, now: float
    ) -> Accepted | None:
        """Accept by a standing Prepare that came just now; None where the ceiling must be raised first."""
        if not self._below_ceiling(term):
            return None
        self._hold(record, message, term, arrival, self._window(message), now, now)
        return Accepted(message.request, record.name, message.candidate, term, record.seq)

    def _hold(
        self,
        record: Record,
        message: Accept | StandingPrepare,
        term: int,
        arrival: float,
        window: float,
        received_at: float,
        now: float,
    ) -> None:
        """Take term, owner and lease; the deadline counts from the receipt of this number."""
        lease, seq = message.lease, message.seq
        renewed = record.holds(lease.candidate)
        if renewed:
            self.journal.write_acceptance(record)
        else:
            lease = self._sharing.shared(lease)
        candidate = lease.candidate
        same_sender = renewed and record.sender == candidate.session
        record.lease_arrival = record.lease_arrival if renewed else arrival
        record.window = record.window if renewed else window
        record.term = record.lease_term = term
        self.highest_term = max(self.highest_term, term)
        record.owner = candidate
        record.lease, record.lock = record.newest(lease), message.lock
        record.sender = candidate.session
        record.seq = max(record.seq, seq) if same_sender else seq
        deadline = received_at + lease.ttl
        record.deadline = max(record.deadline, deadline) if renewed else deadline  # S6
        if record.line is not None:
            record.line.remove(candidate)
        self.held[candidate] = record
        if not renewed:
            self.journal.accepted(record, now)
        self._schedule(record)
        self.touched.add(record.name)

    # Renewal and release

    def renew(self, message: Renew, sender: bytes, now: float) -> Renewed:
        """Re-arm by a higher number of the same sender; list what was re-armed by this very number (S5)."""
        held: list[tuple[int, int]] = []
        missing, rearmed = list[int](), list[int]()
        session, seq = message.session, message.seq
        known, max_ttl = self.held, self.max_ttl
        ttl_ms, ttl, deadline = 0, 0.0, now  # most have the same, and one object
        for attempt in message.attempts:  # up to a hundred, and every lease comes by here all the time
            record = known.get((session, attempt))
            if record is None or (lease := record.lease) is None:
                missing.append(attempt)
                continue
            if lease.ttl_ms != ttl_ms:
                ttl_ms = lease.ttl_ms
                ttl = ttl_ms / 1000.0
                deadline = now + ttl
            # A ttl above max_ttl is of before that was lowered: it runs out (the gate).
            if ttl > max_ttl or (record.tombstones and record.ended(Candidate(session, attempt))):
                missing.append(attempt)
                continue
            if record.repeat:
                self._heard(record)
            if record.sender != sender or record.seq < seq:
                if record.deadline < deadline:
                    record.deadline = deadline
                record.sender = sender
                record.seq = seq
                rearmed.append(attempt)
            record.confirmed = lease.candidate  # only who is valid renews
            if record.seq == seq:
                held.append((attempt, record.lease_term))
        if rearmed:
            self.renewals.append(KeptRenewal(session, tuple(rearmed), sender, seq, now))
        return Renewed(message.request, sender, session, seq, tuple(held), tuple(missing))

    def release(self, message: Release, sender: bytes, now: float, stone: Stone) -> Released | Refused | None:
        """End one candidate for good; whatever belongs to another stays as it is (S1). A holder whose lease
        another ``sender`` ends, by its handle, is told at once. ``stone``: against whom it is (handles.py).
        """
        candidate = message.candidate
        record = self._record(message.name, now)
        released = Released(message.request, record.name, candidate, self.floor)
        if stone != candidate:  # nobody can tell whether it is of right: nothing else of it counts
            self._bury(record, stone, now)
            return released
        if self.too_far(record, message.term, now):
            return self._refuse(message, record, RefusalReason.TERM, now)
        mine = record.holds(candidate) or (record.owner == candidate and record.lease is None)
        if mine and not self._below_ceiling(max(message.term, record.term)):
            return None
        self._bury(record, stone, now)
        if record.line is not None:
            record.line.remove(candidate)
        if mine:
            if record.lease is not None and sender != candidate.session:
                ended = record.told_over(candidate, RefusalReason.ENDED, self.floor)
                self.pushes.append((candidate.session, ended))
            record.term = max(message.term, record.term)
            self.highest_term = max(self.highest_term, record.term)
            self._close(record, now)
        return released

    def _bury(self, record: Record, stone: Stone, now: float) -> None:
        """Set a tombstone, and note it for the state file."""
        self.sweeper.set_tombstone(record, stone, now)
        self.stones.append(KeptStone(record.name, *stone))

    # Time

    def run_out_all(self, now: float) -> None:
        """Let run out what has run out, of every name."""
        for record in self._expiry.due(now):
            self.run_out(record, now)

    def run_out(self, record: Record, now: float) -> None:
        """Let run out what has run out: a lease at its deadline, a promise after its window."""
        if record.lease is not None:
            if record.deadline <= now:
                self._close(record, now, Happening.EXPIRED)  # whoever owns the term
        elif record.owner is not None and record.owner_since + record.window <= now:
            self._close(record, now, Happening.EXPIRED)  # the candidate is passed over (L6)
        self._schedule(record)

    def _close(self, record: Record, now: float, how: Happening = Happening.RELEASED) -> None:
        self.journal.closes(record, how, now)
        if record.lease is not None:
            candidate = record.lease.candidate
            if self.held.get(candidate) is record:  # unless a client used one candidate for two names
                del self.held[candidate]
            record.lease = None
            self._heard(record)
        record.owner = None
        self.touched.add(record.name)
        self.sweeper.schedule(record, now)
        self._advance(record, now)

    def _advance(self, record: Record, now: float) -> None:
        """A closed name gives its next term to the head of the line, and tells it at once."""
        if record.lease is not None or record.owner is not None or not record.line:
            return
        head = record.line.head(now)
        # By the Release of a later attempt, or by a handle (L1).
        while head is not None and record.end_of(head.candidate, head.lock) is not None:
            record.line.remove(head.candidate)
            head = record.line.head(now)
        if head is None:
            return
        standing = head.standing
        if standing is not None and now - head.received_at <= standing.ttl / STANDING_DIVISOR:
            term = self._next_term(record, head.at_least)
            if self._below_ceiling(term):
                self._hold(record, standing, term, head.arrival, head.window, head.received_at, now)
                record.repeat = head.push_again
                self._push(record, now)
                return
        elif self._grant(record, head.candidate, head.at_least, head.arrival, head.label, head.window, now):
            self.pushes.append((head.candidate.session, self._promise(record, 0)))
            return
        self._short_of_terms.add(record.name)

    # Standing accepts that were not asked for just now

    def _push(self, record: Record, now: float) -> None:
        """Tell the candidate with the number it was taken with, and again, ever later, until it answers."""
        assert record.lease is not None
        candidate = record.lease.candidate
        accepted = Accepted(0, record.name, candidate, record.lease_term, record.seq)
        self.pushes.append((candidate.session, accepted))
        self._timers.add(now + record.repeat, self.push_again, record.name)
        record.repeat *= 2.0

    def push_again(self, name: str, now: float) -> None:
        """The last push may have been lost."""
        record = self.records.get(name)
        if record is not None and record.repeat and record.deadline > now:
            self._push(record, now)

    def heard(self, candidate: Candidate) -> None:
        """The candidate knows that its lease is held here: it has spoken of it."""
        record = self.held.get(candidate)
        if record is not None:
            self._heard(record)

    def _heard(self, record: Record) -> None:
        if record.repeat:
            record.repeat = 0.0
            self._timers.cancel(self.push_again, record.name)

    def raised(self, ceiling: int, now: float) -> None:
        """The durable ceiling is now this high: names that waited for it go on."""
        self.ceiling = ceiling
        self.wanted_ceiling = max(self.wanted_ceiling, ceiling)
        waiting, self._short_of_terms = self._short_of_terms, set()
        for name in sorted(waiting):
            record = self.records.get(name)
            if record is not None:
                self._advance(record, now)

    def sweep(self, now: float) -> None:
        """Drop tombstones that have served their time, and names that are idle: ``floor`` rises over them."""
        for record in self.sweeper.due(now):
            if record.idle and record.term <= self.ceiling:
                self.floor = max(self.floor, record.term)
                self._expiry.forget(record)
                self.journal.dropped(record, now)
                del self.records[record.name]
                self.names.remove(record.name)
                self.touched.add(record.name)
            elif record.lease is None and record.owner is None:
                self.sweeper.schedule(record, now)

    # What others ask

    def waiters(self, message: Waiting, now: float) -> Waiters:
        """The line of a name, in order, a page at a time."""
        return waiters_page(self.records.get(message.name), message, now)

    def snapshot(self, now: float) -> Iterable[SnapshotName]:
        """Every name as it stands, leases with the time that is left (L8); the learner adds its part."""
        return (record.saved(now) for record in self.records.values())

    def restore(self, saved: SnapshotName, now: float, as_of: float) -> None:
        """Take up a name as it was at ``as_of``; a promise without a lease is closed."""
        record = self._record(saved.name, now)
        record.term = saved.term
        for stone in saved.tombstones:
            self.sweeper.set_tombstone(record, stone, now, forced=stone == saved.revoked)
        if saved.lease is not None and (deadline := as_of + saved.remaining_ms / 1000.0) > now:
            record.restored(saved, saved.lease, deadline, now)
            self.held[saved.lease.candidate] = record
            self.journal.restored(record, now)
        if saved.chosen is not None and saved.chosen.token:
            record.confirmed = saved.chosen.candidate
        self._schedule(record)
        self.sweeper.schedule(record, now)
        self.touched.add(record.name)

    def remember(self, name: str, now: float, *, confirmed: Candidate | None = None) -> None:
        """Keep a record of a name of which only the learner has heard, so that both forget it together, and
        who has told, with its token, that its lease is valid.
        """
        record = self._record(name, now)
        self.sweeper.schedule(record, now)
        if confirmed is not None:
            held = record.lease
            record.confirmed = held.candidate if held and held.candidate == confirmed else confirmed

    def close(self, record: Record, term: int) -> bool:
        """Close a term whose candidate is over; False if the record is in use, or the ceiling too low."""
        if record.lease is not None or record.owner is not None or not self._below_ceiling(term):
            return False
        record.term = max(term, record.term)
        self.highest_term = max(self.highest_term, term)
        return True

    # Within

    def _record(self, name: str, now: float) -> Record:
        """The record of a name; one that is not remembered starts closed at the floor, with nothing held."""
        record = self.records.get(name)
        if record is None:
            record = self.records[name] = Record(name, self.floor)
            self.names.add(name)
            self.sweeper.schedule(record, now)
        return record

    def _below_ceiling(self, term: int) -> bool:
        """Whether the term may be used now; asks ahead of need for a higher durable ceiling."""
        if term > self.ceiling - CEILING_STEP_TERMS // 2:
            self.wanted_ceiling = max(self.wanted_ceiling, term + CEILING_STEP_TERMS)
        return term <= self.ceiling

    def too_far(self, record: Record | None, term: int, now: float) -> bool:
        """Whether a term is so far ahead that one client would use up those of the name (the gate)."""
        if term <= TERM_JUMP_MAX:
            return False
        by_clock = int(max(0.0, now + self._wall_offset)) * TERMS_PER_UNIX_SECOND
        own = record.term if record is not None else 0
        return term > max(own, self.floor, by_clock) + TERM_JUMP_MAX

    def _schedule(self, record: Record) -> None:
        if record.lease is not None:
            self._expiry.set(record, record.deadline)
        elif record.owner is not None:
            self._expiry.set(record, record.owner_since + record.window)

    def _queue(self, message: Prepare, record: Record, reason: RefusalReason, now: float) -> Refused:
        if message.refresh_ms:
            record.enter_line(message, self._window(message), now)
        return self._refuse(message, record, reason, now)

    def _refuse(
        self, message: Prepare | Accept | Release, record: Record, reason: RefusalReason, now: float
    ) -> Refused:
        candidate = message.lease.candidate if isinstance(message, Accept) else message.candidate
        self.journal.refused(record, message, candidate, reason, now)
        return record.refused(message.request, candidate, reason, self.floor, now)
