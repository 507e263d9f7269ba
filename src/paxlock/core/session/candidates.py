"""The live candidates of a session: when each begins, what it does when its time has come, how it ends
(protocol.md sections 3 and 5). What one candidate does is in attempt.py, who wants a name in campaigns.py.
"""

from __future__ import annotations

from collections.abc import Collection
from math import ceil

from paxlock.core.handles import lock_of, secret_of
from paxlock.core.lease import Candidate, Lease
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import Promise, Refused, Release, Renewed
from paxlock.core.session.attempt import Attempt, Campaign, NameState
from paxlock.core.session.events import Ended, Extended
from paxlock.core.session.pacing import (
    ONE_TRY_S,
    RETRY_MAX_S,
    SILENT_RETRY_EACH_S,
    SILENT_RETRY_MIN_S,
    AttemptPacing,
)
from paxlock.core.session.proposer import Phase, Proposer
from paxlock.core.session.publications import Publications
from paxlock.core.session.releases import RELEASE_PATIENCE_S, Releases
from paxlock.core.session.renewals import Renewals
from paxlock.core.session.shared import Shared
from paxlock.core.session.tenures import Tenure, TenureOver, Tenures
from paxlock.core.session.turns import Turns

__all__ = ["Candidates"]

ROUNDED_S = 0.001  #: times are told in whole milliseconds, rounded down


class Candidates:
    """The live attempts, by number, with their turns and tenures, and the Releases of the others."""

    def __init__(self, shared: Shared, *, lapsed: TenureOver, kept: TenureOver) -> None:
        """``lapsed`` and ``kept``: see Tenures."""
        self.attempts: dict[int, Attempt] = {}
        self.tenures = Tenures(shared, lapsed=lapsed, kept=kept)
        self.releases = Releases(shared)
        self.publications = Publications(shared)
        self.turns = Turns(
            self._begin_turns, pacing=shared.pacing, timers=shared.timers, quorum=shared.quorum
        )
        self._shared = shared
        self._session = shared.session
        self._nodes = shared.nodes
        self._quorum = shared.quorum
        self._out = shared.out
        self._pacing = shared.pacing
        self._counters = shared.counters
        self._renewals = Renewals(shared)
        self._detached: set[int] = set()
        self._floor = 0
        self._last_attempt = 0

    def learn_floor(self, floor: int) -> None:
        """A node's floor, of any name: the next term is to be above it (section 3, step 1)."""
        self._floor = max(self._floor, floor)

    def begin(
        self,
        local: NameState,
        campaign: Campaign,
        now: float,
        *,
        after: Attempt | None = None,
        fresh: bool = True,
    ) -> None:
        """A new candidate for the campaign; ``after`` one that gave way, not at once, and with its age."""
        attempt = self._make(local, campaign, after, fresh)
        self.attempts[attempt.number] = attempt
        local.attempt = attempt
        if after is not None:
            # It stands in no line meanwhile, and nobody tells it when the name falls free.
            attempt.wake_by(now + attempt.pace.pause_after(after.pace))
        elif self.turns.ask(attempt.number, now, rank=campaign.ticket, brief=campaign.once):
            self.prepare(attempt, now)

    def _make(self, local: NameState, campaign: Campaign, after: Attempt | None, fresh: bool) -> Attempt:
        self._last_attempt += 1
        candidate = Candidate(self._session, self._last_attempt)
        # Rounded up: an acceptor must not hold it for less than the holder counts on.
        lease = Lease(candidate, ceil(round(campaign.timing.ttl * 1000, 6)), campaign.label, campaign.data)
        highest = after.proposer.highest if after is not None else 0
        proposer = Proposer(candidate, self._nodes, highest=highest)
        pace = AttemptPacing(self._pacing, tries=campaign.once, eager=after is None)
        heard = after.heard if after is not None else {}
        lock = lock_of(candidate, secret_of(self._shared.secret, candidate.attempt))
        return Attempt(
            local, campaign, lease, lock, proposer, self._shared, pace, self.due, fresh=fresh, heard=heard
        )

    def _begin_turns(self, now: float) -> None:
        for number in self.turns.begin(now):
            attempt = self.attempts[number]
            for campaign in (attempt.campaign, *attempt.local.campaigns):
                if campaign.once:
                    campaign.tried_at = now
                    campaign.until = max(campaign.until, now + ONE_TRY_S)
            self.prepare(attempt, now)

    def prepare(self, attempt: Attempt, now: float) -> None:
        """Phase 1, in a higher term than any heard of (section 3, step 1)."""
        self.releases.hasten(attempt.campaign.name, now)
        at_least = 1 + max(attempt.proposer.highest, self._floor)
        few = self._few(attempt, now)
        attempt.prepare(at_least, now, waits=not self.tenures.holds(attempt.number), few=few)

    def _few(self, attempt: Attempt, now: float) -> Collection[str]:
        """The nodes to ask first where these are not all: only in the first sending of a campaign, so that
        what follows it, and its Release, reaches every node that an earlier attempt has reached (section 5).
        """
        thrift = self._shared.thrift
        if not thrift.switched_on:
            return ()
        campaign, first = attempt.campaign, attempt.fresh and not attempt.proposer.request
        if not first or not attempt.pace.eager or campaign.once or campaign.timing.at_least:
            return ()
        if not self.releases.owes_only(campaign.name, thrift.quorum_of(campaign.name)):
            return ()
        few = thrift.choose(campaign.name, now)
        if few:
            self._counters["thrifty"] += 1
        return few

    def due(self, number: int, now: float) -> None:
        """This attempt may have something to do, if it is not over."""
        attempt = self.attempts.get(number)
        if attempt is None:
            return
        tenure, proposer = self.tenures.of(attempt.number), attempt.proposer
        if tenure is not None:
            self.tenures.due(tenure, attempt, now)
            return
        if proposer.phase is Phase.BACKING_OFF:
            self.prepare(attempt, now)
            return
        if proposer.phase is Phase.PREPARING:
            proposer.occupy_unanswered(attempt.spared)
        attempt.asked_at = None
        if attempt.has_failed(now):
            if self.give_way(attempt, now):
                return
            if proposer.phase is Phase.ACCEPTING:
                self.fail(attempt, now)
                return
        if attempt.stands_in_line:
            self.turns.done(attempt.number, now)
        attempt.repeat(now, self._longest_retry(attempt, now))
        if self.turns.late(attempt.number, now):
            self.turns.done(attempt.number, now)

    def _longest_retry(self, attempt: Attempt, now: float) -> float:
        candidates = len(self.attempts) - len(self.tenures) - self.turns.waiting
        return self._pacing.retry_longest(self._quorum, now - attempt.proposer.started, candidates, now)

    def fail(self, attempt: Attempt, now: float) -> None:
        """This term has failed: it makes room for others, and tries a higher one after a pause."""
        self.turns.done(attempt.number, now)
        attempt.back_off(now)

    def give_way(self, attempt: Attempt, now: float) -> bool:
        """Withdraw in favour of another candidate, where it must: later it is tried again with a new one."""
        if not attempt.must_give_way(now):
            return False
        self._counters["withdrawn"] += 1
        self.end(attempt, now)
        self.begin(attempt.local, attempt.campaign, now, after=attempt)
        return True

    def wait(self, attempt: Attempt, now: float) -> None:
        """Refused by too many: it makes room for others, and waits."""
        self.turns.done(attempt.number, now, answered=True)
        attempt.wait(now)

    def end(
        self, attempt: Attempt, now: float, *, ticket: int = 0, patience: float = RELEASE_PATIENCE_S
    ) -> None:
        """This candidate is over: it stops counting as valid, and only then says so (rules S2, L1).

        With a ticket, Ended is published when a quorum has heard it or was never asked, or ``patience`` is
        over.
        """
        self._stop_holding(attempt)
        self._out.over(attempt.number)
        self._shared.exchanges.over(attempt.number)
        del self.attempts[attempt.number]
        attempt.sleep()
        attempt.local.attempt = None
        unheard_of = attempt.fresh and self.turns.waits(attempt.number)
        self.turns.done(attempt.number, now)
        if unheard_of:
            if ticket:
                self._out.publish(Ended(ticket, heard=True))
            return
        self.releases.begin(attempt, now, ticket=ticket, patience=patience)

    def detach(self, attempt: Attempt, now: float) -> None:
        """This candidate is counted on no longer, and never released: its lease lives until its ttl. Nodes
        that were spared are sent it before: nobody else can bring it to them.
        """
        tenure = self.tenures.of(attempt.number)
        if tenure is not None and not tenure.revoked:
            attempt.send_accept(sorted(attempt.spared), now)
        self._stop_holding(attempt)
        self._detached.add(attempt.number)
        self._shared.exchanges.over(attempt.number)
        self.turns.done(attempt.number, now)
        del self.attempts[attempt.number]
        attempt.local.attempt = None

    def hold(self, tenure: Tenure) -> None:
        """Its lease is valid from now on, and is renewed."""
        self.tenures.add(tenure)
        self._renewals.add(tenure)

    def keep(self, tenure: Tenure) -> None:
        """Hold a lease with which its program has done; renewed only as long as it must be."""
        self.tenures.keep(tenure)
        if tenure.lasts:
            self._renewals.remove(tenure)

    def stop_renewing(self, tenure: Tenure) -> None:
        """It was ended by force: its lease is counted on until its deadline, and not renewed (section 12)."""
        tenure.revoked = True
        self._renewals.remove(tenure)
        self._shared.exchanges.over(tenure.candidate.attempt)

    def _stop_holding(self, attempt: Attempt) -> None:
        """From now on its lease, if it has one, counts as valid no longer."""
        tenure = self.tenures.remove(attempt.number)
        if tenure is not None:
            self.publications.over(attempt.number)
            self._renewals.remove(tenure)

    def meant(self, node: str, name: str, candidate: Candidate, term: int) -> Attempt | None:
        """The live attempt that an answer is for. If it is over, the node is sent its Release (rule L1),
        unless that is on its way there and soon repeated.
        """
        if candidate.session != self._session:
            self._counters["stranger"] += 1
            return None
        attempt = self.attempts.get(candidate.attempt)
        if attempt is None and candidate.attempt not in self._detached:
            if self.releases.under_way(candidate.attempt, node):
                return None
            self._out.send(node, Release(self._out.request(), name, candidate, term))
        return attempt

    def promised(self, node: str, message: Promise, now: float) -> None:
        self.learn_floor(message.floor)
        attempt = self.meant(node, message.name, message.candidate, message.term)
        if attempt is None:
            return
        attempt.hears(node, now)
        attempt.measures(node, message.request, now)
        proposer, leased = attempt.proposer, bool(message.lease_term)
        if proposer.promised(node, message.request, message.term, now, leased=leased):
            attempt.accept(now)
        elif message.request == 0 and proposer.phase is Phase.PREPARING:
            attempt.repeat_soon(now)
        else:
            attempt.ask_the_rest(now)

    def sits_out(self, node: str, remaining: float, now: float) -> None:
        """A node has answered that it sits out for so long, or that it does not know how long (0): who has
        asked it and few others asks the rest.
        """
        if node not in self._shared.recovering:
            left_alone_until = now + remaining + RETRY_MAX_S + self._pacing.patience_with(node)
            for attempt in self.attempts.values():
                attempt.proposer.refusals.forget(node, now, left_alone_until)
        self._shared.recovering[node], self._shared.told_recovering[node] = now + remaining, now
        if remaining:
            again = now + max(remaining + ROUNDED_S, SILENT_RETRY_MIN_S)
            self._shared.timers.add(again, self._serves_again, node)
        if self._shared.thrift.switched_on:
            for attempt in self.attempts.values():
                attempt.ask_the_rest(now)

    def _serves_again(self, node: str, now: float) -> None:
        """It is over: whoever still waits for that node's answer asks again, not all at one moment. Who waits
        for a holder is in no hurry, and a node that says at all times that it is about to serve must not make
        a whole line ask without end.
        """
        waiting = [
            attempt
            for attempt in self.attempts.values()
            if attempt.proposer.waits_for(node)
            and node not in attempt.spared
            and not attempt.proposer.refusals.where_held_at_quorum()
        ]
        spread = max(SILENT_RETRY_MIN_S, len(waiting) * SILENT_RETRY_EACH_S)  # other sessions ask as well
        for attempt in waiting:
            attempt.wake_by(now + self._pacing.rng.uniform(0.0, spread))

    def renewed(self, node: str, message: Renewed, now: float, lives: Lives = UNKNOWN) -> None:
        self._pacing.heard[node] = now
        moved, missing = self.tenures.renewed(node, message, now, lives)
        if moved:
            sent_at = self._shared.numbers.sent_at(message.seq)
            self._pacing.round_trips.measured(node, now - sent_at)
        for tenure in moved:
            if tenure.lasts:
                self._renewals.remove(tenure)
            if not tenure.kept:
                self._out.publish(Extended(tenure.ticket, tenure.deadline))
        for tenure in missing:
            attempt = self.attempts[tenure.candidate.attempt]
            chosen = attempt.proposer.phase is Phase.CHOSEN
            if chosen and not tenure.revoked and tenure.may_repair(node, now):
                attempt.send_accept([node], now)

    def release_own(self, node: str, message: Refused) -> None:
        """Where an attempt of ours that is over still stands in the way, it is released again."""
        occupant = message.occupant
        if occupant is None or occupant.candidate.session != self._session:
            return
        number = occupant.candidate.attempt
        if number not in self.attempts and number not in self._detached:
            self._out.send(node, Release(self._out.request(), message.name, occupant.candidate, message.term))
