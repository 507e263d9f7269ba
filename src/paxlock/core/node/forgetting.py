"""Tombstones, and when the sweep looks at which record (protocol.md section 2; rule L1).

A timing wheel without a heap (Varghese & Lauck 1987): times are rounded up to steps, and a record lies in one
step at most, so that a name used again and again is looked at as rarely as one used once. A sweep looks at a
slice of the records that are due and leaves the rest for a little later: a hundred thousand names that end
together must not hold up anything else. (The wheel of expiry.py must hit a deadline exactly and yields all
that is due; this one may be late, and must not. They share no more than a dict of lists.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from paxlock.core.handles import Stone
from paxlock.core.lease import Candidate
from paxlock.core.node.record import Record
from paxlock.core.timers import Timers

__all__ = [
    "SWEEP_DIVISOR",
    "SWEEP_PAUSE_S",
    "SWEEP_SLICE_RECORDS",
    "SWEEP_SLICE_STONES",
    "TOMBSTONE_S",
    "Sweeper",
]

TOMBSTONE_S = 60.0
SWEEP_SLICE_RECORDS = 32
SWEEP_SLICE_STONES = 256
SWEEP_DIVISOR = 16  #: the sweep looks again after TOMBSTONE_S in so many steps
SWEEP_PAUSE_S = 0.001


class Sweeper:
    """The records that the sweep is to look at, by the step in which it does; behind one timer."""

    __slots__ = ("_max_ttl", "_steps", "_sweep", "_timers")

    def __init__(self, timers: Timers, sweep: Callable[[float], None], max_ttl: float) -> None:
        """``sweep`` is called when a record may be ``due``."""
        self._timers = timers
        self._sweep = sweep
        self._max_ttl = max_ttl
        self._steps: dict[int, list[Record]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._steps.values()))

    def set_tombstone(self, record: Record, stone: Stone, now: float, *, forced: bool = False) -> None:
        """Set a tombstone, for an attempt and those before it, or against a lock. One that is ``forced``, set
        though nobody has said that the candidate is over, stands for a max_ttl longer (section 12).
        """
        if record.tombstones is None:
            record.tombstones = {}
        against, number = stone
        attempt, until = record.tombstones.pop(against, (0, 0.0))
        until = max(until, now + TOMBSTONE_S + (self._max_ttl if forced else 0.0))
        record.tombstones[against] = (max(attempt, number), until)
        if forced:
            record.revoked = Candidate(against, number)
        elif record.revoked == stone:
            record.revoked = None
        self.schedule(record, now)

    def schedule(self, record: Record, now: float) -> None:
        """Make sure that the sweep looks at this record, TOMBSTONE_S from now or earlier."""
        if not record.swept:
            self._look_at(record, now + TOMBSTONE_S)

    def _look_at(self, record: Record, when: float) -> None:
        record.swept = True
        step_s = TOMBSTONE_S / SWEEP_DIVISOR
        step = int(when / step_s) + 1
        records = self._steps.get(step)
        if records is None:
            records = self._steps[step] = []
            self._timers.add(step * step_s, self._sweep)
        records.append(record)

    def due(self, now: float) -> Iterator[Record]:
        """Look at a slice of the records that are due, and drop their expired tombstones. Yields the records
        that have none left: they are not looked at again unless they are scheduled again.
        """
        step_s = TOMBSTONE_S / SWEEP_DIVISOR
        step = min(self._steps, default=0)
        records = self._steps.get(step, []) if step * step_s <= now else []
        for _ in range(min(SWEEP_SLICE_RECORDS, len(records))):
            record = records.pop()
            record.swept = False
            again = record.drop_expired(now, SWEEP_SLICE_STONES)
            if again is not None:
                self._look_at(record, again)
            elif record.tombstones:
                record.swept = True
                records.append(record)  # there are more to drop
            else:
                yield record
        if step in self._steps and not records:
            del self._steps[step]
        if self._steps:
            # A slice at a time: what is left of a large sweep waits for other work in between.
            self._timers.add(max(min(self._steps) * step_s, now + SWEEP_PAUSE_S), self._sweep)
