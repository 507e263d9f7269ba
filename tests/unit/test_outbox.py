"""Repetitions: the first as soon as the grace allows, unless the cell is busy; then ever more rarely."""

from __future__ import annotations

from random import Random

import pytest

from paxlock.core.outbox import Outbox
from paxlock.core.round_trips import RoundTrips

GRACE = 0.01


def outbox() -> Outbox:
    return Outbox(GRACE, Random(1), RoundTrips(("a", "b", "c")))


def test_it_begins_with_a_part_of_the_grace() -> None:
    out = outbox()
    assert out.retry_first() == pytest.approx(0.004)
    out.heard_after("a", 0.001)
    assert out.retry_first() == pytest.approx(0.004)


def test_a_busy_cell_is_given_two_round_trips_at_once_and_trusted_slowly_again() -> None:
    out = outbox()
    out.heard_after("a", 0.01)
    assert out.retry_first() == pytest.approx(0.02)
    out.heard_after("a", 0.001)
    assert 0.015 < out.retry_first() < 0.02
    for _ in range(100):
        out.heard_after("a", 0.001)
    assert out.retry_first() == pytest.approx(0.004)


def test_one_late_answer_does_not_silence_it() -> None:
    out = outbox()
    out.heard_after("a", 60.0)
    assert out.retry_first() == pytest.approx(4 * GRACE)


def test_where_answers_usually_take_long_it_waits_for_two_of_them() -> None:
    out = outbox()
    for _ in range(50):
        out.heard_after("a", 0.1)
    assert out.retry_first() == pytest.approx(0.2, rel=0.01)
    for _ in range(50):
        out.heard_after("a", 60.0)
    assert out.retry_first() == pytest.approx(0.25, rel=0.01)


def longest(out: Outbox, waited: float, *, candidates: int = 1, now: float = 100.0) -> float:
    return out.retry_longest(2, waited, candidates, now)


def test_where_no_quorum_is_heard_repetitions_stay_within_an_eighth_of_the_wait() -> None:
    out = outbox()
    assert longest(out, 0.2) == pytest.approx(6.4 * GRACE)
    assert longest(out, 1.0) == pytest.approx(0.125)
    assert longest(out, 60.0) == 0.5


def test_nodes_that_are_heard_are_asked_as_rarely_as_ever() -> None:
    out = outbox()
    out.heard["a"] = 99.0
    assert longest(out, 1.0) == pytest.approx(0.125)  # one of three is no quorum
    out.heard["b"] = 98.5
    assert longest(out, 1.0) == 0.5
    assert longest(out, 1.0, now=100.6) == pytest.approx(0.125)  # that was long ago


def test_a_cell_that_was_slow_is_not_asked_sooner_where_it_is_silent() -> None:
    out = outbox()
    for _ in range(50):
        out.heard_after("a", 0.1)
    assert longest(out, 0.2) == pytest.approx(0.2, rel=0.01)


def test_many_candidates_of_one_session_are_rarer_each() -> None:
    assert longest(outbox(), 0.2, candidates=200) == pytest.approx(0.2)
    assert longest(outbox(), 0.2, candidates=10_000) == 0.5
