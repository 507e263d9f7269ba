"""Candidates that are over, until every node has heard it (protocol.md section 3, rules S2 and L1).

Release is the last word of a candidate. It is repeated for a bounded time; what it could not tell by then
runs out with the ttl.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

from paxlock.core.campaign import Attempt
from paxlock.core.lease import Candidate
from paxlock.core.messages import Release, Released
from paxlock.core.notices import Ended
from paxlock.core.outbox import Outbox
from paxlock.core.pacing import RETRY_MAX_S, Pacing
from paxlock.core.quorum import majority
from paxlock.core.timers import Timers

__all__ = ["RELEASE_PATIENCE_S", "Ending", "EndingTimer", "Endings"]

RELEASE_PATIENCE_S = 2.0


class EndingTimer(NamedTuple):
    """A Release may not have been heard everywhere."""

    attempt: int
    kind: str = "ending"


@attrs.define(eq=False)
class Ending:
    """A candidate that is over, and the nodes that have not yet heard it (rules S2, L1)."""

    ticket: int
    name: str
    candidate: Candidate
    term: int
    open: set[str]
    until: float
    patient_until: float  #: whoever asked for it is told by then, heard or not
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

    def __len__(self) -> int:
        return len(self._endings)

    @property
    def untold(self) -> bool:
        """Whether some Release has not been heard by a quorum yet."""
        return any(not ending.told for ending in self._endings.values())

    def under_way(self, attempt: int, node: str) -> bool:
        """Whether a Release of this attempt is on its way to the node, and repeated until it is answered."""
        ending = self._endings.get(attempt)
        return ending is not None and node in ending.open

    def begin(self, attempt: Attempt, now: float, *, ticket: int, patience: float) -> None:
        """Send Release to all nodes. With a ticket, Ended is published when a quorum has heard it, or
        ``patience`` is over.
        """
        ending = self._endings[attempt.number] = Ending(
            ticket=ticket,
            name=attempt.wish.name,
            candidate=attempt.candidate,
            term=attempt.last_term,
            open=set(self._nodes),
            until=now + min(RELEASE_PATIENCE_S, attempt.wish.timing.ttl),
            patient_until=now + patience,
            retry=self._pacing.retry_first(),
        )
        self._send(ending, now)

    def _send(self, ending: Ending, now: float) -> None:
        message = Release(self._out.request(), ending.name, ending.candidate, ending.term)
        self._out.send_all(sorted(ending.open), message)
        again = now + self._pacing.jitter(ending.retry)
        if not ending.told:
            again = min(again, ending.patient_until)
        self._timers.add(again, EndingTimer(ending.candidate.attempt))
        ending.retry = min(ending.retry * 2.0, RETRY_MAX_S)

    def due(self, attempt: int, now: float) -> None:
        """Repeat, or give up."""
        ending = self._endings.get(attempt)
        if ending is None:
            return
        if now >= min(ending.until, ending.patient_until):
            self._tell(ending, heard=False)
        if now >= ending.until:
            del self._endings[attempt]
        else:
            self._send(ending, now)

    def _tell(self, ending: Ending, *, heard: bool) -> None:
        if not ending.told and ending.ticket:
            self._out.publish(Ended(ending.ticket, heard))
        ending.told = True

    def released(self, node: str, message: Released) -> None:
        """A node has heard a Release."""
        ending = self._endings.get(message.candidate.attempt)
        if ending is None or message.candidate != ending.candidate:
            return
        ending.open.discard(node)
        if len(self._nodes) - len(ending.open) >= self._quorum:
            self._tell(ending, heard=True)
        if not ending.open:
            del self._endings[ending.candidate.attempt]
            self._timers.cancel(EndingTimer(ending.candidate.attempt))

    def clear(self) -> None:
        """Repeat nothing any more."""
        self._endings.clear()
