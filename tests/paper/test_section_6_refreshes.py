"""Section 6: how often a watch is refreshed, and what a restart or silence of a node changes."""

from __future__ import annotations

import attrs
import pytest
from by_hand import HandReplica, HandSession, candidate, lease_of, replica_of, session_id

from paxlock.core.lives import Lives
from paxlock.core.messages import Accept, Peer, Poll, Seen, View, Watch, WatchEvent, Watching
from paxlock.core.node.subscriptions import TOLD_AT_ONCE, TOLD_PAUSE_S
from paxlock.core.session.events import Changed
from paxlock.core.session.judgement import State
from paxlock.core.session.refreshing import WATCH_REFRESH_CALM_S, WATCH_REFRESH_S, WATCH_SILENCE_S

WATCH_LAPSE_S = WATCH_REFRESH_S + WATCH_SILENCE_S  # after the last word, while something is amiss

NODES = ["a", "b", "c"]
ALL: Lives = {"a": 1, "b": 1, "c": 1}
AGAIN: Lives = {"a": 2, "b": 1, "c": 1}


def led(name: str, version: int = 1) -> WatchEvent:
    lease = lease_of(candidate("athens"), token=4)
    return WatchEvent(1, version, View(0, name, 4, lease, 4, True, True, False, 5_000))


def answered(session: HandSession, until: float, nodes: str = "abc") -> list[Watch]:
    """What the nodes are sent each until then, where these answer at once and nothing changes."""
    asked: list[Watch] = []
    now = 0.0
    while True:
        some = session.sent(Watch)
        assert [node for node, _ in some] in ([], NODES)
        asked += [message for _, message in some[:1]]
        for node, message in some:
            if node in nodes:
                session.receive(node, Watching(message.request, 1), now)
        due = session.machine.deadline()
        if due > until:
            return asked
        now = due
        session.tick(due)


def watching(pattern: str = "agora", *names: str) -> HandSession:
    """A session with a watch that all nodes have answered for a minute."""
    session = HandSession("delphi")
    session.lives = dict.fromkeys("abc", ALL)
    session.machine.watch(pattern, bool(names), 0.0)
    for name in names or (pattern,):
        for node in "abc":
            session.receive(node, led(name), 0.0)
    answered(session, 60.0)
    assert {changed.state for changed in session.told(Changed)} == {State.LED}
    return session


def test_while_all_nodes_answer_an_idle_watch_costs_less_than_a_message_a_second() -> None:
    session = watching()
    asked = answered(session, 140.0)
    assert 2 * len(NODES) * len(asked) / 80.0 < 1.0
    assert asked[-1].lapse_ms == round((WATCH_REFRESH_CALM_S + WATCH_SILENCE_S) * 1000)


def test_where_a_node_is_silent_all_are_refreshed_every_second() -> None:
    """What the others tell is then all there is: a restart of one of them is to be found soon."""
    asked = answered(watching(), 100.0, nodes="ab")
    assert len(asked) >= 100.0 - 60.0 - WATCH_REFRESH_CALM_S - 1.0


def test_nobody_heard_any_more_is_unknown_a_lapse_after_the_next_refresh() -> None:
    session = watching()
    answered(session, 60.0 + WATCH_REFRESH_CALM_S + WATCH_LAPSE_S, nodes="")
    assert [changed.state for changed in session.told(Changed)] == [State.UNKNOWN]


def test_a_node_of_whose_restart_another_one_tells_is_asked_at_once() -> None:
    """It knows of no subscription, and would tell of no change before the next refresh."""
    session = watching()
    session.lives = {"c": AGAIN}
    session.receive("c", led("agora", 2), 60.5)
    session.run_until(60.5)
    assert [node for node, _ in session.sent(Watch)] == NODES


def test_of_a_prefix_a_name_that_becomes_uneven_is_asked_for_within_a_second() -> None:
    session = watching("ag", "agenor", "agora")
    session.sent(Poll)
    session.receive("a", WatchEvent(1, 2, View(0, "agora", 6, None, 0, False, False, False, 0)), 60.5)
    session.run_until(61.5)
    assert {node for node, poll in session.sent(Poll) if poll.name == "agora"} >= {"b", "c"}


def test_after_a_restart_each_name_of_a_prefix_is_asked_for_once_before_refreshes_get_rarer() -> None:
    """What a node has forgotten it says nothing of, and its last word would count for long."""
    names = [f"ag{number:02}" for number in range(20)]
    session = watching("ag", *names)
    session.sent(Poll)
    session.lives = dict.fromkeys("abc", AGAIN)
    session.receive("a", Watching(0, 1), 60.5)
    answered(session, 60.5 + len(names) + 1.0)
    assert {poll.name for _, poll in session.sent(Poll)} == set(names)


@pytest.mark.parametrize("prefix", [False, True])
def test_a_lease_that_runs_out_is_free_though_nobody_is_left_who_can_say_so(prefix: bool) -> None:
    """c is gone for good, and b is back without its memory, below the term that is shown: it cannot say that
    the tenure is over, and a alone cannot either. Asked twice by a poll they can.
    """
    session = watching("agora", *(["agora"] if prefix else []))
    lives = {"a": 1, "b": 2, "c": 1}
    session.lives = dict.fromkeys("ab", lives)
    views = {"a": View(0, "agora", 4, None, 0, False, False, False, 0)}
    views["b"] = attrs.evolve(views["a"], term=2)
    for version, node in enumerate(views, start=2):
        session.receive(node, WatchEvent(1, version, views[node]), 60.5)
    now, polled = 60.5, 0
    while not (told := session.told(Changed)):
        for node, watch in session.sent(Watch):
            if node in views:
                session.receive(node, Watching(watch.request, 1), now)
        for node, poll in session.sent(Poll):
            polled += 1
            if node in views:
                session.receive(node, attrs.evolve(views[node], request=poll.request), now)
        now = max(now, session.machine.deadline())
        assert now < 60.5 + 3 * (WATCH_REFRESH_CALM_S + WATCH_LAPSE_S), "shown as led for ever"
        session.tick(now)
    assert [changed.state for changed in told] == [State.FREE] and polled < 100


def crowd(count: int) -> HandReplica:
    """A node that so many sessions watch, all of which have seen that the name is free."""
    node = HandReplica(replica_of("a", "abc"))
    for number in range(count):
        session = session_id(f"s{number}")
        node.receive(Watch(1, 7, "agora", False, 10_000), session, 0.0)
    acknowledge(node, 0.0)
    return node


def acknowledge(node: HandReplica, now: float) -> list[Peer]:
    """Who was told of something, and has seen it now."""
    told = node.sent(WatchEvent)
    for session, message in told:
        assert isinstance(session, bytes)
        node.receive(Seen(7, (("agora", message.version),)), session, now)
    return [session for session, _ in told]


def test_of_a_crowd_a_turn_tells_some_and_each_is_told_once_and_soon() -> None:
    count = 3 * TOLD_AT_ONCE + 5
    node = crowd(count)
    lease = lease_of(candidate("athens"), token=1)
    node.receive(Accept(1, "agora", 1, lease, 1, 0, 10), session_id("athens"), 1.0)
    told = [acknowledge(node, 1.0)]
    while (due := node.machine.deadline()) < 1.0 + 5 * TOLD_PAUSE_S:
        node.tick(due)
        told.append(acknowledge(node, due))
    assert max(map(len, told)) == TOLD_AT_ONCE
    assert len(set().union(*told)) == sum(map(len, told)) == count


def test_who_watches_another_name_does_not_wait_behind_a_crowd() -> None:
    node = crowd(3 * TOLD_AT_ONCE)
    delphi = session_id("delphi")
    node.receive(Watch(1, 7, "other", False, 10_000), delphi, 0.5)
    node.sent(WatchEvent)
    lease = lease_of(candidate("athens"), token=1)
    node.receive(Accept(1, "agora", 1, lease, 1, 0, 10), session_id("athens"), 1.0)
    node.sent(WatchEvent)
    lease = lease_of(candidate("byblos"), token=1)
    node.receive(Accept(1, "other", 1, lease, 1, 0, 10), session_id("byblos"), 1.0)
    assert [session for session, _ in node.sent(WatchEvent)] == [delphi]
