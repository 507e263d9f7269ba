"""The limits of the shipped code, lowered for the time of a run so that what lies beyond them is common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

from paxlock.core.node import acceptor, parts, recovery, starts
from paxlock.core.node import forgetting as forgetting
from paxlock.core.node import line as queue
from paxlock.core.session import pacing, refreshing, renewals, thrift
from paxlock.simulator.scenario import Scenario
from paxlock.wire import endpoint

__all__ = ["small_limits"]

RARE = (
    (pacing, "FAR_REFRESH_MAX_S"),
    (queue, "LATE_MAX_S"),
    (refreshing, "WATCH_REFRESH_S"),
    (refreshing, "WATCH_REFRESH_CALM_S"),
    (refreshing, "WATCH_SILENCE_S"),
)
#: A quorum is asked first whatever that costs.
RECKLESS = (
    (thrift, "NEAR_S", inf),
    (thrift, "LEARNT", 0),
    (thrift, "SLOWER", inf),
    (thrift, "REST_FIRST_S", 0.0),
    (thrift, "WANTED_FOR_S", 0.0),
    (thrift, "FARTHER", inf),
)


@contextmanager
def small_limits(scenario: Scenario) -> Iterator[None]:
    """Within this block: the limits of this scenario. Split Renews and their answers, a ceiling that is often
    reached, a full line, sessions and names that are forgotten, lines and watches that come to rest.
    """
    changed: tuple[tuple[Any, str, float], ...] = (
        (renewals, "ATTEMPTS_PER_RENEW", scenario.attempts_per_renew),
        (acceptor, "CEILING_STEP_TERMS", scenario.ceiling_step),
        (recovery, "CEILING_STEP_TERMS", scenario.ceiling_step),
        (starts, "CEILING_STEP_TERMS", scenario.ceiling_step),
        (forgetting, "TOMBSTONE_S", scenario.tombstone),
        (queue, "LINE_MAX_ENTRIES", scenario.line_max),
        (parts, "ATTEMPTS_PER_ANSWER", scenario.attempts_per_answer),
        (endpoint, "SESSIONS_MAX", scenario.clients + scenario.sessions_spare),
        *(RECKLESS if scenario.reckless else ()),
        (pacing, "NEAR_PLACES", scenario.near_places),
        *((module, name, scenario.rests * getattr(module, name)) for module, name in RARE),
    )
    shipped = [getattr(module, name) for module, name, _ in changed]
    for module, name, value in changed:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(changed, shipped, strict=True):
            setattr(module, name, value)
