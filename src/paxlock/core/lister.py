"""A node's answers to List: the names in use, a page at a time (protocol.md section 6).

No step looks at more than a bounded number of names. Where so many that are idle lie in a row, the answer
comes later, after further steps with other work in between.
"""

from __future__ import annotations

import attrs

from paxlock.core.acceptor import Acceptor
from paxlock.core.messages import List, Names, Peer
from paxlock.core.timers import Timers
from paxlock.core.value import value

__all__ = ["ListTimer", "Lister"]

NAMES_PER_ANSWER_BYTES = 900
NAMES_PER_ANSWER = 100
NAMES_LOOKED_AT = 1000
LIST_PAUSE_S = 0.001
WALKS_MAX = 1024


@value
class ListTimer:
    """Somebody's answer is to be looked for further."""


@attrs.define(eq=False)
class Walk:
    """A page asked for, and the last name that was looked at for it."""

    question: List
    cursor: str


class Lister:
    """Walks through the names of an acceptor for those who ask."""

    def __init__(self, acceptor: Acceptor, timers: Timers) -> None:
        self._acceptor = acceptor
        self._timers = timers
        self._walks: dict[Peer, Walk] = {}

    def __len__(self) -> int:
        return len(self._walks)

    def ask(self, question: List, peer: Peer, now: float) -> Names | None:
        """The page, or None where it is not found yet: then ``go_on`` brings it.

        A repeated question goes on where the first one is; another takes its place.
        """
        walk = self._walks.pop(peer, None)
        if walk is None or (walk.question.prefix, walk.question.after) != (question.prefix, question.after):
            walk = Walk(question, question.after)
        walk.question = question
        return self._step(walk, peer, now)

    def go_on(self, now: float) -> tuple[Peer, Names] | None:
        """Another step for the one who has waited longest: the answer, if it is found now."""
        if not self._walks:
            return None
        peer = next(iter(self._walks))
        walk = self._walks.pop(peer)
        if self._walks:
            self._timers.add(now + LIST_PAUSE_S, ListTimer())
        page = self._step(walk, peer, now)
        return (peer, page) if page is not None else None

    def _step(self, walk: Walk, peer: Peer, now: float) -> Names | None:
        page = self._look(walk)
        if page is None and len(self._walks) < WALKS_MAX:
            self._walks[peer] = walk
            self._timers.add(now + LIST_PAUSE_S, ListTimer())
        return page

    def _look(self, walk: Walk) -> Names | None:
        question, records = walk.question, self._acceptor.records
        names: list[str] = []
        room = NAMES_PER_ANSWER_BYTES
        for looked_at, name in enumerate(self._acceptor.names.walk(question.prefix, walk.cursor)):
            if looked_at == NAMES_LOOKED_AT:
                return Names(question.request, tuple(names), more=True) if names else None
            if records[name].in_use:
                room -= len(name.encode()) + 3
                if room < 0 or len(names) == NAMES_PER_ANSWER:
                    return Names(question.request, tuple(names), more=True)
                names.append(name)
            walk.cursor = name
        return Names(question.request, tuple(names), more=False)
