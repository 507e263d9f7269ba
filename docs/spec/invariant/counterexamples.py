"""Steps that break a conjunct, found among a few nodes, candidates, terms and moments."""

from __future__ import annotations

import z3

from invariant.conjuncts import CLAIMS, CONJUNCTS, Conjunct
from invariant.few import Few
from invariant.obligations import CLAIM, RULES
from invariant.state import State
from invariant.steps import Step
from invariant.telling import tell

__all__ = ["Searcher", "searcher"]


class Searcher:
    """The invariant of a few things, with a switch for each conjunct, made once for each process."""

    def __init__(self) -> None:
        self.world = Few(nodes=3, candidates=3, terms=3, times=3)
        self.state = State.arbitrary(self.world)
        self._switches = {conjunct.name: z3.Bool(f"assume {conjunct.name}") for conjunct in CONJUNCTS}
        self._solver = z3.Solver()
        for conjunct in CONJUNCTS:
            formula = conjunct.formula(self.state)
            self._solver.add(z3.Implies(self._switches[conjunct.name], formula))
        self._solver.add(*self.world.bounds)
        self._steps: dict[tuple[str, str], Step] = {}
        self._goals: dict[tuple[str, str, str], tuple[z3.BoolRef, list[z3.ExprRef]]] = {}

    def possible(self, rule: str) -> bool:
        """Whether the rule has a step where the invariant holds: of one without, everything is proved."""
        step = self._step(rule, "")
        return self._solver.check(*self._switches.values(), z3.And(*step.conditions)) == z3.sat

    def broken(self, rule: str, conjunct: Conjunct, *, planted: str = "", dropped: str = "") -> str | None:
        """A step of the rule less the guard ``planted``, from a state in which the whole invariant holds but
        for ``dropped``, after which the conjunct does not: in sentences. None if there is none among so few.
        """
        step = None if rule == CLAIM else self._step(rule, planted)
        goal, things = self._goal(rule, planted, step, conjunct)
        assumed = [switch for name, switch in self._switches.items() if name != dropped]
        if self._solver.check(*assumed, goal) != z3.sat:
            return None
        sentence = next((r.sentence for r in RULES if r.name == rule), "")
        return tell(self._solver.model(), self.world, self.state, step, sentence, conjunct, things)

    def _step(self, rule: str, planted: str) -> Step:
        if (rule, planted) not in self._steps:
            step = Step(self.world, self.state, planted)
            next(r for r in RULES if r.name == rule).write(step)
            self._steps[rule, planted] = step
            self._solver.add(*self.world.bounds)
        return self._steps[rule, planted]

    def _goal(
        self, rule: str, planted: str, step: Step | None, conjunct: Conjunct
    ) -> tuple[z3.BoolRef, list[z3.ExprRef]]:
        """A switch for: the step is taken, and then the conjunct is broken."""
        key = rule, planted, conjunct.name
        if key not in self._goals:
            things = [
                self.world.constant(f"broken.{i}", sort) for i, sort in enumerate(conjunct.sorts.split())
            ]
            after = self.state if step is None else step.after
            conditions = [] if step is None else step.conditions
            switch = z3.Bool(f"go {key}")
            self._solver.add(*self.world.bounds)
            self._solver.add(z3.Implies(switch, z3.And(*conditions, z3.Not(conjunct.body(after, *things)))))
            self._goals[key] = switch, things
        return self._goals[key]

    def needed(self, dropped: str, rule: str, name: str) -> str | None:
        """Why the rule cannot be shown to keep the conjunct, or the claim cannot be shown, without
        ``dropped``.
        """
        conjunct = next(c for c in (CLAIMS if rule == CLAIM else CONJUNCTS) if c.name == name)
        return self.broken(rule, conjunct, dropped=dropped)


_made: list[Searcher] = []


def searcher() -> Searcher:
    """The one of this process."""
    if not _made:
        _made.append(Searcher())
    return _made[0]
