"""Events of one subscription: which are under way, and when they are repeated."""

from __future__ import annotations

from itertools import pairwise

import pytest

from paxlock.core.node.subscriptions import (
    EVENT_RETRY_MAX_S,
    EVENT_RETRY_MIN_S,
    EVENT_RETRY_UNKNOWN_S,
    EVENTS_IN_FLIGHT,
    Subscription,
)


def subscription() -> Subscription:
    return Subscription(b"delphi", 7, "", True, 1e9)


def told(found: Subscription, version: int, now: float, took: float) -> int:
    """An event is sent and repeated as its time comes, until it is seen; gives how often it was sent."""
    found.queue("n", version)
    found.sent("n", now)
    times = 1
    while (again := found.next_look()) < now + took:
        for name in found.late(again):
            found.sent(name, again)
            times += 1
    assert found.seen([("n", version)], now + took) == 1
    return times


@pytest.mark.parametrize("round_trip", [0.0005, 0.15, 0.6, 0.9])
def test_each_event_is_told_once_however_long_the_round_trip_is(round_trip: float) -> None:
    found = subscription()
    times = [told(found, number + 1, 10.0 * number, round_trip) for number in range(20)]
    assert (times[0] == 1) is (round_trip < EVENT_RETRY_UNKNOWN_S)
    assert times[4:] == [1] * 16, "the first ones may be repeated until one answer could be measured"


def test_an_answer_to_what_was_repeated_is_not_measured() -> None:
    found = subscription()
    assert told(found, 1, 0.0, EVENT_RETRY_UNKNOWN_S * 2) == 2
    assert found.retry == 2 * EVENT_RETRY_UNKNOWN_S, "it stays as long as it has become"
    assert told(found, 2, 1.0, 0.001) == 1
    assert found.retry == EVENT_RETRY_MIN_S


def test_repetitions_come_ever_later() -> None:
    found = subscription()
    found.queue("n", 1)
    found.sent("n", 0.0)
    moments = []
    for _ in range(8):
        moments.append(found.next_look())
        assert found.late(moments[-1]) == ["n"]
        found.sent("n", moments[-1])
    gaps = [b - a for a, b in pairwise(moments)]
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(EVENT_RETRY_MAX_S)


def test_only_what_is_late_is_repeated() -> None:
    found = subscription()
    for number, name in enumerate("abc"):
        found.queue(name, number + 1)
        found.sent(name, 0.04 * number)
    assert found.late(EVENT_RETRY_UNKNOWN_S) == ["a"]
    assert found.late(0.05) == []


def test_a_newer_version_is_a_new_event_behind_the_others() -> None:
    found = subscription()
    for number in range(EVENTS_IN_FLIGHT + 2):
        assert not found.queue(f"n{number:02}", number + 1)
    assert found.unsent() == [f"n{number:02}" for number in range(EVENTS_IN_FLIGHT)]
    for name in found.unsent():
        found.sent(name, 0.0)
    assert found.queue("n00", 99)
    assert found.unsent() == [f"n{EVENTS_IN_FLIGHT:02}"]
    assert found.seen([("n00", 1)], 0.1) == 0
    assert found.seen([("n01", 2), ("n02", 3), ("n02", 3)], 0.1) == 2
    assert found.unsent()[-1] == "n00"
