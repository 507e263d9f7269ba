"""The candidate's side of a session: attempts, their rounds, their leases, their ends
(protocol.md sections 3 and 5).

    campaign --next in line--> attempt --promised, accepted by a quorum--> tenure --renewed ...
                              '------ release, timeout, lapse, withdrawal -----> pending release

At most one attempt per name is alive; further campaigns of the same process line up behind it (rule L7).
"""

from __future__ import annotations

from math import ceil

from paxlock.core.lease import Candidate, Lease, Timing, Validity
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import (
    Accepted,
    Occupant,
    Promise,
    RefusalReason,
    Refused,
    Release,
    Released,
    Renewed,
)
from paxlock.core.session.attempt import Attempt, AttemptTimer, Campaign, CampaignTimer, NameState
from paxlock.core.session.events import Barred, Ended, Extended, Failed, Granted, Lost
from paxlock.core.session.pacing import LONG_AGO, NEVER, ONE_TRY_S, AttemptPacing
from paxlock.core.session.proposer import Phase, Proposer
from paxlock.core.session.releases import RELEASE_PATIENCE_S, Releases, ReleaseTimer
from paxlock.core.session.renewals import Renewals, RenewTimer
from paxlock.core.session.shared import Shared
from paxlock.core.session.tenures import AfterRefusal, LapseTimer, Tenure, Tenures
from paxlock.core.session.turns import Turns, TurnTimer
from paxlock.errors import LossReason, Reason

__all__ = ["Campaigns"]


class Campaigns:
    """Everything that one session wants, holds, or is letting go of."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._session = shared.session
        self._nodes = shared.nodes
        self._quorum = shared.quorum
        self._out = shared.out
        self._pacing = shared.pacing
        self._timers = shared.timers
        self._numbers = shared.numbers
        self._counters = shared.counters
        self._floor = 0
        self._last_attempt = 0
        self._tenures = Tenures(shared)
        self._renewals = Renewals(shared)
        self._names: dict[str, NameState] = {}
        self._campaigns: dict[int, Campaign] = {}
        self._attempts: dict[int, Attempt] = {}
        self._releases = Releases(shared)
        self._detached: set[int] = set()
        self._given_away: set[str] = set()  #: names of which a lease was detached
        self._turns = Turns("attempt", pacing=self._pacing, timers=self._timers, quorum=self._quorum)

    # What the program asks for

    def campaign(
        self, name: str, timing: Timing, *, now: float, wait: float | None, label: str, data: bytes
    ) -> int:
        """Want a name; see Session.campaign."""
        once = wait is not None and wait <= 0
        until = NEVER if wait is None else now + (ONE_TRY_S if once else wait)
        campaign = Campaign(
            ticket=self._out.ticket(),
            name=name,
            timing=timing,
            label=label,
            data=data,
            since=now,
            until=until,
            once=once,
        )
        if name in self._given_away:
            self._out.publish(Barred(campaign.ticket))
            return campaign.ticket
        local = self._names.get(name)
        if local is None:
            local = self._names[name] = NameState(name)
        if once and local.attempt is not None and self._tenures.holds(local.attempt.number):
            self._out.publish(Failed(campaign.ticket, Reason.HELD, local.attempt.campaign.label, ""))
            return campaign.ticket
        self._campaigns[campaign.ticket] = campaign
        if campaign.until < NEVER:
            self._timers.add(campaign.until, CampaignTimer(campaign.ticket))
        if local.attempt is None and not local.campaigns:
            self._new_attempt(local, campaign, now)
        else:
            local.campaigns.append(campaign)
            self._next_campaign(local, now)
            ahead = local.attempt
            if once and ahead is not None and ahead.proposer.phase is Phase.PREPARING:
                self._timers.add(now, AttemptTimer(ahead.number))  # who holds it is to be known soon
        return campaign.ticket

    def release(self, ticket: int, now: float, patience: float = RELEASE_PATIENCE_S) -> None:
        """End a campaign, whatever has become of it: waiting, or held. Ended follows, within ``patience``."""
        campaign = self._campaigns.pop(ticket, None)
        if campaign is None:
            return
        local = self._names[campaign.name]
        attempt = local.attempt
        if attempt is not None and attempt.campaign is campaign:
            self._end(attempt, now, ticket=ticket, patience=patience)
            self._next_campaign(local, now)
        elif campaign in local.campaigns:
            local.campaigns.remove(campaign)
            self._out.publish(Ended(ticket, heard=True))
            self._forget_if_idle(local)

    def detach(self, ticket: int, now: float) -> None:
        """Let go of a held lease without releasing it: it lives until its ttl, for whoever has the handle.

        Nobody else of this session gets the name any more: those who wait for it are told so, Barred.
        """
        campaign = self._campaigns.get(ticket)
        if campaign is None:
            return
        local = self._names[campaign.name]
        attempt = local.attempt
        if attempt is not None and attempt.campaign is campaign:
            del self._campaigns[ticket]
            self._stop_holding(attempt)
            self._detached.add(attempt.number)
            self._given_away.add(campaign.name)
            self._turns.done(attempt.number, now)
            del self._attempts[attempt.number]
            del self._names[campaign.name]
            for waiting in local.campaigns:
                del self._campaigns[waiting.ticket]
                self._out.publish(Barred(waiting.ticket))

    def gave_away(self, name: str) -> bool:
        """Whether a lease of the name was detached."""
        return name in self._given_away

    def released_by_handle(self, name: str, candidate: Candidate, now: float) -> None:
        """Somebody of this session releases a grant by its handle: if it is held here, it is over here first
        (rule S2).
        """
        tenure = self._tenures.of(candidate.attempt)
        if tenure is not None and (tenure.name, tenure.candidate) == (name, candidate):
            self._lose(tenure, LossReason.RELEASED, now)

    def campaign_of(self, ticket: int) -> Campaign | None:
        """The campaign of a ticket, waiting or held; None once it is over."""
        return self._campaigns.get(ticket)

    @property
    def releasing(self) -> int:
        """How many Releases have not been heard by a quorum yet."""
        return self._releases.untold

    def clock_jumped(self, now: float) -> None:
        """The machine slept, or its clock was moved: what has lapsed meanwhile is lost at once."""
        for tenure in self._tenures:
            if tenure.lapsed(now):
                self._lose(tenure, LossReason.CLOCK_JUMPED, now)

    def due(self, key: object, now: float) -> bool:
        """Do what has come due; False for a timer that is not of this side."""
        match key:
            case LapseTimer(number):
                tenure = self._tenures.lapse(number, now)
                if tenure is not None:
                    self._lose(tenure, LossReason.EXPIRED, now)
            case AttemptTimer(number):
                if number in self._attempts:
                    self._attempt_due(self._attempts[number], now)
            case RenewTimer(ttl_ms, batch):
                self._renewals.due(ttl_ms, now, batch)
            case ReleaseTimer(number):
                self._releases.due(number, now)
            case TurnTimer("attempt"):
                self._begin_turns(now)
            case TurnTimer("release"):
                self._releases.begin_turns(now)
            case CampaignTimer(ticket):
                if ticket in self._campaigns:
                    self._campaign_due(self._campaigns[ticket], now)
            case _:
                return False
        return True

    def sizes(self) -> dict[str, int]:
        """How much is held, wanted, being released."""
        return {
            "leases": len(self._tenures),
            "campaigns": len(self._campaigns),
            "releases": len(self._releases),
        }

    def learn_floor(self, floor: int) -> None:
        """A node's floor, of any name: the next term is to be above it (section 3, step 1)."""
        self._floor = max(self._floor, floor)

    # Attempts

    def _next_campaign(self, local: NameState, now: float) -> None:
        if local.attempt is not None:
            return
        if not local.campaigns:
            self._forget_if_idle(local)
            return
        self._new_attempt(local, local.campaigns.popleft(), now)

    def _new_attempt(
        self,
        local: NameState,
        campaign: Campaign,
        now: float,
        *,
        after: Attempt | None = None,
        fresh: bool = True,
    ) -> None:
        """A new candidate for the campaign; ``after`` one that gave way, not at once, and with its age."""
        attempt = self._make_attempt(campaign, after, fresh)
        self._attempts[attempt.number] = attempt
        local.attempt = attempt
        if after is not None:
            # It stands in no line meanwhile, and nobody tells it when the name falls free.
            self._timers.add(now + attempt.pace.pause_after(after.pace), AttemptTimer(attempt.number))
        elif self._turns.ask(attempt.number, now, rank=campaign.ticket, brief=campaign.once):
            self._prepare(attempt, now)

    def _make_attempt(self, campaign: Campaign, after: Attempt | None, fresh: bool) -> Attempt:
        self._last_attempt += 1
        candidate = Candidate(self._session, self._last_attempt)
        # Rounded up: an acceptor must not hold it for less than the holder counts on.
        lease = Lease(candidate, ceil(round(campaign.timing.ttl * 1000, 6)), campaign.label, campaign.data)
        highest = after.proposer.highest if after is not None else 0
        proposer = Proposer(candidate, self._nodes, highest=highest)
        pace = AttemptPacing(self._pacing, tries=campaign.once, eager=after is None)
        heard = after.heard if after is not None else {}
        return Attempt(campaign, lease, proposer, self._shared, pace, fresh=fresh, heard=heard)

    def _begin_turns(self, now: float) -> None:
        for number in self._turns.begin(now):
            attempt = self._attempts[number]
            for campaign in (attempt.campaign, *self._names[attempt.campaign.name].campaigns):
                if campaign.once:
                    campaign.tried_at = now
                    campaign.until = max(campaign.until, now + ONE_TRY_S)
            self._prepare(attempt, now)

    def _prepare(self, attempt: Attempt, now: float) -> None:
        """Phase 1, in a higher term than any heard of (section 3, step 1)."""
        self._releases.hasten(attempt.campaign.name, now)
        at_least = 1 + max(attempt.proposer.highest, self._floor)
        attempt.prepare(at_least, now, waits=not self._tenures.holds(attempt.number))

    def _attempt_due(self, attempt: Attempt, now: float) -> None:
        tenure, proposer = self._tenures.of(attempt.number), attempt.proposer
        if tenure is not None:
            self._tenures.due(tenure, attempt, now)
            return
        if proposer.phase is Phase.BACKING_OFF:
            self._prepare(attempt, now)
            return
        if proposer.phase is Phase.PREPARING:
            proposer.occupy_unanswered()
        attempt.asked_at = None
        if attempt.has_failed(now):
            if self._give_way(attempt, now):
                return
            if proposer.phase is Phase.ACCEPTING:
                self._failed(attempt, now)
                return
        if attempt.stands_in_line:
            self._turns.done(attempt.number, now)
        attempt.repeat(now, self._longest_retry(attempt, now))
        if self._turns.late(attempt.number, now):
            self._turns.done(attempt.number, now)

    def _longest_retry(self, attempt: Attempt, now: float) -> float:
        candidates = len(self._attempts) - len(self._tenures) - self._turns.waiting
        return self._pacing.retry_longest(self._quorum, now - attempt.proposer.started, candidates, now)

    def _failed(self, attempt: Attempt, now: float) -> None:
        """This term has failed: it makes room for others, and tries a higher one after a pause."""
        self._turns.done(attempt.number, now)
        attempt.back_off(now)

    def _give_way(self, attempt: Attempt, now: float) -> bool:
        """Withdraw in favour of another candidate, where it must: later it is tried again with a new one."""
        if not attempt.must_give_way(now):
            return False
        campaign = attempt.campaign
        self._counters["withdrawn"] += 1
        self._end(attempt, now)
        self._new_attempt(self._names[campaign.name], campaign, now, after=attempt)
        return True

    def _end(
        self, attempt: Attempt, now: float, *, ticket: int = 0, patience: float = RELEASE_PATIENCE_S
    ) -> None:
        """This candidate is over: it stops counting as valid, and only then says so (rules S2, L1).

        With a ticket, Ended is published when a quorum has heard it, or ``patience`` is over.
        """
        self._stop_holding(attempt)
        self._out.over(attempt.number)
        del self._attempts[attempt.number]
        self._timers.cancel(AttemptTimer(attempt.number))
        self._names[attempt.campaign.name].attempt = None
        unheard_of = attempt.fresh and self._turns.waits(attempt.number)
        self._turns.done(attempt.number, now)
        if unheard_of:
            if ticket:
                self._out.publish(Ended(ticket, heard=True))
            return
        self._releases.begin(attempt, now, ticket=ticket, patience=patience)

    def _campaign_due(self, campaign: Campaign, now: float) -> None:
        """The time given may be over. That of a try counts from its turn, for which it waits while a quorum
        is heard: others are served meanwhile. It has some more where a quorum answers, to hear of a holder.
        """
        attempt = self._names[campaign.name].attempt
        if campaign.once and attempt is not None:
            if self._turns.waits(attempt.number):
                campaign.tried_at = self._pacing.heard_by(self._quorum)
                patience = ONE_TRY_S
            else:
                patience = attempt.patience_of_try(campaign.since)
            campaign.until = max(campaign.until, campaign.tried_at + patience)
        if now < campaign.until:
            self._timers.add(campaign.until, CampaignTimer(campaign.ticket))
        else:
            self._give_up(campaign, now)

    def _give_up(self, campaign: Campaign, now: float) -> None:
        """The time given is over, and the name not acquired."""
        local = self._names[campaign.name]
        attempt = local.attempt
        assert attempt is not None  # the campaigns of a name have one, or are it
        reason: tuple[Reason, str | None, str] = (Reason.HELD, attempt.campaign.label, "")
        if self._turns.waits(attempt.number):
            reason = (Reason.NO_QUORUM, None, self._turns.failure_reason(len(self._nodes), now))
        elif not self._tenures.holds(attempt.number):
            reason = attempt.failure_reason(now)
        self._fail(local, campaign, *reason, now=now)
        self._next_campaign(local, now)

    def _fail(
        self,
        local: NameState,
        campaign: Campaign,
        reason: Reason,
        holder: str | None,
        detail: str,
        *,
        now: float,
    ) -> None:
        """This campaign is over, whether it had an attempt of its own or stood behind another's."""
        del self._campaigns[campaign.ticket]
        self._timers.cancel(CampaignTimer(campaign.ticket))
        if local.attempt is not None and local.attempt.campaign is campaign:
            self._end(local.attempt, now)
        else:
            local.campaigns.remove(campaign)
        self._out.publish(Failed(campaign.ticket, reason, holder, detail))

    def _holder_known(self, attempt: Attempt, now: float) -> bool:
        """Where somebody else is known to hold the name, those that try once are told; whether this attempt
        was one of them.
        """
        local = self._names[attempt.campaign.name]
        if not attempt.campaign.once and not any(campaign.once for campaign in local.campaigns):
            return False
        holder = attempt.proposer.refusals.holder()
        if holder is None or self._leaves(holder):
            return False
        for campaign in [attempt.campaign, *local.campaigns]:
            if campaign.once and attempt.proposer.refusals.holder(campaign.since) is not None:
                self._fail(local, campaign, Reason.HELD, holder.label, "", now=now)
        self._next_campaign(local, now)
        return attempt.number not in self._attempts

    def _leaves(self, holder: Occupant) -> bool:
        """Whether it is an earlier attempt of this session that is on its way out: nobody else's lease."""
        return holder.candidate.session == self._session  # of a name that it detached it wants nothing more

    # Answers to attempts

    def _attempt_of(self, node: str, name: str, candidate: Candidate, term: int) -> Attempt | None:
        """The live attempt that is meant; one that is over is answered with Release (rule L1), unless one is
        on its way there, and repeated until it is answered.
        """
        if candidate.session != self._session:
            self._counters["stranger"] += 1
            return None
        attempt = self._attempts.get(candidate.attempt)
        if attempt is None and candidate.attempt not in self._detached:
            if self._releases.under_way(candidate.attempt, node):
                return None
            self._out.send(node, Release(self._out.request(), name, candidate, term))
        return attempt

    def promised(self, node: str, message: Promise, now: float) -> None:
        self.learn_floor(message.floor)
        attempt = self._attempt_of(node, message.name, message.candidate, message.term)
        if attempt is None:
            return
        attempt.hears(node, now)
        attempt.measures(node, message.request, now)
        proposer, leased = attempt.proposer, bool(message.lease_term)
        if proposer.promised(node, message.request, message.term, now, leased=leased):
            attempt.accept(now)
        elif message.request == 0 and proposer.phase is Phase.PREPARING:
            attempt.repeat_soon(now)

    def accepted(self, node: str, message: Accepted, now: float, lives: Lives = UNKNOWN) -> None:
        attempt = self._attempt_of(node, message.name, message.candidate, message.term)
        if attempt is None:
            return
        attempt.hears(node, now)
        tenure = self._tenures.of(attempt.number)
        sent_at = self._numbers.sent_at(message.seq)
        proposer = attempt.proposer
        if message.request and sent_at > LONG_AGO and proposer.sent_since(node, sent_at):
            self._pacing.round_trips.measured(node, now - sent_at)
        if tenure is not None:
            if message.term >= tenure.token and tenure.acknowledged(node, sent_at, lives):
                self._out.publish(Extended(tenure.ticket, tenure.deadline))
            if message.request == 0 and node in proposer.taken:
                attempt.send_commit(tenure.term, [node])  # pushed again: the first answer was lost
        since = now - attempt.campaign.timing.fresh
        if proposer.took(node, message.term, sent_at, lives, now=now, since=since):
            if tenure is None:
                self._chosen(attempt, now)
            else:
                tenure.term = proposer.term
                attempt.send_commit(tenure.term, self._nodes)
        elif proposer.may_accept:
            attempt.accept(now)
        elif tenure is None and proposer.phase is Phase.PREPARING:
            failed = attempt.has_failed(now)
            split = failed and self._give_way(attempt, now)
            if failed and attempt.campaign.once and not split:
                self._wait(attempt, now)
            elif message.request == 0 and not split:
                attempt.repeat_soon(now)

    def _chosen(self, attempt: Attempt, now: float) -> None:
        """A quorum accepted in ONE term: that term is the fencing token (rule S3)."""
        campaign, proposer = attempt.campaign, attempt.proposer
        validity = Validity(len(self._nodes), campaign.timing.span)
        for node, took in proposer.taken.items():
            if took.term == proposer.term:
                validity.acknowledge(node, took.sent_at, took.lives)
        deadline = validity.until() - campaign.timing.margin
        if deadline <= now:
            # Chosen, but too late to be of use: a lease that has lapsed is over for ever.
            self._end(attempt, now)
            self._new_attempt(self._names[campaign.name], campaign, now, fresh=False)
            return
        attempt.lease = attempt.lease.with_token(proposer.term)
        tenure = Tenure(
            campaign.ticket, campaign.name, attempt.lease, campaign.timing, validity, proposer.term, deadline
        )
        self._tenures.add(tenure)
        self._renewals.add(tenure)
        self._turns.done(attempt.number, now, answered=True)
        if campaign.until < NEVER:
            self._timers.cancel(CampaignTimer(campaign.ticket))
        attempt.send_commit(tenure.term, self._nodes)
        attempt.wake_at(now + self._pacing.jitter(self._pacing.repair_first()))
        self._out.publish(Granted(campaign.ticket, attempt.candidate, proposer.term, deadline))
        local = self._names[campaign.name]
        for other in [other for other in local.campaigns if other.once]:
            self._fail(local, other, Reason.HELD, campaign.label, "", now=now)

    def refused(self, node: str, message: Refused, now: float) -> None:
        self.learn_floor(message.floor)
        self._release_own(node, message)
        attempt = self._attempts.get(message.candidate.attempt)
        if attempt is None or message.candidate != attempt.candidate:
            return
        attempt.hears(node, now)
        attempt.measures(node, message.request, now)
        proposer = attempt.proposer
        proposer.refused(node, message, now)
        tenure = self._tenures.of(attempt.number)
        if tenure is not None:
            after = self._tenures.refused(tenure, attempt, message, now)
            if after is AfterRefusal.IS_OVER:
                self._lose(tenure, LossReason.RELEASED, now)
            elif after is AfterRefusal.RAISES:
                self._counters["raised"] += 1
                attempt.pace.repeat_soon()
                self._prepare(attempt, now)
            return
        if message.reason in (RefusalReason.ENDED, RefusalReason.TTL, RefusalReason.TERM):
            self._counters[f"refused: {message.reason.name.lower()}"] += 1
        if not attempt.has_failed(now):
            if proposer.promise_lapsed(node, message):
                self._failed(attempt, now)
            return
        if not self._holder_known(attempt, now) and not self._give_way(attempt, now):
            if proposer.phase is Phase.ACCEPTING:
                self._failed(attempt, now)
            elif proposer.phase is Phase.PREPARING:
                self._wait(attempt, now)

    def _wait(self, attempt: Attempt, now: float) -> None:
        """Refused by too many: it makes room for others, and waits."""
        self._turns.done(attempt.number, now, answered=True)
        attempt.wait(now)

    def _release_own(self, node: str, message: Refused) -> None:
        """Where an attempt of ours that is over still stands in the way, it is released again."""
        occupant = message.occupant
        if occupant is None or occupant.candidate.session != self._session:
            return
        number = occupant.candidate.attempt
        if number not in self._attempts and number not in self._detached:
            self._out.send(node, Release(self._out.request(), message.name, occupant.candidate, message.term))

    # Tenures

    def renewed(self, node: str, message: Renewed, now: float, lives: Lives = UNKNOWN) -> None:
        self._pacing.heard[node] = now
        moved, missing = self._tenures.renewed(node, message, now, lives)
        if moved:
            sent_at = self._numbers.sent_at(message.seq)
            self._pacing.round_trips.measured(node, now - sent_at)
        for tenure in moved:
            self._out.publish(Extended(tenure.ticket, tenure.deadline))
        for tenure in missing:
            attempt = self._attempts[tenure.candidate.attempt]
            if attempt.proposer.phase is Phase.CHOSEN and tenure.may_repair(node, now):
                attempt.send_accept([node], now)

    def _lose(self, tenure: Tenure, reason: LossReason, now: float) -> None:
        """The lease is over for ever; the program is told, and the nodes."""
        attempt = self._attempts[tenure.candidate.attempt]
        self._campaigns.pop(tenure.ticket, None)
        self._end(attempt, now)
        self._out.publish(Lost(tenure.ticket, reason))
        self._next_campaign(self._names[tenure.name], now)

    def released(self, node: str, message: Released, now: float) -> None:
        self.learn_floor(message.floor)
        self._releases.released(node, message, now)

    # Within

    def _stop_holding(self, attempt: Attempt) -> None:
        """From now on its lease, if it has one, counts as valid no longer."""
        tenure = self._tenures.remove(attempt.number)
        if tenure is not None:
            self._renewals.remove(tenure)

    def _forget_if_idle(self, local: NameState) -> None:
        if local.attempt is None and not local.campaigns:
            self._names.pop(local.name, None)
