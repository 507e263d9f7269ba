"""A counterexample in sentences: the state before, the step, and what is not so after it."""

from __future__ import annotations

from collections.abc import Callable

import z3

from invariant.conjuncts import Conjunct
from invariant.few import Few
from invariant.logic import Formula, Term
from invariant.state import State
from invariant.steps import Step

__all__ = ["Names", "describe", "tell"]

NODES = "abcdefg"
CANDIDATES = ("athens", "byblos", "cyrene", "delphi", "ephesus", "foinikas")


class Names:
    """A name for everything in a counterexample: nodes a, b, c, candidates by towns, terms and moments by
    their order.
    """

    def __init__(self, model: z3.ModelRef, world: Few) -> None:
        self.model, self.world = model, world

    def value(self, term: Term) -> int:
        found: int = self.model.eval(term, model_completion=True).as_long()
        return found

    def true(self, formula: Term) -> bool:
        return z3.is_true(self.model.eval(formula, model_completion=True))

    def __call__(self, sort: str, thing: Term) -> str:
        name: Callable[[Term], str] = getattr(self, {"Time": "moment"}.get(sort, sort.lower()))
        return name(thing)

    def node(self, thing: Term) -> str:
        return NODES[self.value(thing)]

    def candidate(self, thing: Term) -> str:
        return CANDIDATES[self.value(thing)]

    def term(self, thing: Term) -> str:
        return f"term {self.value(thing)}"

    def moment(self, thing: Term) -> str:
        return f"moment {self.value(thing)}"

    def quorum(self, thing: Term) -> str:
        return self._set(self.world.member, thing)

    def blocking(self, thing: Term) -> str:
        return self._set(self.world.blocks, thing)

    def _set(self, belongs: Callable[[Term, Term], Formula], thing: Term) -> str:
        nodes = self.world.things("Node")
        return "{" + ", ".join(self.node(n) for n in nodes if self.true(belongs(n, thing))) + "}"


def describe(names: Names, s: State) -> list[str]:
    """A moment, in sentences: every node and every candidate."""
    lines = [f"it is {names.moment(s.now())}"]
    lines += [_node(names, s, n) for n in names.world.things("Node")]
    lines += [_candidate(names, s, c) for c in names.world.things("Candidate")]
    return lines


def _node(names: Names, s: State, n: Term) -> str:
    candidates, terms, times = (names.world.things(sort) for sort in ("Candidate", "Term", "Time"))
    said = []
    if names.true(s.lost(n)):
        read = [names.node(m) for m in names.world.things("Node") if names.true(s.read(n, m))]
        said.append(f"has lost its disk, sits out until {names.moment(s.sits_until(n))}")
        said.append(
            f"has read {', '.join(read)}: {names.term(s.highest_read(n))}" if read else "has read no ceiling"
        )
    elif names.true(s.serves(n)):
        said.append("serves")
    else:
        said.append(f"sits out until {names.moment(s.sits_until(n))}")
    said.append(f"own {names.term(s.own_term(n))}" if names.true(s.knows(n)) else "no record")
    said.append(
        f"floor {names.term(s.floor(n))}, ceiling {names.term(s.ceiling(n))},"
        f" life begun at {names.term(s.start_floor(n))}"
    )
    said += [f"promised to {names.candidate(c)}" for c in candidates if names.true(s.promised(n, c))]
    said += [
        f"holds {names.candidate(c)} in {names.term(s.lease_term(n))} until {names.moment(s.deadline(n))},"
        f" its number until {names.moment(s.number(n))}"
        for c in candidates
        if names.true(s.holds(n, c))
    ]
    said += [
        f"has accepted {names.candidate(c)} in {names.term(t)}"
        for c in candidates
        for t in terms
        if names.true(s.remembers(n, c, t))
    ]
    said += [
        f"has told {names.candidate(c)} {names.term(t)}, counted until {names.moment(e)}"
        for c in candidates
        for t in terms
        for e in times
        if names.true(s.told(n, c, t, e))
    ]
    return f"node {names.node(n)}: " + "; ".join(said)


def _candidate(names: Names, s: State, c: Term) -> str:
    said = []
    if names.true(s.has_token(c)):
        said.append(f"got its token {names.term(s.token(c))} by {names.quorum(s.first(c))}")
    if names.true(s.valid(c)):
        said.append(f"is valid, and counts on {names.quorum(s.counts(c))}")
    if names.true(s.over(c)):
        said.append("is over")
    if names.true(s.released(c)):
        said.append("its Release was sent")
    others = [names.candidate(d) for d in names.world.things("Candidate") if names.true(s.earlier(c, d))]
    if others:
        said.append(f"had a token before {', '.join(others)} got one")
    return f"{names.candidate(c)}: " + ("; ".join(said) or "is on its way")


def tell(
    model: z3.ModelRef,
    world: Few,
    before: State,
    step: Step | None,
    sentence: str,
    conjunct: Conjunct,
    things: list[Term],
) -> str:
    """The whole counterexample, one line after another."""
    names = Names(model, world)
    lines = ["  before:", *(f"    {line}" for line in describe(names, before))]
    if step is not None:
        about = {name: names(sort, value) for name, (value, sort) in step.values.items()}
        lines.append(f"  step: {sentence.format(**about)}")
        old, new = describe(names, before), describe(names, step.after)
        lines.append("  after:")
        lines += [f"    {line}" for line, other in zip(new, old, strict=True) if line != other]
    lines.append(f"  not so after it ({conjunct.name}): {conjunct.words}")
    lines.append(f"    for {', '.join(map(names, conjunct.sorts.split(), things))}")
    return "\n".join(lines)
