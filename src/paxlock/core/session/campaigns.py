"""The candidate's side of a session: attempts, their rounds, their leases, their ends
(protocol.md sections 3 and 5).

    campaign --next in line--> attempt --promised, accepted by a quorum--> tenure --renewed ...
                              '------ release, timeout, lapse, withdrawal -----> pending release

At most one attempt per name is alive; further campaigns of the same process line up behind it (rule L7).
"""

from __future__ import annotations

from collections import Counter
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
from paxlock.core.quorum import blocking, majority
from paxlock.core.session.attempt import (
    ONE_TRY_MAX_ROUND_TRIPS,
    ONE_TRY_MAX_S,
    ONE_TRY_ROUND_TRIPS,
    ONE_TRY_S,
    Attempt,
    AttemptTimer,
    Campaign,
    CampaignTimer,
    NameState,
)
from paxlock.core.session.events import Barred, Ended, Extended, Failed, Granted, Lost
from paxlock.core.session.outbox import Outbox, SessionSettings
from paxlock.core.session.pacing import RETRY_MAX_S, Pacing
from paxlock.core.session.proposals import Proposals
from paxlock.core.session.proposer import LONG_AGO, Phase, Proposer
from paxlock.core.session.releases import RELEASE_PATIENCE_S, Releases, ReleaseTimer
from paxlock.core.session.tenures import LapseTimer, LeaseManager, RenewTimer, SequenceNumbers, Tenure
from paxlock.core.session.turns import Turns, TurnTimer
from paxlock.core.timers import Timers
from paxlock.errors import LossReason, Reason

__all__ = ["Campaigns"]

NEVER = float("inf")


class Campaigns:
    """Everything that one session wants, holds, or is letting go of."""

    def __init__(
        self,
        settings: SessionSettings,
        *,
        session: bytes,
        out: Outbox,
        pacing: Pacing,
        timers: Timers,
        numbers: SequenceNumbers,
        counters: Counter[str],
    ) -> None:
        self.recovering: dict[str, float] = {}
        self._settings = settings
        self._session = session
        self._nodes = settings.nodes
        self._quorum = majority(len(self._nodes))
        self._out = out
        self._pacing = pacing
        self._timers = timers
        self._numbers = numbers
        self._counters = counters
        self._floor = 0
        self._last_attempt = 0
        self._leases = LeaseManager(
            session=session,
            nodes=self._nodes,
            timers=timers,
            numbers=numbers,
            pacing=pacing,
            send=out.send,
            next_request=out.request,
        )
        self._names: dict[str, NameState] = {}
        self._campaigns: dict[int, Campaign] = {}
        self._attempts: dict[int, Attempt] = {}
        self._proposals = Proposals(self._nodes, out=out, pacing=pacing, numbers=numbers)
        self._releases = Releases(self._nodes, out=out, pacing=pacing, timers=timers)
        self._detached: set[int] = set()
        self._given_away: set[str] = set()  #: names of which a lease was detached
        self._turns = Turns("attempt", pacing=pacing, timers=timers, quorum=self._quorum)

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
        if once and local.attempt is not None and local.attempt.number in self._leases.tenures:
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
            self._leases.remove(attempt.number)
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
        tenure = self._leases.tenures.get(candidate.attempt)
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
        for tenure in list(self._leases.tenures.values()):
            if tenure.lapsed(now):
                self._lose(tenure, LossReason.CLOCK_JUMPED, now)

    def due(self, key: object, now: float) -> bool:
        """Do what has come due; False for a timer that is not of this side."""
        match key:
            case LapseTimer(number):
                tenure = self._leases.lapse(number, now)
                if tenure is not None:
                    self._lose(tenure, LossReason.EXPIRED, now)
            case AttemptTimer(number):
                if number in self._attempts:
                    self._attempt_due(self._attempts[number], now)
            case RenewTimer(ttl_ms, batch):
                self._leases.renew(ttl_ms, now, batch)
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
            "leases": len(self._leases.tenures),
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
        self._last_attempt += 1
        candidate = Candidate(self._session, self._last_attempt)
        # Rounded up: an acceptor must not hold it for less than the holder counts on.
        lease = Lease(candidate, ceil(round(campaign.timing.ttl * 1000, 6)), campaign.label, campaign.data)
        proposer = Proposer(candidate, self._nodes)
        first = self._first_retry(campaign)
        attempt = Attempt(
            campaign, lease, proposer, eager=after is None, retry=first, backoff=first, fresh=fresh
        )
        self._attempts[attempt.number] = attempt
        local.attempt = attempt
        if after is None:
            if self._turns.ask(attempt.number, now, rank=campaign.ticket, brief=campaign.once):
                self._prepare(attempt, now)
            return
        attempt.heard = after.heard
        # It stands in no line meanwhile, and nobody tells it when the name falls free.
        proposer.highest = after.proposer.highest
        longest = self._pacing.window_of_try if campaign.once else self._pacing.withdrawn_longest
        attempt.backoff = min(after.backoff * 2.0, longest)
        self._timers.add(
            now + self._pacing.rng.uniform(0.5, 1.0) * attempt.backoff, AttemptTimer(attempt.number)
        )

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
        proposer = attempt.proposer
        proposer.prepare(1 + max(proposer.highest, self._floor), self._out.request(), now)
        attempt.asked_at = now
        self._proposals.prepares(attempt, now, waits=attempt.number not in self._leases.tenures)
        self._timers.add(now + self._pacing.jitter(attempt.retry), AttemptTimer(attempt.number))

    def _accept(self, attempt: Attempt, now: float) -> None:
        """Phase 2, to all nodes, also to those that promised less (section 3, step 2); a standing accept in
        this very term is an answer already.
        """
        attempt.proposer.accept(self._out.request(), now, since=now - attempt.campaign.timing.fresh)
        attempt.asked_at = now
        attempt.retry = self._first_retry(attempt.campaign)
        self._proposals.accepts(attempt, attempt.proposer.unanswered(), now)
        self._set_timer(attempt, now + self._pacing.jitter(attempt.retry))

    def _attempt_due(self, attempt: Attempt, now: float) -> None:
        proposer = attempt.proposer
        if attempt.number in self._leases.tenures:
            self._tenure_due(attempt, now)
            return
        if proposer.phase is Phase.BACKING_OFF:
            self._prepare(attempt, now)
            return
        if proposer.phase is Phase.PREPARING:
            proposer.occupies.update(proposer.unanswered())  # they may have taken what they were sent
        attempt.asked_at = None
        if self._has_failed(attempt, now):
            if self._give_way(attempt, now):
                return
            if proposer.phase is Phase.ACCEPTING:
                self._failed(attempt, now)
                return
        if proposer.phase is Phase.PREPARING:
            if len(proposer.refusals) >= blocking(len(self._nodes)) and not attempt.campaign.once:
                attempt.retry = attempt.next_refresh(self._pacing.retry_first())
                self._turns.done(attempt.number, now)
            else:
                attempt.retry = min(attempt.retry * 2.0, self._longest_retry(proposer, now))
                # Too few have said no, and for so long: votes are not split any more, answers are lost.
                attempt.eager |= attempt.retry > self._pacing.patience
                # The place in line, where there is one, lapses by what is stated.
                attempt.refresh = max(attempt.refresh, attempt.retry)
            self._proposals.prepares(attempt, now, waits=True)
        else:
            self._proposals.accepts(attempt, proposer.unanswered(), now)
            attempt.retry = min(attempt.retry * 2.0, RETRY_MAX_S)
        if self._turns.late(attempt.number, now):
            self._turns.done(attempt.number, now)
        again = now + self._pacing.jitter(attempt.retry)
        if proposer.phase is Phase.ACCEPTING:
            # What has failed by silence is to be seen then, not as late as the next repetition would be.
            for node in proposer.unanswered():
                given_up = proposer.started + self._patience(attempt, node)
                again = min(again, given_up) if now < given_up else again
        self._timers.add(again, AttemptTimer(attempt.number))

    def _patience(self, attempt: Attempt, node: str) -> float:
        """How long a phase waits for a node's answer: what has not come by then counts as no. In phase 2 a
        ttl at most, since the lease runs out by then where it was accepted first.
        """
        once, accepting = attempt.campaign.once, attempt.proposer.phase is Phase.ACCEPTING
        patience = self._pacing.patience_of_try(ONE_TRY_S) if once else self._pacing.patience_with(node)
        return min(patience, attempt.lease.ttl) if accepting else patience

    def _first_retry(self, campaign: Campaign) -> float:
        return self._pacing.retry_of_try() if campaign.once else self._pacing.retry_first()

    def _longest_retry(self, proposer: Proposer, now: float) -> float:
        waiting = len(self._attempts) - len(self._leases.tenures) - self._turns.waiting
        return self._pacing.retry_longest(self._quorum, now - proposer.started, waiting, now)

    def _has_failed(self, attempt: Attempt, now: float) -> bool:
        """Whether a candidate was refused at too many nodes; those that sit out, or have not answered this
        phase for so long, count as no.
        """
        proposer = attempt.proposer
        silent = {node for node, until in self.recovering.items() if now < until}
        if now - proposer.started >= self._pacing.patience_least:
            silent.update(
                node
                for node in proposer.unanswered()
                if now - proposer.started >= self._patience(attempt, node)
            )
        if not silent and not proposer.refusals and proposer.phase is Phase.PREPARING:
            return False  # the usual case, at once
        return proposer.failed(frozenset(silent))

    def _failed(self, attempt: Attempt, now: float) -> None:
        """The term is not tried again: a higher one, or the line (section 3, step 4)."""
        attempt.proposer.phase = Phase.BACKING_OFF
        self._turns.done(attempt.number, now)
        attempt.retry = self._pacing.retry_first()
        self._set_timer(attempt, now + self._pacing.rng.uniform(0.25, 1.0) * attempt.backoff)
        attempt.backoff = min(attempt.backoff * 2.0, RETRY_MAX_S)

    def _give_way(self, attempt: Attempt, now: float) -> bool:
        """Withdraw in favour of an older candidate where votes are split (rule L2), or give back a minority
        that another with a quorum lacks (rule L3).
        """
        campaign, proposer = attempt.campaign, attempt.proposer
        window = max(attempt.window, self._pacing.window_of_try if campaign.once else self._pacing.window)
        patience = self._pacing.patience_of_try(ONE_TRY_S) if campaign.once else None
        split = proposer.must_withdraw(age=campaign.age(now), window=window, now=now, patience=patience)
        if not split and not proposer.holds_useless_minority():
            return False
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
        self._leases.remove(attempt.number)
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
            usual = self._pacing.round_trips.timeout(0.0)
            if self._turns.waits(attempt.number):
                campaign.tried_at = self._pacing.heard_by(self._quorum)
                patience = ONE_TRY_S
            elif attempt.heard_since(campaign.since) < self._quorum:
                patience = max(ONE_TRY_S, ONE_TRY_ROUND_TRIPS * usual)
            else:
                patience = max(ONE_TRY_MAX_S, ONE_TRY_MAX_ROUND_TRIPS * usual)
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
        elif attempt.number not in self._leases.tenures:
            reason = attempt.failure_reason(self._quorum, now)
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
        holder = attempt.proposer.holder()
        if holder is None or self._leaves(holder):
            return False
        for campaign in [attempt.campaign, *local.campaigns]:
            if campaign.once and attempt.proposer.holder(campaign.since) is not None:
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
        attempt.heard[node] = self._pacing.heard[node] = now
        self._answered(attempt, node, message.request, now)
        proposer, leased = attempt.proposer, bool(message.lease_term)
        if proposer.promised(node, message.request, message.term, now, leased=leased):
            self._accept(attempt, now)
        elif message.request == 0 and proposer.phase is Phase.PREPARING:
            self._ask_soon(attempt, now)

    def _answered(self, attempt: Attempt, node: str, request: int, now: float) -> None:
        """A node's first answer to what was asked once tells how long it takes (Karn's rule)."""
        proposer = attempt.proposer
        if attempt.asked_at is None or request != proposer.request:
            return
        if node not in proposer.promises and node not in proposer.refusals:
            self._pacing.round_trips.measured(node, now - attempt.asked_at)

    def _ask_soon(self, attempt: Attempt, now: float) -> None:
        """One node has pushed: the pushes of the others may be lost."""
        attempt.retry = self._pacing.retry_first()
        self._timers.add(now + self._pacing.jitter(attempt.retry), AttemptTimer(attempt.number))

    def accepted(self, node: str, message: Accepted, now: float, lives: Lives = UNKNOWN) -> None:
        attempt = self._attempt_of(node, message.name, message.candidate, message.term)
        if attempt is None:
            return
        attempt.heard[node] = self._pacing.heard[node] = now
        tenure = self._leases.tenures.get(attempt.number)
        sent_at = self._numbers.sent_at(message.seq)
        proposer = attempt.proposer
        if message.request and sent_at > LONG_AGO and proposer.sent_since(node, sent_at):
            self._pacing.round_trips.measured(node, now - sent_at)
        if tenure is not None:
            if message.term >= tenure.token and tenure.acknowledged(node, sent_at, lives):
                self._out.publish(Extended(tenure.ticket, tenure.deadline))
            if message.request == 0 and node in proposer.taken:
                self._proposals.commit(tenure, [node])  # pushed again: the first answer was lost
        since = now - attempt.campaign.timing.fresh
        if proposer.took(node, message.term, sent_at, lives, now=now, since=since):
            if tenure is None:
                self._chosen(attempt, now)
            else:
                tenure.term = proposer.term
                self._proposals.commit(tenure, self._nodes)
        elif proposer.may_accept:
            self._accept(attempt, now)
        elif tenure is None and proposer.phase is Phase.PREPARING:
            failed = self._has_failed(attempt, now)
            split = failed and self._give_way(attempt, now)
            if failed and attempt.campaign.once and not split:
                self._wait_on(attempt, now)
            elif message.request == 0 and not split:
                self._ask_soon(attempt, now)

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
        self._leases.add(tenure, now)
        self._turns.done(attempt.number, now, answered=True)
        if campaign.until < NEVER:
            self._timers.cancel(CampaignTimer(campaign.ticket))
        self._proposals.commit(tenure, self._nodes)
        self._set_timer(attempt, now + self._pacing.jitter(self._pacing.repair_first()))
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
        attempt.heard[node] = self._pacing.heard[node] = now
        self._answered(attempt, node, message.request, now)
        proposer = attempt.proposer
        proposer.refused(node, message, now)
        tenure = self._leases.tenures.get(attempt.number)
        if tenure is not None:
            self._refused_to_holder(attempt, tenure, message, now)
            return
        if message.reason in (RefusalReason.ENDED, RefusalReason.TTL, RefusalReason.TERM):
            self._counters[f"refused: {message.reason.name.lower()}"] += 1
        if not self._has_failed(attempt, now):
            if proposer.promise_lapsed(node, message):
                self._failed(attempt, now)
            return
        if not self._holder_known(attempt, now) and not self._give_way(attempt, now):
            if proposer.phase is Phase.ACCEPTING:
                self._failed(attempt, now)
            elif proposer.phase is Phase.PREPARING:
                self._wait_on(attempt, now)

    def _wait_on(self, attempt: Attempt, now: float) -> None:
        """Refused by too many, and nobody to give way to: when to ask again.

        One that tries once is in a hurry: soon there is a holder, or it is the holder itself. With a vote it
        stands in line for the others at once; without one it keeps out of the way for a while.
        """
        self._turns.done(attempt.number, now, answered=True)
        if not attempt.campaign.once:
            attempt.retry = attempt.next_refresh(self._pacing.retry_first())
            self._set_timer(attempt, now + self._pacing.jitter(attempt.retry))
            return
        attempt.retry = self._first_retry(attempt.campaign)
        if not attempt.proposer.promises:
            longer = min((now - attempt.proposer.asked_at) / 2.0, RETRY_MAX_S)
            wait = self._pacing.rng.uniform(1.0, 2.0) * max(attempt.retry, longer)
        else:
            wait = attempt.retry if attempt.queues else 0.0
        self._set_timer(attempt, now + wait)

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
        moved, missing = self._leases.renewed(node, message, now, lives)
        if moved:
            sent_at = self._numbers.sent_at(message.seq)
            self._pacing.round_trips.measured(node, now - sent_at)
        for tenure in moved:
            self._out.publish(Extended(tenure.ticket, tenure.deadline))
        for tenure in missing:
            attempt = self._attempts[tenure.candidate.attempt]
            if attempt.proposer.phase is Phase.CHOSEN and tenure.may_repair(node, now):
                self._proposals.accepts(attempt, [node], now)

    def _refused_to_holder(self, attempt: Attempt, tenure: Tenure, message: Refused, now: float) -> None:
        """A node will not take the lease in its term: try a higher one as the same candidate (rule L3)."""
        if message.reason is RefusalReason.ENDED:
            self._lose(tenure, LossReason.RELEASED, now)
        elif attempt.proposer.phase is not Phase.CHOSEN:
            if self._has_failed(attempt, now):
                attempt.proposer.stay(tenure.term)
        elif message.reason is RefusalReason.STALE and message.term >= tenure.term and tenure.may_raise(now):
            self._counters["raised"] += 1
            attempt.retry = self._pacing.retry_first()
            self._prepare(attempt, now)

    def _tenure_due(self, attempt: Attempt, now: float) -> None:
        """A valid holder repeats Accept to nodes that lack it, and what it does to reach a higher term."""
        proposer = attempt.proposer
        if proposer.phase is Phase.CHOSEN:
            if attempt.repairs_left:
                attempt.repairs_left -= 1
                self._proposals.accepts(attempt, proposer.unanswered(), now)
            return
        if now >= proposer.started + self._pacing.patience:
            tenure = self._leases.tenures[attempt.number]
            proposer.stay(tenure.term)  # the higher term has failed; the next one not before ttl / 8
            return
        if proposer.phase is Phase.PREPARING:
            self._proposals.prepares(attempt, now, waits=False)
        else:
            self._proposals.accepts(attempt, proposer.unanswered(), now)
        attempt.retry = min(attempt.retry * 2.0, RETRY_MAX_S)
        self._timers.add(now + self._pacing.jitter(attempt.retry), AttemptTimer(attempt.number))

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

    def _set_timer(self, attempt: Attempt, when: float) -> None:
        self._timers.cancel(AttemptTimer(attempt.number))
        self._timers.add(when, AttemptTimer(attempt.number))

    def _forget_if_idle(self, local: NameState) -> None:
        if local.attempt is None and not local.campaigns:
            self._names.pop(local.name, None)
