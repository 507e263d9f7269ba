"""What a candidate says to the nodes while it lives: Prepare, standing or not, Accept, Commit
(protocol.md sections 3 and 5). Its last word, Release, is in releases.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from math import ceil

from paxlock.core.messages import Accept, Commit, Prepare, StandingPrepare
from paxlock.core.session.attempt import Attempt
from paxlock.core.session.outbox import Outbox
from paxlock.core.session.pacing import Pacing
from paxlock.core.session.sequence import SequenceNumbers
from paxlock.core.session.tenures import Tenure

__all__ = ["Proposals"]


class Proposals:
    """Writes the messages of all candidates of one session."""

    def __init__(
        self, nodes: tuple[str, ...], *, out: Outbox, pacing: Pacing, numbers: SequenceNumbers
    ) -> None:
        self._nodes = nodes
        self._out = out
        self._pacing = pacing
        self._numbers = numbers

    def prepares(self, attempt: Attempt, now: float, *, waits: bool) -> None:
        """The same to all, but for one that waits with its lease to those where it may stand (section 5). A
        node that the holder lacks is left alone once it has refused or promised, and nobody stands in line
        there (L3): promised to waiters again and again, it would never be free.

        One that tries once stands in line only while a node is with it: so there are never more of such in
        line than nodes, and none where the name is held. A holder that wants a higher term never waits.
        """
        proposer, campaign, lease = attempt.proposer, attempt.campaign, attempt.lease
        attempt.queues = waits and (not campaign.once or bool(proposer.promises))
        refresh_ms = max(1, round(attempt.refresh * 1000)) if attempt.queues else 0
        prepare = (
            *(proposer.request, campaign.name, proposer.at_least, proposer.candidate),
            *(int(campaign.age(now) * 1000), refresh_ms, self._window_ms(attempt), campaign.label),
        )
        attempt.stated = attempt.refresh
        lease_targets: Collection[str] = ()
        if waits and (attempt.eager or proposer.refusals):
            lease_targets = proposer.lease_targets()
        if lease_targets:
            # Each sending carries a new number, so that it counts from its own time (rule S4).
            standing = StandingPrepare(*prepare, lease.ttl_ms, lease.data, self._numbers.next(now))
            self._out.send_all(lease_targets, standing)
        others: Collection[str] = self._nodes
        if lease_targets:
            others = [node for node in proposer.unheard_or_leased() if node not in lease_targets]
            prepare = (*prepare[:5], 0, *prepare[6:])
        if others:
            self._out.send_all(others, Prepare(*prepare))

    def accepts(self, attempt: Attempt, nodes: list[str], now: float) -> None:
        """Each sending carries a new number, so that it counts from its own time (rule S4)."""
        if not nodes:
            return
        proposer, campaign = attempt.proposer, attempt.campaign
        message = Accept(
            request=proposer.request,
            name=campaign.name,
            term=proposer.term,
            lease=attempt.lease,
            seq=self._numbers.next(now),
            age_ms=int(campaign.age(now) * 1000),
            window_ms=self._window_ms(attempt),
        )
        self._out.send_all(nodes, message)

    def _window_ms(self, attempt: Attempt) -> int:
        """What the attempt states, by the round trips as they are measured now."""
        window = self._pacing.window
        attempt.window = max(attempt.window, window)
        return ceil(window * 1000.0)

    def commit(self, tenure: Tenure, nodes: Iterable[str]) -> None:
        """The lease was chosen; leaves last, unless the attempt is over before that (`Outbox.commit`)."""
        commit = Commit(tenure.name, tenure.term, tenure.lease)
        self._out.commit(tenure.candidate.attempt, nodes, commit)
