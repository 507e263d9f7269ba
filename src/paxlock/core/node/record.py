"""What an acceptor keeps of one name (protocol.md section 2).

           .------ Accept, standing Prepare, a head of the line that stands ------.
           |                                                                      v
        closed ---- Prepare, a head of the line ----> promised ---- Accept ----> held
           ^                                             |                        |
           '---- Release, the window has passed ---------+- Release, the deadline-'

Closed: no owner and no lease. Promised: an owner and no lease. Held: a lease. Its holder's own Prepare raises
the term above ``lease_term`` and leaves it held; after a restart in that state it has no owner.
"""

from __future__ import annotations

from itertools import islice
from math import ceil

import attrs

from paxlock.core.durable import KeptName, SnapshotName
from paxlock.core.handles import lock_stone
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Occupancy,
    Occupant,
    Prepare,
    RefusalReason,
    Refused,
    StandingPrepare,
    WaiterEntry,
    Waiters,
    Waiting,
)
from paxlock.core.node.line import Entry, Line

__all__ = ["NEVER", "Record", "reported_ms", "waiters_page", "waiting_since"]

NEVER = float("inf")
WAITERS_PER_ANSWER = 6  #: so that the longest names and labels fit into a datagram
REPORTED_MAX_MS = 1 << 53  #: what others state is no measured time, and must stay within the wire's range


@attrs.define(eq=False, weakref_slot=False)
class Record:
    """One name at one acceptor. Without an owner the term is closed.

    Only the acceptor writes what is here, but for seven fields: ``alarm``, when to look next at what may run
    out, is the expiry wheel's; ``swept``, whether the sweep is to look, ``tombstones``, in the order in which
    they were set, and ``revoked``, whose was set by force, are the sweeper's; ``seen``, whose lease was last
    seen held here, is the learner's; ``held_since`` and ``unwritten``, when the lease that was held last was
    accepted and the number of that entry where it is not written yet, are the journal's. They lie here and in
    no table of their own because a node keeps very many names.

    ``repeat`` is how long to wait before the Accepted of a standing accept is pushed again; 0 where the
    candidate has answered, or had asked. ``confirmed`` is who has said of itself that its lease is valid.
    ``window`` is for how long a promise to the owner is kept, in seconds: what it stated. ``lock`` is that of
    the lease that is held.
    """

    name: str
    term: int
    owner: Candidate | None = None
    owner_since: float = 0.0
    owner_arrival: float = 0.0
    owner_label: str = ""
    window: float = 0.0
    lease: Lease | None = None
    lock: bytes = b""
    lease_term: int = 0
    lease_arrival: float = 0.0
    sender: bytes = b""
    seq: int = 0
    deadline: float = 0.0
    repeat: float = 0.0
    line: Line | None = None
    tombstones: dict[bytes, tuple[int, float]] | None = None
    alarm: float = NEVER
    swept: bool = False
    seen: Candidate | None = None
    confirmed: Candidate | None = None
    revoked: Candidate | None = None
    held_since: float = 0.0
    unwritten: int = 0

    def holds(self, candidate: Candidate) -> bool:
        return self.lease is not None and self.lease.candidate == candidate

    def excludes(self, candidate: Candidate) -> bool:
        """The one rule on which exclusion rests: while another's lease is held here, this candidate is
        neither promised anything nor accepted.
        """
        return self.lease is not None and self.lease.candidate != candidate

    def ended(self, candidate: Candidate) -> bool:
        """Whether a tombstone stands for this attempt or a later one (L1): all that is to be asked of a lease
        that is held. See `end_of`.
        """
        stones = self.tombstones
        return stones is not None and stones.get(candidate.session, (0, 0.0))[0] >= candidate.attempt

    def end_of(self, candidate: Candidate, lock: bytes) -> RefusalReason | None:
        """How this candidate, with a lease of this lock, was ended (L1): by its Release, or one by its handle
        that came before the lease, or by force. None where it was not; ``lock`` is empty for a plain Prepare.
        """
        stones = self.tombstones
        if stones is None:
            return None
        if lock and lock_stone(lock)[0] in stones:
            return RefusalReason.ENDED
        if not self.ended(candidate):
            return None
        return RefusalReason.REVOKED if self.revoked == candidate else RefusalReason.ENDED

    def told_over(self, candidate: Candidate, reason: RefusalReason, floor: int) -> Refused:
        """What a candidate is told that others have ended: it has asked nothing."""
        return Refused(0, self.name, candidate, reason, self.term, floor, None)

    def newest(self, lease: Lease) -> Lease:
        """This lease with the newest data that are known of it: an older edition never overwrites them."""
        held = self.lease
        if held is None or held.candidate != lease.candidate or held.edition <= lease.edition:
            return lease
        return lease.with_data(held.data, held.edition)

    def one_with(self, lease: Lease) -> Lease:
        """The lease that is held, where this one is the same but for the token: one object instead of two."""
        held = self.lease
        return held if held is not None and held.is_but_for_token(lease) else lease

    def drop_expired(self, now: float, most: int) -> float | None:
        """Drop the line if every entry has lapsed, and up to ``most`` expired tombstones. Returns when the
        oldest remaining tombstone expires; None if none is left, or if ``most`` were dropped and more may be
        due.
        """
        if self.line is not None and self.line.head(now) is None:
            self.line = None
        stones = self.tombstones or {}
        for session in list(islice(stones, most)):
            _, until = stones[session]
            if until > now:
                return until
            del stones[session]
            if self.revoked is not None and self.revoked.session == session:
                self.revoked = None
        if not stones:
            self.tombstones = None
        return None

    def enter_line(self, message: Prepare, window: float, now: float) -> None:
        """Whoever sent this joins the line, or refreshes its place."""
        if self.line is None:
            self.line = Line()
        self.line.enter(
            message.candidate,
            age=message.age_ms / 1000.0,
            refresh=message.refresh_ms / 1000.0,
            at_least=message.at_least,
            label=message.label,
            window=window,
            now=now,
            standing=message if isinstance(message, StandingPrepare) else None,
        )

    @property
    def in_use(self) -> bool:
        """Whether somebody holds the name, was promised it, or waits for it."""
        return self.lease is not None or self.owner is not None or bool(self.line)

    @property
    def idle(self) -> bool:
        return not self.in_use and not self.tombstones

    # What is told of it

    def occupant(self, candidate: Candidate, now: float) -> Occupant | None:
        """Who else holds the name, was promised it, or is next in line: what a refusal names."""
        lease = self.lease
        if lease is not None and self.excludes(candidate):
            age, left = reported_ms(now - self.lease_arrival), reported_ms(self.deadline - now)
            confirmed = bool(lease.token) or self.confirmed == lease.candidate
            times = age, lease.label, left, lease.ttl_ms, reported_ms(self.window)
            return Occupant(lease.candidate, Occupancy.HELD, *times, confirmed)
        if self.owner is not None and self.owner != candidate:
            age, stated = reported_ms(now - self.owner_arrival), reported_ms(self.window)
            left = reported_ms(self.owner_since + self.window - now)
            return Occupant(self.owner, Occupancy.PROMISED, age, self.owner_label, left, 0, stated)
        head: Entry | None = self.line.head(now) if self.line is not None else None
        if head is not None and head.candidate != candidate:
            age, stated = reported_ms(now - head.arrival), reported_ms(head.window)
            return Occupant(head.candidate, Occupancy.HEAD, age, head.label, 0, 0, stated)
        return None

    def refused(
        self, request: int, candidate: Candidate, reason: RefusalReason, floor: int, now: float
    ) -> Refused:
        """What this candidate is told that is refused."""
        return Refused(
            request=request,
            name=self.name,
            candidate=candidate,
            reason=reason,
            term=self.term,
            floor=floor,
            occupant=self.occupant(candidate, now),
            place=self.line.before(candidate) if self.line is not None else 0,
        )

    def kept(self) -> KeptName:
        """The name as the state file has it: whoever was promised something is forgotten."""
        lease = self.lease
        if lease is None:
            return KeptName(self.name, self.term)
        (session, attempt), sender = lease.candidate, self.sender
        return KeptName(
            self.name,
            self.term,
            self.lease_term,
            session,
            attempt,
            lease.ttl_ms,
            lease.label,
            lease.data,
            lease.token,
            sender,
            self.seq,
            self.deadline,
            lease.edition,
            self.lock,
        )

    def restored(self, saved: SnapshotName, lease: Lease, deadline: float, now: float) -> None:
        """Hold the lease of a snapshot again."""
        self.lease = lease
        self.lock = saved.lock
        self.lease_term = saved.lease_term
        self.lease_arrival = now
        self.owner = lease.candidate if saved.term == saved.lease_term else None
        self.sender = saved.sender
        self.seq = saved.seq
        self.deadline = deadline

    def saved(self, now: float) -> SnapshotName:
        """The acceptor's part of a snapshot: its lease with the time that is left (L8)."""
        stones = self.tombstones or {}
        # Rounded up: an acceptor that let go early would break the exclusion.
        left = max(0, ceil((self.deadline - now) * 1000.0)) if self.lease is not None else 0
        return SnapshotName(
            name=self.name,
            term=self.term,
            lease=self.lease,
            lease_term=self.lease_term if self.lease is not None else 0,
            sender=self.sender if self.lease is not None else b"",
            seq=self.seq if self.lease is not None else 0,
            remaining_ms=left,
            tombstones=tuple(Candidate(s, attempt) for s, (attempt, _) in sorted(stones.items())),
            chosen=None,
            chosen_term=0,
            released=False,
            revoked=self.revoked,
            lock=self.lock if self.lease is not None else b"",
        )


def reported_ms(seconds: float) -> int:
    """A time in whole milliseconds, for a message."""
    return min(max(0, int(seconds * 1000.0)), REPORTED_MAX_MS)


def waiting_since(message: Prepare | Accept, now: float) -> float:
    """Since when this candidate has been waiting. Those that have only begun share the time of their
    datagram.
    """
    return now - message.age_ms / 1000.0 if message.age_ms else now


def waiters_page(record: Record | None, message: Waiting, now: float) -> Waiters:
    """A page of the line of a name, for people."""
    line = record.line.entries(now) if record is not None and record.line is not None else []
    page = line[message.start : message.start + WAITERS_PER_ANSWER]
    entries = tuple(WaiterEntry(e.candidate, e.label, reported_ms(now - e.arrival)) for e in page)
    return Waiters(message.request, message.name, len(line), entries)
