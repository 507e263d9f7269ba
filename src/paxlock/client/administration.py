"""The verbs on the tenures of others, written once for every face (protocol.md section 12).

Each is a script: it yields what is to be asked, and is sent the answer. The exact grant is found by a poll,
so whoever asks names it as people see it: a name and a term. Times are seconds.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Generator
from functools import partial
from typing import TypeAlias, TypeVar

from paxlock.client.desk import Desk, Receiver
from paxlock.config.cell import check_label, check_name
from paxlock.config.durations import abbreviate, check_wait
from paxlock.config.syntax import normal_text
from paxlock.core.lease import TERM_MAX, Candidate, Lease
from paxlock.core.rights import Verb
from paxlock.core.session.events import Answered, HandleOutcome
from paxlock.core.session.judgement import State
from paxlock.errors import ConfigError, NotAcquired, Reason

__all__ = ["Ask", "Script", "no_quorum", "revoking", "transferring"]

REVOKED, HANDED_OVER = "revoked", "handed over"
TAKES_OVER_S = 2.0  #: the next holder is there a round trip after the one before it has let go

T = TypeVar("T")
Ask: TypeAlias = Callable[[Receiver], int]
Script: TypeAlias = Generator[Ask, object, T]


def _administered(desk: Desk, name: str) -> str:
    desk.check_open()
    name = check_name(name)
    desk.allowed.check(Verb.ADMINISTER, name)
    return name


def _poll(desk: Desk, name: str, receiver: Receiver) -> int:
    return desk.poll(name, receiver, line=False)


def _inspect(desk: Desk, name: str, receiver: Receiver) -> int:
    return desk.poll(name, receiver, line=True)


def _revoke(
    desk: Desk,
    name: str,
    grant: tuple[Candidate, int],
    force: bool,
    successor: Candidate | None,
    until: float,
    receiver: Receiver,
) -> int:
    wait = None if until == math.inf else max(0.0, until - desk.now())
    return desk.revoke(name, grant, receiver, force=force, successor=successor, wait=wait)


def no_quorum(desk: Desk, name: str, what: str) -> NotAcquired:
    """The error where no quorum answered in time, with what keeps the nodes from being one."""
    detail = desk.session.shortfall(desk.now())
    return NotAcquired(name, Reason.NO_QUORUM, detail=detail, what=what)


def _standing(desk: Desk, name: str, until: float, what: str, *, line: bool = False) -> Script[Answered]:
    """What the name is, by a quorum. Raises NotAcquired (NO_QUORUM) where there is none in time."""
    while True:
        answer = yield partial(_inspect if line else _poll, desk, name)
        assert isinstance(answer, Answered)
        if answer.judgement.state is not State.UNKNOWN:
            return answer
        if desk.now() >= until:
            raise no_quorum(desk, name, what)


def revoking(desk: Desk, name: str, term: int, *, force: bool, wait: float | None) -> Script[float]:
    """End the tenure of this term; gives for how many seconds its lease is still held, at most."""
    name, term = _administered(desk, name), _checked_term(term)
    check_wait(wait)
    until = math.inf if wait is None else desk.now() + wait
    done = asked_all = False
    while True:
        judgement = (yield from _standing(desk, name, until, REVOKED, line=asked_all)).judgement
        lease = judgement.lease
        if lease is None or judgement.term > term:
            return 0.0  # it is over
        if judgement.term < term:
            raise ConfigError(
                f"{name!r} is led in term {judgement.term}, by {lease.label!r}, and not in term {term}: "
                "give the term that `paxlock status` shows"
            )
        if done and force:
            if judgement.remaining or asked_all:
                return judgement.remaining
            asked_all = True  # one of those who have answered does not hold the lease
            continue
        if desk.now() >= until:
            raise _not_done(desk, name, lease, force, REVOKED)
        answer = yield partial(_revoke, desk, name, (lease.candidate, term), force, None, until)
        assert isinstance(answer, HandleOutcome)
        done = answer.done


def _checked_term(term: int) -> int:
    try:
        term = operator.index(term)
    except TypeError:
        raise TypeError(f"a term is a whole number, such as held.term, not {abbreviate(term)}") from None
    if not 1 <= term <= TERM_MAX:
        raise ConfigError(f"a term is a number from 1 on, such as held.term, not {abbreviate(term)}")
    return term


def _not_done(desk: Desk, name: str, lease: Lease, force: bool, what: str) -> NotAcquired:
    if force:
        return no_quorum(desk, name, what)
    return NotAcquired(name, Reason.HELD, lease.label, "its holder was asked, and has not let go", what)


def transferring(desk: Desk, name: str, to: str, *, wait: float | None) -> Script[int]:
    """Hand a name over to the one with this label who waits for it; gives the term of the new holder."""
    name, to = _administered(desk, name), normal_text(check_label(to))
    check_wait(wait)
    until = math.inf if wait is None else desk.now() + wait
    found = yield from _standing(desk, name, until, HANDED_OVER, line=True)
    judgement, lease = found.judgement, found.judgement.lease
    waiting = [waiter.candidate for waiter in found.waiters if waiter.label == to]
    if lease is None:
        raise ConfigError(f"nobody holds {name!r}: there is nothing to hand over")
    if not waiting:
        there = ", ".join(repr(waiter.label) for waiter in found.waiters) or "nobody"
        raise ConfigError(f"nobody with the label {to!r} waits for {name!r}: in line is {there}")
    grant, successor = (lease.candidate, judgement.term), waiting[0]
    answer = yield partial(_revoke, desk, name, grant, False, successor, until)
    assert isinstance(answer, HandleOutcome)
    settled = desk.now() + TAKES_OVER_S
    while True:
        judgement = (yield from _standing(desk, name, max(until, settled), HANDED_OVER)).judgement
        lease = judgement.lease
        if lease is not None and lease.candidate == successor:
            return judgement.term
        if lease is not None and judgement.term > grant[1]:
            detail = f"{to!r} did not stand first everywhere"
            raise NotAcquired(name, Reason.HELD, lease.label, detail, HANDED_OVER)
        if desk.now() >= (settled if lease is None else until):
            break
        if lease is not None:
            yield partial(_revoke, desk, name, grant, False, successor, until)
            settled = desk.now() + TAKES_OVER_S
    if lease is None:
        detail = f"its holder has let go, and {to!r} does not wait any more"
        raise NotAcquired(name, Reason.CONTENDED, None, detail, HANDED_OVER)
    raise _not_done(desk, name, lease, False, HANDED_OVER)
