"""Candidates that are over, until every node has heard it (protocol.md section 3, rules S2 and L1).

Release is the last word of a candidate. It is repeated for a bounded time; what it could not tell by then
runs out with the ttl.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.messages import Release, Released
from paxlock.core.quorum import majority
from paxlock.core.session.attempt import Attempt
from paxlock.core.session.events import Ended
from paxlock.core.session.outbox import Outbox
from paxlock.core.session.pacing import RETRY_MAX_S, Pacing
from paxlock.core.session.turns import Turns
from paxlock.core.timers import Timers

__all__ = ["RELEASE_PATIENCE_S", "Ending", "EndingTimer", "Endings"]

RELEASE_PATIENCE_S = 2.0


class EndingTimer(NamedTuple):
    """A Release may not have been heard everywhere."""

    attempt: int
    kind: str = "ending"


@attrs.define(eq=False)
class Ending:
    """A candidate that is over, and the nodes that have not yet heard it (rules S2, L1).

    Until its turn has come, nothing of it was sent, and ``until`` is when its lease has run out in any case.
    """

    ticket: int
    name: str
    candidate: Candidate
    term: int
    open: set[str]
    until: float
    patience: float  #: whoever asked for it is told after so long, heard or not
    patient_until: float
    lasts: float  #: for how long it is repeated
    retry: float
    told: bool = False


class Endings:
    """All candidates of one session that are over and not yet forgotten."""

    def __init__(self, nodes: tuple[str, ...], *, out: Outbox, pacing: Pacing, timers: Timers) -> None:
        self._nodes = nodes
        self._quorum = majority(len(nodes))
        self._out = out
        self._pacing = pacing
        self._timers = timers
        self._endings: dict[int, Ending] = {}
        self._turns = Turns("ending", pacing=pacing, timers=timers, quorum=self._quorum)
        self._untold = 0
        self._unsent: dict[str, int] = {}  #: by name, what waits for its turn

    def __len__(self) -> int:
        return len(self._endings)

    @property
    def untold(self) -> int:
        """How many Releases have not been heard by a quorum yet."""
        return self._untold

    def under_way(self, attempt: int, node: str) -> bool:
        """Whether a Release of this attempt is on its way to the node, and repeated until it is answered."""
        ending = self._endings.get(attempt)
        return ending is not None and node in ending.open

    def begin(self, attempt: Attempt, now: float, *, ticket: int, patience: float) -> None:
        """Send Release to all nodes, as soon as its turn has come. With a ticket, Ended is published when a
        quorum has heard it, or ``patience`` is over, which begins anew while other Releases are heard.
        """
        ttl, number = attempt.wish.timing.ttl, attempt.number
        ending = self._endings[number] = Ending(
            ticket=ticket,
            name=attempt.wish.name,
            candidate=attempt.candidate,
            term=attempt.last_term,
            open=set(self._nodes),
            until=now + ttl,
            patience=patience,
            patient_until=now + patience,
            lasts=min(RELEASE_PATIENCE_S, ttl),
            retry=self._pacing.retry_first(),
        )
        self._untold += 1
        if self._turns.ask(number, now, rank=number, brief=not ticket):
            self._begin(ending, now)
        else:
            self._unsent[ending.name] = number
            self._timers.add(min(ending.patient_until, ending.until), EndingTimer(number))

    def hasten(self, name: str, now: float) -> None:
        """Another attempt at the name begins: a Release that waits for its turn goes first (rule L7)."""
        ending = self._endings.get(self._unsent.get(name, 0))
        if ending is not None and self._turns.waits(ending.candidate.attempt):
            self._turns.done(ending.candidate.attempt, now)
            self._begin(ending, now)

    def _begin(self, ending: Ending, now: float) -> None:
        self._unsent.pop(ending.name, None)
        ending.until = now + ending.lasts
        if not ending.told:
            ending.patient_until = now + ending.patience
        self._send(ending, now)

    def _send(self, ending: Ending, now: float) -> None:
        self._out.send_all(sorted(ending.open), self._release(ending))
        again = now + self._pacing.jitter(ending.retry)
        if not ending.told:
            again = min(again, ending.patient_until)
        self._timers.add(again, EndingTimer(ending.candidate.attempt))
        ending.retry = min(ending.retry * 2.0, RETRY_MAX_S)

    def _release(self, ending: Ending) -> Release:
        return Release(self._out.request(), ending.name, ending.candidate, ending.term)

    def due(self, attempt: int, now: float) -> None:
        """Repeat, or give up."""
        ending = self._endings.get(attempt)
        if ending is None:
            return
        waits = self._turns.waits(attempt)
        if waits and now < ending.until:
            heard = self._pacing.heard_by(self._quorum)
            ending.patient_until = max(ending.patient_until, heard + ending.patience)
        if now >= min(ending.until, ending.patient_until):
            self._tell(ending, heard=False)
        if now >= ending.until:
            if waits:
                # Its turn never came. Release is the last word of every candidate, said once at least.
                self._out.send_all(sorted(ending.open), self._release(ending))
            self._forget(ending, now)
        elif waits:
            again = ending.until if ending.told else min(ending.until, ending.patient_until)
            self._timers.add(again, EndingTimer(attempt))
        else:
            self._turns.late(attempt, now)
            self._send(ending, now)

    def _tell(self, ending: Ending, *, heard: bool) -> None:
        if ending.told:
            return
        ending.told = True
        self._untold -= 1
        if ending.ticket:
            self._out.publish(Ended(ending.ticket, heard))

    def _forget(self, ending: Ending, now: float) -> None:
        del self._endings[ending.candidate.attempt]
        if self._unsent.get(ending.name) == ending.candidate.attempt:
            del self._unsent[ending.name]
        self._timers.cancel(EndingTimer(ending.candidate.attempt))
        self._turns.done(ending.candidate.attempt, now)

    def begin_turns(self, now: float) -> None:
        """Others have been heard: there is room for some more."""
        for number in self._turns.begin(now):
            self._begin(self._endings[number], now)

    def released(self, node: str, message: Released, now: float) -> None:
        """A node has heard a Release."""
        ending = self._endings.get(message.candidate.attempt)
        if ending is None or message.candidate != ending.candidate:
            return
        self._pacing.heard[node] = now
        ending.open.discard(node)
        if len(self._nodes) - len(ending.open) >= self._quorum:
            self._tell(ending, heard=True)
            self._turns.done(message.candidate.attempt, now, answered=True)
        if not ending.open:
            self._forget(ending, now)

    def clear(self) -> None:
        """Repeat nothing any more."""
        self._endings.clear()
        self._unsent.clear()
        self._turns = Turns("ending", pacing=self._pacing, timers=self._timers, quorum=self._quorum)
        self._untold = 0
