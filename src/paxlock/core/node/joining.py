"""The way of a node that has no memory into its cell (protocol.md section 7, rules S7 and S15).

    greets --noted durably by N - quorum + 1 others--> sits out --> asks for ceilings --> joined
    greets --noted durably by every other member-----> sits out --> asks everybody ----> begins by the clock

The time of sitting out begins when enough others have noted this life: from then on no vote of theirs counts
together with one of an earlier life, and what counted before runs out meanwhile. It lasts the longest
``max_ttl`` that anybody names; one that was lowered counts no longer than it still matters to who names it.
Ceilings are read after it, and so they are above every term of a vote that counted.

The second way is open to blank nodes only, where every other member serves or has no memory either. An
operator may waive those that are gone for good: then "every" is every one that was heard of, and at least
N - quorum + 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from paxlock.core.lease import quarantine
from paxlock.core.lives import Lives, outlived
from paxlock.core.messages import Greeted, NodeMode
from paxlock.core.value import value

__all__ = ["ANNOUNCES", "INCARNATION_STEP", "Joining", "lives_told"]

NEVER = float("inf")
ANNOUNCES = 1
WAIVED_AFTER_S = 2.0  #: so long is everybody asked before who has never been heard of is taken to be gone
#: How far above the highest incarnation heard of a joining node takes its own: a restart counts one, and need
#: not have been heard by anybody who answers.
INCARNATION_STEP = 1_000


@value
class _Told:
    """What one life of a node told of a lowered ``max_ttl``: the old one, and until when it matters here."""

    incarnation: int
    old: float
    until: float


@value
class _Answer:
    """What another member answered after this node had sat out; ``ceiling`` is None where it is blank."""

    ceiling: int | None
    lives: Lives


@attrs.define(eq=False)
class Joining:
    """What a node without memory has heard.

    ``others`` is how many other members there are, ``needed`` how many must have noted this life, and tell
    their ceilings; ``least`` the shortest time of sitting out, by its own cell file, and ``extra`` what is
    part of every one, in seconds. ``blank``: it may begin by the clock, where nobody has a memory;
    ``by_clock``: also where members are gone for good.
    """

    others: int
    needed: int
    least: float
    extra: float
    drift: float
    blank: bool = False
    by_clock: bool = False
    phase: int = ANNOUNCES
    begun_anew: int = 0  #: how often under another incarnation
    noted_at: float = NEVER  #: when enough had noted this life
    all_noted_at: float = NEVER  #: when every other member had, each in the life in which it answers now
    _noted: dict[str, Lives] = attrs.field(init=False, factory=dict)
    _noted_by: dict[str, tuple[int, float]] = attrs.field(init=False, factory=dict)
    _asked_from: float = attrs.field(init=False, default=-NEVER)
    _asked_at: float = attrs.field(init=False, default=NEVER)
    _met: set[str] = attrs.field(init=False, factory=set)  #: of these was heard, in whichever life
    _longest: float = attrs.field(init=False, default=0.0)
    _lowered: dict[str, _Told] = attrs.field(init=False, factory=dict)
    _answers: dict[str, _Answer] = attrs.field(init=False, factory=dict)

    def begin_anew(self) -> None:
        """Under another incarnation: nobody has noted that one."""
        self.begun_anew += 1
        self.phase, self.noted_at, self._asked_from = ANNOUNCES, NEVER, -NEVER
        self.all_noted_at = NEVER
        self._noted.clear()
        self._noted_by.clear()
        self._answers.clear()

    @property
    def longest_ms(self) -> int:
        """The longest ``max_ttl`` that anybody named, in milliseconds; 0 where nobody did."""
        lowered = (told.old for told in self._lowered.values())
        return round(1000.0 * max(self._longest, *lowered, 0.0))

    def heard(self, node: str, message: Greeted, now: float) -> None:
        """Take an answer to a greeting of this very life."""
        self.meet(node)
        self._longest = max(self._longest, message.max_ttl_ms / 1000.0)
        if message.old_max_ttl_ms:
            self._note_lowered(node, message, now)
        lives = lives_told(node, message)
        if message.member and lives[node] >= self._noted.get(node, lives)[node]:
            self._noted[node] = lives
        incarnation, _ = self._noted_by.get(node, (0, now))
        if message.incarnation > incarnation:
            # Another life of it may have voted together with an earlier one of this node until now.
            self._noted_by[node] = (message.incarnation, now)
        if message.request == self.phase > ANNOUNCES:
            if message.mode is NodeMode.SERVING:
                self._answers[node] = _Answer(message.ceiling, lives)
            elif message.blank:
                self._answers[node] = _Answer(None, lives)

    def meet(self, node: str) -> None:
        """This one is there: it is not gone for good, whatever the operator has said."""
        self._met.add(node)

    def _note_lowered(self, node: str, message: Greeted, now: float) -> None:
        old, left = message.old_max_ttl_ms / 1000.0, message.old_left_ms / 1000.0
        until = now + quarantine(left, self.drift) + self.extra
        before = self._lowered.get(node)
        if before is not None and (before.incarnation, before.old) == (message.incarnation, old):
            until = min(until, before.until)  # each is late by what its answer took
        self._lowered[node] = _Told(message.incarnation, old, until)

    def noters(self) -> Collection[str]:
        """Who has noted this life, so that it counts where nobody else remembers, or else, as a member."""
        return self._noted_by.keys() if self.blank else self._noted.keys()

    def noted(self, now: float) -> bool:
        """Whether enough others have noted this life; from that moment the time of sitting out counts."""
        if self.noted_at == NEVER and len(self._noted) - len(outlived(self._noted)) >= self.needed:
            self.noted_at = now
        if self.blank and len(self._noted_by) >= self._awaited:
            # Alone in its cell, a node is noted by everybody from the start.
            self.all_noted_at = max((at for _, at in self._noted_by.values()), default=self.noted_at)
        return min(self.noted_at, self.all_noted_at) < NEVER

    @property
    def _awaited(self) -> int:
        """How many others must have noted this life, and answered, for it to begin by the clock."""
        return max(self.needed, len(self._met)) if self.by_clock else self.others

    def _end(self, noted_at: float) -> float:
        end = noted_at + max(self.least, quarantine(self._longest, self.drift) + self.extra)
        for told in self._lowered.values():
            whole = noted_at + quarantine(told.old, self.drift) + self.extra
            end = max(end, min(whole, told.until))
        return end

    def _ends(self) -> list[float]:
        return [self._end(at) for at in (self.noted_at, self.all_noted_at) if at < NEVER]

    def serve_at(self) -> float:
        """When the time of sitting out is over, by what was heard so far: the next end that answers have not
        been asked for after.
        """
        ends = self._ends()
        return min((end for end in ends if end > self._asked_from), default=max(ends))

    def asks(self, now: float) -> bool:
        """Whether a time of sitting out is over: then only what is answered from now on counts. That may be
        so again, where somebody has named a longer time since, or every member has noted this life later.
        """
        over = max((end for end in self._ends() if end <= now), default=-NEVER)
        if over <= self._asked_from:
            return False
        self._asked_from, self._asked_at = over, now
        self.phase += 1
        self._answers.clear()
        return True

    def answered(self) -> Mapping[str, int | None]:
        """The ceilings of those in service, None for those without memory: of all whose answers count
        together, and were asked for after sitting out.
        """
        gone = outlived({node: answer.lives for node, answer in self._answers.items()})
        return {node: answer.ceiling for node, answer in self._answers.items() if node not in gone}

    def ceilings(self) -> Mapping[str, int]:
        """Those of others in service, once enough had noted this life a time of sitting out ago."""
        if self._end(self.noted_at) > self._asked_from:
            return {}
        return {node: ceiling for node, ceiling in self.answered().items() if ceiling is not None}

    def nobody_else_remembers(self, now: float) -> bool:
        """Whether every other member has answered, that it serves or has no memory either; but for those that
        are waived.
        """
        if self._end(self.all_noted_at) > self._asked_from or len(self.answered()) < self._awaited:
            return False
        return len(self.answered()) == self.others or now >= self._asked_at + WAIVED_AFTER_S


def lives_told(node: str, message: Greeted) -> Lives:
    """What an answer to a greeting says of the one who answers, and of those it knows."""
    return {node: message.incarnation, **{seen.node_id: seen.incarnation for seen in message.known}}
