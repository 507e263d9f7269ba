"""How long each node takes to answer: one estimate for each node, as TCP has it (RFC 6298).

Windows and timers follow these estimates. They are about progress only: no rule of safety rests on them.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

from paxlock.core.quorum import majority

__all__ = ["WINDOW_MAX_S", "WINDOW_MIN_S", "WINDOW_ROUND_TRIPS", "RoundTrip", "RoundTrips", "bounded_window"]

SMOOTHING = 0.125  #: RFC 6298, alpha
VARIATION_SMOOTHING = 0.25  #: RFC 6298, beta
VARIATIONS = 4.0  #: RFC 6298, K
ROUND_TRIP_MAX_S = 10.0  #: what a single answer counts at most
UNUSUAL_S = 0.02  #: what is below is never too late to be believed
WINDOW_ROUND_TRIPS = 4.0
WINDOW_MIN_S = 0.01
WINDOW_MAX_S = 5.0
EVEN_TIMES = 4.0  #: so many times the nearest node's round trip the farthest one's may be


def bounded_window(seconds: float) -> float:
    """A window as it may be: of a session by what it measured, or as a candidate states it to a node."""
    return min(max(seconds, WINDOW_MIN_S), WINDOW_MAX_S)


@attrs.define(eq=False)
class RoundTrip:
    """The round trip to one node, in seconds: smoothed, and how much it varies."""

    smoothed: float
    variation: float
    answers: int = 1
    latest: float = 0.0  #: what the newest answer took, believed or not
    shortest: float = float("inf")  #: what the fastest answer after the first took

    def measured(self, took: float) -> None:
        """Take one more measured round trip. An answer comes late for many reasons, but never too early:
        one late answer at most doubles what is expected, and one in half the usual time begins anew.
        """
        self.answers += 1
        self.latest = took
        self.shortest = min(self.shortest, took)
        if took < self.smoothed / 2.0:
            self.smoothed, self.variation = took, took / 2.0
            return
        took = min(took, max(UNUSUAL_S, 2.0 * self.timeout))
        self.variation += VARIATION_SMOOTHING * (abs(self.smoothed - took) - self.variation)
        self.smoothed += SMOOTHING * (took - self.smoothed)

    @property
    def timeout(self) -> float:
        """By when an answer has nearly always come, in seconds after the request was sent."""
        return self.smoothed + VARIATIONS * self.variation


class Summary(NamedTuple):
    """What follows from the estimates of all nodes: what the fastest quorum usually takes, and by when it has
    nearly always answered, both 0 without a quorum; the slowest, as `RoundTrips.slowest` tells it; and
    `RoundTrips.even`.
    """

    smoothed: float
    timeout: float
    slowest: float
    even: bool


class RoundTrips:
    """The round trips of one session to the nodes of its cell. The first answer of a node, with which nothing
    can be compared, counts for ``first_max`` seconds at most.
    """

    def __init__(self, nodes: tuple[str, ...], *, first_max: float = ROUND_TRIP_MAX_S) -> None:
        self._first_max = first_max
        self._quorum = majority(len(nodes))
        self._nodes = nodes
        self._measured: dict[str, RoundTrip] = {}
        self._window = 0.0
        #: Made when it is asked for: often more than once between two answers.
        self._summary: Summary | None = None

    def measured(self, node: str, took: float) -> None:
        """A node has answered ``took`` seconds after it was asked. Only for requests that were sent once
        (Karn's rule): the answer to a repeated one does not tell which sending it answers.
        """
        if node not in self._nodes:
            return
        self._window = 0.0
        self._summary = None
        took = min(max(took, 0.0), ROUND_TRIP_MAX_S)
        known = self._measured.get(node)
        if known is None:
            believed = min(took, self._first_max)
            self._measured[node] = RoundTrip(believed, believed / 2.0, latest=took)
        else:
            known.measured(took)

    def of(self, node: str) -> RoundTrip | None:
        """The estimate for one node; None before its first answer."""
        return self._measured.get(node)

    def usual(self, node: str, default: float) -> float:
        """What one node usually takes, in seconds; ``default`` before its first answer."""
        trip = self._measured.get(node)
        return default if trip is None else trip.smoothed

    def window(self, default: float) -> float:
        """Four round trips, and more where they vary: in this time a candidate has got a quorum's promises
        and has sent what follows, and of two candidates each has heard of the other, there and back. Those
        nodes count of which the fastest quorum is made, and of the others what they usually take.
        ``default`` before a quorum was measured; within bounds in any case.
        """
        if not self._window:
            if not self._quorum_measured:
                return bounded_window(default)
            self._window = self._window_with(self.slowest)
        return self._window

    def window_of(self, node: str, default: float) -> float:
        """The same of a quorum and this one node: how long another takes says nothing of it."""
        trip = self._measured.get(node)
        if trip is None or trip.answers == 1 or not self._quorum_measured:
            return self.window(default)
        return self._window_with(trip.smoothed)

    @property
    def _quorum_measured(self) -> bool:
        return len(self._measured) >= self._quorum

    def _window_with(self, usual: float) -> float:
        varying = (self.smoothed(0.0) + self.timeout(0.0)) / 2.0
        return bounded_window(WINDOW_ROUND_TRIPS * max(varying, usual))

    @property
    def summary(self) -> Summary:
        """All of them together, as they are now."""
        return self._summary or self._summarise()

    @property
    def even(self) -> bool:
        """Whether the farthest of the nodes measured usually takes no more than four times as long as the
        nearest.
        """
        return self.summary.even

    @property
    def slowest(self) -> float:
        """What the slowest node usually takes, of those that have answered more than once; 0 without one."""
        return self.summary.slowest

    def smoothed(self, default: float) -> float:
        """The usual time until a quorum has answered, in seconds; ``default`` before one was measured."""
        return self.summary.smoothed if self._quorum_measured else default

    @property
    def expected(self) -> float:
        """The usual time until a quorum has answered. Before one has, what the slowest of those heard so far
        took: a session that is new has its address to prove first, which takes a round trip more. 0 before
        any answer.
        """
        return self.smoothed(max((known.smoothed for known in self._measured.values()), default=0.0))

    def hurried(self, default: float) -> float:
        """The same for those who cannot wait for a second answer: what the newest ones took, where that is
        longer, is believed at once.
        """
        known = self._measured.values()
        return self._of_quorum([max(trip.smoothed, trip.latest) for trip in known], default)

    def timeout(self, default: float) -> float:
        """By when a quorum has nearly always answered, in seconds; ``default`` before one was measured."""
        return self.summary.timeout if self._quorum_measured else default

    def _summarise(self) -> Summary:
        usual, latest, slowest = [], [], 0.0
        for trip in self._measured.values():
            smoothed = trip.smoothed
            usual.append(smoothed)
            latest.append(smoothed + VARIATIONS * trip.variation)
            if smoothed > slowest and trip.answers > 1:
                slowest = smoothed
        even = not usual or max(usual) <= EVEN_TIMES * min(usual)
        quorum = self._of_quorum(usual, 0.0), self._of_quorum(latest, 0.0)
        self._summary = summary = Summary(*quorum, slowest, even)
        return summary

    def _of_quorum(self, values: list[float], default: float) -> float:
        if len(values) < self._quorum:
            return default
        return sorted(values)[self._quorum - 1]
