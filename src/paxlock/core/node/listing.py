"""A node's answers to List: the names in use, a page at a time (protocol.md section 6).

No step looks at more than a bounded number of names. Where so many that are idle lie in a row, the answer
comes later, after further steps with other work in between.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from paxlock.core.messages import List, Names, Peer
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.timers import Timers

__all__ = ["Listing"]

NAMES_PER_ANSWER_BYTES = 900
NAMES_PER_ANSWER = 100
NAMES_LOOKED_AT = 1000
LIST_PAUSE_S = 0.001
PAGES_PER_QUESTION = 16
PAGES_A_STEP = 4  #: of one question; a page for each pause would be most of what a long list takes
WALKS_MAX = 1024
WALKS_PER_PEER = 4


@attrs.define(eq=False)
class Walk:
    """Pages asked for, and the last name that was looked at for them."""

    question: List
    left: int  #: how many pages are still to be told
    after: str  #: where the page begins that is looked for
    cursor: str


_Place = tuple[Peer, str, str]


class Listing:
    """Walks through the names of an acceptor for those who ask."""

    def __init__(self, acceptor: Acceptor, timers: Timers, answer: Callable[[Peer, Names], None]) -> None:
        """``answer`` is called with the pages that come later."""
        self._acceptor = acceptor
        self._answer = answer
        self._timers = timers
        self._walks: dict[_Place, Walk] = {}
        self._looked_at = 0  #: names that are on the last page, or were passed over for it

    def __len__(self) -> int:
        return len(self._walks)

    def ask(self, question: List, peer: Peer, now: float) -> Names | None:
        """The first page, or None where it is not found yet; what follows comes later.

        A repeated question goes on where the first one is, unless a page has been told already: then that may
        be lost. Of many questions of one peer only the newest are answered in full.
        """
        place = (peer, question.prefix, question.after)
        walk = self._walks.pop(place, None)
        if walk is None or walk.after != question.after:
            left = min(question.pages, PAGES_PER_QUESTION)
            walk = Walk(question, left, question.after, question.after)
        walk.question = question
        page = self._step(walk, place, now)
        if place in self._walks:
            mine = [other for other in self._walks if other[0] == peer]
            if len(mine) > WALKS_PER_PEER:
                del self._walks[mine[0]]
        return page

    def _go_on(self, now: float) -> None:
        """Another step for the one who has waited longest: some pages, if they are found now."""
        if not self._walks:
            return
        place = next(iter(self._walks))
        left = NAMES_LOOKED_AT
        for _ in range(PAGES_A_STEP):
            page = self._step(self._walks.pop(place), place, now, left)
            left -= self._looked_at + 1
            if page is None:
                break
            self._answer(place[0], page)
            if place not in self._walks or left <= NAMES_PER_ANSWER:
                break
        if self._walks:
            self._timers.add(now + LIST_PAUSE_S, self._go_on)

    def _step(self, walk: Walk, place: _Place, now: float, most: int = NAMES_LOOKED_AT) -> Names | None:
        page = self._look(walk, most)
        if page is not None:
            walk.left -= 1
            walk.after = max(page.names, default=walk.after)
        if (page is None or (page.more and walk.left > 0)) and len(self._walks) < WALKS_MAX:
            self._walks[place] = walk
            self._timers.add(now + LIST_PAUSE_S, self._go_on)
        return page

    def _look(self, walk: Walk, most: int) -> Names | None:
        question, records = walk.question, self._acceptor.records
        names: list[str] = []
        room = NAMES_PER_ANSWER_BYTES - len(walk.after.encode())
        for looked_at, name in enumerate(self._acceptor.names.walk(question.prefix, walk.cursor)):
            self._looked_at = looked_at
            if looked_at == most:
                return Names(question.request, walk.after, tuple(names), more=True) if names else None
            if records[name].in_use:
                room -= len(name.encode()) + 3
                if room < 0 or len(names) == NAMES_PER_ANSWER:
                    return Names(question.request, walk.after, tuple(names), more=True)
                names.append(name)
            walk.cursor = name
        return Names(question.request, walk.after, tuple(names), more=False)
