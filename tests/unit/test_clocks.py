"""The rates of clocks, from pings: what is said of them for sure is true."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxlock.core.session.events import NodePing
from paxlock.observe.clocks import HERE, READINGS_MAX, Rate, most_apart, rate_of, unfit

DRIFT = 0.01


def pings(
    rate: float, trips: Sequence[tuple[float, float] | None], every: float = 0.05, up: float = 70.0
) -> list[NodePing]:
    """Of a node whose clock runs so; each trip is (there, back), None where it was lost."""
    found = []
    for number, trip in enumerate(trips):
        asked = 1000.0 + number * every
        if trip is None:
            found.append(NodePing("b"))
            continue
        there, back = trip
        told = math.floor((up + (asked + there - 1000.0) * rate) * 1000.0) / 1000.0
        found.append(NodePing("b", there + back, asked, told))
    return found


TRIPS = st.one_of(st.none(), st.tuples(st.floats(0.0, 0.4), st.floats(0.0, 0.4)))


@given(st.floats(0.5, 2.0), st.lists(TRIPS, max_size=40), st.floats(0.01, 0.2))
def test_the_true_rate_is_within_the_bounds_whatever_the_network_does(
    rate: float, trips: list[tuple[float, float] | None], every: float
) -> None:
    found = rate_of(pings(rate, trips, every), DRIFT)
    if found is not None:
        assert found.low - 1e-6 <= rate <= found.high + 1e-6
        assert not found.uneven


def test_three_seconds_of_a_good_network_tell_a_clock_to_within_a_thousandth() -> None:
    found = rate_of(pings(1.05, [(0.0004, 0.0004)] * 60), DRIFT)
    assert found is not None and found.error < 0.001
    assert found.middle == pytest.approx(1.05, abs=0.001)


@pytest.mark.parametrize("trips", [[], [(0.001, 0.001)], [None] * 9, [(0.4, 0.4)] * 3])
def test_too_little_is_no_rate(trips: list[tuple[float, float] | None]) -> None:
    assert rate_of(pings(1.0, trips), DRIFT) is None


def test_what_was_before_a_restart_does_not_count() -> None:
    before, after = pings(2.0, [(0.0, 0.001)] * 20), pings(1.0, [(0.0, 0.001)] * 40, up=-1.0)[20:]
    found = rate_of([*before, *after], DRIFT)
    assert found is not None and found.low <= 1.0 <= found.high and not found.uneven


def test_a_clock_that_jumps_is_uneven() -> None:
    first, later = pings(1.0, [(0.0, 0.001)] * 20), pings(1.0, [(0.0, 0.001)] * 40, up=70.5)[20:]
    found = rate_of([*first, *later], DRIFT)
    assert found is not None and found.uneven
    assert unfit({"b": found}, DRIFT) == []


def test_very_many_are_compared_in_bounded_time() -> None:
    found = rate_of(pings(1.02, [(0.0004, 0.0004)] * (20 * READINGS_MAX)), DRIFT)
    assert found is not None and found.low <= 1.02 <= found.high and found.error < 1e-4


# --- which clock is it -----------------------------------------------------------------------------------


def exactly(rate: float, error: float = 0.001) -> Rate:
    return Rate(rate - error, rate + error)


def test_clocks_within_their_drift_are_fit() -> None:
    edge = most_apart(DRIFT)
    assert unfit({"a": exactly(1.0), "b": exactly(edge), "c": exactly(1.01)}, DRIFT) == []
    # Perhaps it is too fast: that is not for sure.
    assert unfit({"a": exactly(1.0), "b": exactly(1.05, 0.04), "c": exactly(1.0)}, DRIFT) == []


@pytest.mark.parametrize("rate", [0.95, 1.05])
def test_the_one_that_is_apart_from_the_others_is_found(rate: float) -> None:
    (found,) = unfit({"a": exactly(1.0), "b": exactly(rate), "c": exactly(1.0)}, DRIFT)
    assert found.who == "b" and found.against == (HERE, "a", "c")
    assert found.off == pytest.approx(rate - 1.0)


def test_this_machine_is_found_where_all_others_agree() -> None:
    (found,) = unfit(dict.fromkeys("abc", exactly(1.05)), DRIFT)
    assert found.who == HERE and found.off == pytest.approx(1 / 1.05 - 1.0)


def test_two_that_are_each_a_little_off_on_two_sides_are_found() -> None:
    found = unfit({"a": exactly(0.985), "b": exactly(1.015), "c": exactly(1.0)}, DRIFT)
    assert {each.who for each in found} == {"a", "b"}


def test_of_two_clocks_nobody_knows_which_it_is() -> None:
    found = unfit({"a": exactly(1.05)}, DRIFT)
    assert [each.who for each in found] == [HERE, "a"]
