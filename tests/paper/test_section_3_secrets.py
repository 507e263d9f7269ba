"""protocol.md section 3, "Handles": who renews or releases the lease of another session shows its secret."""

from __future__ import annotations

from collections.abc import Callable

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
    accepted,
    candidate,
    lease_of,
    lock,
    member_record,
    promise,
    refusal,
    replica_of,
    secret,
    start_of,
)
from hand_cell import HandCell
from starts import serve

from paxlock.core.handles import lock_of, secret_of
from paxlock.core.journal import Recall
from paxlock.core.lease import Candidate
from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Forbidden,
    Inquire,
    Message,
    Poll,
    Prepare,
    RefusalReason,
    Refused,
    Release,
    Released,
    Renew,
    Renewed,
    StandingPrepare,
    View,
)
from paxlock.core.node.keeping import replay
from paxlock.core.node.notices import HandleRefused
from paxlock.core.reasons import Barrier
from paxlock.core.session.events import Answered, Granted, HandleOutcome, Lost
from paxlock.core.session.judgement import State
from paxlock.core.steering import Revoke, RevokeAnswer

WRONG = b"wrong" * 3 + b"!"
LATER = candidate("athens", 2)


def accept(who: Candidate = ATHENS, term: int = 5, seq: int = 1) -> Accept:
    return Accept(1, NAME, term, lease_of(who), seq, 0, 0, lock(who))


def standing(who: Candidate, seq: int = 1, *, refresh_ms: int = 0) -> StandingPrepare:
    times = 0, refresh_ms, 0
    return StandingPrepare(1, NAME, 1, who, *times, "", round(TTL * 1000), b"", seq, lock(who))


def blank() -> HandReplica:
    return HandReplica(replica_of("a", "abc"))


def holder(who: Candidate = ATHENS) -> HandReplica:
    found = blank()
    accepted(ask(found, accept(who), who, 1.0))
    return found


def ask(node: HandReplica, message: Message, who: Candidate, now: float) -> Message:
    """The one answer; what is pushed at the same moment has no request."""
    (found,) = [told for told in node.receive(message, who.session, now) if getattr(told, "request", 0)]
    return found


def release(shown: bytes, who: Candidate = ATHENS, term: int = 5) -> Release:
    return Release(2, NAME, who, term, shown)


def state(node: HandReplica) -> tuple[object, ...]:
    record = node.machine._acceptor.records[NAME]
    held = None if record.lease is None else (record.lease.candidate, record.deadline, record.sender)
    return record.term, record.owner, held, record.tombstones


# The secret and the lock


def test_a_lock_is_of_one_attempt_and_tells_no_secret() -> None:
    own = b"s" * 16
    secrets = [secret_of(own, attempt) for attempt in range(1, 50)]
    assert len({own, *secrets}) == 50 and {len(one) for one in secrets} == {16}
    candidates = [Candidate(session, attempt) for session in (own, WRONG) for attempt in (1, 2)]
    locks = {lock_of(one, secrets[0]) for one in candidates}
    assert len(locks) == 4 and not locks & set(secrets)
    assert lock_of(ATHENS, b"") not in (b"", lock_of(ATHENS, bytes(16)))


def test_every_attempt_of_a_session_says_its_own_lock() -> None:
    session = HandSession()
    first = session.to_accept(now=0.0)
    assert first.lock == lock(first.lease.candidate)
    session.machine.release(1, 0.1)
    second = session.to_accept(now=0.2)
    assert second.lock == lock(second.lease.candidate) != first.lock


def test_who_stands_in_line_says_its_lock_with_its_lease() -> None:
    session = HandSession("byblos")
    session.campaign(now=0.0)
    asked = session.sent_to_all(Prepare)
    for node in "ab":
        session.refused(node, asked, RefusalReason.HELD, now=0.0)
    session.run_until(TTL / 2)
    assert {sent.lock for _, sent in session.sent(StandingPrepare)} == {lock(BYBLOS)}


# Release, where the lease is held


@pytest.mark.parametrize("shown", [WRONG, b"", secret(LATER), lock(ATHENS)])
def test_a_wrong_secret_ends_nothing(shown: bytes) -> None:
    node = holder()
    before = state(node)
    assert ask(node, release(shown), BYBLOS, 2.0) == Forbidden(2, Barrier.SECRET)
    assert state(node) == before
    assert node.sent(Refused) == []
    assert node.machine.counters["wrong_secret"] == 1
    assert HandleRefused(BYBLOS.session) in node.notices
    assert repr(shown) not in repr(node.notices)
    accepted(ask(node, accept(term=6, seq=2), ATHENS, 2.1))


def test_the_right_one_ends_it_and_the_holder_is_told() -> None:
    node = holder()
    assert isinstance(ask(node, release(secret(ATHENS)), BYBLOS, 2.0), Released)
    assert node.shows() == (5, "-", False)
    ((to, told),) = node.sent(Refused)
    assert (to, told.reason) == (ATHENS.session, RefusalReason.ENDED)
    assert refusal(ask(node, accept(term=6, seq=2), ATHENS, 2.1)) is RefusalReason.ENDED
    for shown in (secret(ATHENS), WRONG):  # it is over, whoever says so again
        assert isinstance(ask(node, release(shown), BYBLOS, 2.2), Released)


def test_its_own_session_need_not_show_it() -> None:
    node = holder()
    assert isinstance(ask(node, release(b""), ATHENS, 2.0), Released)
    assert node.shows() == (5, "-", False)


def test_a_lease_without_a_lock_has_no_handle() -> None:
    node = blank()
    ask(node, attrs.evolve(accept(), lock=b""), ATHENS, 1.0)
    for shown in (b"", secret(ATHENS)):
        assert ask(node, release(shown), BYBLOS, 2.0) == Forbidden(2, Barrier.SECRET)
    assert isinstance(ask(node, release(b""), ATHENS, 2.1), Released)


# Release, where it is not held


def test_l1_a_release_by_a_handle_that_comes_first_stops_the_lease_that_it_opens() -> None:
    for late in (accept(), standing(ATHENS)):
        node = blank()
        assert isinstance(ask(node, release(secret(ATHENS)), BYBLOS, 1.0), Released)
        assert refusal(ask(node, late, ATHENS, 2.0)) is RefusalReason.ENDED
        assert node.shows() == (0, "-", False)


def test_a_wrong_secret_that_comes_first_stops_nobody() -> None:
    for shown in (WRONG, b"", secret(LATER)):
        node = blank()
        assert isinstance(ask(node, release(shown), BYBLOS, 1.0), Released)
        accepted(ask(node, accept(), ATHENS, 2.0))


def test_l1_a_wrong_one_takes_nothing_of_what_a_right_one_has_said() -> None:
    node = blank()
    for shown in (WRONG, secret(ATHENS), b"another" * 2 + b"!!"):
        assert isinstance(ask(node, release(shown), BYBLOS, 1.0), Released)
    assert refusal(ask(node, accept(), ATHENS, 2.0)) is RefusalReason.ENDED


def test_it_is_against_one_attempt_only() -> None:
    node = blank()
    ask(node, release(secret(LATER), LATER), BYBLOS, 1.0)
    accepted(ask(node, accept(ATHENS), ATHENS, 2.0))
    ask(node, release(b"", ATHENS), ATHENS, 2.1)
    assert refusal(ask(node, accept(LATER, 6), ATHENS, 2.2)) is RefusalReason.ENDED
    accepted(ask(node, accept(candidate("athens", 3), 6), ATHENS, 2.3))


def test_a_promise_stands_and_only_what_follows_is_refused() -> None:
    """Whether the secret is right nobody knows before the lease comes."""
    for shown, refused in ((WRONG, False), (secret(ATHENS), True)):
        node = blank()
        asked = Prepare(1, NAME, 5, ATHENS, 0, 0, 0, "")
        assert promise(ask(node, asked, ATHENS, 1.0)).term == 5
        ask(node, release(shown), BYBLOS, 1.01)
        assert node.shows() == (5, "athens", False)
        found = ask(node, accept(), ATHENS, 1.02)
        assert isinstance(found, Refused if refused else Accepted)


def test_l1_who_stands_in_line_is_passed_over_only_by_the_right_one() -> None:
    for shown, next_one in ((WRONG, BYBLOS), (secret(BYBLOS), CYRENE)):
        node = holder()
        ask(node, standing(BYBLOS, refresh_ms=1000), BYBLOS, 1.1)
        ask(node, standing(CYRENE, refresh_ms=1000), CYRENE, 1.2)
        assert isinstance(ask(node, release(shown, BYBLOS), CYRENE, 1.3), Released)
        ask(node, release(b""), ATHENS, 1.4)
        record = node.machine._acceptor.records[NAME]
        assert record.lease is not None and record.lease.candidate == next_one


def test_no_view_says_released_at_the_word_of_a_handle_that_nobody_could_check() -> None:
    found = blank()
    found.receive(Commit(NAME, 5, lease_of(ATHENS, token=5)), "b", 0.5)
    for shown in (WRONG, secret(ATHENS)):
        ask(found, release(shown), BYBLOS, 1.0)
        view = ask(found, Poll(7, NAME), BYBLOS, 1.1)
        assert isinstance(view, View) and not view.released


def commit(lock_told: bytes = b"", token: int = 5) -> Commit:
    return Commit(NAME, 5, lease_of(ATHENS, token=token), lock_told)


def view_of(node: HandReplica, now: float) -> View:
    view = ask(node, Poll(7, NAME), CYRENE, now)
    assert isinstance(view, View)
    return view


def test_a_commit_tells_a_node_that_lacks_the_lease_what_its_handle_must_open() -> None:
    node = blank()
    node.receive(commit(lock(ATHENS)), "b", 0.5)
    before = view_of(node, 0.6)
    assert ask(node, release(WRONG), BYBLOS, 1.0) == Forbidden(2, Barrier.SECRET)
    assert view_of(node, 1.1) == before and not before.released
    assert state(node)[-1] is None
    assert isinstance(ask(node, release(secret(ATHENS)), BYBLOS, 1.2), Released)
    assert view_of(node, 1.3).released
    assert refusal(ask(node, accept(), ATHENS, 1.4)) is RefusalReason.ENDED


def test_a_commit_that_comes_after_the_release_by_a_handle_is_shown_as_released() -> None:
    for shown in (WRONG, secret(ATHENS)):
        node = blank()
        ask(node, release(shown), BYBLOS, 0.5)
        node.receive(commit(lock(ATHENS)), "b", 1.0)
        assert view_of(node, 1.1).released == (shown != WRONG)


def test_the_claim_of_a_session_tells_its_lock_too() -> None:
    """Named in a view, it would not count among those that speak against the tenure."""
    for shown, named in ((WRONG, True), (secret(ATHENS), False)):
        node = blank()
        node.receive(commit(lock(ATHENS)), ATHENS.session, 0.5)
        assert view_of(node, 0.51).lease is not None
        ask(node, release(shown), BYBLOS, 0.52)
        assert (view_of(node, 0.53).lease is not None) == named
        node.receive(commit(lock(ATHENS)), ATHENS.session, 0.54)
        assert (view_of(node, 0.55).lease is not None) == named


def test_what_the_others_confirm_of_a_claim_keeps_its_lock() -> None:
    node = blank()
    node.receive(commit(lock(ATHENS)), ATHENS.session, 0.5)
    node.tick(0.7)
    ((_, asked), *_) = node.sent(Inquire)
    for other in "bc":
        held = View(asked.request, NAME, 5, lease_of(ATHENS, token=5), 5, True, True, False, 9000)
        node.receive(held, other, 0.8)
    assert view_of(node, 0.9).chosen
    assert isinstance(ask(node, release(secret(ATHENS)), BYBLOS, 1.0), Released)
    assert view_of(node, 1.1).released


def test_a_node_that_finds_out_tells_the_others_the_lock() -> None:
    node = holder()
    node.tick(3.0)
    ((_, asked), *_) = node.sent(Inquire)
    node.receive(View(asked.request, NAME, 5, lease_of(ATHENS), 5, True, False, False, 9000), "b", 3.1)
    told = node.sent(Commit)
    assert [(to, message.lock) for to, message in told] == [("b", lock(ATHENS)), ("c", lock(ATHENS))]


def test_l1_a_wrong_secret_takes_no_view_from_a_lease_that_was_ended_by_force() -> None:
    """It stands until its deadline: no node may show its end at the word of anybody."""
    for told in (b"", lock(ATHENS)):
        node = blank()
        node.receive(commit(told), "b", 0.5)
        revoke = Revoke(3, NAME, ATHENS, 5, True, None)
        assert isinstance(ask(node, revoke, BYBLOS, 1.0), RevokeAnswer)
        before = view_of(node, 1.1)
        ask(node, release(WRONG), BYBLOS, 1.2)
        assert view_of(node, 1.3) == before and not before.released
        node.receive(release(b""), ATHENS.session, 1.4)
        assert view_of(node, 1.5).released


def test_a_wrong_handle_leaves_no_word_in_the_journal() -> None:
    for node in (holder(), blank()):
        asked = Recall(4, NAME, 0)
        node.receive(accept(CYRENE), CYRENE.session, 1.1)
        before = ask(node, asked, CYRENE, 2.0)
        for term in (5, 1 << 40):
            ask(node, release(WRONG, term=term), BYBLOS, 2.0)
        assert ask(node, asked, CYRENE, 2.0) == before


def test_s1_the_lease_of_another_stays() -> None:
    node = holder(CYRENE)
    assert isinstance(ask(node, release(secret(ATHENS)), BYBLOS, 2.0), Released)
    assert node.shows() == (5, "cyrene", True)


# Renew


@pytest.mark.parametrize("shown", [(WRONG,), (), (b"",), (secret(LATER),)])
def test_s5_nobody_re_arms_a_lease_without_its_secret(shown: tuple[bytes, ...]) -> None:
    node = holder()
    before = state(node)
    renew = Renew(3, ATHENS.session, 9, (ATHENS.attempt,), shown)
    assert ask(node, renew, BYBLOS, 2.0) == Forbidden(3, Barrier.SECRET)
    assert state(node) == before


def test_with_the_secret_it_is_re_armed_and_its_own_session_needs_none() -> None:
    node = holder()
    renew = Renew(3, ATHENS.session, 9, (ATHENS.attempt,), (secret(ATHENS),))
    found = ask(node, renew, BYBLOS, 2.0)
    assert isinstance(found, Renewed) and found.held == ((ATHENS.attempt, 5),)
    assert node.machine._acceptor.records[NAME].deadline == 2.0 + TTL
    found = ask(node, attrs.evolve(renew, secrets=()), ATHENS, 3.0)
    assert isinstance(found, Renewed) and found.held == ((ATHENS.attempt, 5),)


def test_of_several_each_is_to_be_shown_but_for_those_that_are_not_held() -> None:
    node = holder()
    other = Accept(1, "other", 5, lease_of(LATER), 2, 0, 0, lock(LATER))
    accepted(ask(node, other, ATHENS, 1.0))
    shown = (secret(ATHENS), WRONG, WRONG)
    renew = Renew(3, ATHENS.session, 9, (1, 2, 3), shown)
    assert ask(node, renew, BYBLOS, 2.0) == Forbidden(3, Barrier.SECRET)
    assert node.machine._acceptor.records[NAME].deadline == 1.0 + TTL
    found = ask(node, attrs.evolve(renew, secrets=(secret(ATHENS), secret(LATER), WRONG)), BYBLOS, 2.0)
    assert isinstance(found, Renewed)
    assert (found.held, found.not_held) == (((1, 5), (2, 5)), (3,))


# Over a restart


def killed(node: HandReplica, now: float) -> HandReplica:
    return serve(start_of("a", member_record("a"), kept=replay(node.kept), now=now), now=now)


def stopped(node: HandReplica, now: float) -> HandReplica:
    snapshot = node.machine.stop(now)
    return serve(start_of("a", attrs.evolve(node.machine.record, clean=True), snapshot, now=now), now=now)


@pytest.mark.parametrize("restart", [killed, stopped])
def test_the_lock_is_kept(restart: Callable[[HandReplica, float], HandReplica]) -> None:
    for shown, answer in ((WRONG, Forbidden), (secret(ATHENS), Released)):
        node = restart(holder(), 2.0)
        assert isinstance(ask(node, release(shown), BYBLOS, 2.5), answer)


def test_what_a_commit_told_of_a_lock_is_in_the_snapshot() -> None:
    for shown, answer in ((WRONG, Forbidden), (secret(ATHENS), Released)):
        node = blank()
        node.receive(commit(lock(ATHENS)), "b", 0.5)
        again = stopped(node, 1.0)
        assert isinstance(ask(again, release(shown), BYBLOS, 1.5), answer)
        assert view_of(again, 1.6).released == (answer is Released)


@pytest.mark.parametrize("restart", [killed, stopped])
def test_l1_what_was_released_by_a_handle_before_it_came_stays_so(
    restart: Callable[[HandReplica, float], HandReplica],
) -> None:
    node = blank()
    ask(node, release(WRONG), BYBLOS, 1.0)
    ask(node, release(secret(ATHENS)), BYBLOS, 1.0)
    again = restart(node, 2.0)
    assert refusal(ask(again, accept(), ATHENS, 2.5)) is RefusalReason.ENDED
    accepted(ask(again, accept(LATER), ATHENS, 2.6))


# Whoever has the handle


def held_by_athens() -> tuple[HandCell, Granted]:
    cell = HandCell("abc", ["athens", "byblos"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(1.0)
    (granted,) = cell.told("athens", Granted)
    return cell, granted


def test_a_wrong_handle_is_told_so_and_the_holder_goes_on() -> None:
    cell, granted = held_by_athens()
    byblos = cell.sessions["byblos"]
    byblos.release_detached(NAME, granted.candidate, granted.term, WRONG, cell.now, patience=1.0)
    cell.run(0.5)
    byblos.renew_detached(granted.candidate, granted.term, WRONG, cell.now, patience=1.0)
    cell.run(TTL)
    outcomes = cell.told("byblos", HandleOutcome)
    assert [(o.done, o.over, o.refused) for o in outcomes] == [(False, False, True)] * 2
    assert cell.told("athens", Lost) == []
    assert [cell.shows(node) for node in "abc"] == [(granted.term, "athens", True)] * 3


def test_a_poll_after_a_release_by_a_handle_says_free_though_one_node_has_missed_it() -> None:
    """c lacks the lease and knows it chosen; b holds it, and is not told."""
    cell = HandCell("abc", ["athens", "byblos", "cyrene"])
    cell.sessions["athens"].campaign(NAME, ttl=TTL, now=0.0)
    cell.run(0.3, lost=lambda s, to, m: isinstance(m, Accept | Prepare) and to == "c")
    (granted,) = cell.told("athens", Granted)
    cell.dies("athens")
    cell.lose()
    args = granted.candidate, granted.term, secret(granted.candidate)
    cell.sessions["byblos"].release_detached(NAME, *args, cell.now, patience=1.0)
    cell.run(0.05, lost=lambda s, to, m: isinstance(m, Release) and to == "b")
    assert [outcome.done for outcome in cell.told("byblos", HandleOutcome)] == [True]
    assert [cell.shows(node)[2] for node in "abc"] == [False, True, False]
    cell.sessions["cyrene"].poll(NAME, cell.now, patience=0.9)
    cell.run(0.5)
    assert [answer.judgement.state for answer in cell.told("cyrene", Answered)] == [State.FREE]


def test_the_word_of_one_node_is_not_enough_to_call_a_handle_wrong() -> None:
    """Here it is the word of a node that errs."""
    session = HandSession("byblos")
    session.machine.renew_detached(ATHENS, 5, secret(ATHENS), 0.0, patience=1.0)
    renews = dict(session.sent(Renew))
    session.receive("a", Forbidden(renews["a"].request, Barrier.SECRET), 0.01)
    for node in "bc":
        assert session.told(HandleOutcome) == []
        session.renewed(node, renews[node], [(1, 5)], now=0.02)
    assert [outcome.done for outcome in session.told(HandleOutcome)] == [True]
    session.machine.release_detached(NAME, ATHENS, 5, secret(ATHENS), 1.0, patience=1.0)
    asked = session.sent_to_all(Release)
    session.receive("a", Forbidden(asked.request, Barrier.SECRET), 1.01)
    for node in "bc":
        assert session.told(HandleOutcome) == []
        session.receive(node, Released(asked.request, NAME, ATHENS, 0), 1.02)
    assert [outcome.done for outcome in session.told(HandleOutcome)] == [True]


def test_nothing_that_a_handle_is_for_shows_its_secret() -> None:
    shown = secret(ATHENS)
    for message in (release(shown), Renew(3, ATHENS.session, 9, (1,), (shown,))):
        assert repr(shown) not in repr(message)
