"""A client's watch, without a session around it."""

from __future__ import annotations

from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Seen, View, WatchEvent
from paxlock.core.session.events import Changed
from paxlock.core.session.judgement import Judgement, State
from paxlock.core.session.outbox import Outbox
from paxlock.core.session.refreshing import WATCH_REFRESH_S, WATCH_SILENCE_S
from paxlock.core.session.watches import (
    CHECKS_MAX,
    FIRST_ANSWER_S,
    LOOKED_AT_ONCE,
    SeenEvents,
    Watcher,
)
from paxlock.wire.codec import encode

WATCH_LAPSE_S = WATCH_REFRESH_S + WATCH_SILENCE_S  # after the last word, while something is amiss

LEASE = Lease(Candidate(b"athens".ljust(16, b"."), 1), 10_000, "athens", b"data", 4)


def watcher(pattern: str = "n", *, prefix: bool = False) -> Watcher:
    return Watcher(7, pattern, prefix, ("a", "b", "c"), 0.0)


def led(name: str = "n", version: int = 1) -> WatchEvent:
    return WatchEvent(7, version, View(0, name, 4, LEASE, 4, True, True, False, 9_000))


def free(name: str = "n", version: int = 1) -> WatchEvent:
    return WatchEvent(7, version, View(0, name, 9, None, 0, False, False, False, 0))


def look_at_all(found: Watcher, now: float) -> list[Changed]:
    """What a refresh finds, in all its steps."""
    found.look_around(now)
    changes = found.look_on(now)
    while found.to_look_at:
        changes += found.look_on(now)
    return changes


def many_led(names: int, nodes: str = "abc") -> Watcher:
    """A watch of a prefix that shows so many names as led."""
    found = watcher("", prefix=True)
    for number in range(names):
        for node in nodes:
            found.event(node, led(f"n{number:05}"), 0.1)
        assert found.look(f"n{number:05}", 0.1) is not None
    look_at_all(found, 0.1)
    return found


def test_a_refresh_looks_at_no_name_while_the_same_nodes_are_heard() -> None:
    found = many_led(1000)
    for number in range(1, 20):
        for node in "abc":
            found.stands(node, 1.0 * number)
        found.look_around(1.0 * number)
        assert found.to_look_at == 0
        assert len(found.doubtful(1.0 * number)) == 1


def test_where_a_node_falls_silent_all_names_are_looked_at_in_slices() -> None:
    found = many_led(3 * LOOKED_AT_ONCE)
    for node in "ab":
        found.stands(node, WATCH_LAPSE_S)
    now = 0.1 + WATCH_LAPSE_S
    found.look_around(now)
    left = []
    while found.to_look_at:
        left.append(found.to_look_at)
        assert found.look_on(now) == [], "two nodes are enough"
    assert left == [3 * LOOKED_AT_ONCE, 2 * LOOKED_AT_ONCE, LOOKED_AT_ONCE]
    found.look_around(now)
    assert found.to_look_at == 0
    changes = look_at_all(found, now + WATCH_LAPSE_S)
    assert [change.state for change in changes] == [State.UNKNOWN] * 3 * LOOKED_AT_ONCE
    assert found.doubtful(now + WATCH_LAPSE_S) == {}
    for node in "ab":
        found.stands(node, 20.0)
    assert {change.state for change in look_at_all(found, 20.0)} == {State.LED}


def test_each_name_is_asked_for_in_turn_and_those_in_doubt_more_often() -> None:
    found = many_led(100)
    asked = [name for _ in range(100) for name in found.doubtful(1.0)]
    assert sorted(asked) == sorted(found.views), "each once in a hundred refreshes"
    for number in range(40):
        name = f"n{number:05}"
        found.event("c", free(name, version=2), 1.0)
        found.look(name, 1.0)
    rounds = [found.doubtful(1.0) for _ in range(6)]
    assert max(map(len, rounds)) == CHECKS_MAX + 1
    doubted = {name for some in rounds for name in some}
    assert {f"n{number:05}" for number in range(40)} <= doubted
    assert all(set(nodes) <= {"a", "b", "c"} and len(nodes) >= 2 for nodes in rounds[0].values())
    for number in range(40):
        name = f"n{number:05}"
        found.event("c", led(name, version=3), 2.0)
        found.look(name, 2.0)
    assert len(found.doubtful(2.0)) == 1


def test_the_events_of_one_turn_are_acknowledged_in_few_messages() -> None:
    out, seen = Outbox(), SeenEvents()
    for number in range(100):
        for node in "ab":
            seen.note(node, Seen(7, ((f"n{number:03}", number),)))
    seen.note("a", Seen(7, (("n000", 500),)))
    assert seen
    seen.tell(out)
    sends = out.take_sends()
    assert len(sends) == 4
    assert all(len(encode(message)) < 1_000 for _, message in sends)
    told = [
        pair
        for node, message in sends
        if node == "a" and isinstance(message, Seen)
        for pair in message.versions
    ]
    assert dict(told) == {f"n{number:03}": number or 500 for number in range(100)}
    assert not seen


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
    assert [(c.name, c.state) for c in look_at_all(found, 0.1)] == [("n2", State.LED)]
    for node in "abc":
        found.event(node, free("n2", version=2), 0.2)
    changed = found.look("n2", 0.2)
    assert changed is not None and changed.state is State.FREE


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
        found.event(node, WatchEvent(7, 1, view), 0.1)
    changed = found.look("n", 0.1)
    assert changed is not None and (changed.state, changed.term) == (State.LED, 3)
    for node in "ab":
        found.event(node, led(version=2), 0.2)
    changed = found.look("n", 0.2)
    assert changed is not None and (changed.state, changed.term) == (State.LED, 4)


def test_what_a_poll_found_of_one_tenure_says_nothing_of_the_next() -> None:
    found = watcher()
    for node in "abc":
        found.event(node, led(), 0.1)
    assert found.look("n", 0.1) is not None
    over = Judgement(State.FREE)
    assert found.found("n", Candidate(b"byblos".ljust(16, b"."), 1), over) is None
    assert found.found("n", LEASE.candidate, Judgement(State.UNKNOWN)) is None
    changed = found.found("n", LEASE.candidate, over)
    assert changed is not None and changed.state is State.FREE
    assert found.found("n", LEASE.candidate, over) is None
