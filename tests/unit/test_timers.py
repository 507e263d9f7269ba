"""One heap of timers."""

from __future__ import annotations

from paxlock.core.timers import Timers


class Diary:
    """What was done, and when."""

    def __init__(self) -> None:
        self.timers = Timers()
        self.done: list[tuple[str, float]] = []

    def note(self, what: str, now: float) -> None:
        self.done.append((what, now))

    def run(self, now: float) -> list[str]:
        """What is done by then."""
        before = len(self.done)
        self.timers.run(now)
        assert all(when == now for _, when in self.done[before:])
        return [what for what, _ in self.done[before:]]


def test_nothing_is_done_where_nothing_was_added() -> None:
    diary = Diary()
    assert diary.timers.deadline() == float("inf")
    assert diary.run(1e9) == []


def test_what_is_due_is_done_in_order_and_once() -> None:
    diary = Diary()
    for when, what in ((3.0, "c"), (1.0, "a"), (2.0, "b")):
        diary.timers.add(when, diary.note, what)
    assert diary.timers.deadline() == 1.0
    assert diary.run(2.0) == ["a", "b"]
    assert diary.run(2.0) == []
    assert diary.timers.deadline() == 3.0


def test_an_action_is_done_at_its_very_time() -> None:
    diary = Diary()
    diary.timers.add(1.0, diary.note, "a")
    assert diary.run(0.999) == []
    assert diary.run(1.0) == ["a"]


def test_of_one_action_the_earliest_time_counts() -> None:
    diary = Diary()
    for when in (5.0, 2.0, 9.0):
        diary.timers.add(when, diary.note, "a")
    assert diary.timers.deadline() == 2.0
    assert diary.run(10.0) == ["a"]


def test_of_two_objects_each_does_its_own() -> None:
    """The same method of two objects that are equal in all they have is not one action."""
    one, other = Diary(), Diary()
    one.timers.add(1.0, one.note, "a")
    one.timers.add(2.0, other.note, "a")
    one.timers.cancel(other.note, "b")
    assert one.run(2.0) == ["a"]
    assert other.done == [("a", 2.0)]


def test_never_is_not_added() -> None:
    diary = Diary()
    diary.timers.add(float("inf"), diary.note, "a")
    assert diary.timers.deadline() == float("inf")


def test_what_is_cancelled_is_not_done_and_may_be_added_later() -> None:
    diary = Diary()
    diary.timers.add(1.0, diary.note, "a")
    diary.timers.cancel(diary.note, "a")
    diary.timers.cancel(diary.note, "never added")
    assert diary.timers.deadline() == float("inf")
    diary.timers.add(4.0, diary.note, "a")
    assert diary.run(3.0) == []
    assert diary.run(4.0) == ["a"]


def test_what_is_added_meanwhile_is_done_too() -> None:
    diary = Diary()

    def first(now: float) -> None:
        diary.note("a", now)
        diary.timers.add(2.0, diary.note, "b")
        diary.timers.add(2.5, diary.note, "c")

    diary.timers.add(1.0, first)
    assert diary.run(2.0) == ["a", "b"]
    assert diary.timers.deadline() == 2.5
