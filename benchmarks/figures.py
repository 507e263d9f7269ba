"""What is computed from measurements: percentiles, medians of rounds, ratios, hand-offs, gaps. All pure.

Times are nanoseconds of CLOCK_MONOTONIC where they are integers, which all processes of a machine share;
computed figures are in the units that their names say, seconds otherwise.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

import attrs

NS_PER_S = 1_000_000_000

Figures = Mapping[str, float]  #: one round of one peer in one scenario


def percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation between the two nearest of the sorted values; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def quantiles(name: str, values: Sequence[float]) -> Figures:
    """The median and the 99th percentile, as ``name_p50`` and ``name_p99``."""
    return {f"{name}_p{percent}": percentile(values, percent) for percent in (50, 99)}


def median(values: Sequence[float]) -> float:
    """The median of those values that are numbers; NaN if none is."""
    numbers = [value for value in values if not math.isnan(value)]
    return statistics.median(numbers) if numbers else math.nan


def over_rounds(rounds: Sequence[Figures], key: str) -> float:
    """The median of one figure over the rounds."""
    return median([figures.get(key, math.nan) for figures in rounds])


def worst_of_rounds(rounds: Sequence[Figures], key: str) -> float:
    """The largest of one figure over the rounds; NaN if there is none."""
    numbers = [f[key] for f in rounds if not math.isnan(f.get(key, math.nan))]
    return max(numbers, default=math.nan)


def ratio(above: Sequence[Figures], below: Sequence[Figures], key: str, below_key: str = "") -> float:
    """The median over the rounds of one figure divided by another of the *same* round.

    Rounds are paired by their order, so both must hold one entry for each round.
    """
    return median(
        [
            divided(a.get(key, math.nan), b.get(below_key or key, math.nan))
            for a, b in zip(above, below, strict=True)
        ]
    )


def divided(above: float, below: float) -> float:
    """A quotient; NaN where it has no meaning."""
    return above / below if below and not math.isnan(below) else math.nan


def seconds(nanoseconds: float) -> float:
    return nanoseconds / NS_PER_S


# --- one lock, many clients -----------------------------------------------------------------------------


@attrs.frozen
class Tenure:
    """One acquisition by one client: asked for, held, and let go of (the call to release)."""

    client: int
    asked: int
    held: int
    released: int


@attrs.frozen
class HandOffs:
    """How a lock went from hand to hand."""

    count: int
    per_s: float
    gaps: tuple[float, ...]  #: seconds from the call to release to the next holder's acquire returning
    longest_waiter_share: float  #: of the hand-offs with two or more in line
    overlaps: int  #: times that two held the lock at once: must be 0


def hand_offs(tenures: Sequence[Tenure]) -> HandOffs:
    """Judge all hand-offs between consecutive tenures, whichever client recorded them."""
    ordered = sorted(tenures, key=lambda tenure: tenure.held)
    clients = len({tenure.client for tenure in tenures})
    gaps, fair, judged, overlaps = [], 0, 0, 0
    for index, (before, after) in enumerate(pairwise(ordered), 1):
        if after.held < before.released:
            overlaps += 1
            continue
        gaps.append(seconds(after.held - before.released))
        waiting = [t for t in _next_of_each(ordered, index, clients) if t.asked <= before.released < t.held]
        if len(waiting) >= 2:
            judged += 1
            fair += min(waiting, key=lambda t: t.asked) is after
    span = seconds(ordered[-1].held - ordered[0].held) if len(ordered) > 1 else 0.0
    return HandOffs(
        count=len(gaps),
        per_s=divided(len(gaps), span),
        gaps=tuple(gaps),
        longest_waiter_share=divided(fair, judged),
        overlaps=overlaps,
    )


def _next_of_each(ordered: Sequence[Tenure], start: int, clients: int) -> list[Tenure]:
    """Each client's first tenure from ``start`` on: who can have been waiting just before."""
    found: dict[int, Tenure] = {}
    for index in range(start, len(ordered)):
        found.setdefault(ordered[index].client, ordered[index])
        if len(found) == clients:
            break
    return list(found.values())


def evenness(tenures: Sequence[Tenure], clients: int) -> float:
    """The most acquisitions of a client divided by the fewest; infinite if one had none."""
    counts = Counter(tenure.client for tenure in tenures)
    fewest = min(counts.get(client, 0) for client in range(clients))
    return max(counts.values(), default=0) / fewest if fewest else math.inf


def within(tenures: Sequence[Tenure], begin: int, end: int) -> list[Tenure]:
    """Those that were held between the two moments, when all clients were at work."""
    return [tenure for tenure in tenures if begin <= tenure.held <= end]


# --- a steady client, and what befalls it ---------------------------------------------------------------


def longest_gap(successes: Sequence[int], begin: int, end: int) -> float:
    """The longest time without a success between two moments, in seconds.

    The last success before ``begin`` counts as its start; silence up to ``end`` counts as a gap as well.
    """
    before = [moment for moment in successes if moment <= begin]
    inside = [moment for moment in successes if begin < moment < end]
    moments = [max(before, default=begin), *sorted(inside), end]
    return seconds(max(b - a for a, b in pairwise(moments)))


# --- watches --------------------------------------------------------------------------------------------


@attrs.frozen
class Told:
    """How long watchers took to be told, in seconds, and how many changes they were never told of."""

    delays: tuple[float, ...]
    missed: int


def told(changes: Sequence[tuple[int, bool]], heard: Sequence[tuple[int, bool]], led: bool) -> Told:
    """Match every change to the state ``led`` with the first time the watcher heard of that state.

    ``changes`` alternate between the two states. What was heard between the change before and the change
    after the next one belongs to it; a delay may be negative, where a watcher heard before the one who
    made the change did.
    """
    delays, missed = [], 0
    for index, (moment, state) in enumerate(changes):
        if state is not led:
            continue
        begin = changes[index - 1][0] if index else -math.inf
        end = changes[index + 2][0] if index + 2 < len(changes) else math.inf
        found = next((at for at, what in heard if what is led and begin < at < end), None)
        if found is None:
            missed += 1
        else:
            delays.append(seconds(found - moment))
    return Told(tuple(delays), missed)
