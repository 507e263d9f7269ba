"""One heap of timers for a machine.

A timer is a time and what is to be done then: a method, and whom it is about. What that means is decided
where the timer is set. Moving a timer later is lazy: the old entry comes due, its owner looks at its own data
and sets the timer again. What is due is a fact of the data, never of the order of this heap
(protocol.md section 2: "nothing relies on the order in which timers fire").
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any, TypeVarTuple

__all__ = ["Timers"]

NEVER = float("inf")
STALE_MIN_ENTRIES = 64

Ts = TypeVarTuple("Ts")
Key = tuple[Any, ...]  #: the action and its arguments: bound methods of one object are equal, and hash fast


class Timers:
    """At most one live entry per action with the same arguments: the earliest time that was asked for."""

    __slots__ = ("_at", "_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._at: dict[Key, float] = {}
        self._count = 0

    def add(self, when: float, action: Callable[[*Ts, float], object], *arguments: *Ts) -> None:
        """Make sure that ``action(*arguments, now)`` is called at ``when`` or earlier."""
        key = (action, *arguments)
        if when == NEVER or self._at.get(key, NEVER) <= when:
            return
        self._at[key] = when
        self._count += 1
        if len(self._heap) > STALE_MIN_ENTRIES + 2 * len(self._at):
            # What was cancelled or moved earlier would stay until its old time, perhaps for days.
            self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (when, self._count, key))

    def cancel(self, action: Callable[[*Ts, float], object], *arguments: *Ts) -> None:
        """Forget the timer of this action with these arguments, if there is one."""
        self._at.pop((action, *arguments), None)

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

    def run(self, now: float) -> None:
        """Do, in order, all whose time has come; also what is added meanwhile."""
        while self.deadline() <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._at[key]
            action, *arguments = key
            action(*arguments, now)
