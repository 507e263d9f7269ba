"""An acceptor's line (the properties compare it with a dumb sorted list)."""

from __future__ import annotations

from paxlock.core.lease import Candidate
from paxlock.core.node.line import LINE_MAX_ENTRIES, NEAR_WINDOW_S, Line


def enter(
    line: Line, who: int, *, age: float = 0.0, refresh: float = 1.0, window: float = 0.0, now: float = 0.0
) -> Candidate:
    candidate = Candidate(who.to_bytes(16, "big"), 1)
    line.enter(candidate, age=age, refresh=refresh, at_least=who, label=str(who), window=window, now=now)
    return candidate


def test_an_empty_line_has_no_head() -> None:
    line = Line()
    assert (len(line), line.head(0.0), line.entries(0.0)) == (0, None, [])
    assert line.remove(Candidate(b"x", 1)) is None


def test_removing_gives_the_place_back() -> None:
    line = Line()
    first, second = enter(line, 1, age=2.0), enter(line, 2, age=1.0)
    entry = line.remove(first)
    assert entry is not None and (entry.arrival, entry.label) == (-2.0, "1")
    head = line.head(0.0)
    assert head is not None and head.candidate == second


def test_a_refresh_brings_a_new_at_least_and_no_new_place() -> None:
    line = Line()
    candidate = enter(line, 1, age=2.0)
    line.enter(candidate, age=9.0, refresh=1.0, at_least=70, label="1", now=1.0)
    (entry,) = line.entries(1.0)
    assert (entry.at_least, entry.arrival, entry.lapses_at) == (70, -2.0, 4.0)


def test_one_that_lapsed_and_comes_again_has_a_new_place() -> None:
    line = Line()
    enter(line, 1, age=2.0, refresh=0.1)
    other = enter(line, 2, age=1.0, refresh=10.0)
    head = line.head(5.0)
    assert head is not None and head.candidate == other
    enter(line, 1, age=0.0, now=5.0)
    assert [entry.label for entry in line.entries(5.0)] == ["2", "1"]


def test_a_full_line_drops_the_lapsed_before_the_youngest() -> None:
    line = Line()
    lapsed = enter(line, 5_000, age=9.0, refresh=0.1)
    for who in range(LINE_MAX_ENTRIES - 1):
        enter(line, who, age=5.0, refresh=100.0)
    young = enter(line, 9_999, now=1.0)
    waiting = {entry.candidate for entry in line.entries(1.0)}
    assert len(line) == LINE_MAX_ENTRIES
    assert young in waiting
    assert lapsed not in waiting


def test_of_those_that_came_together_the_smallest_candidate_is_next() -> None:
    """Each node hears them in another order, but they are to name the same head."""
    line = Line()
    for who, age in ((3, 0.05), (2, 0.03), (1, 0.01)):
        enter(line, who, age=age, window=0.1)
    head = line.head(0.0)
    assert head is not None and head.label == "2"  # within a quarter of the window; 1 came later
    assert [entry.label for entry in line.entries(0.0)] == ["3", "2", "1"]


def test_between_near_nodes_who_came_first_goes_first() -> None:
    """Their window is the shortest that there is, much longer than their round trip."""
    line = Line()
    for who, age in ((2, 0.0002), (1, 0.0001)):
        enter(line, who, age=age, window=NEAR_WINDOW_S)
    head = line.head(0.0)
    assert head is not None and head.label == "2"
    assert line.goes_before(-0.00005, Candidate(bytes(16), 1), NEAR_WINDOW_S, 0.0)


def test_nobody_is_passed_over_by_those_that_come_later() -> None:
    line = Line()
    enter(line, 9, age=1.0, window=0.1)
    for who in range(5):
        enter(line, who, age=0.9, window=0.1)
    head = line.head(0.0)
    assert head is not None and head.label == "9"


def test_who_asks_now_goes_before_those_that_came_together_with_it_and_are_larger() -> None:
    line = Line()
    assert not line.goes_before(0.0, Candidate(b"\0" * 16, 1), 0.1, 0.0)  # nobody is there
    waiting = enter(line, 5, age=0.0, window=0.1)
    smaller, larger = (Candidate(who.to_bytes(16, "big"), 1) for who in (4, 6))
    assert not line.goes_before(0.02, smaller, 0.1, 0.02)
    assert line.goes_before(0.02, larger, 0.1, 0.02)
    assert line.goes_before(0.03, smaller, 0.1, 0.03)  # too late
    assert not line.goes_before(-0.03, larger, 0.1, 0.03)  # older than all
    assert line.goes_before(-0.02, larger, 0.1, 0.03)
    assert not line.goes_before(0.02, waiting, 0.1, 0.02)
    second = enter(line, 6, age=0.0, window=0.1)
    assert line.goes_before(0.0, second, 0.1, 0.0)
