"""protocol.md section 7, rule S15: which answers count together. b0 lives on, b1 has joined in its place.

Life 1 of b is its old one, 2 its new one. Whoever knows of life 2 counts together with nothing that b0 says.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import pytest
from by_hand import (
    ATHENS,
    MARGIN,
    NAME,
    SPAN,
    TTL,
    HandReplica,
    HandSession,
    accepted,
    lease_of,
    replica_of,
    secret,
    session_id,
)

from paxlock.core.lease import Validity
from paxlock.core.lives import UNKNOWN, Lives, outlived, still_counted
from paxlock.core.messages import (
    Accept,
    Commit,
    Inquire,
    Message,
    Names,
    Poll,
    Prepare,
    Released,
    Renew,
    Renewed,
    View,
    WatchEvent,
)
from paxlock.core.session.events import Answered, Changed, Extended, Granted, HandleOutcome, Lost, NamesFound
from paxlock.core.session.judgement import State

OLD: Lives = {"a": 1, "b": 1, "c": 1}  #: what everybody says before b joins, and b0 for ever
NEW: Lives = {"a": 1, "b": 2, "c": 1}  #: what those say who have noted the new life, and b1


def session(**lives: Lives) -> HandSession:
    found = HandSession()
    found.lives = {"a": OLD, "b": OLD, "c": OLD, **lives}
    return found


# Counting


def test_s15_answers_that_name_the_same_lives_all_count() -> None:
    assert outlived({"a": NEW, "b": NEW, "c": NEW}) == ()
    assert outlived({"a": OLD, "c": NEW}) == []
    assert outlived({}) == ()


@pytest.mark.parametrize(
    ("answers", "gone"),
    [
        ({"a": NEW, "b": OLD}, ["b"]),
        ({"a": NEW, "b": OLD, "c": OLD}, ["b"]),
        ({"a": OLD, "b": NEW, "c": OLD}, []),  # b1 with those that have not heard of it yet
        ({"a": {"a": 1, "b": 2}, "b": {"a": 2, "b": 1}}, ["a", "b"]),
        ({"a": UNKNOWN, "b": NEW}, ["a"]),
    ],
)
def test_s15_who_answers_in_a_life_that_another_has_outlived_does_not_count(
    answers: Mapping[str, Lives], gone: list[str]
) -> None:
    assert list(outlived(answers)) == gone
    assert list(still_counted(answers, answers)) == [node for node in answers if node not in gone]


def test_s15_validity_is_of_nodes_that_count_together() -> None:
    validity = Validity(3, 10.0)
    assert validity.acknowledge("b", 5.0, OLD)
    assert validity.acknowledge("a", 6.0, NEW)
    assert validity.until() == float("-inf")
    assert validity.acknowledge("c", 1.0, NEW)
    assert validity.until() == 11.0
    assert validity.acknowledge("b", 7.0, NEW)
    assert validity.until() == 16.0
    assert validity.outlived() == ()


def test_s15_an_acknowledgement_is_kept_with_what_the_node_knew_when_it_gave_it() -> None:
    validity = Validity(3, 10.0)
    assert validity.acknowledge("a", 5.0, OLD)
    assert validity.acknowledge("b", 5.0, OLD)
    assert validity.until() == 15.0
    assert not validity.acknowledge("a", 5.0, NEW)  # an old number again: that vote was given before
    assert validity.until() == 15.0
    assert validity.acknowledge("a", 6.0, NEW)
    assert validity.until() == float("-inf")


# The holder


def to_accept(of: HandSession) -> Accept:
    return of.to_accept(now=0.0)


def test_s15_a_lease_is_not_chosen_by_an_old_life_and_by_one_that_knows_the_new() -> None:
    athens = session(a=NEW)
    asked = to_accept(athens)
    athens.accepted("a", asked, now=0.0)
    athens.accepted("b", asked, now=0.0)
    assert athens.told(Granted) == []
    athens.accepted("c", asked, now=0.0)
    assert len(athens.told(Granted)) == 1


def test_s15_a_standing_accept_neither() -> None:
    athens = session(c=NEW)
    athens.campaign(now=0.0)
    asked = athens.sent_to_all(Prepare)
    athens.took("b", asked, 1, now=0.0)
    athens.took("c", asked, 1, now=0.0)
    assert athens.told(Granted) == []
    athens.lives["b"] = NEW
    (again,) = {message for _, message in athens.sent(Accept)}  # b is asked again: it may have come back
    athens.accepted("b", again, now=0.1)
    assert len(athens.told(Granted)) == 1


def test_s15_a_candidate_with_an_old_life_alone_goes_on_to_a_higher_term() -> None:
    """c is silent: a and b0 are as good as a refusal, not a reason to wait for ever."""
    athens = session(a=NEW)
    asked = to_accept(athens)
    athens.accepted("a", asked, now=0.0)
    athens.accepted("b", asked, now=0.0)
    athens.run_until(5.0)
    assert max(message.at_least for _, message in athens.sent(Prepare)) > 1


def test_s15_what_counted_before_the_noting_counts_until_it_runs_out() -> None:
    athens = session()
    asked = to_accept(athens)
    for node in "ab":
        athens.accepted(node, asked, now=0.0)
    (granted,) = athens.told(Granted)
    athens.lives["a"] = NEW
    athens.run_until(TTL / 3 + 0.01)
    renewals = dict(athens.sent(Renew))
    for node in "ab":
        athens.renewed(node, renewals[node], [(1, 1)], now=TTL / 3 + 0.02)
    assert athens.told(Extended) == []
    athens.run_until(SPAN - MARGIN - 0.01)
    assert athens.told(Lost) == []
    athens.run_until(SPAN - MARGIN + 0.01)
    assert [lost.ticket for lost in athens.told(Lost)] == [granted.ticket]


def test_s15_the_new_life_counts_with_those_that_have_noted_it() -> None:
    athens = session(a=NEW, b=NEW)
    assert athens.to_grant(now=0.0, by="ab").term == 1


def test_s15_a_node_that_is_outlived_is_asked_again_in_the_round() -> None:
    """b stops cleanly and starts again between its answer and that of a; c is silent."""
    athens = session()
    athens.to_grant(now=0.0, by="ab")
    due = TTL / 3 + 0.01
    athens.run_until(due)
    renewals = dict(athens.sent(Renew))
    athens.renewed("b", renewals["b"], [(1, 1)], now=due)
    athens.lives = {"a": NEW, "b": NEW}
    athens.renewed("a", renewals["a"], [(1, 1)], now=due)
    athens.told(Extended)
    athens.run_until(due + 0.1)
    again = dict(athens.sent(Renew))
    athens.renewed("b", again["b"], [(1, 1)], now=due + 0.1)
    assert len(athens.told(Extended)) == 1


# Questions, views and watches


def view_of(node: HandReplica, now: float = 0.0) -> View:
    (view,) = node.receive(Poll(1, NAME), session_id("cyrene"), now)
    assert isinstance(view, View)
    return view


def holding() -> View:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Accept(1, NAME, 3, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    return view_of(node)


def test_s15_views_of_two_lives_do_not_make_a_name_free() -> None:
    cyrene = session(a=NEW)
    free = view_of(HandReplica(replica_of("a", "abc")))
    cyrene.machine.poll(NAME, 0.0)
    for _ in range(2):
        asked = dict(cyrene.sent(Poll))
        for node in "ab":
            if node in asked:
                cyrene.receive(node, attrs.evolve(free, request=asked[node].request), 0.1)
    assert cyrene.told(Answered) == []
    for _ in range(2):
        cyrene.run_until(cyrene.machine.deadline())
        for node, poll in cyrene.sent(Poll):
            if node in "ac":
                cyrene.receive(node, attrs.evolve(free, request=poll.request), 0.2)
    assert [answer.judgement.state for answer in cyrene.told(Answered)] == [State.FREE]


def test_s15_names_renewals_and_releases_are_counted_so_too() -> None:
    cyrene = session(a=NEW)
    held = lease_of(ATHENS).candidate
    listing = cyrene.machine.names("", 0.0)
    renewal = cyrene.machine.renew_detached(held, 3, secret(held), 0.0, patience=1.0)
    release = cyrene.machine.release_detached(NAME, held, 3, secret(held), 0.0, patience=1.0)
    cyrene.collect()
    sent = {node: {type(m).__name__: m for to, m in cyrene.sends if to == node} for node in "abc"}

    def answer(node: str) -> None:
        renew, by = sent[node]["Renew"], cyrene.machine.session
        assert isinstance(renew, Renew)
        answers: list[Message] = [
            Names(getattr(sent[node]["List"], "request", 0), "", (NAME,), False),
            Renewed(renew.request, by, held.session, renew.seq, ((held.attempt, 3),), ()),
            Released(getattr(sent[node]["Release"], "request", 0), NAME, held, 0),
        ]
        for message in answers:
            cyrene.receive(node, message, 0.1)

    answer("a")
    answer("b")
    assert cyrene.told(HandleOutcome) == [] and cyrene.told(NamesFound) == []
    answer("c")
    assert {outcome.ticket for outcome in cyrene.told(HandleOutcome) if outcome.done} == {renewal, release}
    assert [found.ticket for found in cyrene.told(NamesFound)] == [listing]


def test_s15_a_watch_does_not_show_what_two_lives_hold_together() -> None:
    cyrene = session(a=NEW)
    watch = cyrene.machine.watch(NAME, False, 0.0)
    free = view_of(HandReplica(replica_of("a", "abc")))
    for node in "ab":
        cyrene.receive(node, WatchEvent(watch, 1, free), 0.1)
    assert cyrene.told(Changed) == []
    cyrene.receive("c", WatchEvent(watch, 1, free), 0.2)
    assert [changed.state for changed in cyrene.told(Changed)] == [State.FREE]


def test_s15_a_node_does_not_find_chosen_what_it_holds_together_with_an_old_life() -> None:
    a = HandReplica(replica_of("a", "abc"))
    (answer,) = a.receive(Accept(1, NAME, 3, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    accepted(answer)
    a.machine._learner.lives = NEW
    a.tick(0.5)
    assert {to for to, _ in a.sent(Inquire)} == {"b", "c"}
    a.machine.receive(holding(), "b", 0.6, OLD)
    a.collect(0.6)
    assert a.sent(Commit) == []
    a.machine.receive(holding(), "c", 0.7, OLD)
    a.collect(0.7)
    assert {to for to, _ in a.sent(Commit)} == {"b", "c"}
