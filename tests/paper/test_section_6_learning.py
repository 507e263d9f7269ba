"""protocol.md section 6: learning, polling, watching."""

from __future__ import annotations

import attrs
import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    NAME,
    TTL,
    HandReplica,
    HandSession,
    lease_of,
    replica_of,
    session_id,
)
from hand_cell import HandCell

from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Accept,
    Commit,
    Inquire,
    Message,
    Poll,
    Prepare,
    Release,
    Seen,
    Unwatch,
    View,
    Watch,
    WatchEvent,
    Watching,
)
from paxlock.core.session.events import Answered, Changed, Granted
from paxlock.core.session.judgement import State, judge, over
from paxlock.core.session.refreshing import WATCH_REFRESH_S, WATCH_SILENCE_S

WATCH_LAPSE_S = WATCH_REFRESH_S + WATCH_SILENCE_S  # after the last word, while something is amiss


def holds(who: Candidate, term: int, *, chosen: bool = False, token: int = 0) -> View:
    return View(1, NAME, term, lease_of(who, token=token), term, True, chosen, False, 5_000)


def knows(who: Candidate, term: int, *, released: bool = False, token: int = 0) -> View:
    """Not held here, but known to have been chosen."""
    return View(1, NAME, term, lease_of(who, token=token), term, False, True, released, 0)


def closed(term: int) -> View:
    return View(1, NAME, term, None, 0, False, False, False, 0)


# A value that was chosen without anybody's knowledge


def accept_by_athens(node: HandReplica, now: float, term: int = 4) -> None:
    node.receive(Accept(1, NAME, term, lease_of(ATHENS), 1, 0), ATHENS.session, now)


def test_a_node_that_hears_no_commit_asks_the_others() -> None:
    node = HandReplica(replica_of("a", "abc"))
    accept_by_athens(node, 0.0)
    assert node.sent(Inquire) == []
    node.tick(1.0)
    assert {to for to, _ in node.sent(Inquire)} == {"b", "c"}


def test_a_commit_ends_the_asking() -> None:
    node = HandReplica(replica_of("a", "abc"))
    accept_by_athens(node, 0.0)
    node.receive(Commit(NAME, 4, lease_of(ATHENS, token=4)), ATHENS.session, 0.1)
    node.tick(5.0)
    assert node.sent(Inquire) == []


def test_a_node_that_knows_only_a_lower_term_to_be_chosen_asks_the_others() -> None:
    """The candidate was not told and went on; then its own Commit was lost, or it died before."""
    node = HandReplica(replica_of("a", "abc"))
    accept_by_athens(node, 0.0, term=1)
    node.receive(Commit(NAME, 1, lease_of(ATHENS)), "b", 0.1)
    accept_by_athens(node, 0.2, term=4)
    node.tick(1.2)
    assert {to for to, _ in node.sent(Inquire)} == {"b", "c"}
    node.receive(holds(ATHENS, 4), "c", 1.3)
    assert {m.term for _, m in node.sent(Commit)} == {4}


def test_a_node_that_knows_the_token_does_not_ask_because_of_a_higher_term() -> None:
    node = HandReplica(replica_of("a", "abc"))
    accept_by_athens(node, 0.0, term=1)
    node.receive(Commit(NAME, 1, lease_of(ATHENS, token=1)), ATHENS.session, 0.1)
    accept_by_athens(node, 0.2, term=4)
    node.tick(1.2)
    assert node.sent(Inquire) == []


def test_a_quorum_in_one_term_is_chosen_and_whoever_finds_out_sends_the_commit() -> None:
    node = HandReplica(replica_of("a", "abcde"))
    accept_by_athens(node, 0.0)
    node.receive(holds(ATHENS, 4), "b", 0.5)
    assert node.sent(Commit) == []
    node.receive(holds(ATHENS, 4), "b", 0.5)  # the same node again is no second voter (S10)
    assert node.sent(Commit) == []
    node.receive(holds(ATHENS, 4), "c", 0.6)
    sent = node.sent(Commit)
    assert {to for to, _ in sent} == {"b", "c", "d", "e"}
    assert {(m.term, m.lease.candidate) for _, m in sent} == {(4, ATHENS)}


@pytest.mark.parametrize(
    "view",
    [holds(ATHENS, 5), holds(BYBLOS, 4), knows(ATHENS, 4), closed(4)],
    ids=lambda view: repr(view)[:40],
)
def test_another_term_or_lease_or_one_not_held_is_no_vote(view: View) -> None:
    node = HandReplica(replica_of("a", "abc"))
    accept_by_athens(node, 0.0)
    node.receive(view, "b", 0.5)
    node.receive(view, "c", 0.5)
    assert node.sent(Commit) == []


def test_what_was_heard_of_an_older_term_is_no_vote_for_a_newer_one() -> None:
    node = HandReplica(replica_of("a", "abcde"))
    accept_by_athens(node, 0.0, term=4)
    node.receive(holds(ATHENS, 4), "b", 0.5)
    node.receive(Accept(2, NAME, 6, lease_of(ATHENS), 2, 0), ATHENS.session, 0.6)
    node.receive(holds(ATHENS, 6), "c", 0.7)
    assert node.sent(Commit) == []
    node.receive(holds(ATHENS, 6), "d", 0.8)
    assert {m.term for _, m in node.sent(Commit)} == {6}


def test_commit_arms_no_timer_that_excludes() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Commit(NAME, 4, lease_of(ATHENS)), "b", 0.0)
    acceptor = node.machine._acceptor
    assert acceptor.records[NAME].lease is None
    assert acceptor.records[NAME].deadline == 0.0


# Poll


@pytest.mark.parametrize(
    ("views", "nodes", "state"),
    [
        pytest.param([], 3, State.UNKNOWN, id="nobody-answers"),
        pytest.param([holds(ATHENS, 4), holds(ATHENS, 4)], 3, State.LED, id="a-quorum-holds-it"),
        pytest.param([holds(ATHENS, 4)], 3, State.UNKNOWN, id="one-of-three"),
        pytest.param([holds(ATHENS, 4), holds(BYBLOS, 5)], 3, State.UNKNOWN, id="split"),
        pytest.param(
            [holds(ATHENS, 4), holds(ATHENS, 6, token=4), closed(9)], 3, State.LED, id="two-terms-one-tenure"
        ),
        pytest.param(
            [holds(ATHENS, 4), holds(ATHENS, 6)], 3, State.UNKNOWN, id="two-terms-and-nobody-knows-the-token"
        ),
        pytest.param([knows(ATHENS, 4)], 3, State.UNKNOWN, id="the-commit-alone"),
        pytest.param([knows(ATHENS, 4), knows(ATHENS, 4)], 3, State.LED, id="the-commit-and-no-denial"),
        pytest.param([knows(ATHENS, 4), holds(ATHENS, 4)], 3, State.LED, id="the-commit-and-the-lease"),
        pytest.param([knows(ATHENS, 4), closed(4)], 3, State.UNKNOWN, id="the-commit-and-one-denial"),
        pytest.param([closed(4)], 3, State.UNKNOWN, id="one-closed"),
        pytest.param([closed(4), closed(0)], 3, State.FREE, id="enough-closed"),
        pytest.param([closed(4), knows(ATHENS, 4, released=True)], 3, State.FREE, id="released-is-free"),
        pytest.param([closed(4), closed(4)], 5, State.UNKNOWN, id="two-of-five-closed"),
        pytest.param([closed(4)] * 3 + [holds(ATHENS, 4)] * 2, 5, State.FREE, id="a-minority-holds"),
        pytest.param([holds(ATHENS, 4)], 1, State.LED, id="a-cell-of-one"),
        pytest.param([closed(0)], 1, State.FREE, id="a-cell-of-one-free"),
    ],
)
def test_poll_judges_by_enough_nodes_together(views: list[View], nodes: int, state: State) -> None:
    assert judge(dict(zip("abcde", views, strict=False)), nodes).state is state


def test_poll_shows_the_token_not_the_term() -> None:
    views = {"a": holds(ATHENS, 9, token=4), "b": holds(ATHENS, 9, token=4), "c": closed(0)}
    judgement = judge(views, 3)
    assert (judgement.state, judgement.term) == (State.LED, 4)


def test_poll_asks_on_until_it_is_decided_or_out_of_time() -> None:
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    asked = session.sent_to_all(Poll)
    session.receive("a", View(asked.request, NAME, 4, None, 0, False, False, False, 0), 0.01)
    assert session.told(Answered) == []
    session.run_until(0.9)
    assert {node for node, _ in session.sent(Poll)} == {"b", "c"}
    session.run_until(1.0)
    (answered,) = session.told(Answered)
    assert (answered.judgement.state, answered.nodes_up) == (State.UNKNOWN, 1)


def test_free_needs_the_same_word_twice() -> None:
    """a says "neither" and accepts afterwards (L3); c held the lease until then and says "neither" now. The
    name was led throughout, by b and c and then by a and b.
    """
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    first = session.sent_to_all(Poll)
    session.receive("a", answer(first, 4), 0.001)
    session.receive("c", answer(first, 4), 0.001)
    assert session.told(Answered) == []
    again = session.sent_to_all(Poll)
    assert again.request > first.request
    session.receive("b", answer(first, 4), 0.002)  # late: of the first round
    session.receive("c", answer(again, 4), 0.002)
    session.receive("a", attrs.evolve(holds(ATHENS, 5), request=again.request), 0.002)
    session.receive("b", attrs.evolve(holds(ATHENS, 5, chosen=True), request=again.request), 0.002)
    (answered,) = session.told(Answered)
    assert answered.judgement.state is State.LED


def test_answers_of_the_first_round_that_come_late_do_not_make_a_second() -> None:
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    first = session.sent_to_all(Poll)
    session.receive("a", answer(first, 4), 0.001)
    session.receive("c", answer(first, 4), 0.001)
    again = session.sent_to_all(Poll)
    for node in "ac":
        session.receive(node, answer(first, 4), 0.002)
    assert session.told(Answered) == []
    session.receive("a", answer(again, 4), 0.003)
    session.receive("c", answer(again, 4), 0.003)
    (answered,) = session.told(Answered)
    assert answered.judgement.state is State.FREE


def test_a_term_that_is_promised_is_not_closed() -> None:
    """a and b are promised term 5. Between the two rounds both hold the lease in it, and let go of it again.
    Had they told term 5 both times, the name would be "free", though it was led by a and b in between.
    """
    nodes = {node: HandReplica(replica_of(node, "abc")) for node in "ab"}
    for node in nodes.values():
        assert node.receive(Prepare(1, NAME, 5, ATHENS, 0, 0, 0, ""), ATHENS.session, 0.0)
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=60.0)
    first = session.sent_to_all(Poll)
    for who, node in nodes.items():
        (view,) = node.receive(first, DELPHI, 0.01)
        assert isinstance(view, View)
        assert (view.term, view.holds) == (4, False)
        session.receive(who, view, 0.01)
    again = session.sent_to_all(Poll)
    for who, node in nodes.items():
        accept_by_athens(node, 0.02, term=5)
        node.tick(0.03 + TTL)
        (view,) = node.receive(again, DELPHI, 0.03 + TTL)
        assert isinstance(view, View)
        assert (view.term, view.holds) == (5, False)
        session.receive(who, view, 0.03 + TTL)
    assert session.told(Answered) == []


def test_a_first_answer_that_comes_late_is_the_first_word_of_that_node() -> None:
    """c answers the first question when the second is under way already: with a, which says it twice, it has
    said so at no one moment, until it says it again.
    """
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    first = session.sent_to_all(Poll)
    session.receive("a", answer(first, 4), 0.001)
    session.receive("b", answer(first, 4), 0.001)
    second = session.sent_to_all(Poll)
    session.receive("c", answer(first, 4), 0.002)
    session.receive("a", answer(second, 4), 0.002)
    session.receive("c", answer(second, 4), 0.002)
    assert session.told(Answered) == []
    session.run_until(0.5)
    third = session.sent(Poll)[-1][1]
    session.receive("c", answer(third, 4), 0.5)
    assert session.told(Answered) == [], "a has not said so since"
    session.receive("a", answer(third, 4), 0.5)
    (answered,) = session.told(Answered)
    assert answered.judgement.state is State.FREE


def test_a_late_answer_to_the_second_question_counts() -> None:
    """Each round does not need the answers of its own: a and b say so twice, whatever c says in between."""
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    first = session.sent_to_all(Poll)
    session.receive("a", answer(first, 4), 0.001)
    session.receive("b", answer(first, 4), 0.001)
    second = session.sent_to_all(Poll)
    session.receive("c", answer(second, 4), 0.002)
    session.receive("a", answer(second, 4), 0.002)
    session.run_until(0.5)
    assert session.sent(Poll) != []
    session.receive("b", answer(second, 4), 0.5)
    (answered,) = session.told(Answered)
    assert answered.judgement.state is State.FREE


def test_a_poll_goes_on_asking_while_nodes_answer_and_do_not_agree() -> None:
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    asked = session.sent_to_all(Poll)
    for node, term in zip("abc", (3, 4, 5), strict=True):  # on its way to a higher term
        session.receive(node, attrs.evolve(holds(ATHENS, term), request=asked.request), 0.001)
    assert session.told(Answered) == []
    session.run_until(0.4)
    again = session.sent(Poll)
    assert {node for node, _ in again} == {"a", "b", "c"}
    for node in "ab":
        led = attrs.evolve(holds(ATHENS, 5, chosen=True), request=again[-1][1].request)
        session.receive(node, led, 0.4)
    (answered,) = session.told(Answered)
    assert (answered.judgement.state, answered.judgement.term) == (State.LED, 5)


def test_a_node_that_was_started_again_has_not_said_it_twice() -> None:
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    first = session.sent_to_all(Poll)
    before, after = {"a": 3, "b": 3, "c": 3}, {"a": 3, "b": 4, "c": 3}
    for node in "ab":
        session.machine.receive(answer(first, 4), node, 0.001, before)
    session.collect()
    second = session.sent_to_all(Poll)
    session.machine.receive(answer(second, 4), "b", 0.002, after)
    session.machine.receive(answer(second, 4), "a", 0.002, after)
    session.collect()
    assert session.told(Answered) == []
    third = session.sent(Poll)[-1][1]
    for node in "ab":
        session.machine.receive(answer(third, 4), node, 0.003, after)
    session.collect()
    (answered,) = session.told(Answered)
    assert answered.judgement.state is State.FREE


def test_free_is_told_when_two_rounds_agree_and_not_before() -> None:
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    for term in (4, 6, 6):  # something happened between the first two
        asked = session.sent_to_all(Poll)
        assert session.told(Answered) == []
        session.receive("a", answer(asked, term), 0.001)
        session.receive("b", answer(asked, term), 0.001)
    (answered,) = session.told(Answered)
    assert (answered.judgement.state, answered.nodes_up) == (State.FREE, 2)


def test_what_nobody_knows_to_be_chosen_is_led_only_if_a_quorum_held_it_together() -> None:
    """A late standing Prepare of a candidate that is over is taken at a and released there, and then at c,
    which stood still: neither is wrong, and the name was led by athens all the while.
    """
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    first = session.sent_to_all(Poll)
    led = holds(ATHENS, 1, chosen=True, token=1)
    session.receive("a", attrs.evolve(holds(BYBLOS, 2), request=first.request), 0.001)
    session.receive("b", attrs.evolve(led, request=first.request), 0.001)
    session.receive("c", attrs.evolve(holds(BYBLOS, 2), request=first.request), 0.002)
    assert session.told(Answered) == []
    again = session.sent_to_all(Poll)
    for node in "bc":
        session.receive(node, attrs.evolve(led, request=again.request), 0.003)
    (answered,) = session.told(Answered)
    assert (answered.judgement.state, answered.judgement.term) == (State.LED, 1)


def test_what_a_quorum_says_twice_is_led_although_nobody_knows_it_to_be_chosen() -> None:
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    for term in (4, 6, 6):  # it went on to a higher term between the first two
        asked = session.sent_to_all(Poll)
        assert session.told(Answered) == []
        for node in "ab":
            session.receive(node, attrs.evolve(holds(ATHENS, term), request=asked.request), 0.001)
    (answered,) = session.told(Answered)
    assert (answered.judgement.state, answered.judgement.term) == (State.LED, 6)


@pytest.mark.parametrize(("chosen", "token"), [(True, 0), (False, 4)])
def test_what_one_node_knows_to_be_chosen_is_led_at_once(chosen: bool, token: int) -> None:
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0, patience=1.0)
    asked = session.sent_to_all(Poll)
    for node, view in (("a", holds(ATHENS, 4)), ("b", holds(ATHENS, 4, chosen=chosen, token=token))):
        session.receive(node, attrs.evolve(view, request=asked.request), 0.001)
    (answered,) = session.told(Answered)
    assert (answered.judgement.state, answered.judgement.term) == (State.LED, 4)


def answer(asked: Poll, term: int) -> View:
    return View(asked.request, NAME, term, None, 0, False, False, False, 0)


def test_poll_of_a_held_name_and_of_a_released_one() -> None:
    cell = HandCell("abc", ["athens", "delphi"])
    ticket = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, label="athens")
    cell.run(0.5)
    cell.sessions["delphi"].poll(NAME, cell.now)
    cell.run(0.1)
    (answered,) = cell.told("delphi", Answered)
    assert answered.judgement.state is State.LED
    assert answered.judgement.lease is not None and answered.judgement.lease.label == "athens"
    cell.sessions["athens"].release(ticket, cell.now)
    cell.run(0.1)
    cell.sessions["delphi"].poll(NAME, cell.now)
    cell.run(0.1)
    (answered,) = cell.told("delphi", Answered)
    assert answered.judgement.state is State.FREE


def view_of(node: HandReplica, now: float) -> View:
    node.receive(Poll(1, NAME), DELPHI, now)
    return node.sent(View)[-1][1]


def test_a_node_that_hears_a_higher_token_of_another_does_not_speak_for_what_it_holds() -> None:
    """The Release of athens was lost on its way here, and byblos has held since, and left."""
    node = HandReplica(replica_of("a", "abc"))
    accept_by_athens(node, 0.0, term=3)
    node.receive(Commit(NAME, 3, lease_of(ATHENS, token=3)), ATHENS.session, 0.01)
    node.receive(Commit(NAME, 4, lease_of(BYBLOS, token=4)), BYBLOS.session, 0.02)
    node.tick(0.08)
    request = node.sent(Inquire)[0][1].request
    for other in "bc":
        view = attrs.evolve(holds(BYBLOS, 4, chosen=True, token=4), request=request)
        node.receive(view, other, 0.09)
    assert node.shows() == (3, "athens", True)  # Commit informs, and changes nothing that is held
    view = view_of(node, 0.03)
    assert (view.lease, view.lease_term, view.holds, view.chosen) == (
        lease_of(BYBLOS, token=4),
        4,
        False,
        True,
    )
    assert over({"a": view}, 1, ATHENS, 3)
    node.receive(Release(1, NAME, BYBLOS, 4), BYBLOS.session, 0.04)
    view = view_of(node, 0.05)
    assert (view.lease, view.holds, view.released) == (lease_of(BYBLOS, token=4), False, True)


@pytest.mark.parametrize(
    ("term", "token"),
    [
        pytest.param(6, 4, id="it-was-taken-since"),
        pytest.param(3, 0, id="whoever-found-out-does-not-know-that-it-was-valid"),
    ],
)
def test_what_it_holds_is_shown_where_that_may_be_a_tenure(term: int, token: int) -> None:
    node = HandReplica(replica_of("a", "abc"))
    accept_by_athens(node, 0.0, term=term)
    node.receive(Commit(NAME, 4, lease_of(BYBLOS, token=token)), "b", 0.02)
    view = view_of(node, 0.03)
    assert (view.lease, view.lease_term, view.holds, view.chosen) == (lease_of(ATHENS), term, True, False)


# Watch: what is the end of a tenure


@pytest.mark.parametrize(
    ("views", "ended"),
    [
        pytest.param([closed(9), holds(ATHENS, 4), holds(ATHENS, 4)], False, id="one-node-is-no-fact"),
        pytest.param([closed(4), closed(4), holds(ATHENS, 4)], True, id="enough-closed-at-the-term"),
        pytest.param([closed(3), closed(3), closed(3)], False, id="closed-below-the-term"),
        pytest.param([knows(ATHENS, 4, released=True)], True, id="a-release-seen-by-one"),
        pytest.param([knows(BYBLOS, 3, released=True)], False, id="the-release-of-another"),
        pytest.param([holds(BYBLOS, 6), holds(BYBLOS, 6)], True, id="held-by-another-in-a-higher-term"),
        pytest.param([holds(ATHENS, 6), holds(ATHENS, 6), closed(9)], False, id="the-same-in-a-higher-term"),
    ],
)
def test_a_tenure_is_over_by_release_or_enough_nodes(views: list[View], ended: bool) -> None:
    assert over(dict(zip("abc", views, strict=False)), 3, ATHENS, 4) is ended


def watching(prefix: bool = False, pattern: str = NAME) -> HandSession:
    session = HandSession("delphi")
    session.machine.watch(pattern, prefix, 0.0)
    return session


def event(session: HandSession, node: str, version: int, view: View, now: float) -> None:
    session.receive(node, WatchEvent(1, version, view), now)


def states(session: HandSession) -> list[tuple[State, int]]:
    return [(changed.state, changed.term) for changed in session.told(Changed)]


def test_a_watch_subscribes_everywhere_and_refreshes() -> None:
    session = watching()
    asked = session.sent_to_all(Watch)
    for node in "abc":
        session.receive(node, Watching(asked.request, 1), 0.01)
    session.run_until(10.0)
    times = [node for node, _ in session.sent(Watch)]
    assert times.count("a") == times.count("c") >= 10.0 / WATCH_LAPSE_S * 2
    assert asked.lapse_ms == round(WATCH_LAPSE_S * 1000)


def test_the_first_state_comes_once_enough_nodes_have_spoken() -> None:
    session = watching()
    event(session, "a", 1, closed(0), 0.01)
    assert states(session) == []
    event(session, "b", 1, closed(0), 0.02)
    assert states(session) == [(State.FREE, 0)]
    event(session, "c", 1, closed(0), 0.03)
    assert states(session) == []


def test_events_are_acknowledged_and_older_versions_change_nothing() -> None:
    session = watching()
    event(session, "a", 9, holds(ATHENS, 4, chosen=True), 0.01)
    event(session, "b", 9, holds(ATHENS, 4, chosen=True), 0.02)
    assert states(session) == [(State.LED, 4)]
    assert [(node, m.versions) for node, m in session.sent(Seen)] == [
        ("a", ((NAME, 9),)),
        ("b", ((NAME, 9),)),
    ]
    event(session, "a", 8, closed(9), 0.03)
    event(session, "b", 8, closed(9), 0.04)
    event(session, "c", 8, closed(9), 0.05)
    assert states(session) == []
    assert [node for node, _ in session.sent(Seen)] == ["a", "b", "c"]


def test_a_node_that_does_not_hold_the_lease_does_not_report_its_end() -> None:
    session = watching()
    event(session, "a", 1, holds(ATHENS, 4, chosen=True), 0.01)
    event(session, "b", 1, holds(ATHENS, 4, chosen=True), 0.02)
    states(session)
    event(session, "c", 1, closed(50), 0.03)
    assert states(session) == []
    event(session, "b", 2, closed(4), 0.04)
    assert states(session) == [(State.FREE, 4)]


def test_one_release_is_the_end_and_stale_views_do_not_bring_it_back() -> None:
    session = watching()
    for node in "abc":
        event(session, node, 1, holds(ATHENS, 4, chosen=True), 0.01)
    states(session)
    event(session, "c", 2, knows(ATHENS, 4, released=True), 0.02)
    assert states(session) == [(State.FREE, 4)]
    event(session, "a", 2, holds(ATHENS, 4, chosen=True), 0.03)
    assert states(session) == []


def test_a_watch_shows_nobody_whose_lease_is_not_known_to_be_chosen() -> None:
    """Views of different moments: byblos was over at a when c took it. Its term would hide athens."""
    session = watching()
    event(session, "b", 1, holds(ATHENS, 1, chosen=True, token=1), 0.01)
    event(session, "a", 1, holds(BYBLOS, 2), 0.02)
    event(session, "c", 1, holds(BYBLOS, 2), 0.2)
    assert states(session) == []
    event(session, "c", 2, holds(ATHENS, 1, chosen=True, token=1), 0.3)
    assert states(session) == [(State.LED, 1)]


def test_a_higher_term_of_the_same_candidate_is_the_same_tenure() -> None:
    session = watching()
    for node in "abc":
        event(session, node, 1, holds(ATHENS, 4, chosen=True, token=4), 0.01)
    assert states(session) == [(State.LED, 4)]
    for node in "abc":
        event(session, node, 2, holds(ATHENS, 9, chosen=True, token=4), 0.02)
    assert states(session) == []


def test_states_may_be_skipped_but_never_run_backwards() -> None:
    session = watching()
    for node in "ab":
        event(session, node, 5, holds(BYBLOS, 7, chosen=True, token=7), 0.01)
    assert states(session) == [(State.LED, 7)]
    event(session, "c", 1, knows(ATHENS, 4), 0.02)
    assert states(session) == []


def test_what_a_node_said_before_a_tenure_was_shown_does_not_end_it() -> None:
    """c stands higher than the token, is out of reach, and may hold the lease by now."""
    session = watching()
    event(session, "c", 1, holds(BYBLOS, 7), 0.01)
    for node in "ab":
        event(session, node, 1, holds(ATHENS, 6, chosen=True, token=6), 0.02)
    assert states(session) == [(State.LED, 6)]
    event(session, "a", 2, closed(9), 0.03)
    event(session, "c", 1, holds(BYBLOS, 7), 0.04)  # again the same, late
    assert states(session) == []
    event(session, "b", 2, closed(9), 0.05)
    assert states(session) == [(State.FREE, 6)]


def test_without_enough_nodes_the_state_is_unknown() -> None:
    session = watching()
    for node in "abc":
        event(session, node, 1, closed(0), 0.01)
    assert states(session) == [(State.FREE, 0)]
    session.run_until(WATCH_LAPSE_S + 2.0)
    assert states(session) == [(State.UNKNOWN, 0)]


@pytest.mark.parametrize("nodes", ["abc", "abcde"])
def test_in_touch_with_too_few_nodes_it_does_not_go_on_showing_led(nodes: str) -> None:
    """Those that it does not hear any more may have heard the Release, and hold for another."""
    session = HandSession("delphi", nodes)
    session.machine.watch(NAME, False, 0.0)
    for node in nodes:
        event(session, node, 1, holds(ATHENS, 4, chosen=True, token=4), 0.01)
    assert states(session) == [(State.LED, 4)]
    enough = len(nodes) // 2 + 1
    for heard, shown in ((enough, []), (enough - 1, [(State.UNKNOWN, 4)]), (enough, [(State.LED, 4)])):
        end = session.machine.deadline() + 2 * WATCH_LAPSE_S
        while (due := session.machine.deadline()) < end:
            session.tick(due)
            for node in nodes[:heard]:
                session.receive(node, Watching(1, 1), due)
        assert states(session) == shown


def test_a_prefix_is_watched_and_other_names_are_not_taken() -> None:
    session = watching(prefix=True, pattern="ag")
    for node in "ab":
        event(session, node, 1, holds(ATHENS, 4, chosen=True), 0.01)
    assert states(session) == [(State.LED, 4)]
    session.sent(Seen)
    stranger = View(1, "other", 4, lease_of(ATHENS), 4, True, True, False, 5_000)
    for node in "ab":
        event(session, node, 2, stranger, 0.02)
    assert states(session) == []
    assert session.sent(Seen) == []


def test_a_tenure_whose_release_was_seen_is_not_shown_as_led_again() -> None:
    """Nodes that are out of reach go on showing the old lease, and the one that saw the Release moves on."""
    session = watching()
    for node in "abc":
        event(session, node, 1, holds(ATHENS, 4, chosen=True, token=4), 0.01)
    event(session, "a", 2, knows(ATHENS, 4, released=True, token=4), 0.02)
    assert states(session) == [(State.LED, 4), (State.FREE, 4)]
    event(session, "a", 3, holds(BYBLOS, 6), 0.03)
    assert states(session) == []
    event(session, "b", 2, holds(BYBLOS, 6, chosen=True), 0.04)
    assert states(session) == [(State.LED, 6)]


def asked_again(session: HandSession) -> dict[str, int]:
    """At which nodes a watcher asks for the name, and by which request."""
    return {node: poll.request for node, poll in session.sent(Poll)}


def test_a_node_that_has_forgotten_the_name_does_not_speak_for_its_old_leader_for_ever() -> None:
    """It has restarted, or was out of touch for longer than it remembers: no event comes of that name."""
    session = watching(prefix=True, pattern="ag")
    for node in "abc":
        event(session, node, 1, holds(ATHENS, 4, chosen=True, token=4), 0.01)
    session.run_until(0.02)
    event(session, "a", 2, closed(6), 0.03)
    assert states(session) == [(State.LED, 4)]
    session.sent(Poll)
    session.run_until(1.5)
    asked = asked_again(session)
    assert set(asked) == {"b", "c"}
    session.receive("b", attrs.evolve(closed(9), request=asked["b"]), 1.6)
    assert states(session) == [(State.FREE, 4)]


def test_a_node_that_knows_nothing_of_the_name_is_asked_too() -> None:
    """c has lost its memory, and a crashes for good: the word of b is not enough, and c tells nothing."""
    session = watching(prefix=True, pattern="ag")
    for node in "ab":
        event(session, node, 1, holds(ATHENS, 4, chosen=True, token=4), 0.01)
    session.receive("c", Watching(0, 1), 0.01)
    session.run_until(0.02)
    event(session, "b", 2, closed(6), 0.03)
    assert states(session) == [(State.LED, 4)]
    session.sent(Poll)
    session.run_until(1.5)
    asked = asked_again(session)
    assert set(asked) == {"a", "c"}
    session.receive("c", attrs.evolve(closed(9), request=asked["c"]), 1.6)
    assert states(session) == [(State.FREE, 4)]


def test_back_in_touch_a_node_that_knows_nothing_of_a_free_name_is_asked() -> None:
    """It was out of touch; then a is gone for good, and c, which has lost its memory, tells nothing."""
    session = watching(prefix=True, pattern="ag")
    for node in "ab":
        event(session, node, 1, holds(ATHENS, 4, chosen=True, token=4), 0.01)
    for node in "ab":
        event(session, node, 2, closed(6), 0.03)
    session.run_until(30.0)
    assert states(session)[-1] == (State.UNKNOWN, 4)
    for second in (30.1, 30.2):
        for node in "bc":
            session.receive(node, Watching(0, 1), second)
    session.sent(Poll)
    session.run_until(45.0)
    for node in "bc":
        session.receive(node, Watching(0, 1), 45.0)
    session.sent(Poll)
    session.run_until(46.5)
    asked = asked_again(session)
    assert set(asked) == {"c"}
    session.receive("c", attrs.evolve(closed(9), request=asked["c"]), 46.6)
    assert states(session)[-1] == (State.FREE, 4)


def test_an_event_counts_more_than_the_answer_of_a_node_that_knew_nothing() -> None:
    session = watching(prefix=True, pattern="ag")
    for node in "ab":
        event(session, node, 1, holds(ATHENS, 4, chosen=True, token=4), 0.01)
    session.run_until(0.02)
    event(session, "b", 2, closed(6), 0.03)
    session.sent(Poll)
    session.run_until(1.5)
    asked = asked_again(session)
    event(session, "c", 1, holds(ATHENS, 9, chosen=True, token=4), 1.55)
    session.receive("c", attrs.evolve(closed(8), request=asked["c"]), 1.6)
    assert states(session) == [(State.LED, 4)]


def test_what_all_nodes_say_is_asked_for_again_in_turn() -> None:
    session = watching(prefix=True, pattern="ag")
    for name in ("agenor", "agora"):
        for node in "abc":
            event(session, node, 1, attrs.evolve(holds(ATHENS, 4, chosen=True), name=name), 0.01)
    session.sent(Poll)
    times: list[str] = []
    for second in range(1, 40):
        for node in "abc":
            session.receive(node, Watching(0, 1), second - 0.5)
        session.run_until(float(second))
        times += [poll.name for node, poll in session.sent(Poll) if node == "a"]
    assert times.count("agenor") >= 2 and times.count("agora") >= 2


def test_of_many_names_that_are_to_be_asked_for_again_each_has_its_turn() -> None:
    session = watching(prefix=True, pattern="n")
    names = [f"n{number:02}" for number in range(40)]
    for name in names:
        for node in "abc":
            event(session, node, 1, attrs.evolve(holds(ATHENS, 4, chosen=True, token=4), name=name), 0.01)
        event(session, "a", 2, attrs.evolve(closed(6), name=name), 0.02)
    session.run_until(0.5)
    session.sent(Poll)
    asked: list[str] = []
    for second in range(1, 5):
        for node in "abc":
            session.receive(node, Watching(0, 1), second - 0.5)
        session.run_until(float(second))
        asked += [poll.name for node, poll in session.sent(Poll) if node == "b"]
    assert set(asked) == set(names)
    assert len(asked) <= 4 * 17


def test_an_answer_that_an_event_has_overtaken_is_not_taken() -> None:
    session = watching(prefix=True, pattern="ag")
    for node in "abc":
        event(session, node, 1, holds(ATHENS, 4, chosen=True, token=4), 0.01)
    session.run_until(0.02)
    session.sent(Poll)
    session.run_until(1.5)
    asked = asked_again(session)
    for node in "ab":
        event(session, node, 2, holds(ATHENS, 9, chosen=True, token=4), 1.55)
        session.receive(node, attrs.evolve(closed(8), request=asked[node]), 1.6)
    assert states(session) == [(State.LED, 4)]


def test_one_name_is_not_asked_for_again() -> None:
    """A subscription to one name begins with its state, also where nothing is known of it."""
    session = watching()
    for node in "abc":
        event(session, node, 1, holds(ATHENS, 4, chosen=True, token=4), 0.01)
    event(session, "a", 2, closed(6), 0.03)
    session.run_until(2.0)
    assert session.sent(Poll) == []


def test_an_event_nobody_wants_ends_the_subscription() -> None:
    session = watching()
    session.machine.unwatch(1)
    assert {node for node, _ in session.sent(Unwatch)} == {"a", "b", "c"}
    event(session, "a", 1, closed(0), 0.01)
    assert [node for node, _ in session.sent(Unwatch)] == ["a"]


# The node's side of a watch


DELPHI = session_id("delphi")


def subscribed(pattern: str = NAME, prefix: bool = False, lapse: float = 3.5) -> HandReplica:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Watch(1, 7, pattern, prefix, round(lapse * 1000)), DELPHI, 0.0)
    return node


def test_a_subscription_begins_with_the_present_state() -> None:
    node = subscribed()
    ((to, first),) = node.sent(WatchEvent)
    assert (to, first.watch, first.view.name, first.view.lease) == (DELPHI, 7, NAME, None)


def test_an_event_is_repeated_until_it_is_acknowledged() -> None:
    node = subscribed()
    ((_, first),) = node.sent(WatchEvent)
    node.tick(0.5)
    repeated = [m.version for _, m in node.sent(WatchEvent)]
    assert len(repeated) >= 2 and set(repeated) == {first.version}
    node.receive(Seen(7, ((NAME, first.version),)), DELPHI, 0.6)
    node.tick(2.0)
    assert node.sent(WatchEvent) == []


def test_an_acknowledgement_of_an_older_version_does_not_silence_a_newer_one() -> None:
    node = subscribed()
    ((_, first),) = node.sent(WatchEvent)
    accept_by_athens(node, 0.01)
    ((_, second),) = node.sent(WatchEvent)
    assert second.version > first.version
    node.receive(Seen(7, ((NAME, first.version),)), DELPHI, 0.015)  # before anything is repeated
    assert node.sent(WatchEvent) == []
    node.tick(0.5)
    assert {m.version for _, m in node.sent(WatchEvent)} == {second.version}


def test_a_subscription_lapses_unless_it_is_refreshed() -> None:
    node = subscribed(lapse=2.0)
    node.tick(1.0)
    node.receive(Watch(2, 7, NAME, False, 2000), DELPHI, 1.0)
    node.tick(2.9)
    accept_by_athens(node, 2.95)
    assert node.sent(WatchEvent)
    node.tick(10.0)
    node.sent(WatchEvent)
    node.receive(Release(1, NAME, ATHENS, 4), ATHENS.session, 10.1)
    node.tick(20.0)
    assert node.sent(WatchEvent) == []


def test_a_watcher_is_told_of_acceptance_commit_and_release() -> None:
    node = subscribed(pattern="ag", prefix=True)
    accept_by_athens(node, 0.01)
    ((_, taken),) = node.sent(WatchEvent)
    assert (taken.view.holds, taken.view.chosen) == (True, False)
    node.receive(Commit(NAME, 4, lease_of(ATHENS, token=4)), ATHENS.session, 0.02)
    ((_, chosen),) = node.sent(WatchEvent)
    assert (chosen.view.holds, chosen.view.chosen) == (True, True)
    node.receive(Release(1, NAME, ATHENS, 4), ATHENS.session, 0.03)
    views = [m.view for _, m in node.sent(WatchEvent)]
    assert (views[-1].holds, views[-1].released) == (False, True)


def test_a_renewal_is_no_event() -> None:
    node = subscribed()
    accept_by_athens(node, 0.01)
    node.receive(Commit(NAME, 4, lease_of(ATHENS, token=4)), ATHENS.session, 0.02)
    version = node.sent(WatchEvent)[-1][1].version
    node.receive(Seen(7, ((NAME, version),)), DELPHI, 0.03)
    node.sent(WatchEvent)
    node.receive(Accept(2, NAME, 4, lease_of(ATHENS), 2, 0), ATHENS.session, 0.5)
    assert node.sent(WatchEvent) == []


# All together


def test_a_watch_sees_the_whole_story_of_a_name_in_order() -> None:
    cell = HandCell("abc", ["athens", "byblos", "delphi"])
    cell.sessions["delphi"].watch(NAME, False, 0.0)
    cell.run(0.5)
    ticket = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=cell.now, label="athens")
    cell.run(0.5)
    (first,) = cell.told("athens", Granted)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, label="byblos")
    cell.run(2 * TTL)
    cell.sessions["athens"].release(ticket, cell.now)
    cell.run(0.5)
    (second,) = cell.told("byblos", Granted)
    cell.dies("byblos")
    cell.run(1.2 * TTL)
    changes = [(c.state, c.term, c.label) for c in cell.told("delphi", Changed)]
    led = [change for change in changes if change[0] is State.LED]
    assert changes[0] == (State.FREE, 0, "")
    assert led == [(State.LED, first.term, "athens"), (State.LED, second.term, "byblos")]
    assert changes[-1] == (State.FREE, second.term, "")
    assert second.term > first.term


def test_a_watch_with_a_node_down_still_ends_at_the_last_state() -> None:
    cell = HandCell("abc", ["athens", "delphi"])
    cell.sessions["delphi"].watch(NAME, False, 0.0)

    def down(sender: str, to: str, _message: Message) -> bool:
        return "c" in (sender, to)

    ticket = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(2.0, lost=down)
    cell.sessions["athens"].release(ticket, cell.now)
    cell.run(5.0, lost=down)
    assert [c.state for c in cell.told("delphi", Changed)][-2:] == [State.LED, State.FREE]
