"""The question what has happened to a name: what every node remembers of it, merged on one clock."""

from __future__ import annotations

from math import inf

import attrs

from paxlock.core.journal import Happened, Happening, Recall, Recalled
from paxlock.core.lives import Lives
from paxlock.core.messages import Message
from paxlock.core.session.events import Event, JournalRead, NodeJournal
from paxlock.core.session.queries import Query

__all__ = ["RecallQuery"]

PAGES_MAX = 64  #: a node whose journal never ends is no longer listened to
HALF_A_MS = 0.0005  #: ages are cut to whole milliseconds by the node, and rounded to such here


@attrs.define(eq=False)
class _Read:
    """What has come from one node. ``entries`` are with the time of each, by our clock."""

    entries: list[tuple[float, Happened]] = attrs.field(factory=list)
    after: int = 0
    whole_from: float = 0.0
    error: float = 0.0
    pages: int = 0

    def drop_unless_whole(self) -> None:
        """Where the node has forgotten entries after those that were read, these count no more: they would
        tell of leases whose ends are missing.
        """
        newest = max((at for at, _ in self.entries), default=-inf)
        if newest <= self.whole_from + 2.0 * self.error:
            self.whole_from = max(self.whole_from, newest)
            self.entries.clear()


@attrs.define(eq=False, kw_only=True)
class RecallQuery(Query):
    """The journal of a name, page after page. A node tells ages; it told them half a round trip ago, give or
    take that half: the greatest is its ``error``.
    """

    name: str
    _asked: dict[tuple[str, int], float] = attrs.field(factory=dict)
    _read: dict[str, _Read] = attrs.field(factory=dict)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        self._asked[node, request] = now
        read = self._read.get(node)
        return [Recall(request, self.name, read.after if read is not None else 0)]

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        if not isinstance(message, Recalled) or message.name != self.name or node not in self.open:
            return
        asked = self._asked.get((node, message.request))
        read = self._read.setdefault(node, _Read())
        if asked is None or message.after != read.after:
            return  # known already
        half = (now - asked) / 2.0
        told_at = now - half
        numbers = [entry.number for entry in message.entries]
        if numbers != sorted(set(numbers)) or (numbers and numbers[0] <= read.after):
            return  # not in order
        read.error = max(read.error, half + 2.0 * HALF_A_MS)
        read.whole_from = max(read.whole_from, told_at - message.reach_ms / 1000.0)
        read.drop_unless_whole()
        for entry in message.entries:
            read.entries.append((told_at - entry.age_ms / 1000.0 - HALF_A_MS, entry))
        read.after = numbers[-1] if numbers else read.after
        read.pages += 1
        self.began = now  # there may be many pages: each has time of its own
        if message.more and numbers and read.pages < PAGES_MAX:
            self.next_page = True
            return
        self.heard.add(node)
        self.open.discard(node)

    def result(self, now: float) -> Event | None:
        if not self.over(now):
            return None
        return JournalRead(self.ticket, tuple(self._journal(node, now) for node in self.nodes))

    def _journal(self, node: str, now: float) -> NodeJournal:
        read = self._read.get(node)
        if read is None or node not in self.heard:
            return NodeJournal(node, False)
        newest: dict[object, tuple[float, Happened]] = {}
        for at, entry in read.entries:  # of what is written in place while it is read, the last
            once = entry.what in (Happening.REFUSED, Happening.RENEWED)
            newest[(entry.what, entry.candidate) if once else entry.number] = (at, entry)
        entries = tuple(
            attrs.evolve(entry, age_ms=max(0, round((now - at) * 1000.0)))
            for at, entry in sorted(newest.values(), key=lambda found: found[1].number)
        )
        return NodeJournal(node, True, max(0.0, now - read.whole_from), read.error, entries)
