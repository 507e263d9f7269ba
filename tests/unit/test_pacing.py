"""How long a session waits: by what it has measured, and before that by the grace."""

from __future__ import annotations

from random import Random

import pytest

from paxlock.core.round_trips import RoundTrips
from paxlock.core.session.pacing import ASKED_MAX, Pacing

GRACE = 0.2


def pacing(grace: float = GRACE) -> Pacing:
    return Pacing(grace, Random(1), RoundTrips(("a", "b", "c")))


def measured(took: float, *, times: int = 60, nodes: str = "abc") -> Pacing:
    found = pacing()
    for _ in range(times):
        for node in nodes:
            found.round_trips.measured(node, took)
    return found


def test_before_anything_was_measured_the_window_is_the_grace() -> None:
    found = pacing()
    assert found.window == GRACE
    found.round_trips.measured("a", 0.001)
    assert found.window == GRACE  # one of three is no quorum
    found.round_trips.measured("b", 0.001)
    assert found.window == 0.01


def test_a_local_network_reaches_the_shortest_window_with_the_first_answers() -> None:
    assert measured(0.0004, times=1).window == 0.01


@pytest.mark.parametrize("took", [0.01, 0.05, 0.3])
def test_a_window_is_four_steady_round_trips(took: float) -> None:
    assert measured(took).window == pytest.approx(4 * took, rel=0.01)


def test_the_window_is_bounded_both_ways() -> None:
    assert measured(8.0).window == 5.0
    assert pacing(3600.0).window == 5.0
    assert pacing(0.001).window == 0.01


def test_a_node_far_away_counts_with_what_it_usually_takes() -> None:
    found = measured(0.001, nodes="ab")
    assert found.window == 0.01
    for _ in range(60):
        found.round_trips.measured("c", 0.12)
    assert found.window == pytest.approx(0.48, rel=0.01)


def test_it_asks_again_when_an_answer_has_nearly_always_come() -> None:
    assert pacing().retry_first() == 0.004
    assert measured(0.001).retry_first() == 0.004
    assert measured(0.1).retry_first() == pytest.approx(0.14, rel=0.01)


def test_before_a_quorum_was_measured_it_waits_for_what_one_node_took() -> None:
    """What is repeated before it can be answered tells nothing of the round trip, so the session would go on
    knowing nothing: two of three greetings may be lost.
    """
    assert measured(0.3, times=1, nodes="a").retry_first() >= 0.3


def test_the_repetition_is_never_drawn_from_before_a_steady_answer() -> None:
    for took in (0.004, 0.02, 0.3):
        assert 0.75 * measured(took).retry_first() > took


def test_one_late_answer_does_not_silence_it() -> None:
    found = measured(0.001)
    for node in "abc":
        found.round_trips.measured(node, 60.0)
    assert found.retry_first() < 0.05
    assert found.window < 0.06


def test_those_who_try_once_believe_the_newest_answers_at_once() -> None:
    """They have no time to see whether a first answer that came late is usual. Others believe it later."""
    found = Pacing(0.01, Random(1), RoundTrips(("a", "b", "c"), first_max=0.015))
    assert found.patience_of_try(1.0) == 1.0
    for node in "ab":
        found.round_trips.measured(node, 0.2)
    assert found.patience_of_try(1.0) == pytest.approx(0.6)
    assert found.retry_of_try() == pytest.approx(0.28)
    assert found.window_of_try == pytest.approx(0.8)
    assert found.retry_first() < 0.1
    assert found.window < 0.2


def longest(found: Pacing, waited: float, *, candidates: int = 1, now: float = 100.0) -> float:
    return found.retry_longest(2, waited, candidates, now)


def test_where_no_quorum_is_heard_repetitions_stay_within_an_eighth_of_the_wait() -> None:
    found = pacing()
    assert longest(found, 0.2) == 0.064
    assert longest(found, 1.0) == pytest.approx(0.125)
    assert longest(found, 60.0) == 0.5


def test_nodes_that_are_heard_are_asked_as_rarely_as_ever() -> None:
    found = pacing()
    found.heard["a"] = 99.0
    assert longest(found, 1.0) == pytest.approx(0.125)  # one of three is no quorum
    found.heard["b"] = 98.5
    assert longest(found, 1.0) == 0.5
    assert longest(found, 1.0, now=100.6) == pytest.approx(0.125)  # that was long ago


def test_a_cell_that_was_slow_is_not_asked_sooner_where_it_is_silent() -> None:
    assert longest(measured(0.1), 0.2) == pytest.approx(0.14, rel=0.01)


def test_many_candidates_of_one_session_are_rarer_each() -> None:
    assert longest(pacing(), 0.2, candidates=200) == pytest.approx(0.2)
    assert longest(pacing(), 0.2, candidates=10_000) == 0.5


def test_an_answer_to_a_question_measures_the_node_that_gives_it() -> None:
    found = pacing()
    found.asked(7, 1.0)
    found.answered("a", 7, 1.05)
    found.answered("b", 8, 1.05)  # nobody knows when that was asked
    trip = found.round_trips.of("a")
    assert trip is not None and trip.smoothed == pytest.approx(0.05)
    assert found.round_trips.of("b") is None


def test_a_copy_of_a_question_measures_nothing() -> None:
    """A network delivers a copy late, to a node that was restarted meanwhile and answers it too."""
    found = pacing()
    for request, now in ((7, 1.0), (8, 1.2)):
        found.asked(request, now)
    for request, now in ((7, 1.05), (7, 1.6), (8, 1.25), (7, 1.7)):
        found.answered("a", request, now)
    trip = found.round_trips.of("a")
    assert trip is not None and trip.answers == 2 and trip.latest == pytest.approx(0.05)


def test_of_old_questions_nobody_remembers_when_they_were_asked() -> None:
    found = pacing()
    for request in range(ASKED_MAX + 1):
        found.asked(request, 1.0)
    found.answered("a", 0, 2.0)
    assert found.round_trips.of("a") is None
    found.answered("a", 1, 2.0)
    assert found.round_trips.of("a") is not None


def test_who_is_refused_looks_again_sooner_only_where_nodes_are_evenly_far() -> None:
    """Far nodes tell of an earlier holder: to hear them twice is to take a hand-off for split votes."""
    even, uneven = pacing(), pacing()
    for _ in range(5):
        for node, near, far in zip("abc", (0.04, 0.04, 0.12), (0.001, 0.04, 0.12), strict=True):
            even.round_trips.measured(node, near)
            uneven.round_trips.measured(node, far)
    assert even.look_again_first() == pytest.approx(0.04)
    assert uneven.look_again_first() == uneven.retry_first() > 0.12
