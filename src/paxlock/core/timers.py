"""One heap of timers for a machine.

A timer is a key and a time. Moving a timer later is lazy: the old entry comes due, its owner looks at its
own data and sets the timer again. What is due is a fact of the data, never of the order of this heap
(protocol.md section 2: "nothing relies on the order in which timers fire").
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable, Iterator

__all__ = ["Timers"]

NEVER = float("inf")
STALE_MIN_ENTRIES = 64


class Timers:
    """At most one live entry per key: the earliest time that was asked for."""

    __slots__ = ("_at", "_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Hashable]] = []
        self._at: dict[Hashable, float] = {}
        self._count = 0

    def add(self, when: float, key: Hashable) -> None:
        """Make sure that ``key`` comes due at ``when`` or earlier."""
        if when == NEVER or self._at.get(key, NEVER) <= when:
            return
        self._at[key] = when
        self._count += 1
        if len(self._heap) > STALE_MIN_ENTRIES + 2 * len(self._at):
            # What was cancelled or moved earlier would stay until its old time, perhaps for days.
            self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (when, self._count, key))

    def cancel(self, key: Hashable) -> None:
        """Forget the timer of ``key``, if there is one."""
        self._at.pop(key, None)

    def deadline(self) -> float:
        """When the next timer comes due; infinity if none does."""
        heap = self._heap
        while heap:
            when, _, key = heap[0]
            if self._at.get(key) == when:
                return when
            heapq.heappop(heap)
        return NEVER

    def pending(self, now: float) -> bool:
        """Whether something may have come due: a quick look, before every message."""
        heap = self._heap
        return bool(heap) and heap[0][0] <= now

    def due(self, now: float) -> Iterator[Hashable]:
        """Take out, in order, every key whose time has come; also those added while iterating."""
        while self.deadline() <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._at[key]
            yield key
