"""How much a session has under way at once: a window that follows what comes back."""

from __future__ import annotations

from random import Random

import attrs

from paxlock.core.round_trips import RoundTrips
from paxlock.core.session.pacing import Pacing
from paxlock.core.session.turns import TURNS_FIRST, TURNS_MAX, TURNS_MIN, Turns
from paxlock.core.timers import Timers

ROUND_TRIP_S = 0.01


@attrs.define(eq=False)
class Scene:
    pacing: Pacing
    timers: Timers
    turns: Turns
    room: list[float]  #: when there was some

    @classmethod
    def new(cls) -> Scene:
        pacing, timers = Pacing(0.01, Random(1), RoundTrips(("a", "b", "c"))), Timers()
        room: list[float] = []
        return cls(pacing, timers, Turns(room.append, pacing=pacing, timers=timers, quorum=2), room)

    def fill(self, count: int, now: float = 0.0, *, brief: bool = False, first: int = 0) -> list[int]:
        """So many ask; gives those that may go at once."""
        numbers = range(first, first + count)
        return [n for n in numbers if self.turns.ask(n, now, rank=n, brief=brief)]

    def hear(self, now: float) -> None:
        """Two nodes answer, as always after one round trip."""
        for node in "ab":
            self.pacing.heard[node] = now
            self.pacing.round_trips.measured(node, ROUND_TRIP_S)


def test_no_more_are_under_way_than_the_window_has_room_for() -> None:
    scene = Scene.new()
    assert scene.fill(1000) == list(range(TURNS_FIRST))
    assert (len(scene.turns), scene.turns.waiting) == (TURNS_FIRST, 1000 - TURNS_FIRST)
    assert list(scene.turns.begin(0.0)) == []


def test_where_one_is_done_the_first_in_line_follows_with_a_timer() -> None:
    scene = Scene.new()
    scene.fill(TURNS_FIRST)
    late, early = 2000, 1000
    assert not scene.turns.ask(late, 0.0, rank=late)
    assert not scene.turns.ask(early, 0.0, rank=early)
    scene.turns.done(3, 1.0)
    assert scene.room == []
    scene.timers.run(1.0)
    assert scene.room == [1.0]
    assert list(scene.turns.begin(1.0)) == [early]
    scene.turns.done(4, 2.0)
    assert list(scene.turns.begin(2.0)) == [late]


def test_who_asks_while_others_wait_does_not_pass_them() -> None:
    scene = Scene.new()
    scene.fill(TURNS_FIRST + 1)
    scene.turns.done(0, 1.0)
    assert not scene.turns.ask(9999, 1.0, rank=9999)
    assert list(scene.turns.begin(1.0)) == [TURNS_FIRST]


def test_who_waits_no_more_is_passed_over() -> None:
    scene = Scene.new()
    scene.fill(TURNS_FIRST + 3)
    assert scene.turns.waits(TURNS_FIRST)
    scene.turns.done(TURNS_FIRST, 0.5)
    assert not scene.turns.waits(TURNS_FIRST)
    scene.turns.done(0, 1.0)
    assert list(scene.turns.begin(1.0)) == [TURNS_FIRST + 1]


def test_the_brief_do_not_stand_behind_the_others_nor_the_others_behind_them() -> None:
    scene = Scene.new()
    scene.fill(TURNS_FIRST)
    scene.fill(10, first=1000)
    scene.fill(10, first=2000, brief=True)
    for number in range(4):
        scene.turns.done(number, 1.0)
    assert list(scene.turns.begin(1.0)) == [2000, 1000, 2001, 1001]


def test_it_grows_while_answers_take_no_longer_than_they_must() -> None:
    scene = Scene.new()
    scene.fill(TURNS_FIRST)
    for number in range(TURNS_FIRST):
        scene.turns.done(number, ROUND_TRIP_S, answered=True)
    assert scene.turns.size == 2 * TURNS_FIRST
    for number in range(100_000):
        scene.turns.ask(number, 1.0, rank=number)
        scene.turns.done(number, 1.0 + ROUND_TRIP_S, answered=True)
    assert scene.turns.size == TURNS_MAX


def test_it_does_not_grow_where_answers_have_waited_on_their_way() -> None:
    scene = Scene.new()
    for number, took in enumerate([0.001, *[0.003] * 50]):
        scene.turns.ask(number, 0.0, rank=number)
        scene.turns.done(number, took, answered=True)
    assert scene.turns.size == TURNS_FIRST + 1


def test_what_is_late_shrinks_it_once_for_all_that_were_under_way() -> None:
    scene = Scene.new()
    scene.fill(TURNS_FIRST)
    scene.hear(0.0)
    timeout = scene.pacing.round_trips.timeout(1.0)
    scene.turns.late(0, timeout / 2)
    assert scene.turns.size == TURNS_FIRST
    for number in range(TURNS_FIRST):
        scene.turns.late(number, timeout)
    assert scene.turns.size == TURNS_FIRST // 2
    for number in range(TURNS_FIRST):
        scene.turns.done(number, timeout)
    for start in (1.0, 2.0, 3.0, 4.0):
        scene.turns.ask(int(start * 1000), start, rank=1)
        scene.turns.late(int(start * 1000), start + 1.0)
    assert scene.turns.size == TURNS_MIN


def test_a_turn_is_not_kept_for_ever_while_others_are_answered() -> None:
    scene = Scene.new()
    scene.fill(1)
    assert not scene.turns.late(0, 100.0), "nobody is answered: who follows would not be either"
    scene.hear(5.0)
    assert not scene.turns.late(0, 0.5)
    assert scene.turns.late(0, 5.0)
    assert not scene.turns.late(77, 5.0), "not under way"


def test_it_says_why_the_turn_has_not_come() -> None:
    scene = Scene.new()
    scene.fill(100)
    assert scene.turns.failure_reason().startswith("not asked yet: 64 others of this client")
