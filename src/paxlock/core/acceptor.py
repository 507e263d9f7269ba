"""What an acceptor does, for all names (protocol.md sections 2 and 5).

    closed --Prepare--> promised --Accept--> held --Release, deadline--> closed
       \\------------------Accept------------/
    promised --Release, the grace--> closed

The one rule on which exclusion rests: while an acceptor holds a lease, it neither promises to nor accepts
from any other candidate. A closed record with a line promises its next term to the head at once.

Time is an argument, read once per datagram after it was received. Before anything else, whoever calls a
handler lets run out what has run out (``run_out``). A handler returns its answer, or None where it has
none: then the sender repeats.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import ceil

import attrs

from paxlock.core.durable import SnapshotName
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Accepted,
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
    Waiter,
    Waiters,
    Waiting,
)
from paxlock.core.queue import Entry, Line
from paxlock.core.timers import Timers

__all__ = ["CEILING_STEP_TERMS", "Acceptor", "Record", "RecordTimer", "SweepTimer"]

CEILING_STEP_TERMS = 1000
TERM_JUMP_MAX = 1 << 32
TERMS_PER_UNIX_SECOND = 1 << 24
TOMBSTONE_S = 60.0
SWEEP_SLICE_RECORDS = 256
SWEEP_PAUSE_S = 0.001
WAITERS_PER_ANSWER = 6  #: so that the longest names and labels fit into a datagram
REFRESH_MAX_S = 1.0  #: section 5
REPORTED_MAX_MS = 1 << 53  #: what others state is no measured time, and must stay within the wire's range


@attrs.frozen
class RecordTimer:
    """Something of this name may have run out."""

    name: str


@attrs.frozen
class SweepTimer:
    """Tombstones may have served their time; idle names may be forgotten."""


@attrs.define(eq=False)
class Record:
    """One name at one acceptor. Without an owner the term is closed."""

    name: str
    term: int
    owner: Candidate | None = None
    owner_since: float = 0.0
    owner_arrival: float = 0.0
    owner_label: str = ""
    lease: Lease | None = None
    lease_term: int = 0
    lease_arrival: float = 0.0
    sender: bytes = b""
    seq: int = 0
    deadline: float = 0.0
    line: Line | None = None
    tombstones: dict[bytes, tuple[int, float]] | None = None

    def holds(self, candidate: Candidate) -> bool:
        return self.lease is not None and self.lease.candidate == candidate

    def ended(self, candidate: Candidate) -> bool:
        """Whether a tombstone stands for this attempt or a later one (rule L1)."""
        if self.tombstones is None:
            return False
        attempt, _ = self.tombstones.get(candidate.session, (0, 0.0))
        return attempt >= candidate.attempt

    @property
    def idle(self) -> bool:
        return self.lease is None and self.owner is None and not self.line and not self.tombstones


class Acceptor:
    """Promises, leases, renewals, releases and expiry, for every name of one node.

    ``pushes`` collects what is told without having been asked, ``touched`` the names whose state changed:
    the replica takes both after every event. ``wanted_ceiling`` asks for a durable raise of ``ceiling``.
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
        self.pushes: list[tuple[Peer, Promise]] = []
        self.touched: set[str] = set()
        self._timers = timers
        self._wall_offset = wall_offset
        self._held: dict[Candidate, Record] = {}
        self._graveyard: deque[tuple[float, str]] = deque()
        self._short_of_terms: set[str] = set()

    # Phase 1

    def prepare(self, message: Prepare, now: float) -> Promise | Refused | None:
        """Establish the latest generation: promise the next term, or say who stands in the way."""
        candidate = message.candidate
        record = self._record(message.name, now)
        if record.ended(candidate):
            return self._refuse(message, record, RefusalReason.ENDED, now)
        if self._too_far(record, message.at_least, now):
            return self._refuse(message, record, RefusalReason.TERM, now)
        if record.lease is not None and not record.holds(candidate):
            return self._queue(message, record, RefusalReason.HELD, now)
        if record.owner == candidate and record.term >= message.at_least:
            return self._promise(record, message.request)
        if record.owner is not None and record.owner != candidate:
            return self._queue(message, record, RefusalReason.PROMISED, now)
        arrival = now - message.age_ms / 1000.0
        if record.line and not record.holds(candidate):
            head = record.line.head(now)
            if head is not None and head.candidate != candidate and head.place < (arrival, candidate):
                return self._queue(message, record, RefusalReason.QUEUED, now)
        if not self._grant(record, candidate, message.at_least, arrival, message.label, now):
            return None
        return self._promise(record, message.request)

    def _grant(
        self, record: Record, candidate: Candidate, at_least: int, arrival: float, label: str, now: float
    ) -> bool:
        """Promise the next term to a candidate; False where the durable ceiling must be raised first."""
        term = max(at_least, record.term + 1, self.floor + 1)
        if not self._below_ceiling(term):
            return False
        if record.line is not None:
            entry = record.line.remove(candidate)
            arrival = entry.arrival if entry is not None else arrival
        record.term = term
        self.highest_term = max(self.highest_term, term)
        if record.owner != candidate:
            # The grace counts from the first promise: neither repetition nor a higher term renews it (L6).
            record.owner = candidate
            record.owner_since = now
            record.owner_arrival = arrival
            record.owner_label = label
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
        if record.ended(candidate):
            return self._refuse(message, record, RefusalReason.ENDED, now)
        if lease.ttl > self.max_ttl:
            return self._refuse(message, record, RefusalReason.TTL, now)
        if self._too_far(record, term, now):
            return self._refuse(message, record, RefusalReason.TERM, now)
        if record.lease is not None and not record.holds(candidate):
            return self._refuse(message, record, RefusalReason.HELD, now)
        if term < record.term or (term == record.term and record.owner != candidate):
            return self._refuse(message, record, RefusalReason.STALE, now)
        renewed = record.holds(candidate)
        same_sender = renewed and record.sender == candidate.session
        if same_sender and record.lease_term == term and message.seq <= record.seq:
            return Accepted(message.request, record.name, candidate, term, record.seq)
        if not self._below_ceiling(term):
            return None
        self._hold(record, message, now, renewed=renewed, same_sender=same_sender)
        return Accepted(message.request, record.name, candidate, term, record.seq)

    def _hold(self, record: Record, message: Accept, now: float, *, renewed: bool, same_sender: bool) -> None:
        lease = message.lease
        record.lease_arrival = record.lease_arrival if renewed else now - message.age_ms / 1000.0
        record.term = record.lease_term = message.term
        self.highest_term = max(self.highest_term, message.term)
        record.owner = lease.candidate
        record.lease = lease
        record.sender = lease.candidate.session
        record.seq = max(record.seq, message.seq) if same_sender else message.seq
        deadline = now + lease.ttl
        record.deadline = max(record.deadline, deadline) if renewed else deadline  # S6
        if record.line is not None:
            record.line.remove(lease.candidate)
        self._held[lease.candidate] = record
        self._schedule(record)
        self.touched.add(record.name)

    # Renewal and release

    def renew(self, message: Renew, sender: bytes, now: float) -> Renewed:
        """Re-arm by a higher number of the same sender; list what was re-armed by this very number (S5)."""
        held: list[tuple[int, int]] = []
        missing: list[int] = []
        for attempt in message.attempts:
            candidate = Candidate(message.session, attempt)
            record = self._held.get(candidate)
            if record is None or record.lease is None or record.ended(candidate):
                missing.append(attempt)
                continue
            if record.lease.ttl > self.max_ttl:
                missing.append(attempt)  # of before max_ttl was lowered: it runs out (the gate)
                continue
            if record.sender != sender or record.seq < message.seq:
                record.deadline = max(record.deadline, now + record.lease.ttl)
                record.sender = sender
                record.seq = message.seq
            if record.seq == message.seq:
                held.append((attempt, record.lease_term))
        return Renewed(message.request, sender, message.session, message.seq, tuple(held), tuple(missing))

    def release(self, message: Release, now: float) -> Released | Refused | None:
        """End one candidate for good; whatever belongs to another stays as it is (S1)."""
        candidate = message.candidate
        record = self._record(message.name, now)
        if self._too_far(record, message.term, now):
            return self._refuse(message, record, RefusalReason.TERM, now)
        mine = record.holds(candidate) or (record.owner == candidate and record.lease is None)
        if mine and not self._below_ceiling(max(message.term, record.term)):
            return None
        self._bury(record, candidate, now)
        if record.line is not None:
            record.line.remove(candidate)
        if mine:
            record.term = max(message.term, record.term)
            self.highest_term = max(self.highest_term, record.term)
            self._close(record, now)
        return Released(message.request, record.name, candidate, self.floor)

    def _bury(self, record: Record, candidate: Candidate, now: float) -> None:
        if record.tombstones is None:
            record.tombstones = {}
        attempt, _ = record.tombstones.get(candidate.session, (0, 0.0))
        record.tombstones[candidate.session] = (max(attempt, candidate.attempt), now + TOMBSTONE_S)
        self._look_later(record, now)

    # Time

    def run_out(self, name: str, now: float) -> None:
        """Let run out what has run out: a lease at its deadline, a promise after its grace."""
        record = self.records.get(name)
        if record is None:
            return
        if record.lease is not None:
            if record.deadline <= now:
                self._close(record, now)  # whoever owns the term
        elif record.owner is not None and record.owner_since + self.grace <= now:
            self._close(record, now)  # the candidate is passed over (L6)
        self._schedule(record)

    def _close(self, record: Record, now: float) -> None:
        if record.lease is not None:
            candidate = record.lease.candidate
            if self._held.get(candidate) is record:  # unless a client used one candidate for two names
                del self._held[candidate]
            record.lease = None
        record.owner = None
        self.touched.add(record.name)
        self._look_later(record, now)
        self._advance(record, now)

    def _advance(self, record: Record, now: float) -> None:
        """A closed name promises its next term to the head of the line, and tells it at once."""
        if record.lease is not None or record.owner is not None or not record.line:
            return
        head = record.line.head(now)
        if head is None:
            return
        if self._grant(record, head.candidate, head.at_least, head.arrival, head.label, now):
            self.pushes.append((head.candidate.session, self._promise(record, 0)))
        else:
            self._short_of_terms.add(record.name)

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
        for _ in range(SWEEP_SLICE_RECORDS):
            if not self._graveyard or self._graveyard[0][0] > now:
                break
            _, name = self._graveyard.popleft()
            record = self.records.get(name)
            if record is None:
                continue
            if record.tombstones:
                record.tombstones = {s: stone for s, stone in record.tombstones.items() if stone[1] > now}
            if record.line is not None and record.line.head(now) is None:
                record.line = None
            if record.idle and record.term <= self.ceiling:
                self.floor = max(self.floor, record.term)
                del self.records[name]
                self.touched.add(name)
        if self._graveyard:
            # A slice at a time: what is left of a large sweep waits for other work in between.
            self._timers.add(max(self._graveyard[0][0], now + SWEEP_PAUSE_S), SweepTimer())

    # What others ask

    def waiters(self, message: Waiting, now: float) -> Waiters:
        """The line of a name, in order, a page at a time."""
        record = self.records.get(message.name)
        line = record.line.entries(now) if record is not None and record.line is not None else []
        page = line[message.start : message.start + WAITERS_PER_ANSWER]
        entries = tuple(Waiter(e.candidate, e.label, _ms(now - e.arrival)) for e in page)
        return Waiters(message.request, message.name, len(line), entries)

    def snapshot(self, now: float) -> Iterable[SnapshotName]:
        """Every name as it stands, leases with the time that is left (L8); the learner adds its part."""
        for record in self.records.values():
            stones = record.tombstones or {}
            # Rounded up: an acceptor that let go early would break the exclusion.
            left = max(0, ceil((record.deadline - now) * 1000.0)) if record.lease is not None else 0
            yield SnapshotName(
                name=record.name,
                term=record.term,
                lease=record.lease,
                lease_term=record.lease_term if record.lease is not None else 0,
                sender=record.sender if record.lease is not None else b"",
                seq=record.seq if record.lease is not None else 0,
                remaining_ms=left,
                tombstones=tuple(Candidate(s, attempt) for s, (attempt, _) in sorted(stones.items())),
                chosen=None,
                chosen_term=0,
                released=False,
            )

    def restore(self, saved: SnapshotName, now: float) -> None:
        """Take up a name where a clean stop left it; a promise without a lease is closed."""
        record = self._record(saved.name, now)
        record.term = saved.term
        for stone in saved.tombstones:
            self._bury(record, stone, now)
        if saved.lease is not None and saved.remaining_ms > 0:
            candidate = saved.lease.candidate
            record.lease = saved.lease
            record.lease_term = saved.lease_term
            record.lease_arrival = now
            record.owner = candidate if saved.term == saved.lease_term else None
            record.sender = saved.sender
            record.seq = saved.seq
            record.deadline = now + saved.remaining_ms / 1000.0
            self._held[candidate] = record
        self._schedule(record)
        self._look_later(record, now)
        self.touched.add(record.name)

    def remember(self, name: str, now: float) -> None:
        """Keep a record of a name of which only the learner has heard, so that both forget it together."""
        self._look_later(self._record(name, now), now)

    # Within

    def _record(self, name: str, now: float) -> Record:
        """The record of a name; one that is not remembered starts closed at the floor, with nothing held."""
        record = self.records.get(name)
        if record is None:
            record = self.records[name] = Record(name, self.floor)
            self._look_later(record, now)
        return record

    def _below_ceiling(self, term: int) -> bool:
        """Whether the term may be used now; asks ahead of need for a higher durable ceiling."""
        if term > self.ceiling - CEILING_STEP_TERMS // 2:
            self.wanted_ceiling = max(self.wanted_ceiling, term + CEILING_STEP_TERMS)
        return term <= self.ceiling

    def _too_far(self, record: Record, term: int, now: float) -> bool:
        by_clock = int(max(0.0, now + self._wall_offset)) * TERMS_PER_UNIX_SECOND
        return term > max(record.term, self.floor, by_clock) + TERM_JUMP_MAX

    def _schedule(self, record: Record) -> None:
        if record.lease is not None:
            self._timers.add(record.deadline, RecordTimer(record.name))
        elif record.owner is not None:
            self._timers.add(record.owner_since + self.grace, RecordTimer(record.name))

    def _look_later(self, record: Record, now: float) -> None:
        if not self._graveyard:
            self._timers.add(now + TOMBSTONE_S, SweepTimer())
        self._graveyard.append((now + TOMBSTONE_S, record.name))

    def _queue(self, message: Prepare, record: Record, reason: RefusalReason, now: float) -> Refused:
        if message.refresh_ms:
            if record.line is None:
                record.line = Line()
            record.line.enter(
                message.candidate,
                age=message.age_ms / 1000.0,
                refresh=min(message.refresh_ms / 1000.0, REFRESH_MAX_S),
                at_least=message.at_least,
                label=message.label,
                now=now,
            )
        return self._refuse(message, record, reason, now)

    def _refuse(
        self, message: Prepare | Accept | Release, record: Record, reason: RefusalReason, now: float
    ) -> Refused:
        candidate = message.lease.candidate if isinstance(message, Accept) else message.candidate
        return Refused(
            request=message.request,
            name=record.name,
            candidate=candidate,
            reason=reason,
            term=record.term,
            floor=self.floor,
            occupant=self._occupant(record, candidate, now),
        )

    def _occupant(self, record: Record, candidate: Candidate, now: float) -> Occupant | None:
        lease = record.lease
        if lease is not None and lease.candidate != candidate:
            age, left = _ms(now - record.lease_arrival), _ms(record.deadline - now)
            return Occupant(lease.candidate, Occupancy.HELD, age, lease.label, left, lease.ttl_ms)
        if record.owner is not None and record.owner != candidate:
            age, left = _ms(now - record.owner_arrival), _ms(record.owner_since + self.grace - now)
            return Occupant(record.owner, Occupancy.PROMISED, age, record.owner_label, left, 0)
        head: Entry | None = record.line.head(now) if record.line is not None else None
        if head is not None and head.candidate != candidate:
            return Occupant(head.candidate, Occupancy.HEAD, _ms(now - head.arrival), head.label, 0, 0)
        return None


def _ms(seconds: float) -> int:
    return min(max(0, int(seconds * 1000.0)), REPORTED_MAX_MS)
