"""A client's watch, without a session around it."""

from __future__ import annotations

from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Event, View
from paxlock.core.standing import State
from paxlock.core.watcher import FIRST_ANSWER_S, WATCH_LAPSE_S, WATCH_REFRESH_S, Watcher

LEASE = Lease(Candidate(b"athens".ljust(16, b"."), 1), 10_000, "athens", b"data", 4)


def watcher(pattern: str = "n", *, prefix: bool = False) -> Watcher:
    return Watcher(7, pattern, prefix, ("a", "b", "c"), 0.0)


def led(name: str = "n", version: int = 1) -> Event:
    return Event(7, version, View(0, name, 4, LEASE, 4, True, True, False, 9_000))


def free(name: str = "n", version: int = 1) -> Event:
    return Event(7, version, View(0, name, 9, None, 0, False, False, False, 0))


def test_a_change_carries_label_data_and_token() -> None:
    found = watcher()
    for node in "ab":
        found.event(node, led(), 0.1)
    changed = found.look("n", 0.1)
    assert changed is not None
    assert (changed.ticket, changed.name, changed.state, changed.term) == (7, "n", State.LED, 4)
    assert (changed.label, changed.data) == ("athens", b"data")
    assert found.look("n", 0.2) is None


def test_an_event_of_another_name_is_not_taken() -> None:
    assert watcher().event("a", led("nn"), 0.1) is None
    assert watcher("n", prefix=True).event("a", led("nn"), 0.1) is not None
    assert watcher("n", prefix=True).event("a", led("m"), 0.1) is None


def test_before_the_first_answers_nothing_is_said_for_a_while() -> None:
    found = watcher()
    assert found.look("n", FIRST_ANSWER_S / 2) is None
    changed = found.look("n", FIRST_ANSWER_S)
    assert changed is not None and changed.state is State.UNKNOWN
    assert found.look("n", FIRST_ANSWER_S + 1) is None


def test_a_prefix_says_nothing_of_names_that_were_never_led() -> None:
    found = watcher("n", prefix=True)
    for node in "abc":
        found.event(node, free("n1"), 0.1)
    assert found.look("n1", 0.1) is None
    for node in "abc":
        found.event(node, led("n2"), 0.1)
    assert [(c.name, c.state) for c in found.look_at_all(0.1)] == [("n2", State.LED)]
    for node in "abc":
        found.event(node, free("n2", version=2), 0.2)
    assert [(c.name, c.state) for c in found.look_at_all(0.2)] == [("n2", State.FREE)]


def test_silence_is_unknown_and_the_state_comes_back() -> None:
    found = watcher()
    for node in "abc":
        found.event(node, led(), 0.1)
    found.look("n", 0.1)
    changed = found.look("n", 0.1 + WATCH_LAPSE_S)
    assert changed is not None and (changed.state, changed.term) == (State.UNKNOWN, 4)
    for node in "ab":
        found.stands(node, 10.0)
    changed = found.look("n", 10.0)
    assert changed is not None and (changed.state, changed.term) == (State.LED, 4)


def test_a_term_that_nobody_knows_to_be_chosen_hides_no_later_leader() -> None:
    # c took a late standing Prepare of a dead candidate, in a higher term than the quorum a, b.
    dead = Candidate(b"delphi".ljust(16, b"."), 1)
    found = watcher()
    for node, term in (("a", 3), ("b", 3), ("c", 7)):
        lease = Lease(dead, 10_000, "delphi", b"")
        view = View(0, "n", term, lease, term, True, term == 3, False, 9_000)
        found.event(node, Event(7, 1, view), 0.1)
    changed = found.look("n", 0.1)
    assert changed is not None and (changed.state, changed.term) == (State.LED, 3)
    for node in "ab":
        found.event(node, led(version=2), 0.2)
    changed = found.look("n", 0.2)
    assert changed is not None and (changed.state, changed.term) == (State.LED, 4)


def test_refreshes_come_soon_until_all_nodes_have_answered() -> None:
    found = watcher()
    intervals = [found.next_refresh() for _ in range(12)]
    assert intervals == sorted(intervals)
    assert intervals[0] < WATCH_REFRESH_S / 10
    assert intervals[-1] == WATCH_REFRESH_S
    young = watcher()
    for node in "abc":
        young.stands(node, 0.1)
    assert young.next_refresh() == WATCH_REFRESH_S
