"""One watch of one session, as a node keeps it: which events are under way, and when they are repeated
(protocol.md section 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import attrs

from paxlock.core.round_trips import RoundTrip

__all__ = ["EVENTS_IN_FLIGHT", "Subscription"]

EVENT_RETRY_MIN_S = 0.02
EVENT_RETRY_UNKNOWN_S = 0.1
EVENT_RETRY_MAX_S = 1.0
EVENTS_IN_FLIGHT = 32


class _Sent(NamedTuple):
    """When the event of a name was last sent, and whether never before: then its answer tells how long a
    round trip takes (Karn's rule).
    """

    at: float
    once: bool


@attrs.define(eq=False)
class Subscription:
    """``pending`` holds, per name, the version not yet acknowledged; the first of them are under way.

    The present state of a prefix is told in the order of the names, as many at a time as may be in flight.
    """

    session: bytes
    watch: int
    pattern: str
    prefix: bool
    lapses_at: float
    pending: dict[str, int] = attrs.field(factory=dict)
    told_to: str | None = None  #: while the present state is being told: the last name that is under way
    retry: float = EVENT_RETRY_UNKNOWN_S  #: after how long an event is repeated, in seconds
    _sent: dict[str, _Sent] = attrs.field(factory=dict)
    _trip: RoundTrip | None = None

    def queue(self, name: str, version: int) -> bool:
        """A new event of this name, behind the others; True if it took the place of an older one."""
        replaced = self.pending.pop(name, None) is not None
        self._sent.pop(name, None)
        self.pending[name] = version
        return replaced

    def unsent(self) -> list[str]:
        """Of those that may be under way, the names whose event was not sent yet."""
        return [name for name in islice(self.pending, EVENTS_IN_FLIGHT) if name not in self._sent]

    def sent(self, name: str, now: float) -> None:
        """The event of this name leaves now."""
        self._sent[name] = _Sent(now, name not in self._sent)

    def seen(self, versions: Iterable[tuple[str, int]], now: float) -> int:
        """The watcher has these versions: how many that acknowledges. One of them is measured, unless all
        were repeated; until one can be, repetitions stay as far apart as they have become.
        """
        acknowledged, measured = 0, False
        for name, version in versions:
            if self.pending.get(name, version + 1) <= version:
                del self.pending[name]
                acknowledged += 1
                sent = self._sent.pop(name, None)
                if sent is not None and sent.once and not measured:
                    measured = True
                    self._measured(now - sent.at)
        return acknowledged

    def _measured(self, took: float) -> None:
        if self._trip is None:
            self._trip = RoundTrip(took, took / 2.0)
        else:
            self._trip.measured(took)
        self.retry = min(max(self._trip.timeout, EVENT_RETRY_MIN_S), EVENT_RETRY_MAX_S)

    def late(self, now: float) -> list[str]:
        """The names whose event is to be repeated now. The next time comes later."""
        found = [name for name, sent in self._under_way() if sent.at + self.retry <= now]
        if found:
            self.retry = min(self.retry * 2.0, EVENT_RETRY_MAX_S)
        return found

    def next_look(self) -> float:
        """When something is to be repeated, or the subscription lapses."""
        return min([self.lapses_at, *(sent.at + self.retry for _, sent in self._under_way())])

    def _under_way(self) -> Iterator[tuple[str, _Sent]]:
        for name in islice(self.pending, EVENTS_IN_FLIGHT):
            sent = self._sent.get(name)
            if sent is not None:
                yield name, sent
