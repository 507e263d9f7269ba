"""The verbs on detached leases, written once for every face: scripts, as in administration.py."""

from __future__ import annotations

import math
from functools import partial

from paxlock.client.administration import Script, no_quorum
from paxlock.client.desk import Desk
from paxlock.client.handle import Handle, wrong_secret
from paxlock.config.durations import check_wait
from paxlock.core.session.events import Answered, HandleOutcome
from paxlock.core.session.judgement import State
from paxlock.errors import LeaseLost, LossReason

__all__ = ["releasing", "renewing"]


def renewing(desk: Desk, handle: str, wait: float | None) -> Script[float]:
    """Renew the lease of a handle; gives the seconds it has left."""
    grant = desk.grant(handle)
    check_wait(wait)
    until = math.inf if wait is None else desk.now() + wait
    outcome = yield partial(desk.renew_detached, grant, wait)
    assert isinstance(outcome, HandleOutcome)
    if outcome.over:
        raise _over(grant)
    _check_done(desk, grant, outcome, "renewed")
    asked_all = False
    while True:
        answer = yield partial(desk.poll, grant.name, line=asked_all)
        assert isinstance(answer, Answered)
        judgement = answer.judgement
        if judgement.state is State.UNKNOWN:
            if desk.now() >= until:
                raise no_quorum(desk, grant.name, "renewed")
        elif (judgement.state, judgement.term) != (State.LED, grant.term):
            raise _over(grant)
        elif judgement.remaining or asked_all:
            return judgement.remaining
        asked_all = True  # there was no quorum, or one of those who have answered does not hold the lease


def releasing(desk: Desk, handle: str, wait: float | None) -> Script[None]:
    """Release exactly the grant of a handle; one that is over already is no error."""
    grant = desk.grant(handle)
    check_wait(wait)
    outcome = yield partial(desk.release_detached, grant, wait)
    assert isinstance(outcome, HandleOutcome)
    _check_done(desk, grant, outcome, "released")


def _check_done(desk: Desk, grant: Handle, outcome: HandleOutcome, what: str) -> None:
    if outcome.refused:
        raise wrong_secret(grant)
    if not outcome.done:
        raise no_quorum(desk, grant.name, what)


def _over(grant: Handle) -> LeaseLost:
    return LeaseLost(grant.name, grant.term, LossReason.EXPIRED)
