"""Who wants which name in this process, and what becomes of it (protocol.md sections 3 and 5).

    campaign --next in line--> attempt --accepted by a quorum--> Granted --> Lost, or released: Ended
       |                         |
       |                         '-- gave way (rule L2): another attempt for the same campaign
       '-- time over: Failed; name detached: Barred; released: Ended

At most one attempt per name is alive; further campaigns of this process wait behind it (rule L7). The states
of an attempt are in attempt.py, those of a tenure in tenures.py.
"""

from __future__ import annotations

from paxlock.core.lease import Candidate, Timing, Validity
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import (
    Accepted,
    Occupant,
    RefusalReason,
    Refused,
    Released,
)
from paxlock.core.session.attempt import Attempt, Campaign, NameState
from paxlock.core.session.candidates import Candidates
from paxlock.core.session.events import Barred, Ended, Extended, Failed, Granted, LetGoAsked, Lost
from paxlock.core.session.pacing import HEARD_OF_LATE_S, LONG_AGO, NEVER, ONE_TRY_S
from paxlock.core.session.proposer import Phase
from paxlock.core.session.releases import RELEASE_PATIENCE_S
from paxlock.core.session.shared import Shared
from paxlock.core.session.tenures import LOOKS_AT_SPARED, AfterRefusal, Tenure
from paxlock.core.steering import LetGo
from paxlock.errors import LossReason, Reason

__all__ = ["Campaigns"]


class Campaigns:
    """Everything that one session wants or holds."""

    def __init__(self, shared: Shared) -> None:
        self._session = shared.session
        self._nodes = shared.nodes
        self._quorum = shared.quorum
        self._out = shared.out
        self._pacing = shared.pacing
        self._timers = shared.timers
        self._numbers = shared.numbers
        self._counters = shared.counters
        self._thrift = shared.thrift
        self.candidates = Candidates(shared, lapsed=self._lapsed, kept=self._kept)
        self._tenures = self.candidates.tenures
        self._names: dict[str, NameState] = {}
        self._campaigns: dict[int, Campaign] = {}
        self._given_away: set[str] = set()  #: names of which a lease was detached
        self._turns = self.candidates.turns

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
            self._timers.add(campaign.until, self._campaign_due, campaign.ticket)
        if local.attempt is None and not local.campaigns:
            self.candidates.begin(local, campaign, now)
        else:
            local.campaigns.append(campaign)
            self._next_campaign(local, now)
            ahead = local.attempt
            if once and ahead is not None and ahead.proposer.phase is Phase.PREPARING:
                ahead.wake_by(now)  # who holds it is to be known soon
        return campaign.ticket

    def release(self, ticket: int, now: float, patience: float = RELEASE_PATIENCE_S) -> None:
        """End a campaign, whatever has become of it: waiting, held, or kept. Ended follows, within
        ``patience``.
        """
        campaign = self._campaigns.pop(ticket, None)
        if campaign is None:
            return
        local = self._names[campaign.name]
        attempt = local.attempt
        if attempt is not None and attempt.campaign is campaign:
            self.candidates.end(attempt, now, ticket=ticket, patience=patience)
            self._next_campaign(local, now)
        elif campaign in local.campaigns:
            local.campaigns.remove(campaign)
            self._out.publish(Ended(ticket, heard=True))
            self._forget_if_idle(local)

    def keep(self, ticket: int, now: float) -> bool:
        """The program has done with a lease. Where the time is not over for which it was wanted, it is kept
        until then, and released by itself: nothing follows for the program. Else False.
        """
        tenure = self._tenure_of(ticket)
        if tenure is None or not self._wanted(tenure, now):
            return False
        self.candidates.keep(tenure)
        return True

    def leave_kept(self, now: float) -> list[Tenure]:
        """This process goes: what is still wanted is detached, and so neither held nor released."""
        left = [tenure for tenure in self._tenures if self._wanted(tenure, now)]
        for tenure in left:
            self.detach(tenure.ticket, now)
        return left

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
            self.candidates.detach(attempt, now)
            self._given_away.add(campaign.name)
            del self._names[campaign.name]
            for waiting in local.campaigns:
                del self._campaigns[waiting.ticket]
                self._out.publish(Barred(waiting.ticket))

    def gave_away(self, name: str) -> bool:
        """Whether a lease of the name was detached."""
        return name in self._given_away

    def released_by_handle(self, name: str, candidate: Candidate, now: float) -> None:
        """This session releases a lease by its handle. If it holds that lease, it stops holding it first
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
        return self.candidates.releases.untold

    def clock_jumped(self, now: float) -> None:
        """The machine slept, or its clock was moved: what has lapsed meanwhile is lost at once."""
        for tenure in self._tenures:
            if tenure.lapsed(now):
                self._lose(tenure, LossReason.CLOCK_JUMPED, now)

    def sizes(self) -> dict[str, int]:
        """How much is held, wanted, being released."""
        return {
            "leases": len(self._tenures),
            "campaigns": len(self._campaigns),
            "releases": len(self.candidates.releases),
        }

    # Which campaign of a name is next, and which has failed

    def _next_campaign(self, local: NameState, now: float) -> None:
        if local.attempt is not None:
            return
        if not local.campaigns:
            self._forget_if_idle(local)
            return
        self.candidates.begin(local, local.campaigns.popleft(), now)

    def _campaign_due(self, ticket: int, now: float) -> None:
        """The campaign's time may be over. One that tries once has its time from its turn on, and waits for
        its turn while a quorum answers others. If a quorum answers it, it has more time, to hear of a holder.
        """
        campaign = self._campaigns.get(ticket)
        if campaign is None:
            return
        attempt = self._names[campaign.name].attempt
        if campaign.once and attempt is not None:
            if self._turns.waits(attempt.number):
                campaign.tried_at = self._pacing.heard_by(self._quorum)
                patience = ONE_TRY_S
            else:
                patience = attempt.patience_of_try(campaign.since)
            campaign.until = max(campaign.until, campaign.tried_at + patience)
        if now < campaign.until:
            self._timers.add(campaign.until, self._campaign_due, campaign.ticket)
        else:
            self._give_up(campaign, now)

    def _give_up(self, campaign: Campaign, now: float) -> None:
        """The campaign's time is over before the name was acquired."""
        local = self._names[campaign.name]
        attempt = local.attempt
        assert attempt is not None  # the campaigns of a name have one, or are it
        reason: tuple[Reason, str | None, str] = (Reason.HELD, attempt.campaign.label, "")
        if self._turns.waits(attempt.number):
            missing = attempt.shared.shortfall(self._pacing.heard, HEARD_OF_LATE_S, now)
            reason = (Reason.NO_QUORUM, None, missing or self._turns.failure_reason())
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
        """This campaign has failed, whether it had an attempt of its own or waited behind another."""
        del self._campaigns[campaign.ticket]
        self._timers.cancel(self._campaign_due, campaign.ticket)
        if local.attempt is not None and local.attempt.campaign is campaign:
            self.candidates.end(local.attempt, now)
        else:
            local.campaigns.remove(campaign)
        self._out.publish(Failed(campaign.ticket, reason, holder, detail))

    def _holder_known(self, attempt: Attempt, now: float) -> bool:
        """If another candidate is known to hold the name, the campaigns that try once fail; True if this
        attempt was made for one of them.
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
        return attempt.number not in self.candidates.attempts

    def _leaves(self, holder: Occupant) -> bool:
        """Whether the holder is an earlier attempt of this session, whose Release is on its way."""
        return holder.candidate.session == self._session  # of a name that it detached it wants nothing more

    # Answers to attempts

    def accepted(self, node: str, message: Accepted, now: float, lives: Lives = UNKNOWN) -> None:
        attempt = self.candidates.meant(node, message.name, message.candidate, message.term)
        if attempt is None:
            return
        attempt.hears(node, now)
        tenure = self._tenures.of(attempt.number)
        sent_at = self._numbers.sent_at(message.seq)
        proposer = attempt.proposer
        # A node that took the lease when its turn in line came names the number that had waited there.
        newest = message.seq == attempt.newest and sent_at > LONG_AGO
        if message.request and newest and proposer.sent_since(node, sent_at):
            self._pacing.round_trips.measured(node, now - sent_at)
        if tenure is not None:
            if message.term >= tenure.token and tenure.acknowledged(node, sent_at, lives) and not tenure.kept:
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
        elif tenure is None and proposer.phase is Phase.ACCEPTING and message.term > proposer.term:
            # The node took what was sent before in a higher term: nobody else is in the way there.
            self.candidates.fail(attempt, now)
        elif tenure is None and proposer.phase is Phase.PREPARING:
            failed = attempt.has_failed(now)
            split = failed and self.candidates.give_way(attempt, now)
            if failed and attempt.campaign.once and not split:
                self.candidates.wait(attempt, now)
            elif message.request == 0 and not split:
                attempt.repeat_soon(now)
            elif not failed:
                attempt.ask_the_rest(now)

    def _chosen(self, attempt: Attempt, now: float) -> None:
        """A quorum accepted in ONE term: that term is the fencing token (rule S3)."""
        campaign, proposer = attempt.campaign, attempt.proposer
        validity = Validity(len(self._nodes), campaign.timing.span)
        for node, took in proposer.taken.items():
            if took.term == proposer.term:
                validity.acknowledge(node, took.sent_at, took.lives)
        timing = campaign.timing
        deadline = validity.until() - timing.margin
        if deadline <= now:
            # Chosen, but too late to be of use: a lease that has lapsed is over for ever.
            self.candidates.end(attempt, now)
            self.candidates.begin(self._names[campaign.name], campaign, now, fresh=False)
            return
        if attempt.asked_at is not None and attempt.fresh and not attempt.was_refused:
            self._thrift.granted(now - attempt.asked_at, all_asked=not attempt.spared)
        attempt.lease = attempt.lease.with_token(proposer.term)
        tenure = Tenure(
            campaign.ticket, campaign.name, attempt.lease, timing, validity, proposer.term, deadline
        )
        if timing.at_least:
            tenure.keep_until = now + timing.at_least
        self.candidates.hold(tenure)
        self._turns.done(attempt.number, now, answered=True)
        if campaign.until < NEVER:
            self._timers.cancel(self._campaign_due, campaign.ticket)
        attempt.send_commit(tenure.term, self._nodes)
        if attempt.spared:
            tenure.looks_left = LOOKS_AT_SPARED
            attempt.pace.begin_phase()
            attempt.wake_at(now + attempt.pace.interval())
        else:
            attempt.wake_at(now + self._pacing.jitter(self._pacing.repair_first()))
        self._out.publish(Granted(campaign.ticket, attempt.candidate, proposer.term, deadline))
        local = self._names[campaign.name]
        for other in [other for other in local.campaigns if other.once]:
            self._fail(local, other, Reason.HELD, campaign.label, "", now=now)

    def refused(self, node: str, message: Refused, now: float) -> None:
        self.candidates.learn_floor(message.floor)
        self.candidates.release_own(node, message)
        attempt = self.candidates.attempts.get(message.candidate.attempt)
        if attempt is None or message.candidate != attempt.candidate:
            return
        attempt.hears(node, now)
        attempt.measures(node, message.request, now)
        attempt.was_refused = True
        self._thrift.refused(attempt.campaign.name, now)
        proposer = attempt.proposer
        proposer.refused(node, message, now)
        tenure = self._tenures.of(attempt.number)
        if tenure is not None:
            after = self._tenures.refused(tenure, attempt, message, now)
            if after is AfterRefusal.IS_OVER:
                self._lose(tenure, LossReason.RELEASED, now)
            elif after is AfterRefusal.IS_REVOKED:
                self._revoked(tenure, now)
            elif after is AfterRefusal.RAISES:
                self._counters["raised"] += 1
                attempt.pace.repeat_soon()
                self.candidates.prepare(attempt, now)
            return
        if message.reason is RefusalReason.REVOKED:  # it does not know that it was chosen, and never will
            self.candidates.end(attempt, now)
            self.candidates.begin(attempt.local, attempt.campaign, now, fresh=False)
            return
        if message.reason in (RefusalReason.ENDED, RefusalReason.TTL, RefusalReason.TERM):
            self._counters[f"refused_{message.reason.name.lower()}"] += 1
        if not attempt.has_failed(now):
            if proposer.promise_lapsed(node, message):
                self.candidates.fail(attempt, now)
            else:
                attempt.ask_the_rest(now)
            return
        if not self._holder_known(attempt, now) and not self.candidates.give_way(attempt, now):
            if proposer.phase is Phase.ACCEPTING:
                self.candidates.fail(attempt, now)
            elif proposer.phase is Phase.PREPARING:
                self.candidates.wait(attempt, now)

    def _lapsed(self, tenure: Tenure, now: float) -> None:
        self._lose(tenure, LossReason.REVOKED if tenure.revoked else LossReason.EXPIRED, now)

    def _kept(self, tenure: Tenure, now: float) -> None:
        self.release(tenure.ticket, now)

    # What others want of a holder (section 12)

    def asked_to_let_go(self, message: LetGo, now: float) -> None:
        """Somebody wants this holder to let go: its program is told, and releases when it has ended."""
        tenure = self._tenures.of(message.candidate.attempt)
        if tenure is None or (tenure.name, tenure.candidate) != (message.name, message.candidate):
            return
        if tenure.kept:  # nobody works under it
            self.release(tenure.ticket, now)
        elif not tenure.asked:
            tenure.asked = True
            self._out.publish(LetGoAsked(tenure.ticket))

    def _revoked(self, tenure: Tenure, now: float) -> None:
        """It was ended by force. It is counted on until its deadline, as the nodes do, and renewed no more:
        its program still works under it, so it is not released before that has ended.
        """
        if not tenure.revoked:
            self._counters["revoked"] += 1
            self.candidates.stop_renewing(tenure)
        self.asked_to_let_go(LetGo(0, tenure.name, tenure.candidate), now)

    def publish(self, ticket: int, data: bytes, now: float) -> int | None:
        """Other data for a lease that is held; gives a ticket, or None where it is not held any more.
        DataPublished follows.
        """
        tenure = self._tenure_of(ticket)
        if tenure is None or tenure.lapsed(now):
            return None
        attempt = self.candidates.attempts[tenure.candidate.attempt]
        attempt.lease = attempt.lease.with_data(data, attempt.lease.edition + 1)
        return self.candidates.publications.begin(attempt, now)

    def _lose(self, tenure: Tenure, reason: LossReason, now: float) -> None:
        """The lease is over for good: the nodes are sent Release, and the program is told."""
        attempt = self.candidates.attempts[tenure.candidate.attempt]
        self._campaigns.pop(tenure.ticket, None)
        self.candidates.end(attempt, now)
        self._out.publish(Lost(tenure.ticket, reason))
        self._next_campaign(self._names[tenure.name], now)

    def released(self, node: str, message: Released, now: float) -> None:
        self.candidates.learn_floor(message.floor)
        self.candidates.releases.released(node, message, now)

    # Within

    @staticmethod
    def _wanted(tenure: Tenure, now: float) -> bool:
        return now < tenure.keep_until and not tenure.lapsed(now)

    def _tenure_of(self, ticket: int) -> Tenure | None:
        campaign = self._campaigns.get(ticket)
        attempt = self._names[campaign.name].attempt if campaign is not None else None
        if attempt is None or attempt.campaign is not campaign:
            return None
        return self._tenures.of(attempt.number)

    def _forget_if_idle(self, local: NameState) -> None:
        if local.attempt is None and not local.campaigns:
            self._names.pop(local.name, None)
