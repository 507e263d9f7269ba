"""protocol.md section 3: keeping a long tenure (rule L3), and detached leases."""

from __future__ import annotations

from by_hand import (
    ATHENS,
    NAME,
    TTL,
    HandSession,
    candidate,
    handle_of,
    occupant,
    replica_of,
    secret,
)
from hand_cell import HandCell

from paxlock.core.lease import Lease
from paxlock.core.messages import (
    Accept,
    Commit,
    Message,
    Occupancy,
    Prepare,
    Recovering,
    RefusalReason,
    Release,
    Renew,
)
from paxlock.core.session.events import Ended, Extended, Granted, HandleOutcome, Lost
from paxlock.core.session.proposer import Phase
from paxlock.errors import LossReason

# Keeping a long tenure


def _lease(granted: Granted) -> Lease:
    return Lease(granted.candidate, 10_000, "", b"", granted.term)


def test_l3_not_held_is_answered_with_accept_in_the_same_term() -> None:
    session = HandSession()
    session.to_grant(now=0.0, term=4)
    session.sent(Accept)
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    session.sent(Accept)
    session.renewed("c", renewals["c"], [], not_held=[1], now=4.0)
    ((node, repair),) = session.sent(Accept)
    assert (node, repair.term, repair.lease.candidate, repair.lease.token) == ("c", 4, ATHENS, 4)
    assert repair.seq > renewals["c"].seq
    session.renewed("c", renewals["c"], [], not_held=[1], now=4.0 + TTL / 8 - 0.01)
    assert session.sent(Accept) == []
    session.renewed("c", renewals["c"], [], not_held=[1], now=4.0 + TTL / 8)
    assert [node for node, _ in session.sent(Accept)] == ["c"]


def test_l3_recovering_is_not_not_held() -> None:
    session = HandSession()
    session.to_grant(now=0.0, term=4)
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    session.sent(Accept)
    session.receive("c", Recovering(renewals["c"].request, 9_000), 4.0)
    assert session.sent(Accept) == []
    assert session.sent(Prepare) == []


def stale_holder(session: HandSession) -> Prepare:
    """A holder in term 4 to which c says "not held", and then "stale, 9"."""
    session.to_grant(now=0.0, term=4)
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    for node in "ab":
        session.renewed(node, renewals[node], [(1, 4)], now=TTL / 3)
    session.sent(Accept)
    session.sent(Commit)
    session.renewed("c", renewals["c"], [], not_held=[1], now=4.0)
    ((_, repair),) = session.sent(Accept)
    session.told(Extended)
    session.refused("c", repair, RefusalReason.STALE, now=4.0, term=9)
    return session.sent_to_all(Prepare)


def test_l3_stale_makes_the_same_candidate_go_to_a_higher_term_and_the_token_stays() -> None:
    session = HandSession()
    prepare = stale_holder(session)
    assert (prepare.candidate, prepare.at_least, prepare.refresh_ms) == (ATHENS, 10, 0)
    for node in "abc":
        session.promised(node, prepare, 10, now=4.0)
    accept = session.sent_to_all(Accept)
    assert (accept.term, accept.lease.token) == (10, 4)
    for node in "abc":
        session.accepted(node, accept, now=4.01)
    commit = session.sent_to_all(Commit)
    assert (commit.term, commit.lease.token) == (10, 4)
    assert session.told(Granted) == []  # the same tenure
    assert session.told(Extended)
    assert session.told(Lost) == []


def test_l3_a_higher_term_that_fails_costs_nothing_and_is_tried_again_after_an_eighth() -> None:
    session = HandSession()
    prepare = stale_holder(session)
    older = occupant(candidate("ariadne"), Occupancy.PROMISED, age=100.0)
    for node in "abc":
        session.refused(node, prepare, RefusalReason.PROMISED, now=4.0, term=9, occupant=older)
    assert session.sent(Release) == []  # a valid holder never withdraws because of it
    assert session.told(Lost) == []
    repair = Accept(prepare.request, NAME, 4, _lease(Granted(1, ATHENS, 4, 0.0)), 99, 0)
    session.refused("c", repair, RefusalReason.STALE, now=4.0 + TTL / 8 - 0.01, term=9)
    assert session.sent(Prepare) == []
    session.refused("c", repair, RefusalReason.STALE, now=4.0 + TTL / 8, term=9)
    assert session.sent_to_all(Prepare).at_least == 10


def test_l3_a_holder_does_not_give_a_higher_term_up_because_one_node_is_beyond_it() -> None:
    """The others may take it yet: it is no candidate any more, that would come back after a pause."""
    session = HandSession()
    prepare = stale_holder(session)
    for node in "abc":
        session.promised(node, prepare, 10, now=4.0)
    accept = session.sent_to_all(Accept)
    session.accepted("c", accept, now=4.01, term=11)
    (attempt,) = session.machine._campaigns.candidates.attempts.values()
    assert attempt.proposer.phase is Phase.ACCEPTING
    for node in "ab":
        session.accepted(node, accept, now=4.02)
    assert session.sent_to_all(Commit).term == 10


def test_l3_it_goes_on_renewing_while_it_tries_a_higher_term() -> None:
    session = HandSession()
    stale_holder(session)
    session.sent(Renew)
    session.run_until(2 * TTL / 3 + 0.01)
    renew = dict(session.sent(Renew))
    for node in "ab":
        session.renewed(node, renew[node], [(1, 4)], now=2 * TTL / 3 + 0.02)
    assert session.told(Extended)


def test_l3_a_tenure_outlives_the_restart_of_every_node_one_after_another() -> None:
    cell = HandCell("abc", ["athens"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(1.0)
    (granted,) = cell.told("athens", Granted)
    for life in range(1, 3):
        for node in "abc":
            # The node comes back after it has sat out: its floor is its old ceiling.
            ceiling = 1000 * life
            cell.replicas[node] = replica_of(node, "abc", now=cell.now)
            cell.replicas[node]._acceptor.floor = ceiling
            cell.replicas[node]._acceptor.ceiling = ceiling + 2000
            cell.run(1.5 * TTL)
            assert cell.shows(node)[1:] == ("athens", True), (life, node)
            assert cell.shows(node)[0] > ceiling
    assert cell.told("athens", Lost) == []
    assert cell.told("athens", Granted) == []
    view = cell.replicas["a"]._learner.view(NAME, cell.now)
    assert view.lease is not None
    assert (view.lease.token, view.lease.candidate) == (granted.term, ATHENS)
    assert view.lease_term > 2000


def test_l3_without_a_quorum_the_tenure_lapses() -> None:
    cell = HandCell("abc", ["athens"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(1.0)
    (granted,) = cell.told("athens", Granted)
    cell.told("athens", Extended)

    def lost(sender: str, to: str, message: Message) -> bool:
        return "b" in (sender, to) or "c" in (sender, to)

    cell.run(2 * TTL, lost=lost)
    assert cell.told("athens", Lost) == [Lost(granted.ticket, LossReason.EXPIRED)]


def test_ended_tells_the_holder_that_its_lease_was_released_by_its_handle() -> None:
    cell = HandCell("abc", ["athens", "byblos"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(1.0)
    (granted,) = cell.told("athens", Granted)
    cell.sessions["byblos"].release_detached(NAME, *handle_of(granted), cell.now, patience=1.0)
    cell.run(TTL / 2)
    assert [outcome.done for outcome in cell.told("byblos", HandleOutcome)] == [True]
    assert cell.told("athens", Lost) == [Lost(granted.ticket, LossReason.RELEASED)]


# Detached leases


def test_a_detached_lease_is_renewed_by_another_session_and_outlives_its_maker() -> None:
    cell = HandCell("abc", ["athens", "byblos"])
    ticket = cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(1.0)
    (granted,) = cell.told("athens", Granted)
    cell.sessions["athens"].detach(ticket, cell.now)
    cell.run(6.0)
    assert cell.told("athens", Ended) == []
    cell.sessions["byblos"].renew_detached(*handle_of(granted), cell.now, patience=1.0)
    cell.run(9.0)
    assert cell.told("byblos", HandleOutcome)[0].done
    assert [cell.shows(node) for node in "abc"] == [(granted.term, "athens", True)] * 3
    cell.run(2.0)
    assert [cell.shows(node)[2] for node in "abc"] == [False] * 3
    cell.sessions["byblos"].renew_detached(*handle_of(granted), cell.now, patience=1.0)
    cell.run(1.0)
    assert cell.told("byblos", HandleOutcome)[0].over


def test_s3_a_detached_renewal_counts_only_from_the_handles_term_on() -> None:
    session = HandSession("byblos")
    session.machine.renew_detached(ATHENS, 5, secret(ATHENS), 0.0, patience=1.0)
    asked = dict(session.sent(Renew))
    assert {m.session for m in asked.values()} == {ATHENS.session}
    for node in "ab":
        session.renewed(node, asked[node], [(1, 4)], now=0.01)
    (outcome,) = session.told(HandleOutcome)
    assert (outcome.done, outcome.over) == (False, True)
