"""Who waits for a name at one acceptor, and in which order (protocol.md section 5).

The order is by (receipt - stated age, at the candidate's first entry): each candidate states on its own clock
how long it has waited, so that no clock is shared. Those messages take their time, to each node another one:
of candidates that came within a quarter of a window, which is a round trip, the smallest goes first, so that
all nodes name the same head. Where windows are short, nodes are near, and who came first goes first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from operator import itemgetter

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.messages import StandingPrepare

__all__ = [
    "LAPSE_REFRESHES",
    "LINE_MAX_ENTRIES",
    "NEAR_WINDOW_S",
    "REFRESH_MAX_S",
    "Entry",
    "Line",
    "lapses_after",
]

LINE_MAX_ENTRIES = 1024
REFRESH_MAX_S = 10.0
LATE_MAX_S = 3.0
LAPSE_REFRESHES = 3
TOGETHER_WINDOWS = 0.25
NEAR_WINDOW_S = 0.04  #: of nodes that are near, also of those on a machine that has no time to spare
PUSH_FIRST_WINDOWS = 0.3
PUSH_COPY_WINDOWS = 0.0625  #: to a candidate that sends copies: a quarter of a round trip
_arrival = itemgetter(0)


@attrs.define(eq=False)
class Entry:
    """A candidate in line: ``arrival`` is when its wait began, on this acceptor's clock.

    ``standing`` is its newest standing Prepare, by number, and ``received_at`` when that one came.
    """

    candidate: Candidate
    arrival: float
    at_least: int
    label: str
    window: float
    lapses_at: float
    standing: StandingPrepare | None = None
    received_at: float = 0.0
    copies: bool = False  #: a standing Prepare came twice: datagrams are lost, and it sends copies

    @property
    def lock(self) -> bytes:
        """The lock of the lease that it stands here with, if it does."""
        return self.standing.lock if self.standing is not None else b""

    @property
    def place(self) -> tuple[float, Candidate]:
        return (self.arrival, self.candidate)

    @property
    def push_again(self) -> float:
        """After how many seconds the first push to this candidate is repeated."""
        return (PUSH_COPY_WINDOWS if self.copies else PUSH_FIRST_WINDOWS) * self.window


def lapses_after(refresh: float) -> float:
    """For how many seconds a place is kept after a refresh that stated this interval. Not for long where the
    interval is long: many who died in line are passed over one by one.
    """
    refresh = min(refresh, REFRESH_MAX_S)
    return min(LAPSE_REFRESHES * refresh, refresh + LATE_MAX_S)


def _together(window: float) -> float:
    """Within how many seconds two candidates have come together."""
    return min(TOGETHER_WINDOWS * window, max(0.0, window - NEAR_WINDOW_S))


class Line:
    """The waiting candidates of one name, oldest first."""

    __slots__ = ("_by_session", "_entries", "_first", "_order")

    def __init__(self) -> None:
        self._entries: dict[Candidate, Entry] = {}
        self._by_session: dict[bytes, int] = {}  #: the attempt of each session that is in line
        self._order: list[tuple[float, Candidate]] = []
        self._first: Candidate | None = None

    def __len__(self) -> int:
        return len(self._order)

    def enter(
        self,
        candidate: Candidate,
        *,
        age: float,
        refresh: float,
        at_least: int,
        label: str,
        now: float,
        window: float = 0.0,
        standing: StandingPrepare | None = None,
    ) -> None:
        """Join the line, or refresh the place held there. A session has one place: that of its latest
        attempt (rule L7). A full line drops its youngest.
        """
        entry = self._entries.get(candidate)
        lapses_at = now + lapses_after(refresh)
        if entry is not None:
            entry.lapses_at = lapses_at
            entry.window = window
            entry.at_least = max(entry.at_least, at_least)
            if standing is not None and (entry.standing is None or entry.standing.seq < standing.seq):
                entry.standing = standing
                entry.received_at = now
            elif standing is not None:
                entry.copies = True
            return
        before = self._by_session.get(candidate.session)
        if before is not None:
            if before > candidate.attempt:
                return
            earlier = Candidate(candidate.session, before)
            was_first = earlier == self._first
            self.remove(earlier)
            self._first = candidate if was_first else self._first
        self._by_session[candidate.session] = candidate.attempt
        entry = Entry(candidate, now - age, at_least, label, window, lapses_at, standing, now)
        self._entries[candidate] = entry
        insort(self._order, entry.place)
        if len(self._order) > LINE_MAX_ENTRIES:
            self._drop_lapsed(now)
        if len(self._order) > LINE_MAX_ENTRIES:
            self.remove(self._order[-1][1])

    def remove(self, candidate: Candidate) -> Entry | None:
        """Take a candidate out, with its place."""
        entry = self._entries.pop(candidate, None)
        if entry is not None:
            del self._order[bisect_left(self._order, entry.place)]
            del self._by_session[candidate.session]
        if candidate == self._first:
            self._first = None
        return entry

    def before(self, candidate: Candidate) -> int:
        """How many came before this candidate; 0 for one that does not stand here."""
        entry = self._entries.get(candidate)
        return bisect_left(self._order, entry.place) if entry is not None else 0

    def put_first(self, candidate: Candidate) -> bool:
        """Somebody who may wants this candidate to be next, if it stands here (section 12); whether that was
        not so before.
        """
        if candidate not in self._entries or self._first == candidate:
            return False
        self._first = candidate
        return True

    def _put_first(self, now: float) -> Entry | None:
        entry = self._entries.get(self._first) if self._first is not None else None
        return entry if entry is not None and entry.lapses_at > now else None

    def head(self, now: float) -> Entry | None:
        """Who is next: who was put first, else of those that came together with the oldest the smallest
        candidate.
        """
        oldest = self._oldest(now)
        first = self._put_first(now)
        if first is not None:
            return first
        if oldest is None or len(self._order) == 1:
            return oldest
        head = oldest
        together = oldest.arrival + _together(oldest.window)
        for _, candidate in self._order[1 : bisect_right(self._order, together, key=_arrival)]:
            if candidate < head.candidate and self._entries[candidate].lapses_at > now:
                head = self._entries[candidate]
        return head

    def goes_before(self, arrival: float, candidate: Candidate, window: float, now: float) -> bool:
        """Whether somebody in line is before this candidate, which asks now."""
        head, oldest = self.head(now), self._oldest(now)
        if head is None or oldest is None or head.candidate == candidate:
            return False
        if candidate in self._entries or head.candidate == self._first:
            return True
        if arrival < oldest.arrival:
            return head.candidate < candidate and head.arrival <= arrival + _together(window)
        return head.candidate < candidate or arrival > oldest.arrival + _together(oldest.window)

    def _oldest(self, now: float) -> Entry | None:
        """The oldest candidate that still refreshes its place; those before it that lapsed are dropped."""
        while self._order:
            _, candidate = self._order[0]
            entry = self._entries[candidate]
            if entry.lapses_at > now:
                return entry
            self.remove(candidate)
        return None

    def entries(self, now: float) -> list[Entry]:
        """Everybody in line, in order, without those that have lapsed."""
        standing = (self._entries[candidate] for _, candidate in self._order)
        return [entry for entry in standing if entry.lapses_at > now]

    def _drop_lapsed(self, now: float) -> None:
        for candidate in [c for c, entry in self._entries.items() if entry.lapses_at <= now]:
            self.remove(candidate)
