"""protocol.md section 12: what others want of a holder, and other data."""

from __future__ import annotations

import attrs
import pytest
from by_hand import (
    ATHENS,
    BYBLOS,
    CYRENE,
    MAX_TTL,
    NAME,
    TTL,
    HandReplica,
    HandSession,
    accepted,
    lease_of,
    member_record,
    refusal,
    replica_of,
    start_of,
)
from starts import serve

from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Message,
    Poll,
    Prepare,
    RefusalReason,
    Refused,
    Release,
    Renew,
    Renewed,
    StandingPrepare,
    View,
)
from paxlock.core.node.forgetting import TOMBSTONE_S
from paxlock.core.node.keeping import replay
from paxlock.core.session.events import (
    DataPublished,
    Extended,
    Granted,
    HandleOutcome,
    LetGoAsked,
    Lost,
)
from paxlock.core.steering import LetGo, Publish, Published, Revoke, RevokeAnswer
from paxlock.errors import LossReason

OPERATOR = b"operator".ljust(16, b".")


def holder(term: int = 5, *, told: bool = True) -> HandReplica:
    """A node that holds for athens from 1.0 on, and knows the token where the holder has ``told`` it."""
    found = HandReplica(replica_of("a", "abc"))
    lease = attrs.evolve(lease_of(ATHENS), data=b"0")
    assert accepted(answer(found, Accept(1, NAME, term, lease, 1, 0, 0), ATHENS, 1.0)).term == term
    if told:
        found.receive(Commit(NAME, term, lease.with_token(term)), ATHENS.session, 1.0)
    found.sends.clear()
    return found


def answer(node: HandReplica, message: Message, who: Candidate, now: float) -> Message:
    """The one answer; what is pushed at the same moment has no request."""
    (found,) = [told for told in node.receive(message, who.session, now) if getattr(told, "request", 0)]
    return found


def force(node: HandReplica, now: float, term: int = 5, who: Candidate = ATHENS) -> list[Message]:
    return list(node.receive(Revoke(9, NAME, who, term, True, None), OPERATOR, now))


def ask(node: HandReplica, now: float, term: int = 5, successor: Candidate | None = None) -> list[Message]:
    return list(node.receive(Revoke(9, NAME, ATHENS, term, False, successor), OPERATOR, now))


def renewed(node: HandReplica, seq: int, now: float) -> Renewed:
    found = answer(node, Renew(3, ATHENS.session, seq, (1,)), ATHENS, now)
    assert isinstance(found, Renewed)
    return found


def shown(node: HandReplica, now: float) -> View:
    (found,) = node.receive(Poll(7, NAME), OPERATOR, now)
    assert isinstance(found, View)
    return found


# Forced, at the acceptor


def test_s12_by_force_the_lease_is_held_until_its_deadline_and_renewed_no_more() -> None:
    node = holder()
    assert force(node, 2.0) == [RevokeAnswer(9, NAME, ATHENS, taken=True, held=True)]
    ((to, push),) = node.sent(Refused)
    assert (to, push.request, push.candidate) == (ATHENS.session, 0, ATHENS)
    assert push.reason is RefusalReason.REVOKED
    assert renewed(node, 2, 3.0).not_held == (1,)
    said = answer(node, Accept(2, NAME, 6, lease_of(ATHENS), 3, 0, 0), ATHENS, 3.0)
    assert refusal(said) is RefusalReason.REVOKED
    said = answer(node, Prepare(2, NAME, 7, ATHENS, 0, 0, 0, ""), ATHENS, 3.0)
    assert refusal(said) is RefusalReason.REVOKED
    said = answer(node, Prepare(2, NAME, 7, BYBLOS, 0, 0, 0, ""), BYBLOS, 1.0 + TTL - 0.01)
    assert refusal(said) is RefusalReason.HELD
    said = answer(node, Prepare(2, NAME, 7, BYBLOS, 0, 0, 0, ""), BYBLOS, 1.0 + TTL)
    assert not isinstance(said, Refused)


def test_s12_a_node_without_the_lease_refuses_it_for_max_ttl_longer_than_others() -> None:
    node = HandReplica(replica_of("c", "abc"))
    assert force(node, 2.0) == [RevokeAnswer(9, NAME, ATHENS, taken=True, held=False)]
    for late in (2.0, 2.0 + TOMBSTONE_S + MAX_TTL - 5.0):
        said = answer(node, Accept(2, NAME, 6, lease_of(ATHENS), 3, 0, 0), ATHENS, late)
        assert refusal(said) is RefusalReason.REVOKED


def test_s12_its_release_frees_the_name_and_from_then_on_it_is_ended() -> None:
    node = holder()
    force(node, 2.0)
    node.receive(Release(4, NAME, ATHENS, 5), ATHENS.session, 3.0)
    assert not shown(node, 3.0).holds
    said = answer(node, Accept(2, NAME, 9, lease_of(ATHENS), 3, 0, 0), ATHENS, 3.0)
    assert refusal(said) is RefusalReason.ENDED


def test_s12_what_is_ended_by_force_is_not_shown_as_released() -> None:
    """It is held elsewhere: a Commit tells this node of it, which has the tombstone and no lease."""
    node = HandReplica(replica_of("c", "abc"))
    force(node, 2.0)
    node.receive(Commit(NAME, 5, lease_of(ATHENS, token=5)), "a", 2.5)
    view = shown(node, 2.5)
    assert (view.chosen, view.released) == (True, False)


@pytest.mark.parametrize(("told", "term"), [(True, 4), (True, 6), (False, 6)])
def test_s12_another_grant_is_not_revoked(told: bool, term: int) -> None:
    node = holder(told=told)
    assert force(node, 2.0, term) == [RevokeAnswer(9, NAME, ATHENS, taken=False, held=True)]
    assert ask(node, 2.0, term) == [RevokeAnswer(9, NAME, ATHENS, taken=False, held=True)]
    assert renewed(node, 2, 3.0).held == ((1, 5),)


def test_s12_it_is_in_the_state_file_before_it_is_answered() -> None:
    node = holder()
    force(node, 2.0)
    again = serve(start_of("a", member_record("a"), kept=replay(node.kept), now=3.0), now=3.0)
    assert renewed(again, 2, 3.0).not_held == (1,)
    said = answer(again, Accept(2, NAME, 6, lease_of(ATHENS), 3, 0, 0), ATHENS, 3.0)
    assert refusal(said) is RefusalReason.REVOKED
    assert shown(again, 3.0).holds


def test_s12_it_is_in_the_snapshot() -> None:
    node = holder()
    force(node, 2.0)
    snapshot = node.machine.stop(2.5)
    assert snapshot is not None
    (saved,) = snapshot.names
    assert (saved.tombstones, saved.revoked) == ((ATHENS,), ATHENS)


# Politely, at the acceptor


def test_s12_who_is_asked_goes_on_holding() -> None:
    node = holder()
    assert ask(node, 2.0) == [RevokeAnswer(9, NAME, ATHENS, taken=True, held=True)]
    assert node.sent(LetGo) == [(ATHENS.session, LetGo(0, NAME, ATHENS))]
    assert renewed(node, 2, 3.0).held == ((1, 5),)
    node.receive(Release(4, NAME, ATHENS, 5), ATHENS.session, 3.0)
    assert ask(node, 4.0) == [RevokeAnswer(9, NAME, ATHENS, taken=True, held=False)]


def test_s12_a_successor_goes_before_those_who_wait_for_longer() -> None:
    node = holder()
    for who, age in ((BYBLOS, 900), (CYRENE, 0)):
        times = age, 1000, 0
        standing = StandingPrepare(2, NAME, 1, who, *times, "", round(TTL * 1000), b"", 1)
        assert refusal(answer(node, standing, who, 2.0)) is RefusalReason.HELD
    ask(node, 2.1, successor=CYRENE)
    assert node.sent(LetGo) == []  # its Release would overtake what is under way to the other nodes
    ask(node, 2.15, successor=CYRENE)
    assert node.sent(LetGo) == [(ATHENS.session, LetGo(0, NAME, ATHENS))]
    node.receive(Release(4, NAME, ATHENS, 5), ATHENS.session, 2.2)
    assert [message.candidate for _, message in node.sent(Accepted)] == [CYRENE]


def test_s12_who_does_not_stand_in_line_is_no_successor() -> None:
    node = holder()
    standing = StandingPrepare(2, NAME, 1, BYBLOS, 0, 1000, 0, "", round(TTL * 1000), b"", 1)
    node.receive(standing, BYBLOS.session, 2.0)
    ask(node, 2.1, successor=CYRENE)
    assert node.sent(LetGo) == [(ATHENS.session, LetGo(0, NAME, ATHENS))]
    node.receive(Release(4, NAME, ATHENS, 5), ATHENS.session, 2.2)
    assert [message.candidate for _, message in node.sent(Accepted)] == [BYBLOS]


# At the holder


def revoked(session: HandSession, now: float, node: str = "a") -> None:
    refused = Refused(0, NAME, ATHENS, RefusalReason.REVOKED, 5, 0, None)
    session.receive(node, refused, now)


def test_s12_a_holder_ended_by_force_counts_on_what_it_has_and_renews_no_more() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=5)
    session.sent(Renew)
    revoked(session, 1.0)
    assert session.told(LetGoAsked) == [LetGoAsked(granted.ticket)]
    revoked(session, 1.5, "b")
    assert session.told(LetGoAsked) == []
    assert session.sent(Release) == []
    session.run_until(granted.deadline - 0.001)
    assert session.sent(Renew) == []
    assert session.told(Lost) == []
    session.run_until(granted.deadline)
    assert session.told(Lost) == [Lost(granted.ticket, LossReason.REVOKED)]
    assert {message.candidate for _, message in session.sent(Release)} == {ATHENS}


def test_s12_it_releases_when_its_program_has_done_with_it() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=5)
    revoked(session, 1.0)
    session.release(granted.ticket, 2.0)
    assert len(session.sent(Release)) == 3


def test_s12_who_is_asked_is_renewed_until_it_has_let_go() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=5)
    session.sent(Renew)
    session.receive("a", LetGo(0, NAME, ATHENS), 1.0)
    session.receive("b", LetGo(0, NAME, ATHENS), 1.0)
    assert session.told(LetGoAsked) == [LetGoAsked(granted.ticket)]
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    for node in "ab":
        session.renewed(node, renewals[node], [(1, 5)], now=TTL / 3)
    assert [notice.ticket for notice in session.told(Extended)] == [granted.ticket]
    session.release(granted.ticket, 4.0)
    assert len(session.sent(Release)) == 3


def test_s12_what_is_said_of_another_name_or_attempt_is_nothing_to_it() -> None:
    session = HandSession()
    session.to_grant(now=0.0, term=5)
    session.receive("a", LetGo(0, "other", ATHENS), 1.0)
    session.receive("a", LetGo(0, NAME, Candidate(ATHENS.session, 2)), 1.0)
    session.receive("a", LetGo(0, NAME, BYBLOS), 1.0)
    assert session.told(LetGoAsked) == []


def test_s12_a_lease_that_is_only_kept_is_released_at_once() -> None:
    session = HandSession()
    ticket = session.machine.campaign(NAME, ttl=TTL, now=0.0, at_least=20.0)
    asked = session.sent_to_all(Prepare)
    for node in "ab":
        session.promised(node, asked, 5, now=0.0)
    told = session.sent_to_all(Accept)
    for node in "ab":
        session.accepted(node, told, now=0.0)
    assert session.machine.keep(ticket, 1.0)
    session.receive("a", LetGo(0, NAME, ATHENS), 2.0)
    assert len(session.sent(Release)) == 3
    assert session.told(LetGoAsked) == []


def test_s12_a_candidate_that_does_not_hold_yet_makes_another_attempt() -> None:
    session = HandSession()
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    session.refused("a", asked, RefusalReason.REVOKED, now=0.01)
    assert {message.candidate for _, message in session.sent(Release)} == {ATHENS}
    again = session.sent_to_all(Prepare)
    assert again.candidate == Candidate(ATHENS.session, 2)
    assert session.told(Granted) == []


# Who asks


def revocation(session: HandSession, *, by_force: bool) -> Revoke:
    session.machine.revoke(NAME, BYBLOS, 5, 0.0, force=by_force)
    return session.sent_to_all(Revoke)


def say(session: HandSession, node: str, asked: Revoke, *, taken: bool = True, held: bool = True) -> None:
    session.receive(node, RevokeAnswer(asked.request, NAME, BYBLOS, taken, held), 0.1)


def test_s12_a_quorum_ends_it_by_force() -> None:
    session = HandSession()
    asked = revocation(session, by_force=True)
    say(session, "a", asked)
    assert session.told(HandleOutcome) == []
    say(session, "c", asked, held=False)
    (outcome,) = session.told(HandleOutcome)
    assert (outcome.done, outcome.over) == (True, False)


def test_s12_it_is_asked_until_so_many_do_not_hold_it_that_no_quorum_can() -> None:
    session = HandSession()
    asked = revocation(session, by_force=False)
    for node in "abc":
        say(session, node, asked)
    session.run_until(0.9)
    repeated = session.sent(Revoke)
    assert {node for node, _ in repeated} == set("abc")
    say(session, "a", repeated[0][1], held=False)
    assert session.told(HandleOutcome) == []
    say(session, "b", repeated[0][1], held=False)
    (outcome,) = session.told(HandleOutcome)
    assert outcome.done


def test_s12_a_grant_that_nodes_know_as_another_one_is_not_ended() -> None:
    session = HandSession()
    asked = revocation(session, by_force=True)
    for node in "ab":
        say(session, node, asked, taken=False)
    (outcome,) = session.told(HandleOutcome)
    assert (outcome.done, outcome.over) == (False, True)


# Other data


def test_s12_newer_data_take_the_place_of_older_ones_and_nothing_else_changes() -> None:
    node = holder()
    record = node.machine._acceptor.records[NAME]
    before = record.deadline, record.seq, record.term, record.lease_term, record.owner
    said = answer(node, Publish(8, NAME, ATHENS, 2, b"2"), ATHENS, 3.0)
    assert said == Published(8, NAME, ATHENS, 2)
    lease = shown(node, 3.0).lease
    assert lease is not None
    assert (lease.data, lease.edition) == (b"2", 2)
    for edition in (1, 2):
        said = answer(node, Publish(8, NAME, ATHENS, edition, b"old"), ATHENS, 4.0)
        assert said == Published(8, NAME, ATHENS, 2)
    lease = shown(node, 4.0).lease
    assert lease is not None and lease.data == b"2"
    assert (record.deadline, record.seq, record.term, record.lease_term, record.owner) == before


def test_s12_neither_a_late_accept_nor_a_renewal_undoes_them() -> None:
    node = holder()
    node.receive(Publish(8, NAME, ATHENS, 1, b"1"), ATHENS.session, 3.0)
    renewed(node, 2, 3.5)
    late = Accept(2, NAME, 5, attrs.evolve(lease_of(ATHENS), data=b"0"), 3, 0, 0)
    said = answer(node, late, ATHENS, 4.0)
    assert accepted(said).seq == 3
    lease = shown(node, 4.0).lease
    assert lease is not None
    assert (lease.data, lease.edition) == (b"1", 1)


def test_s12_only_the_holders_own_session_publishes() -> None:
    node = holder()
    assert list(node.receive(Publish(8, NAME, ATHENS, 1, b"1"), BYBLOS.session, 3.0)) == []
    assert list(node.receive(Publish(8, NAME, BYBLOS, 1, b"1"), BYBLOS.session, 3.0)) == [
        Published(8, NAME, BYBLOS, 0)
    ]
    force(node, 3.5)
    said = answer(node, Publish(8, NAME, ATHENS, 1, b"1"), ATHENS, 4.0)
    assert said == Published(8, NAME, ATHENS, 0)


def test_s12_they_are_in_the_state_file_and_in_the_snapshot() -> None:
    node = holder()
    node.receive(Publish(8, NAME, ATHENS, 3, b"3"), ATHENS.session, 3.0)
    again = serve(start_of("a", member_record("a"), kept=replay(node.kept), now=4.0), now=4.0)
    lease = shown(again, 4.0).lease
    assert lease is not None and (lease.data, lease.edition) == (b"3", 3)
    snapshot = again.machine.stop(4.5)
    assert snapshot is not None
    (saved,) = snapshot.names
    assert saved.lease is not None and (saved.lease.data, saved.lease.edition) == (b"3", 3)


def test_s12_they_are_published_once_a_quorum_has_them_and_told_to_all() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=5)
    ticket = session.machine.publish(granted.ticket, b"1", 1.0)
    assert ticket is not None
    told = session.sent_to_all(Publish)
    assert (told.edition, told.data) == (1, b"1")
    session.receive("a", Published(told.request, NAME, ATHENS, 1), 1.1)
    session.receive("b", Published(told.request, NAME, ATHENS, 0), 1.1)
    session.receive("a", Published(told.request, NAME, ATHENS, 1), 1.1)
    assert session.told(DataPublished) == []
    session.sent(Publish)
    session.run_until(1.9)
    assert {node for node, _ in session.sent(Publish)} == {"b", "c"}
    session.receive("b", Published(told.request, NAME, ATHENS, 1), 2.0)
    assert session.told(DataPublished) == [DataPublished(ticket, done=True)]
    session.sent(Publish)
    session.run_until(3.0)
    assert {node for node, _ in session.sent(Publish)} == {"c"}
    session.receive("c", Published(told.request, NAME, ATHENS, 1), 3.0)
    session.sent(Publish)
    session.run_until(3.2)
    assert session.sent(Publish) == []


def test_s12_two_lives_of_a_node_are_not_counted_together() -> None:
    """a answers in its life 1, b knows of its life 2: together they are no quorum."""
    session = HandSession()
    granted = session.to_grant(now=0.0, term=5)
    session.machine.publish(granted.ticket, b"1", 1.0)
    told = session.sent_to_all(Publish)
    session.lives = {"a": {"a": 1, "b": 1, "c": 1}, "b": {"a": 2, "b": 1, "c": 1}}
    for node in "ab":
        session.receive(node, Published(told.request, NAME, ATHENS, 1), 1.1)
    assert session.told(DataPublished) == []
    session.lives["a"] = {"a": 2, "b": 1, "c": 1}
    session.receive("a", Published(told.request, NAME, ATHENS, 1), 1.2)
    assert [notice.done for notice in session.told(DataPublished)] == [True]


def test_s12_an_accept_carries_the_newest_data() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=5)
    session.machine.publish(granted.ticket, b"1", 1.0)
    session.run_until(TTL / 3)
    renewals = dict(session.sent(Renew))
    session.sent(Accept)
    session.renewed("c", renewals["c"], [], not_held=[1], now=4.0)
    ((_, repair),) = session.sent(Accept)
    assert (repair.lease.data, repair.lease.edition, repair.lease.token) == (b"1", 1, 5)


def test_s12_whoever_waits_is_told_of_the_end_of_the_tenure() -> None:
    session = HandSession()
    granted = session.to_grant(now=0.0, term=5)
    ticket = session.machine.publish(granted.ticket, b"1", 1.0)
    assert ticket is not None
    session.release(granted.ticket, 1.1)
    assert session.told(DataPublished) == [DataPublished(ticket, done=False)]
    session.sent(Publish)
    session.run_until(3.0)
    assert session.sent(Publish) == []
    assert session.machine.publish(granted.ticket, b"2", 3.0) is None
