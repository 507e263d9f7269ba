"""Wrong protocols, and the way from a new cell to two holders or to a token that does not grow.

A counterexample of `planted.py` begins anywhere in the invariant. Here every step is taken from the
beginning: the same rules, unrolled among three nodes. A wrong protocol says which kinds of steps may come at
each place; whom and what each of them is about the solver finds. Deep ways are only found where the kinds of
steps are given.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import product

import z3
from z3 import And, Not, Or

from invariant.conjuncts import CLAIMS, initially
from invariant.few import Few
from invariant.logic import Term
from invariant.obligations import RULES
from invariant.state import FIELDS, State, put
from invariant.steps import Rule, Step
from invariant.telling import Names, describe

__all__ = ["WRONG", "Found", "Wrong", "search"]


def _old_life(step: Step) -> None:
    """A process whose disk was lost under another one with its id goes on, and answers whom it held."""
    s, w = step.before, step.world
    n, c = step.some("n", "Node"), step.some("c", "Candidate")
    t, e = step.some("t", "Term"), step.some("e", "Time")
    step.needs(Or(s.lost(n), s.start_floor(n) != w.least()))
    step.needs(w.exists("Time", lambda f: And(s.told(n, c, t, f), Not(w.le(f, s.now())))))
    step.becomes(told=put(s.told, n, c, t, e, z3.BoolVal(True)))


TOLD_BY_OLD = "the old process of {n} answers {c} in {t}: counted until {e}"
OLD_LIFE = Rule("old life", "7, One life", TOLD_BY_OLD, _old_life)
LOOKED_FOR = ("one valid holder", "tokens grow", "tokens are unique")
KINDS = {rule.name: rule for rule in (*RULES, OLD_LIFE)}


@dataclass(frozen=True)
class Wrong:
    """A protocol less one guard. ``kinds`` are the rules that may be followed at each step. ``others`` is a
    guard that safety does not need, and that would hide what is wrong.
    """

    name: str
    guard: str
    kinds: tuple[tuple[str, ...], ...]
    sizes: tuple[int, int, int]
    others: str = ""


@dataclass(frozen=True)
class Found:
    """The way there, a sentence for each step; empty where there is none of this length and size."""

    wrong: Wrong
    lines: tuple[str, ...]
    claim: str
    seconds: float


def _free(length: int, *kinds: str) -> tuple[tuple[str, ...], ...]:
    """Any of these kinds at every step."""
    return (kinds,) * length


def _given(kinds: str) -> tuple[tuple[str, ...], ...]:
    """These kinds, one after the other, with commas between them."""
    return tuple((kind.strip(),) for kind in kinds.split(","))


WRONG = (
    Wrong("not refused while held", "accept-while-held", _free(6, "accept", "first validity"), (2, 3, 2)),
    Wrong(
        "S1: a Release ends another's lease",
        "release-of-another",
        _given(
            "accept, accept, first validity, end, Release is sent, release, accept, accept, first validity"
        ),
        (3, 3, 2),
    ),
    Wrong(
        "S2: a Release before the end",
        "releases-before-it-is-over",
        _free(8, "accept", "first validity", "Release is sent", "release"),
        (2, 3, 2),
    ),
    Wrong(
        "S3: answers of mixed terms",
        "answers-of-mixed-terms",
        _free(9, "accept", "first validity", "end", "Release is sent", "release"),
        (2, 4, 2),
    ),
    Wrong(
        "S4: armed for less than is counted",
        "accept-armed-too-short",
        _free(8, "accept", "first validity", "expiry", "time passes"),
        (2, 3, 3),
    ),
    Wrong(
        "S5: a number echoed that did not arm",
        "again-by-another-number",
        _given(
            "accept, accept, answer again, answer again, first validity, time passes, expiry, accept, accept,"
            " first validity"
        ),
        (2, 3, 3),
    ),
    Wrong(
        "S6: a deadline that goes back",
        "renew-moves-the-deadline-back",
        _given("accept, accept, first validity, renew, time passes, expiry, accept, accept, first validity"),
        (2, 3, 4),
        others="renew-by-an-old-number",  # as by another sender: of one, no number goes back
    ),
    Wrong(
        "S7: ceilings are read before it has sat out",
        "reads-ceilings-before-it-has-sat-out",
        _given(
            "accept, loss of the disk, a ceiling is read, a ceiling is read, ceiling, accept, first "
            "validity, end,"
            " time passes, joining, ceiling, accept, ceiling, accept, first validity"
        ),
        (2, 3, 3),
    ),
    Wrong(
        "no sitting out",
        "does-not-sit-out",
        _given(
            "accept, accept, first validity, unclean stop, serving, ceiling, accept, accept, first validity"
        ),
        (2, 4, 2),
    ),
    Wrong(
        "no ceiling: the floor is forgotten",
        "the-floor-is-forgotten",
        _given(
            "accept, accept, first validity, end, unclean stop, time passes, serving, accept, "
            "accept, first validity"
        ),
        (2, 4, 3),
    ),
    Wrong(
        "joins by too few ceilings",
        "joins-by-too-few-ceilings",
        _given(
            "ceiling, accept, accept, first validity, end, time passes, loss of the disk, a ceiling "
            "is read, joining,"
            " ceiling, accept, ceiling, accept, first validity"
        ),
        (2, 4, 3),
    ),
    Wrong(
        "joins before it has sat out",
        "a-lost-node-sits-out-too-short",
        _given(
            "accept, accept, first validity, loss of the disk, a ceiling is read, a ceiling is "
            "read, joining, ceiling,"
            " accept, ceiling, accept, first validity"
        ),
        (2, 4, 2),
    ),
    Wrong(
        "two lives of one node",
        "",
        _given(
            "accept, accept, first validity, loss of the disk, old life, old life, time passes, a "
            "ceiling is read, a ceiling is read,"
            " joining, ceiling, accept, ceiling, accept, first validity"
        ),
        (2, 4, 4),
    ),
)


def search(wrong: Wrong, *, guarded: bool = False) -> Found:
    """Look for a way; with ``guarded`` in the right protocol, where there must be none."""
    begun = time.monotonic()
    world = Few(3, *wrong.sizes)
    kinds_of_steps = [kinds for kinds in wrong.kinds if not guarded or OLD_LIFE.name not in kinds]
    lacks = wrong.others if guarded else f"{wrong.guard} {wrong.others}".strip()
    states = [State.arbitrary(world, f"{i}:") for i in range(len(kinds_of_steps) + 1)]
    solver = z3.SolverFor("QF_FD")
    solver.add(*initially(states[0]))
    choices: list[tuple[Term, list[Step]]] = []
    for i, kinds in enumerate(kinds_of_steps):
        choices.append(_unroll(solver, states[i], states[i + 1], kinds, lacks, i))
    claims = {claim.name: claim.formula(states[-1]) for claim in CLAIMS if claim.name in LOOKED_FOR}
    solver.add(Not(And(*claims.values())), *world.bounds)
    if solver.check() != z3.sat:
        return Found(wrong, (), "", time.monotonic() - begun)
    names = Names(solver.model(), world)
    lines = []
    for choice, steps in choices:
        step = steps[names.value(choice)]
        sentence = KINDS[step.prefix.rpartition(":")[2]].sentence
        lines.append(sentence.format(**{k: names(sort, value) for k, (value, sort) in step.values.items()}))
    of_candidates = describe(names, states[-1])[1 + len(world.things("Node")) :]
    lines += [line for line in of_candidates if "token" in line]
    broken = next(name for name, formula in claims.items() if not names.true(formula))
    return Found(wrong, tuple(lines), broken, time.monotonic() - begun)


def _unroll(
    solver: z3.Solver, before: State, after: State, kinds: tuple[str, ...], guard: str, number: int
) -> tuple[Term, list[Step]]:
    """One step by one of these kinds: every field after it is what the chosen rule makes of it."""
    world = before.world
    assert isinstance(world, Few)
    choice = z3.BitVec(f"{number}:kind", 5)
    steps = []
    for kind in kinds:
        step = Step(world, before, guard, prefix=f"{number}:{kind}")
        KINDS[kind].write(step)
        steps.append(step)
    solver.add(z3.ULT(choice, len(kinds)))
    for j, step in enumerate(steps):
        solver.add(z3.Implies(choice == j, And(*step.conditions)))
    for name, sorts in FIELDS.items():
        old, new = getattr(before, name), getattr(after, name)
        changing = [(j, getattr(step.after, name)) for j, step in enumerate(steps)]
        changing = [(j, field) for j, field in changing if field is not old]
        for place in product(*map(world.things, sorts[:-1])):
            value = old(*place)
            for j, field in changing:
                value = z3.If(choice == j, field(*place), value)
            solver.add(new(*place) == value)
    return choice, steps
