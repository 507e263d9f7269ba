"""How often a watch is refreshed, and which nodes count, without a session around it."""

from __future__ import annotations

from itertools import pairwise

from paxlock.core.session.refreshing import (
    WATCH_REFRESH_CALM_S,
    WATCH_REFRESH_S,
    WATCH_SILENCE_S,
    Refreshing,
)

LIVES = {"a": 1, "b": 1, "c": 1}


def refreshed(
    found: Refreshing, answering: str, seconds: float, *, begin: float = 0.0, calm: bool = True
) -> list[float]:
    """When it asks, if these nodes answer at once."""
    asked: list[float] = []
    now = begin
    while now <= begin + seconds:
        if not found.rests(now, calm):
            found.ask(now, calm)
            asked.append(now)
            for node in answering:
                found.hear(node, now, LIVES)
        now = found.next_look(now)
    return asked


def gaps(times: list[float]) -> list[float]:
    return [round(after - before, 6) for before, after in pairwise(times)]


def test_refreshes_come_soon_until_all_nodes_have_answered() -> None:
    intervals = gaps(refreshed(Refreshing(("a", "b", "c")), "ab", 10.0))
    assert intervals == sorted(intervals)
    assert intervals[0] < WATCH_REFRESH_S / 10
    assert intervals[-1] == WATCH_REFRESH_S


def test_while_nothing_is_amiss_refreshes_get_rarer() -> None:
    asked = refreshed(Refreshing(("a", "b", "c")), "abc", 60.0)
    assert gaps(asked)[1:] == [1.0, 2.0, 4.0] + [WATCH_REFRESH_CALM_S] * (len(asked) - 5)
    assert len(asked) > 8


def test_what_is_to_be_asked_for_again_keeps_them_as_often_as_ever() -> None:
    asked = refreshed(Refreshing(("a", "b", "c")), "abc", 30.0, calm=False)
    assert set(gaps(asked)[1:]) == {WATCH_REFRESH_S}


def test_a_node_that_does_not_answer_is_asked_again_soon_and_counts_as_long_as_three_are_lost() -> None:
    found = Refreshing(("a", "b", "c"))
    last = refreshed(found, "abc", 60.0)[-1]
    begin = last + WATCH_REFRESH_CALM_S
    asked = refreshed(found, "ab", 20.0, begin=begin)
    assert set(gaps(asked)) == {WATCH_REFRESH_S}
    until = last + WATCH_REFRESH_CALM_S + WATCH_SILENCE_S
    assert sum(begin <= at < until for at in asked) == 3
    assert "c" in found.counting(until - 0.01)
    assert found.counting(until) == {"a", "b"}
    back = asked[-1] + WATCH_REFRESH_S
    assert gaps(refreshed(found, "abc", 9.0, begin=back)) == [1.0, 2.0, 4.0]


def test_what_is_stated_lasts_longer_than_until_the_next_refresh() -> None:
    found = Refreshing(("a", "b", "c"))
    asked = refreshed(found, "abc", 60.0)
    assert found.lapse == gaps(asked)[-1] + WATCH_SILENCE_S
    assert Refreshing(("a", "b", "c")).lapse == WATCH_REFRESH_S + WATCH_SILENCE_S


def test_a_restart_told_by_any_node_is_a_reason_to_ask_at_once() -> None:
    for by in "ab":
        found = Refreshing(("a", "b", "c"))
        last = refreshed(found, "abc", 60.0)[-1]
        now = last + 2.0
        assert not found.hear(by, now, dict(LIVES)) and found.rests(now, calm=True)
        assert found.hear(by, now, {**LIVES, "a": 2})
        assert found.wanted_at(now, calm=True) == now and not found.rests(now, calm=True)
        found.ask(now, calm=True)
        assert found.interval == WATCH_REFRESH_S
        assert not found.hear("c", now, LIVES), "c has not heard of it yet: that is no other restart"
