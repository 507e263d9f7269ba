"""Leases are renewed together, in batches (protocol.md section 3, "Keeping a long tenure").

Ten thousand leases are not renewed at one moment: that would keep every node busy for long and fill the
buffers of the sockets. They are renewed in batches, each in its own time. What an answer is worth is decided
in tenures.py.
"""

from __future__ import annotations

import attrs

from paxlock.core.lease import Timing
from paxlock.core.messages import Renew
from paxlock.core.session.pacing import LONG_AGO, NEVER
from paxlock.core.session.shared import Shared
from paxlock.core.session.tenures import Tenure

__all__ = ["Renewals"]

ATTEMPTS_PER_RENEW = 100
RENEW_CHECK_S = 0.05
RENEW_CHECK_DIVISOR = 20  #: repetitions do not become rarer than this part of the ttl
CHECKS_IN_WHAT_IS_LEFT = 8  #: nor rarer than this part of what was left of the lease when it was renewed
TOGETHER_MAX = 4  #: how many more batches are renewed with one: a few, so that no round becomes a burst
TOGETHER_DIVISOR = 20  #: a batch that comes due within this part of a round is renewed along
SPREAD = 0.125  #: by how much of its time a round may come early
#: Its multiples, modulo 1, are spread evenly however many there are (a low-discrepancy sequence; Weyl 1916).
GOLDEN_RATIO = 0.6180339887498949


@attrs.define(eq=False)
class _Batch:
    """Leases of one ttl that are renewed together: as many as one datagram renews at a node."""

    timing: Timing
    tenures: dict[int, Tenure] = attrs.field(factory=dict)
    round_at: float = 0.0
    next_round: float = 0.0
    check: float = 0.0

    @property
    def longest_check(self) -> float:
        """How long to wait at most before a renewal is repeated."""
        timing = self.timing
        left = timing.span - timing.margin - timing.renew
        return min(timing.ttl / RENEW_CHECK_DIVISOR, left / CHECKS_IN_WHAT_IS_LEFT)

    @property
    def alone(self) -> bool:
        """Whether it is one lease that is renewed later than others of its ttl."""
        return self.timing.raised


class Renewals:
    """All batches of one session."""

    def __init__(self, shared: Shared) -> None:
        self._session = shared.session
        self._nodes = shared.nodes
        self._quorum = shared.quorum
        self._timers = shared.timers
        self._numbers = shared.numbers
        self._pacing = shared.pacing
        self._out = shared.out
        self._exchanges = shared.exchanges
        self._batches: dict[tuple[int, int], _Batch] = {}
        self._with_room: dict[int, dict[int, None]] = {}  #: per ttl the batches that take another lease
        self._last_batch = 0
        self._rounds = 0

    def add(self, tenure: Tenure) -> None:
        """Renew this lease from now on."""
        # Counted from the sending of what it rests on: a standing accept rests on an older number.
        timing, until = tenure.timing, tenure.validity.until()
        due = until - timing.span + timing.renew
        if until < tenure.keep_until and timing.at_least <= timing.span:
            # Its first validity came late. Renewed at once, it lasts long enough should this process go.
            due = tenure.keep_until - timing.at_least
        ttl_ms = tenure.lease.ttl_ms
        room = self._with_room.setdefault(ttl_ms, {})
        if timing.raised:
            self._put(tenure, self._open(timing, ttl_ms, due), due)
            return
        if not room:
            room[self._open(timing, ttl_ms, due)] = None
        self._put(tenure, next(iter(room)), due)

    def _open(self, timing: Timing, ttl_ms: int, due: float) -> int:
        """Another batch."""
        self._last_batch += 1
        number = self._last_batch if (ttl_ms, 0) in self._batches else 0
        self._batches[ttl_ms, number] = _Batch(timing, next_round=due)
        return number

    def _put(self, tenure: Tenure, number: int, due: float) -> None:
        """Into this batch, which then is renewed at ``due`` at the latest."""
        ttl_ms = tenure.lease.ttl_ms
        batch = self._batches[ttl_ms, number]
        tenure.batch = number
        batch.tenures[tenure.candidate.attempt] = tenure
        batch.next_round = min(batch.next_round, due)
        if len(batch.tenures) >= ATTEMPTS_PER_RENEW:
            self._with_room[ttl_ms].pop(number, None)
        self._timers.add(batch.next_round, self.due, ttl_ms, number)

    def remove(self, tenure: Tenure) -> None:
        """Stop renewing this lease."""
        key = (tenure.lease.ttl_ms, tenure.batch)
        batch = self._batches.get(key)
        if batch is None or batch.tenures.pop(tenure.candidate.attempt, None) is None:
            return  # kept, and renewed no longer
        if batch.tenures:
            self._with_room[key[0]][key[1]] = None
        else:
            self._drop(key)

    def _drop(self, key: tuple[int, int]) -> None:
        ttl_ms, number = key
        del self._batches[key]
        self._timers.cancel(self.due, ttl_ms, number)
        room = self._with_room[ttl_ms]
        room.pop(number, None)
        if not room and not any(ttl == ttl_ms for ttl, _ in self._batches):
            del self._with_room[ttl_ms]

    def due(self, ttl_ms: int, number: int, now: float) -> None:
        """Renew every lease of this batch, or repeat the renewals that no quorum has acknowledged."""
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
        # The nearer the end, the more each answer counts: so repetitions do not become rarer than that.
        batch.check = max(batch.check, min(batch.check * 2.0, batch.longest_check))
        self._timers.add(min(batch.next_round, now + batch.check), self.due, ttl_ms, number)

    def _begin_round(self, key: tuple[int, int], now: float) -> None:
        batch = self._batches[key]
        batch.round_at = now
        batch.next_round = now + batch.timing.renew * self._part_of_a_round(key[1])
        batch.check = min(max(RENEW_CHECK_S, self._pacing.retry_first()), batch.timing.renew / 4.0)
        for node in self._nodes:
            self._send_renewals(node, list(batch.tenures), now)
        self._timers.add(min(batch.next_round, now + batch.check), self.due, *key)

    def _due_soon(self, ttl_ms: int, now: float) -> list[int]:
        """A few batches that come due next: to wake the nodes for each costs more than to renew it."""
        found = sorted(
            (batch.next_round, number)
            for (ttl, number), batch in self._batches.items()
            if ttl == ttl_ms
            and not batch.alone
            and now < batch.next_round <= now + batch.timing.renew / TOGETHER_DIVISOR
        )
        return [number for _, number in found[:TOGETHER_MAX]]

    def _part_of_a_round(self, number: int) -> float:
        """Batches that once came due together, after a pause of this process, draw apart again."""
        self._rounds += 1
        return 1.0 - SPREAD * (self._rounds * GOLDEN_RATIO % 1.0) if number else 1.0

    def _merge(self, ttl_ms: int, number: int, now: float) -> bool:
        """Move what is left of a batch into another one that has room for it, and is then renewed at once;
        False if no other has room.
        """
        tenures = self._batches[ttl_ms, number].tenures
        if self._batches[ttl_ms, number].alone:
            return False
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
        """For each node: the leases that it has not acknowledged in this round and that lack a quorum of
        acknowledgements.
        """
        found: dict[str, list[int]] = {}
        for attempt, tenure in batch.tenures.items():
            sent, gone = tenure.validity.sent, tenure.validity.outlived()
            missing = [n for n in self._nodes if n in gone or sent.get(n, LONG_AGO) < batch.round_at]
            if len(self._nodes) - len(missing) < self._quorum:
                for node in missing:
                    found.setdefault(node, []).append(attempt)
        return found

    def _send_renewals(self, node: str, attempts: list[int], now: float) -> None:
        for start in range(0, len(attempts), ATTEMPTS_PER_RENEW):
            some = tuple(attempts[start : start + ATTEMPTS_PER_RENEW])
            renew = Renew(self._out.request(), self._session, self._numbers.next(now), some)
            self._exchanges.send((node,), renew, now)
