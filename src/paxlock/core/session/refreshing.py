"""How often a watch asks its nodes to go on, and which of them count (protocol.md section 6).

not all nodes heard yet    20 ms, doubling to 1 s
something is amiss         1 s: a node that was asked is silent, or has restarted, or what the watch shows
                           is to be asked for again
nothing is                 doubling from 1 s to 8 s; whether all have answered is looked at 1 s after asking
a node has restarted       at once, by the word of whoever tells it: it knows of no subscription any more
"""

from __future__ import annotations

import attrs

from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.session.pacing import LONG_AGO, NEVER

__all__ = ["WATCH_REFRESH_CALM_S", "WATCH_REFRESH_S", "WATCH_SILENCE_S", "Refreshing"]

WATCH_REFRESH_FIRST_S = 0.02
WATCH_REFRESH_S = 1.0
WATCH_REFRESH_CALM_S = 8.0
WATCH_SILENCE_S = 2.5  #: so long after its next refresh is due a node that has not answered still counts


@attrs.define(eq=False)
class Refreshing:
    """The refreshes of one watch: ``interval`` is that until the next one, if nothing is amiss until then."""

    nodes: tuple[str, ...]
    interval: float = WATCH_REFRESH_FIRST_S
    heard: dict[str, float] = attrs.field(factory=dict)
    asked_at: float = LONG_AGO
    _counts_until: dict[str, float] = attrs.field(factory=dict)
    _incarnations: dict[str, int] = attrs.field(factory=dict)
    _lives: Lives | None = None
    _restarted: bool = False

    @property
    def lapse(self) -> float:
        """After how many seconds without a refresh a node is to forget the watch, as is stated to it, and
        after how many without a word from it the node counts no longer.
        """
        return max(self.interval, WATCH_REFRESH_S) + WATCH_SILENCE_S

    def hear(self, node: str, now: float, lives: Lives = UNKNOWN) -> bool:
        """A node is heard; whether it tells that one has restarted, itself or another."""
        self.heard[node] = now
        self._counts_until[node] = max(self._counts_until.get(node, LONG_AGO), now + self.lapse)
        if lives is self._lives:
            return False
        self._lives = lives
        restarted = False
        for other, incarnation in lives.items():
            known = self._incarnations.get(other)
            if known is None or known < incarnation:
                self._incarnations[other] = incarnation
                restarted |= known is not None
        self._restarted |= restarted
        return restarted

    def counting(self, now: float) -> set[str]:
        """The nodes whose word counts: those that were heard of late."""
        return {node for node, until in self._counts_until.items() if now < until}

    def rests(self, now: float, calm: bool) -> bool:
        """Whether nothing is to be asked yet."""
        return now < self.asked_at + self.interval and calm and self._all_is_well

    @property
    def _all_is_well(self) -> bool:
        answered = all(self.heard.get(node, LONG_AGO) >= self.asked_at for node in self.nodes)
        return answered and not self._restarted

    def ask(self, now: float, calm: bool) -> None:
        """A refresh leaves now."""
        if len(self.heard) < len(self.nodes):
            if self.asked_at != LONG_AGO:
                self.interval = min(self.interval * 2.0, WATCH_REFRESH_S)
        elif self.interval < WATCH_REFRESH_S or not (calm and self._all_is_well):
            self.interval = WATCH_REFRESH_S
        else:
            self.interval = min(self.interval * 2.0, WATCH_REFRESH_CALM_S)
        self.asked_at = now
        self._restarted = False

    def wanted_at(self, now: float, calm: bool) -> float:
        """By when to look again after something was heard; no time where that is no reason for it."""
        if self._restarted:
            return now
        return NEVER if calm else max(now, self.asked_at + WATCH_REFRESH_S)

    def next_look(self, now: float) -> float:
        """When to look again: 1 s after asking, or sooner, and then when the next refresh is due."""
        soon = self.asked_at + min(self.interval, WATCH_REFRESH_S)
        return soon if now < soon else self.asked_at + self.interval
