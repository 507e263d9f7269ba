"""One heap of timers."""

from __future__ import annotations

from paxlock.core.timers import Timers


def test_nothing_is_due_where_nothing_was_added() -> None:
    timers = Timers()
    assert timers.deadline() == float("inf")
    assert list(timers.due(1e9)) == []


def test_keys_come_due_in_order_and_once() -> None:
    timers = Timers()
    for when, key in ((3.0, "c"), (1.0, "a"), (2.0, "b")):
        timers.add(when, key)
    assert timers.deadline() == 1.0
    assert list(timers.due(2.0)) == ["a", "b"]
    assert list(timers.due(2.0)) == []
    assert timers.deadline() == 3.0


def test_a_key_is_due_at_its_very_time() -> None:
    timers = Timers()
    timers.add(1.0, "a")
    assert list(timers.due(0.999)) == []
    assert list(timers.due(1.0)) == ["a"]


def test_of_one_key_the_earliest_time_counts() -> None:
    timers = Timers()
    timers.add(5.0, "a")
    timers.add(2.0, "a")
    timers.add(9.0, "a")
    assert timers.deadline() == 2.0
    assert list(timers.due(10.0)) == ["a"]


def test_never_is_not_added() -> None:
    timers = Timers()
    timers.add(float("inf"), "a")
    assert timers.deadline() == float("inf")


def test_a_cancelled_key_is_not_due_and_may_be_added_later() -> None:
    timers = Timers()
    timers.add(1.0, "a")
    timers.cancel("a")
    timers.cancel("never added")
    assert timers.deadline() == float("inf")
    timers.add(4.0, "a")
    assert list(timers.due(3.0)) == []
    assert list(timers.due(4.0)) == ["a"]


def test_what_is_added_while_iterating_is_due_too() -> None:
    timers = Timers()
    timers.add(1.0, "a")
    seen = []
    for key in timers.due(2.0):
        seen.append(key)
        if key == "a":
            timers.add(2.0, "b")
            timers.add(2.5, "c")
    assert seen == ["a", "b"]
    assert timers.deadline() == 2.5
