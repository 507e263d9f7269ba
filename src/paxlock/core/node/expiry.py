"""When to look at which record: the alarms of all names behind one timer. A timing wheel (Varghese & Lauck
1987) with a heap for the step that is running.

As with the timers (timers.py), moving an alarm later is lazy: it comes too early and is set again. Most of
them are of leases that are renewed before they run out. So an alarm that is far away is not sorted: it lies
with all those of the same half second, and is looked at when that begins. Only what does run out then is
sorted. The time of an alarm is kept in the record, so that a hundred thousand of them cost little.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping

from paxlock.core.node.record import NEVER, Record
from paxlock.core.timers import Timers

__all__ = ["ExpiryWheel"]

STEP_S = 0.5
STALE_MIN_ALARMS = 64


class ExpiryWheel:
    """At most one live alarm for each record: the earliest time asked for, or the start of its step."""

    __slots__ = ("_begun", "_heap", "_live", "_look", "_records", "_size", "_steps", "_timers")

    def __init__(self, records: Mapping[str, Record], timers: Timers, look: Callable[[float], None]) -> None:
        """``look`` is called when a record may be ``due``."""
        self._records = records
        self._look = look
        self._timers = timers
        self._heap: list[tuple[float, str]] = []
        self._steps: dict[int, tuple[float, list[Record]]] = {}  #: with the time at which each begins
        self._begun = 0
        self._live = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def set(self, record: Record, when: float) -> None:
        """Make sure that the record is looked at at ``when`` or earlier."""
        if record.alarm <= when:
            return
        self._live += record.alarm == NEVER
        record.alarm = when
        if self._size > STALE_MIN_ALARMS + 2 * self._live:
            # Those that were moved earlier would stay until their old time.
            self._heap, self._steps, self._size = [], {}, 0
            for other in self._records.values():
                if other.alarm < NEVER:
                    self._place(other)
        else:
            self._place(record)

    def _place(self, record: Record) -> None:
        self._size += 1
        number = int(record.alarm / STEP_S)
        if number <= self._begun:
            heapq.heappush(self._heap, (record.alarm, record.name))
            if self._heap[0][1] == record.name:
                self._timers.add(record.alarm, self._look)
            return
        step = self._steps.get(number)
        if step is None:
            step = self._steps[number] = (number * STEP_S, [])
            self._timers.add(step[0], self._look)
        record.alarm = step[0]
        step[1].append(record)

    def forget(self, record: Record) -> None:
        """The record is to be dropped."""
        self._live -= record.alarm < NEVER
        record.alarm = NEVER

    def due(self, now: float) -> Iterator[Record]:
        """Every record whose time has come; also those set while iterating."""
        for number in sorted(number for number in self._steps if number * STEP_S <= now):
            begins, records = self._steps.pop(number, (NEVER, []))
            self._begun = max(self._begun, number)
            self._size -= len(records)
            for record in records:
                if record.alarm == begins:
                    record.alarm = NEVER
                    self._live -= 1
                    yield record
        while self._heap and self._heap[0][0] <= now:
            when, name = heapq.heappop(self._heap)
            self._size -= 1
            found = self._records.get(name)
            if found is not None and found.alarm == when:
                found.alarm = NEVER
                self._live -= 1
                yield found
        times = [begins for begins, _ in self._steps.values()]
        if self._heap or times:
            self._timers.add(min([*times, *(when for when, _ in self._heap[:1])]), self._look)
