"""protocol.md section 5: split votes, and who withdraws (rule L2)."""

from __future__ import annotations

import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    CYRENE,
    GRACE,
    NAME,
    TTL,
    HandSession,
    candidate,
    occupant,
)
from hand_cell import HandCell

from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Accept,
    Occupancy,
    Prepare,
    Promise,
    RefusalReason,
    Release,
    StandingPrepare,
)
from paxlock.core.round_trips import RoundTrip
from paxlock.core.session.events import Ended, Failed, Granted
from paxlock.core.session.pacing import AttemptPacing

# Split votes


def refuse_two_ways(
    session: HandSession, first: Candidate, second: Candidate, *, ages: tuple[float, float]
) -> None:
    """a promises; at b and c two others, of these ages, are in the way, in two answers of each. It is 0.2 s
    old then.
    """
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.promised("a", asked, 1, now=0.2)
    session.sent(Prepare)
    for node, who, age in 2 * (("b", first, ages[0]), ("c", second, ages[1])):
        other = occupant(who, Occupancy.PROMISED, age=age)
        session.refused(node, asked, RefusalReason.PROMISED, now=0.2, term=1, occupant=other)


def split(session: HandSession, asked: Prepare | Accept, now: float) -> None:
    """a and b each hold for another one, who is older."""
    for node, who in (("a", ATHENS), ("b", CYRENE)):
        session.refused(node, asked, RefusalReason.HELD, now=now, occupant=occupant(who, age=5.0))


def test_l2_where_its_accept_may_stand_it_stands_in_the_way() -> None:
    """c has taken the lease, and its answer is lost: without a Release c would keep it for a ttl."""
    session = HandSession("zeno")
    asked = session.to_accept(now=0.0)
    split(session, asked, 0.1)
    assert {node for node, _ in session.sent(Release)} == set("abc")


def test_l2_where_its_standing_prepare_may_stand_it_stands_in_the_way() -> None:
    """The same, of the lease that went along with a Prepare: once it had to be repeated."""
    session = HandSession("zeno")
    session.campaign(now=0.0)
    split(session, session.sent_to_all(StandingPrepare), 0.001)
    session.run_until(1.0)
    asked = session.sent(StandingPrepare)[-1][1]
    split(session, asked, 1.0)
    assert {node for node, _ in session.sent(Release)} == set("abc")


def test_l2_votes_split_and_an_older_candidate_in_the_way_make_it_withdraw() -> None:
    session = HandSession("byblos")
    refuse_two_ways(session, CYRENE, ATHENS, ages=(5.0, 0.0))
    assert {m.candidate for _, m in session.sent(Release)} == {BYBLOS}
    session.run_until(1.5)
    prepare = session.sent(Prepare)[0][1]
    assert prepare.candidate == candidate("byblos", 2)
    # The new attempt is as old as the old one.
    assert 200 < prepare.age_ms <= 1500
    assert session.told(Ended) == [] == session.told(Failed)


def test_l2_the_oldest_does_not_withdraw() -> None:
    session = HandSession("byblos")
    refuse_two_ways(session, CYRENE, ATHENS, ages=(0.1, 0.14))
    assert session.sent(Release) == []


@pytest.mark.parametrize(("who", "withdraws"), [("athens", False), ("cyrene", True)])
def test_l2_where_ages_differ_by_less_than_the_grace_the_smaller_candidate_is_older(
    who: str, withdraws: bool
) -> None:
    session = HandSession(who)
    refuse_two_ways(session, BYBLOS, candidate("zeno"), ages=(0.2 - 0.9 * GRACE, 0.0))
    assert bool(session.sent(Release)) is withdraws


def test_l2_a_single_candidate_at_a_quorum_is_no_split() -> None:
    session = HandSession("cyrene", nodes="abc")
    refuse_two_ways(session, BYBLOS, BYBLOS, ages=(5.0, 5.0))
    assert session.sent(Release) == []


def test_l2_own_earlier_attempts_are_no_occupants() -> None:
    session = HandSession("cyrene")
    refuse_two_ways(session, candidate("cyrene", 0), candidate("zeno"), ages=(50.0, 0.0))
    assert {m.candidate for _, m in session.sent(Release)} == {candidate("cyrene", 0)}


def test_l2_holders_named_at_different_moments_are_no_split() -> None:
    """The name goes from hand to hand: b named one holder, c, a moment later, the next; now a pushes, and the
    pushes of b and c are on their way.
    """
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(StandingPrepare)
    for node, who, now in (("b", ATHENS, 0.001), ("c", CYRENE, 0.003)):
        session.refused(node, asked, RefusalReason.HELD, now=now, occupant=occupant(who, age=5.0))
    session.took("a", asked, 5, now=0.005, push=True)
    session.refused("c", asked, RefusalReason.HELD, now=0.006, occupant=occupant(ATHENS, age=5.0))
    assert session.sent(Release) == []
    session.took("b", asked, 5, now=0.007, push=True)
    assert len(session.told(Granted)) == 1


def test_l2_stale_counts_as_refused_and_names_nobody() -> None:
    session = HandSession("cyrene")
    asked = session.to_accept(now=0.0)
    session.accepted("a", asked, now=0.1)
    session.refused("b", asked, RefusalReason.STALE, now=0.1, term=5)
    assert session.sent(Release) == []
    older = occupant(ATHENS, Occupancy.HELD, age=9.0)
    session.refused("c", asked, RefusalReason.HELD, now=0.1, term=5, occupant=older)
    assert {m.candidate for _, m in session.sent(Release)} == {CYRENE}


def test_l2_phase_2_waits_for_a_silent_node_no_longer_than_the_lease_lasts() -> None:
    """Six windows are long where answers were late: by then the lease is over where it was accepted."""
    session = HandSession("byblos")
    session.machine._pacing.round_trips._measured = dict.fromkeys("abc", RoundTrip(4.0 * GRACE, 0.0))
    asked = session.to_accept(now=0.0, ttl=1.0)
    session.accepted("a", asked, now=0.001)
    session.refused("b", asked, RefusalReason.HELD, now=0.001, occupant=occupant(ATHENS, age=5.0))
    session.run_until(0.99)
    assert session.sent(Release) == []
    session.run_until(1.01)
    assert {node for node, _ in session.sent(Release)} == set("abc")


def test_l2_split_votes_of_two_candidates_are_over_long_before_a_ttl() -> None:
    cell = HandCell("abc", ["athens", "byblos", "cyrene"])
    for who, node in zip(cell.sessions, "abc", strict=True):
        cell.sessions[who].campaign(NAME, ttl=TTL, now=0.0)
        cell.collect()
        # Each is heard first at one node: every node promises and accepts another candidate.
        cell.deliver(Prepare, who, node)
    cell.run(TTL / 10)
    granted = [who for who in cell.sessions if cell.told(who, Granted)]
    assert len(granted) == 1


def test_l2_split_leases_do_not_block_the_next_ttl() -> None:
    cell = HandCell("abc", ["athens", "byblos", "cyrene"])
    for who, node in zip(cell.sessions, "abc", strict=True):
        session = cell.sessions[who]
        session.campaign(NAME, ttl=TTL, now=0.0)
        cell.collect()
        asked = next(m for to, _, m in cell.mail if to == who and isinstance(m, Prepare))
        for promiser in "abc":
            session.receive(Promise(asked.request, NAME, asked.candidate, 1, 0, 0), promiser, 0.0)
        cell.collect()
        cell.deliver(Accept, who, node)
    cell.lose()
    assert {cell.shows(node) for node in "abc"} == {(1, who, True) for who in cell.sessions}
    cell.run(TTL / 5)
    granted = [who for who in cell.sessions if cell.told(who, Granted)]
    assert granted == ["athens"]


def test_l2_a_promise_that_has_lapsed_is_asked_for_anew_at_once() -> None:
    """b is dead. a takes the lease, c's promise has lapsed: one no, in nobody's favour, is no lost term yet,
    but to wait until b's silence counts would leave the lease alone at a for most of its ttl.
    """
    session = HandSession("athens")
    accept = session.to_accept(now=0.0)
    session.accepted("a", accept, now=0.001)
    session.refused("c", accept, RefusalReason.STALE, now=0.001, term=1)
    session.sent(Accept)
    session.run_until(0.001 + GRACE)
    again = session.sent(Prepare)
    assert {node for node, _ in again} == set("abc")
    assert {(message.candidate, message.at_least) for _, message in again} == {(ATHENS, 2)}
    assert session.sent(Release) == []


def withdrawn(session: HandSession) -> Prepare:
    """Its first Prepare after it gave way, at the moment when it is sent."""
    refuse_two_ways(session, candidate("aetna"), candidate("argos"), ages=(9.0, 9.0))
    assert session.sent(Release)
    session.forget_sent()
    while not (found := session.sent(Prepare)):
        session.tick(session.machine.deadline())
    return found[0][1]


def test_l2_who_gave_way_comes_back_within_a_window_however_often_it_did() -> None:
    session = HandSession("zeno").machine._pacing
    pace = AttemptPacing(session, tries=False, eager=True)
    for _ in range(20):
        pace, before = AttemptPacing(session, tries=False, eager=False), pace
        assert pace.pause_after(before) <= session.window


def test_l2_who_gave_way_stands_with_its_lease_as_soon_as_a_holder_is_known() -> None:
    session = HandSession("zeno")
    back = withdrawn(session)
    assert not isinstance(back, StandingPrepare)
    holder, now = occupant(ATHENS), 0.3
    session.refused("a", back, RefusalReason.HELD, now=now, occupant=holder)
    session.refused("b", back, RefusalReason.HELD, now=now, occupant=holder)
    session.tick(now)
    assert {node for node, _ in session.sent(StandingPrepare)} == set("ab")
    session.refused("a", back, RefusalReason.HELD, now=now, occupant=holder)
    session.tick(now)
    assert session.sent(StandingPrepare) == [], "once: what follows are refreshes"


def test_l2_where_votes_are_split_it_asks_again_after_a_usual_round_trip() -> None:
    session = HandSession("zeno")
    session.campaign(now=0.0)
    asked = session.sent_to_all(StandingPrepare)
    session.promised("a", asked, 1, now=0.001)
    session.refused("b", asked, RefusalReason.HELD, now=0.001, occupant=occupant(ATHENS))
    session.refused("c", asked, RefusalReason.HELD, now=0.001, occupant=occupant(BYBLOS))
    trip = session.machine._pacing.round_trips.smoothed(0.0)
    assert session.machine.deadline() <= 0.001 + trip
