"""Other data for a lease that is held, until every node has them (protocol.md section 12).

Published is what a quorum has. The rest is told for as long as the tenure lasts: a node that does not hold
the lease gets the data with it, in the holder's next Accept.
"""

from __future__ import annotations

import attrs

from paxlock.core.lives import Lives, outlived
from paxlock.core.session.attempt import Attempt
from paxlock.core.session.events import DataPublished
from paxlock.core.session.shared import Shared
from paxlock.core.steering import Publish, Published

__all__ = ["Publications"]


REPEAT_DIVISOR = 8  #: repeated every ttl / 8 at the latest, as Accept is (L3)


@attrs.define(eq=False)
class PendingData:
    """The newest data of one lease. ``waiting`` are those who wait, by ticket, each for an edition."""

    message: Publish
    open: set[str]
    retry: float
    slowest: float
    heard: dict[str, tuple[int, Lives]] = attrs.field(factory=dict)  #: which edition each node has
    waiting: dict[int, int] = attrs.field(factory=dict)


class Publications:
    """What the holders of one session publish, by attempt."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._out = shared.out
        self._pending: dict[int, PendingData] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def begin(self, attempt: Attempt, now: float) -> int:
        """Tell all nodes the data of this lease; gives a ticket. DataPublished follows."""
        shared, lease, ticket = self._shared, attempt.lease, self._out.ticket()
        message = Publish(
            self._out.request(), attempt.campaign.name, lease.candidate, lease.edition, lease.data
        )
        before = self._pending.get(attempt.number)
        slowest = attempt.campaign.timing.ttl / REPEAT_DIVISOR
        pending = PendingData(message, set(shared.nodes), shared.pacing.retry_first(), slowest)
        if before is not None:
            pending.heard, pending.waiting = before.heard, before.waiting
        pending.waiting[ticket] = lease.edition
        self._pending[attempt.number] = pending
        self._send(attempt.number, pending, now)
        return ticket

    def _send(self, attempt: int, pending: PendingData, now: float) -> None:
        self._out.send_all(sorted(pending.open), pending.message)
        self._shared.timers.add(now + self._shared.pacing.jitter(pending.retry), self.due, attempt)
        # A node that loses its memory sits out for a ttl at least: until then the others have heard it.
        pending.retry = min(pending.retry * 2.0, pending.slowest)

    def due(self, attempt: int, now: float) -> None:
        """Repeat it where it has not been heard."""
        pending = self._pending.get(attempt)
        if pending is not None:
            self._send(attempt, pending, now)

    def published(self, node: str, message: Published, lives: Lives) -> None:
        """A node tells which edition it has."""
        attempt = message.candidate.attempt
        pending = self._pending.get(attempt)
        if pending is None or message.candidate != pending.message.candidate:
            return
        pending.heard[node] = message.edition, lives
        if message.edition >= pending.message.edition:
            pending.open.discard(node)
        for ticket, edition in list(pending.waiting.items()):
            if self._has_a_quorum(pending, edition):
                del pending.waiting[ticket]
                self._out.publish(DataPublished(ticket, done=True))
        if not pending.open and pending.waiting:
            # Two lives of one node have answered: whoever is outlived is asked again (S15).
            having = {node: lives for node, (_, lives) in pending.heard.items()}
            pending.open.update(outlived(having))
        elif not pending.open:
            self._forget(attempt)

    def _has_a_quorum(self, pending: PendingData, edition: int) -> bool:
        having = {node: lives for node, (has, lives) in pending.heard.items() if has >= edition}
        return len(having) - len(outlived(having)) >= self._shared.quorum

    def over(self, attempt: int) -> None:
        """The tenure is over: whoever waits is told so."""
        pending = self._pending.get(attempt)
        if pending is not None:
            for ticket in pending.waiting:
                self._out.publish(DataPublished(ticket, done=False))
            self._forget(attempt)

    def _forget(self, attempt: int) -> None:
        del self._pending[attempt]
        self._shared.timers.cancel(self.due, attempt)
