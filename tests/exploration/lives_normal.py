"""States of a cell with two lives of one node that count as one: each has a normal form.

What is made one, and why nothing is lost by it, is in docs/exploration.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.exploration.lives_cell import Client, Held, LivesCell, State, Step, Vote, term_of
from tests.exploration.lives_classes import Class, exchanged, joining_classes, session_classes

__all__ = ["OVER", "NormalForm"]

OVER = State(now=-1)  #: stands for all states from which no rule can be broken any more
SESSIONS = (0, 1)


class NormalForm:
    """Knows the normal form of every state of this cell."""

    def __init__(self, cell: LivesCell) -> None:
        self._cell = cell
        self.sessions = session_classes(cell, 0), session_classes(cell, 1)
        self.joining = joining_classes(cell)
        self.symmetric = self.joining.symmetric and all(found.symmetric for found in self.sessions)

    def of(self, state: State) -> State:
        """The normal form."""
        for _, sent in self.sendings(state):
            state = sent
        if not self.matters(state):
            return OVER
        state = self._plain(self.answered(state))
        return min(state, self._exchanged(state), key=_order) if self.symmetric else state

    def sendings(self, state: State) -> Iterator[Step]:
        """Those of the last moment happen at once: that only allows more, and there is no later moment."""
        for which in SESSIONS if state.now == self._cell.bounds.until else ():
            for step in self._cell.sendings(state, which):
                yield step
                state = step[1]

    def matters(self, state: State) -> bool:
        """Whether a rule may be broken from here on: both sessions may be valid, or one of them may become so
        with a token that is not above the one that was granted last.
        """
        one, other = self._classes(state)
        if one.lives and other.lives:
            return True
        return any(
            found.grants and term_of(self._cell.bounds, which) <= state.token
            for which, found in enumerate((one, other))
        )

    def answered(self, state: State) -> State:
        """Every answer that a node would give now is under way: it may be given again at any moment until
        something changes there, and what is under way only allows more.
        """
        one, other = map(set, state.votes)
        noted = (state.noted[0], False, state.noted[1], True)
        for held, node, knows in zip(state.held, ("a", "b", "c", "b"), noted, strict=True):
            if held.by == 1:
                one.add(Vote(node, held.number, knows))
            elif held.by == 2 and self._cell.bounds.both:
                other.add(Vote(node, held.number, knows))
        answers = set(state.answers)
        if self._cell.reads:
            answers |= {answer for answer in self._cell.answers(state) if answer.phase > 1}
        return state._replace(votes=(frozenset(one), frozenset(other)), answers=frozenset(answers))

    def seen(self, states: Iterable[State]) -> set[object]:
        """What is met in these states, but for those from which no rule can be broken, and those in which a
        sending of the last moment is left out: moment and token; which sessions have sent how much and are
        valid; who holds what, and has noted the new life; and how far the joining node is. Of machines that
        nobody will ask any more nothing is told. The names of a and c make no difference.
        """
        found: set[object] = set()
        for state in states:
            if state is OVER or any(True for _ in self.sendings(state)) or not self.matters(state):
                continue
            one, other = (found.lives for found in self._classes(state))
            a, b0, c, b1 = (self._held(held) for held in state.held)
            serves, floor, phase = self._cell.joining.progress[state.joins]
            joins = (serves, floor < self._cell.bounds.term if serves else phase) if other else None
            sessions = tuple((len(client.sent), client.deadline > state.now) for client in state.clients)
            b = (b0 if one else None, b1._replace(term=0) if other else None)
            nodes = sorted(zip((a, c), state.noted, strict=True))
            found.add((state.now, state.token, sessions, *nodes, b, joins))
        return found

    def _classes(self, state: State) -> tuple[Class[Client], Class[Client]]:
        one, other = self.sessions
        return one.of(state.now, state.clients[0]), other.of(state.now, state.clients[1])

    def _plain(self, state: State) -> State:
        """Each machine by its class; without messages that change nothing any more, and without what nobody
        will ask for.
        """
        bounds = self._cell.bounds
        one, other = self._classes(state)
        a, b0, c, b1 = (self._held(held) for held in state.held)
        joins, answers = state.joins, state.answers
        if not one.lives:
            b0 = Held()  # nobody else asks it
        if other.lives:
            found = self.joining.of(state.now, joins)
            joins, answers = found.first, answers & found.matter
            b1 = b1._replace(term=min(b1.term, bounds.term))
        else:
            joins, answers, b1 = 0, frozenset(), Held()
        return state._replace(
            held=(a, b0, c, b1),
            joins=joins,
            clients=(one.first, other.first),
            votes=(state.votes[0] & one.matter, state.votes[1] & other.matter),
            answers=answers,
        )

    def _held(self, held: Held) -> Held:
        """Of a lease that has run out the term is left; and the last moment is outlasted by however much."""
        if not held.by:
            return Held(term=held.term)
        return held._replace(deadline=min(held.deadline, self._cell.bounds.until + 1))

    def _exchanged(self, state: State) -> State:
        """The same with the nodes a and c exchanged."""
        one, other = self._classes(state)
        a, b0, c, b1 = state.held
        to_one, to_other = (frozenset(map(exchanged, votes)) for votes in state.votes)
        return state._replace(
            held=(c, b0, a, b1),
            noted=state.noted[::-1],
            joins=self.joining.of(state.now, state.joins).twin if other.lives else 0,
            clients=(one.twin, other.twin),
            votes=(to_one, to_other),
            answers=frozenset(map(exchanged, state.answers)),
        )


def _order(state: State) -> tuple[object, ...]:
    return (*state[:5], *map(sorted, state.votes), sorted(state.answers), state.token)
