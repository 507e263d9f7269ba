"""A counterexample in sentences: the state before, the step, and what is not so after it."""

from __future__ import annotations

from typing import Any

import z3

from invariant.conjuncts import Conjunct
from invariant.logic import Term, Unbounded
from invariant.state import State
from invariant.steps import Step

__all__ = ["Names", "describe", "tell"]

CANDIDATES = ("athens", "byblos", "cyrene", "delphi", "ephesus", "foinikas")


class Names:
    """A name for everything in a counterexample: nodes a, b, c, candidates by towns, terms and moments by their
    order.
    """

    def __init__(self, model: z3.ModelRef, world: Unbounded) -> None:
        self.model, self.world = model, world
        self.things = {
            sort: self._all(sort) for sort in ("Node", "Candidate", "Term", "Time", "Quorum", "Blocking")
        }
        for sort in ("Term", "Time"):
            self.things[sort].sort(
                key=lambda x, sort=sort: sum(self.true(world.le(y, x)) for y in self._all(sort))
            )

    def _all(self, sort: str) -> list[Any]:
        found = self.model.get_universe(self.world.sorts[sort])
        return list(found) if found else [z3.Const(f"some {sort}", self.world.sorts[sort])]

    def value(self, term: Term) -> Any:
        return self.model.eval(term, model_completion=True)

    def true(self, formula: Term) -> bool:
        return z3.is_true(self.value(formula))

    def __call__(self, term: Term) -> str:
        sort = str(term.sort())
        value = self.value(term)
        place = next((i for i, thing in enumerate(self.things[sort]) if thing.eq(value)), 0)
        if sort == "Node":
            return "abcdefghij"[place]
        if sort == "Candidate":
            return CANDIDATES[place] if place < len(CANDIDATES) else f"candidate {place}"
        if sort in ("Term", "Time"):
            return f"{'term' if sort == 'Term' else 'moment'} {place}"
        belongs = self.world.member if sort == "Quorum" else self.world.blocks
        inside = [self(n) for n in self.things["Node"] if self.true(belongs(n, value))]
        return "{" + ", ".join(inside) + "}"


def describe(names: Names, s: State) -> list[str]:
    """A moment, in sentences: every node and every candidate."""
    lines = [f"it is {names(s.now())}"]
    lines += [_node(names, s, n) for n in names.things["Node"]]
    lines += [_candidate(names, s, c) for c in names.things["Candidate"]]
    return lines


def _node(names: Names, s: State, n: Term) -> str:
    candidates, terms, times = (names.things[sort] for sort in ("Candidate", "Term", "Time"))
    said = []
    if names.true(s.lost(n)):
        read = [names(m) for m in names.things["Node"] if names.true(s.read(n, m))]
        said.append(f"has lost its disk, sits out until {names(s.sits_until(n))}")
        said.append(
            f"has read {', '.join(read)}: {names(s.highest_read(n))}" if read else "has read no ceiling"
        )
    elif names.true(s.serves(n)):
        said.append("serves")
    else:
        said.append(f"sits out until {names(s.sits_until(n))}")
    said.append(f"own {names(s.own_term(n))}" if names.true(s.knows(n)) else "no record")
    said.append(
        f"floor {names(s.floor(n))}, ceiling {names(s.ceiling(n))}, life begun at {names(s.start_floor(n))}"
    )
    said += [f"promised to {names(c)}" for c in candidates if names.true(s.promised(n, c))]
    said += [
        f"holds {names(c)} in {names(s.lease_term(n))} until {names(s.deadline(n))}, its number until {names(s.number(n))}"
        for c in candidates
        if names.true(s.holds(n, c))
    ]
    said += [
        f"has accepted {names(c)} in {names(t)}"
        for c in candidates
        for t in terms
        if names.true(s.remembers(n, c, t))
    ]
    said += [
        f"has told {names(c)} {names(t)}, counted until {names(e)}"
        for c in candidates
        for t in terms
        for e in times
        if names.true(s.told(n, c, t, e))
    ]
    return f"node {names(n)}: " + "; ".join(said)


def _candidate(names: Names, s: State, c: Term) -> str:
    said = []
    if names.true(s.has_token(c)):
        said.append(f"got its token {names(s.token(c))} by {names(s.first(c))}")
    if names.true(s.valid(c)):
        said.append(f"is valid, and counts on {names(s.counts(c))}")
    if names.true(s.over(c)):
        said.append("is over")
    if names.true(s.released(c)):
        said.append("its Release was sent")
    others = [names(d) for d in names.things["Candidate"] if names.true(s.earlier(c, d))]
    if others:
        said.append(f"had a token before {', '.join(others)} got one")
    return f"{names(c)}: " + ("; ".join(said) or "is on its way")


def tell(
    model: z3.ModelRef,
    world: Unbounded,
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
        about = {name: names(value) for name, (value, _) in step.values.items()}
        lines.append(f"  step: {sentence.format(**about)}")
        old, new = describe(names, before), describe(names, step.after)
        lines.append("  after:")
        lines += [f"    {line}" for line, other in zip(new, old, strict=True) if line != other]
    lines.append(f"  not so after it ({conjunct.name}): {conjunct.words}")
    lines.append(f"    for {', '.join(map(names, things))}")
    return "\n".join(lines)
