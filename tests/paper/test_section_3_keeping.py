"""protocol.md section 3: leases that are kept for a while although their program has done with them."""

from __future__ import annotations

import pytest
from by_hand import DRIFT, MAX_TTL, TTL, HandSession

from paxlock.core.lease import Timing
from paxlock.core.messages import Accept, Commit, Prepare, Release, Renew
from paxlock.core.session.events import Extended, Granted, HandleOutcome, Lost

GRACE = 0.01
AT_LEAST = 20.0
SLOWER = (1.0 + DRIFT) / (1.0 - DRIFT)


def granted(session: HandSession, *, at_least: float = AT_LEAST, ttl: float = TTL, late: float = 0.0) -> int:
    """Hold a lease from 0.0 on, whose answers came ``late``; the ticket."""
    ticket = session.machine.campaign("x", ttl=ttl, now=-late, at_least=at_least)
    asked = session.sent_to_all(Prepare)
    for node in "ab":
        session.promised(node, asked, 1, now=-late)
    accept = session.sent_to_all(Accept)
    for node in "ab":
        session.accepted(node, accept, now=0.0)
    assert session.told(Granted)
    session.sent(Commit)
    return ticket


def answered(session: HandSession, now: float) -> bool:
    """Let a quorum answer every renewal that was sent; whether there was any."""
    asked = session.sent(Renew)
    for node, renew in asked:
        if node != "c":
            session.renewed(node, renew, [(number, 1) for number in renew.attempts], now=now)
    return bool(asked)


def test_the_ttl_is_raised_so_that_it_outlasts_the_time_without_a_renewal() -> None:
    own = Timing.for_ttl(2.0, max_ttl=MAX_TTL, drift=DRIFT)
    raised = own.keeping(AT_LEAST, max_ttl=MAX_TTL, drift=DRIFT, grace=GRACE)
    assert raised.span >= AT_LEAST
    assert raised.ttl <= AT_LEAST * SLOWER + 0.05
    left = [timing.span - timing.margin - timing.renew for timing in (own, raised)]
    assert left[0] == pytest.approx(left[1])  # it is renewed as late as it would have been
    assert own.keeping(1.0, max_ttl=MAX_TTL, drift=DRIFT, grace=GRACE).renew == own.renew
    assert own.keeping(1e4, max_ttl=MAX_TTL, drift=DRIFT, grace=GRACE).ttl == MAX_TTL


def test_a_lease_that_lasts_is_not_renewed_and_released_when_the_time_is_over() -> None:
    session = HandSession()
    ticket = granted(session)
    session.run_until(2.0)
    assert session.machine.keep(ticket, 2.0)
    session.run_until(AT_LEAST - 0.001)
    assert session.sent(Release) == []
    assert session.sent(Renew) == []
    session.run_until(AT_LEAST)
    assert session.sent_to_all(Release).candidate.attempt == 1
    assert session.told(Lost) == []


def test_a_lease_that_is_still_used_is_renewed_as_late_as_its_own_ttl_demands() -> None:
    session = HandSession()
    granted(session, ttl=2.0)
    session.run_until(17.0)
    assert session.sent(Renew) == []
    session.run_until(19.0)
    assert answered(session, 19.0)
    assert session.told(Extended)


def test_a_renewal_of_a_raised_lease_is_repeated_often_enough_in_what_is_left_of_it() -> None:
    session = HandSession()
    granted(session, ttl=0.5)
    session.run_until(AT_LEAST - 0.02)
    assert len(session.sent(Renew)) >= 3 * 3
    assert session.told(Lost) == []


def test_a_lease_that_became_valid_late_is_renewed_at_once() -> None:
    session = HandSession()
    ticket = granted(session, late=0.5)
    session.run_until(0.0)
    assert answered(session, 0.0)
    assert session.machine.keep(ticket, 0.0)
    assert session.machine.leave_kept(0.0, patience=1.0) == []
    session.run_until(AT_LEAST)
    assert session.sent(Release) == []


def test_a_lease_that_was_kept_for_longer_than_max_ttl_is_renewed_as_long_as_it_must_be() -> None:
    session = HandSession()
    ticket = granted(session, at_least=3.0 * MAX_TTL)
    assert session.machine.keep(ticket, 0.0)
    last = now = 0.0
    while now < 3.0 * MAX_TTL - 0.5:
        now += 0.5
        session.run_until(now)
        last = now if answered(session, now) else last
        assert session.told(Lost) == []
        assert session.sent(Release) == []
    assert 2.0 * MAX_TTL - 1.0 <= last <= 2.0 * MAX_TTL + TTL
    session.run_until(3.0 * MAX_TTL)
    assert session.sent(Release)


def test_a_kept_lease_that_runs_out_early_is_released() -> None:
    session = HandSession()
    ticket = granted(session, at_least=3.0 * MAX_TTL)
    session.machine.keep(ticket, 0.0)
    session.run_until(MAX_TTL / SLOWER - 0.01)
    assert session.sent(Release) == []
    session.run_until(MAX_TTL)
    assert session.sent(Release)


def test_the_program_cannot_keep_what_has_lasted_long_enough_or_was_not_meant_to() -> None:
    session = HandSession()
    ticket = granted(session, at_least=0.0)
    assert not session.machine.keep(ticket, 0.0)
    session = HandSession()
    ticket = granted(session, at_least=1.0)
    assert not session.machine.keep(ticket, 1.0)
    session.machine.release(ticket, 1.0)
    assert session.sent(Release)
    assert not session.machine.keep(ticket, 1.0)


def test_another_campaign_of_the_session_gets_the_name_when_the_time_is_over() -> None:
    session = HandSession()
    ticket = granted(session)
    session.machine.keep(ticket, 1.0)
    session.machine.campaign("x", ttl=TTL, now=1.0)
    session.run_until(AT_LEAST - 0.001)
    assert session.sent(Prepare) == []
    session.run_until(AT_LEAST)
    assert session.sent(Prepare)


def test_who_goes_leaves_the_lease_to_run_out_and_renews_it_where_it_would_be_too_early() -> None:
    session = HandSession()
    ticket = granted(session, at_least=MAX_TTL)  # which no ttl outlasts
    session.machine.keep(ticket, 1.0)
    session.run_until(2.0)
    session.sent(Renew)
    (left,) = session.machine.leave_kept(2.0, patience=0.5)
    assert left.name == "x"
    assert left.missing == pytest.approx(MAX_TTL - MAX_TTL / SLOWER)
    assert session.machine.releasing == 1
    assert answered(session, 2.01)
    (outcome,) = session.told(HandleOutcome)
    assert (outcome.ticket, outcome.done) == (left.ticket, True)
    assert session.machine.releasing == 0
    session.run_until(3.0 * MAX_TTL)
    assert session.sent(Release) == []


def test_a_last_renewal_that_nobody_hears_ends() -> None:
    session = HandSession()
    granted(session, at_least=MAX_TTL)
    session.machine.leave_kept(2.0, patience=0.5)
    session.run_until(2.5)
    (outcome,) = session.told(HandleOutcome)
    assert not outcome.done
    assert session.machine.releasing == 0
