"""A world of a few things of each kind, without quantifiers: what is true in it, the solver finds quickly.

Whatever goes wrong among few goes wrong among any number, so that counterexamples are looked for here. That
nothing goes wrong is shown in `logic.Unbounded` only. Any two of three nodes are a quorum, and any two block;
of N nodes all but some N - quorum are a quorum.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import combinations, product
from typing import Any

import z3

from invariant.logic import Formula, Term

__all__ = ["Few"]


class Few:
    """``nodes`` nodes and so on. Everything is a number below the size of its sort."""

    def __init__(self, nodes: int = 3, candidates: int = 2, terms: int = 4, times: int = 4) -> None:
        quorum = nodes // 2 + 1
        self._quorums = list(combinations(range(nodes), quorum))
        self._blocking = list(combinations(range(nodes), nodes - quorum + 1))
        self.sizes = {
            "Node": nodes,
            "Quorum": len(self._quorums),
            "Blocking": len(self._blocking),
            "Candidate": candidates,
            "Term": terms,
            "Time": times,
        }
        self.bounds: list[Formula] = []
        self._things = {
            name: [z3.BitVecVal(i, self._bits(name)) for i in range(size)]
            for name, size in self.sizes.items()
        }

    def _bits(self, sort: str) -> int:
        return max(1, (self.sizes[sort] - 1).bit_length())

    def things(self, sort: str) -> list[Term]:
        return self._things[sort]

    def constant(self, name: str, sort: str) -> Term:
        if sort == "Bool":
            return z3.Bool(name)
        found = z3.BitVec(name, self._bits(sort))
        if self.sizes[sort] < 1 << self._bits(sort):
            self.bounds.append(z3.ULT(found, self.sizes[sort]))
        return found

    def function(self, name: str, *sorts: str) -> Callable[..., Term]:
        *places, result = sorts
        ranges = [range(self.sizes[sort]) for sort in places]
        table = {at: self.constant(f"{name}{at}", result) for at in product(*ranges)}
        return lambda *where: self._look(table, where, ())

    def _look(self, table: dict[tuple[int, ...], Term], where: tuple[Any, ...], at: tuple[int, ...]) -> Term:
        """The entry of a table at a place of which not all is known."""
        if not where:
            return table[at]
        first, *rest = where
        if z3.is_bv_value(first):
            return self._look(table, tuple(rest), (*at, first.as_long()))
        size = 1 + max(key[len(at)] for key in table)
        entries = [self._look(table, tuple(rest), (*at, i)) for i in range(size)]
        return reduce(lambda found, i: z3.If(first == i, entries[i], found), range(1, size), entries[0])

    def least(self) -> Term:
        return self.things("Term")[0]

    def forall(self, sorts: str, body: Callable[..., Formula]) -> Formula:
        return z3.And(*(body(*found) for found in product(*map(self.things, sorts.split()))))

    def exists(self, sorts: str, body: Callable[..., Formula]) -> Formula:
        return z3.Or(*(body(*found) for found in product(*map(self.things, sorts.split()))))

    def le(self, one: Term, other: Term) -> Formula:
        return z3.ULE(one, other)

    def member(self, node: Term, quorum: Term) -> Formula:
        return self._belongs(self._quorums, node, quorum)

    def blocks(self, node: Term, blocking: Term) -> Formula:
        return self._belongs(self._blocking, node, blocking)

    def _belongs(self, sets: list[tuple[int, ...]], node: Term, which: Term) -> Formula:
        pairs = [(i, n) for i, members in enumerate(sets) for n in members]
        return z3.Or(*(z3.And(which == i, node == n) for i, n in pairs))

    def axioms(self) -> list[Formula]:
        """Nothing has to be assumed of what can be counted."""
        return []
