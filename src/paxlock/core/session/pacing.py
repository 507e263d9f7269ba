"""How long a session waits: for answers, before it asks again, and before it gives way.

All of it follows the round trips that the session has measured (protocol.md section 5). It is about progress
only: no rule of safety rests on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import ceil
from random import Random
from typing import Protocol

import attrs

from paxlock.core.messages import Occupancy, Occupant
from paxlock.core.round_trips import WINDOW_MIN_S, WINDOW_ROUND_TRIPS, RoundTrips

__all__ = [
    "HEARD_OF_LATE_S",
    "LONG_AGO",
    "NEVER",
    "ONE_TRY_MAX_ROUND_TRIPS",
    "ONE_TRY_MAX_S",
    "ONE_TRY_ROUND_TRIPS",
    "ONE_TRY_S",
    "PATIENCE_WINDOWS",
    "RETRY_MAX_S",
    "RETRY_MIN_S",
    "RETRY_ROUND_TRIPS",
    "RETRY_TIMEOUTS",
    "SILENT_RETRY_EACH_S",
    "SILENT_RETRY_MIN_S",
    "AttemptPacing",
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
HEARD_OF_LATE_S = 2.0
SILENT_RETRY_MIN_S = 0.064  #: what a busy cell is given
SILENT_RETRY_SHARE = 0.125
SILENT_RETRY_EACH_S = 0.001
REFRESH_UNKNOWN_S = 0.1  #: how often a place in line is refreshed while no holder is known
REFRESH_MIN_S = 0.01
REFRESH_MAX_S = 1.0
REFRESH_NEAR_END_S = 0.05
NEAR_PLACES = 8  #: so many at the front of a line ask as often as the head
FAR_REFRESH_MAX_S = 10.0
ASKED_REFRESHES = 2.0  #: within so many a node that lives has answered
REFRESH_DIVISOR = 20  #: with a holder: this part of its ttl
ONE_TRY_S = 1.0  #: how long a campaign that tries once waits for a quorum's answers
ONE_TRY_MAX_S = 5.0  #: and, where a quorum answers, for a holder to become known
ONE_TRY_ROUND_TRIPS = 4.0  #: or so many round trips, where that is longer,
ONE_TRY_MAX_ROUND_TRIPS = 20.0  #: and so many
ASKED_MAX = 1024  #: questions whose sending is remembered


class RefusalsHeard(Protocol):
    """What the nodes of one phase have said (refusals.py)."""

    def occupants(self) -> Iterable[Occupant]: ...
    def place(self) -> int: ...


@attrs.define(eq=False)
class Pacing:
    """The durations of one session, in seconds. ``grace`` is what is assumed until a quorum was measured."""

    grace: float
    rng: Random
    round_trips: RoundTrips
    heard: dict[str, float] = attrs.field(factory=dict)  #: when each node last said what serving nodes say

    _asked: dict[int, float] = attrs.field(factory=dict)
    _latest: dict[str, int] = attrs.field(factory=dict)  #: the newest question that each node has answered

    def asked(self, request: int, now: float) -> None:
        """This question leaves now, for the first and last time."""
        self._asked[request] = now
        if len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]

    def answered(self, node: str, request: int, now: float) -> None:
        """A node has answered it. Another answer to the same question, or one to an older question, tells how
        long a copy was on its way: that does not count.
        """
        asked_at = self._asked.get(request)
        if asked_at is not None and request > self._latest.get(node, -1):
            self._latest[node] = request
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

    def heard_by(self, quorum: int) -> float:
        """Since when a quorum has been heard: the time at which the last one of it was; -inf if never."""
        times = sorted(self.heard.values(), reverse=True)
        return times[quorum - 1] if len(times) >= quorum else LONG_AGO

    def retry_first(self) -> float:
        """The first interval between repetitions. Answers have nearly always come by then, so a busy cell is
        not asked again needlessly: 1.4 of the usual round trips, of a quorum and of the slowest node, and
        1.2 of the time by which a quorum has nearly always answered. Before a quorum was measured, 1.4 of
        what the slowest of those heard so far took: what is repeated sooner than it can be answered tells
        nothing of the round trip.
        """
        trips = self.round_trips.summary
        usual = RETRY_ROUND_TRIPS * max(trips.smoothed or self.round_trips.expected, trips.slowest)
        return max(RETRY_MIN_S, usual, RETRY_TIMEOUTS * trips.timeout)

    def look_again_first(self) -> float:
        """When a candidate asks again that was refused by all, while nobody has a quorum. The answers are
        there: what may have changed is what they tell. Where nodes are unevenly far, a name that goes from
        hand to hand looks split while the far ones tell of an earlier holder: whoever asks as soon hears
        them say it twice, and gives way for nothing.
        """
        trips = self.round_trips
        return max(RETRY_MIN_S, trips.smoothed(0.0)) if trips.even else self.retry_first()

    def repair_first(self) -> float:
        """When a holder looks which nodes have not taken its lease: not before they should have answered. If
        that is soon, it can wait a little longer.
        """
        return max(REPAIR_FIRST_MIN_S, self.retry_first())

    def retry_longest(self, quorum: int, waited: float, candidates: int, now: float) -> float:
        """What the intervals between the repetitions of a candidate grow to, in seconds; it has ``waited``
        so long for an answer, as one of so many ``candidates`` of this session.

        If no quorum has answered lately, there is little load to spare: an eighth of the time waited, so that
        nodes that come up are found soon. That reaches the longest interval after 4 s. Many candidates of one
        session begin with longer intervals, a millisecond for each.
        """
        if now - self.heard_by(quorum) < HEARD_OF_LATE_S:
            return RETRY_MAX_S
        least = max(SILENT_RETRY_MIN_S, self.retry_first(), candidates * SILENT_RETRY_EACH_S)
        return min(RETRY_MAX_S, max(least, waited * SILENT_RETRY_SHARE))

    def jitter(self, interval: float) -> float:
        """Never later than the interval: a place in line lapses by what was stated."""
        return interval * self.rng.uniform(0.75, 1.0)


@attrs.define(eq=False)
class AttemptPacing:
    """How long one attempt waits, in seconds. One whose campaign tries once (``tries``) is in a hurry."""

    session: Pacing
    tries: bool
    eager: bool  #: whether a Prepare carries the lease before anything was refused
    retry: float = attrs.field(init=False)  #: until the next repetition in this phase
    backoff: float = attrs.field(init=False)  #: until the next term, after one has failed
    refresh: float = REFRESH_UNKNOWN_S  #: within what time a Prepare says that it will be repeated
    stated: float = REFRESH_UNKNOWN_S  #: what the last Prepare said
    window: float = 0.0  #: the longest window that it has stated: what others may go by (rule L2)
    repeated: bool = False  #: whether all were asked again since that was looked at last
    _divided: dict[object, int] = attrs.field(factory=dict)  #: who was named where nobody had a quorum
    _soon: float = 0.0  #: and how soon that was to be asked again

    def __attrs_post_init__(self) -> None:
        self.retry = self.backoff = self._first()

    def _first(self) -> float:
        return self.session.retry_of_try() if self.tries else self.session.retry_first()

    def begin_phase(self) -> None:
        self.retry = self._first()
        self._divided.clear()

    def repeat_soon(self) -> None:
        """Something has changed: as at the start of a phase, and of one that tries once no later."""
        self.retry = self.session.retry_first()
        self._divided.clear()

    def slow_down(self) -> None:
        """Repeat more and more rarely."""
        self.retry = min(self.retry * 2.0, RETRY_MAX_S)

    def slow_down_unrefused(self, longest: float) -> None:
        """The same in phase 1, without a blocking set of refusals."""
        self.retry = min(self.retry * 2.0, longest)
        # The retry interval has grown past the patience: answers are being lost, votes are not split.
        # Attach the lease again.
        self.eager |= self.retry > self.session.patience
        # The place in line, where there is one, lapses by what is stated.
        self.refresh = max(self.refresh, self.retry)

    def wait_in_line(self, refusals: RefusalsHeard, quorum: int) -> None:
        """Repeat by what is known of the holder (section 5), and soon if no candidate has a quorum, with each
        repetition more rarely while the nodes name the same ones; the farther back in line, the more rarely.
        The next Prepare comes within what the last one stated, so that the place in line does not lapse.
        """
        named: Counter[object] = Counter()
        holders: list[Occupant] = []
        for occupant in refusals.occupants():
            named[occupant.candidate] += 1
            if occupant.occupancy is Occupancy.HELD:
                holders.append(occupant)
        self.refresh = REFRESH_UNKNOWN_S
        # Where no quorum can be heard, the word of one node that has heard the holder has to do (rule L3).
        divided = bool(named) and max(named.values()) < quorum
        latest = self._look_again(named) if divided else NEVER
        if holders and (not divided or any(holder.confirmed for holder in holders)):
            ttl = max(o.ttl_ms for o in holders) / 1000.0
            left = max(o.remaining_ms for o in holders) / 1000.0
            self.refresh = max(REFRESH_MIN_S, min(REFRESH_MAX_S, ttl / REFRESH_DIVISOR))
            behind = 0 if divided else refusals.place() - NEAR_PLACES
            if behind > 0:  # who is near the head sees to it where a push is lost
                self.refresh = min(self.refresh * (1.0 + behind / NEAR_PLACES), FAR_REFRESH_MAX_S)
            else:
                latest = min(latest, max(REFRESH_NEAR_END_S, left))
        self.retry = min(self.stated, self.refresh, latest)

    def _look_again(self, named: Counter[object]) -> float:
        """How soon to ask again while no candidate has a quorum: what is divided may stay so for long, where
        a node is dead.
        """
        if self._divided != named:
            self._divided, self._soon = named, self.session.look_again_first()
        elif self.repeated:
            self._soon = min(2.0 * self._soon, REFRESH_MAX_S)
        self.repeated = False
        return self._soon

    def heard_lately(self, now: float) -> float:
        """Since when a node must have answered that still answers: it is asked at each refresh."""
        return now - ASKED_REFRESHES * self.refresh - self.session.patience

    def interval(self) -> float:
        """Until the next repetition, jittered."""
        return self.session.jitter(self.retry)

    def back_off(self) -> float:
        """The pause after a term has failed; the next one is longer."""
        pause = self.session.rng.uniform(0.25, 1.0) * self.backoff
        self.repeat_soon()
        self.backoff = min(self.backoff * 2.0, RETRY_MAX_S)
        return pause

    def pause_after(self, withdrawn: AttemptPacing) -> float:
        """The pause of the attempt that follows one that gave way: within a window the others have come to an
        end, and nobody tells it of a name that falls free later.
        """
        longest = self.session.window_of_try if self.tries else self.session.window
        self.backoff = min(withdrawn.backoff * 2.0, longest)
        return self.session.rng.uniform(0.5, 1.0) * self.backoff

    def pause_of_try(self, waited: float) -> float:
        """The pause of one that tries once and has no vote: it keeps out of the way of the others."""
        longer = min(waited / 2.0, RETRY_MAX_S)
        return self.session.rng.uniform(1.0, 2.0) * max(self.retry, longer)

    @property
    def patience(self) -> float | None:
        """After how long one that tries once gives way to anybody; None for the others."""
        return self.session.patience_of_try(ONE_TRY_S) if self.tries else None

    def patience_with(self, node: str) -> float:
        """How long a phase waits for the answer of a node: what has not come by then counts as no."""
        return self.session.patience_of_try(ONE_TRY_S) if self.tries else self.session.patience_with(node)

    @property
    def rivals_window(self) -> float:
        """By how much the ages of others may seem wrong (rule L2)."""
        return max(self.window, self.session.window_of_try if self.tries else self.session.window)

    def state_window_ms(self) -> int:
        """The window to state now, by the round trips as they are measured now."""
        window = self.session.window
        self.window = max(self.window, window)
        return ceil(window * 1000.0)
