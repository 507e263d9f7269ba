"""What can happen to one column by itself, whatever the rest of the cell does: a labelled graph.

It is closed under all that a session ever does to a column, also where it would not do it just then: more
than the cell can bring about, never less.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from tests.exploration.sessions import SessionEvent
from tests.exploration.tables import FAILED, Columns, Messages, Outcome, SessionTable

__all__ = ["BROKEN", "FAILS", "INNER", "Automaton", "Edge", "Label", "TooLarge"]

Change: TypeAlias = tuple[int, int]  #: what a session makes of a node: its new view, and what is sent to it
Label: TypeAlias = tuple[str, tuple[int, ...]]
Edge: TypeAlias = tuple[int, int]  #: number of the label, vertex that it leads to

INNER = 0  #: the number of this label
FAILS = 1
BROKEN = 0  #: the vertex to which a step leads that breaks a rule


class TooLarge(Exception):
    """The graph has more vertices than were asked for."""


class Automaton:
    """The graph. Vertex 0 is BROKEN, every other is a column, from 1 on those at the start. Labels of edges:

    - "inner": what happens at a node without a session, or only makes a session repeat Release;
    - "lapsed" (session, number): the same, once this number of the session has lapsed;
    - "answer" (session, message, view, sent): the session takes this answer, and makes this change;
    - "answer" (session, message), to BROKEN: it may take it, and break a rule with that;
    - "told" (session, view, sent): it makes this change for another reason;
    - "fails" (), or (session, number) as with "lapsed", to BROKEN: a rule of nodes is broken.
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
        self._sessions = sessions
        self._all_columns = columns
        self._messages = messages
        self._told: dict[int, set[Change]] = {}
        self._answers: dict[tuple[int, int], set[Change | None]] = {}  #: None where a rule is broken
        self._inner: dict[tuple[int, int], set[Change]] = {}
        self._taking: set[tuple[int, int]] = set()  #: (view, message): the session does more than INNER
        self._find_changes()
        self.over, self.over_views = self._find_over()
        self.labels: list[Label] = []
        self._label_numbers: dict[Label, int] = {}
        assert (self._label("inner"), self._label("fails")) == (INNER, FAILS)
        self.columns = [FAILED]  #: of each vertex
        self.vertex: dict[int, int] = {}
        self.edges: list[list[Edge]] = [[]]
        for column in first:
            self._number(column)
        while len(self.edges) < len(self.columns):
            self.edges.append(self._edges(len(self.edges)))
            if len(self.columns) > limit:
                raise TooLarge(f"more than {limit} columns")

    # What the sessions do

    def _find_changes(self) -> None:
        for _, outcomes in self._sessions.known_events():
            for outcome in outcomes if isinstance(outcomes, list) else ():
                self._tell(outcome)
        for (common, _, view, message), found in self._sessions.known_answers():
            if found is None:
                self._inner.setdefault((view, message), set()).add((view, 0))
                continue
            mine: Change | None = None
            if isinstance(found, Outcome):
                self._tell(found)
                mine = found.mine
                assert mine is not None
                if found.common == common and not found.others and mine[0] == view:
                    self._inner.setdefault((view, message), set()).add(mine)
                    self._answers.setdefault((view, message), set()).add(mine)
                    continue
            self._taking.add((view, message))
            self._answers.setdefault((view, message), set()).add(mine)

    def _tell(self, outcome: Outcome) -> None:
        for view, change in outcome.others.items():
            self._told.setdefault(view, set()).add(change)

    def _find_over(self) -> tuple[set[int], set[int]]:
        """Common parts of a session, and views, with which it is over for good: its numbers lapse, it repeats
        Release, and nothing else happens any more.
        """
        sessions = self._sessions
        acting = {common for common, valid in enumerate(sessions.valid) if valid}
        leads: dict[int, set[int]] = {}
        for (common, _), outcomes in sessions.known_events():
            if not isinstance(outcomes, list):
                acting.add(common)
                continue
            for outcome in outcomes:
                leads.setdefault(outcome.common, set()).add(common)
                if outcome.event is not SessionEvent.LAPSES or outcome.others:
                    acting.add(common)
        acting |= {common for common, views in sessions.situations if self._takes(views)}
        size = -1
        while size != len(acting):
            size = len(acting)
            for common in list(acting):
                acting |= leads.get(common, set())
            views_acting = {
                view for common, views in sessions.situations if common in acting for view in views
            }
            acting |= {common for common, views in sessions.situations if views_acting & set(views)}
        every = {view for _, views in sessions.situations for view in views}
        return set(range(len(sessions.commons))) - acting, every - views_acting

    def _takes(self, views: tuple[int, ...]) -> bool:
        return any(view in views for view, _ in self._taking)

    # The graph

    def _number(self, column: int) -> int:
        number = self.vertex.setdefault(column, len(self.columns))
        if number == len(self.columns):
            self.columns.append(column)
            self._number(self._all_columns.twin(column))
        return number

    def views(self, vertex: int) -> tuple[int, int]:
        """What either session keeps of the node."""
        column = self.columns[vertex]
        return self._all_columns.views[0][column], self._all_columns.views[1][column]

    def keeps(self, vertex: int) -> tuple[int, int] | None:
        """Whose lease is held there, and in which term, where that session may be valid."""
        held = self._all_columns.holder[self.columns[vertex]]
        return None if held is None or self.views(vertex)[held[0]] in self.over_views else held

    def _label(self, kind: str, *parts: int) -> int:
        label = kind, parts
        number = self._label_numbers.setdefault(label, len(self.labels))
        if number == len(self.labels):
            self.labels.append(label)
        return number

    def _edges(self, vertex: int) -> list[Edge]:
        columns, column = self._all_columns, self.columns[vertex]
        views = self.views(vertex)
        free, guarded = columns.steps[column] or columns.look(column)
        steps: list[tuple[tuple[int, ...], int]] = [((), new) for _, new in free]
        for _, session, number, new in guarded:
            # A session that is over lets its numbers lapse at once: that only allows more.
            steps.append(((), new) if views[session] in self.over_views else ((session, number), new))
        found: set[Edge] = set()
        for guard, new in steps:
            if new == FAILED:
                found.add((self._label("fails", *guard), BROKEN))
            else:
                found.add((self._label("lapsed" if guard else "inner", *guard), self._number(new)))
        for session, view in enumerate(views):
            for message in columns.answers(column, session):
                found |= self._answer(column, session, view, message ^ session)
        found = {(label, to) for label, to in found if to != vertex or self.labels[label][0] == "answer"}
        for session, view in enumerate(views):
            for change in self._told.get(view, ()):
                found.add((self._label("told", session, *change), self._changed(column, session, change)))
        return list(found)

    def _answer(self, column: int, session: int, view: int, message: int) -> set[Edge]:
        key = view, message
        inner = self._inner.get(key, set())
        if key not in self._taking and (view in self.over_views or len(inner) == 1):
            return {(INNER, self._changed(column, session, change)) for change in inner}
        found: set[Edge] = set()
        for change in self._answers.get(key, ()):
            if change is None:
                found.add((self._label("answer", session, message), BROKEN))
            else:
                label = self._label("answer", session, message, *change)
                found.add((label, self._changed(column, session, change)))
        return found

    def _changed(self, column: int, session: int, change: Change) -> int:
        view, mask = change
        mask = self._messages.swapped(mask) if session else mask
        return self._number(self._all_columns.changed(column, session, view, mask))
