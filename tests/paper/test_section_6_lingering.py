"""protocol.md section 6: what a node knows to be chosen and does not hold itself."""

from __future__ import annotations

import attrs
import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    NAME,
    TTL,
    HandReplica,
    lease_of,
    replica_of,
    session_id,
)
from hand_cell import HandCell

from paxlock.core.lease import Candidate
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import Accept, Commit, Inquire, Message, Poll, Prepare, Release, View
from paxlock.core.session.events import Answered, Changed, Granted
from paxlock.core.session.judgement import State

DELPHI = session_id("delphi")
DUE = TTL + 0.01


def holds(who: Candidate, term: int) -> View:
    return View(0, NAME, term, lease_of(who), term, True, False, False, 5_000)


def knows(who: Candidate, term: int) -> View:
    """Not held there, but known to have been chosen."""
    return View(0, NAME, term, lease_of(who), term, False, True, False, 0)


def closed(term: int) -> View:
    return View(0, NAME, term, None, 0, False, False, False, 0)


IN_DOUBT = View(0, NAME, 4, None, 0, True, False, False, 0)


def view_of(node: HandReplica, now: float) -> View:
    node.receive(Poll(1, NAME), DELPHI, now)
    return node.sent(View)[-1][1]


def told(nodes: str = "abc", *, now: float = 0.0) -> HandReplica:
    """Node a, to which another node has told that athens was chosen in term 4."""
    node = HandReplica(replica_of("a", nodes))
    node.receive(Commit(NAME, 4, lease_of(ATHENS)), "b", now)
    assert view_of(node, now).chosen
    return node


def asked(node: HandReplica, now: float) -> int:
    """Let time pass: the request of the newest round of questions, 0 if there was none."""
    node.tick(now)
    requests = [inquire.request for _, inquire in node.sent(Inquire)]
    return max(requests, default=0)


def says(node: HandReplica, other: str, view: View, request: int, now: float, lives: Lives = UNKNOWN) -> None:
    node.machine.receive(attrs.evolve(view, request=request), other, now, lives)
    node.collect(now)


def timers(node: HandReplica) -> int:
    return sum(key[0] == node.machine._learner.ask_about_lingering for key in node.machine._timers._at)


# When it asks


def test_what_is_chosen_and_not_held_is_asked_about_after_its_ttl() -> None:
    node = told()
    assert asked(node, TTL - 0.01) == 0
    node.tick(DUE)
    assert {to for to, _ in node.sent(Inquire)} == {"b", "c"}


def test_another_word_of_a_node_puts_the_question_off() -> None:
    node = told()
    node.receive(Commit(NAME, 4, lease_of(ATHENS)), "c", TTL / 2)
    assert asked(node, DUE) == 0
    assert asked(node, DUE + TTL / 2) > 0


def test_the_word_of_the_session_itself_does_not() -> None:
    """It may go on with it although its lease is long gone."""
    node = told()
    for now in range(1, int(TTL)):
        node.receive(Commit(NAME, 4, lease_of(ATHENS)), ATHENS.session, now)
    assert asked(node, DUE) > 0


def test_what_is_held_or_released_is_not_asked_about_and_costs_no_timer() -> None:
    node = HandReplica(replica_of("a", "abc"))
    for attempt in range(1, 4):
        athens = ATHENS._replace(attempt=attempt)
        term = 4 + attempt
        node.receive(Prepare(1, NAME, term, athens, 0, 0, 0, "athens"), athens.session, 0.0)
        node.receive(Accept(1, NAME, term, lease_of(athens), 1, 0), athens.session, 0.0)
        node.receive(Commit(NAME, term, lease_of(athens, token=term)), athens.session, 0.0)
        assert timers(node) == 0
        node.receive(Release(1, NAME, athens, term), athens.session, 0.0)
        assert timers(node) == 0
    node.receive(Accept(1, NAME, 9, lease_of(BYBLOS), 1, 0), BYBLOS.session, 0.0)
    node.receive(Commit(NAME, 9, lease_of(BYBLOS, token=9)), BYBLOS.session, 0.0)
    assert asked(node, 3 * TTL) == 0


def test_whoever_comes_to_hold_it_or_hears_its_release_asks_no_more() -> None:
    node = told()
    node.receive(Accept(1, NAME, 4, lease_of(ATHENS), 1, 0), ATHENS.session, 1.0)
    assert asked(node, DUE) == 0
    node = told()
    node.receive(Release(1, NAME, ATHENS, 4), ATHENS.session, 1.0)
    assert asked(node, 3 * TTL) == 0
    assert view_of(node, 3 * TTL).released


# What follows


@pytest.mark.parametrize("says_no", [closed(4), closed(0), holds(BYBLOS, 5), knows(ATHENS, 4)])
def test_it_is_over_once_enough_nodes_have_said_twice_that_they_do_not_hold_it(says_no: View) -> None:
    node = told()
    first = asked(node, DUE)
    says(node, "b", says_no, first, DUE + 0.01)
    assert view_of(node, DUE + 0.01).chosen
    second = asked(node, DUE + 0.01)
    assert second > first
    says(node, "b", says_no, second, DUE + 0.02)
    assert view_of(node, DUE + 0.02) == attrs.evolve(closed(4), request=1)


def test_it_gives_the_term_of_what_is_over_to_nobody() -> None:
    """Those who watch are told by terms: a late Accept must not bring back what they have seen end."""
    node = told()
    first = asked(node, DUE)
    says(node, "b", closed(4), first, DUE)
    says(node, "b", closed(4), asked(node, DUE), DUE)
    node.receive(Accept(1, NAME, 4, lease_of(ATHENS), 9, 0), ATHENS.session, DUE)
    assert not view_of(node, DUE).holds


def test_what_a_quorum_holds_is_kept_and_asked_about_a_ttl_later() -> None:
    node = told()
    request = asked(node, DUE)
    for other in "bc":
        says(node, other, holds(ATHENS, 4), request, DUE)
    assert asked(node, DUE + TTL - 0.1) == 0
    assert view_of(node, DUE + TTL - 0.1).chosen
    assert asked(node, DUE + TTL + 0.1) > request


def test_without_enough_answers_it_is_kept_and_asked_about_again() -> None:
    node = told("abcde")
    request = asked(node, DUE)
    says(node, "b", closed(4), request, DUE)
    again = asked(node, DUE + 0.2)
    assert again > request
    says(node, "b", closed(4), again, DUE + 0.2)
    says(node, "b", closed(4), again, DUE + 0.2)  # the same node again is no second one (S10)
    assert view_of(node, DUE + 0.2).chosen


def test_a_node_in_doubt_counts_for_neither() -> None:
    node = told()
    for now in (DUE, DUE + 0.2, DUE + 0.5, DUE + 1.0):
        says(node, "b", IN_DOUBT, asked(node, now), now)
    assert view_of(node, DUE + 1.0).chosen


def test_an_answer_to_an_earlier_round_does_not_count() -> None:
    node = told()
    first = asked(node, DUE)
    says(node, "b", closed(4), first, DUE)
    asked(node, DUE)
    says(node, "b", closed(4), first, DUE + 0.01)
    says(node, "c", closed(4), first, DUE + 0.01)
    assert view_of(node, DUE + 0.01).chosen


def test_l3_a_tenure_that_moves_from_node_to_node_is_not_over() -> None:
    """Each of two nodes says in turn that it does not hold it: at no moment did both not."""
    node = told("abcde")
    first = asked(node, DUE)
    says(node, "b", closed(4), first, DUE)
    says(node, "c", closed(4), first, DUE + 0.02)  # b has taken it in the meantime
    second = asked(node, DUE + 0.02)
    assert second > first
    says(node, "b", holds(ATHENS, 5), second, DUE + 0.03)
    says(node, "c", closed(4), second, DUE + 0.03)
    third = asked(node, DUE + 0.5)
    says(node, "b", closed(5), third, DUE + 0.5)  # and so on
    says(node, "c", holds(ATHENS, 6), third, DUE + 0.5)
    fourth = asked(node, DUE + 1.0)
    says(node, "b", holds(ATHENS, 7), fourth, DUE + 1.0)
    says(node, "c", closed(6), fourth, DUE + 1.0)
    assert view_of(node, DUE + 1.0).chosen


def test_l3_answers_that_are_half_a_ttl_apart_do_not_count_together() -> None:
    """In between a node may have taken the lease, and let it go again."""
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Commit(NAME, 4, lease_of(ATHENS, 1.0)), "b", 0.0)
    first = asked(node, 2.6)  # for long nobody has answered: the rounds have become longer
    says(node, "b", closed(4), first, 2.6)
    second = asked(node, 2.6)
    assert asked(node, 3.2) == 0
    says(node, "b", closed(4), second, 3.2)
    assert view_of(node, 3.2).chosen
    third = asked(node, 5.85)
    says(node, "b", closed(4), third, 5.85)
    says(node, "b", closed(4), asked(node, 5.85), 5.85)
    assert not view_of(node, 5.85).chosen


def test_s15_an_old_life_of_a_node_does_not_count() -> None:
    new: Lives = {"a": 1, "b": 9, "c": 1}
    old: Lives = {"a": 1, "b": 1, "c": 1}
    node = told()
    node.machine._learner.lives = new
    for now in (DUE, DUE + 0.2, DUE + 0.5):
        says(node, "b", closed(4), asked(node, now), now, old)
    assert view_of(node, DUE + 0.5).chosen
    now = DUE + 2.0
    says(node, "c", closed(4), asked(node, now), now, new)
    says(node, "c", closed(4), asked(node, now), now, new)
    assert not view_of(node, now).chosen


def test_the_term_is_closed_only_below_the_durable_ceiling() -> None:
    node = HandReplica(replica_of("a", "abc"))
    far = 10_000
    node.receive(Commit(NAME, far, lease_of(ATHENS)), "b", 0.0)
    for now in (DUE, DUE, DUE + 1.0, DUE + 1.0):
        says(node, "b", closed(far), asked(node, now), now)
        assert node.machine._acceptor.records[NAME].term <= node.disk.ceiling
    says(node, "b", closed(far), asked(node, DUE + 5.0), DUE + 5.0)
    says(node, "b", closed(far), asked(node, DUE + 5.0), DUE + 5.0)
    assert view_of(node, DUE + 5.0) == attrs.evolve(closed(far), request=1)


# All together


def cell_with_a_witness(nodes: str, away: str) -> tuple[HandCell, Granted]:
    """Athens holds the name at all nodes but b, which only knows that it was chosen; then these are away."""
    cell = HandCell(nodes, ["athens", "delphi"])
    cell.sessions["delphi"].watch(NAME, False, 0.0)
    cell.run(0.5)

    def misses(sender: str, to: str, _message: Message) -> bool:
        return (sender, to) == ("athens", "b")

    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=cell.now, label="athens")
    cell.run(0.2, lost=misses)
    (granted,) = cell.told("athens", Granted)
    cell.replicas["b"].receive(Commit(NAME, granted.term, lease_of(ATHENS)), "a", cell.now)
    cell.run(0.2, lost=misses)
    assert cell.shows("b")[2] is False
    assert [changed.state for changed in cell.told("delphi", Changed)] == [State.FREE, State.LED]
    for node in away:
        cell.dies(node)
    return cell, granted


@pytest.mark.parametrize(("nodes", "away"), [("abc", "c"), ("abcde", "de")])
def test_a_dead_holder_is_free_although_a_node_has_only_heard_of_it(nodes: str, away: str) -> None:
    cell, granted = cell_with_a_witness(nodes, away)
    cell.dies("athens")
    cell.run(2.5 * TTL)
    assert [(c.state, c.term) for c in cell.told("delphi", Changed)] == [(State.FREE, granted.term)]
    cell.sessions["delphi"].poll(NAME, cell.now)
    cell.run(0.1)
    (answered,) = cell.told("delphi", Answered)
    assert answered.judgement.state is State.FREE


@pytest.mark.parametrize(("nodes", "away"), [("abc", ""), ("abcde", "e")])
def test_a_holder_that_lives_is_led_all_the_time(nodes: str, away: str) -> None:
    cell, granted = cell_with_a_witness(nodes, away)

    def misses(sender: str, to: str, _message: Message) -> bool:
        return "athens" in (sender, to) and "b" in (sender, to)

    inquiries = 0

    def counts(sender: str, to: str, message: Message) -> bool:
        nonlocal inquiries
        inquiries += sender == "b" and isinstance(message, Inquire)
        return misses(sender, to, message)

    for _ in range(5):
        cell.run(0.9 * TTL, lost=counts)
        cell.sessions["delphi"].poll(NAME, cell.now)
        cell.run(0.1 * TTL, lost=counts)
        (answered,) = cell.told("delphi", Answered)
        assert (answered.judgement.state, answered.judgement.term) == (State.LED, granted.term)
    assert cell.told("delphi", Changed) == []
    assert 0 < inquiries <= 5 * (len(nodes) - 1)
