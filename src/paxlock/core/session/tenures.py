"""Turns chosen candidates into timed leases at the holder: what is valid until when, and renewals
(protocol.md section 3, "Validity" and "Keeping a long tenure").

Every number is given out once and its sending time read just before it is sent; an acknowledgement counts
from the first sending of the number that it names (rule S4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import attrs

from paxlock.core.lease import Candidate, Lease, Timing, Validity
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import Message, Renew, Renewed
from paxlock.core.quorum import majority
from paxlock.core.session.pacing import LONG_AGO, NEVER, Pacing
from paxlock.core.session.sequence import SequenceNumbers
from paxlock.core.timers import Timers

__all__ = ["LapseTimer", "LeaseManager", "RenewTimer", "Tenure"]

ATTEMPTS_PER_RENEW = 100
RENEW_CHECK_S = 0.05
RENEW_CHECK_DIVISOR = 20  #: repetitions do not become rarer than this part of the ttl
TOGETHER_MAX = 4
TOGETHER_DIVISOR = 20  #: what comes due within this part of the time between two rounds is renewed along
SPREAD = 0.125  #: by how much of its time a round may come early
GOLDEN_RATIO = 0.6180339887498949
REPAIR_DIVISOR = 8


class RenewTimer(NamedTuple):
    """A batch of leases of this ttl wants renewing, or a look whether the last renewal was heard."""

    ttl_ms: int
    batch: int = 0
    kind: str = "renew"


class LapseTimer(NamedTuple):
    """This lease may have lapsed."""

    attempt: int
    kind: str = "lapse"


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
    batch: int = 0
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


@attrs.define(eq=False)
class _Batch:
    """Leases of one ttl that are renewed together: as many as one datagram renews at a node."""

    timing: Timing
    tenures: dict[int, Tenure] = attrs.field(factory=dict)
    round_at: float = 0.0
    next_round: float = 0.0
    check: float = 0.0


class LeaseManager:
    """All leases that one session holds.

    Ten thousand leases are not renewed at one moment, which would keep every node busy for long and fill the
    buffers of the sockets, but in batches, each in its own time.
    """

    def __init__(
        self,
        *,
        session: bytes,
        nodes: tuple[str, ...],
        timers: Timers,
        numbers: SequenceNumbers,
        pacing: Pacing,
        send: Callable[[str, Message], None],
        next_request: Callable[[], int],
    ) -> None:
        self.tenures: dict[int, Tenure] = {}
        self._session = session
        self._nodes = nodes
        self._timers = timers
        self._numbers = numbers
        self._pacing = pacing
        self._send = send
        self._next_request = next_request
        self._batches: dict[tuple[int, int], _Batch] = {}
        self._with_room: dict[int, dict[int, None]] = {}  #: per ttl the batches that take another lease
        self._last_batch = 0
        self._rounds = 0

    def add(self, tenure: Tenure, now: float) -> None:
        """A lease has become valid: watch its deadline and renew it from now on."""
        attempt = tenure.candidate.attempt
        self.tenures[attempt] = tenure
        self._timers.add(tenure.deadline, LapseTimer(attempt))
        # Counted from the sending of what it rests on: a standing accept rests on an older number.
        due = tenure.validity.until() - tenure.timing.span + tenure.timing.renew
        ttl_ms = tenure.lease.ttl_ms
        room = self._with_room.setdefault(ttl_ms, {})
        if not room:
            self._last_batch += 1
            number = self._last_batch if (ttl_ms, 0) in self._batches else 0
            self._batches[ttl_ms, number] = _Batch(tenure.timing, next_round=due)
            room[number] = None
        self._put(tenure, next(iter(room)), due)

    def _put(self, tenure: Tenure, number: int, due: float) -> None:
        """Into this batch, which then is renewed at ``due`` at the latest."""
        ttl_ms = tenure.lease.ttl_ms
        batch = self._batches[ttl_ms, number]
        tenure.batch = number
        batch.tenures[tenure.candidate.attempt] = tenure
        batch.next_round = min(batch.next_round, due)
        if len(batch.tenures) >= ATTEMPTS_PER_RENEW:
            self._with_room[ttl_ms].pop(number, None)
        self._timers.add(batch.next_round, RenewTimer(ttl_ms, number))

    def remove(self, attempt: int) -> Tenure | None:
        """Stop counting the lease as valid, and stop renewing it."""
        tenure = self.tenures.pop(attempt, None)
        if tenure is not None:
            self._timers.cancel(LapseTimer(attempt))
            key = (tenure.lease.ttl_ms, tenure.batch)
            del self._batches[key].tenures[attempt]
            if self._batches[key].tenures:
                self._with_room[key[0]][key[1]] = None
            else:
                self._drop(key)
        return tenure

    def _drop(self, key: tuple[int, int]) -> None:
        ttl_ms, number = key
        del self._batches[key]
        self._timers.cancel(RenewTimer(ttl_ms, number))
        room = self._with_room[ttl_ms]
        room.pop(number, None)
        if not room and not any(ttl == ttl_ms for ttl, _ in self._batches):
            del self._with_room[ttl_ms]

    def lapse(self, attempt: int, now: float) -> Tenure | None:
        """The tenure if it has lapsed by now; otherwise its timer is set anew."""
        tenure = self.tenures.get(attempt)
        if tenure is None:
            return None
        if tenure.lapsed(now):
            return tenure
        self._timers.add(tenure.deadline, LapseTimer(attempt))
        return None

    def renew(self, ttl_ms: int, now: float, number: int = 0) -> None:
        """Renew every lease of this batch, or ask again for those whose renewal no quorum has heard."""
        batch = self._batches.get((ttl_ms, number))
        if batch is None or (now >= batch.next_round and self._merge(ttl_ms, number, now)):
            return
        if now >= batch.next_round:
            self._begin_round((ttl_ms, number), now)
            for other in self._due_soon(ttl_ms, now):
                self._begin_round((ttl_ms, other), now)
            return
        lagging = self._lagging(batch)
        if not lagging:
            batch.check = NEVER
        for node in self._nodes:
            self._send_renewals(node, lagging.get(node, []), now)
        # No rarer than that: while the end comes nearer every answer counts the more.
        batch.check = max(batch.check, min(batch.check * 2.0, batch.timing.ttl / RENEW_CHECK_DIVISOR))
        self._timers.add(min(batch.next_round, now + batch.check), RenewTimer(ttl_ms, number))

    def _begin_round(self, key: tuple[int, int], now: float) -> None:
        batch = self._batches[key]
        batch.round_at = now
        batch.next_round = now + batch.timing.renew * self._part_of_a_round(key[1])
        batch.check = min(max(RENEW_CHECK_S, self._pacing.retry_first()), batch.timing.renew / 4.0)
        for node in self._nodes:
            self._send_renewals(node, list(batch.tenures), now)
        self._timers.add(min(batch.next_round, now + batch.check), RenewTimer(*key))

    def _due_soon(self, ttl_ms: int, now: float) -> list[int]:
        """A few of those that come due next: waking the nodes for each would cost more than renewing it."""
        found = sorted(
            (batch.next_round, number)
            for (ttl, number), batch in self._batches.items()
            if ttl == ttl_ms and now < batch.next_round <= now + batch.timing.renew / TOGETHER_DIVISOR
        )
        return [number for _, number in found[:TOGETHER_MAX]]

    def _part_of_a_round(self, number: int) -> float:
        """Batches that once came due together, after a pause of this process, draw apart again."""
        self._rounds += 1
        return 1.0 - SPREAD * (self._rounds * GOLDEN_RATIO % 1.0) if number else 1.0

    def _merge(self, ttl_ms: int, number: int, now: float) -> bool:
        """Move what little is left of a batch into another with room for it, which is then renewed at once;
        False where there is no such.
        """
        tenures = self._batches[ttl_ms, number].tenures
        for other in self._with_room[ttl_ms]:
            if other != number and len(tenures) + len(self._batches[ttl_ms, other].tenures) <= (
                ATTEMPTS_PER_RENEW
            ):
                self._drop((ttl_ms, number))
                for tenure in tenures.values():
                    self._put(tenure, other, now)
                return True
        return False

    def _lagging(self, batch: _Batch) -> dict[str, list[int]]:
        """Per node the leases for which a quorum's word for this round is still missing, the node's too."""
        found: dict[str, list[int]] = {}
        quorum = majority(len(self._nodes))
        for attempt, tenure in batch.tenures.items():
            sent, gone = tenure.validity.sent, tenure.validity.outlived()
            missing = [n for n in self._nodes if n in gone or sent.get(n, -NEVER) < batch.round_at]
            if len(self._nodes) - len(missing) < quorum:
                for node in missing:
                    found.setdefault(node, []).append(attempt)
        return found

    def _send_renewals(self, node: str, attempts: list[int], now: float) -> None:
        for start in range(0, len(attempts), ATTEMPTS_PER_RENEW):
            some = tuple(attempts[start : start + ATTEMPTS_PER_RENEW])
            self._send(node, Renew(self._next_request(), self._session, self._numbers.next(now), some))

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
            tenure = self.tenures.get(attempt)
            if tenure is None or tenure.lapsed(now):
                continue
            if lease_term < tenure.token:
                missing.append(tenure)
            elif tenure.acknowledged(node, sent_at, lives):
                moved.append(tenure)
        found = (self.tenures.get(attempt) for attempt in message.not_held)
        missing.extend(tenure for tenure in found if tenure is not None and not tenure.lapsed(now))
        return moved, missing
