"""A lease while it is valid: its deadline, its term, and its end (protocol.md section 3, rules S3, S4, L3).

    chosen ------> VALID <------ chosen in the higher term (the token stays), or that term failed ------.
                    |  |                                                                               |
                    |  '-- refused as STALE in its own term or a higher one; every ttl / 8 --> RAISING -'
                    |                                                                            |
                    '----- lapsed, Release, ENDED, detached, clock jumped ------> over <---------'

A tenure is RAISING while its proposer is not CHOSEN: the holder tries a higher term as the same candidate,
and is valid meanwhile. What is over is never valid again, whatever is answered late.

Every number is given out once and its sending time read just before it is sent; an acknowledgement counts
from the first sending of the number that it names (rule S4).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator

import attrs

from paxlock.core.lease import Candidate, Lease, Timing, Validity
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import RefusalReason, Refused, Renewed
from paxlock.core.session.attempt import Attempt
from paxlock.core.session.pacing import LONG_AGO
from paxlock.core.session.proposer import Phase
from paxlock.core.session.shared import Shared

__all__ = ["LOOKS_AT_SPARED", "AfterRefusal", "Tenure", "TenureOver", "Tenures"]

REPAIR_DIVISOR = 8
LOOKS_AT_SPARED = 8  #: each after twice the time: for about a second where the first comes after 4 ms


@attrs.define(eq=False)
class Tenure:
    """A lease while it is valid, from its first validity on. ``token`` never changes; ``term`` may rise."""

    ticket: int
    name: str
    lease: Lease
    timing: Timing
    validity: Validity
    term: int
    deadline: float
    batch: int = 0  #: the batch in which it is renewed
    looks_left: int = 1  #: soon after the first validity, which nodes lack the lease
    keep_until: float = LONG_AGO  #: it is held until then, also if its program has done with it
    kept: bool = False  #: its program has done with it
    asked: bool = False  #: its program was told to let go
    revoked: bool = False  #: it was ended by force: it is counted on until its deadline, and never renewed
    next_raise: float = 0.0
    next_repair: dict[str, float] = attrs.field(factory=dict)

    @property
    def candidate(self) -> Candidate:
        return self.lease.candidate

    @property
    def token(self) -> int:
        return self.lease.token

    def lapsed(self, now: float) -> bool:
        """Whether the program must have been told by now. Final: no late answer revives a lease."""
        return now >= self.deadline

    def acknowledged(self, node: str, sent_at: float, lives: Lives = UNKNOWN) -> bool:
        """Count an acknowledgement; True if it moved the deadline."""
        if not self.validity.acknowledge(node, sent_at, lives):
            return False
        deadline = self.validity.until() - self.timing.margin
        moved = deadline > self.deadline
        self.deadline = max(self.deadline, deadline)
        return moved

    def keep(self) -> None:
        """Its program has done with it: nobody works under it, and so it needs no margin."""
        self.kept = True
        self.timing = attrs.evolve(self.timing, margin=0.0)
        self.deadline = max(self.deadline, self.validity.until())

    @property
    def lasts(self) -> bool:
        """Whether nobody works under it any more, and it needs no renewal."""
        return self.kept and self.deadline >= self.keep_until

    def may_repair(self, node: str, now: float) -> bool:
        """Whether Accept may be repeated to a node that does not hold the lease: every ttl / 8 (L3)."""
        if now < self.next_repair.get(node, LONG_AGO):
            return False
        self.next_repair[node] = now + self.timing.ttl / REPAIR_DIVISOR
        return True

    def may_raise(self, now: float) -> bool:
        """Whether a higher term may be tried: every ttl / 8 (L3)."""
        if now < self.next_raise:
            return False
        self.next_raise = now + self.timing.ttl / REPAIR_DIVISOR
        return True


class AfterRefusal(enum.Enum):
    """What follows for a holder that a node has refused."""

    STAYS = enum.auto()
    RAISES = enum.auto()  #: it tries a higher term as the same candidate
    IS_OVER = enum.auto()
    IS_REVOKED = enum.auto()  #: it is over at its deadline (section 12)


#: What is done with a tenure whose time is over, and at what time.
TenureOver = Callable[[Tenure, float], None]


class Tenures:
    """The leases that one session holds, by attempt."""

    def __init__(self, shared: Shared, *, lapsed: TenureOver, kept: TenureOver) -> None:
        """``lapsed`` is called with a lease that has run out, ``kept`` with one that was kept long enough."""
        self._lapsed = lapsed
        self._kept = kept
        self._shared = shared
        self._session = shared.session
        self._timers = shared.timers
        self._numbers = shared.numbers
        self._tenures: dict[int, Tenure] = {}

    def __len__(self) -> int:
        return len(self._tenures)

    def __iter__(self) -> Iterator[Tenure]:
        return iter(tuple(self._tenures.values()))

    def of(self, attempt: int) -> Tenure | None:
        """The tenure of this attempt, if it is a holder."""
        return self._tenures.get(attempt)

    def holds(self, attempt: int) -> bool:
        """Whether this attempt is a holder."""
        return attempt in self._tenures

    def add(self, tenure: Tenure) -> None:
        """A lease has become valid: watch its deadline from now on."""
        attempt = tenure.candidate.attempt
        self._tenures[attempt] = tenure
        self._timers.add(tenure.deadline, self.look, attempt)

    def remove(self, attempt: int) -> Tenure | None:
        """Stop counting the lease as valid."""
        tenure = self._tenures.pop(attempt, None)
        if tenure is not None:
            self._timers.cancel(self.look, attempt)
            if tenure.kept:
                self._timers.cancel(self._kept_until, attempt)
        return tenure

    def keep(self, tenure: Tenure) -> None:
        """Hold it for no program, until the time is over for which it was wanted."""
        tenure.keep()
        self._timers.add(tenure.keep_until, self._kept_until, tenure.candidate.attempt)

    def look(self, attempt: int, now: float) -> None:
        """The lease may have run out; otherwise it is looked at again."""
        tenure = self._tenures.get(attempt)
        if tenure is None:
            return
        if tenure.lapsed(now):
            self._lapsed(tenure, now)
        else:
            self._timers.add(tenure.deadline, self.look, attempt)

    def _kept_until(self, attempt: int, now: float) -> None:
        """The time is over for which a lease was kept."""
        tenure = self._tenures.get(attempt)
        if tenure is not None:
            self._kept(tenure, now)

    def renewed(
        self, node: str, message: Renewed, now: float, lives: Lives = UNKNOWN
    ) -> tuple[list[Tenure], list[Tenure]]:
        """Count a node's answer; give back the leases whose deadline moved, and those not held there, or
        held in a term below the token, which does not count (rule S3).

        The answer counts only for the sender and the number that it names.
        """
        if message.sender != self._session or message.session != self._session:
            return [], []
        sent_at = self._numbers.sent_at(message.seq)
        moved: list[Tenure] = []
        missing: list[Tenure] = []
        for attempt, lease_term in message.held:
            tenure = self._tenures.get(attempt)
            if tenure is None or tenure.lapsed(now):
                continue
            if lease_term < tenure.token:
                missing.append(tenure)
            elif tenure.acknowledged(node, sent_at, lives):
                moved.append(tenure)
        found = (self._tenures.get(attempt) for attempt in message.not_held)
        missing.extend(tenure for tenure in found if tenure is not None and not tenure.lapsed(now))
        return moved, missing

    def refused(self, tenure: Tenure, attempt: Attempt, message: Refused, now: float) -> AfterRefusal:
        """A node will not take the lease in its term: try a higher one as the same candidate (rule L3)."""
        if message.reason is RefusalReason.ENDED:
            return AfterRefusal.IS_OVER
        if message.reason is RefusalReason.REVOKED:
            return AfterRefusal.IS_REVOKED
        if attempt.proposer.phase is not Phase.CHOSEN:
            if attempt.has_failed(now):
                attempt.proposer.stay(tenure.term)
        elif tenure.revoked:
            return AfterRefusal.STAYS
        elif message.reason is RefusalReason.STALE and message.term >= tenure.term and tenure.may_raise(now):
            return AfterRefusal.RAISES
        return AfterRefusal.STAYS

    def due(self, tenure: Tenure, attempt: Attempt, now: float) -> None:
        """Look which nodes lack the lease, and repeat Accept there: once, or until all have it if some were
        spared. While a higher term is tried, repeat what was asked for it.
        """
        proposer = attempt.proposer
        if proposer.phase is Phase.CHOSEN:
            if tenure.looks_left:
                tenure.looks_left -= 1
                again = tenure.looks_left > 0  # the last look, or the only one, leaves out those that said no
                lacking = proposer.lacking() if again else proposer.unanswered()
                attempt.send_accept(lacking, now)
                if lacking and again:
                    attempt.pace.slow_down()
                    attempt.wake_by(now + attempt.pace.interval())
            return
        if now >= proposer.started + self._shared.pacing.patience:
            proposer.stay(tenure.term)  # the higher term has failed; the next one not before ttl / 8
            return
        if proposer.phase is Phase.PREPARING:
            attempt.send_prepare(now, waits=False)
        else:
            attempt.send_accept(proposer.unanswered(), now)
        attempt.pace.slow_down()
        attempt.wake_by(now + attempt.pace.interval())
