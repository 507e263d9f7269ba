"""Two lives of one node: every order of events in bounds, with the shipped rules of counting and joining.

States are searched breadth first, by their normal forms; or every state. docs/exploration.md has the figures.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator

import attrs

from paxlock.simulator.checkers import CheckFailed
from tests.exploration.bounds import LivesBounds
from tests.exploration.lives_cell import LivesCell, State
from tests.exploration.lives_normal import OVER, NormalForm

__all__ = ["LivesExploration", "LivesReport", "explore_lives"]


@attrs.define
class LivesReport:
    """What was covered, and what was found."""

    bounds: LivesBounds
    states: int = 0
    transitions: int = 0
    exhausted: bool = False
    seconds: float = 0.0
    violation: str = ""
    script: list[str] = attrs.field(factory=list)

    def __str__(self) -> str:
        end = "exhausted" if self.exhausted else "not exhausted"
        found = f"VIOLATION: {self.violation}" if self.violation else end
        return (
            f"{self.bounds.name}: {self.states} states, {self.transitions} transitions, {found}; "
            f"{self.seconds:.1f} s"
        )


def explore_lives(bounds: LivesBounds, *, minutes: float = 60.0, whole: bool = False) -> LivesReport:
    """Explore until everything was seen, a rule is broken, or the time is over.

    States with one normal form are one, unless ``whole``.
    """
    cell = LivesCell(bounds)
    return LivesExploration(cell, None if whole else NormalForm(cell)).run(minutes=minutes)


class LivesExploration:
    """The search of what may happen in this cell: of every state, or of normal forms. ``run`` it once."""

    def __init__(self, cell: LivesCell, form: NormalForm | None = None) -> None:
        self.cell = cell
        self.form = form
        self.first = State() if self.form is None else self.form.of(State())
        self.came: dict[State, State | None] = {self.first: None}  #: every state met, and from which one

    def run(self, *, minutes: float) -> LivesReport:
        """Search, and tell what was found."""
        report, began = LivesReport(self.cell.bounds), time.monotonic()
        normal = self.cell.without_old_votes if self.form is None else self.form.of
        queue = deque([self.first])
        while queue and time.monotonic() - began < 60.0 * minutes:
            state = queue.popleft()
            try:
                for _, step in self.cell.steps(state):
                    report.transitions += 1
                    new = normal(step)
                    if new not in self.came:
                        self.came[new] = state
                        if new is not OVER:
                            queue.append(new)
            except CheckFailed as failure:
                report.violation = str(failure)
                report.script = [*self._told(self._way(state))]
                break
        report.exhausted = not queue and not report.violation
        report.states, report.seconds = len(self.came), time.monotonic() - began
        return report

    def missed(self, states: Iterable[State]) -> State | None:
        """The first of these states, by whatever search of this cell they were met, that has not its like
        among the normal forms met here: one that is the same, with as much under way or more. None where all
        have one.
        """
        assert self.form is not None
        met: dict[State, list[State]] = {}
        for state in self.came:
            met.setdefault(_alone(state), []).append(state)
        for state in states:
            normal = self.form.of(state)
            likes = met.get(_alone(normal), ())
            if not any(_has_as_much(like, normal) for like in likes):
                return state
        return None

    def _way(self, state: State | None) -> list[State]:
        """The states on the way to this one, without the first."""
        way: list[State] = []
        while state is not None:
            way.append(state)
            state = self.came[state]
        return way[-2::-1]

    def _told(self, way: list[State]) -> Iterator[str]:
        """The events on this way, and which rule is broken at its end. Between normal forms they are found
        again, as they happen to one cell.
        """
        normal = self.cell.without_old_votes if self.form is None else self.form.of
        state = yield from self._ready(State())
        try:
            for wanted in [*way, None]:
                what, new = next(step for step in self.cell.steps(state) if normal(step[1]) == wanted)
                yield what
                state = yield from self._ready(new)
        except CheckFailed as failure:
            yield failure.check
        except StopIteration:
            yield "nothing like it happens to one cell: a normal form is wrong"

    def _ready(self, state: State) -> Generator[str, None, State]:
        """With what the normal form lets happen at once."""
        if self.form is None:
            return self.cell.without_old_votes(state)
        for what, sent in self.form.sendings(state):
            yield what
            state = sent
        return self.form.answered(state)


def _alone(state: State) -> State:
    """Without what is under way."""
    return state._replace(votes=(frozenset(), frozenset()), answers=frozenset())


def _has_as_much(state: State, other: State) -> bool:
    """Whether all that is under way in the other is so in this state."""
    votes = all(more >= less for more, less in zip(state.votes, other.votes, strict=True))
    return votes and state.answers >= other.answers
