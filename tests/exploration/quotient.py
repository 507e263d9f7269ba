"""Columns that nothing which can follow tells apart, as one class.

A column *covers* another where either session keeps the same of both, it holds a lease only where the other
does, and whatever can happen to the other can happen to it, perhaps after steps of its own, and leads to a
column that covers: a weak simulation. What is found from a cell is then found from one with covering columns
too. Columns that cover each other are one class. docs/exploration.md has the argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.exploration.automaton import BROKEN, INNER, Automaton, Edge, Label
from tests.exploration.tables import bits

__all__ = ["Quotient"]


class Quotient:
    """The classes, and the edges between them. Class 0 is BROKEN alone."""

    def __init__(self, automaton: Automaton) -> None:
        self._automaton = automaton
        self._unseen = {n for n, (kind, _) in enumerate(automaton.labels) if kind in ("inner", "lapsed")}
        self._serves = self._find_serving()
        block = self._blocks()
        self._join(block)
        self._find_covers()
        self._merge(block)

    def _moves(self, edges: Iterable[Edge], block: list[int], mine: int) -> Iterator[Edge]:
        """set[Edge] between blocks, without those by which nothing is seen to happen."""
        for label, to in edges:
            if block[to] != mine or label not in self._unseen:
                yield label, block[to]

    def _find_serving(self) -> list[list[int]]:
        """For every label those for which it may stand: itself, and what waits for a later number."""
        labels = self._automaton.labels
        return [
            [number, *(n for n, other in enumerate(labels) if _waits_longer(other, label))]
            for number, label in enumerate(labels)
        ]

    # First: what does the same, step by step

    def _label(self, vertex: int) -> object:
        automaton = self._automaton
        return None if vertex == BROKEN else (automaton.views(vertex), automaton.keeps(vertex))

    def _blocks(self) -> list[int]:
        """The coarsest blocks of which every vertex has the same edges to the same blocks; steps without a
        session that stay in the block count for nothing.
        """
        edges = self._automaton.edges
        numbers: dict[object, int] = {}
        block = [numbers.setdefault(self._label(vertex), len(numbers)) for vertex in range(len(edges))]
        count = 0
        while count != len(numbers):
            count, numbers = len(numbers), {}
            block = [
                numbers.setdefault(
                    (block[vertex], frozenset(self._moves(edges[vertex], block, block[vertex]))), len(numbers)
                )
                for vertex in range(len(edges))
            ]
        return block

    def _join(self, block: list[int]) -> None:
        """The graph of the blocks; those with the same views are a group, in which each has its place."""
        automaton = self._automaton
        count = max(block) + 1
        self._edges: list[set[Edge]] = [set() for _ in range(count)]
        self._keeps: list[tuple[int, int] | None] = [None] * count
        self._group: list[list[int]] = [[] for _ in range(count)]
        self._place = [0] * count
        groups: dict[tuple[int, int] | None, list[int]] = {}
        for vertex, number in enumerate(block):
            if self._group[number]:
                continue  # every vertex of a block has the same edges
            self._edges[number] = set(self._moves(automaton.edges[vertex], block, number))
            self._keeps[number] = None if vertex == BROKEN else automaton.keeps(vertex)
            group = groups.setdefault(None if vertex == BROKEN else automaton.views(vertex), [])
            self._place[number] = len(group)
            group.append(number)
            self._group[number] = group

    # Second: what covers what

    def _find_covers(self) -> None:
        """For every block those that cover it, as bits of their places: the greatest such relation."""
        count = len(self._edges)
        reached = self._reached()
        before: list[set[int]] = [set() for _ in range(count)]
        for number, edges in enumerate(self._edges):
            for _, to in edges:
                before[to].add(number)
        self._covers = [
            sum(
                1 << place
                for place, other in enumerate(self._group[number])
                if self._holds_less(other, number)
            )
            for number in range(count)
        ]
        pending = set(range(count))
        while pending:
            changed: set[int] = set()
            for number in pending:
                group, covers = self._group[number], self._covers[number]
                for label, to in self._edges[number]:
                    follow, wanted = reached[label], self._covers[to]
                    for place in bits(covers):
                        if not follow.get(group[place], 0) & wanted:
                            covers ^= 1 << place
                if covers != self._covers[number]:
                    self._covers[number] = covers
                    changed |= before[number] | {number}
            pending = changed

    def _reached(self) -> list[dict[int, int]]:
        """For every label where a block can come to by what may stand for it, as bits of their places."""
        found: list[dict[int, int]] = [{} for _ in self._automaton.labels]
        for number in range(len(self._edges)):
            for inner in self._closure(number):
                bit = 1 << self._place[inner]
                for label in self._unseen:
                    found[label][number] = found[label].get(number, 0) | bit
                for label, to in self._edges[inner]:
                    bit = 1 << self._place[to]
                    for other in self._serves[label]:
                        found[other][number] = found[other].get(number, 0) | bit
        return found

    def _closure(self, number: int) -> set[int]:
        """Where a block comes to by itself."""
        seen = {number}
        stack = [number]
        while stack:
            for label, to in self._edges[stack.pop()]:
                if label == INNER and to not in seen:
                    seen.add(to)
                    stack.append(to)
        return seen

    def _holds_less(self, one: int, other: int) -> bool:
        mine, its = self._keeps[one], self._keeps[other]
        return mine is None or (its is not None and mine[0] == its[0] and mine[1] <= its[1])

    def _below(self, one: int, other: int) -> bool:
        """Whether the other covers this one."""
        same = self._group[one] is self._group[other]
        return same and bool(self._covers[one] >> self._place[other] & 1)

    # Third: one class for what covers each other, without the edges that another one makes needless

    def _merge(self, block: list[int]) -> None:
        kin = list(range(len(self._edges)))
        for number in kin:
            for other in self._equals(number):
                kin[number] = min(kin[number], other)
        joined: dict[int, set[Edge]] = {}
        for number, edges in enumerate(self._edges):
            mine = joined.setdefault(kin[number], set())
            mine.update(self._moves(edges, kin, kin[number]))
        order = {number: index for index, number in enumerate(joined)}
        self.of_vertex = [order[kin[number]] for number in block]
        self.edges: list[set[Edge]] = [
            {(label, order[to]) for label, to in edges if not self._needless(label, to, edges, joined)}
            for edges in joined.values()
        ]
        self._block_of_class = list(joined)

    def _equals(self, number: int) -> Iterator[int]:
        for place in bits(self._covers[number]):
            other = self._group[number][place]
            if self._below(other, number):
                yield other

    def _needless(self, label: int, to: int, edges: set[Edge], joined: dict[int, set[Edge]]) -> bool:
        """Whether another edge from here leads to more, or to the same with less."""
        kind = self._automaton.labels[label][0]
        if kind in ("told", "fails"):
            return False
        for other, there in edges:
            more = there != to and self._below(to, there)
            if label in self._serves[other] and (more or (there == to and other != label)):
                return True
            if kind == "answer" and other == INNER:
                ends = (end for after, end in joined[there] if after == label)
                if any(end == to or self._below(to, end) for end in ends):
                    return True
        return False

    def covers(self, one: int, other: int) -> bool:
        """Whether the first class covers the second."""
        return self._below(self._block_of_class[other], self._block_of_class[one])


def _waits_longer(one: Label, other: Label) -> bool:
    """Whether the first label is the second one, but not before some number, or a later one, has lapsed."""
    (kind, guard), (what, before) = one, other
    if (kind, what) not in (("lapsed", "inner"), ("lapsed", "lapsed"), ("fails", "fails")) or not guard:
        return False
    return not before or (guard[0] == before[0] and guard[1] > before[1])
