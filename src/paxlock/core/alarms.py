"""When to look at which record: one heap for all names, and one timer for the heap.

As with the timers (timers.py), moving an alarm later is lazy: it comes too early and is set anew. So the
deadline of a lease that is renewed all the time costs one look in about a ttl. The time of a record's alarm
is kept in the record: a hundred thousand of them are to cost little.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from paxlock.core.record import NEVER, Record, RecordTimer
from paxlock.core.timers import Timers

__all__ = ["Alarms"]

STALE_MIN_ALARMS = 64


class Alarms:
    """At most one live alarm for each record: the earliest time that was asked for."""

    __slots__ = ("_heap", "_live", "_records", "_timers")

    def __init__(self, records: Mapping[str, Record], timers: Timers) -> None:
        self._records = records
        self._timers = timers
        self._heap: list[tuple[float, str]] = []
        self._live = 0

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, record: Record, when: float) -> None:
        """Make sure that the record is looked at at ``when`` or earlier."""
        if record.alarm <= when:
            return
        self._live += record.alarm == NEVER
        record.alarm = when
        if len(self._heap) > STALE_MIN_ALARMS + 2 * self._live:
            # Those that were moved earlier would stay until their old time.
            self._heap = [(r.alarm, r.name) for r in self._records.values() if r.alarm < NEVER]
            heapq.heapify(self._heap)
        else:
            heapq.heappush(self._heap, (when, record.name))
        if self._heap[0][1] == record.name:
            self._timers.add(when, RecordTimer())

    def forget(self, record: Record) -> None:
        """The record is to be dropped."""
        self._live -= record.alarm < NEVER

    def due(self, now: float) -> Iterator[Record]:
        """Every record whose time has come, in order; also those set while iterating."""
        while self._heap and self._heap[0][0] <= now:
            when, name = heapq.heappop(self._heap)
            record = self._records.get(name)
            if record is not None and record.alarm == when:
                record.alarm = NEVER
                self._live -= 1
                yield record
        if self._heap:
            self._timers.add(self._heap[0][0], RecordTimer())
