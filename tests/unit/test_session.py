"""A client's machine: questions, tickets, watches and statistics beyond the rules."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random
from typing import TypeVar

import pytest

from paxlock.core.configuration import Configuration
from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Accept,
    Accepted,
    Hello,
    List,
    Member,
    Message,
    Names,
    NodeMode,
    Occupancy,
    Occupant,
    Poll,
    Prepare,
    Promise,
    Recovering,
    RefusalReason,
    Refused,
    Release,
    Released,
    StandingPrepare,
    Unwatch,
    View,
    WaiterEntry,
    Waiters,
    Waiting,
    Welcome,
)
from paxlock.core.session.events import (
    Answered,
    Changed,
    Ended,
    Failed,
    Granted,
    HandleOutcome,
    Mismatch,
    NamesFound,
    Surveyed,
)
from paxlock.core.session.judgement import State
from paxlock.core.session.queries import PAGES_AHEAD
from paxlock.core.session.session import Session, SessionSettings
from paxlock.errors import ConfigError, Reason

SESSION = b"athens".ljust(16, b".")
MEMBERS = tuple(Member(node, f"{node}.example:7400") for node in "abc")
T = TypeVar("T")


class Client:
    """A session whose effects are caught."""

    def __init__(self, *, grace_ms: int = 50) -> None:
        settings = SessionSettings(Configuration(MEMBERS, 30_000, 10_000, grace_ms), "me")
        self.machine = Session(settings, session=SESSION, secret=bytes(16), now=0.0, rng=Random(1))
        self.sends: list[tuple[str, Message]] = []
        self.notices: list[object] = []

    def sent(self, kind: type[T]) -> list[tuple[str, T]]:
        self.collect()
        found: list[tuple[str, T]] = [(to, m) for to, m in self.sends if isinstance(m, kind)]
        self.sends = [(to, m) for to, m in self.sends if not isinstance(m, kind)]
        return found

    def told(self, kind: type[T]) -> list[T]:
        self.collect()
        found = [notice for notice in self.notices if isinstance(notice, kind)]
        self.notices = [notice for notice in self.notices if not isinstance(notice, kind)]
        return found

    def collect(self) -> None:
        effects = self.machine.take_effects()
        self.sends.extend((str(to), message) for to, message in effects.sends)
        self.notices.extend(effects.published)

    def run_until(self, now: float) -> None:
        while (due := self.machine.deadline()) <= now:
            self.machine.tick(due)


def welcome(node: str, request: int, **changes: int) -> Welcome:
    values: dict[str, int] = {"max_ttl_ms": 30_000, "drift_ppm": 10_000, "grace_ms": 50, **changes}
    return Welcome(
        request, node, MEMBERS, mode=NodeMode.SERVING, remaining_ms=0, floor=0, complaint="", **values
    )


def test_it_greets_every_node_at_the_start() -> None:
    assert [node for node, _ in Client().sent(Hello)] == ["a", "b", "c"]


def test_the_answers_to_greetings_tell_how_long_a_round_trip_takes() -> None:
    client = Client()
    first = {node: hello.request for node, hello in client.sent(Hello)}
    client.machine.receive(welcome("a", first["a"]), "a", 0.02)
    client.run_until(1.0)
    again = [(node, hello.request) for node, hello in client.sent(Hello)]
    assert {node for node, _ in again} == {"b", "c"}
    client.machine.receive(welcome("b", first["b"]), "b", 1.1)  # late: to the first, which has its own number
    client.machine.receive(welcome("c", 99), "c", 1.1)
    trips = client.machine._pacing.round_trips
    assert [known and round(known.smoothed, 3) for known in map(trips.of, "abc")] == [
        0.02,
        0.075,
        None,
    ]  # a first answer counts for so much at most


@pytest.mark.parametrize("change", [{}, {"max_ttl_ms": 10_000}, {"drift_ppm": 1}, {"grace_ms": 10}])
def test_a_node_with_another_configuration_is_reported(change: dict[str, int]) -> None:
    client = Client()
    client.machine.receive(welcome("a", 1, **change), "a", 0.1)
    assert bool(client.told(Mismatch)) is bool(change)


def test_a_node_that_answers_for_another_is_reported() -> None:
    client = Client()
    client.machine.receive(welcome("b", 1), "a", 0.1)
    assert client.told(Mismatch)


@pytest.mark.parametrize("ttl", [0.0, 31.0, float("nan")])
def test_a_ttl_that_does_not_nest_is_refused_and_leaves_nothing_behind(ttl: float) -> None:
    client = Client()
    with pytest.raises(ConfigError):
        client.machine.campaign("n", ttl=ttl, now=0.0)
    assert client.machine.statistics().campaigns == 0
    assert client.sent(Prepare) == []


def test_without_a_quorum_a_wait_fails_with_the_count_of_nodes() -> None:
    client = Client()
    ticket = client.machine.campaign("n", ttl=5.0, now=0.0, wait=0.5)
    client.run_until(2.0)
    (failed,) = client.told(Failed)
    assert (failed.ticket, failed.reason, failed.detail) == (
        ticket,
        Reason.NO_QUORUM,
        "0 of 3 nodes answered, 2 needed",
    )


@pytest.mark.parametrize("wait", [0.0, 3.0])
@pytest.mark.parametrize(
    ("remaining_ms", "says"),
    [
        ({"a": 9_000, "b": 20_000, "c": 14_000}, "3 of 3 nodes answered, and none serves yet: sitting out, "),
        ({"a": 0, "b": 0}, "2 of 3 nodes answered, and none serves yet"),
        ({"c": 9_000}, "1 of 3 nodes answered, 2 needed"),
    ],
    ids=["all sit out", "two start", "one of them"],
)
def test_nodes_that_sit_out_are_no_nodes_that_do_not_answer(
    wait: float, remaining_ms: dict[str, int], says: str
) -> None:
    """It says for how long yet, where that is known: until there are as many as a quorum needs."""
    client = Client()
    client.machine.campaign("n", ttl=5.0, now=0.0, wait=wait)
    while (due := client.machine.deadline()) <= 4.0:
        client.machine.tick(due)
        for to, asked in client.sent(StandingPrepare):
            if to in remaining_ms:
                left = remaining_ms[to] - round(due * 1000)
                client.machine.receive(Recovering(asked.request, max(0, left)), to, due)
    (failed,) = client.told(Failed)
    assert failed.reason is Reason.NO_QUORUM
    if says.endswith("sitting out, "):  # the second one of them to serve does so after 14 s
        says += f"{14.0 - max(1.0, wait):.1f} s left"
    assert failed.detail == says


def test_a_node_that_sat_out_and_is_not_heard_any_more_has_not_answered() -> None:
    client = Client()
    client.machine.campaign("n", ttl=5.0, now=0.0, wait=5.0)
    client.run_until(0.1)
    for to, asked in client.sent(StandingPrepare):
        client.machine.receive(Recovering(asked.request, 30_000), to, 0.1)
    client.run_until(6.0)
    (failed,) = client.told(Failed)
    assert failed.detail == "0 of 3 nodes answered, 2 needed"


def test_a_node_that_serves_is_not_counted_among_those_that_sit_out() -> None:
    client = Client()
    client.machine.campaign("n", ttl=5.0, now=0.0, wait=0.5)
    (_, to_a), (_, to_b), (_, to_c) = client.sent(StandingPrepare)
    client.machine.receive(Accepted(to_a.request, "n", to_a.candidate, 1, to_a.seq), "a", 0.1)
    client.machine.receive(Recovering(to_b.request, 7_000), "b", 0.1)
    client.machine.receive(Recovering(to_c.request, 9_000), "c", 0.1)
    client.run_until(1.0)
    (failed,) = client.told(Failed)
    assert failed.detail == (
        "3 of 3 nodes answered, and only 1 of them serves, 2 needed: sitting out, 6.6 s left"
    )


def test_a_node_that_has_started_anew_since_it_refused_does_not_serve() -> None:
    """Its word of a holder is none any more: that holder may have lost the name with it."""
    client = Client()
    client.machine.campaign("n", ttl=5.0, now=0.0, wait=0.5)
    holder = Occupant(Candidate(b"byblos", 1), Occupancy.HELD, 0, "byblos", 4_000, 5_000)
    sent = client.sent(StandingPrepare)
    for to, asked in sent:
        refused = Refused(asked.request, "n", asked.candidate, RefusalReason.HELD, 1, 0, holder)
        client.machine.receive(refused, to, 0.1)
    for to, asked in sent[1:]:
        client.machine.receive(Recovering(asked.request, 7_000), to, 0.2)
    client.run_until(1.0)
    (failed,) = client.told(Failed)
    assert (failed.reason, failed.holder) == (Reason.NO_QUORUM, None)
    assert failed.detail.startswith("3 of 3 nodes answered, and only 1 of them serves, 2 needed: sitting out")


def asks(client: Client, until: float, *, answer: Callable[[StandingPrepare], Message] | None) -> list[float]:
    """When node a is asked for a name until then; ``answer`` is what all nodes say to the first of these."""
    found: list[float] = []
    while (due := client.machine.deadline()) <= until:
        client.machine.tick(due)
        for to, asked in client.sent(StandingPrepare):
            if to == "a":
                found.append(due)
            if answer is not None and len(found) <= 1:
                client.machine.receive(answer(asked), to, due)
    return found


def test_a_cell_that_is_not_there_is_found_within_an_eighth_of_the_time_it_took_to_come_up() -> None:
    client = Client(grace_ms=10)
    client.machine.campaign("n", ttl=5.0, now=0.0)
    moments = asks(client, 30.0, answer=None)
    waits = [(later - moment, moment) for moment, later in itertools.pairwise(moments)]
    assert all(wait <= max(0.064, moment * 0.125) + 1e-9 for wait, moment in waits)
    assert len([moment for moment in moments if moment > 10.0]) <= 20.0 / 0.375 + 1  # no more than ever
    assert len([moment for moment in moments if moment <= 4.0]) <= 40


def test_nodes_that_only_start_are_as_good_as_silent() -> None:
    client = Client(grace_ms=10)
    client.machine.campaign("n", ttl=5.0, now=0.0)
    moments = asks(client, 2.0, answer=lambda asked: Recovering(asked.request, 0))
    assert all(
        later - moment <= max(0.064, moment * 0.125) + 1e-9 for moment, later in itertools.pairwise(moments)
    )


def test_a_candidate_asks_again_when_nodes_that_sat_out_serve() -> None:
    client = Client(grace_ms=10)
    client.machine.campaign("n", ttl=5.0, now=0.0)
    moments = asks(client, 8.0, answer=lambda asked: Recovering(asked.request, 5_000))
    served_from = moments[0] + 5.0
    assert any(served_from <= moment <= served_from + 0.07 for moment in moments)


@pytest.mark.parametrize("remaining_ms", [0, 1])
def test_a_node_that_always_says_that_it_starts_is_not_asked_without_end(remaining_ms: int) -> None:
    client = Client(grace_ms=10)
    client.machine.campaign("n", ttl=5.0, now=0.0)
    asked = 0
    while (due := client.machine.deadline()) <= 10.0:
        client.machine.tick(due)
        for to, message in client.sent(StandingPrepare):
            asked += to == "a"
            client.machine.receive(Recovering(message.request, remaining_ms), to, due)
    silent = Client(grace_ms=10)
    silent.machine.campaign("n", ttl=5.0, now=0.0)
    beside = 10.0 / 0.064 if remaining_ms else 2.0
    assert asked <= len(asks(silent, 10.0, answer=None)) + beside


def test_when_a_node_answers_after_a_silence_the_others_are_asked_again_at_once() -> None:
    client = Client(grace_ms=10)
    client.machine.campaign("n", ttl=5.0, now=0.0)
    silent = asks(client, 5.0, answer=None)
    assert silent[-1] - silent[-2] > 0.3
    due = client.machine.deadline()
    client.machine.tick(due)
    (_, asked), *_ = client.sent(StandingPrepare)
    heard_at = due + 0.001
    client.machine.receive(Accepted(asked.request, "n", asked.candidate, 1, asked.seq), "a", heard_at)
    again = asks(client, heard_at + 2.0, answer=None)
    assert again[0] - heard_at <= 0.02
    client.machine.receive(Accepted(asked.request, "n", asked.candidate, 1, asked.seq), "a", heard_at + 2.0)
    assert client.machine.deadline() - heard_at - 2.0 > 0.02, "what it says again brings nothing"


def test_a_node_whose_answers_count_for_nothing_does_not_make_a_candidate_ask_without_end() -> None:
    """It answers another question each time, as late copies do; the others are silent."""
    silent = Client(grace_ms=10)
    silent.machine.campaign("n", ttl=5.0, now=0.0)
    client = Client(grace_ms=10)
    client.machine.campaign("n", ttl=5.0, now=0.0)
    asked = 0
    while (due := client.machine.deadline()) <= 10.0:
        client.machine.tick(due)
        for to, message in client.sent(StandingPrepare):
            asked += to == "a"
            beside = Promise(message.request + 1, "n", message.candidate, 0, 0, 0)
            client.machine.receive(beside, "a", due)
    assert asked <= 3 * len(asks(silent, 10.0, answer=None))


def test_who_stands_in_line_does_not_ask_for_a_node_that_is_always_about_to_serve() -> None:
    """Two nodes name one holder, which is enough to wait for it."""

    def asked_beside(of_c: Callable[[int], Message] | None) -> int:
        client, asked = Client(grace_ms=10), 0
        client.machine.campaign("n", ttl=10.0, now=0.0)
        holder = Occupant(Candidate(b"h" * 16, 1), Occupancy.HELD, 0, "h", 10_000, 10_000, 40, confirmed=True)
        while (due := client.machine.deadline()) <= 10.0:
            client.machine.tick(due)
            for to, message in client.sent(StandingPrepare) + client.sent(Prepare):
                asked += to == "a"
                refused = Refused(message.request, "n", message.candidate, RefusalReason.HELD, 1, 0, holder)
                if to in "ab":
                    client.machine.receive(refused, to, due)
                elif of_c is not None:
                    client.machine.receive(of_c(message.request), to, due)
        return asked

    silent = asked_beside(None)
    assert asked_beside(lambda request: Recovering(request, 1)) <= silent + 5


def test_nodes_that_have_answered_are_not_asked_more_often_for_being_slow() -> None:
    client = Client(grace_ms=10)
    other = client.machine.campaign("other", ttl=5.0, now=0.0)
    for to, asked in client.sent(StandingPrepare):
        client.machine.receive(Accepted(asked.request, "other", asked.candidate, 1, asked.seq), to, 0.001)
    assert [granted.ticket for granted in client.told(Granted)] == [other]
    client.machine.campaign("n", ttl=5.0, now=0.002)
    moments = asks(client, 1.0, answer=None)
    assert len(moments) <= 9  # 4 ms, doubling


def test_releasing_a_wish_in_the_session_line_ends_it_at_once() -> None:
    client = Client()
    client.machine.campaign("n", ttl=5.0, now=0.0)
    second = client.machine.campaign("n", ttl=5.0, now=0.0)
    client.machine.release(second, 0.1)
    assert client.told(Ended) == [Ended(second, heard=True)]
    client.machine.release(second, 0.2)
    client.machine.release(999, 0.2)
    assert client.told(Ended) == []
    assert client.machine.statistics().campaigns == 1


def test_it_is_releasing_until_a_quorum_has_heard() -> None:
    client = Client()
    ticket = client.machine.campaign("n", ttl=5.0, now=0.0)
    client.machine.release(ticket, 0.1)
    assert client.machine.releasing
    for node in "ab":
        client.machine.receive(Released(1, "n", Candidate(SESSION, 1), 0), node, 0.2)
    assert not client.machine.releasing
    assert client.told(Ended) == [Ended(ticket, heard=True)]


def test_a_release_that_nobody_hears_ends_too() -> None:
    client = Client()
    ticket = client.machine.campaign("n", ttl=5.0, now=0.0)
    client.machine.release(ticket, 0.1)
    client.run_until(10.0)
    assert client.told(Ended) == [Ended(ticket, heard=False)]
    assert client.machine.statistics().releases == 0


def test_names_are_collected_page_by_page_from_all_nodes() -> None:
    client = Client()
    ticket = client.machine.names("n", 0.0)
    asked = dict(client.sent(List))
    client.machine.receive(Names(asked["a"].request, "n1", ("n2",), more=True), "a", 0.003)  # out of order
    client.machine.receive(Names(asked["a"].request, "", ("n0", "n1"), more=True), "a", 0.003)
    client.machine.receive(Names(asked["b"].request, "", ("n2", "n9"), more=False), "b", 0.003)
    client.machine.receive(Recovering(asked["c"].request, 1_000), "c", 0.003)
    assert client.sent(List) == []
    client.run_until(0.3)
    again = [m for node, m in client.sent(List) if node == "a"][-1]
    assert again.after == "n2", "what it has told is kept"
    client.machine.receive(Names(again.request, "n2", ("n3",), more=False), "a", 0.3)
    assert client.told(NamesFound) == [NamesFound(ticket, ("n0", "n1", "n2", "n3", "n9"), 2)]


def test_a_list_has_patience_while_pages_come() -> None:
    client = Client()
    ticket = client.machine.names("", 0.0, patience=1.0)
    for number in range(50):
        now, page = 0.9 * (number + 1), (f"n{number:02}",)
        client.run_until(now)
        asked = [m for node, m in client.sent(List) if node == "a"][-1]
        assert asked.after == (f"n{number - 1:02}" if number else "")
        client.machine.receive(Names(asked.request, asked.after, page, more=True), "a", now)
        assert client.told(NamesFound) == []
    client.run_until(50.0)
    (found,) = client.told(NamesFound)
    assert (found.ticket, len(found.names), found.nodes_up) == (ticket, 50, 0)


def test_the_next_pages_are_asked_for_when_all_have_come() -> None:
    client = Client()
    client.machine.names("", 0.0)
    asked = dict(client.sent(List))["a"]
    for number in range(PAGES_AHEAD):
        assert client.sent(List) == []
        page = Names(asked.request, f"n{number}" if number else "", (f"n{number + 1}",), more=True)
        client.machine.receive(page, "a", 0.003)
    ((node, further),) = client.sent(List)
    assert (node, further.after, further.pages) == ("a", f"n{PAGES_AHEAD}", PAGES_AHEAD)


@pytest.mark.parametrize(("after", "names"), [("", ()), ("n5", ("n5",)), ("n5", ("n3", "n4")), ("x", ("y",))])
def test_pages_that_are_no_part_of_a_list_in_order_lead_nowhere(after: str, names: tuple[str, ...]) -> None:
    client = Client()
    client.machine.names("", 0.0)
    asked = dict(client.sent(List))["a"]
    for _ in range(3 * PAGES_AHEAD):
        client.machine.receive(Names(asked.request, after, names, more=True), "a", 0.003)
    assert client.sent(List) == []
    assert client.told(NamesFound) == []


def test_a_poll_with_the_line_merges_what_the_nodes_know() -> None:
    client = Client()
    client.machine.poll("n", 0.0, line=True)
    asked = dict(client.sent(Waiting))
    polls = dict(client.sent(Poll))
    for number, node in enumerate("abc"):
        closed = View(polls[node].request, "n", 4, None, 0, False, False, False, 0)
        client.machine.receive(closed, node, 0.1)
        entries = (
            WaiterEntry(Candidate(b"x" * 16, 1), "x", 100 + number),
            WaiterEntry(Candidate(node.encode() * 16, 1), node, 50),
        )
        client.machine.receive(Waiters(asked[node].request, "n", 2, entries), node, 0.1)
    for node, poll in client.sent(Poll):  # "free" is asked twice
        client.machine.receive(View(poll.request, "n", 4, None, 0, False, False, False, 0), node, 0.2)
    (answered,) = client.told(Answered)
    assert (answered.judgement.state, answered.nodes_up) == (State.FREE, 3)
    assert [(w.label, w.waiting_ms) for w in answered.waiters] == [
        ("x", 102),
        ("a", 50),
        ("b", 50),
        ("c", 50),
    ]


def test_a_survey_shows_every_node_and_those_that_are_silent() -> None:
    client = Client()
    client.sent(Hello)
    ticket = client.machine.survey(0.0, patience=0.5)
    asked = dict(client.sent(Hello))
    client.machine.receive(welcome("a", asked["a"].request), "a", 0.1)
    client.run_until(1.0)
    (surveyed,) = client.told(Surveyed)
    assert surveyed.ticket == ticket
    assert [(n.node_id, n.mode) for n in surveyed.nodes] == [
        ("a", NodeMode.SERVING),
        ("b", None),
        ("c", None),
    ]


def test_a_survey_tells_which_node_another_has_outlived() -> None:
    """Its old process goes on somewhere, and answers those who have its old address."""
    client = Client()
    client.sent(Hello)
    client.machine.survey(0.0, patience=0.5)
    asked = dict(client.sent(Hello))
    for node, lives in (("a", {"a": 3, "b": 5, "c": 1}), ("b", {"a": 4, "b": 5, "c": 1})):
        client.machine.receive(welcome(node, asked[node].request), node, 0.1, lives)
    client.run_until(1.0)
    (surveyed,) = client.told(Surveyed)
    assert [(n.incarnation, n.outlived) for n in surveyed.nodes] == [(3, True), (5, False), (0, False)]


def test_a_handle_is_released_by_a_quorum_or_out_of_time() -> None:
    client = Client()
    handle = Candidate(b"other" + bytes(11), 3)
    for heard, done in (("ab", True), ("a", False)):
        client.machine.release_detached("n", handle, 4, bytes(16), 0.0, patience=1.0)
        asked = dict(client.sent(Release))
        for node in heard:
            client.machine.receive(Released(asked[node].request, "n", handle, 0), node, 0.1)
        client.run_until(2.0)
        assert [outcome.done for outcome in client.told(HandleOutcome)] == [done]


def test_an_answer_to_a_question_that_is_over_is_nothing() -> None:
    client = Client()
    client.machine.poll("n", 0.0, patience=0.2)
    asked = dict(client.sent(Poll))
    client.run_until(1.0)
    client.told(Answered)
    client.machine.receive(View(asked["a"].request, "n", 4, None, 0, False, False, False, 0), "a", 1.1)
    assert client.told(Answered) == []


def test_strangers_and_nonsense_are_counted_and_dropped() -> None:
    client = Client()
    client.sends.clear()
    client.machine.take_effects()
    client.machine.receive(Hello(1), "a", 0.1)
    client.machine.receive(Released(1, "n", Candidate(SESSION, 1), 0), "x", 0.1)
    client.machine.receive(Released(1, "n", Candidate(SESSION, 1), 0), b"y" * 16, 0.1)
    counts = client.machine.statistics().messages
    assert (counts["unexpected"], counts["stranger"]) == (1, 2)
    assert client.sent(object) == []


def test_an_unwatched_ticket_is_told_nothing_more() -> None:
    client = Client()
    ticket = client.machine.watch("n", False, 0.0)
    client.machine.unwatch(ticket)
    client.machine.unwatch(ticket)
    assert [node for node, _ in client.sent(Unwatch)] == ["a", "b", "c"]
    client.run_until(10.0)
    assert client.told(Changed) == []
    assert client.machine.statistics().watches == 0


def test_a_clock_that_jumped_within_the_deadline_loses_nothing() -> None:
    client = Client()
    client.machine.clock_jumped(5.0)
    assert client.told(object) == []


def test_an_accept_that_silence_makes_fail_is_given_up_then_and_not_at_the_next_repetition() -> None:
    client = Client()
    client.machine.campaign("n", ttl=5.0, now=0.0)
    asked = client.sent(StandingPrepare)[0][1]
    client.machine.receive(Accepted(asked.request, "n", asked.candidate, 1, asked.seq), "a", 0.001)
    client.machine.receive(Accepted(asked.request, "n", asked.candidate, 2, asked.seq), "b", 0.001)
    assert {accept.term for _, accept in client.sent(Accept)} == {2}
    given_up = 0.001 + 6 * 0.01  # windows: answers took a millisecond
    client.run_until(given_up - 0.001)
    assert not client.sent(Prepare)
    client.run_until(given_up + 0.02)  # with the first back-off, which is as long as the first repetition
    assert {prepare.at_least for _, prepare in client.sent(Prepare)} == {3}
