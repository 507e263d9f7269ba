"""protocol.md section 2: what an acceptor does, for each name."""

from __future__ import annotations

import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    CYRENE,
    GRACE,
    MAX_TTL,
    NAME,
    TTL,
    HandAcceptor,
    HandReplica,
    accepted,
    candidate,
    lease_of,
    lock,
    promise,
    refusal,
    replica_of,
    secret,
    session_id,
)

from paxlock.core.messages import (
    Accept,
    Commit,
    Occupancy,
    Prepare,
    Recovering,
    RefusalReason,
    Refused,
    Release,
    Released,
)

# The one rule, and promises


def test_a_name_not_remembered_starts_closed_at_the_floor() -> None:
    node = HandAcceptor(floor=40)
    assert node.shows() == (40, "-", False)
    assert promise(node.prepare(ATHENS, now=0.0)).term == 41


def test_a_promise_takes_the_highest_of_at_least_own_term_and_floor() -> None:
    node = HandAcceptor()
    assert promise(node.prepare(ATHENS, now=0.0, at_least=7)).term == 7
    node.release(ATHENS, 7, now=0.0)
    assert promise(node.prepare(BYBLOS, now=0.0, at_least=3)).term == 8
    node.release(BYBLOS, 8, now=0.0)
    node.acceptor.floor = 20
    assert promise(node.prepare(CYRENE, now=0.0, at_least=9)).term == 21


@pytest.mark.parametrize("at_least", [1, 2, 1_000_000])
def test_while_a_lease_is_held_nobody_else_is_promised_or_accepted(at_least: int) -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 1, 1, now=0.0)
    before = node.shows()
    assert refusal(node.prepare(BYBLOS, now=TTL - 0.001, at_least=at_least)) is RefusalReason.HELD
    assert refusal(node.accept(BYBLOS, at_least + 1, 1, now=TTL - 0.001)) is RefusalReason.HELD
    assert node.shows() == before == (1, "athens", True)


def test_a_repeated_prepare_gets_the_same_promise() -> None:
    node = HandAcceptor()
    first = node.prepare(ATHENS, now=0.0, at_least=3)
    assert promise(first).term == 3
    assert node.prepare(ATHENS, now=0.01, at_least=3) == first
    assert node.prepare(ATHENS, now=0.02, at_least=2) == first
    assert promise(node.prepare(ATHENS, now=0.03, at_least=4)).term == 4


def test_a_promise_tells_the_candidate_of_its_own_accepted_lease() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 5, 1, now=0.0)
    again = promise(node.prepare(ATHENS, now=1.0, at_least=9))
    assert (again.term, again.lease_term) == (9, 5)
    assert node.record.deadline == TTL


def test_promised_to_another_within_the_grace_refuses() -> None:
    node = HandAcceptor()
    node.prepare(ATHENS, now=0.0)
    answer = node.prepare(BYBLOS, now=GRACE - 0.001, at_least=50)
    assert isinstance(answer, Refused)
    assert answer.reason is RefusalReason.PROMISED
    assert answer.occupant is not None
    assert (answer.occupant.candidate, answer.occupant.occupancy) == (ATHENS, Occupancy.PROMISED)
    assert node.shows() == (1, "athens", False)


def test_a_promise_that_lapses_closes_its_term() -> None:
    node = HandAcceptor()
    node.prepare(ATHENS, now=0.0)
    node.run_out(GRACE)
    assert node.shows() == (1, "-", False)
    assert refusal(node.accept(ATHENS, 1, 1, now=GRACE)) is RefusalReason.STALE


def test_l6_neither_repetition_nor_a_higher_term_renews_the_grace() -> None:
    node = HandAcceptor()
    node.prepare(ATHENS, now=0.0)
    node.prepare(ATHENS, now=0.4 * GRACE)
    node.prepare(ATHENS, now=0.8 * GRACE, at_least=9)
    assert refusal(node.prepare(BYBLOS, now=0.99 * GRACE)) is RefusalReason.PROMISED
    assert promise(node.prepare(BYBLOS, now=GRACE)).term == 10


def test_l6_a_candidate_passed_over_gets_a_grace_again() -> None:
    node = HandAcceptor()
    node.prepare(ATHENS, now=0.0)
    assert promise(node.prepare(ATHENS, now=GRACE)).term == 2
    assert refusal(node.prepare(BYBLOS, now=1.99 * GRACE)) is RefusalReason.PROMISED
    assert promise(node.prepare(BYBLOS, now=2 * GRACE)).term == 3


def test_l6_the_grace_does_not_run_for_a_candidate_whose_lease_is_held() -> None:
    node = HandAcceptor()
    node.prepare(ATHENS, now=0.0)
    node.accept(ATHENS, 1, 1, now=0.01)
    node.prepare(ATHENS, now=1.0, at_least=5)
    node.run_out(1.0 + 5 * GRACE)
    assert node.shows() == (5, "athens", True)


# Accept


def test_accepting_raises_the_promise() -> None:
    node = HandAcceptor()
    node.prepare(BYBLOS, now=0.0)
    answer = accepted(node.accept(ATHENS, 6, 1, now=0.0))
    assert (answer.term, answer.seq) == (6, 1)
    assert node.shows() == (6, "athens", True)


def test_a_term_below_or_owned_by_another_is_stale() -> None:
    node = HandAcceptor()
    node.prepare(BYBLOS, now=0.0, at_least=4)
    for term in (3, 4):
        answer = node.accept(ATHENS, term, 1, now=0.0)
        assert isinstance(answer, Refused)
        assert (answer.reason, answer.term) == (RefusalReason.STALE, 4)
    assert node.shows() == (4, "byblos", False)


def test_accept_never_queues() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 1, 1, now=0.0)
    assert refusal(node.accept(BYBLOS, 9, 1, now=0.0)) is RefusalReason.HELD
    assert not node.record.line


def test_a_repeated_accept_is_answered_with_the_stored_number_and_rearms_nothing() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 1, 5, now=0.0)
    for seq in (5, 4):
        assert accepted(node.accept(ATHENS, 1, seq, now=3.0)).seq == 5
        assert node.record.deadline == TTL
    assert accepted(node.accept(ATHENS, 1, 6, now=3.0)).seq == 6
    assert node.record.deadline == 3.0 + TTL


def test_s5_an_older_number_in_a_higher_term_does_not_lower_the_stored_one() -> None:
    """An Accept of a higher term is overtaken by a Renew: then that Renew comes again, and is old."""
    node = HandAcceptor()
    node.accept(ATHENS, 1, 1, now=0.0)
    node.renew(ATHENS, seq=3, now=1.0)
    taken = accepted(node.accept(ATHENS, 2, 2, now=2.0))
    assert (taken.term, taken.seq) == (2, 3)
    assert node.record.deadline == 2.0 + TTL
    assert node.renew(ATHENS, seq=3, now=5.0).held == ((1, 2),)
    assert node.record.deadline == 2.0 + TTL


def test_s6_the_deadline_never_moves_back_for_the_same_candidate() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 1, 1, now=0.0, ttl=20.0)
    assert accepted(node.accept(ATHENS, 2, 2, now=1.0, ttl=1.0)).term == 2
    assert node.record.deadline == 20.0
    node.renew(ATHENS, seq=3, now=2.0)  # the lease's own ttl is 1 s now
    assert node.record.deadline == 20.0
    assert refusal(node.accept(BYBLOS, 9, 1, now=19.9)) is RefusalReason.HELD


def test_s6_a_new_candidate_starts_with_its_own_deadline() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 1, 1, now=0.0, ttl=20.0)
    node.release(ATHENS, 1, now=1.0)
    node.accept(BYBLOS, 2, 1, now=1.0, ttl=2.0)
    assert node.record.deadline == 3.0


def test_at_the_deadline_the_lease_goes_and_the_term_closes_whoever_owns_it() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 1, 1, now=0.0)
    node.prepare(ATHENS, now=5.0, at_least=8)
    node.run_out(TTL)
    assert node.shows() == (8, "-", False)
    assert refusal(node.accept(ATHENS, 8, 2, now=TTL)) is RefusalReason.STALE


# Renew


def test_s5_a_repeated_renew_lists_the_same_and_rearms_nothing() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 3, 1, now=0.0)
    first = node.renew(ATHENS, seq=2, now=4.0)
    assert first.held == ((1, 3),)
    assert first.not_held == ()
    assert node.renew(ATHENS, seq=2, now=8.0) == first
    assert node.record.deadline == 4.0 + TTL


def test_s5_what_is_held_with_a_higher_number_is_in_neither_list() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 3, 7, now=0.0)
    late = node.renew(ATHENS, seq=6, now=4.0)
    assert (late.held, late.not_held) == ((), ())
    assert node.record.deadline == TTL


def test_one_datagram_renews_many_leases_and_names_those_not_held() -> None:
    node = HandAcceptor()
    first, second, third = (candidate("athens", number) for number in (1, 2, 3))
    node.accept(first, 3, 1, now=0.0, name="one")
    node.accept(second, 5, 2, now=0.0, name="two", ttl=20.0)
    answer = node.renew(first, second, third, seq=3, now=4.0)
    assert answer.held == ((1, 3), (2, 5))
    assert answer.not_held == (3,)
    records = node.acceptor.records
    assert (records["one"].deadline, records["two"].deadline) == (14.0, 24.0)


def test_a_lease_that_ran_out_is_not_renewed() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 3, 1, now=0.0)
    assert node.renew(ATHENS, seq=2, now=TTL).not_held == (1,)


def test_two_renewers_of_one_lease_only_prolong_it() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 3, 90, now=0.0)
    assert node.renew(ATHENS, seq=1, now=4.0, sender="detached").held == ((1, 3),)
    assert node.record.deadline == 14.0
    assert node.renew(ATHENS, seq=91, now=5.0).held == ((1, 3),)
    assert node.record.deadline == 15.0
    # Numbers are compared within one sender: the other one's are neither older nor newer.
    again = node.renew(ATHENS, seq=2, now=6.0, sender="detached")
    assert (again.sender, again.seq, again.held) == (session_id("detached"), 2, ((1, 3),))
    assert node.record.deadline == 16.0


# Release and tombstones


def test_release_frees_the_name_and_closes_the_term_at_the_higher_one() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 3, 1, now=0.0)
    assert isinstance(node.release(ATHENS, 9, now=1.0), Released)
    assert node.shows() == (9, "-", False)
    node.prepare(BYBLOS, now=1.0, at_least=20)
    node.release(BYBLOS, 4, now=1.0)
    assert node.shows() == (20, "-", False)


def test_release_is_answered_the_same_when_repeated() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 3, 1, now=0.0)
    first = node.release(ATHENS, 3, now=1.0)
    assert isinstance(first, Released)
    node.accept(BYBLOS, 4, 1, now=1.0)
    assert node.release(ATHENS, 3, now=2.0) == first


def test_s1_a_release_changes_nothing_while_another_lease_is_held() -> None:
    node = HandAcceptor()
    node.accept(BYBLOS, 4, 1, now=0.0)
    node.release(ATHENS, 900, now=1.0)
    assert node.shows() == (4, "byblos", True)
    assert (node.record.lease_term, node.record.deadline) == (4, TTL)
    assert node.renew(BYBLOS, seq=2, now=2.0).held == ((1, 4),)


def test_s1_a_release_changes_nothing_while_another_owns_the_promise() -> None:
    node = HandAcceptor()
    node.prepare(BYBLOS, now=0.0, at_least=4)
    node.release(ATHENS, 900, now=0.01)
    assert node.shows() == (4, "byblos", False)
    assert accepted(node.accept(BYBLOS, 4, 1, now=0.02)).term == 4


def test_s1_a_release_names_the_attempt_not_just_the_session() -> None:
    node = HandAcceptor()
    node.accept(candidate("athens", 2), 4, 1, now=0.0)
    node.release(candidate("athens", 1), 4, now=1.0)
    assert node.shows() == (4, "athens", True)
    assert node.renew(candidate("athens", 2), seq=2, now=2.0).held == ((2, 4),)


def test_l1_a_tombstone_refuses_what_comes_late() -> None:
    node = HandAcceptor()
    node.release(ATHENS, 1, now=0.0)
    assert refusal(node.prepare(ATHENS, now=0.1, refresh=0.1)) is RefusalReason.ENDED
    assert refusal(node.accept(ATHENS, 5, 1, now=0.1)) is RefusalReason.ENDED
    assert node.shows() == (0, "-", False)
    assert not node.record.line


def test_l1_a_release_leaves_the_line() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 1, 1, now=0.0)
    node.prepare(BYBLOS, now=0.0, refresh=5.0)
    node.release(BYBLOS, 0, now=0.1)
    node.release(ATHENS, 1, now=0.2)
    assert node.pushed() == []
    assert node.shows() == (1, "-", False)


def test_l1_one_number_per_session_is_enough() -> None:
    node = HandAcceptor()
    node.release(candidate("athens", 5), 1, now=0.0)
    node.release(candidate("athens", 3), 1, now=0.1)  # late: the tombstone does not go back
    for attempt in (3, 4, 5):
        assert refusal(node.prepare(candidate("athens", attempt), now=0.2)) is RefusalReason.ENDED
    assert promise(node.prepare(candidate("athens", 6), now=0.2)).candidate.attempt == 6


def test_a_tombstone_never_ends_the_lease_of_another_attempt() -> None:
    node = HandAcceptor()
    old = candidate("athens", 1)
    node.accept(old, 1, 1, now=0.0)
    node.release(candidate("athens", 2), 7, now=1.0)
    assert node.shows() == (1, "athens", True)
    assert refusal(node.accept(old, 2, 3, now=2.0)) is RefusalReason.ENDED
    # Its future is over, its exclusion is not: it is not prolonged, and holds until its deadline.
    assert node.renew(old, seq=4, now=3.0).not_held == (1,)
    assert refusal(node.prepare(BYBLOS, now=TTL - 0.1)) is RefusalReason.HELD
    node.run_out(TTL)
    assert node.shows() == (1, "-", False)


def test_a_tombstone_is_kept_for_a_minute_at_least() -> None:
    node = HandAcceptor()
    node.release(ATHENS, 1, now=0.0)
    node.release(BYBLOS, 1, now=30.0)
    assert refusal(node.accept(ATHENS, 5, 1, now=59.9)) is RefusalReason.ENDED
    assert refusal(node.accept(BYBLOS, 5, 1, now=89.9)) is RefusalReason.ENDED
    node.run_out(200.0)
    assert NAME not in node.acceptor.records


# Forgetting


def test_forgetting_a_name_raises_the_floor_over_its_term() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 12, 1, now=0.0)
    node.release(ATHENS, 12, now=1.0)
    node.prepare(BYBLOS, now=1.0, at_least=77)
    node.run_out(500.0)
    assert NAME not in node.acceptor.records
    assert node.acceptor.floor == 77
    assert refusal(node.accept(CYRENE, 77, 1, now=500.0)) is RefusalReason.STALE
    assert promise(node.prepare(CYRENE, now=500.0)).term == 78


def test_a_held_name_is_not_forgotten() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 12, 1, now=0.0)
    for step in range(1, 40):
        node.renew(ATHENS, seq=1 + step, now=5.0 * step)
    assert node.shows() == (12, "athens", True)
    assert node.acceptor.floor == 0


# The gate


def test_a_ttl_above_the_maximum_is_refused_and_never_clamped() -> None:
    node = HandAcceptor()
    assert refusal(node.accept(ATHENS, 1, 1, now=0.0, ttl=MAX_TTL + 0.001)) is RefusalReason.TTL
    assert node.shows() == (0, "-", False)
    assert accepted(node.accept(ATHENS, 1, 1, now=0.0, ttl=MAX_TTL)).term == 1


def test_a_lease_above_a_lowered_maximum_is_not_prolonged() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 1, 1, now=0.0, ttl=20.0)
    node.acceptor.max_ttl = TTL
    assert node.renew(ATHENS, seq=2, now=5.0).not_held == (1,)
    assert node.record.deadline == 20.0
    assert refusal(node.prepare(BYBLOS, now=19.9)) is RefusalReason.HELD


@pytest.mark.parametrize(("floor", "seconds"), [(0, 0), (1 << 50, 0), (0, 5_000)])
def test_a_term_too_far_ahead_is_refused(floor: int, seconds: int) -> None:
    limit = max(floor, seconds << 20) + (1 << 32)
    node = HandAcceptor(floor=floor, ceiling=1 << 61, wall_offset=float(seconds))
    assert refusal(node.prepare(ATHENS, now=0.0, at_least=limit + 1)) is RefusalReason.TERM
    assert refusal(node.accept(ATHENS, limit + 1, 1, now=0.0)) is RefusalReason.TERM
    assert refusal(node.release(ATHENS, limit + 1, now=0.0)) is RefusalReason.TERM
    assert node.shows() == (floor, "-", False)
    assert promise(node.prepare(ATHENS, now=0.0, at_least=limit)).term == limit


def test_a_term_above_the_ceiling_waits_for_the_durable_raise() -> None:
    node = HandAcceptor(ceiling=100)
    assert node.prepare(ATHENS, now=0.0, at_least=101) is None
    assert node.accept(ATHENS, 101, 1, now=0.0) is None
    assert node.shows() == (0, "-", False)
    assert node.acceptor.wanted_ceiling >= 101
    node.acceptor.raised(node.acceptor.wanted_ceiling, now=0.1)
    assert accepted(node.accept(ATHENS, 101, 1, now=0.1)).term == 101


def test_a_release_above_the_ceiling_waits_for_the_durable_raise() -> None:
    node = HandAcceptor(ceiling=100)
    node.accept(ATHENS, 1, 1, now=0.0)
    assert node.release(ATHENS, 101, now=1.0) is None
    assert node.shows() == (1, "athens", True)
    node.acceptor.raised(node.acceptor.wanted_ceiling, now=1.1)
    assert isinstance(node.release(ATHENS, 101, now=1.2), Released)
    assert node.shows() == (101, "-", False)


def test_the_ceiling_is_durable_before_it_is_used() -> None:
    replica = replica_of("a", "abc")
    replica.take_effects()
    replica.receive(Prepare(1, NAME, 1500, ATHENS, 0, 0, 0, ""), ATHENS.session, 0.0)
    effects = replica.take_effects()
    assert effects.persist is not None and effects.persist.ceiling >= 1500
    assert [m for _, m in effects.sends if isinstance(m, Prepare | Refused)] == []
    replica.persisted(effects.persist, 0.1)
    replica.receive(Prepare(1, NAME, 1500, ATHENS, 0, 0, 0, ""), ATHENS.session, 0.2)
    (sent,) = [m for peer, m in replica.take_effects().sends if peer == ATHENS.session]
    assert promise(sent).term == 1500


# Commit


def test_s13_a_commit_never_changes_what_an_acceptor_holds() -> None:
    node = HandReplica(replica_of("a", "abc"))
    commit = Commit(NAME, 50, lease_of(ATHENS))
    node.receive(commit, ATHENS.session, 0.0)
    assert node.shows() == (0, "-", False)
    (answer,) = node.receive(Accept(1, NAME, 2, lease_of(BYBLOS), 1, 0), BYBLOS.session, 0.1)
    assert accepted(answer).term == 2
    before = node.machine._acceptor.records[NAME].deadline
    node.receive(Commit(NAME, 60, lease_of(BYBLOS)), BYBLOS.session, 3.0)
    assert node.shows() == (2, "byblos", True)
    assert node.machine._acceptor.records[NAME].deadline == before
    node.tick(0.1 + TTL)
    assert node.shows() == (2, "-", False)


def test_s13_a_commit_raises_no_promise() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Prepare(1, NAME, 3, BYBLOS, 0, 0, 0, ""), BYBLOS.session, 0.0)
    node.receive(Commit(NAME, 50, lease_of(ATHENS)), ATHENS.session, 0.01)
    assert node.shows() == (3, "byblos", False)
    (answer,) = node.receive(Accept(2, NAME, 3, lease_of(BYBLOS), 1, 0), BYBLOS.session, 0.02)
    assert accepted(answer).term == 3


def test_only_a_session_itself_proposes_for_its_candidates() -> None:
    node = HandReplica(replica_of("a", "abc"))
    assert node.receive(Prepare(1, NAME, 1, ATHENS, 0, 0, 0, ""), BYBLOS.session, 0.0) == []
    assert node.receive(Accept(1, NAME, 1, lease_of(ATHENS), 1, 0), BYBLOS.session, 0.0) == []
    assert node.shows() == (0, "-", False)
    assert node.machine.counters["foreign_candidate"] == 2


def test_what_has_run_out_is_seen_before_the_event_not_by_a_timer() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Accept(1, NAME, 1, lease_of(ATHENS), 1, 0), ATHENS.session, 0.0)
    # Nobody has ticked: the event itself finds that the lease has run out.
    (answer,) = node.receive(Accept(1, NAME, 2, lease_of(BYBLOS), 1, 0), BYBLOS.session, TTL)
    assert accepted(answer).term == 2


def test_one_candidate_under_two_names_harms_nobody() -> None:
    node = HandAcceptor()
    node.accept(ATHENS, 1, 1, now=0.0, name="one")
    node.accept(ATHENS, 1, 2, now=1.0, name="two")
    node.run_out(20.0)
    assert node.acceptor.records["one"].lease is None
    assert node.acceptor.records["two"].lease is None


def test_release_by_handle_comes_from_any_session() -> None:
    node = HandReplica(replica_of("a", "abc"))
    node.receive(Accept(1, NAME, 1, lease_of(ATHENS), 1, 0, 0, lock(ATHENS)), ATHENS.session, 0.0)
    (answer,) = node.receive(Release(1, NAME, ATHENS, 1, secret(ATHENS)), BYBLOS.session, 1.0)
    assert isinstance(answer, Released)
    assert not isinstance(answer, Recovering)
    assert node.shows() == (1, "-", False)
