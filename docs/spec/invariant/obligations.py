"""What has to be proved, one question for the solver each, and the answers.

An obligation is a rule and a conjunct: the conjunct is so after a step by the rule, if the whole invariant was so
before. Two rules of a special kind stand for the beginning, and for what the invariant implies. A question that the
solver does not decide within its time is answered with UNKNOWN, which is never taken for proved.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import z3

from invariant.clocks import LEMMAS
from invariant.conjuncts import CLAIMS, CONJUNCTS, Conjunct, initially
from invariant.logic import Formula, Term, Unbounded
from invariant.restarts import RESTART_RULES
from invariant.rules import ACCEPTOR_RULES, CANDIDATE_RULES
from invariant.state import State
from invariant.steps import Rule, Step
from invariant.telling import tell

__all__ = ["PROVED", "RULES", "Batch", "Result", "answer", "answers", "batches", "guards"]

RULES: tuple[Rule, ...] = ACCEPTOR_RULES + CANDIDATE_RULES + RESTART_RULES
BEGINNING, CLAIM, CLOCKS = "the beginning", "what follows", "clocks"
PROVED, COUNTEREXAMPLE, UNKNOWN = "proved", "counterexample", "UNKNOWN"
POSSIBLE = "the step is possible"  #: a question of its own: of a step that is none, everything is proved


@dataclass(frozen=True)
class Batch:
    """A rule with some conjuncts: one piece of work. ``planted`` is the guard that the rule lacks, ``dropped`` the
    conjunct that is not assumed. With ``first`` the work ends with the first counterexample.
    """

    rule: str
    conjuncts: tuple[str, ...]
    timeout_s: float
    planted: str = ""
    dropped: str = ""
    first: bool = False


@dataclass(frozen=True)
class Result:
    """An answer. ``told`` is the counterexample in sentences, where there is one."""

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
    found: list[Result] = []
    for name in batch.conjuncts:
        found.append(_ask(batch, name))
        if batch.first and found[-1].outcome == COUNTEREXAMPLE:
            break
    return found


def _possible(batch: Batch) -> Result:
    """Whether the rule can be followed at all, where the invariant holds: it must have an example."""
    ask = _questions()
    step = Step(ask.world, ask.state)
    next(rule for rule in RULES if rule.name == batch.rule).write(step)
    begun = time.monotonic()
    outcome, _ = _decide([*ask.assumed(""), *step.conditions], batch.timeout_s)
    verdict = {COUNTEREXAMPLE: PROVED, PROVED: "IMPOSSIBLE"}.get(outcome, outcome)
    return Result(batch.rule, POSSIBLE, verdict, time.monotonic() - begun)


def _ask(batch: Batch, name: str) -> Result:
    if name == POSSIBLE:
        return _possible(batch)
    ask = _questions()
    step: Step | None = None
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
    told = ""
    if outcome == COUNTEREXAMPLE:
        sentence = rule.sentence if step is not None else "(no step)"
        told = tell(
            _smallest(ask.world, formulas, batch.timeout_s),
            ask.world,
            ask.state,
            step,
            sentence,
            conjunct,
            things,
        )
    return Result(batch.rule, name, outcome, seconds, told)


def _decide(formulas: Sequence[Formula], timeout_s: float) -> tuple[str, z3.ModelRef | None]:
    solver = z3.Solver()
    solver.set("timeout", round(timeout_s * 1000))
    solver.add(*formulas)
    verdict = solver.check()
    if verdict == z3.unsat:
        return PROVED, None
    return (COUNTEREXAMPLE, solver.model()) if verdict == z3.sat else (UNKNOWN, None)


def _smallest(world: Unbounded, formulas: Sequence[Formula], timeout_s: float) -> z3.ModelRef:
    """A counterexample with few things in it, since people are to read it."""
    for nodes, candidates, terms, times in ((2, 2, 3, 3), (3, 3, 4, 4), (0, 0, 0, 0)):
        most = {
            "Node": nodes,
            "Candidate": candidates,
            "Term": terms,
            "Time": times,
            "Quorum": 2,
            "Blocking": 1,
        }
        bounds = [] if not nodes else [
            z3.ForAll([x := world.constant("any", sort)], z3.Or(*(x == world.constant(f"{sort}.{i}", sort) for i in range(n))))
            for sort, n in most.items()
        ]  # fmt: skip
        outcome, model = _decide([*formulas, *bounds], timeout_s)
        if model is not None:
            return model
    raise AssertionError("a counterexample was found, and not again")


def _lemma(name: str, timeout_s: float) -> Result:
    lemma = next(lemma for lemma in LEMMAS if lemma.name == name)
    begun = time.monotonic()
    outcome, model = _decide(lemma.write(), timeout_s)
    told = f"  {lemma.words}: {model}" if model is not None else ""
    return Result(CLOCKS, name, outcome, time.monotonic() - begun, told)


def batches(timeout_s: float, rules: Sequence[str] = ()) -> list[Batch]:
    """All that has to be proved; with ``rules`` only theirs."""
    names = tuple(conjunct.name for conjunct in CONJUNCTS)
    found = [
        Batch(BEGINNING, names, timeout_s),
        *(Batch(rule.name, (*names, POSSIBLE), timeout_s) for rule in RULES),
        Batch(CLAIM, tuple(claim.name for claim in CLAIMS), timeout_s),
        Batch(CLOCKS, tuple(lemma.name for lemma in LEMMAS if lemma.holds), timeout_s),
    ]
    return [batch for batch in found if not rules or batch.rule in rules]


def answers(work: Sequence[Batch], jobs: int) -> Iterator[list[Result]]:
    """The answers to each batch, in order, by so many processes."""
    if jobs < 2:
        yield from map(answer, work)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(answer, work)


def guards(rule: Rule) -> list[str]:
    """The guards of a rule, in the order in which they are written."""
    ask = _questions()
    step = Step(ask.world, ask.state)
    rule.write(step)
    return step.guards
