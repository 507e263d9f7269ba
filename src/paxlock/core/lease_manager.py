"""Turns chosen candidates into timed leases at the holder: what is valid until when, and renewals
(protocol.md section 3, "Validity" and "Keeping a long tenure").

Every number is given out once and its sending time read just before it is sent; an acknowledgement counts
from the first sending of the number that it names (rule S4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import attrs

from paxlock.core.lease import Candidate, Lease, Timing, Validity
from paxlock.core.messages import Message, Renew, Renewed
from paxlock.core.quorum import majority
from paxlock.core.timers import Timers

__all__ = ["LapseTimer", "LeaseManager", "Numbers", "RenewTimer", "Tenure"]

ATTEMPTS_PER_RENEW = 100
RENEW_CHECK_S = 0.05
REPAIR_DIVISOR = 8


class RenewTimer(NamedTuple):
    """The leases of this ttl want renewing, or a look whether the last renewal was heard."""

    ttl_ms: int
    kind: str = "renew"


class LapseTimer(NamedTuple):
    """This lease may have lapsed."""

    attempt: int
    kind: str = "lapse"


class Numbers:
    """One counter of numbers per session, with the time each was first sent."""

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._last = 0
        self._sent: dict[int, float] = {}
        self._order: deque[tuple[float, int]] = deque()

    def next(self, now: float) -> int:
        """A new number, sent at ``now``. Those too old to make anything valid are forgotten."""
        while self._order and self._order[0][0] < now - self._keep:
            del self._sent[self._order.popleft()[1]]
        self._last += 1
        self._sent[self._last] = now
        self._order.append((now, self._last))
        return self._last

    def sent_at(self, number: int) -> float:
        """When the number was first sent; -inf if it is unknown or too old to count."""
        return self._sent.get(number, float("-inf"))


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

    def acknowledged(self, node: str, sent_at: float) -> bool:
        """Count an acknowledgement; True if it moved the deadline."""
        if not self.validity.acknowledge(node, sent_at):
            return False
        deadline = self.validity.until() - self.timing.margin
        moved = deadline > self.deadline
        self.deadline = max(self.deadline, deadline)
        return moved

    def may_repair(self, node: str, now: float) -> bool:
        """Whether Accept may be repeated to a node that does not hold the lease: every ttl / 8 (L3)."""
        if now < self.next_repair.get(node, float("-inf")):
            return False
        self.next_repair[node] = now + self.timing.ttl / REPAIR_DIVISOR
        return True

    def may_raise(self, now: float) -> bool:
        """Whether a higher term may be tried: every ttl / 8 (L3)."""
        if now < self.next_raise:
            return False
        self.next_raise = now + self.timing.ttl / REPAIR_DIVISOR
        return True


@attrs.define(eq=False)
class _Group:
    """The leases of one ttl: renewed together, so that one datagram renews many."""

    timing: Timing
    tenures: dict[int, Tenure] = attrs.field(factory=dict)
    round_at: float = 0.0
    next_round: float = 0.0
    check: float = 0.0


class LeaseManager:
    """All leases that one session holds."""

    def __init__(
        self,
        *,
        session: bytes,
        nodes: tuple[str, ...],
        timers: Timers,
        numbers: Numbers,
        send: Callable[[str, Message], None],
        next_request: Callable[[], int],
    ) -> None:
        self.tenures: dict[int, Tenure] = {}
        self._session = session
        self._nodes = nodes
        self._timers = timers
        self._numbers = numbers
        self._send = send
        self._next_request = next_request
        self._groups: dict[int, _Group] = {}

    def add(self, tenure: Tenure, now: float) -> None:
        """A lease has become valid: watch its deadline and renew it from now on."""
        attempt = tenure.candidate.attempt
        self.tenures[attempt] = tenure
        self._timers.add(tenure.deadline, LapseTimer(attempt))
        # Counted from the sending of what it rests on: a standing accept rests on an older number.
        due = tenure.validity.until() - tenure.timing.span + tenure.timing.renew
        group = self._groups.get(tenure.lease.ttl_ms)
        if group is None:
            group = self._groups[tenure.lease.ttl_ms] = _Group(tenure.timing, next_round=due)
        group.next_round = min(group.next_round, due)
        group.tenures[attempt] = tenure
        self._timers.add(group.next_round, RenewTimer(tenure.lease.ttl_ms))

    def remove(self, attempt: int) -> Tenure | None:
        """Stop counting the lease as valid, and stop renewing it."""
        tenure = self.tenures.pop(attempt, None)
        if tenure is not None:
            self._timers.cancel(LapseTimer(attempt))
            group = self._groups[tenure.lease.ttl_ms]
            del group.tenures[attempt]
            if not group.tenures:
                del self._groups[tenure.lease.ttl_ms]
                self._timers.cancel(RenewTimer(tenure.lease.ttl_ms))
        return tenure

    def lapse(self, attempt: int, now: float) -> Tenure | None:
        """The tenure if it has lapsed by now; otherwise its timer is set anew."""
        tenure = self.tenures.get(attempt)
        if tenure is None:
            return None
        if tenure.lapsed(now):
            return tenure
        self._timers.add(tenure.deadline, LapseTimer(attempt))
        return None

    def renew(self, ttl_ms: int, now: float) -> None:
        """Renew every lease of this ttl, or ask again for those whose renewal no quorum has heard."""
        group = self._groups.get(ttl_ms)
        if group is None:
            return
        if now >= group.next_round:
            group.round_at = now
            group.next_round = now + group.timing.renew
            group.check = min(RENEW_CHECK_S, group.timing.renew / 4.0)
            for node in self._nodes:
                self._send_renewals(node, list(group.tenures), now)
        else:
            for node in self._nodes:
                lagging = [a for a, t in group.tenures.items() if self._lags(t, node, group.round_at)]
                self._send_renewals(node, lagging, now)
            group.check *= 2.0
        self._timers.add(min(group.next_round, now + group.check), RenewTimer(ttl_ms))

    def _lags(self, tenure: Tenure, node: str, round_at: float) -> bool:
        """Whether a quorum's word for this round is still missing, this node's among it."""
        sent = tenure.validity.sent
        if sent.get(node, float("-inf")) >= round_at:
            return False
        return sum(1 for at in sent.values() if at >= round_at) < majority(len(self._nodes))

    def _send_renewals(self, node: str, attempts: list[int], now: float) -> None:
        for start in range(0, len(attempts), ATTEMPTS_PER_RENEW):
            some = tuple(attempts[start : start + ATTEMPTS_PER_RENEW])
            self._send(node, Renew(self._next_request(), self._session, self._numbers.next(now), some))

    def renewed(self, node: str, message: Renewed, now: float) -> tuple[list[Tenure], list[Tenure]]:
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
            tenure = self.tenures.get(attempt)
            if tenure is None or tenure.lapsed(now):
                continue
            if lease_term < tenure.token:
                missing.append(tenure)
            elif tenure.acknowledged(node, sent_at):
                moved.append(tenure)
        found = (self.tenures.get(attempt) for attempt in message.not_held)
        missing.extend(tenure for tenure in found if tenure is not None and not tenure.lapsed(now))
        return moved, missing
