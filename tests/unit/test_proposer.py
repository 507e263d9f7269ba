"""One candidate's rounds, without a session around them."""

from __future__ import annotations

import pytest

from paxlock.core.lease import Candidate
from paxlock.core.messages import Occupancy, Occupant, RefusalReason, Refused
from paxlock.core.session.proposer import Phase, Proposer

ATHENS = Candidate(b"athens".ljust(16, b"."), 1)
BYBLOS = Candidate(b"byblos".ljust(16, b"."), 1)


def proposer(nodes: str = "abc") -> Proposer:
    found = Proposer(BYBLOS, tuple(nodes))
    found.prepare(5, 1, 0.0)
    return found


def no(
    reason: RefusalReason, request: int = 1, term: int = 7, who: Candidate | None = None, age_ms: int = 0
) -> Refused:
    occupant = Occupant(who, Occupancy.HELD, age_ms, "", 0, 0) if who is not None else None
    return Refused(request, "n", BYBLOS, reason, term, 0, occupant)


def chosen() -> Proposer:
    found = proposer()
    assert not found.promised("a", 1, 5)
    assert found.promised("b", 1, 6)
    found.accept(2, 0.1)
    assert not found.took("a", 6, 0.1)
    assert found.took("b", 6, 0.1)
    return found


def test_from_preparing_to_chosen() -> None:
    found = chosen()
    assert (found.phase, found.term, found.used) == (Phase.CHOSEN, 6, 6)
    assert not found.took("c", 6, 0.1)  # chosen once
    assert found.unanswered() == []


def accepting(nodes: str = "abcde", term: int = 6) -> Proposer:
    found = proposer(nodes)
    for node in nodes[: len(nodes) // 2 + 1]:
        found.promised(node, 1, term)
    found.accept(2, 0.1)
    return found


def test_an_acceptance_is_one_vote_however_often_it_comes() -> None:
    found = accepting()
    for _ in range(3):
        assert not found.took("a", 6, 0.1)
        assert not found.took("b", 6, 0.1)
    assert found.took("c", 6, 0.1)


def test_strangers_have_no_vote() -> None:
    found = accepting()
    for stranger in ("x", "y", "A", "", "ab"):
        assert not found.took(stranger, 6, 0.1)
        assert not found.promised(stranger, 1, 6)
    assert (found.taken, found.phase) == ({}, Phase.ACCEPTING)


def test_acceptances_of_different_terms_do_not_choose_together() -> None:
    found = accepting()
    for node, term in zip("abcde", (6, 7, 7, 6, 8), strict=True):
        assert not found.took(node, term, 0.1)
    assert not found.took("b", 6, 0.1)  # late: it has gone on to 7
    assert found.took("a", 7, 0.1)
    assert (found.phase, found.term) == (Phase.CHOSEN, 7)


def test_in_phase_1_a_number_that_is_too_old_is_worth_a_promise() -> None:
    found = proposer()
    assert not found.took("a", 5, 0.1, since=0.2)
    assert not found.took("b", 5, 0.3, since=0.2)
    assert found.may_accept
    assert found.took("a", 5, 0.4, since=0.2)


def test_promises_below_at_least_or_to_another_question_do_not_count() -> None:
    found = proposer()
    assert not found.promised("a", 1, 4)
    assert not found.promised("b", 9, 5)
    assert found.promises == {}
    assert found.promised("a", 0, 5) is False
    assert found.promised("b", 1, 5)  # a pushed promise (request 0) counts with an asked one


def test_a_refusal_takes_a_promise_back_and_a_promise_a_refusal() -> None:
    found = proposer()
    found.promised("a", 1, 5)
    found.refused("a", no(RefusalReason.PROMISED), 0.1)
    assert (found.promises, set(found.refusals)) == ({}, {"a"})
    found.promised("a", 1, 8)
    assert (found.promises, found.refusals) == ({"a": 8}, {})


def test_a_refusal_teaches_the_term_even_where_it_answers_an_old_question() -> None:
    found = proposer()
    found.refused("a", no(RefusalReason.STALE, request=99, term=40), 0.1)
    assert (found.highest, found.refusals) == (40, {})
    found.refused("x", no(RefusalReason.STALE, term=90), 0.1)
    assert found.highest == 40


def test_failed_is_refused_at_more_than_n_less_quorum() -> None:
    found = proposer("abcde")
    for node in "ab":
        found.refused(node, no(RefusalReason.STALE), 0.1)
    assert not found.failed(frozenset())
    assert found.failed(frozenset("c"))
    assert not found.failed(frozenset("ab"))
    found.refused("c", no(RefusalReason.STALE), 0.1)
    assert found.failed(frozenset())


def test_a_late_refusal_by_a_node_that_has_accepted_is_nothing() -> None:
    found = chosen()
    found.refused("a", no(RefusalReason.STALE, request=2), 0.2)
    assert found.refusals == {}


def test_in_a_higher_term_the_acceptances_of_the_last_one_do_not_hide_a_no() -> None:
    found = chosen()
    found.prepare(9, 3, 0.3)
    for node in "ab":
        found.refused(node, no(RefusalReason.PROMISED, request=3), 0.4)
    assert found.failed(frozenset())


def test_staying_goes_back_to_the_term_that_was_chosen() -> None:
    found = chosen()
    found.prepare(9, 3, 0.3)
    for node in "ab":
        found.promised(node, 3, 9)
    found.accept(4, 0.4)
    assert (found.term, found.used) == (9, 9)
    found.stay(6)
    assert (found.phase, found.term, found.used) == (Phase.CHOSEN, 6, 9)


def test_one_that_occupies_nothing_need_not_withdraw() -> None:
    found = proposer()
    for node in "abc":
        who = Candidate(node.encode() * 16, 1)
        found.refused(node, no(RefusalReason.HELD, who=who, age_ms=9_000), 0.1)
    assert found.failed(frozenset())
    assert not found.must_withdraw(age=0.1, window=0.05, now=0.1)
    found.occupies.add("a")
    assert not found.must_withdraw(age=0.1, window=0.05, now=0.1)  # what was heard once may be over
    who = Candidate(b"a" * 16, 1)
    found.refused("a", no(RefusalReason.HELD, who=who, age_ms=9_000), 0.1)
    found.occupies.add("a")
    assert found.must_withdraw(age=0.1, window=0.05, now=0.1)


def confirmed(who: Candidate, *, left_ms: int = 9_000) -> Refused:
    """A node holds for a holder that has said so itself."""
    occupant = Occupant(who, Occupancy.HELD, 5_000, "", left_ms, 10_000, 50, confirmed=True)
    return Refused(1, "n", BYBLOS, RefusalReason.HELD, 7, 0, occupant)


def test_l3_one_that_has_only_promises_waits_for_a_holder_and_does_not_come_back_in_a_higher_term() -> None:
    found = proposer()
    found.promised("c", 1, 5)
    for _ in range(2):
        found.refused("b", confirmed(ATHENS), 0.1)
    assert not found.must_withdraw(age=0.1, window=0.05, now=0.1)
    found.promised("c", 1, 5, 0.2, leased=True)
    assert found.must_withdraw(age=0.1, window=0.05, now=0.2)


def test_l3_where_others_are_silent_the_holders_own_word_at_one_node_keeps_the_rest_free_for_it() -> None:
    found = proposer()
    found.refused("b", confirmed(ATHENS), 1.0)
    assert list(found.lease_targets(9.9, since=0.0)) == ["b"]
    assert list(found.lease_targets(10.1, since=0.0)) == ["a", "b", "c"]  # its lease has run out there
    assert list(found.lease_targets(5.0, since=1.0)) == ["b"]
    assert list(found.lease_targets(5.0, since=2.0)) == ["a", "b", "c"]  # b is silent itself by now
    other = proposer()
    other.refused("b", no(RefusalReason.HELD, who=ATHENS), 1.0)  # nobody has heard it say so
    assert list(other.lease_targets(1.0, since=0.0)) == ["a", "b", "c"]


def test_l3_a_no_of_before_the_holder_was_named_leaves_no_node_out() -> None:
    """The name goes from athens to delphi, and from delphi to cyrene. What c says of athens says nothing of
    those who followed; what it says while delphi is named is of a node that lacks delphi's lease.
    """
    found = proposer()
    for node in "abc":
        found.refused(node, confirmed(ATHENS), 1.0)
    delphi, cyrene = (Candidate(first * 16, 1) for first in (b"d", b"c"))
    for node in "ab":
        found.refused(node, confirmed(delphi), 2.0)
    assert list(found.lease_targets(2.0, since=0.0)) == ["a", "b", "c"]
    found.refused("c", confirmed(ATHENS), 3.0)
    for node in "ab":
        found.refused(node, confirmed(delphi), 4.0)
    assert list(found.lease_targets(4.0, since=0.0)) == ["a", "b"]
    for node in "ab":
        found.refused(node, confirmed(cyrene), 5.0)
    assert list(found.lease_targets(5.0, since=0.0)) == ["a", "b", "c"]


def test_l3_a_minority_is_given_back_by_the_word_of_one_node_that_has_heard_the_holder() -> None:
    found = proposer()
    found.promised("c", 1, 5, 0.5, leased=True)
    found.refused("b", confirmed(ATHENS, left_ms=4_000), 1.0)
    assert not found.holds_useless_minority()  # it has not renewed for long
    found.refused("b", confirmed(ATHENS), 1.0)
    assert found.holds_useless_minority()


def withdraws(age: float, other: Candidate, other_age: float, who: Candidate) -> bool:
    """A candidate with one node of three for itself; the others say that another holds one of them."""
    found = Proposer(who, ("a", "b", "c"))
    found.prepare(5, 1, 0.0)
    found.promised("a", 1, 5)
    for _ in range(2):
        found.refused("b", no(RefusalReason.HELD, who=other, age_ms=round(other_age * 1000)), 0.0)
    found.refused("c", no(RefusalReason.STALE), 0.0)
    return found.must_withdraw(age=age, window=0.04, now=0.0)


@pytest.mark.parametrize("apart_ms", range(0, 100, 3))
@pytest.mark.parametrize("heard_late_ms", [0, 5, 10])
def test_of_two_that_split_the_votes_one_withdraws_however_far_apart(
    apart_ms: int, heard_late_ms: int
) -> None:
    """Each hears the other's age late: together, there and back, by up to two round trips, half the grace."""
    older, younger, late = 3.0 + apart_ms / 1000.0, 3.0, heard_late_ms / 1000.0
    for first, second in ((ATHENS, BYBLOS), (BYBLOS, ATHENS)):
        assert withdraws(older, second, younger - late, first) or withdraws(
            younger, first, older - late, second
        )


def test_an_occupant_grows_older_after_it_was_heard_of() -> None:
    found = proposer()
    found.promised("a", 1, 5)
    for node, who in 2 * (("b", ATHENS), ("c", Candidate(b"cyrene", 1))):
        found.refused(node, no(RefusalReason.HELD, who=who, age_ms=500), 1.0)
    assert not found.must_withdraw(age=2.0, window=0.05, now=2.0)  # they are 1.5 s old by now
    assert found.must_withdraw(age=1.4, window=0.05, now=2.0)
