"""What a node tells of itself to whoever asks: pages of its counters, and for how long it has run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from paxlock.core.seeing import Count, Counted, Ping, Pong

__all__ = ["Seeing"]

PAGE_BYTES = 900  #: one datagram answers one question
PAIR_BYTES = 12  #: what a counter takes up beside its name, at most
AGAIN_S = 0.1  #: they are counted together at most so often: that takes longer than to answer


class Seeing:
    """The eyes of others. ``source`` gives the counters; whoever drives the machine has more of them than the
    machine, and may put another one here.
    """

    def __init__(self, source: Callable[[float], Mapping[str, int]], now: float) -> None:
        self.source = source
        self._since = now
        self._counters: list[tuple[str, int]] = []
        self._counted_at = -math.inf

    def answer(self, question: Ping | Count, now: float) -> Pong | Counted:
        """The answer to this question, at once, whatever the node may do."""
        if isinstance(question, Ping):
            return Pong(question.request, int((now - self._since) * 1000.0))
        if now >= self._counted_at + AGAIN_S:
            self._counted_at = now
            self._counters = sorted(self.source(now).items())
        room = PAGE_BYTES - len(question.after.encode())
        told: list[tuple[str, int]] = []
        for name, number in self._counters:
            if name <= question.after:
                continue
            room -= PAIR_BYTES + len(name.encode())
            if room < 0 and told:
                return Counted(question.request, question.after, True, tuple(told))
            told.append((name, number))
        return Counted(question.request, question.after, False, tuple(told))
