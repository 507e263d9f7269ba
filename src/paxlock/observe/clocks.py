"""How fast the clocks of nodes run against this machine's, by what they answered to pings: pure.

A ping is answered at some moment between its leaving and its answer's coming, by the clock here. Two of them
bound the rate of the other clock from both sides, whatever the network did meanwhile; many bound it closer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

import attrs

from paxlock.core.session.events import NodePing

__all__ = ["HERE", "Rate", "Unfit", "most_apart", "rate_of", "unfit"]

READINGS_MAX = 200  #: so many are compared, each with each
STEP_S = 0.001  #: a node tells whole milliseconds
HERE = "this machine"


@attrs.frozen
class Rate:
    """So many seconds of another clock pass in one of this machine's: between these two. ``uneven``: one of
    the two clocks has changed its rate meanwhile, by more than the drift of both, or has jumped.
    """

    low: float
    high: float
    uneven: bool = False

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2.0

    @property
    def error(self) -> float:
        """By how much the middle may be wrong."""
        return (self.high - self.low) / 2.0


@attrs.frozen
class Unfit:
    """A clock that runs fast (``off`` above 0) or slow against others, by this share: for sure by more than
    the drift of both explains.
    """

    who: str
    off: float
    against: tuple[str, ...]


def most_apart(drift: float) -> float:
    """By what factor two clocks may run apart that are each within ``drift`` of true time."""
    return (1.0 + drift) / (1.0 - drift)


def rate_of(pings: Sequence[NodePing], drift: float) -> Rate | None:
    """The rate of the clock of the node that these went to, in the order in which they left; None where too
    few came back. What it answered before it was started anew does not count.
    """
    readings = _of_last_run(pings)
    readings = readings[:: -(-len(readings) // READINGS_MAX) or 1]
    low, high = 0.0, math.inf
    for index, later in enumerate(readings):
        for earlier in readings[:index]:
            passed = later.up - earlier.up
            longest = later.asked + _trip(later) - earlier.asked
            shortest = later.asked - earlier.asked - _trip(earlier)
            if shortest > 0.0:
                low = max(low, (passed - STEP_S) / longest)
                high = min(high, (passed + STEP_S) / shortest)
    if not (low > 0.0 and high < math.inf):
        return None
    return Rate(min(low, high), max(low, high), uneven=low > high * most_apart(drift))


def _trip(ping: NodePing) -> float:
    return ping.round_trip or 0.0


def _of_last_run(pings: Sequence[NodePing]) -> list[NodePing]:
    found: list[NodePing] = []
    for ping in pings:
        if ping.round_trip is None:
            continue
        if found and ping.up < found[-1].up and ping.asked >= found[-1].asked + _trip(found[-1]):
            found = []
        found.append(ping)
    return found


def unfit(rates: Mapping[str, Rate], drift: float) -> list[Unfit]:
    """The clocks that cannot all run as true as ``drift`` says: of two that certainly do not, the one that is
    farther from the middle of all; of two clocks alone, both, since nobody knows which it is.
    """
    clocks = {HERE: Rate(1.0, 1.0)} | {who: rate for who, rate in rates.items() if not rate.uneven}
    most, middle = most_apart(drift), median(clock.middle for clock in clocks.values())
    found = []
    for who, clock in clocks.items():
        against = {
            other: another.middle
            for other, another in clocks.items()
            if (clock.low > another.high * most or clock.high * most < another.low)
            and abs(clock.middle - middle) >= abs(another.middle - middle) * (1.0 - 1e-9)
        }
        if against:
            found.append(Unfit(who, clock.middle / median(against.values()) - 1.0, tuple(against)))
    return found
