"""protocol.md section 3: what a proposer does, and what makes a lease valid at its holder."""

from __future__ import annotations

import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    DRIFT,
    MARGIN,
    MAX_TTL,
    NAME,
    SPAN,
    TTL,
    HandSession,
    candidate,
    occupant,
    session_id,
)

from paxlock.core.lease import Candidate, Lease, Timing, Validity
from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Hello,
    Prepare,
    Promise,
    RefusalReason,
    Refused,
    Release,
    Released,
    Renew,
    Renewed,
    StandingPrepare,
)
from paxlock.core.session.events import Ended, Extended, Failed, Granted, HandleOutcome, Lost
from paxlock.errors import LossReason, Reason

# Phase 1


def test_at_least_is_one_above_everything_seen() -> None:
    session = HandSession()
    session.campaign(now=0.0, name="other")
    other = session.sent_to_all(Prepare)
    assert other.at_least == 1
    session.promised("c", other, 3, now=0.0, floor=500)
    session.campaign(now=0.0)
    # The highest floor of any node for any name, but not another name's term.
    assert session.sent_to_all(Prepare).at_least == 501


def test_repetitions_of_a_prepare_carry_the_same_at_least_and_request() -> None:
    session = HandSession()
    session.campaign(now=0.0)
    first = session.sent_to_all(Prepare)
    session.refused("c", first, RefusalReason.HELD, now=0.01, term=99, occupant=occupant(BYBLOS), floor=90)
    session.run_until(1.0)
    repeated = [message for _, message in session.sent(Prepare)]
    assert len(repeated) >= 3
    assert {(m.at_least, m.request) for m in repeated} == {(first.at_least, first.request)}


def test_the_term_is_the_highest_among_the_promises_of_a_quorum() -> None:
    session = HandSession(nodes="abcde")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.promised("a", asked, 4, now=0.0)
    session.promised("b", asked, 9, now=0.0)
    assert session.sent(Accept) == []
    session.promised("c", asked, 6, now=0.0)
    accept = session.sent_to_all(Accept)  # also to those that promised less, or nothing
    assert accept.term == 9
    assert session.sent(Prepare) == []


def test_s10_a_promise_repeated_by_the_network_is_one_vote() -> None:
    session = HandSession()
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    for _ in range(5):
        session.promised("a", asked, 1, now=0.0)
    assert session.sent(Accept) == []
    session.promised("b", asked, 1, now=0.0)
    assert session.sent_to_all(Accept).term == 1


def test_s10_an_acceptance_repeated_by_the_network_is_one_vote() -> None:
    session = HandSession()
    asked = session.to_accept(now=0.0)
    for _ in range(5):
        session.accepted("a", asked, now=0.01)
    assert session.told(Granted) == []
    assert session.sent(Commit) == []
    session.accepted("c", asked, now=0.02)
    assert len(session.told(Granted)) == 1


def test_s14_votes_of_strangers_do_not_count() -> None:
    session = HandSession()
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    for node in ("a", "x", "y"):
        session.promised(node, asked, 1, now=0.0)
    assert session.sent(Accept) == []
    session.promised("b", asked, 1, now=0.0)
    accept = session.sent_to_all(Accept)
    for node in ("a", "x", "y"):
        session.accepted(node, accept, now=0.0)
    assert session.told(Granted) == []
    assert session.machine.counters["stranger"] == 4


def test_s14_a_quorum_is_of_the_configuration_not_of_those_that_answer() -> None:
    session = HandSession(nodes="abcde")
    asked = session.to_accept(now=0.0)
    session.accepted("a", asked, now=0.0)
    session.accepted("b", asked, now=0.0)
    assert session.told(Granted) == []
    session.accepted("e", asked, now=0.0)
    assert len(session.told(Granted)) == 1


def test_s14_a_promise_for_another_session_is_a_strangers() -> None:
    session = HandSession()
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    for node in "abc":
        session.receive(node, Promise(asked.request, NAME, BYBLOS, 1, 0, 0), 0.0)
    assert session.sent(Accept) == []
    assert session.sent(Release) == []


# Phases 2 and 3


def test_the_commit_goes_to_all_nodes_and_carries_the_token() -> None:
    session = HandSession()
    session.to_grant(now=0.0, term=4)
    commit = session.sent_to_all(Commit)
    assert (commit.term, commit.lease.token, commit.lease.candidate) == (4, 4, ATHENS)


def test_a_term_whose_phase_2_failed_is_not_tried_again_but_the_candidate_goes_on() -> None:
    session = HandSession()
    asked = session.to_accept(now=0.0, term=4)
    session.refused("b", asked, RefusalReason.STALE, now=0.01, term=7)
    session.refused("c", asked, RefusalReason.STALE, now=0.01, term=7)
    session.run_until(1.0)
    assert session.sent(Accept) == []
    assert session.sent(Release) == []
    prepare = session.sent(Prepare)[0][1]
    assert (prepare.candidate, prepare.at_least) == (ATHENS, 8)


def test_a_term_that_an_earlier_question_of_its_own_has_overtaken_is_given_up_at_once() -> None:
    """A node has taken a late standing Prepare anew, in a higher term than the one that is tried; another
    one is dead.
    """
    session = HandSession()
    session.campaign(now=0.0)
    prepare = session.sent_to_all(StandingPrepare)
    session.promised("c", prepare, 2, now=0.01)
    session.promised("a", prepare, 2, now=0.01)
    accept = session.sent_to_all(Accept)
    session.took("c", prepare, 3, now=0.011)
    session.accepted("a", accept, now=0.012)
    session.run_until(0.05)
    again = session.sent(Prepare)[0][1]
    assert again.at_least > 3
    assert session.sent(Release) == []


def test_s3_the_first_validity_needs_a_quorum_within_one_term() -> None:
    session = HandSession()
    first = session.to_accept(now=0.0, term=4)
    session.accepted("a", first, now=0.01)
    session.refused("b", first, RefusalReason.STALE, now=0.01, term=6)
    session.refused("c", first, RefusalReason.STALE, now=0.01, term=6)
    session.run_until(0.5)
    again = session.sent(Prepare)[0][1]
    session.promised("b", again, 7, now=0.5)
    session.promised("c", again, 7, now=0.5)
    second = session.sent_to_all(Accept)
    assert second.term == 7
    session.accepted("b", second, now=0.5)
    session.accepted("c", second, term=4, now=0.5)  # late, of the failed term
    session.accepted("a", first, now=0.5)
    assert session.told(Granted) == []  # a and c in term 4, b in term 7: no quorum within one
    session.accepted("a", second, now=0.51)
    (granted,) = session.told(Granted)
    assert granted.term == 7


# Validity


def test_validity_is_the_quorum_th_largest_sending_time_plus_the_span() -> None:
    validity = Validity(nodes=5, span=SPAN)
    for node, sent_at in zip("abcd", (4.0, 1.0, 3.0, 2.0), strict=True):
        assert validity.until() == float("-inf") or node == "d"
        validity.acknowledge(node, sent_at)
    assert validity.until() == pytest.approx(2.0 + SPAN)
    validity.acknowledge("a", 0.5)  # older news
    assert validity.until() == pytest.approx(2.0 + SPAN)
    validity.acknowledge("b", 5.0)
    assert validity.until() == pytest.approx(3.0 + SPAN)


def test_the_span_is_the_ttl_less_the_drift_of_both_clocks() -> None:
    timing = Timing.for_ttl(TTL, max_ttl=MAX_TTL, drift=DRIFT)
    assert timing.span == pytest.approx(TTL * (1 - DRIFT) / (1 + DRIFT))
    assert timing.margin == pytest.approx(TTL / 10)


def test_the_program_is_told_a_margin_earlier_from_before_the_sending() -> None:
    session = HandSession()
    asked = session.to_accept(now=2.0)
    session.accepted("a", asked, now=2.1)
    session.accepted("b", asked, now=2.2)
    (granted,) = session.told(Granted)
    assert granted.deadline == pytest.approx(2.0 + SPAN - MARGIN)


@pytest.mark.parametrize("ttl", [0.3337, 1.0005, 10.0, 29.9996])
def test_an_acceptor_holds_no_shorter_than_the_holder_counts(ttl: float) -> None:
    session = HandSession()
    asked = session.to_accept(now=0.0, ttl=ttl)
    session.accepted("a", asked, now=0.0)
    session.accepted("b", asked, now=0.0)
    (granted,) = session.told(Granted)
    span = granted.deadline + ttl / 10
    assert asked.lease.ttl * (1 - DRIFT) / (1 + DRIFT) >= span - 1e-9
    assert asked.lease.ttl <= MAX_TTL


def test_s4_a_repetition_gets_a_new_number_and_counts_from_its_own_sending() -> None:
    session = HandSession()
    first = session.to_accept(now=0.0)
    session.tick(0.05)
    (node, second), *_ = session.sent(Accept)
    assert node == "a"
    assert second.seq > first.seq
    session.accepted("a", second, now=0.06)
    session.accepted("b", second, now=0.06)
    (granted,) = session.told(Granted)
    assert granted.deadline == pytest.approx(0.05 + SPAN - MARGIN)


def test_s4_an_answer_to_an_old_number_counts_from_its_first_sending() -> None:
    session = HandSession()
    first = session.to_accept(now=0.0)
    session.tick(0.05)
    assert session.sent(Accept)
    session.accepted("a", first, now=0.06)
    session.accepted("b", first, now=0.06)
    (granted,) = session.told(Granted)
    assert granted.deadline == pytest.approx(0.0 + SPAN - MARGIN)


def test_s4_a_renewal_counts_from_its_sending_however_late_the_answer() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=4)
    session.run_until(TTL / 3)
    (renew, later) = session.sent(Renew)[0][1], TTL / 3 + 2.0
    for node in "ab":
        session.renewed(node, renew, [(1, 4)], now=later)
    (extended,) = session.told(Extended)
    assert extended.deadline == pytest.approx(TTL / 3 + SPAN - MARGIN)
    assert extended.deadline > granted.deadline


def test_an_unknown_number_counts_for_nothing() -> None:
    session = HandSession()
    asked = session.to_accept(now=0.0)
    session.accepted("a", asked, now=0.0)
    session.accepted("b", asked, now=0.0, seq=999)
    assert session.told(Granted) == []


def test_an_answer_counts_only_for_its_sender_and_number() -> None:
    session = HandSession()
    session.to_grant(now=0.0, term=4)
    session.run_until(TTL / 3)
    renew = session.sent(Renew)[0][1]
    for node in "abc":
        session.renewed(node, renew, [(1, 4)], now=4.0, sender=session_id("detached"))
        session.renewed(node, renew, [(1, 4)], now=4.0, seq=renew.seq + 100)
    assert session.told(Extended) == []


def test_s3_answers_of_terms_from_the_token_on_count_together_and_lower_ones_never() -> None:
    session = HandSession()
    session.to_grant(now=0.0, term=4)
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    session.renewed("a", renewals["a"], [(1, 3)], now=4.0)
    session.renewed("b", renewals["b"], [(1, 3)], now=4.0)
    assert session.told(Extended) == []
    session.renewed("a", renewals["a"], [(1, 4)], now=4.0)
    session.renewed("b", renewals["b"], [(1, 9)], now=4.0)
    assert len(session.told(Extended)) == 1


def test_s3_an_acceptance_below_the_token_is_no_renewal() -> None:
    """The holder repeats its Accept where the lease is lacking: the answers count as those to a Renew do."""
    session = HandSession()
    asked = session.to_accept(now=0.0, term=4)
    for node in "ab":
        session.accepted(node, asked, now=0.0)
    session.sent(Accept)
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    for node in "bc":
        session.renewed(node, renewals[node], [], not_held=[1], now=TTL / 3)
    again = dict(session.sent(Accept))
    for node in "bc":
        session.accepted(node, again[node], now=4.0, term=3)
    assert session.told(Extended) == []
    for node in "bc":
        session.accepted(node, again[node], now=4.0)
    assert len(session.told(Extended)) == 1


def test_an_answer_for_the_handle_of_another_session_is_none_for_an_own_attempt() -> None:
    """The lease of a handle has the number of an attempt of this session."""
    session = HandSession()
    session.to_grant(now=0.0, term=4)
    session.machine.renew_detached(candidate("byblos"), 1, bytes(16), 3.0, patience=1.0)
    renewals = dict(session.sent(Renew))
    assert {(m.session, m.attempts) for m in renewals.values()} == {(BYBLOS.session, (1,))}
    for node in "abc":
        session.renewed(node, renewals[node], [(1, 4)], now=3.1)
    assert session.told(Extended) == []
    assert [outcome.done for outcome in session.told(HandleOutcome)] == [True]


def test_a_lapsed_lease_is_over_for_ever() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=4)
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    # The answers come in time by the acceptors' clocks, but too late by the holder's.
    for node in "abc":
        session.renewed(node, renewals[node], [(1, 4)], now=granted.deadline)
    assert session.told(Extended) == []
    (lost,) = session.told(Lost)
    assert (lost.ticket, lost.reason) == (granted.ticket, LossReason.EXPIRED)
    for node in "abc":
        session.renewed(node, renewals[node], [(1, 4)], now=granted.deadline + 0.01)
    assert session.told(Extended) == [] == session.told(Granted)


def test_a_choice_that_is_heard_too_late_is_no_lease() -> None:
    session = HandSession()
    asked = session.to_accept(now=0.0, ttl=0.2)
    late = SPAN / TTL * 0.2 - 0.02
    session.accepted("a", asked, now=late)
    session.accepted("b", asked, now=late)
    assert session.told(Granted) == []
    assert {message.candidate for _, message in session.sent(Release)} == {ATHENS}
    assert session.sent(Prepare)[-1][1].candidate == candidate("athens", 2)


def test_acceptances_that_come_while_it_backs_off_still_choose_the_lease() -> None:
    session = HandSession()
    asked = session.to_accept(now=0.0, term=4)
    session.accepted("a", asked, now=0.01)
    session.refused("b", asked, RefusalReason.STALE, now=0.02, term=6)
    session.refused("c", asked, RefusalReason.STALE, now=0.02, term=6)
    assert session.told(Granted) == []
    session.accepted("b", asked, now=0.021)
    (granted,) = session.told(Granted)
    assert granted.term == 4


# The end of a candidate


def released_answer(session: HandSession, who: Candidate = ATHENS) -> Released:
    return Released(0, NAME, who, 0)


def test_s2_release_is_the_last_thing_a_candidate_ever_sends() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=4)
    session.collect()
    session.sends.clear()
    session.release(granted.ticket, 1.0)
    assert {m.candidate for _, m in session.sent(Release)} == {ATHENS}
    # Whatever comes now, and whatever comes due: nothing but Release.
    asked = Accept(1, NAME, 4, _lease(granted), 1, 0)
    for node in "abc":
        session.accepted(node, asked, now=1.1)
        session.receive(node, Promise(0, NAME, ATHENS, 9, 4, 0), 1.2)
        session.receive(node, Renewed(1, ATHENS.session, ATHENS.session, 1, (), (1,)), 1.3)
        session.receive(node, Refused(1, NAME, ATHENS, RefusalReason.STALE, 9, 0, None), 1.4)
    session.run_until(60.0)
    session.collect()
    assert session.sent(Release)
    assert {type(message) for _, message in session.sends} <= {Release, Hello}  # no node has welcomed it


def _lease(granted: Granted) -> Lease:
    return Lease(granted.candidate, 10_000, "", b"", granted.term)


def test_s2_the_holder_stops_counting_before_it_says_so() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=4)
    session.release(granted.ticket, 1.0)
    assert session.machine.statistics().leases == 0
    assert session.machine.campaign_of(granted.ticket) is None


def test_s2_a_loss_is_published_with_the_release() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=4)
    session.collect()
    session.sends.clear()
    session.machine.tick(granted.deadline - 0.001)
    assert session.sent(Release) == [] and session.told(Lost) == []
    session.machine.tick(granted.deadline)
    assert len(session.told(Lost)) == 1
    release = session.sent_to_all(Release)
    assert (release.candidate, release.term) == (ATHENS, 4)


def test_l1_a_release_is_repeated_to_those_that_have_not_heard_it() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=4)
    session.release(granted.ticket, 1.0)
    session.sent_to_all(Release)
    session.receive("a", released_answer(session), 1.01)
    assert session.told(Ended) == []
    session.run_until(1.2)
    assert {node for node, _ in session.sent(Release)} == {"b", "c"}
    session.receive("c", released_answer(session), 1.3)
    session.sent(Release)
    assert session.told(Ended) == [Ended(granted.ticket, heard=True)]
    session.run_until(1.8)
    assert {node for node, _ in session.sent(Release)} == {"b"}
    session.run_until(30.0)
    session.sent(Release)
    session.run_until(60.0)
    assert session.sent(Release) == []  # what it could not tell runs out with its ttl


@pytest.mark.parametrize("wait", [None, 0.5])
def test_l1_an_attempt_given_up_is_released_everywhere(wait: float | None) -> None:
    session = HandSession()
    ticket = session.campaign(now=0.0, wait=wait)
    asked = session.sent_to_all(Prepare)
    session.promised("a", asked, 3, now=0.01)
    if wait is None:
        session.release(ticket, 0.5)
    else:
        session.run_until(0.5)
        assert [failed.reason for failed in session.told(Failed)] == [Reason.NO_QUORUM]
    release = session.sent_to_all(Release)
    assert (release.candidate, release.term) == (ATHENS, 3)


def test_l1_promised_or_accepted_for_an_attempt_that_is_over_is_answered_with_release() -> None:
    session = HandSession()
    ticket = session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.release(ticket, 0.1)
    for node in "abc":
        session.receive(node, released_answer(session), 0.2)
    session.sent(Release)
    session.promised("b", asked, 6, now=0.3)
    ((node, release),) = session.sent(Release)
    assert (node, release.candidate, release.term) == ("b", ATHENS, 6)
    session.receive("c", Accepted(1, NAME, ATHENS, 8, 1), 0.4)
    ((node, release),) = session.sent(Release)
    assert (node, release.candidate, release.term) == ("c", ATHENS, 8)


def test_l1_an_own_attempt_that_is_over_and_stands_in_the_way_is_released_again() -> None:
    session = HandSession()
    ticket = session.campaign(now=0.0)
    session.release(ticket, 0.1)
    for node in "abc":
        session.receive(node, released_answer(session), 0.1)
    session.campaign(now=0.2)
    session.sent(Release)
    asked = session.sent(Prepare)[-1][1]
    assert asked.candidate.attempt == 2
    session.refused("a", asked, RefusalReason.HELD, now=0.3, occupant=occupant(ATHENS))
    ((node, release),) = session.sent(Release)
    assert (node, release.candidate) == ("a", ATHENS)


def test_s1_attempts_of_a_session_are_never_reused_over_all_names() -> None:
    session = HandSession()
    numbers = []
    for name in ("one", "two", "one", "three"):
        ticket = session.campaign(now=0.0, name=name)
        numbers.append(session.sent_to_all(Prepare).candidate.attempt)
        session.release(ticket, 0.0)
    assert numbers == [1, 2, 3, 4]


# One live attempt per name


def test_l7_further_waiters_of_a_process_line_up_inside_the_session() -> None:
    session = HandSession()
    first = session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    second = session.campaign(now=0.1)
    third = session.campaign(now=0.2)
    for node in "ab":
        session.promised(node, asked, 1, now=0.3)
    assert {m.candidate.attempt for _, m in session.sent(Prepare)} == {1}
    accept = session.sent_to_all(Accept)
    for node in "ab":
        session.accepted(node, accept, now=0.3)
    assert [granted.ticket for granted in session.told(Granted)] == [first]
    session.run_until(0.5)
    assert session.sent(Prepare) == []
    session.release(first, 0.6)
    prepare = session.sent_to_all(Prepare)
    assert (prepare.candidate.attempt, prepare.age_ms) == (2, 500)
    session.release(third, 0.7)
    session.release(second, 0.8)
    assert session.sent(Prepare) == []
