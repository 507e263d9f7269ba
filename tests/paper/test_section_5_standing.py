"""protocol.md section 5: standing accepts, rule by rule."""

from __future__ import annotations

import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    CYRENE,
    GRACE,
    MARGIN,
    MAX_TTL,
    NAME,
    SPAN,
    TTL,
    HandAcceptor,
    HandReplica,
    HandSession,
    accepted,
    candidate,
    lease_of,
    member_record,
    occupant,
    promise,
    refusal,
    replica_of,
    start_of,
)
from hand_cell import HandCell
from starts import serve

from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Message,
    Occupancy,
    Occupant,
    Prepare,
    Promise,
    RefusalReason,
    Refused,
    Release,
    Released,
    Renew,
    StandingPrepare,
)
from paxlock.core.node.line import PUSH_COPY_WINDOWS, PUSH_FIRST_WINDOWS
from paxlock.core.node.starts import Start
from paxlock.core.session.events import Extended, Granted, Lost

REFRESH = 0.5
SOON = TTL / 4


def held_by_athens(*, ceiling: int = 1 << 40) -> HandAcceptor:
    node = HandAcceptor(ceiling=ceiling)
    accepted(node.accept(ATHENS, 1, 1, now=0.0))
    return node


def byblos_is_taken(*, refreshed: float = 1.0, released: float = 2.0) -> HandAcceptor:
    """byblos stood in line with number 7 when athens left."""
    node = held_by_athens()
    refusal(node.stand(BYBLOS, 7, now=refreshed, refresh=REFRESH))
    node.release(ATHENS, 1, now=released)
    return node


# The acceptor: a free name


def test_a_free_name_is_accepted_in_the_next_term_in_one_round_trip() -> None:
    node = HandAcceptor(floor=4)
    answer = accepted(node.stand(BYBLOS, 7, now=1.0))
    assert (answer.request, answer.candidate, answer.term, answer.seq) == (1, BYBLOS, 5, 7)
    assert node.shows() == (5, "byblos", True)
    assert node.record.deadline == 1.0 + TTL
    assert node.record.lease == lease_of(BYBLOS)
    assert node.pushed() == []  # it was asked


def test_the_term_is_no_less_than_was_asked_for() -> None:
    assert accepted(HandAcceptor().stand(BYBLOS, 1, at_least=40, now=0.0)).term == 40


def test_what_is_promised_to_this_candidate_is_accepted_in_that_term() -> None:
    node = HandAcceptor()
    assert promise(node.prepare(BYBLOS, now=0.0)).term == 1
    assert accepted(node.stand(BYBLOS, 1, now=0.01)).term == 1


def test_s5_repeated_it_is_answered_again_and_re_arms_nothing() -> None:
    node = HandAcceptor()
    accepted(node.stand(BYBLOS, 3, now=0.0))
    for seq in (3, 4, 5):
        again = accepted(node.stand(BYBLOS, seq, now=1.0))
        # Never a newer number than the one it was taken with: the deadline does not count from it.
        assert (again.term, again.seq) == (1, 3)
    assert node.record.deadline == TTL


def test_one_that_has_gone_on_to_a_higher_term_is_promised_it_and_keeps_its_deadline() -> None:
    node = HandAcceptor()
    accepted(node.stand(BYBLOS, 3, now=0.0))
    answer = promise(node.stand(BYBLOS, 4, at_least=6, now=1.0))
    assert (answer.term, answer.lease_term) == (6, 1)
    assert node.record.deadline == TTL
    assert accepted(node.accept(BYBLOS, 6, 5, now=1.5)).term == 6
    assert node.record.deadline == 1.5 + TTL


def test_a_lease_re_armed_by_another_sender_is_not_answered_with_its_number() -> None:
    node = HandAcceptor()
    accepted(node.stand(BYBLOS, 3, now=0.0))
    node.renew(BYBLOS, seq=900, now=0.1, sender="cli")
    assert promise(node.stand(BYBLOS, 4, now=0.2)).lease_term == 1


@pytest.mark.parametrize("ttl", [MAX_TTL, MAX_TTL + 0.001])
def test_a_ttl_above_max_ttl_is_refused_and_never_clamped(ttl: float) -> None:
    node = HandAcceptor()
    answer = node.stand(BYBLOS, 1, ttl=ttl, now=0.0)
    if ttl > MAX_TTL:
        assert refusal(answer) is RefusalReason.TTL
        assert node.shows()[2] is False
    else:
        accepted(answer)


def test_a_term_far_ahead_is_refused() -> None:
    assert refusal(HandAcceptor().stand(BYBLOS, 1, at_least=1 << 40, now=0.0)) is RefusalReason.TERM


def test_l1_after_its_release_it_is_refused() -> None:
    node = HandAcceptor()
    node.release(BYBLOS, 0, now=0.0)
    assert refusal(node.stand(BYBLOS, 1, now=0.1)) is RefusalReason.ENDED


def test_a_held_name_is_refused_and_a_promised_one_until_the_grace_is_over() -> None:
    node = HandAcceptor()
    node.prepare(ATHENS, now=0.0)
    assert refusal(node.stand(BYBLOS, 1, now=0.0, refresh=0.0)) is RefusalReason.PROMISED
    node.accept(ATHENS, 1, 1, now=0.01)
    assert refusal(node.stand(BYBLOS, 2, now=0.02, refresh=0.0)) is RefusalReason.HELD
    assert node.record.line is None


def test_a_term_above_the_ceiling_waits_until_it_is_durable() -> None:
    node = HandAcceptor(ceiling=10)
    assert node.stand(BYBLOS, 1, at_least=11, now=0.0) is None
    assert node.shows() == (0, "-", False)
    node.acceptor.raised(node.acceptor.wanted_ceiling, 0.1)
    assert accepted(node.stand(BYBLOS, 2, at_least=11, now=0.2)).term == 11


def test_a_newcomer_queues_behind_those_who_wait() -> None:
    node = held_by_athens(ceiling=1)
    node.stand(BYBLOS, 1, now=1.0, age=0.5)
    node.release(ATHENS, 1, now=1.1)  # free, but short of terms
    assert refusal(node.stand(CYRENE, 1, now=1.2)) is RefusalReason.QUEUED
    node.acceptor.raised(1000, 1.3)
    assert [m.candidate for m in node.pushed()] == [BYBLOS]


# The acceptor: the line


def test_an_acceptor_that_becomes_free_accepts_the_head_and_pushes_in_the_same_step() -> None:
    node = byblos_is_taken()
    (pushed,) = node.pushed()
    assert isinstance(pushed, Accepted)
    assert (pushed.request, pushed.candidate, pushed.term, pushed.seq) == (0, BYBLOS, 2, 7)
    assert node.shows() == (2, "byblos", True)


def test_its_deadline_is_the_receipt_of_the_refresh_plus_ttl() -> None:
    node = byblos_is_taken(refreshed=1.0, released=2.0)
    assert node.record.deadline == 1.0 + TTL
    node.run_out(1.0 + TTL - 0.001)
    assert node.record.lease is not None
    node.run_out(1.0 + TTL)
    assert node.shows() == (2, "-", False)


def test_the_same_at_the_deadline_of_the_lease_before() -> None:
    node = held_by_athens()
    node.stand(BYBLOS, 7, now=TTL - 1.0, refresh=REFRESH)
    node.run_out(TTL)
    assert [(type(m), m.candidate, m.term) for m in node.pushed()] == [(Accepted, BYBLOS, 2)]
    assert node.record.deadline == TTL - 1.0 + TTL


def test_of_several_refreshes_the_newest_number_and_its_receipt_count() -> None:
    node = held_by_athens()
    for seq, now in ((7, 1.0), (9, 1.4), (8, 1.8)):  # the last one is late
        node.stand(BYBLOS, seq, now=now, refresh=REFRESH)
    node.release(ATHENS, 1, now=2.0)
    (pushed,) = node.pushed()
    assert isinstance(pushed, Accepted)
    assert pushed.seq == 9
    assert node.record.deadline == 1.4 + TTL


def test_a_late_refresh_does_not_lower_the_term_that_is_asked_for() -> None:
    node = held_by_athens()
    node.stand(BYBLOS, 9, now=1.0, at_least=30)
    node.stand(BYBLOS, 8, now=1.1, at_least=2)
    node.release(ATHENS, 1, now=2.0)
    assert [m.term for m in node.pushed()] == [30]


def test_the_oldest_is_accepted_whoever_came_first() -> None:
    node = held_by_athens()
    node.stand(CYRENE, 1, now=1.0, age=0.2)
    node.stand(BYBLOS, 1, now=1.1, age=0.9)
    node.release(ATHENS, 1, now=2.0)
    assert [m.candidate for m in node.pushed()] == [BYBLOS]
    node.release(BYBLOS, 2, now=2.0 + GRACE / 4)
    assert [(m.candidate, m.term) for m in node.pushed()] == [(CYRENE, 3)]


@pytest.mark.parametrize(("late", "kind"), [(0.0, Accepted), (0.001, Promise)])
def test_a_refresh_older_than_a_quarter_of_the_ttl_gets_a_promise(late: float, kind: type[object]) -> None:
    node = held_by_athens()
    node.stand(BYBLOS, 7, now=1.0, refresh=1.0)
    node.release(ATHENS, 1, now=1.0 + SOON + late)
    (pushed,) = node.pushed()
    assert type(pushed) is kind
    assert node.record.holds(BYBLOS) is (kind is Accepted)


def test_one_that_waits_without_its_lease_gets_a_promise() -> None:
    node = held_by_athens()
    node.prepare(BYBLOS, now=1.0, refresh=REFRESH)
    node.release(ATHENS, 1, now=1.1)
    assert [type(m) for m in node.pushed()] == [Promise]
    # It is not too late for the lease: within the grace the next refresh is accepted in the promised term.
    assert accepted(node.stand(BYBLOS, 8, now=1.1 + GRACE / 2)).term == 2


def test_l1_release_takes_the_candidate_with_its_standing_lease_out_of_the_line() -> None:
    node = held_by_athens()
    node.stand(BYBLOS, 7, now=1.0)
    node.release(BYBLOS, 0, now=1.1)
    node.release(ATHENS, 1, now=1.2)
    assert node.pushed() == []
    assert node.shows() == (1, "-", False)
    assert refusal(node.stand(BYBLOS, 6, now=1.3)) is RefusalReason.ENDED


@pytest.mark.parametrize("stands", [True, False])
def test_l1_the_release_of_a_later_attempt_ends_the_earlier_one_in_line_too(stands: bool) -> None:
    node = HandAcceptor()
    node.accept(candidate("byblos", 2), 1, 1, now=0.0)
    if stands:
        node.stand(BYBLOS, 7, now=1.0)  # late, and its own Release was lost
    else:
        node.prepare(BYBLOS, now=1.0, refresh=REFRESH)
    node.stand(CYRENE, 1, now=1.1)
    node.release(candidate("byblos", 2), 1, now=1.2)
    assert [(type(m), m.candidate) for m in node.pushed()] == [(Accepted, CYRENE)]


def test_the_line_waits_for_the_ceiling_and_counts_from_the_refresh_all_the_same() -> None:
    node = held_by_athens(ceiling=1)
    node.stand(BYBLOS, 7, now=1.0)
    node.release(ATHENS, 1, now=1.1)
    assert node.pushed() == []
    node.acceptor.raised(1000, 1.5)
    assert [(type(m), m.term) for m in node.pushed()] == [(Accepted, 2)]
    assert node.record.deadline == 1.0 + TTL


def test_l6_a_promised_head_that_is_passed_over_is_followed_by_one_that_stands() -> None:
    node = held_by_athens()
    node.prepare(BYBLOS, now=1.0, age=0.9, refresh=REFRESH)
    node.stand(CYRENE, 7, now=1.0, age=0.5, refresh=REFRESH)
    node.release(ATHENS, 1, now=1.1)
    node.run_out(1.1 + GRACE)
    assert [(type(m), m.candidate, m.term) for m in node.pushed()] == [
        (Promise, BYBLOS, 2),
        (Accepted, CYRENE, 3),
    ]


# The acceptor: pushes


def test_a_push_is_repeated_ever_later_with_the_number_it_was_taken_with() -> None:
    node = byblos_is_taken(released=2.0)
    node.pushed()
    at, wait = 2.0, PUSH_FIRST_WINDOWS * GRACE
    for _ in range(5):
        at += wait
        node.run_out(at - 0.001)
        assert node.pushed() == []
        # A refresh that crosses the push is answered, and is no answer.
        assert accepted(node.stand(BYBLOS, 50, now=at - 0.001)).seq == 7
        node.run_out(at)
        assert [(m.candidate, m.term, m.seq) for m in node.pushed() if isinstance(m, Accepted)] == [
            (BYBLOS, 2, 7)
        ]
        wait *= 2.0


def test_a_push_to_a_candidate_that_sends_copies_is_repeated_within_a_round_trip() -> None:
    node = held_by_athens()
    for _ in range(2):
        node.stand(BYBLOS, 7, now=1.0)
    node.release(ATHENS, 1, now=2.0)
    node.pushed()
    node.run_out(2.0 + PUSH_COPY_WINDOWS * GRACE)
    assert [(m.candidate, m.seq) for m in node.pushed() if isinstance(m, Accepted)] == [(BYBLOS, 7)]


@pytest.mark.parametrize("answer", ["accept", "renew", "release", "commit"])
def test_a_push_is_not_repeated_after_the_candidate_has_answered(answer: str) -> None:
    node = byblos_is_taken(released=2.0)
    node.pushed()
    match answer:
        case "accept":
            node.accept(BYBLOS, 2, 8, now=2.001)
        case "renew":
            node.renew(BYBLOS, seq=8, now=2.001)
        case "release":
            node.release(BYBLOS, 2, now=2.001)
        case _:
            node.acceptor.heard(BYBLOS)
    node.run_out(3.0)
    assert node.pushed() == []


def test_a_push_is_not_repeated_when_the_lease_is_gone() -> None:
    node = byblos_is_taken(refreshed=1.0, released=2.0)
    while (due := node.timers.deadline()) < 1.0 + TTL:
        node.run_out(due)
    assert 5 < len(node.pushed()) < 12  # bounded: each waits twice as long as the last
    node.run_out(10 * TTL)
    assert node.pushed() == []


def test_the_next_holder_is_told_by_pushes_of_its_own() -> None:
    node = byblos_is_taken(released=2.0)
    node.stand(CYRENE, 1, now=2.005)
    node.pushed()
    node.release(BYBLOS, 2, now=2.01)
    assert [m.candidate for m in node.pushed()] == [CYRENE]
    node.run_out(2.01 + PUSH_FIRST_WINDOWS * GRACE - 0.001)
    assert node.pushed() == []
    node.run_out(2.01 + PUSH_FIRST_WINDOWS * GRACE)
    assert [m.candidate for m in node.pushed()] == [CYRENE]


def test_a_commit_answers_a_push() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Accept(1, NAME, 1, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    node.receive(Commit(NAME, 1, lease_of(ATHENS, token=1)), ATHENS.session, 0.1)
    node.receive(standing(BYBLOS, 7), BYBLOS.session, 1.0)
    node.receive(Release(2, NAME, ATHENS, 1), ATHENS.session, 2.0)
    assert [to for to, _ in node.sent(Accepted)] == [ATHENS.session, BYBLOS.session]
    node.tick(2.0 + 0.4 * GRACE)
    assert len(node.sent(Accepted)) == 1
    commit = Commit(NAME, 2, lease_of(BYBLOS, token=2))
    node.receive(commit, CYRENE.session, 2.03)  # not from byblos itself: counted and dropped
    node.tick(2.0 + 1.2 * GRACE)
    assert len(node.sent(Accepted)) == 1
    node.receive(commit, BYBLOS.session, 2.07)
    node.tick(3.0)
    assert node.sent(Accepted) == []


def standing(who: Candidate, seq: int, *, refresh: float = REFRESH) -> StandingPrepare:
    return StandingPrepare(1, NAME, 1, who, 0, round(refresh * 1000), 0, "", round(TTL * 1000), b"", seq)


# The acceptor: restarts


def test_a_standing_lease_outlives_a_clean_stop_with_the_time_and_the_number_it_had() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(standing(BYBLOS, 7), BYBLOS.session, 1.0)
    snapshot = node.machine.stop(3.0)
    assert snapshot is not None
    record = member_record("a", incarnation=1, clean=True)
    again = serve(start_of("a", record, snapshot))
    assert again.shows() == (1, "byblos", True)
    (answer,) = again.receive(standing(BYBLOS, 9), BYBLOS.session, 0.1)
    assert (accepted(answer).term, accepted(answer).seq) == (1, 7)
    assert again.machine._acceptor.records[NAME].deadline == pytest.approx(TTL - 2.0, abs=0.002)


def test_the_line_and_its_leases_are_forgotten_at_a_clean_stop() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Accept(1, NAME, 1, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    node.receive(standing(BYBLOS, 7), BYBLOS.session, 1.0)
    snapshot = node.machine.stop(2.0)
    assert snapshot is not None
    start = start_of("a", member_record("a", clean=True), snapshot)
    again = serve(start)
    again.receive(Release(2, NAME, ATHENS, 1), ATHENS.session, 0.1)
    assert again.sent(Accepted) == []
    assert again.shows() == (1, "-", False)


def test_a_node_that_sits_out_takes_no_standing_prepare() -> None:
    start = Start(member_record("a", incarnation=2), 1000, 30.0, None)
    node = HandReplica(replica_of("a", "abc", start))
    node.receive(standing(BYBLOS, 7), BYBLOS.session, 1.0)
    assert node.sent(Accepted) == []
    assert node.shows()[2] is False


# The candidate: one round trip


def test_a_candidate_that_waits_sends_its_lease_with_a_new_number_in_every_refresh() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    first = session.sent_to_all(StandingPrepare)
    assert first.lease == Lease(BYBLOS, round(TTL * 1000), "", b"")
    session.run_until(GRACE)
    again = [message for _, message in session.sent(StandingPrepare)]
    numbers = {message.seq for message in again}
    assert len(numbers) == len(again) / 3
    assert min(numbers) > first.seq
    assert {message.request for message in again} == {first.request}


def test_numbers_are_of_the_one_counter_of_accept_and_renew() -> None:
    session = HandSession("byblos")
    granted = session.to_grant(now=0.0)
    session.campaign(now=0.1, name="other")
    (number,) = {m.seq for _, m in session.sent(StandingPrepare)}
    session.run_until(granted.deadline / 2)
    renewed = [m.seq for _, m in session.sent(Renew)]
    assert min(renewed) > number > 1


def test_a_quorum_that_took_it_in_one_term_makes_it_the_holder_at_once() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.took("a", asked, 5, now=0.1)
    assert session.told(Granted) == []
    session.took("c", asked, 5, now=0.2)
    (granted,) = session.told(Granted)
    assert (granted.candidate, granted.term) == (BYBLOS, 5)
    assert granted.deadline == pytest.approx(SPAN - MARGIN)
    assert session.sent(Accept) == []
    assert session.sent_to_all(Commit).term == 5


def test_s4_it_counts_from_the_sending_of_the_number_that_is_echoed() -> None:
    session = HandSession("byblos")
    first, second = two_refreshes(session)
    session.took("a", second, 5, now=1.0, push=True)
    session.took("b", first, 5, now=1.0, push=True)  # taken with the older number
    (granted,) = session.told(Granted)
    assert granted.deadline == pytest.approx(sent_at(session, first) + SPAN - MARGIN)


def two_refreshes(session: HandSession) -> tuple[StandingPrepare, StandingPrepare]:
    """byblos waits behind athens, and has refreshed its place at least twice."""
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    for node in session.nodes:
        session.refused(node, asked, RefusalReason.HELD, now=0.0, occupant=occupant(ATHENS, age=9.0))
    session.run_until(0.9)
    refreshes = session.sent(StandingPrepare)
    first, second = refreshes[0][1], refreshes[-1][1]
    assert first.seq < second.seq
    return first, second


def sent_at(session: HandSession, message: StandingPrepare) -> float:
    return session.machine._numbers.sent_at(message.seq)


def test_s10_a_push_that_is_repeated_is_one_vote() -> None:
    session = HandSession("byblos")
    _, asked = two_refreshes(session)
    for _ in range(3):
        session.took("a", asked, 5, now=1.0, push=True)
    assert session.told(Granted) == []
    session.took("x", asked, 5, now=1.0, push=True)  # no node of this configuration
    assert session.told(Granted) == []


@pytest.mark.parametrize("nodes", ["abc", "abcde"])
def test_s3_acceptances_of_different_terms_are_never_counted_together(nodes: str) -> None:
    session = HandSession("byblos", nodes)
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    for term, node in enumerate(nodes, start=5):
        session.took(node, asked, term, now=0.1)
    assert session.told(Granted) == []


def test_if_the_terms_differ_it_sends_accept_at_the_highest() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.took("a", asked, 5, now=0.1)
    session.took("b", asked, 7, now=0.1)
    sent = session.sent(Accept)
    # Not to b: it has accepted in that very term.
    assert [(node, m.term) for node, m in sent] == [("a", 7), ("c", 7)]
    session.accepted("a", sent[0][1], now=0.2)
    (granted,) = session.told(Granted)
    assert granted.term == 7
    # The quorum is a and b: it counts from the older of the two sendings.
    assert granted.deadline == pytest.approx(SPAN - MARGIN)


def test_a_promise_and_a_standing_accept_together_lead_to_accept_at_the_highest() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.promised("a", asked, 6, now=0.1)
    session.took("b", asked, 5, now=0.1)
    assert [(node, m.term) for node, m in session.sent(Accept)] == [("a", 6), ("b", 6), ("c", 6)]


def test_s3_a_lower_term_that_comes_together_after_the_accept_does_not_become_the_token() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.took("a", asked, 5, now=0.1)
    session.took("b", asked, 7, now=0.1)
    session.took("c", asked, 5, now=0.1)
    assert session.told(Granted) == []
    accept = session.sent(Accept)[0][1]
    session.accepted("c", accept, now=0.2)
    (granted,) = session.told(Granted)
    assert granted.term == 7


def test_s3_a_higher_term_that_comes_together_while_it_accepts_becomes_the_token() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.took("a", asked, 5, now=0.1)
    session.promised("b", asked, 4, now=0.1)
    assert {m.term for _, m in session.sent(Accept)} == {5}
    for node in "bc":
        session.took(node, asked, 8, now=0.2, push=True)
    (granted,) = session.told(Granted)
    assert granted.term == 8


def test_a_term_that_one_node_has_left_behind_fails_and_a_higher_one_follows() -> None:
    """a has it in 5; b and c took it in 8 and 9 meanwhile, and will not go back."""
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.took("a", asked, 5, now=0.01)
    session.promised("b", asked, 4, now=0.01)
    session.sent(Accept)
    session.took("b", asked, 8, now=0.02, push=True)
    session.took("c", asked, 9, now=0.02, push=True)
    session.run_until(1.0)
    assert session.told(Granted) == []
    assert max(m.at_least for _, m in session.sent(Prepare)) == 10


def test_s3_an_acceptance_below_what_it_asks_for_is_not_counted() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.promised("a", asked, 6, now=0.01)
    session.promised("b", asked, 6, now=0.01)
    accept = session.sent_to_all(Accept)
    for node in "ab":
        session.refused(node, accept, RefusalReason.STALE, now=0.02, term=9)
    session.run_until(1.0)
    asked = session.sent(Prepare)[0][1]
    assert asked.at_least == 10
    for node in "abc":
        session.took(node, asked, 7, now=1.0, push=True)
    assert session.told(Granted) == []


def test_a_number_too_old_to_be_of_use_is_worth_a_promise() -> None:
    session = HandSession("byblos")
    first, second = two_refreshes(session)
    late = sent_at(session, first) + SOON + 0.001
    session.run_until(late)
    session.sent(StandingPrepare)
    session.took("a", first, 5, now=late, push=True)
    session.took("b", second, 5, now=late, push=True)
    assert session.told(Granted) == []
    accepts = session.sent(Accept)
    assert [(node, m.term) for node, m in accepts] == [("a", 5), ("c", 5)]
    session.accepted("a", accepts[0][1], now=late)
    (granted,) = session.told(Granted)
    assert granted.deadline == pytest.approx(sent_at(session, second) + SPAN - MARGIN)


def test_renewal_is_due_a_third_of_the_ttl_after_the_sending_that_it_rests_on() -> None:
    session = HandSession("byblos")
    first, _ = two_refreshes(session)
    for node in "ab":
        session.took(node, first, 5, now=1.5, push=True)
    (granted,) = session.told(Granted)
    due = sent_at(session, first) + TTL / 3
    session.run_until(due - 0.001)
    assert session.sent(Renew) == []
    session.run_until(due)
    assert len(session.sent(Renew)) == 3
    assert granted.deadline > due


def test_l3_a_holder_goes_to_a_higher_term_by_a_plain_prepare() -> None:
    session = HandSession("byblos")
    session.to_grant(now=0.0)
    session.run_until(TTL / 3)
    asked = session.sent(Renew)[0][1]
    session.sent(Accept)
    session.renewed("c", asked, [], now=TTL / 3, not_held=[1])
    (repair,) = session.sent(Accept)
    session.refused("c", repair[1], RefusalReason.STALE, now=TTL / 3, term=9)
    sent = session.sent(Prepare)
    assert {type(m) for _, m in sent} == {Prepare}
    assert {m.at_least for _, m in sent} == {10}


def test_s3_a_node_that_holds_it_in_a_term_below_the_token_is_asked_to_accept_the_token() -> None:
    session = HandSession("byblos")
    session.to_grant(now=0.0, term=6)
    session.run_until(TTL / 3)
    session.sent(Accept)
    asked = session.sent(Renew)[2][1]
    session.renewed("c", asked, [(1, 5)], now=TTL / 3)
    assert session.told(Extended) == []
    assert [(node, m.term) for node, m in session.sent(Accept)] == [("c", 6)]


# The candidate: pushes


def test_a_push_makes_it_ask_the_others_soon() -> None:
    session = HandSession("byblos")
    _, asked = two_refreshes(session)
    session.took("a", asked, 5, now=1.0, push=True)
    session.run_until(1.0 + 0.4 * GRACE)
    assert {node for node, _ in session.sent(Prepare)} == set("abc")


def test_a_holder_answers_a_push_with_its_commit_and_a_repeated_one_with_another() -> None:
    session = HandSession("byblos")
    _, asked = two_refreshes(session)
    for node in "abc":
        session.took(node, asked, 5, now=1.0, push=True)
    assert [node for node, _ in session.sent(Commit)] == ["a", "b", "c"]
    session.took("c", asked, 5, now=1.1, push=True)
    assert [(node, m.term, m.lease.token) for node, m in session.sent(Commit)] == [("c", 5, 5)]
    assert session.told(Lost) == []


@pytest.mark.parametrize("push", [True, False])
def test_l1_an_attempt_that_is_over_answers_accepted_with_release(push: bool) -> None:
    session = HandSession("byblos")
    ticket = session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.release(ticket, 0.1)
    assert [node for node, _ in session.sent(Release)] == ["a", "b", "c"]
    session.took("b", asked, 5, now=0.101, push=push)
    assert session.sent(Release) == []  # one is on its way there, and repeated until it is answered
    session.receive("b", Released(1, NAME, BYBLOS, 0), 0.102)
    session.took("b", asked, 5, now=0.103, push=push)
    assert [(node, m.candidate, m.term) for node, m in session.sent(Release)] == [("b", BYBLOS, 5)]
    assert session.told(Granted) == []


def test_s2_a_detached_lease_is_not_released_because_of_a_push() -> None:
    session = HandSession("byblos")
    ticket = session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    for node in "ab":
        session.took(node, asked, 5, now=0.1)
    session.machine.detach(ticket, 0.2)
    session.took("c", asked, 5, now=0.3, push=True)
    assert session.sent(Release) == []


def test_a_refusal_from_before_it_was_accepted_changes_nothing() -> None:
    session = HandSession("byblos")
    _, asked = two_refreshes(session)
    session.took("a", asked, 5, now=1.0, push=True)
    other = occupant(ATHENS, age=9.0)
    session.refused("a", asked, RefusalReason.HELD, now=1.01, term=4, occupant=other)
    session.took("b", asked, 5, now=1.02, push=True)
    (granted,) = session.told(Granted)
    assert granted.term == 5


def test_a_refusal_from_after_it_was_accepted_takes_the_acceptance_back() -> None:
    session = HandSession("byblos")
    _, asked = two_refreshes(session)
    session.took("a", asked, 5, now=1.0, push=True)
    other = occupant(CYRENE, age=0.0)
    session.refused("a", asked, RefusalReason.HELD, now=1.01, term=6, occupant=other)
    session.took("b", asked, 5, now=1.02, push=True)
    assert session.told(Granted) == []


# L2 and L3


def test_l2_one_that_a_node_has_taken_withdraws_for_an_older_one() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    older, younger = occupant(CYRENE, age=5.0), occupant(candidate("zeno"), age=0.0)
    session.refused("b", asked, RefusalReason.HELD, now=0.01, occupant=older)
    session.refused("c", asked, RefusalReason.HELD, now=0.01, occupant=younger)
    assert session.sent(Release) == []  # it occupies nothing, as far as it knows
    session.took("a", asked, 5, now=0.02)
    assert session.sent(Release) == []  # what b and c said may be over by now
    session.refused("c", asked, RefusalReason.HELD, now=0.03, occupant=younger)
    assert {m.candidate for _, m in session.sent(Release)} == {BYBLOS}


def behind_byblos_and_one_who_died(session: HandSession) -> StandingPrepare:
    """cyrene waits: byblos holds at b and c, and a is held by one who died, and is older."""
    session.campaign(now=0.0)
    asked = session.sent_to_all(StandingPrepare)
    for node, who in 2 * (("a", ATHENS), ("b", BYBLOS), ("c", BYBLOS)):
        session.refused(node, asked, RefusalReason.HELD, now=0.0, occupant=occupant(who, age=9.0))
    session.run_until(0.9)
    return session.sent(StandingPrepare)[-1][1]


@pytest.mark.parametrize("lost", [False, True])
def test_l2_what_others_said_of_a_holder_before_it_left_is_a_hand_over_under_way(lost: bool) -> None:
    """c pushes first: b has not left byblos out of hand, its push is on its way, or lost."""
    session = HandSession("cyrene")
    asked = behind_byblos_and_one_who_died(session)
    session.took("c", asked, 5, now=1.0, push=True)
    if lost:
        session.run_until(1.0 + GRACE)
        (again, *_) = [m for node, m in session.sent(Prepare) if node == "b"]
        session.took("b", again, 5, now=1.0 + GRACE, seq=asked.seq)
    else:
        session.took("b", asked, 5, now=1.0, push=True)
    (granted,) = session.told(Granted)
    assert granted.term == 5
    assert session.sent(Release) == []


def test_l2_it_withdraws_once_the_holder_is_named_again() -> None:
    session = HandSession("cyrene")
    asked = behind_byblos_and_one_who_died(session)
    session.took("c", asked, 5, now=1.0, push=True)
    assert session.sent(Release) == []
    session.refused("b", asked, RefusalReason.HELD, now=1.01, occupant=occupant(BYBLOS, age=9.0))
    assert {(node, m.candidate) for node, m in session.sent(Release)} == {(node, CYRENE) for node in "abc"}


def test_l2_it_withdraws_where_nothing_is_heard_again_for_six_graces() -> None:
    session = HandSession("cyrene")
    asked = behind_byblos_and_one_who_died(session)
    session.took("c", asked, 5, now=1.0, push=True)
    session.run_until(1.0 + 5.9 * GRACE)
    assert session.sent(Release) == []
    session.run_until(1.0 + 13.0 * GRACE)
    assert session.sent(Release)


def test_l2_a_promise_in_the_place_of_a_holder_is_a_hand_over_too() -> None:
    session = HandSession("cyrene")
    behind_byblos_and_one_who_died(session)
    session.receive("c", Promise(0, NAME, CYRENE, 5, 0, 0), 1.0)
    session.run_until(1.0 + GRACE)
    assert session.sent(Release) == []


def test_l2_what_was_said_of_another_than_the_one_that_left_still_counts() -> None:
    session = HandSession("delphi")
    session.campaign(now=0.0)
    asked = session.sent_to_all(StandingPrepare)
    for node, who in 2 * (("a", ATHENS), ("b", BYBLOS), ("c", CYRENE)):
        session.refused(node, asked, RefusalReason.HELD, now=0.0, occupant=occupant(who, age=9.0))
    session.took("c", asked, 5, now=0.01, push=True)
    assert session.sent(Release)


def test_l2_a_standing_accept_that_crosses_the_withdrawal_is_released() -> None:
    session = HandSession("byblos")
    test = occupant(CYRENE, age=5.0), occupant(candidate("zeno"), age=0.0)
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.took("a", asked, 5, now=0.01)
    for node, other in 2 * list(zip("bc", test, strict=True)):
        session.refused(node, asked, RefusalReason.HELD, now=0.02, occupant=other)
    assert session.sent(Release) != []
    session.took("b", asked, 6, now=0.03, push=True)
    session.run_until(0.05)
    assert ("b", BYBLOS) in [(node, m.candidate) for node, m in session.sent(Release)]


def test_l2_votes_split_by_standing_accepts_are_over_long_before_a_ttl() -> None:
    cell = HandCell("abc", ["athens", "byblos", "cyrene"])
    for who, node in zip(cell.sessions, "abc", strict=True):
        cell.sessions[who].campaign(NAME, ttl=TTL, now=0.0)
        cell.collect()
        cell.deliver(StandingPrepare, who, node)
    assert {cell.shows(node)[1:] for node in "abc"} == {(who, True) for who in cell.sessions}
    cell.run(6 * GRACE)
    assert [who for who in cell.sessions if cell.told(who, Granted)] == ["athens"]


def test_l3_while_one_holds_at_a_quorum_others_stand_only_where_it_does() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(StandingPrepare)
    for node in "ac":
        session.refused(node, asked, RefusalReason.HELD, now=0.0, occupant=occupant(ATHENS, age=9.0))
    session.run_until(1.0)
    kinds = {(node, type(m)) for node, m in session.sent(Prepare)}
    assert kinds == {("a", StandingPrepare), ("b", Prepare), ("c", StandingPrepare)}


def test_l3_nobody_stands_in_line_at_a_node_that_the_holder_lacks() -> None:
    """Waiters in line there are promised it in turn, and its term outruns the holder's Accepts."""
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(StandingPrepare)
    for node in "ac":
        session.refused(node, asked, RefusalReason.HELD, now=0.0, occupant=occupant(ATHENS, age=9.0))
    session.receive("b", Promise(0, NAME, BYBLOS, 5, 0, 0), 0.0)
    session.run_until(1.0)
    refreshes = {(node, message.refresh_ms > 0) for node, message in session.sent(Prepare)}
    assert refreshes == {("a", True), ("c", True)}
    session.refused("b", asked, RefusalReason.PROMISED, now=1.0, occupant=occupant(CYRENE))
    session.run_until(2.0)
    assert {node for node, _ in session.sent(Prepare)} == {"a", "c"}


@pytest.mark.parametrize(("left", "gives_back"), [(0.9, True), (0.4, False)])
def test_l3_a_minority_taken_in_vain_is_given_back(left: float, gives_back: bool) -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.took("c", asked, 5, now=0.01)
    holder = Occupant(ATHENS, Occupancy.HELD, 9_000, "", round(left * TTL * 1000), round(TTL * 1000))
    for node in "ab":
        session.refused(node, asked, RefusalReason.HELD, now=0.02, occupant=holder)
    assert bool(session.sent(Release)) is gives_back
    session.sent(Prepare)
    session.run_until(2.0)
    first = session.sent(Prepare)[0][1]
    # A new attempt of the same age does not take it again: its first Prepare is without the lease.
    assert type(first) is (Prepare if gives_back else StandingPrepare)


def test_l3_what_was_refused_before_it_was_taken_is_a_hand_over_under_way() -> None:
    session = HandSession("byblos")
    _, asked = two_refreshes(session)
    session.took("a", asked, 5, now=1.0, push=True)
    assert session.sent(Release) == []


def test_l3_a_holder_gets_a_node_back_that_forgot_it_although_others_wait() -> None:
    cell = HandCell("abc", ["athens", "byblos", "cyrene", "delphi"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(0.5)
    for who in ("byblos", "cyrene"):
        cell.sessions[who].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(1.0)
    for node in "abc":  # one after the other restarts without its memory, at a moment of the worst kind
        start = Start(member_record(node, incarnation=2), 1000, 0.0, None)
        cell.replicas[node] = replica_of(node, "abc", start, now=cell.now, run="second")
        if node == "b":
            cell.sessions["delphi"].campaign(NAME, ttl=TTL, now=cell.now)
        cell.run(TTL)
        assert cell.shows(node)[1:] == ("athens", True)
    assert cell.told("athens", Lost) == []
    assert [who for who in ("byblos", "cyrene", "delphi") if cell.told(who, Granted)] == []


# Whole hand-overs


def waiting(cell: HandCell, *who: str) -> int:
    """The first of these holds the name, the others wait in this order; the ticket of the first."""
    ticket = cell.sessions[who[0]].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.5)
    for other in who[1:]:
        cell.sessions[other].campaign(NAME, ttl=TTL, now=cell.now)
        cell.run(0.6)
    return ticket


def test_a_free_name_costs_one_message_out_and_one_in_for_each_node() -> None:
    cell = HandCell("abc", ["byblos"])
    cell.lose()
    cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=0.0)
    cell.collect()
    sent = [(to, type(message)) for _, to, message in cell.mail]
    assert sent == [(node, StandingPrepare) for node in "abc"]
    cell.deliver(StandingPrepare, "byblos", *"abc")
    answers = [(sender, type(message)) for sender, to, message in cell.mail if to == "byblos"]
    assert answers == [(node, Accepted) for node in "abc"]
    cell.deliver(Accepted, "a", "byblos")
    cell.deliver(Accepted, "b", "byblos")
    assert len(cell.told("byblos", Granted)) == 1


def test_a_hand_over_costs_one_message_from_the_old_holder_and_one_to_the_new() -> None:
    cell = HandCell("abc", ["athens", "byblos"])
    ticket = waiting(cell, "athens", "byblos")
    cell.sessions["athens"].release(ticket, cell.now)
    cell.collect()
    cell.deliver(Release, "athens", "a", "b")
    cell.deliver(Accepted, "a", "byblos")
    cell.deliver(Accepted, "b", "byblos")
    assert len(cell.told("byblos", Granted)) == 1


def test_lost_pushes_are_repeated() -> None:
    cell = HandCell("abc", ["athens", "byblos"])
    ticket = waiting(cell, "athens", "byblos")
    cell.sessions["athens"].release(ticket, cell.now)
    lost: list[str] = []

    def first_pushes(sender: str, to: str, message: Message) -> bool:
        if to == "byblos" and isinstance(message, Accepted) and sender not in lost:
            lost.append(sender)
            return True
        return False

    cell.run(0.41 * GRACE, lost=first_pushes)
    assert sorted(lost) == ["a", "b", "c"]
    assert len(cell.told("byblos", Granted)) == 1


def test_a_hand_over_at_three_different_terms_ends_in_the_highest() -> None:
    cell = HandCell("abc", ["athens", "byblos"])
    ticket = waiting(cell, "athens", "byblos")
    for node, term in zip("abc", (3, 5, 9), strict=True):
        cell.replicas[node]._acceptor.records[NAME].term = term
    cell.sessions["athens"].release(ticket, cell.now)
    cell.run(GRACE)
    (granted,) = cell.told("byblos", Granted)
    assert granted.term in (6, 10)
    cell.run(TTL)
    assert {cell.shows(node)[1:] for node in "abc"} == {("byblos", True)}
    assert cell.told("byblos", Lost) == []


def test_a_waiter_that_dies_at_the_head_costs_no_more_than_a_ttl() -> None:
    cell = HandCell("abc", ["athens", "cyrene", "byblos"])
    ticket = waiting(cell, "athens", "cyrene", "byblos")
    cell.dies("cyrene")
    died = cell.now
    cell.sessions["athens"].release(ticket, cell.now)
    cell.run(TTL / 2)
    assert cell.told("byblos", Granted) == []
    cell.run(TTL / 2 + GRACE)
    assert len(cell.told("byblos", Granted)) == 1
    assert cell.now - died < TTL + 2 * GRACE


def test_two_waiters_that_die_together_cost_no_more_than_one_ttl() -> None:
    cell = HandCell("abc", ["athens", "cyrene", "delphi", "byblos"])
    ticket = waiting(cell, "athens", "cyrene", "delphi", "byblos")
    cell.dies("cyrene")
    cell.dies("delphi")
    cell.sessions["athens"].release(ticket, cell.now)
    cell.run(TTL + 2 * GRACE)
    assert len(cell.told("byblos", Granted)) == 1


def test_a_cancelled_waiter_that_a_push_is_on_its_way_to_gives_the_name_on_at_once() -> None:
    cell = HandCell("abc", ["athens", "byblos", "cyrene"])
    holder = waiting(cell, "athens")
    leaver = cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.5)
    cell.sessions["cyrene"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.5)
    cell.sessions["athens"].release(holder, cell.now)
    cell.collect()
    cell.deliver(Release, "athens", *"abc")  # byblos is taken; the pushes are under way
    assert {cell.shows(node)[1:] for node in "abc"} == {("byblos", True)}
    cell.sessions["byblos"].release(leaver, cell.now)
    cell.run(GRACE / 10)
    assert cell.told("byblos", Granted) == []
    assert len(cell.told("cyrene", Granted)) == 1


def test_a_release_that_comes_before_the_old_holders_leaves_nothing_to_push() -> None:
    cell = HandCell("abc", ["athens", "byblos"])
    holder = waiting(cell, "athens")
    leaver = cell.sessions["byblos"].campaign(NAME, ttl=TTL, now=cell.now)
    cell.run(0.5)
    cell.sessions["byblos"].release(leaver, cell.now)
    cell.collect()
    cell.deliver(Release, "byblos", *"abc")
    cell.sessions["athens"].release(holder, cell.now)
    cell.run(1.0)
    assert {cell.shows(node)[2] for node in "abc"} == {False}


def test_a_node_that_restarts_between_a_push_and_its_answer_holds_nobody_up() -> None:
    cell = HandCell("abc", ["athens", "byblos"])
    ticket = waiting(cell, "athens", "byblos")
    cell.sessions["athens"].release(ticket, cell.now)
    cell.collect()
    cell.deliver(Release, "athens", *"abc")
    snapshot = cell.replicas["a"].stop(cell.now)
    assert snapshot is not None
    start = start_of("a", member_record("a", clean=True), snapshot)
    cell.replicas["a"] = replica_of("a", "abc", start, now=cell.now, run="second")
    # The pushes of b are lost: only c speaks, and the refreshes.
    cell.run(GRACE, lost=lambda sender, _to, m: sender == "b" and isinstance(m, Accepted))
    assert len(cell.told("byblos", Granted)) == 1


def test_an_accept_and_standing_accepts_of_one_candidate_do_not_disturb_each_other() -> None:
    """b is free late: it takes byblos in its own next term while byblos is accepting in another."""
    cell = HandCell("abcde", ["athens", "byblos"])
    ticket = waiting(cell, "athens", "byblos")
    cell.replicas["e"]._acceptor.records[NAME].term = 7
    cell.sessions["athens"].release(ticket, cell.now)
    cell.collect()
    cell.deliver(Release, "athens", "a", "c", "e")
    for node in "ace":
        cell.deliver(Accepted, node, "byblos")
    accepts = {(to, m.term) for _, to, m in cell.mail if isinstance(m, Accept)}
    assert accepts == {(node, 8) for node in "abcd"}
    cell.deliver(Release, "athens", "b", "d")
    cell.run(GRACE)
    (granted,) = cell.told("byblos", Granted)
    assert granted.term == 8
    assert {cell.shows(node)[1:] for node in "abcde"} == {("byblos", True)}
    refused = [m for _, _, m in cell.mail if isinstance(m, Refused)]
    assert refused == []
