"""Messages that can change nothing any more, and messages that change the same.

A message that was sent stays under way for ever: it may be late, and come again. Most of them soon change
nothing, and to keep them would only multiply states. Which ones is not assumed but found out: every
situation that a node or a session can come to, whatever arrives in whatever order, is computed beforehand
with the shipped code (more than the cell can bring about, never less). A message may be dropped where it
does nothing from here on, and two are one where they always do the same.
"""

from __future__ import annotations

from contextlib import suppress

from paxlock.simulator.checkers import CheckFailed
from tests.exploration.nodes import NodeEvent
from tests.exploration.tables import Messages, NodeTable, SessionTable, StepFailed, bits

__all__ = ["Reduction"]


class Reduction:
    """Knows of every situation which messages still matter there."""

    def __init__(self, nodes: NodeTable, sessions: SessionTable, messages: Messages) -> None:
        self._nodes = nodes
        self._sessions = sessions
        self._messages = messages
        self._requests: list[int] = []
        self._answers: list[int] = []
        self._close()
        self._classify_answers()
        self._classify_requests()
        self._kept: dict[tuple[int, int], int] = {}

    def _close(self) -> None:
        """Find every situation that a machine can come to, whatever it receives."""
        messages, nodes, sessions = self._messages, self._nodes, self._sessions
        size = (-1, -1, -1)
        while size != (len(messages.known), len(nodes.keys), len(sessions.situations)):
            size = (len(messages.known), len(nodes.keys), len(sessions.situations))
            known = messages.known
            self._requests = [number for number in range(len(known)) if known[number].to_node]
            self._answers = [n for n in range(0, len(known), 2) if not known[n].to_node]
            for number in range(len(nodes.keys)):
                for event in self._events(number):
                    with suppress(CheckFailed):  # the search says whether this can come about
                        nodes.after(number, event)
            for common, views in sessions.situations:
                with suppress(StepFailed):
                    sessions.events(common, *views)
                for view in set(views):
                    for answer in self._answers:
                        with suppress(StepFailed):
                            sessions.taken(common, views, view, answer)

    def _events(self, number: int) -> list[NodeEvent | int]:
        return [*self._requests, *self._nodes.events[number]]

    def _classify_answers(self) -> None:
        """For every view: the answers that may still matter, each with its least equivalent."""
        sessions = self._sessions
        effects: dict[int, dict[int, list[object]]] = {view: {} for view in range(len(sessions.views))}
        for common, views in sessions.situations:
            for view in set(views):
                for answer in self._answers:
                    effect: object
                    try:
                        outcome = sessions.taken(common, views, view, answer)
                        effect = None if outcome is None else outcome.effect
                    except StepFailed as failure:
                        effect = str(failure)
                    if effect is not None:
                        effects[view].setdefault(answer, []).append((common, views, effect))
        later = _reachable(len(sessions.views), sessions.changes)
        self._answer: list[dict[int, int]] = []
        for view in range(len(sessions.views)):
            least: dict[object, int] = {}
            found: dict[int, int] = {}
            for answer in self._answers:
                does = tuple((now, tuple(effects[now].get(answer, ()))) for now in later[view])
                if any(what for _, what in does):
                    found[answer] = least.setdefault(does, answer)
            self._answer.append(found)

    def _classify_requests(self) -> None:
        """For every situation of a node: requests that change something from there on, what all the others
        are answered, and which requests always do the same."""
        nodes = self._nodes
        edges: set[tuple[int, int]] = set()
        effects: list[dict[int, tuple[int, int] | str | None]] = []
        for number in range(len(nodes.keys)):
            effects.append({})
            for event in self._events(number):
                effect: tuple[int, int] | str | None
                try:
                    effect = nodes.after(number, event)
                except CheckFailed as failure:
                    effect = str(failure)
                if isinstance(event, int):
                    effects[number][event] = effect
                if isinstance(effect, tuple):
                    edges.add((number, effect[0]))
        later = _reachable(len(nodes.keys), edges)
        self._least: list[dict[int, int]] = []
        self._changes: list[set[int]] = []
        self._answered: list[dict[int, int]] = []
        for number in range(len(nodes.keys)):
            least: dict[object, int] = {}
            self._least.append({})
            self._changes.append(set())
            self._answered.append({})
            for request in self._requests:
                does = tuple(effects[now][request] for now in later[number])
                self._least[number][request] = least.setdefault(does, request)
                answered = 0
                for now, effect in zip(later[number], does, strict=True):
                    if isinstance(effect, tuple):
                        answered |= effect[1]
                        if effect[0] != now:
                            self._changes[number].add(request)
                    elif effect is not None:
                        self._changes[number].add(request)
                self._answered[number][request] = answered

    def kept(self, node: int, view0: int, view1: int, mask: int) -> int:
        """What matters of these messages to and from this node."""
        known = self._messages.known
        kept = 0
        requests: list[int] = []
        for number in bits(mask):
            if known[number].to_node:
                requests.append(number)
                continue
            session = known[number].session
            least = self._answer[view1 if session else view0].get(number ^ session)
            if least is not None:
                kept |= 1 << (least ^ session)
        mine = (self._answer[view0], self._answer[view1])
        for request in requests:
            least = self._least[node][request]
            if kept >> least & 1:
                continue
            if request in self._changes[node] or self._matters(self._answered[node][request], kept, mine):
                kept |= 1 << least
        return kept

    def _matters(self, answered: int, kept: int, mine: tuple[dict[int, int], dict[int, int]]) -> bool:
        """Whether some answer would matter that is not under way already."""
        for number in bits(answered):
            session = self._messages.known[number].session
            least = mine[session].get(number ^ session)
            if least is not None and not kept >> (least ^ session) & 1:
                return True
        return False


def _reachable(count: int, edges: set[tuple[int, int]]) -> list[list[int]]:
    """For every number those that can be reached from it, itself first."""
    nexts: dict[int, set[int]] = {}
    for one, other in edges:
        if one != other:
            nexts.setdefault(one, set()).add(other)
    found: list[list[int]] = []
    for start in range(count):
        seen = {start}
        stack = [start]
        while stack:
            for following in nexts.get(stack.pop(), ()):
                if following not in seen:
                    seen.add(following)
                    stack.append(following)
        found.append([start, *sorted(seen - {start})])
    return found
