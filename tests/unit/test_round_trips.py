"""The estimates of round trips (core/round_trips.py)."""

from __future__ import annotations

import pytest

from paxlock.core.round_trips import ROUND_TRIP_MAX_S, RoundTrips

NODES = ("a", "b", "c")


def test_the_first_answer_sets_the_estimate_and_half_of_it_as_variation() -> None:
    trips = RoundTrips(NODES)
    assert trips.of("a") is None
    trips.measured("a", 0.1)
    found = trips.of("a")
    assert found is not None
    assert found.smoothed == pytest.approx(0.1)
    assert found.timeout == pytest.approx(0.3)


def test_further_answers_move_it_slowly_as_rfc_6298_says() -> None:
    trips = RoundTrips(NODES)
    trips.measured("a", 0.1)
    trips.measured("a", 0.2)
    found = trips.of("a")
    assert found is not None
    assert found.variation == pytest.approx(0.75 * 0.05 + 0.25 * 0.1)
    assert found.smoothed == pytest.approx(0.875 * 0.1 + 0.125 * 0.2)


def test_a_steady_round_trip_is_timed_out_soon_after_it() -> None:
    trips = RoundTrips(NODES)
    for _ in range(100):
        trips.measured("a", 0.05)
    found = trips.of("a")
    assert found is not None
    assert found.timeout == pytest.approx(0.05, rel=1e-3)


def test_of_a_quorum_it_is_that_of_the_slowest_among_the_fastest() -> None:
    trips = RoundTrips(NODES)
    assert trips.smoothed(0.2) == 0.2
    trips.measured("a", 0.001)
    assert trips.smoothed(0.2) == 0.2
    trips.measured("c", 0.3)
    assert trips.smoothed(0.2) == pytest.approx(0.3)
    trips.measured("b", 0.04)
    assert trips.smoothed(0.2) == pytest.approx(0.04)
    assert trips.timeout(0.2) == pytest.approx(0.12)


def test_before_a_quorum_has_answered_the_slowest_of_those_heard_is_expected() -> None:
    trips = RoundTrips(NODES)
    assert trips.expected == 0.0
    trips.measured("b", 0.8)
    assert trips.expected == pytest.approx(0.8)
    trips.measured("a", 0.2)
    trips.measured("c", 0.3)
    assert trips.expected == trips.smoothed(0.0) == pytest.approx(0.3)


def test_strangers_do_not_count_and_no_answer_counts_for_more_than_the_most() -> None:
    trips = RoundTrips(NODES)
    trips.measured("x", 0.1)
    assert trips.of("x") is None
    trips.measured("a", 1e9)
    found = trips.of("a")
    assert found is not None
    assert found.smoothed == ROUND_TRIP_MAX_S
    trips.measured("b", -1.0)
    found = trips.of("b")
    assert found is not None
    assert found.smoothed == 0.0


def test_one_late_answer_at_most_doubles_what_is_expected() -> None:
    trips = RoundTrips(NODES)
    for _ in range(100):
        trips.measured("a", 0.1)
    trips.measured("a", 60.0)
    found = trips.of("a")
    assert found is not None
    assert found.smoothed == pytest.approx(0.1 + 0.125 * 0.1, rel=1e-3)
    assert found.timeout < 0.25


def test_a_network_that_has_become_slow_is_followed_within_a_few_answers() -> None:
    trips = RoundTrips(NODES)
    for _ in range(100):
        trips.measured("a", 0.001)
    for _ in range(12):
        trips.measured("a", 0.3)
    found = trips.of("a")
    assert found is not None
    assert found.timeout > 0.3


def test_an_answer_in_half_the_usual_time_begins_anew() -> None:
    trips = RoundTrips(NODES)
    trips.measured("a", 1.0)
    trips.measured("a", 0.01)
    found = trips.of("a")
    assert found is not None
    assert (found.smoothed, found.timeout) == pytest.approx((0.01, 0.03))


def test_the_window_follows_every_answer() -> None:
    trips = RoundTrips(NODES)
    for node in NODES:
        trips.measured(node, 0.1)
    assert trips.window(0.2) == pytest.approx(0.8)
    for node in NODES:
        trips.measured(node, 0.01)
    assert trips.window(0.2) == pytest.approx(0.08)


@pytest.mark.parametrize(("far", "even"), [(0.035, True), (0.045, False)])
def test_nodes_are_evenly_far_up_to_four_times(far: float, even: bool) -> None:
    trips = RoundTrips(NODES)
    assert trips.even
    for node, took in zip(NODES, (0.01, 0.01, far), strict=True):
        for _ in range(5):
            trips.measured(node, took)
    assert trips.even is even
