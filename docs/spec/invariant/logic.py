"""The worlds in which the rules are read: things and moments without number for the proof, a few for the
search.

A rule and a conjunct are written once, against `World`. `Unbounded` gives formulas with quantifiers over
sorts of any size: any number of nodes, candidates, terms and moments. `bounded.py` has a world of a few of
each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import z3

__all__ = ["SORTS", "Formula", "Term", "Unbounded", "World"]

Formula = Any  #: a z3.BoolRef
Term = Any  #: any other expression of z3

SORTS = ("Node", "Quorum", "Blocking", "Candidate", "Term", "Time")
LETTERS = {"Node": "n", "Quorum": "q", "Blocking": "b", "Candidate": "c", "Term": "t", "Time": "e"}


class World(Protocol):
    """What rules and conjuncts are written with. A sort is named by its word in `SORTS`."""

    def function(self, name: str, *sorts: str) -> Callable[..., Term]:
        """An arbitrary function; the last sort is that of its result, "Bool" for a relation."""

    def constant(self, name: str, sort: str) -> Term:
        """Some thing of this sort."""

    def least(self) -> Term:
        """The term below all others."""

    def forall(self, sorts: str, body: Callable[..., Formula]) -> Formula:
        """For all things of these sorts (words with blanks between them)."""

    def exists(self, sorts: str, body: Callable[..., Formula]) -> Formula:
        """For some things of these sorts."""

    def le(self, one: Term, other: Term) -> Formula:
        """A term or moment is not above, or not after, another."""

    def member(self, node: Term, quorum: Term) -> Formula:
        """The node belongs to the quorum."""

    def blocks(self, node: Term, blocking: Term) -> Formula:
        """The node belongs to this set of N - quorum + 1 nodes."""

    def axioms(self) -> list[Formula]:
        """What is assumed of quorums and orders."""


class Unbounded:
    """Sorts of any size. Functions lead only from Candidate to Quorum to Node to Term and Time, so that the
    formulas stay in the fragment EPR, in which the solver always comes to an end.
    """

    def __init__(self) -> None:
        self.sorts = {name: z3.DeclareSort(name) for name in SORTS} | {"Bool": z3.BoolSort()}
        self._orders = {
            name: z3.Function(f"{name}.le", self.sorts[name], self.sorts[name], z3.BoolSort())
            for name in ("Term", "Time")
        }
        self._member = z3.Function("member", self.sorts["Node"], self.sorts["Quorum"], z3.BoolSort())
        self._blocks = z3.Function("blocks", self.sorts["Node"], self.sorts["Blocking"], z3.BoolSort())
        self._least = self.constant("least", "Term")
        self._names = 0

    def function(self, name: str, *sorts: str) -> Callable[..., Term]:
        return z3.Function(name, *(self.sorts[sort] for sort in sorts))

    def constant(self, name: str, sort: str) -> Term:
        return z3.Const(name, self.sorts[sort])

    def least(self) -> Term:
        return self._least

    def forall(self, sorts: str, body: Callable[..., Formula]) -> Formula:
        bound = self._bound(sorts)
        return z3.ForAll(bound, body(*bound))

    def exists(self, sorts: str, body: Callable[..., Formula]) -> Formula:
        bound = self._bound(sorts)
        return z3.Exists(bound, body(*bound))

    def _bound(self, sorts: str) -> list[Term]:
        found = []
        for sort in sorts.split():
            self._names += 1
            found.append(self.constant(f"{LETTERS[sort]}!{self._names}", sort))
        return found

    def le(self, one: Term, other: Term) -> Formula:
        return self._orders[one.sort().name()](one, other)

    def member(self, node: Term, quorum: Term) -> Formula:
        return self._member(node, quorum)

    def blocks(self, node: Term, blocking: Term) -> Formula:
        return self._blocks(node, blocking)

    def axioms(self) -> list[Formula]:
        def common(one: Term, other: Term) -> Formula:
            return self.exists("Node", lambda n: z3.And(self.member(n, one), self.member(n, other)))

        def blocked(blocking: Term, quorum: Term) -> Formula:
            return self.exists("Node", lambda n: z3.And(self.blocks(n, blocking), self.member(n, quorum)))

        found = [
            self.forall("Quorum Quorum", common),
            self.forall("Blocking Quorum", blocked),
            self.forall("Term", lambda t: self.le(self._least, t)),
        ]
        for sort in ("Term", "Time"):
            found += [
                self.forall(f"{sort} {sort}", lambda a, b: z3.Or(self.le(a, b), self.le(b, a))),
                self.forall(f"{sort} {sort}", self._antisymmetric),
                self.forall(f"{sort} {sort} {sort}", self._transitive),
            ]
        return found

    def _antisymmetric(self, a: Term, b: Term) -> Formula:
        return z3.Implies(z3.And(self.le(a, b), self.le(b, a)), a == b)

    def _transitive(self, a: Term, b: Term, c: Term) -> Formula:
        return z3.Implies(z3.And(self.le(a, b), self.le(b, c)), self.le(a, c))
