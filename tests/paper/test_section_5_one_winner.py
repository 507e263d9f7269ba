"""Section 5: of several that try once at one moment, exactly one gets a free name."""

from __future__ import annotations

import attrs
import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    CYRENE,
    NAME,
    TTL,
    HandReplica,
    HandSession,
    candidate,
    lease_of,
    member_record,
    occupant,
    replica_of,
    session_id,
    start_of,
)
from hand_cell import HandCell
from starts import serve

from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Accept,
    Commit,
    Message,
    Occupancy,
    Occupant,
    Prepare,
    RefusalReason,
    Refused,
    Release,
    Renew,
    StandingPrepare,
    Waiting,
)
from paxlock.core.session.events import Failed, Granted
from paxlock.errors import Reason

WHO = ["athens", "byblos", "cyrene", "delphi", "ephesus"]
TOKEN = 3


def holder(who: Candidate) -> Occupant:
    """Somebody who has said that its lease is valid."""
    return attrs.evolve(occupant(who, age=5.0), confirmed=True)


def try_at_once(cell: HandCell, first: list[tuple[str, str]]) -> None:
    """Everybody tries at one moment; the Prepares of ``first`` arrive before the others."""
    for who, session in cell.sessions.items():
        session.campaign(NAME, ttl=TTL, now=cell.now, wait=0.0, label=f"{who}'s")
    cell.collect()
    for who, node in first:
        cell.deliver(Prepare, who, node)
    cell.run(6.0)


def outcome(cell: HandCell) -> tuple[list[str], list[tuple[Reason, str | None]]]:
    winners = [who for who in cell.sessions if cell.told(who, Granted)]
    return winners, [(f.reason, f.holder) for who in cell.sessions for f in cell.told(who, Failed)]


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("split", ["abc", "bca", "cab"])
def test_of_several_that_try_at_one_moment_exactly_one_wins_and_the_others_know_who(
    count: int, split: str
) -> None:
    cell = HandCell("abc", WHO[:count])
    try_at_once(cell, list(zip(WHO[:count], split, strict=False)))
    winners, told = outcome(cell)
    assert len(winners) == 1
    assert told == [(Reason.HELD, f"{winners[0]}'s")] * (count - 1)


def test_one_that_tries_alone_has_the_name_after_one_round_trip() -> None:
    cell = HandCell("abc", ["athens"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, wait=0.0)
    cell.collect()
    cell.deliver(StandingPrepare, "athens", "a", "b")
    for node in "ab":
        for sender, to, message in [envelope for envelope in cell.mail if envelope[:2] == (node, "athens")]:
            cell.mail.remove((sender, to, message))
            cell.sessions["athens"].receive(message, node, cell.now)
    cell.collect()
    assert len(cell.told("athens", Granted)) == 1


@pytest.mark.parametrize(
    ("named", "known"),
    [
        ([holder(ATHENS), holder(ATHENS)], True),
        ([holder(ATHENS), occupant(ATHENS)], True),
        ([occupant(ATHENS), occupant(ATHENS)], False),
        ([holder(ATHENS), occupant(CYRENE)], False),
        ([holder(ATHENS), occupant(ATHENS, Occupancy.PROMISED)], False),
        ([occupant(ATHENS, Occupancy.PROMISED)] * 2, False),
        ([occupant(ATHENS, Occupancy.HEAD)] * 2, False),
    ],
)
def test_held_is_told_where_a_quorum_names_one_that_holds_by_its_own_word(
    named: list[Occupant], known: bool
) -> None:
    session = HandSession("byblos")
    ticket = session.campaign(now=0.0, wait=0.0)
    asked = session.sent_to_all(Prepare)
    for node, who in zip("ab", named, strict=True):
        session.refused(node, asked, RefusalReason.HELD, now=0.001, occupant=who)
    failed = session.told(Failed)
    assert failed == ([Failed(ticket, Reason.HELD, "athens", "")] if known else [])
    assert bool(session.sent(Release)) is known


def test_no_quorum_is_told_after_one_second_and_only_where_none_has_answered() -> None:
    session = HandSession("byblos")
    ticket = session.campaign(now=0.0, wait=0.0)
    asked = session.sent_to_all(Prepare)
    session.refused("a", asked, RefusalReason.HELD, now=0.001, occupant=holder(ATHENS))
    session.run_until(0.99)
    assert session.told(Failed) == []
    session.run_until(1.0)
    assert session.told(Failed) == [Failed(ticket, Reason.NO_QUORUM, None, "1 of 3 nodes answered, 2 needed")]


def test_where_nobody_is_known_to_hold_it_that_has_a_word_of_its_own() -> None:
    """Two dead candidates, say, that share the nodes between them."""
    cell = HandCell("abc", ["athens", "byblos", "cyrene"])
    for who, node in (("athens", "a"), ("byblos", "b")):
        cell.sessions[who].campaign(NAME, ttl=TTL, now=0.0)
        cell.collect()
        cell.deliver(StandingPrepare, who, node)
        cell.lose()
        cell.dies(who)
    cell.sessions["cyrene"].campaign(NAME, ttl=TTL, now=0.0, wait=0.0)
    cell.run(4.9)
    assert cell.told("cyrene", Failed) == []
    cell.run(0.2)
    (failed,) = cell.told("cyrene", Failed)
    assert (failed.reason, failed.holder) == (Reason.CONTENDED, None)
    assert "nobody is known to hold it" in failed.detail


def test_one_that_tries_stands_in_no_line_where_the_name_is_held() -> None:
    cell = HandCell("abc", ["athens", "byblos"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, label="the holder")
    cell.run(0.5)
    for _ in range(3):
        cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=0.0)
        cell.collect()
        cell.deliver(StandingPrepare, "byblos", *"abc")
        for node in "abc":
            assert cell.replicas[node]._acceptor.waiters(Waiting(1, NAME, 0), cell.now).total == 0
        cell.run(0.1)
        assert [f.holder for f in cell.told("byblos", Failed)] == ["the holder"]


def test_one_that_tries_does_not_come_before_those_who_stand_in_line() -> None:
    cell = HandCell("abc", ["athens", "byblos", "cyrene"])
    ticket = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(0.1)
    cell.sessions["cyrene"].campaign(NAME, ttl=TTL, now=cell.now, label="the waiter")
    cell.run(0.5)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=0.0)
    cell.sessions["athens"].release(ticket, cell.now)
    cell.run(0.5)
    assert len(cell.told("cyrene", Granted)) == 1
    assert [f.reason for f in cell.told("byblos", Failed)] == [Reason.HELD]


def test_a_vote_taken_in_vain_is_given_back_to_the_holder() -> None:
    """The node that the holder lacks is left to it (L3)."""
    cell = HandCell("abc", ["athens", "byblos"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, label="the holder")
    cell.run(0.5, lost=lambda sender, to, _: "c" in (sender, to))
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=0.0)
    cell.collect()
    cell.deliver(StandingPrepare, "byblos", "c")
    assert cell.shows("c")[2]
    cell.run(0.1)
    assert [(f.reason, f.holder) for f in cell.told("byblos", Failed)] == [(Reason.HELD, "the holder")]
    assert not cell.shows("c")[2]


# Who has said that it holds


def refusal(node: HandReplica, now: float = 1.0) -> Occupant:
    """What a node says of the occupant to one that tries."""
    asked = StandingPrepare(1, NAME, 1, BYBLOS, 0, 0, 0, "", 10_000, b"", 9)
    (answer,) = [m for m in node.receive(asked, BYBLOS.session, now) if isinstance(m, Refused)]
    assert answer.occupant is not None
    return answer.occupant


def holding_node() -> HandReplica:
    """A node that has taken the lease of Athens, and knows no more of it."""
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Accept(1, NAME, TOKEN, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    return node


@pytest.mark.parametrize(
    ("heard", "confirmed"),
    [
        (None, False),
        (Commit(NAME, TOKEN, lease_of(ATHENS, token=TOKEN)), True),
        (Commit(NAME, TOKEN, lease_of(ATHENS)), False),
        (Renew(2, ATHENS.session, 2, (ATHENS.attempt,)), True),
        (Accept(2, NAME, TOKEN, lease_of(ATHENS, token=TOKEN), 2, 0), True),
        (Accept(2, NAME, TOKEN + 1, lease_of(ATHENS), 2, 0), False),
    ],
)
def test_a_node_says_that_a_holder_is_valid_by_its_own_word_only(
    heard: Message | None, confirmed: bool
) -> None:
    """A Commit without the token comes from somebody who found out: its candidate may not know, and go."""
    node = holding_node()
    if heard is not None:
        node.receive(heard, ATHENS.session, 0.5)
    assert refusal(node).confirmed is confirmed


def test_a_holder_of_whom_no_word_has_come_is_asked_for_it() -> None:
    """All its Commits were lost. It would give its word by its first renewal, a third of the ttl later."""
    cell = HandCell("abc", ["athens", "byblos"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0, label="the holder")
    cell.run(0.1, lost=lambda _sender, _to, message: isinstance(message, Commit))
    assert cell.told("athens", Granted)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=0.0)
    cell.run(0.1)
    assert cell.told("byblos", Failed) == []
    cell.run(1.0)
    assert [(f.reason, f.holder) for f in cell.told("byblos", Failed)] == [(Reason.HELD, "the holder")]


def test_the_word_of_an_earlier_holder_is_not_that_of_this_one() -> None:
    node = holding_node()
    node.receive(Commit(NAME, TOKEN, lease_of(ATHENS, token=TOKEN)), ATHENS.session, 0.1)
    node.receive(Release(3, NAME, ATHENS, TOKEN), ATHENS.session, 0.2)
    node.receive(Accept(1, NAME, TOKEN + 1, lease_of(CYRENE), 1, 0), CYRENE.session, 0.3)
    named = refusal(node)
    assert (named.candidate, named.confirmed) == (CYRENE, False)


def test_what_a_holder_has_said_outlives_a_clean_stop() -> None:
    node = holding_node()
    node.receive(Commit(NAME, TOKEN, lease_of(ATHENS, token=TOKEN)), ATHENS.session, 0.1)
    snapshot = node.machine.stop(0.2)
    assert snapshot is not None
    again = serve(start_of("a", member_record("a", clean=True), snapshot))
    named = refusal(again)
    assert (named.candidate, named.confirmed) == (ATHENS, True)


# Several in one process


def test_l7_of_two_tries_of_one_process_one_wins_and_the_other_is_told_then() -> None:
    session = HandSession()
    first = session.campaign(now=0.0, wait=0.0)
    second = session.campaign(now=0.0, wait=0.0)
    asked = session.sent(Prepare)[0][1]
    assert session.told(Failed) == []  # nobody holds it yet
    for node in "ab":
        session.took(node, asked, 1, now=0.001)
    assert [g.ticket for g in session.told(Granted)] == [first]
    assert session.told(Failed) == [Failed(second, Reason.HELD, "", "")]
    third = session.campaign(now=0.002, wait=0.0)
    assert session.told(Failed) == [Failed(third, Reason.HELD, "", "")]


def test_l7_tries_of_one_process_are_told_together_who_holds_the_name() -> None:
    session = HandSession("byblos")
    tickets = [session.campaign(now=0.0, wait=0.0) for _ in range(3)]
    asked = session.sent(Prepare)[0][1]
    for node in "ab":
        session.refused(node, asked, RefusalReason.HELD, now=0.001, occupant=holder(ATHENS))
    assert session.told(Failed) == [Failed(ticket, Reason.HELD, "athens", "") for ticket in tickets]
    assert {m.candidate.attempt for _, m in session.sent(Release)} == {1}


def test_l7_a_try_that_loses_its_place_to_nobody_makes_an_attempt_of_its_own() -> None:
    session = HandSession()
    first = session.campaign(now=0.0)
    second = session.campaign(now=0.1, wait=0.0)
    session.sent(Prepare)
    session.release(first, 0.2)
    asked = session.sent_to_all(Prepare)
    for node in "ab":
        session.took(node, asked, 1, now=0.201)
    assert [g.ticket for g in session.told(Granted)] == [second]


def test_l7_a_try_behind_a_waiter_of_the_same_process_asks_at_once_who_holds_the_name() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    for node in "ab":
        session.refused(node, asked, RefusalReason.HELD, now=0.001, occupant=holder(ATHENS))
    ticket = session.campaign(now=0.01, wait=0.0)
    assert session.told(Failed) == []  # what was heard before it tried may be history
    session.run_until(0.01)
    assert session.sent(Prepare)
    session.refused("a", asked, RefusalReason.HELD, now=0.02, occupant=holder(ATHENS))
    assert session.told(Failed) == []
    session.refused("b", asked, RefusalReason.HELD, now=0.02, occupant=holder(ATHENS))
    assert session.told(Failed) == [Failed(ticket, Reason.HELD, "athens", "")]
    assert session.sent(Release) == []  # the waiter goes on


def test_l7_an_own_attempt_that_leaves_holds_nothing() -> None:
    """Its Release is on its way: the name is free in a moment."""
    session = HandSession()
    granted = session.to_grant(now=0.0)
    session.release(granted.ticket, 0.5)
    session.campaign(now=0.5, wait=0.0)
    asked = session.sent_to_all(StandingPrepare)
    for node in "ab":
        session.refused(node, asked, RefusalReason.HELD, now=0.501, occupant=holder(granted.candidate))
    assert session.told(Failed) == []


# Votes split among such (L2)


def split_with(session: HandSession, *, ages: tuple[float, float] = (0.0, 0.0)) -> None:
    """Node a is with this one, b and c with others of these ages. A round trip takes a millisecond."""
    for node in "abc":
        session.machine._pacing.round_trips.measured(node, 0.001)
    session.campaign(now=0.0, wait=0.0)
    asked = session.sent_to_all(StandingPrepare)
    session.took("a", asked, 1, now=0.001)
    for node, who, age in zip("bc", (ATHENS, CYRENE), ages, strict=True):
        session.refused(node, asked, RefusalReason.HELD, now=0.001, occupant=occupant(who, age=age))


def test_l2_one_that_tries_gives_way_to_a_smaller_candidate_at_the_first_look() -> None:
    session = HandSession("byblos")
    split_with(session)
    assert {m.candidate for _, m in session.sent(Release)} == {BYBLOS}
    session.run_until(0.2)
    assert session.sent(Prepare)[0][1].candidate == candidate("byblos", 2)


def test_l2_one_that_tries_gives_way_to_a_smaller_candidate_whatever_its_age() -> None:
    """That may have had farther to go: what it hears of ages comes late, and so does what is heard of its."""
    session = HandSession("byblos")
    for node in "abc":
        session.machine._pacing.round_trips.measured(node, 0.001)
    session.campaign(now=0.0, wait=0.0)
    session.run_until(0.4)
    asked = session.sent(StandingPrepare)[0][1]
    session.took("a", asked, 1, now=0.4)
    for node, who in (("b", ATHENS), ("c", CYRENE)):
        session.refused(node, asked, RefusalReason.HELD, now=0.4, occupant=occupant(who))
    assert {m.candidate for _, m in session.sent(Release)} == {BYBLOS}


def test_l2_the_smallest_of_those_that_try_stays_and_stands_in_line_at_once() -> None:
    session = HandSession("agora")
    split_with(session)
    session.run_until(0.001)
    assert session.sent(Release) == []
    again = session.sent(StandingPrepare)
    assert [node for node, _ in again] == ["a", "b", "c"]
    assert again[0][1].refresh_ms > 0


def test_l2_one_that_tries_gives_way_to_an_older_candidate() -> None:
    session = HandSession("agora")
    split_with(session, ages=(9.0, 0.0))
    assert {m.candidate.session for _, m in session.sent(Release)} == {session_id("agora")}


def test_l2_one_that_tries_gives_way_to_anybody_in_the_end() -> None:
    """The other does not see that it should: it may be dead, or hear of ages later than this one."""
    session = HandSession("agora")
    split_with(session)
    session.run_until(6 * 0.01 - 0.001)  # windows: a round trip is short
    assert session.sent(Release) == []
    session.run_until(1.0)
    assert {m.candidate.session for _, m in session.sent(Release)} == {session_id("agora")}


def test_one_that_tries_without_a_vote_keeps_out_of_the_way() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0, wait=0.0)
    asked = session.sent_to_all(StandingPrepare)
    for node, who in zip("abc", (ATHENS, CYRENE, ATHENS), strict=True):
        session.refused(node, asked, RefusalReason.HELD, now=0.001, occupant=occupant(who))
    session.run_until(1.0)
    assert {m.refresh_ms for _, m in session.sent(Prepare)} == {0}
