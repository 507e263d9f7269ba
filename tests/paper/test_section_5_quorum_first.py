"""protocol.md section 5: a quorum is asked first, rule by rule."""

from __future__ import annotations

from collections import Counter

import attrs
import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    GRACE,
    NAME,
    TTL,
    HandSession,
    SteadyTrips,
    candidate,
    handle_of,
    lease_of,
    occupant,
)
from hand_cell import HandCell

from paxlock.core.messages import (
    Accept,
    Commit,
    Hello,
    Message,
    Poll,
    Prepare,
    Promise,
    Recovering,
    RefusalReason,
    Release,
    Released,
    Renew,
    StandingPrepare,
    View,
)
from paxlock.core.round_trips import RoundTrip
from paxlock.core.session.events import (
    Answered,
    Changed,
    DataPublished,
    Ended,
    Failed,
    Granted,
    HandleOutcome,
    LetGoAsked,
    Lost,
)
from paxlock.core.session.judgement import State
from paxlock.core.session.tenures import LOOKS_AT_SPARED
from paxlock.core.session.thrift import (
    AMONG,
    FARTHER,
    HEDGED_MAX,
    LEARNING_SHARE,
    LEARNT,
    NEAR_S,
    RELIED_ON_S,
    REST_FIRST_S,
    WANTED_FOR_S,
    WANTED_MAX,
)

TRIP = GRACE / 4
HEDGE = 1.4 * TRIP  #: by when the first repetition has left
LOOK = HEDGE  #: by when the holder has looked which nodes lack its lease


def to(session: HandSession, kind: type[Message]) -> list[str]:
    """To whom messages of this kind were sent since the last look."""
    return [node for node, _ in session.sent(kind)]


def asked(session: HandSession, nodes: str, *, now: float = 0.0) -> StandingPrepare:
    """Campaign: the one standing Prepare that went to exactly these nodes."""
    session.campaign(now=now)
    found = session.sent(StandingPrepare)
    assert "".join(node for node, _ in found) == nodes
    return found[0][1]


def granted(session: HandSession, *, now: float = 0.0) -> Granted:
    """Campaign, and have the quorum take it."""
    message = asked(session, "ab", now=now)
    for node in "ab":
        session.took(node, message, 1, now=now)
    (grant,) = session.told(Granted)
    return grant


# Who is asked


def test_a_new_campaign_asks_a_quorum() -> None:
    session = HandSession(thrifty=True)
    granted(session)
    assert to(session, Commit) == ["a", "b"]
    assert session.machine.counters["thrifty"] == 1
    assert session.machine.counters["hedged"] == 0


def test_where_it_is_not_switched_on_all_nodes_are_asked() -> None:
    asked(HandSession(), "abc")


@pytest.mark.parametrize(("nodes", "quorum"), [("abcde", "abe"), ("cab", "ab"), ("abcdefg", "cdef")])
def test_everybody_asks_the_same_quorum(nodes: str, quorum: str) -> None:
    """By the name and the sorted ids, whatever session asks, in whatever order it knows the nodes."""
    for who in ("athens", "byblos"):
        session = HandSession(who, nodes, thrifty=True)
        session.campaign(now=0.0)
        assert set(to(session, StandingPrepare)) == set(quorum)


def test_names_do_not_all_have_the_same_quorum() -> None:
    """Also where their numbers differ by as many as there are nodes."""
    thrift = HandSession(thrifty=True).machine._shared.thrift
    quorums = Counter(thrift.quorum_of(f"shard-{number}") for number in range(0, 300, 3))
    assert len(quorums) == 3
    assert min(quorums.values()) >= 30


# When the rest is asked


def test_the_rest_is_asked_with_the_first_repetition() -> None:
    session = HandSession(thrifty=True)
    first = asked(session, "ab")
    session.took("a", first, 1, now=TRIP)
    assert to(session, StandingPrepare) == []
    session.run_until(HEDGE)
    (again, *_) = found = session.sent(StandingPrepare)
    assert [node for node, _ in found] == ["a", "b", "c"]
    assert session.machine.counters["hedged"] == 1
    session.took("c", again[1], 1, now=HEDGE + TRIP)
    assert session.told(Granted)
    assert to(session, Commit) == ["a", "b", "c"]


def test_a_spared_node_that_serves_again_is_no_reason_to_ask_the_rest() -> None:
    session = HandSession(thrifty=True)
    session.receive("c", Recovering(1, 100), 0.0)
    asked(session, "ab", now=0.1)
    session.run_until(0.103)
    assert to(session, StandingPrepare) == []
    assert session.machine.counters["hedged"] == 0


def test_a_far_node_beyond_the_quorum_is_no_reason_to_wait_for_longer() -> None:
    session = HandSession(thrifty=True)
    trips = session.machine._pacing.round_trips
    assert isinstance(trips, SteadyTrips)
    trips._measured["c"] = RoundTrip(1.0, 0.0, answers=2)
    asked(session, "ab")
    session.run_until(HEDGE)
    assert to(session, StandingPrepare) == ["a", "b", "c"]


def test_the_rest_is_asked_at_once_where_the_quorum_is_divided() -> None:
    session = HandSession(thrifty=True)
    first = asked(session, "ab")
    session.took("a", first, 1, now=TRIP)
    session.refused("b", first, RefusalReason.HELD, now=TRIP, occupant=occupant(BYBLOS))
    ((node, message),) = session.sent(StandingPrepare)
    assert (node, message.request, message.at_least) == ("c", first.request, first.at_least)
    session.took("c", message, 1, now=2 * TRIP)
    assert session.told(Granted)
    assert session.machine.counters["hedged"] == 0


def test_in_whatever_order_it_is_divided() -> None:
    session = HandSession(thrifty=True)
    first = asked(session, "ab")
    session.refused("b", first, RefusalReason.HELD, now=TRIP, occupant=occupant(BYBLOS))
    assert to(session, StandingPrepare) == []
    session.promised("a", first, 1, now=TRIP)
    assert to(session, StandingPrepare) == ["c"]


def test_a_node_that_a_holder_may_lack_is_not_sent_the_lease() -> None:
    """L3: one of the quorum has it from the holder itself that it holds."""
    session = HandSession(thrifty=True)
    first = asked(session, "ab")
    session.took("a", first, 1, now=TRIP)
    holder = attrs.evolve(occupant(BYBLOS), confirmed=True)
    session.refused("b", first, RefusalReason.HELD, now=TRIP, occupant=holder)
    ((node, message),) = session.sent(Prepare)
    assert node == "c"
    assert not isinstance(message, StandingPrepare)
    assert message.refresh_ms == 0


def test_a_whole_quorum_that_refuses_is_a_no() -> None:
    session = HandSession(thrifty=True)
    first = asked(session, "ab")
    for node in "ab":
        session.refused(node, first, RefusalReason.HELD, now=TRIP, occupant=occupant(BYBLOS))
    assert to(session, Prepare) == []
    session.run_until(0.2)  # its next refresh
    assert {"a", "b", "c"} <= set(to(session, Prepare))
    assert session.machine.counters["hedged"] == 0


def test_of_five_nodes_three_are_asked_and_two_in_need() -> None:
    session = HandSession(nodes="abcde", thrifty=True)
    first = asked(session, "abe")
    session.took("a", first, 1, now=TRIP)
    session.took("b", first, 1, now=TRIP)
    session.refused("e", first, RefusalReason.HELD, now=TRIP, occupant=occupant(BYBLOS))
    assert sorted(to(session, StandingPrepare)) == ["c", "d"]


def test_phase_2_goes_to_all_nodes() -> None:
    session = HandSession(thrifty=True)
    first = asked(session, "ab")
    session.took("a", first, 1, now=TRIP)
    session.took("b", first, 4, now=TRIP)
    found = session.sent(Accept)
    assert [(node, message.term) for node, message in found] == [("a", 4), ("c", 4)]


# A holder brings in the rest


def test_a_holder_looks_soon_which_nodes_lack_its_lease() -> None:
    session = HandSession(thrifty=True)
    grant = granted(session)
    session.sent(Commit)
    session.run_until(LOOK)
    ((node, accept),) = session.sent(Accept)
    assert (node, accept.term, accept.lease.token) == ("c", grant.term, grant.term)
    ((node, commit),) = session.sent(Commit)
    assert (node, commit.lease) == ("c", accept.lease)


def test_it_looks_again_and_again_after_twice_the_time() -> None:
    """Whether the node keeps silent or says no."""
    session = HandSession(thrifty=True)
    granted(session)
    times: list[float] = []
    now = 0.0
    while len(times) < 3 and now < 1.0:
        now = session.machine.deadline()
        session.run_until(now)
        for node, accept in session.sent(Accept):
            assert node == "c"
            times.append(now)
            if len(times) == 1:
                session.refused("c", accept, RefusalReason.HELD, now=now, occupant=occupant(BYBLOS))
    first, second, third = times
    assert first <= LOOK
    assert 1.5 * LOOK <= second - first <= 2 * LOOK
    assert 3 * LOOK <= third - second <= 4 * LOOK
    session.accepted("c", accept, now=third + TRIP)
    session.run_until(TTL / 4)
    assert to(session, Accept) == []


def test_it_does_not_look_for_ever() -> None:
    session = HandSession(thrifty=True)
    granted(session)
    session.run_until(TTL / 4)
    assert to(session, Accept) == ["c"] * LOOKS_AT_SPARED


def test_a_renewal_brings_in_the_rest() -> None:
    session = HandSession(thrifty=True)
    granted(session)
    session.run_until(TTL / 4)
    session.sent(Accept)  # lost
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    assert sorted(renewals) == ["a", "b", "c"]
    session.renewed("c", renewals["c"], [], now=TTL / 3 + TRIP, not_held=[1])
    assert to(session, Accept) == ["c"]


# Release reaches everybody who was sent anything (S2, L1)


def test_release_goes_to_those_who_were_asked() -> None:
    session = HandSession(thrifty=True)
    grant = granted(session)
    session.release(grant.ticket, TRIP)
    assert to(session, Release) == ["a", "b"]
    session.receive("a", Released(1, NAME, ATHENS, 0), 2 * TRIP)
    assert session.told(Ended) == [Ended(grant.ticket, heard=True)]
    session.run_until(1.0)  # the other one has not heard it yet
    assert set(to(session, Release)) == {"b"}


def test_of_five_nodes_two_more_must_not_hold_it() -> None:
    """Heard once a quorum is free for others: the two that were spared, and one that has answered."""
    session = HandSession(nodes="abcde", thrifty=True)
    first = asked(session, "abe")
    for node in "abe":
        session.took(node, first, 1, now=0.0)
    (grant,) = session.told(Granted)
    session.release(grant.ticket, TRIP)
    assert to(session, Release) == ["a", "b", "e"]
    assert session.told(Ended) == []
    session.receive("b", Released(1, NAME, ATHENS, 0), 2 * TRIP)
    assert session.told(Ended) == [Ended(grant.ticket, heard=True)]


def test_release_goes_to_a_node_that_was_hedged_and_never_answered() -> None:
    session = HandSession(thrifty=True)
    first = asked(session, "ab")
    session.run_until(HEDGE)
    for node in "ab":
        session.took(node, first, 1, now=HEDGE)
    (grant,) = session.told(Granted)
    session.release(grant.ticket, HEDGE)
    assert to(session, Release) == ["a", "b", "c"]


def test_release_goes_to_a_node_that_was_asked_because_the_quorum_was_divided() -> None:
    session = HandSession(thrifty=True)
    ticket = session.campaign(now=0.0)
    ((_, first), _) = session.sent(StandingPrepare)
    session.took("a", first, 1, now=TRIP)
    session.refused("b", first, RefusalReason.HELD, now=TRIP, occupant=occupant(BYBLOS))
    session.release(ticket, TRIP)
    assert to(session, Release) == ["a", "b", "c"]


def test_release_goes_to_a_node_that_was_repaired() -> None:
    session = HandSession(thrifty=True)
    grant = granted(session)
    session.run_until(LOOK)
    session.release(grant.ticket, LOOK)
    assert to(session, Release) == ["a", "b", "c"]


def test_a_later_candidate_of_the_campaign_asks_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """L7: its Release is to reach every node that an earlier one of the campaign has reached. That it was
    refused there must not be the reason.
    """
    monkeypatch.setattr("paxlock.core.session.thrift.WANTED_FOR_S", 0.0)
    session = HandSession("byblos", thrifty=True)
    first = asked(session, "ab")
    session.took("a", first, 1, now=TRIP)
    session.refused("b", first, RefusalReason.HELD, now=TRIP, occupant=occupant(ATHENS, age=9.0))
    session.sent(StandingPrepare)
    session.refused("c", first, RefusalReason.HELD, now=TRIP, occupant=occupant(candidate("cyrene"), age=8.0))
    now = TRIP
    while not (released := to(session, Release)):
        now += TRIP
        session.run_until(now)
        for node, who in (("b", ATHENS), ("c", candidate("cyrene"))):
            session.refused(node, first, RefusalReason.HELD, now=now, occupant=occupant(who, age=9.0))
    assert released == ["a", "b", "c"]
    session.sent(Prepare)
    for node in "abc":
        session.receive(node, Released(1, NAME, BYBLOS, 0), now)
    while not (found := session.sent(Prepare)):
        session.run_until(session.machine.deadline())
    assert [(node, message.candidate.attempt) for node, message in found] == [(node, 2) for node in "abc"]


def test_while_a_release_is_owed_elsewhere_all_are_asked() -> None:
    """L7: the next attempt at the name has a Release that reaches the same nodes."""
    session = HandSession(thrifty=True)
    grant = granted(session)
    session.run_until(LOOK)
    session.release(grant.ticket, LOOK)
    for node in "ab":
        session.receive(node, Released(1, NAME, ATHENS, 0), LOOK)
    session.forget_sent()
    asked(session, "abc", now=LOOK)


def test_where_none_is_owed_elsewhere_a_quorum_is_asked_again() -> None:
    session = HandSession(thrifty=True)
    grant = granted(session)
    session.release(grant.ticket, TRIP)
    session.receive("a", Released(1, NAME, ATHENS, 0), 2 * TRIP)
    session.forget_sent()
    asked(session, "ab", now=2 * TRIP)


# When all are asked from the start


def test_a_try_asks_all() -> None:
    session = HandSession(thrifty=True)
    session.campaign(now=0.0, wait=0.0)
    assert to(session, StandingPrepare) == ["a", "b", "c"]


def test_what_is_to_outlast_the_work_is_asked_of_all() -> None:
    session = HandSession(thrifty=True)
    session.machine.campaign(NAME, ttl=TTL, now=0.0, at_least=5.0)
    assert to(session, StandingPrepare) == ["a", "b", "c"]


def test_while_a_node_of_the_quorum_sits_out_all_are_asked() -> None:
    session = HandSession(thrifty=True)
    session.receive("a", Recovering(1, 5000), 0.0)
    asked(session, "abc")


def test_that_a_node_sits_out_is_an_answer() -> None:
    """The rest is asked at once, and the node has not kept anybody waiting."""
    session = HandSession(thrifty=True)
    first = asked(session, "ab")
    session.took("a", first, 1, now=TRIP / 2)
    session.receive("b", Recovering(1, 5), TRIP / 2)
    ((node, message),) = session.sent(StandingPrepare)
    assert node == "c"
    session.took("c", message, 1, now=TRIP)
    assert session.told(Granted)
    assert session.machine.counters["hedged"] == 0


def test_who_sits_out_is_not_noted_as_silent() -> None:
    session = HandSession(thrifty=True)
    asked(session, "ab")
    session.receive("b", Recovering(1, 5000), TRIP / 2)
    session.run_until(HEDGE)
    assert set(session.machine._shared.thrift._silent) == {"a"}


def test_a_node_beyond_the_quorum_may_sit_out() -> None:
    session = HandSession(thrifty=True)
    session.receive("c", Recovering(1, 5000), 0.0)
    asked(session, "ab")


def test_a_node_that_was_not_heard_for_long_is_not_relied_on() -> None:
    session = HandSession(thrifty=True)
    now = RELIED_ON_S + TRIP
    session.machine._pacing.heard["a"] = now
    asked(session, "abc", now=now)
    session.machine._pacing.heard["b"] = now
    session.campaign(now=now, name="agathon")  # the same quorum
    assert to(session, StandingPrepare) == ["a", "b"]


def test_a_node_that_keeps_silent_costs_one_hedge() -> None:
    """It is relied on again once it was heard."""
    session = HandSession(thrifty=True)
    first = asked(session, "ab")
    session.took("a", first, 1, now=TRIP)
    session.run_until(HEDGE)
    ((_, again), *_) = session.sent(StandingPrepare)
    session.took("c", again, 1, now=HEDGE + TRIP)
    (grant,) = session.told(Granted)
    session.release(grant.ticket, HEDGE + TRIP)
    for node in "ac":
        session.receive(node, Released(1, NAME, ATHENS, 0), HEDGE + TRIP)
    session.campaign(now=2 * HEDGE, name="agathon")
    assert to(session, StandingPrepare) == ["a", "b", "c"]
    session.receive("b", Released(1, NAME, ATHENS, 0), 2 * HEDGE)
    session.campaign(now=2 * HEDGE, name="agenor")
    assert to(session, StandingPrepare) == ["a", "b"]


def test_until_all_of_the_quorum_were_measured_all_nodes_are_asked() -> None:
    session = HandSession(thrifty=True)
    del session.machine._pacing.round_trips._measured["b"]
    asked(session, "abc")


def test_a_node_that_is_far_is_not_waited_for() -> None:
    session = HandSession(thrifty=True)
    session.machine._pacing.round_trips._measured["b"].shortest = NEAR_S * 1.01
    asked(session, "abc")


def acquired(session: HandSession, number: int, takes: dict[str, float]) -> int:
    """Acquire a name of its own, which ``takes`` so long where so many nodes are asked; how many were."""
    name, now = f"name {number}", float(number)
    session.machine._pacing.heard.update(dict.fromkeys("abc", now))
    ticket = session.campaign(now=now, name=name)
    sent = session.sent(StandingPrepare)
    for node, message in sent[:2]:
        session.took(node, message, 1, now=now + takes["all" if len(sent) == 3 else "few"])
    session.release(ticket, now + TRIP)
    for node, message in sent:
        session.receive(node, Released(1, name, message.candidate, 0), now + TRIP)
    session.forget_sent()
    return len(sent)


@pytest.mark.parametrize(("few", "share"), [(1.0, 15 / 16), (0.8, 15 / 16), (1.2, 1 / 64)])
def test_where_it_takes_longer_all_are_asked(few: float, share: float) -> None:
    """Measured all the while: every so often the other way is tried."""
    session = HandSession(thrifty=True)
    thrift = session.machine._shared.thrift
    thrift._all, thrift._few = type(thrift._all)(), type(thrift._few)()
    takes = {"all": 0.5 * TRIP, "few": 0.5 * TRIP * few}
    asked_of = [acquired(session, number, takes) for number in range(256)]
    assert asked_of[: 2 * LEARNING_SHARE] == 2 * ([3] * (LEARNING_SHARE - 1) + [2])
    late = asked_of[-128:]
    assert late.count(2) == share * 128


def test_time_in_line_is_not_what_it_takes() -> None:
    session = HandSession(thrifty=True)
    thrift = session.machine._shared.thrift
    first = asked(session, "ab")
    for node in "ab":
        session.refused(node, first, RefusalReason.HELD, now=TRIP, occupant=occupant(BYBLOS))
    for node in "ab":
        session.took(node, first, 2, now=2 * TRIP)  # pushed, before the first refresh
    assert session.told(Granted)
    assert (thrift._few.count, thrift._all.count) == (LEARNT, LEARNT)


def test_a_quorum_that_is_slower_than_another_is_not_asked_first() -> None:
    """Whatever the medians of all names say."""
    session = HandSession(thrifty=True)
    trips = session.machine._pacing.round_trips
    assert isinstance(trips, SteadyTrips)
    trips._measured["b"].smoothed = FARTHER * 1.01 * TRIP
    trips._summary = None
    asked(session, "abc")
    session.campaign(now=0.0, name="aiora")
    assert to(session, StandingPrepare) == ["a", "c"]


def test_who_was_refused_asks_all_there_for_a_while() -> None:
    session = HandSession(thrifty=True)
    first = asked(session, "ab")
    session.refused("a", first, RefusalReason.HELD, now=TRIP / 2, occupant=occupant(BYBLOS))
    for node in "ab":
        session.took(node, first, 2, now=TRIP)
    (grant,) = session.told(Granted)
    session.release(grant.ticket, TRIP)
    for node in "ab":
        session.receive(node, Released(1, NAME, ATHENS, 0), TRIP)
    session.forget_sent()
    session.campaign(now=TRIP, name="agathon")
    assert to(session, StandingPrepare) == ["a", "b"]
    asked(session, "abc", now=TRIP)


def test_but_not_for_ever() -> None:
    session = HandSession(thrifty=True)
    choice = session.machine._shared.thrift
    choice.refused(NAME, 0.0)
    session.machine._pacing.heard.update(dict.fromkeys("abc", WANTED_FOR_S))
    asked(session, "ab", now=WANTED_FOR_S)


def test_of_very_many_names_only_some_are_known_to_be_wanted() -> None:
    choice = HandSession(thrifty=True).machine._shared.thrift
    for number in range(WANTED_MAX + 1):
        choice.refused(f"name {number}", 0.0)
    assert len(choice._wanted) == WANTED_MAX
    assert f"name {WANTED_MAX}" in choice._wanted


def hedge(session: HandSession, at: float) -> None:
    """One attempt that has to be hedged, at a name of its own."""
    number = session.machine._campaigns.candidates._last_attempt + 1
    ticket = session.campaign(now=at, name=f"hedged {at}")
    asked_of = to(session, StandingPrepare)
    assert len(asked_of) == 2
    session.run_until(at + HEDGE)
    session.release(ticket, at + HEDGE)
    for node in "abc":
        session.receive(node, Released(1, f"hedged {at}", candidate("athens", number), 0), at + 2 * HEDGE)
    session.forget_sent()


def test_where_too_many_are_hedged_all_are_asked_for_a_while() -> None:
    session = HandSession(thrifty=True)
    for number in range(HEDGED_MAX + 1):
        hedge(session, float(number))
    now = HEDGED_MAX + 1.0
    asked(session, "abc", now=now)
    now += REST_FIRST_S
    session.machine._pacing.heard.update(dict.fromkeys("abc", now))
    hedge(session, now)


def test_a_few_hedges_among_many_attempts_are_borne() -> None:
    session = HandSession(thrifty=True)
    for number in range(HEDGED_MAX + 3):
        hedge(session, float(number))
        session.machine._shared.thrift._asked += AMONG
    assert session.machine.counters["hedged"] == HEDGED_MAX + 3


def test_what_many_suffer_at_one_moment_counts_once() -> None:
    session = HandSession(thrifty=True)
    for number in range(5):
        session.campaign(now=0.0, name=f"name {3 * number}")
    assert len(to(session, StandingPrepare)) == 10
    session.run_until(HEDGE)
    assert session.machine.counters["hedged"] == 5
    session.machine._pacing.heard.update(dict.fromkeys("abc", 2 * HEDGE))
    session.forget_sent()
    asked(session, "ab", now=2 * HEDGE)


# Where only two of three hold the lease


def lone_pair(cell: HandCell) -> Granted:
    """athens holds, and c was never told."""
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.01)
    (grant,) = cell.told("athens", Granted)
    assert [cell.shows(node)[2] for node in "abc"] == [True, True, False]
    return grant


def test_a_poll_that_hears_one_holder_and_one_that_knows_nothing_asks_on() -> None:
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0)
    poll = session.sent_to_all(Poll)
    held = lease_of(ATHENS, token=1)
    session.receive("c", View(poll.request, NAME, 0, None, 0, False, False, False, 0), TRIP)
    session.receive("a", View(poll.request, NAME, 1, held, 1, True, True, False, 9000), TRIP)
    assert session.told(Answered) == []
    session.receive("b", View(poll.request, NAME, 1, held, 1, True, True, False, 8000), TRIP)
    (answer,) = session.told(Answered)
    assert (answer.judgement.state, answer.judgement.term, answer.judgement.remaining) == (State.LED, 1, 8.0)


def test_a_poll_that_one_holder_alone_answers_for_sure_waits_for_the_time_that_is_left() -> None:
    """A node that knows the Commit and holds nothing (its Accept was lost) decides that it is led, but not
    for how long.
    """
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0)
    poll = session.sent_to_all(Poll)
    held = lease_of(ATHENS, token=1)
    session.receive("c", View(poll.request, NAME, 1, held, 1, False, True, False, 0), TRIP)
    session.receive("a", View(poll.request, NAME, 1, held, 1, True, True, False, 9000), TRIP)
    assert session.told(Answered) == []
    session.receive("b", View(poll.request, NAME, 1, held, 1, True, True, False, 8000), TRIP)
    (answer,) = session.told(Answered)
    assert answer.judgement.remaining == 8.0


def test_but_no_longer_than_until_it_has_asked_once_more() -> None:
    session = HandSession("delphi")
    session.machine.poll(NAME, 0.0)
    poll = session.sent_to_all(Poll)
    held = lease_of(ATHENS, token=1)
    session.receive("c", View(poll.request, NAME, 1, held, 1, False, True, False, 0), TRIP)
    session.receive("a", View(poll.request, NAME, 1, held, 1, True, True, False, 9000), TRIP)
    session.run_until(HEDGE)
    again = session.sent_to_all(Poll)
    session.receive("a", View(again.request, NAME, 1, held, 1, True, True, False, 9000), HEDGE + TRIP)
    (answer,) = session.told(Answered)
    assert answer.judgement.state is State.LED


def test_a_poll_right_after_the_grant_is_right() -> None:
    cell = HandCell("abc", ["athens", "delphi"], thrifty=["athens"])
    grant = lone_pair(cell)
    cell.sessions["delphi"].poll(NAME, cell.now)
    cell.run(0.02)
    (answer,) = cell.told("delphi", Answered)
    assert (answer.judgement.state, answer.judgement.term) == (State.LED, grant.term)
    assert answer.judgement.remaining > TTL / 2


def test_a_poll_without_one_holder_is_right_once_the_rest_has_the_lease() -> None:
    cell = HandCell("abc", ["athens", "delphi"], thrifty=["athens"])
    grant = lone_pair(cell)
    cell.sessions["delphi"].poll(NAME, cell.now)
    cell.run(0.5, lost=lambda sender, to, _: "delphi" in (sender, to) and "b" in (sender, to))
    (answer,) = cell.told("delphi", Answered)
    assert (answer.judgement.state, answer.judgement.term) == (State.LED, grant.term)


def test_a_try_before_the_holder_has_looked_keeps_nobody_from_the_lease_for_long() -> None:
    """The node that was spared takes the lease of the one that tries, and gets it back."""
    cell = HandCell("abc", ["athens", "byblos"], thrifty=["athens"])
    lone_pair(cell)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=0.0)
    cell.run(0.001)
    assert cell.told("byblos", Failed)
    cell.run(2 * LOOK)
    assert [cell.shows(node)[2] for node in "abc"] == [True, True, True]
    assert cell.told("athens", Lost) == []


@pytest.mark.parametrize("thrifty", [["athens"], ["athens", "byblos"], ["byblos"]])
@pytest.mark.parametrize("before_the_look", [True, False])
def test_in_a_mixed_cell_one_waits_for_the_other(thrifty: list[str], before_the_look: bool) -> None:
    cell = HandCell("abc", ["athens", "byblos"], thrifty=thrifty)
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.001 if before_the_look else 4 * LOOK)
    (grant,) = cell.told("athens", Granted)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(1.0)
    assert cell.told("byblos", Granted) == []
    assert [cell.shows(node)[2] for node in "abc"] == [True, True, True]
    cell.sessions["athens"].release(grant.ticket, cell.now)
    cell.run(0.05)
    (next_one,) = cell.told("byblos", Granted)
    assert next_one.term > grant.term


def test_a_watch_at_the_spared_node_and_one_holder_sees_the_grant() -> None:
    cell = HandCell("abc", ["athens", "delphi"], thrifty=["athens"])
    cell.sessions["delphi"].watch(NAME, prefix=False, now=0.0)

    def cut(sender: str, receiver: str, _: Message) -> bool:
        return "delphi" in (sender, receiver) and "b" in (sender, receiver)

    cell.run(1.5, lost=cut)
    cell.sessions["athens"]._pacing.heard.update(dict.fromkeys("abc", cell.now))
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.2, lost=cut)
    (grant,) = cell.told("athens", Granted)
    shown = [(change.state, change.term) for change in cell.told("delphi", Changed)]
    assert shown[-1] == (State.LED, grant.term)


def test_it_can_be_ended_by_force() -> None:
    cell = HandCell("abc", ["athens", "delphi"], thrifty=["athens"])
    grant = lone_pair(cell)
    cell.sessions["delphi"].revoke(NAME, grant.candidate, grant.term, cell.now, force=True)
    cell.run(0.2)
    (outcome,) = cell.told("delphi", HandleOutcome)
    assert outcome.done
    assert cell.told("athens", LetGoAsked)
    cell.run(2 * TTL)
    assert [lost.ticket for lost in cell.told("athens", Lost)] == [grant.ticket]
    assert not any(cell.shows(node)[2] for node in "abc")


def test_it_is_ended_by_force_where_one_of_its_two_nodes_does_not_hear_of_it() -> None:
    """The node that was spared will take it from nobody any more: so no quorum renews it."""
    cell = HandCell("abc", ["athens", "delphi"], thrifty=["athens"])
    grant = lone_pair(cell)
    cell.sessions["delphi"].revoke(NAME, grant.candidate, grant.term, cell.now, force=True)
    cell.run(2 * TTL, lost=lambda sender, to, _: "delphi" in (sender, to) and "b" in (sender, to))
    (outcome,) = cell.told("delphi", HandleOutcome)
    assert outcome.done
    assert cell.told("athens", Lost)


def test_it_is_handed_over_to_one_in_line() -> None:
    cell = HandCell("abc", ["athens", "byblos", "delphi"], thrifty=["athens"])
    grant = lone_pair(cell)
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.02)
    cell.sessions["delphi"].revoke(
        NAME, grant.candidate, grant.term, cell.now, force=False, successor=candidate("byblos")
    )
    cell.run(0.02)
    assert cell.told("athens", LetGoAsked)
    cell.sessions["athens"].release(grant.ticket, cell.now)
    cell.run(0.05)
    (next_one,) = cell.told("byblos", Granted)
    assert next_one.term > grant.term


def test_its_data_are_published() -> None:
    cell = HandCell("abc", ["athens", "delphi"], thrifty=["athens"])
    grant = lone_pair(cell)
    ticket = cell.sessions["athens"].publish(grant.ticket, b"other", cell.now)
    cell.run(0.01)
    assert cell.told("athens", DataPublished) == [DataPublished(ticket or 0, done=True)]
    cell.run(0.2)
    held = cell.replicas["c"]._acceptor.records[NAME].lease
    assert held is not None
    assert held.data == b"other"


def test_what_is_released_is_free_for_one_that_asks_other_nodes() -> None:
    """A quorum without one of the two: a try asks all."""
    cell = HandCell("abc", ["athens", "byblos"], thrifty=["athens"])
    grant = lone_pair(cell)
    cell.sessions["athens"].release(grant.ticket, cell.now)
    cell.run(0.01, lost=lambda sender, to, _: "b" in (sender, to))
    assert cell.told("athens", Ended) == [Ended(grant.ticket, heard=True)]
    cell.dies("athens")
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now, wait=0.0)
    cell.run(0.1)
    (next_one,) = cell.told("byblos", Granted)
    assert next_one.term > grant.term


def test_what_is_detached_can_be_renewed_and_released_without_one_of_its_first_nodes() -> None:
    cell = HandCell("abc", ["athens", "delphi"], thrifty=["athens"])
    grant = lone_pair(cell)
    cell.sessions["athens"].detach(grant.ticket, cell.now)
    cell.run(1.0)
    cell.dies("b")
    delphi = cell.sessions["delphi"]
    delphi.renew_detached(*handle_of(grant), cell.now, patience=1.0)
    cell.run(0.01)
    assert [outcome.done for outcome in cell.told("delphi", HandleOutcome)] == [True]
    delphi.release_detached(NAME, *handle_of(grant), cell.now, patience=1.0)
    cell.run(0.01)
    assert [outcome.done for outcome in cell.told("delphi", HandleOutcome)] == [True]
    assert not any(cell.shows(node)[2] for node in "ac")


def test_a_dead_node_of_the_quorum_costs_one_hedge() -> None:
    cell = HandCell("abc", ["athens"], thrifty=["athens"])
    cell.dies("b")
    began = cell.now
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=began)
    while not (found := cell.told("athens", Granted)):
        cell.run(0.001)
    assert cell.now - began <= HEDGE + 0.002
    cell.sessions["athens"].release(found[0].ticket, cell.now)
    cell.run(0.001)
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.001)
    assert cell.told("athens", Granted)  # at once: all were asked
    assert cell.sessions["athens"].counters["hedged"] == 1


def test_a_promise_that_comes_late_for_what_is_over_is_answered_with_release() -> None:
    """L1: whatever a spared node was, this one was asked."""
    session = HandSession(thrifty=True)
    grant = granted(session)
    session.release(grant.ticket, TRIP)
    for node in "ab":
        session.receive(node, Released(1, NAME, ATHENS, 0), 2 * TRIP)
    session.sent(Release)
    session.receive("a", Promise(1, NAME, ATHENS, 2, 0, 0), 3 * TRIP)
    assert to(session, Release) == ["a"]


def test_before_a_lease_is_detached_the_rest_is_sent_it() -> None:
    """Nobody else can bring it there; and nothing follows, whatever is answered."""
    session = HandSession(thrifty=True)
    grant = granted(session)
    session.sent(Commit)
    session.machine.detach(grant.ticket, TRIP)
    ((node, accept),) = session.sent(Accept)
    assert (node, accept.lease.token) == ("c", grant.term)
    session.accepted("c", accept, now=2 * TRIP)
    session.run_until(TTL)
    session.sent(Commit)
    session.collect()
    assert [message for _, message in session.sends if not isinstance(message, Hello)] == []


def test_what_all_nodes_were_asked_for_is_detached_without_a_word() -> None:
    session = HandSession()
    grant = session.to_grant(now=0.0)
    session.machine.detach(grant.ticket, TRIP)
    assert to(session, Accept) == []
