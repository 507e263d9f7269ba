"""The sequence numbers of a session, and when each was sent (protocol.md section 3, rule S4).

Each number is given out once, and its sending time is read just before it is sent. An acknowledgement counts
from the first sending of the number that it names.
"""

from __future__ import annotations

from collections import deque

from paxlock.core.session.pacing import LONG_AGO

__all__ = ["SequenceNumbers"]


class SequenceNumbers:
    """One counter of numbers per session, with the time each was first sent."""

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._last = 0
        self._sent: dict[int, float] = {}
        self._order: deque[tuple[float, int]] = deque()

    def next(self, now: float) -> int:
        """A new number, sent at ``now``. Drops the numbers that are too old to make anything valid."""
        while self._order and self._order[0][0] < now - self._keep:
            del self._sent[self._order.popleft()[1]]
        self._last += 1
        self._sent[self._last] = now
        self._order.append((now, self._last))
        return self._last

    def sent_at(self, number: int) -> float:
        """When the number was first sent; -inf if it is unknown or too old to count."""
        return self._sent.get(number, LONG_AGO)
