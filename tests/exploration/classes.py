"""The classes of a quotient in place of the columns: what the search asks of columns, answered by class."""

from __future__ import annotations

from collections.abc import Iterable

from paxlock.simulator.checkers import CheckFailed
from tests.exploration.automaton import BROKEN, Automaton, Label
from tests.exploration.quotient import Quotient
from tests.exploration.tables import FAILED, Columns, Messages, SessionTable

__all__ = ["Classes"]

Steps = tuple[list[tuple[Label, int]], list[tuple[Label, int, int, int]]]


class Classes:
    """As ``Columns``, by class. An event of a node is told by its label only.

    Raises TooLarge where there are more columns than ``limit``.
    """

    def __init__(
        self,
        sessions: SessionTable,
        columns: Columns,
        messages: Messages,
        first: Iterable[int],
        *,
        limit: int,
    ) -> None:
        self._messages = messages
        self._columns = columns
        self.automaton = Automaton(sessions, columns, messages, first, limit=limit)
        self.quotient = quotient = Quotient(self.automaton)
        self._vertex = [BROKEN] * len(quotient.edges)  #: one of each class
        for vertex, number in enumerate(quotient.of_vertex):
            self._vertex[number] = vertex
        members = self._vertex[1:]
        self.views = tuple(
            [-1, *(self.automaton.views(vertex)[session] for vertex in members)] for session in (0, 1)
        )
        self.holder = [None, *(self.automaton.keeps(vertex) for vertex in members)]
        self.failures: dict[tuple[int, object], CheckFailed] = {}
        self.steps: list[Steps] = []
        self._answers: list[tuple[list[int], list[int]]] = []
        self._changed: list[dict[Label, int]] = []
        for number, edges in enumerate(quotient.edges):
            self._add(number, sorted((self.automaton.labels[label], to) for label, to in edges))
        self._check_twins()
        # Sessions that are over differ by the token only, which later ones must exceed.
        least: dict[int, int] = {}
        self.fold = {
            common: least.setdefault(sessions.token[common], common) for common in sorted(self.automaton.over)
        }

    def __len__(self) -> int:
        return len(self.steps)

    def _add(self, number: int, edges: list[tuple[Label, int]]) -> None:
        free: list[tuple[Label, int]] = []
        guarded: list[tuple[Label, int, int, int]] = []
        answers: tuple[set[int], set[int]] = (set(), set())
        changed: dict[Label, int] = {}
        for label, to in edges:
            kind, parts = label
            if kind in ("answer", "told"):
                changed[label] = to
                if kind == "answer":
                    answers[parts[0]].add(parts[1] ^ parts[0])
                continue
            if kind == "fails":
                self.failures[number, label] = CheckFailed("node", "a node breaks a rule")
            new = FAILED if kind == "fails" else to
            if parts:
                guarded.append((label, parts[0], parts[1], new))
            else:
                free.append((label, new))
        self.steps.append((free, guarded))
        self._answers.append((sorted(answers[0]), sorted(answers[1])))
        self._changed.append(changed)

    def _check_twins(self) -> None:
        """Exchanging the sessions makes of each class one other."""
        of_vertex, vertex = self.quotient.of_vertex, self.automaton.vertex
        self._twins = [BROKEN] * len(self)
        for column, number in vertex.items():
            twin = of_vertex[vertex[self._columns.twin(column)]]
            mine = of_vertex[number]
            assert self._twins[mine] in (BROKEN, twin), "a class has no twin"
            self._twins[mine] = twin

    def number(self, node: int, view0: int, view1: int, mask: int) -> int:
        """The class of a column that a cell starts with."""
        return self.quotient.of_vertex[self.automaton.vertex[self._columns.number(node, view0, view1, mask)]]

    def twin(self, number: int) -> int:
        """The class with the sessions exchanged."""
        return self._twins[number]

    def answers(self, number: int, session: int) -> list[int]:
        """The answers of these nodes to this session that it may take for more than a repeated Release."""
        return self._answers[number][session]

    def changed(self, number: int, session: int, view: int, mask: int) -> int:
        """The class after a session has changed its view of the node and sent it something."""
        return self._changed[number]["told", (session, view, self._own(session, mask))]

    def answered(self, number: int, session: int, message: int, view: int, mask: int) -> int | None:
        """The same, by an answer; None where it need not be taken here, since a later one does more."""
        return self._changed[number].get(
            ("answer", (session, message ^ session, view, self._own(session, mask)))
        )

    def _own(self, session: int, mask: int) -> int:
        return self._messages.swapped(mask) if session else mask

    def look(self, number: int) -> Steps:
        """What may happen at this node."""
        return self.steps[number]
