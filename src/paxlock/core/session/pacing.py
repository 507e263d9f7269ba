"""How long a session waits: for answers, before it asks again, and before it gives way.

All of it follows the round trips that the session has measured (protocol.md section 5). It is about progress
only: no rule of safety rests on it.
"""

from __future__ import annotations

from random import Random

import attrs

from paxlock.core.round_trips import WINDOW_MIN_S, WINDOW_ROUND_TRIPS, RoundTrips

__all__ = [
    "HEARD_OF_LATE_S",
    "LONG_AGO",
    "NEVER",
    "PATIENCE_WINDOWS",
    "RETRY_MAX_S",
    "WITHDRAWN_MAX_WINDOWS",
    "Pacing",
]

NEVER = float("inf")
LONG_AGO = float("-inf")
RETRY_MIN_S = 0.004
RETRY_MAX_S = 0.5
REPAIR_FIRST_MIN_S = 0.06
#: The first repetition is drawn from three quarters of it on, and is to come after a steady answer.
RETRY_ROUND_TRIPS = 1.4
RETRY_TIMEOUTS = 1.2
PATIENCE_WINDOWS = 6.0  #: nodes that have not answered a phase for so long count as no
TRY_PATIENCE_ROUND_TRIPS = 3.0
WITHDRAWN_MAX_WINDOWS = 4.0
HEARD_OF_LATE_S = 2.0
SILENT_RETRY_MIN_S = 0.064  #: what a busy cell is given
SILENT_RETRY_SHARE = 0.125
SILENT_RETRY_EACH_S = 0.001
ASKED_MAX = 1024  #: questions whose sending is remembered


@attrs.define(eq=False)
class Pacing:
    """The durations of one session, in seconds. ``grace`` is what is assumed until a quorum was measured."""

    grace: float
    rng: Random
    round_trips: RoundTrips
    heard: dict[str, float] = attrs.field(factory=dict)  #: when each node last said what serving nodes say

    _asked: dict[int, float] = attrs.field(factory=dict)

    def asked(self, request: int, now: float) -> None:
        """This question leaves now, for the first and last time."""
        self._asked[request] = now
        if len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]

    def answered(self, node: str, request: int, now: float) -> None:
        """A node has answered it."""
        asked_at = self._asked.get(request)
        if asked_at is not None:
            self.round_trips.measured(node, now - asked_at)

    @property
    def window(self) -> float:
        """For how long a promise is wanted, and what the ages of others may be wrong by, at most."""
        return self.round_trips.window(self.grace)

    @property
    def patience(self) -> float:
        """After how long in a phase nodes that have not answered are given up on."""
        return PATIENCE_WINDOWS * self.window

    @property
    def patience_least(self) -> float:
        """No node is given up on before so long, however near it is."""
        return PATIENCE_WINDOWS * WINDOW_MIN_S

    def patience_with(self, node: str) -> float:
        """The same for one node: one that is slow, or was, is no reason to wait longer for another."""
        return PATIENCE_WINDOWS * self.round_trips.window_of(node, self.grace)

    def patience_of_try(self, unknown: float) -> float:
        """The same of one that tries once and is in a hurry; ``unknown`` before a quorum was measured."""
        usual = self.round_trips.hurried(unknown / TRY_PATIENCE_ROUND_TRIPS)
        return max(PATIENCE_WINDOWS * WINDOW_MIN_S, TRY_PATIENCE_ROUND_TRIPS * usual)

    def retry_of_try(self) -> float:
        """When one that tries once asks again."""
        return max(self.retry_first(), RETRY_ROUND_TRIPS * self.round_trips.hurried(0.0))

    @property
    def window_of_try(self) -> float:
        """What one that tries once goes by where it compares ages, and pauses by where it gives way."""
        return max(self.window, WINDOW_ROUND_TRIPS * self.round_trips.hurried(0.0))

    @property
    def withdrawn_longest(self) -> float:
        """What the pause grows to before a candidate that gave way comes back."""
        return WITHDRAWN_MAX_WINDOWS * self.window

    def heard_by(self, quorum: int) -> float:
        """Since when a quorum has been heard: the time at which the last one of it was; -inf if never."""
        times = sorted(self.heard.values(), reverse=True)
        return times[quorum - 1] if len(times) >= quorum else LONG_AGO

    def retry_first(self) -> float:
        """The first repetition: once answers have nearly always come, so that a busy cell is not asked
        twice.
        """
        trips = self.round_trips
        usual = RETRY_ROUND_TRIPS * max(trips.smoothed(0.0), trips.slowest)
        return max(RETRY_MIN_S, usual, RETRY_TIMEOUTS * trips.timeout(0.0))

    def repair_first(self) -> float:
        """When a holder looks which nodes have not taken its lease: not before they must have answered, and
        where that is soon, it has time.
        """
        return max(REPAIR_FIRST_MIN_S, self.retry_first())

    def retry_longest(self, quorum: int, waited: float, candidates: int, now: float) -> float:
        """What the intervals between the repetitions of a candidate grow to, in seconds; it has ``waited``
        so long for an answer, as one of so many ``candidates`` of this session.

        Where no quorum has been heard of late, there is hardly anybody to be spared: an eighth of the time
        waited, so that nodes that come up are found soon. That reaches the longest interval after 4 s; many
        candidates of one session begin with longer ones, a millisecond for each.
        """
        if now - self.heard_by(quorum) < HEARD_OF_LATE_S:
            return RETRY_MAX_S
        least = max(SILENT_RETRY_MIN_S, self.retry_first(), candidates * SILENT_RETRY_EACH_S)
        return min(RETRY_MAX_S, max(least, waited * SILENT_RETRY_SHARE))

    def jitter(self, interval: float) -> float:
        """Never later than the interval: a place in line lapses by what was stated."""
        return interval * self.rng.uniform(0.75, 1.0)
