"""What has to be proved, one question for the solver each, and the answers.

An obligation is a rule and a conjunct: the conjunct is so after a step by the rule, if the whole invariant
was so before. Two rules of a special kind stand for the beginning, and for what the invariant implies. A
question that the solver does not decide within its time is answered with UNKNOWN, which is never taken for
proved.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import z3

from invariant.clocks import LEMMAS
from invariant.conjuncts import CLAIMS, CONJUNCTS, Conjunct, initially
from invariant.logic import Formula, Term, Unbounded
from invariant.restarts import RESTART_RULES
from invariant.rules import ACCEPTOR_RULES, CANDIDATE_RULES
from invariant.state import State
from invariant.steps import Rule, Step

__all__ = [
    "CLAIM",
    "COUNTEREXAMPLE",
    "PROVED",
    "RULES",
    "Batch",
    "Result",
    "answer",
    "batches",
    "guards",
    "spread",
]

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")

RULES: tuple[Rule, ...] = ACCEPTOR_RULES + CANDIDATE_RULES + RESTART_RULES
BEGINNING, CLAIM, CLOCKS = "the beginning", "what follows", "clocks"
PROVED, COUNTEREXAMPLE, UNKNOWN = "proved", "counterexample", "UNKNOWN"


@dataclass(frozen=True)
class Batch:
    """A rule with some conjuncts: one piece of work. ``planted`` is the guard that the rule lacks,
    ``dropped`` the conjunct that is not assumed.
    """

    rule: str
    conjuncts: tuple[str, ...]
    timeout_s: float
    planted: str = ""
    dropped: str = ""


@dataclass(frozen=True)
class Result:
    """An answer. ``told`` is what the solver found, where that is short."""

    rule: str
    conjunct: str
    outcome: str
    seconds: float
    told: str = ""


class _Questions:
    """The formulas of the unbounded world, made once for each process."""

    def __init__(self) -> None:
        self.world = Unbounded()
        self.state = State.arbitrary(self.world)
        self.axioms = self.world.axioms()
        self.invariant = {conjunct.name: conjunct.formula(self.state) for conjunct in CONJUNCTS}

    def assumed(self, dropped: str) -> list[Formula]:
        return [*self.axioms, *(formula for name, formula in self.invariant.items() if name != dropped)]

    def things(self, conjunct: Conjunct) -> list[Term]:
        """Of whom the conjunct is to be broken."""
        return [self.world.constant(f"broken.{i}", sort) for i, sort in enumerate(conjunct.sorts.split())]


_made: list[_Questions] = []


def _questions() -> _Questions:
    if not _made:
        _made.append(_Questions())
    return _made[0]


def answer(batch: Batch) -> list[Result]:
    """Put the questions of a batch to the solver, one after the other."""
    if batch.rule == CLOCKS:
        return [_lemma(name, batch.timeout_s) for name in batch.conjuncts]
    return [_ask(batch, name) for name in batch.conjuncts]


def _ask(batch: Batch, name: str) -> Result:
    ask = _questions()
    if batch.rule in (BEGINNING, CLAIM):
        conjunct = next(c for c in (CLAIMS if batch.rule == CLAIM else CONJUNCTS) if c.name == name)
        known = ask.assumed(batch.dropped) if batch.rule == CLAIM else [*ask.axioms, *initially(ask.state)]
        after = ask.state
    else:
        conjunct = next(c for c in CONJUNCTS if c.name == name)
        rule = next(rule for rule in RULES if rule.name == batch.rule)
        step = Step(ask.world, ask.state, batch.planted)
        rule.write(step)
        known = [*ask.assumed(batch.dropped), *step.conditions]
        after = step.after
    things = ask.things(conjunct)
    formulas = [*known, z3.Not(conjunct.body(after, *things))]
    begun = time.monotonic()
    outcome, _ = _decide(formulas, batch.timeout_s)
    seconds = time.monotonic() - begun
    return Result(batch.rule, name, outcome, seconds)


def _decide(formulas: Sequence[Formula], timeout_s: float) -> tuple[str, z3.ModelRef | None]:
    solver = z3.Solver()
    solver.set("timeout", round(timeout_s * 1000))
    solver.add(*formulas)
    verdict = solver.check()
    if verdict == z3.unsat:
        return PROVED, None
    return (COUNTEREXAMPLE, solver.model()) if verdict == z3.sat else (UNKNOWN, None)


def _lemma(name: str, timeout_s: float) -> Result:
    lemma = next(lemma for lemma in LEMMAS if lemma.name == name)
    begun = time.monotonic()
    outcome, model = _decide(lemma.write(), timeout_s)
    told = f"  {lemma.words}: {model}" if model is not None else ""
    return Result(CLOCKS, name, outcome, time.monotonic() - begun, told)


def batches(timeout_s: float, rules: Sequence[str] = (), dropped: str = "") -> list[Batch]:
    """All that has to be proved; with ``rules`` only theirs. A conjunct that is ``dropped`` is neither
    assumed nor asked for.
    """
    names = tuple(conjunct.name for conjunct in CONJUNCTS if conjunct.name != dropped)
    found = [
        Batch(BEGINNING, names, timeout_s),
        *(Batch(rule.name, names, timeout_s, dropped=dropped) for rule in RULES),
        Batch(CLAIM, tuple(claim.name for claim in CLAIMS), timeout_s, dropped=dropped),
        Batch(CLOCKS, tuple(lemma.name for lemma in LEMMAS if lemma.holds), timeout_s),
    ]
    return [batch for batch in found if not rules or batch.rule in rules]


def spread(ask: Callable[[Asked], Answered], work: Sequence[Asked], jobs: int) -> Iterator[Answered]:
    """The answers to each piece of work, in order, by so many processes."""
    if jobs < 2:
        yield from map(ask, work)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(ask, work)


def guards(rule: Rule) -> list[str]:
    """The guards of a rule, in the order in which they are written."""
    ask = _questions()
    step = Step(ask.world, ask.state)
    rule.write(step)
    return step.guards
