"""Questions for those who look after a cell: one ping to every node, and what each node has counted."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import attrs

from paxlock.core.lives import Lives
from paxlock.core.messages import Message
from paxlock.core.seeing import Count, Counted, Ping, Pong
from paxlock.core.session.events import CountersRead, Event, NodeCounters, NodePing, Pinged
from paxlock.core.session.queries import Query

__all__ = ["CountQuery", "PingQuery"]

PAGES_MAX = 32  #: a node whose counters never end is no longer listened to


@attrs.define(eq=False, kw_only=True)
class PingQuery(Query):
    """One small datagram to each node, and what comes back. It is not repeated: what is lost is to show.

    A node that has not heard of this session yet acts on nothing but its Hello (section 8): it is asked once
    it is not among the ``strangers`` any more.
    """

    strangers: AbstractSet[str]
    _asked: dict[str, float] = attrs.field(factory=dict)
    _found: dict[str, NodePing] = attrs.field(factory=dict)

    @property
    def owing(self) -> set[str]:
        return self.open - self._asked.keys() - self.strangers

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        self._asked[node] = now
        return [Ping(request)]

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        asked = self._asked.get(node)
        if isinstance(message, Pong) and asked is not None and node in self.open:
            self._found[node] = NodePing(node, now - asked, asked, message.up_ms / 1000.0)
            self.open.discard(node)

    def result(self, now: float) -> Event | None:
        if not self.over(now):
            return None
        return Pinged(self.ticket, tuple(self._found.get(node, NodePing(node)) for node in self.nodes))


@attrs.define(eq=False, kw_only=True)
class CountQuery(Query):
    """The counters of every node, page after page."""

    _read: dict[str, dict[str, int]] = attrs.field(factory=dict)
    _after: dict[str, str] = attrs.field(factory=dict)
    _pages: dict[str, int] = attrs.field(factory=dict)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        return [Count(request, self._after.get(node, ""))]

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        if not isinstance(message, Counted) or node not in self.open:
            return
        after = self._after.get(node, "")
        names = [name for name, _ in message.counters]
        if message.after != after or names != sorted(set(names)) or (names and names[0] <= after):
            return  # known already, or not in order
        self._read.setdefault(node, {}).update(message.counters)
        self._after[node] = names[-1] if names else after
        self._pages[node] = self._pages.get(node, 0) + 1
        self.began = now  # there may be many pages: each has time of its own
        if message.more and names and self._pages[node] < PAGES_MAX:
            self.next_page = True
            return
        self.heard.add(node)
        self.open.discard(node)

    def result(self, now: float) -> Event | None:
        if not self.over(now):
            return None
        return CountersRead(
            self.ticket,
            tuple(NodeCounters(node, node in self.heard, self._of(node)) for node in self.nodes),
        )

    def _of(self, node: str) -> dict[str, int]:
        return self._read.get(node, {}) if node in self.heard else {}
