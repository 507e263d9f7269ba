"""Candidates that are over, until every node has heard it (protocol.md section 3, rules S2 and L1).

Release is the last word of a candidate. It is repeated for a bounded time; what it could not tell by then
runs out with the ttl.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.messages import Release, Released
from paxlock.core.session.attempt import Attempt
from paxlock.core.session.events import Ended
from paxlock.core.session.pacing import RETRY_MAX_S
from paxlock.core.session.shared import Shared
from paxlock.core.session.turns import Turns

__all__ = ["RELEASE_PATIENCE_S", "PendingRelease", "Releases"]

RELEASE_PATIENCE_S = 2.0


@attrs.define(eq=False)
class PendingRelease:
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


class Releases:
    """All candidates of one session that are over and not yet forgotten."""

    def __init__(self, shared: Shared) -> None:
        self._nodes = shared.nodes
        self._quorum = shared.quorum
        self._out = shared.out
        self._exchanges = shared.exchanges
        self._pacing = shared.pacing
        self._timers = shared.timers
        self._releases: dict[int, PendingRelease] = {}
        self._turns = self._no_turns()
        self._untold = 0
        self._unsent: dict[str, list[int]] = {}  #: by name, what waits for its turn
        self._of_name: dict[str, set[int]] = {}

    def __len__(self) -> int:
        return len(self._releases)

    @property
    def untold(self) -> int:
        """How many Releases have not been heard by a quorum yet."""
        return self._untold

    def under_way(self, attempt: int, node: str) -> bool:
        """Whether a Release of this attempt is on its way to the node, and soon repeated if it is lost."""
        pending = self._releases.get(attempt)
        return pending is not None and node in pending.open and pending.retry < RETRY_MAX_S

    def owes_only(self, name: str, nodes: Collection[str]) -> bool:
        """Whether no Release of an earlier attempt at the name is owed to any other than these nodes."""
        return all(self._releases[number].open.issubset(nodes) for number in self._of_name.get(name, ()))

    def begin(self, attempt: Attempt, now: float, *, ticket: int, patience: float) -> None:
        """Send Release to all nodes but those that the attempt has spared, as soon as its turn has come. With
        a ticket, Ended is published when a quorum has heard it, or was never asked, or ``patience`` is over,
        which begins anew while other Releases are heard.
        """
        ttl, number = attempt.campaign.timing.ttl, attempt.number
        pending = self._releases[number] = PendingRelease(
            ticket=ticket,
            name=attempt.campaign.name,
            candidate=attempt.candidate,
            term=attempt.last_term,
            open=set(self._nodes).difference(attempt.spared),
            until=now + ttl,
            patience=patience,
            patient_until=now + patience,
            lasts=min(RELEASE_PATIENCE_S, ttl),
            retry=self._pacing.retry_first(),
        )
        self._of_name.setdefault(pending.name, set()).add(number)
        self._untold += 1
        if self._turns.ask(number, now, rank=number, brief=not ticket):
            self._begin(pending, now)
        else:
            self._unsent.setdefault(pending.name, []).append(number)
            self._timers.add(min(pending.patient_until, pending.until), self.due, number)

    def hasten(self, name: str, now: float) -> None:
        """Another attempt at the name begins: the Releases that wait for their turn go first (rule L7)."""
        for number in tuple(self._unsent.get(name, ())):
            self._turns.done(number, now)
            self._begin(self._releases[number], now)

    def _begin(self, pending: PendingRelease, now: float) -> None:
        self._is_sent(pending)
        pending.until = now + pending.lasts
        if not pending.told:
            pending.patient_until = now + pending.patience
        self._send(pending, now)

    def _is_sent(self, pending: PendingRelease) -> None:
        """It waits for no turn any more."""
        unsent = self._unsent.get(pending.name)
        if unsent is not None and pending.candidate.attempt in unsent:
            unsent.remove(pending.candidate.attempt)
            if not unsent:
                del self._unsent[pending.name]

    def _send(self, pending: PendingRelease, now: float) -> None:
        self._exchanges.send(sorted(pending.open), self._release(pending), now)
        again = now + self._pacing.jitter(pending.retry)
        if not pending.told:
            again = min(again, pending.patient_until)
        self._timers.add(again, self.due, pending.candidate.attempt)
        pending.retry = min(pending.retry * 2.0, RETRY_MAX_S)

    def _release(self, pending: PendingRelease) -> Release:
        return Release(self._out.request(), pending.name, pending.candidate, pending.term)

    def due(self, attempt: int, now: float) -> None:
        """Repeat, or give up."""
        pending = self._releases.get(attempt)
        if pending is None:
            return
        waits = self._turns.waits(attempt)
        if waits and now < pending.until:
            heard = self._pacing.heard_by(self._quorum)
            pending.patient_until = max(pending.patient_until, heard + pending.patience)
        if now >= min(pending.until, pending.patient_until):
            self._tell(pending, heard=False)
        if now >= pending.until:
            if waits:
                # Its turn never came. Release is the last word of every candidate, said once at least.
                self._out.send_all(sorted(pending.open), self._release(pending))
            self._forget(pending, now)
        elif waits:
            again = pending.until if pending.told else min(pending.until, pending.patient_until)
            self._timers.add(again, self.due, attempt)
        else:
            self._turns.late(attempt, now)
            if pending.told and pending.retry < RETRY_MAX_S and self._exchanges.silent(pending.open):
                pending.retry = RETRY_MAX_S  # nobody waits for it, and the nodes are dead very probably
                self._timers.add(now + self._pacing.jitter(pending.retry), self.due, attempt)
            else:
                self._send(pending, now)

    def _tell(self, pending: PendingRelease, *, heard: bool) -> None:
        if pending.told:
            return
        pending.told = True
        self._untold -= 1
        if pending.ticket:
            self._out.publish(Ended(pending.ticket, heard))

    def _forget(self, pending: PendingRelease, now: float) -> None:
        number = pending.candidate.attempt
        del self._releases[number]
        others = self._of_name[pending.name]
        others.discard(number)
        if not others:
            del self._of_name[pending.name]
        self._is_sent(pending)
        self._timers.cancel(self.due, number)
        self._turns.done(number, now)

    def _begin_turns(self, now: float) -> None:
        """Others have been heard: there is room for some more."""
        for number in self._turns.begin(now):
            self._begin(self._releases[number], now)

    def released(self, node: str, message: Released, now: float) -> None:
        """A node has heard a Release."""
        pending = self._releases.get(message.candidate.attempt)
        if pending is None or message.candidate != pending.candidate:
            return
        self._pacing.heard[node] = now
        pending.open.discard(node)
        if len(self._nodes) - len(pending.open) >= self._quorum:
            self._tell(pending, heard=True)
            self._turns.done(message.candidate.attempt, now, answered=True)
        if not pending.open:
            self._forget(pending, now)

    def clear(self) -> None:
        """Repeat nothing any more."""
        self._releases.clear()
        self._unsent.clear()
        self._of_name.clear()
        self._turns = self._no_turns()
        self._untold = 0

    def _no_turns(self) -> Turns:
        return Turns(self._begin_turns, pacing=self._pacing, timers=self._timers, quorum=self._quorum)
