"""What the comparison computes from what it measured."""

from __future__ import annotations

import math

import pytest

from benchmarks.figures import (
    Tenure,
    evenness,
    hand_offs,
    longest_gap,
    median,
    over_rounds,
    percentile,
    ratio,
    told,
    within,
    worst_of_rounds,
)

MS = 1_000_000


@pytest.mark.parametrize(("percent", "expected"), [(0, 1.0), (25, 1.75), (50, 2.5), (99, 3.97), (100, 4.0)])
def test_percentiles_are_interpolated(percent: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == pytest.approx(expected)


def test_of_one_value_every_percentile_is_that_value() -> None:
    assert [percentile([7.0], percent) for percent in (0, 50, 99, 100)] == [7.0] * 4


def test_of_nothing_nothing_is_known() -> None:
    assert math.isnan(percentile([], 50))
    assert math.isnan(median([]))
    assert math.isnan(over_rounds([], "x"))
    assert math.isnan(worst_of_rounds([{}], "x"))


def test_a_round_that_failed_does_not_spoil_the_median() -> None:
    rounds = [{"x": 1.0}, {}, {"x": 5.0}, {"x": 2.0}]
    assert over_rounds(rounds, "x") == 2.0
    assert worst_of_rounds(rounds, "x") == 5.0


def test_ratios_are_of_the_same_round() -> None:
    """Where the machine was slow in one round for both, the ratio does not move: medians alone would."""
    theirs = [{"x": 10.0}, {"x": 400.0}, {"x": 30.0}]
    ours = [{"x": 1.0}, {"x": 40.0}, {"x": 15.0}]
    assert ratio(theirs, ours, "x") == 10.0
    assert over_rounds(theirs, "x") / over_rounds(ours, "x") == 2.0


def test_ratios_of_holes_and_of_zero_are_left_out() -> None:
    assert ratio([{"x": 6.0}, {}, {"x": 9.0}], [{"x": 2.0}, {"x": 2.0}, {"x": 0.0}], "x") == 3.0


def test_ratios_need_rounds_that_belong_together() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratio([{"x": 1.0}, {"x": 1.0}], [{"x": 1.0}], "x")


def in_turn(clients: int, turns: int, hold: int = 5 * MS, gap: int = MS) -> list[Tenure]:
    """Clients that ask again as soon as they have let go, served in order."""
    tenures = []
    asked = list(range(clients))
    now = 0
    for turn in range(turns):
        client = turn % clients
        held = now + gap
        released = held + hold
        tenures.append(Tenure(client, asked[client], held, released))
        asked[client] = now = released
    return tenures


def test_a_lock_that_goes_round_is_fair() -> None:
    found = hand_offs(in_turn(4, 41))
    assert found.count == 40
    assert found.gaps == pytest.approx([0.001] * 40)
    assert found.per_s == pytest.approx(1 / 0.006)
    assert found.longest_waiter_share == 1.0
    assert found.overlaps == 0


def test_the_order_of_recording_does_not_matter() -> None:
    assert hand_offs(in_turn(4, 41)[::-1]) == hand_offs(in_turn(4, 41))


def test_a_client_that_pushes_in_is_found() -> None:
    """Client 1 has waited longer than client 2, and 2 gets it."""
    tenures = [
        Tenure(0, 0, 10, 100),
        Tenure(2, 50, 110, 200),
        Tenure(1, 20, 210, 300),
    ]
    found = hand_offs(tenures)
    assert found.longest_waiter_share == 0.0  # the second hand-off had one waiter: nothing to judge
    assert found.count == 2


def test_who_takes_it_back_at_once_has_not_waited_longest() -> None:
    tenures = [
        Tenure(0, 0, 10, 100),
        Tenure(0, 101, 110, 200),  # asked after the release, while 1 and 2 stood in line
        Tenure(1, 20, 210, 300),
        Tenure(2, 30, 310, 400),
    ]
    assert hand_offs(tenures).longest_waiter_share == pytest.approx(1 / 2)


def test_two_holders_at_once_are_counted_and_are_no_hand_off() -> None:
    found = hand_offs([Tenure(0, 0, 10, 100), Tenure(1, 0, 90, 120), Tenure(0, 100, 130, 140)])
    assert found.overlaps == 1
    assert found.count == 1


def test_one_tenure_is_no_hand_off() -> None:
    found = hand_offs([Tenure(0, 0, 1, 2)])
    assert (found.count, found.gaps) == (0, ())
    assert math.isnan(found.per_s)


def test_evenness_counts_clients_that_had_nothing() -> None:
    tenures = in_turn(3, 9)
    assert evenness(tenures, 3) == 1.0
    assert evenness(tenures[:7], 3) == 3 / 2
    assert evenness(tenures, 4) == math.inf


def test_only_what_was_held_in_the_window_counts() -> None:
    tenures = in_turn(2, 10)
    assert within(tenures, tenures[2].held, tenures[5].held) == tenures[2:6]


def test_the_longest_gap_begins_with_the_last_success_before() -> None:
    successes = [10 * MS, 95 * MS, 130 * MS, 140 * MS, 200 * MS]
    assert longest_gap(successes, 100 * MS, 150 * MS) == pytest.approx(0.035)


def test_silence_to_the_end_is_a_gap() -> None:
    assert longest_gap([10 * MS, 110 * MS], 100 * MS, 600 * MS) == pytest.approx(0.49)


def test_without_any_success_all_of_it_is_a_gap() -> None:
    assert longest_gap([], 100 * MS, 600 * MS) == pytest.approx(0.5)


CHANGES = [(100 * MS, True), (200 * MS, False), (300 * MS, True), (400 * MS, False)]


def test_each_change_is_matched_with_its_news() -> None:
    heard = [(moment + 2 * MS, led) for moment, led in CHANGES]
    assert told(CHANGES, heard, led=True).delays == pytest.approx([0.002, 0.002])
    assert told(CHANGES, heard, led=False).delays == pytest.approx([0.002, 0.002])


def test_news_may_come_before_acquire_returns() -> None:
    assert told(CHANGES, [(99 * MS, True), (299 * MS, True)], led=True).delays == pytest.approx(
        [-0.001, -0.001]
    )


def test_news_that_never_came_are_missed_and_not_taken_from_the_next_change() -> None:
    found = told(CHANGES, [(302 * MS, True)], led=True)
    assert found.delays == pytest.approx([0.002])
    assert found.missed == 1


def test_what_stood_before_the_first_change_is_no_news_of_it() -> None:
    """A watch begins with the present state."""
    found = told(CHANGES, [(1 * MS, False), (205 * MS, False), (405 * MS, False)], led=False)
    assert found.delays == pytest.approx([0.005, 0.005])
