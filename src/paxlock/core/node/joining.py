"""The way of a node that has no memory into its cell (protocol.md section 7, rules S7 and S15).

    greets --noted durably by N - quorum + 1 others--> sits out --> asks for ceilings --> joined

The time of sitting out begins when enough others have noted this life: from then on no vote of theirs counts
together with one of an earlier life, and what counted before runs out meanwhile. It lasts the longest
``max_ttl`` that anybody names; one that was lowered counts no longer than it still matters to who names it.
Ceilings are read after it, and so they are above every term of a vote that counted.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from paxlock.core.lease import quarantine
from paxlock.core.lives import Lives, outlived
from paxlock.core.messages import Greeted, NodeMode
from paxlock.core.value import value

__all__ = ["ANNOUNCES", "INCARNATION_STEP", "Joining", "lives_told"]

NEVER = float("inf")
ANNOUNCES = 1
#: How far above the highest incarnation heard of a joining node takes its own: a restart counts one, and need
#: not have been heard by anybody who answers.
INCARNATION_STEP = 1_000


@value
class _Told:
    """What one life of a node told of a lowered ``max_ttl``: the old one, and until when it matters here."""

    incarnation: int
    old: float
    until: float


@attrs.define(eq=False)
class Joining:
    """What a joining node has heard. ``least`` is the shortest time of sitting out, by its own cell file."""

    needed: int
    least: float
    extra: float  #: seconds on top of every time of sitting out
    drift: float
    phase: int = ANNOUNCES
    noted_at: float = NEVER
    _noted: dict[str, Lives] = attrs.field(init=False, factory=dict)
    _asked_from: float = attrs.field(init=False, default=-NEVER)
    _longest: float = attrs.field(init=False, default=0.0)
    _lowered: dict[str, _Told] = attrs.field(init=False, factory=dict)
    _ceilings: dict[str, tuple[int, Lives]] = attrs.field(init=False, factory=dict)

    def begin_anew(self) -> None:
        """Under another incarnation: nobody has noted that one."""
        self.phase, self.noted_at, self._asked_from = ANNOUNCES, NEVER, -NEVER
        self._noted.clear()
        self._ceilings.clear()

    @property
    def longest_ms(self) -> int:
        """The longest ``max_ttl`` that anybody named, in milliseconds; 0 where nobody did."""
        lowered = (told.old for told in self._lowered.values())
        return round(1000.0 * max(self._longest, *lowered, 0.0))

    def heard(self, node: str, message: Greeted, now: float) -> None:
        """Take an answer to a greeting of this very life."""
        self._longest = max(self._longest, message.max_ttl_ms / 1000.0)
        if message.old_max_ttl_ms:
            self._note_lowered(node, message, now)
        lives = lives_told(node, message)
        if message.member and lives[node] >= self._noted.get(node, lives)[node]:
            self._noted[node] = lives
        if message.request == self.phase > ANNOUNCES and message.mode is NodeMode.SERVING:
            self._ceilings[node] = (message.ceiling, lives)

    def _note_lowered(self, node: str, message: Greeted, now: float) -> None:
        old, left = message.old_max_ttl_ms / 1000.0, message.old_left_ms / 1000.0
        until = now + quarantine(left, self.drift) + self.extra
        before = self._lowered.get(node)
        if before is not None and (before.incarnation, before.old) == (message.incarnation, old):
            until = min(until, before.until)  # each is late by what its answer took
        self._lowered[node] = _Told(message.incarnation, old, until)

    def noted(self, now: float) -> bool:
        """Whether enough others have noted this life; from that moment the time of sitting out counts."""
        if self.noted_at == NEVER and len(self._noted) - len(outlived(self._noted)) >= self.needed:
            self.noted_at = now
        return self.noted_at < NEVER

    def serve_at(self) -> float:
        """When the time of sitting out is over, by what was heard so far."""
        end = self.noted_at + max(self.least, quarantine(self._longest, self.drift) + self.extra)
        for told in self._lowered.values():
            whole = self.noted_at + quarantine(told.old, self.drift) + self.extra
            end = max(end, min(whole, told.until))
        return end

    def asks(self) -> bool:
        """The time of sitting out is over: True if ceilings are to be asked for, and only what answers from
        now on counts. That may be so again, where somebody has named a longer time since.
        """
        end = self.serve_at()
        if end <= self._asked_from:
            return False
        self._asked_from = end
        self.phase += 1
        self._ceilings.clear()
        return True

    def ceilings(self) -> Mapping[str, int]:
        """Those of others in service, read after sitting out, of nodes whose answers count together."""
        gone = outlived({node: lives for node, (_, lives) in self._ceilings.items()})
        return {node: ceiling for node, (ceiling, _) in self._ceilings.items() if node not in gone}


def lives_told(node: str, message: Greeted) -> Lives:
    """What an answer to a greeting says of the one who answers, and of those it knows."""
    return {node: message.incarnation, **{seen.node_id: seen.incarnation for seen in message.known}}
