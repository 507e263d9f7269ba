"""What the rules take for granted of clocks, over real numbers: each clock within ``drift`` of true time.

A clock that has counted ``x`` seconds has been at it for between x / (1 + drift) and x / (1 - drift) seconds
of true time, however its rate went up and down in between. The drift is any number from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import z3

from invariant.logic import Formula, Term

__all__ = ["LEMMAS", "Lemma"]


@dataclass(frozen=True)
class Lemma:
    """``holds`` is whether it must be proved; the others are errors, and must have a counterexample."""

    name: str
    words: str
    write: Callable[[], list[Formula]]
    holds: bool = True


def _lasts(drift: Term, begin: Term, end: Term, counted: Term) -> Formula:
    """A clock counts so many seconds from begin to end: its mean rate is within the drift."""
    taken = end - begin
    return z3.And((1 - drift) * taken <= counted, counted <= (1 + drift) * taken)


def _hold(*, factor: bool = True, from_answer: bool = False) -> list[Formula]:
    """The negation of: a node's deadline is not before the moment up to which the holder counts."""
    d, ttl = z3.Reals("drift ttl")
    sent, received, answered, deadline, counted_until = z3.Reals(
        "sent received answered deadline counted_until"
    )
    share = (1 - d) / (1 + d) if factor else z3.RealVal(1)
    begin = answered if from_answer else sent
    return [
        d >= 0, d < 1, ttl > 0, sent <= received, received <= answered,
        _lasts(d, received, deadline, ttl),
        _lasts(d, begin, counted_until, ttl * share),
        deadline < counted_until,
    ]  # fmt: skip


def _sitting_out(share: Callable[[Term], Term]) -> list[Formula]:
    """The negation of: who sits out after a stop serves after everything told before it has run out at its
    holder, also if that had counted with a fast or slow clock, and before any node would have let it go.
    """
    d, ttl, most = z3.Reals("drift ttl max_ttl")
    sent, received, stopped, serves, kept_until = z3.Reals("sent received stopped serves kept_until")
    return [
        d >= 0, d < 1, ttl > 0, ttl <= most, sent <= received, received <= stopped,
        _lasts(d, received, kept_until, ttl),
        _lasts(d, stopped, serves, most * share(d)),
        serves < kept_until,
    ]  # fmt: skip


def _counted(share: Callable[[Term], Term]) -> list[Formula]:
    """The negation of: who sits out serves after everything told before it has run out at its holder."""
    d, ttl, most = z3.Reals("drift ttl max_ttl")
    sent, stopped, serves, counted_until = z3.Reals("sent stopped serves counted_until")
    return [
        d >= 0, d < 1, ttl > 0, ttl <= most, sent <= stopped,
        _lasts(d, sent, counted_until, ttl * (1 - d) / (1 + d)),
        _lasts(d, stopped, serves, most * share(d)),
        serves < counted_until,
    ]  # fmt: skip


def _whole(d: Term) -> Term:
    return (1 + d) / (1 - d)


LEMMAS = (
    Lemma(
        "a hold outlasts its count", "the deadline at a node is not before its holder stops counting", _hold
    ),
    Lemma(
        "sitting out outlasts counts",
        "max_ttl x (1 + drift) / (1 - drift) after a start nothing told before the stop is counted any more",
        lambda: _counted(_whole),
    ),
    Lemma(
        "sitting out outlasts deadlines",
        "by then every deadline that stood at the stop has passed as well",
        lambda: _sitting_out(_whole),
    ),
    Lemma(
        "max_ttl alone outlasts counts",
        "without the factor nothing is counted any more either: the holder's count is short already",
        lambda: _counted(lambda d: z3.RealVal(1)),
    ),
    Lemma("no-factor-for-drift", "the holder counts the whole ttl", lambda: _hold(factor=False), holds=False),
    Lemma(
        "counted-from-the-answer",
        "the holder counts from the answer",
        lambda: _hold(from_answer=True),
        holds=False,
    ),
    Lemma(
        "sits-out-nine-tenths",
        "a node sits out nine tenths of max_ttl",
        lambda: _counted(lambda d: z3.RealVal("9/10")),
        holds=False,
    ),
    Lemma(
        "sits-out-max-ttl-for-deadlines",
        "max_ttl alone does not outlast the deadlines: the factor is for those",
        lambda: _sitting_out(lambda d: z3.RealVal(1)),
        holds=False,
    ),
)
