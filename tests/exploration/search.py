"""Breadth first through every state of the cell within the bounds, checking each one."""

from __future__ import annotations

import enum
import gc
import resource
import time

import attrs

from paxlock.core.messages import Message
from paxlock.core.quorum import majority
from tests.exploration.bounds import Bounds
from tests.exploration.cell import NODES
from tests.exploration.classes import Classes
from tests.exploration.invariant import ToldAndKept
from tests.exploration.reduction import Reduction
from tests.exploration.tables import (
    FAILED,
    Columns,
    Messages,
    NodeTable,
    Outcome,
    SessionTable,
    StepFailed,
)

__all__ = ["Cell", "Exploration", "Report", "cell_of"]

COLUMN_BITS = 24
COMMON_BITS = 20
LOOK_AT_CLOCK_STATES = 4096
MOST_COLUMNS = 200_000  #: for which a quotient is computed

Cell = tuple[int, int, int, int, int]  #: common part of either session, three columns


Move = tuple[int, int, int, int, int, int, int, object]
#: the cell after it; the position of the node, or -1; the session, or -1; the event


class Broken(Exception):
    """A rule does not hold after this move, or in it."""

    def __init__(self, what: str, move: tuple[int, int, object]) -> None:
        super().__init__(what)
        self.move = move


@attrs.define
class Report:
    """What an exploration has covered, and what it found."""

    bounds: Bounds
    states: int = 0
    transitions: int = 0
    depth: int = 0
    exhausted: bool = False
    seconds: float = 0.0
    memory_mib: float = 0.0
    condensed: bool = False  #: states are of classes of columns
    situations: dict[str, int] = attrs.field(factory=dict)
    violation: str = ""
    script: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        end = "exhausted" if self.exhausted else "not exhausted"
        if self.violation:
            end = f"VIOLATION: {self.violation}"
        speed = self.states / self.seconds if self.seconds else 0.0
        states = "states of classes" if self.condensed else "states"
        parts = ", ".join(f"{count} {what}" for what, count in self.situations.items())
        return (
            f"{self.bounds.name}: {self.states} {states}, {self.transitions} transitions, "
            f"depth {self.depth}, {end}; {self.seconds:.1f} s, {speed:.0f} states/s, "
            f"{self.memory_mib:.0f} MiB ({parts})"
        )


class Exploration:
    """The search within these bounds. ``run`` it once.

    ``reduced=False`` keeps every message that was ever sent: to see that dropping some hides nothing.
    ``condensed`` searches classes of columns instead of columns, and raises TooLarge where there are too many
    columns for that. It tells no way to a violation.
    """

    def __init__(self, bounds: Bounds, *, reduced: bool = True, condensed: bool = False) -> None:
        self._began = time.perf_counter()
        self.bounds = bounds
        self.condensed = condensed
        self.messages = Messages()
        self.nodes = NodeTable(bounds, self.messages)
        self.sessions = SessionTable(bounds, self.messages, 0)
        columns = Columns(self.nodes, self.messages)
        if reduced or condensed:
            columns.reduction = Reduction(self.nodes, self.sessions, self.messages)
        self.columns: Columns | Classes = columns
        self._fold: dict[int, int] = {}  #: common parts of a session that count as another one
        if condensed:
            first = self.first()[2:]
            classes = Classes(self.sessions, columns, self.messages, first, limit=MOST_COLUMNS)
            self.columns, self._fold = classes, classes.fold
        self._kept = None if condensed else ToldAndKept(columns, self.nodes, self.sessions, self.messages)
        self._answers: dict[tuple[int, int, int, int, int], list[tuple[int, int, Outcome]]] = {}
        self._told: dict[tuple[int, int, int], int] = {}
        self._parents: dict[int, int] = {}  #: every state met, and from which one

    # The space

    def first(self) -> Cell:
        """Both sessions have asked the same nodes, every one or a quorum, and nothing has arrived."""
        common, views = self.sessions.first
        x, y, z = (self._first_column(views[node], self.sessions.first_sent[node]) for node in NODES)
        return common, common, x, y, z

    def _first_column(self, view: int, sent: int) -> int:
        return self.columns.number(0, view, view, sent | self.messages.swapped(sent))

    def steps(self, cell: Cell) -> list[Move]:
        """Every event that may happen next, with the cell after it.

        Raises Broken where a step breaks a rule of a single machine.
        """
        c0, c1, x, y, z = cell
        columns, lapsed = self.columns, self.sessions.lapsed
        around = [(0, x, y, z)]
        if y != x:
            around.append((1, y, x, z))
        if z not in (x, y):
            around.append((2, z, x, y))
        found: list[Move] = []
        for at, here, one, two in around:
            free, guarded = columns.steps[here] or columns.look(here)
            for event, new in free:
                if new == FAILED:
                    raise Broken(str(columns.failures[here, event]), (at, -1, event))
                found.append((c0, c1, new, one, two, at, -1, event))
            for event, session, number, new in guarded:
                if lapsed[c1 if session else c0] >= number:
                    if new == FAILED:
                        raise Broken(str(columns.failures[here, event]), (at, -1, event))
                    found.append((c0, c1, new, one, two, at, -1, event))
        self._session_steps(cell, around, 0, found)
        self._session_steps(cell, around, 1, found)
        return found

    def _session_steps(
        self, cell: Cell, around: list[tuple[int, int, int, int]], session: int, found: list[Move]
    ) -> None:
        c0, c1, x, y, z = cell
        told, tell = self._told, self._tell
        views, fold = self.columns.views[session], self._fold
        mine = c1 if session else c0
        if mine in fold:
            return  # it is over, and what it repeats its nodes have taken into account
        for at, here, one, two in around:
            key = (session, mine, here, views[one], views[two])
            answers = self._answers.get(key)
            if answers is None:
                answers = self._answers[key] = self._look(key, at)
            for common, new, outcome in answers:
                if outcome.others:
                    number = outcome.number
                    one2 = told.get((session, number, one)) or tell(session, outcome, one)
                    two2 = told.get((session, number, two)) or tell(session, outcome, two)
                else:
                    one2, two2 = one, two
                if session:
                    found.append((c0, common, new, one2, two2, at, 1, outcome.event))
                else:
                    found.append((common, c1, new, one2, two2, at, 0, outcome.event))
        try:
            events = self.sessions.events(mine, views[x], views[y], views[z])
        except StepFailed as failure:
            raise Broken(str(failure), (-1, session, failure.event)) from failure
        for outcome in events:
            if outcome.others:
                number = outcome.number
                x2 = told.get((session, number, x)) or tell(session, outcome, x)
                y2 = told.get((session, number, y)) or tell(session, outcome, y)
                z2 = told.get((session, number, z)) or tell(session, outcome, z)
            else:
                x2, y2, z2 = x, y, z
            common = fold.get(outcome.common, outcome.common)
            if session:
                found.append((c0, common, x2, y2, z2, -1, 1, outcome.event))
            else:
                found.append((common, c1, x2, y2, z2, -1, 0, outcome.event))

    def _tell(self, session: int, outcome: Outcome, column: int) -> int:
        view, mask = outcome.others[self.columns.views[session][column]]
        new = self.columns.changed(column, session, view, self.messages.swapped(mask) if session else mask)
        self._told[session, outcome.number, column] = new
        return new

    def _look(self, key: tuple[int, int, int, int, int], at: int) -> list[tuple[int, int, Outcome]]:
        """What the answers of this node change in a session: (common part, column of the node, outcome)."""
        session, common, here, view1, view2 = key
        view = self.columns.views[session][here]
        views = tuple(sorted((view, view1, view2)))
        found: list[tuple[int, int, Outcome]] = []
        for answer in self.columns.answers(here, session):
            try:
                outcome = self.sessions.taken(common, views, view, answer ^ session)
            except StepFailed as failure:
                raise Broken(str(failure), (at, session, answer ^ session)) from failure
            if outcome is not None:
                assert outcome.mine is not None
                new_view, mask = outcome.mine
                mask = self.messages.swapped(mask) if session else mask
                new = self.columns.answered(here, session, answer, new_view, mask)
                if new is not None:
                    found.append((self._fold.get(outcome.common, outcome.common), new, outcome))
        return found

    # The search

    def canonical(self, cell: Cell) -> int:
        """One number for all cells that differ only by the names of nodes and sessions."""
        c0, c1, x, y, z = cell
        if c0 < c1:
            return _packed(c0, c1, x, y, z)
        twin = self.columns.twin
        if c1 < c0:
            return _packed(c1, c0, twin(x), twin(y), twin(z))
        return min(_packed(c0, c0, x, y, z), _packed(c0, c0, twin(x), twin(y), twin(z)))

    def run(self, *, minutes: float = 60.0, memory_mib: float = 8192.0) -> Report:
        """Explore until everything was seen, a rule is broken, or time or memory is over."""
        report = Report(self.bounds, condensed=self.condensed)
        until = time.perf_counter() + 60.0 * minutes
        at = self.canonical(self.first())
        self._parents[at] = -1
        frontier = [at]
        gc.disable()  # nothing here is cyclic, and there are millions of it
        try:
            while frontier:
                frontier = self._level(frontier, report, until, memory_mib)
                report.depth += bool(frontier)
            report.exhausted = True
        except TimeoutError:
            pass
        except _Found as found:
            report.violation = str(found)
            report.script = [] if self.condensed else self._script(found.state)
        finally:
            gc.enable()
        report.states = len(self._parents)
        report.seconds = time.perf_counter() - self._began
        report.memory_mib = _memory_mib()
        report.situations = {
            "of nodes": len(self.nodes.keys),
            "of sessions": len(self.sessions.commons),
            "classes" if self.condensed else "columns": len(self.columns),
            "messages": len(self.messages.known),
            "answers that count": 0 if self._kept is None else self._kept.live_answers,
            "runs of the core": self.nodes.runs + self.sessions.runs,
        }
        return report

    def met(self) -> set[frozenset[object]]:
        """Every state met, without the messages under way; the two names of each as one."""
        found: set[frozenset[object]] = set()
        for state in self._parents:
            c0, c1, *columns = cell_of(state)
            twins = [self.columns.twin(column) for column in columns]
            found.add(frozenset((self._situation(c0, c1, columns), self._situation(c1, c0, twins))))
        return found

    def _situation(self, c0: int, c1: int, columns: list[int]) -> object:
        assert isinstance(self.columns, Columns)
        nodes, sessions, parts = self.nodes, self.sessions, self.columns.parts
        kept = [
            (repr(nodes.keys[node]), repr(sessions.views[view0]), repr(sessions.views[view1]))
            for node, view0, view1, _ in (parts[column] for column in columns)
        ]
        return sessions.commons[c0], sessions.commons[c1], tuple(sorted(kept))

    def _level(self, frontier: list[int], report: Report, until: float, memory_mib: float) -> list[int]:
        """Every state one step further."""
        parents, steps, canonical = self._parents, self.steps, self.canonical
        valid, kept = self.sessions.valid, self._kept
        following: list[int] = []
        for done, state in enumerate(frontier):
            if done % LOOK_AT_CLOCK_STATES == 0 and (
                time.perf_counter() > until or _memory_mib() > memory_mib
            ):
                raise TimeoutError
            cell = cell_of(state)
            try:
                moves = steps(cell)
                report.transitions += len(moves)
                for c0, c1, x, y, z, at, session, event in moves:
                    packed = _packed(c0, c1, x, y, z) if c0 < c1 else canonical((c0, c1, x, y, z))
                    if packed in parents:
                        continue
                    parents[packed] = state
                    following.append(packed)
                    if valid[c0] or valid[c1]:
                        what = self._broken((c0, c1, x, y, z), cell)
                        if what:
                            raise Broken(what, (at, session, event))
                    if kept is not None:
                        what = kept.broken(c0, c1, x) or kept.broken(c0, c1, y) or kept.broken(c0, c1, z)
                        if what:
                            raise Broken(what, (at, session, event))
            except Broken as broken:
                raise _Found(str(broken), state) from broken
        return following

    def _broken(self, cell: Cell, before: Cell) -> str:
        """What must hold of a cell in which some lease is valid; the rule that does not."""
        c0, c1, *columns = cell
        valid, token = self.sessions.valid, self.sessions.token
        if not valid[c0] and not valid[c1]:
            return ""
        if valid[c0] and valid[c1]:
            return f"exclusion: two holders are valid, with the tokens {valid[c0]} and {valid[c1]}"
        session = 0 if valid[c0] else 1
        now, newest = valid[cell[session]], max(token[before[0]], token[before[1]])
        if not valid[before[session]] and now <= newest:
            return f"tokens: {now} after {newest}"
        holding = 0
        for column in columns:
            held = self.columns.holder[column]
            holding += held is not None and held[0] == session and held[1] >= now
        if holding < majority(len(NODES)):
            return f"quorum: a lease is valid and {holding} of {len(NODES)} nodes hold it in its term"
        return ""

    # The way to a violation

    def _script(self, state: int) -> list[str]:
        """The shortest way, in words. Names of nodes and sessions stay the same all along."""
        way = [state]
        while self._parents[way[-1]] >= 0:
            way.append(self._parents[way[-1]])
        cell = self.first()
        order = list(NODES)
        lines = ["sessions 1 and 2 send Prepare, to every node or to the same quorum"]
        for wanted in reversed(way[:-1]):
            for c0, c1, x, y, z, at, session, event in self.steps(cell):
                if self.canonical((c0, c1, x, y, z)) == wanted:
                    lines.append(self._words(event, at, session, order))
                    cell = c0, c1, x, y, z
                    if at > 0:
                        order.insert(0, order.pop(at))
                    break
        at, session, event = self._breaking(cell)
        lines.append(self._words(event, at, session, order))
        return lines

    def _breaking(self, cell: Cell) -> tuple[int, int, object]:
        """A move from here that breaks a rule: the names may differ from those of the search."""
        try:
            for c0, c1, x, y, z, at, session, event in self.steps(cell):
                kept = self._kept
                lost = kept is not None and any(kept.broken(c0, c1, column) for column in (x, y, z))
                if lost or self._broken((c0, c1, x, y, z), cell):
                    return at, session, event
        except Broken as broken:
            return broken.move
        raise AssertionError("the way does not lead to the violation")

    def _words(self, event: object, at: int, session: int, order: list[str]) -> str:
        node = f"node {order[at]}"
        if isinstance(event, int):
            sent = self.messages.known[event]
            if session < 0:
                return f"{node} takes from session {sent.session + 1}: {_told_of(sent.message)}"
            return f"session {session + 1} takes from {node}: {_told_of(sent.message)}"
        what = getattr(event, "value", event)
        return f"{node}: {what}" if session < 0 else f"session {session + 1}: {what}"


def _told_of(message: Message) -> str:
    """A message with what matters of it."""
    shown = [
        f"{field}={value.name if isinstance(value, enum.Enum) else value}"
        for field in ("request", "at_least", "term", "seq", "reason", "held", "not_held")
        if (value := getattr(message, field, None)) is not None
    ]
    return f"{type(message).__name__}({', '.join(shown)})"


class _Found(Exception):
    """A move from this state breaks a rule."""

    def __init__(self, what: str, state: int) -> None:
        super().__init__(what)
        self.state = state


def _packed(c0: int, c1: int, x: int, y: int, z: int) -> int:
    if x > y:
        x, y = y, x
    if y > z:
        y, z = z, y
        if x > y:
            x, y = y, x
    return ((((c0 << COMMON_BITS | c1) << COLUMN_BITS | x) << COLUMN_BITS | y) << COLUMN_BITS) | z


def cell_of(state: int) -> Cell:
    """The cell of a number that ``canonical`` gave."""
    columns = (1 << COLUMN_BITS) - 1
    return (
        state >> 3 * COLUMN_BITS + COMMON_BITS,
        state >> 3 * COLUMN_BITS & (1 << COMMON_BITS) - 1,
        state >> 2 * COLUMN_BITS & columns,
        state >> COLUMN_BITS & columns,
        state & columns,
    )


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
