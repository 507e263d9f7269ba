"""One candidate: its states, its moves, and what it says (protocol.md sections 3 and 5).

                     .-- a quorum accepted in one term, while it stood in line --.
                     |                                                           v
    its turn --> PREPARING --- a quorum promised, or accepted ---> ACCEPTING --> CHOSEN: a tenure
                 ^  ^  |                                              |          (tenures.py)
    after a      |  '--' refused: waits, or stands in line            |
    pause, in a  |                                                    |
    higher term  |                                                    |
              BACKING_OFF <--- refused by too many, or no answer -----'

    from every state --- gives way (rules L2, L3), its time is over, cancelled, lapsed ---> over: Release

The successor of a candidate that gave way begins in BACKING_OFF.
PREPARING sends Prepare, or StandingPrepare with the lease; ACCEPTING sends Accept; CHOSEN sends Commit. The
states are those of its proposer, which counts the votes. Release is in releases.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable

import attrs

from paxlock.core.lease import Candidate, Lease, Timing
from paxlock.core.messages import Accept, Commit, Prepare, StandingPrepare
from paxlock.core.quorum import blocking
from paxlock.core.session.pacing import (
    HEARD_OF_LATE_S,
    LONG_AGO,
    ONE_TRY_MAX_ROUND_TRIPS,
    ONE_TRY_MAX_S,
    ONE_TRY_ROUND_TRIPS,
    ONE_TRY_S,
    AttemptPacing,
)
from paxlock.core.session.proposer import Phase, Proposer
from paxlock.core.session.shared import Shared
from paxlock.errors import Reason

__all__ = ["Attempt", "Campaign", "NameState"]

NOBODY_YET = "several want it at this moment and nobody is known to hold it yet: try again"


@attrs.define(eq=False)
class Campaign:
    """Somebody in this process wants a name. Its age is the age of every attempt made for it."""

    ticket: int
    name: str
    timing: Timing
    label: str
    data: bytes
    since: float
    until: float
    once: bool  #: never waits for a holder to let go: gives up as soon as one is known
    tried_at: float = attrs.field(init=False)  #: of one that tries once: since when, its turn having come

    def __attrs_post_init__(self) -> None:
        self.tried_at = self.since

    def age(self, now: float) -> float:
        return now - self.since


@attrs.define(eq=False)
class Attempt:
    """One candidate: from its first Prepare to its Release."""

    local: NameState
    campaign: Campaign
    lease: Lease
    lock: bytes  #: what a handle of its lease must open
    proposer: Proposer
    shared: Shared
    pace: AttemptPacing
    due: Callable[[int, float], None]  #: called with its number when it may have something to do
    fresh: bool = True  #: the first one of its campaign: while it waits for its turn, no node knows of it
    queues: bool = False  #: whether the last Prepare asked for a place in line
    stood: bool = False  #: whether a Prepare had the lease with it
    newest: int = -1  #: the number of the last sending that asks to take the lease
    asked_at: float | None = None  #: when this phase was asked, unless it was repeated since
    heard: dict[str, float] = attrs.field(factory=dict)
    spared: set[str] = attrs.field(factory=set)  #: nodes that nothing of it was sent to
    spoke: set[str] = attrs.field(factory=set)  #: nodes whose word in this phase has begun the intervals anew
    was_refused: bool = False  #: by any node, ever: what it took then tells nothing of how fast nodes answer
    candidate: Candidate = attrs.field(init=False)
    number: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.candidate = self.lease.candidate
        self.number = self.candidate.attempt

    # Moves

    def prepare(self, at_least: int, now: float, *, waits: bool, few: Collection[str] = ()) -> None:
        """Phase 1, in a term not below ``at_least`` (section 3, step 1). Where there are
        ``few``, nobody else is asked at first (section 5).
        """
        self.proposer.prepare(at_least, self.shared.out.request(), now)
        self.asked_at = now
        self.spoke.clear()
        if few:
            self.spared.update(node for node in self.proposer.nodes if node not in few)
        self.send_prepare(now, waits=waits, to=few or None)
        self.wake_by(now + self.pace.interval())
        if few:
            self.wake_by(now + self.shared.thrift.hedge_after(few))

    def accept(self, now: float) -> None:
        """Phase 2, to all nodes, also to those that promised less (section 3, step 2). A standing accept in
        this very term is an answer already.
        """
        self.proposer.accept(self.shared.out.request(), now, since=now - self.campaign.timing.fresh)
        self.asked_at = now
        self.pace.begin_phase()
        self.send_accept(self.proposer.unanswered(), now)
        self.wake_at(now + self.pace.interval())

    def back_off(self, now: float) -> None:
        """This term is not tried again: a higher one is, or the line (section 3, step 4)."""
        self.proposer.back_off()
        self.wake_at(now + self.pace.back_off())

    def wait(self, now: float) -> None:
        """Refused by too many, and nobody to give way to: ask again later.

        One that tries once is in a hurry: soon there is a holder, or it is the holder itself. With a vote it
        stands in line for the others at once. Without one it keeps out of the way for a while.
        """
        pace, proposer = self.pace, self.proposer
        if not self.campaign.once:
            pace.wait_in_line(proposer.refusals, proposer.quorum)
            pause = pace.interval()
            if not self.stood and proposer.refusals.where_held_at_quorum():
                pause = 0.0  # with its lease it has the name one round trip sooner when its turn comes
        else:
            pace.begin_phase()
            if not proposer.promises:
                pause = pace.pause_of_try(now - proposer.asked_at)
            else:
                pause = pace.retry if self.queues else 0.0
        self.wake_at(now + pause)

    def repeat(self, now: float, longest: float) -> None:
        """Ask again the nodes that have not answered; in phase 1 without a blocking set of refusals no later
        than after ``longest``.
        """
        proposer, pace = self.proposer, self.pace
        if proposer.phase is Phase.PREPARING:
            if self.spared:
                self._note_hedge(now)
            if self.stands_in_line:
                pace.wait_in_line(proposer.refusals, proposer.quorum)
            else:
                pace.slow_down_unrefused(longest)
            pace.repeated = True
            self.send_prepare(now, waits=True)
        else:
            unanswered = proposer.unanswered()
            self.send_accept(unanswered, now)
            if not self.shared.exchanges.lossy(unanswered):
                pace.slow_down()
        again = now + pace.interval()
        if proposer.phase is Phase.ACCEPTING:
            # What has failed by silence is to be seen then, not as late as the next repetition would be.
            for node in proposer.unanswered():
                given_up = proposer.started + self._patience_with(node)
                again = min(again, given_up) if now < given_up else again
        self.wake_by(again)

    def _note_hedge(self, now: float) -> None:
        """The rest is asked, too: because of those that keep silent, if there are any."""
        silent = self._silent(now)
        if silent:
            self.shared.counters["hedged"] += 1
            self.shared.thrift.hedged(silent, now)

    def _silent(self, now: float) -> list[str]:
        """Who was asked, and has not answered. That a node sits out is an answer."""
        recovering = self.shared.recovering
        asked = (node for node in self.proposer.unanswered() if node not in self.spared)
        return [node for node in asked if now >= recovering.get(node, LONG_AGO)]

    def ask_the_rest(self, now: float) -> None:
        """Where only some were asked, and all of them have answered neither yes nor no, ask the others."""
        proposer = self.proposer
        if not self.spared or proposer.phase is not Phase.PREPARING:
            return
        if not self._silent(now):
            self.asked_at = None
            self.send_prepare(now, waits=True, to=tuple(self.spared))

    def repeat_soon(self, now: float) -> None:
        """One node has pushed its answer: the pushes of the others may be lost."""
        self.pace.repeat_soon()
        self.wake_by(now + self.pace.interval())

    def wake_at(self, when: float) -> None:
        """Look again then, and no sooner."""
        self.sleep()
        self.wake_by(when)

    def wake_by(self, when: float) -> None:
        """Look again then, or sooner."""
        self.shared.timers.add(when, self.due, self.number)

    def sleep(self) -> None:
        """Look again no more."""
        self.shared.timers.cancel(self.due, self.number)

    # What it knows

    @property
    def stands_in_line(self) -> bool:
        """Whether it waits for others to let go: a blocking set has refused, and it tries more than once."""
        proposer = self.proposer
        return (
            proposer.phase is Phase.PREPARING
            and len(proposer.refusals) >= blocking(len(proposer.nodes))
            and not self.campaign.once
        )

    def has_failed(self, now: float) -> bool:
        """Whether too many nodes have refused in this term. Nodes that sit out, or have not answered this
        phase for longer than its patience, count as no.
        """
        proposer, waited = self.proposer, now - self.proposer.started
        all_is_well = not proposer.refusals and not self.shared.recovering
        if all_is_well and proposer.phase is Phase.PREPARING and waited < self.pace.session.patience_least:
            return False  # the usual case, at once
        silent = {node for node, until in self.shared.recovering.items() if now < until}
        if waited >= self.pace.session.patience_least:
            asked = (node for node in proposer.unanswered() if node not in self.spared)
            silent.update(node for node in asked if waited >= self._patience_with(node))
        return proposer.failed(frozenset(silent))

    def _patience_with(self, node: str) -> float:
        """How long this phase waits for the answer of a node. In phase 2 a ttl at most: the lease runs out by
        then where it was accepted first.
        """
        patience = self.pace.patience_with(node)
        return min(patience, self.lease.ttl) if self.proposer.phase is Phase.ACCEPTING else patience

    def must_give_way(self, now: float) -> bool:
        """Whether it must give way to another candidate where votes are split (rule L2), or give back a
        minority that another one, which has a quorum, lacks (rule L3). Asked where it has failed.
        """
        age, pace = self.campaign.age(now), self.pace
        return (
            self.proposer.must_withdraw(age=age, window=pace.rivals_window, now=now, patience=pace.patience)
            or self.proposer.holds_useless_minority()
        )

    @property
    def last_term(self) -> int:
        """The highest term that this candidate has used."""
        return max(self.proposer.used, *self.proposer.promises.values(), 0)

    def hears(self, node: str, now: float) -> None:
        """A node has answered. Where that took more than one sending, the others may answer as well by now,
        however rarely they are asked. Once for each node: it may say again and again what counts for nothing.
        """
        self.heard[node] = self.shared.pacing.heard[node] = now
        if self.asked_at is None and node not in self.spoke and self.proposer.waits_for(node):
            self.spoke.add(node)
            self.repeat_soon(now)

    def measures(self, node: str, request: int, now: float) -> None:
        """A node's first answer to what was asked once tells how long it takes (Karn's rule)."""
        proposer = self.proposer
        if self.asked_at is None or request != proposer.request:
            return
        if node not in proposer.promises and node not in proposer.refusals:
            self.shared.pacing.round_trips.measured(node, now - self.asked_at)

    def heard_since(self, since: float) -> int:
        """How many nodes have answered from then on."""
        return sum(at >= since for at in self.heard.values())

    def patience_of_try(self, since: float) -> float:
        """For how long a campaign that tries once, wanted ``since`` then, waits for an outcome: longer where
        a quorum answers, to hear of a holder.
        """
        usual = self.shared.pacing.round_trips.timeout(0.0)
        if self.heard_since(since) < self.shared.quorum:
            return max(ONE_TRY_S, ONE_TRY_ROUND_TRIPS * usual)
        return max(ONE_TRY_MAX_S, ONE_TRY_MAX_ROUND_TRIPS * usual)

    def failure_reason(self, now: float) -> tuple[Reason, str | None, str]:
        """The reason to give where this attempt is given up: (reason, the holder's label, detail)."""
        recent = max(HEARD_OF_LATE_S, 3 * self.pace.refresh)
        missing = self.shared.shortfall(self.heard, recent, now)
        if missing:
            return Reason.NO_QUORUM, None, missing
        holder = self.proposer.refusals.holder()
        if holder is None:
            return Reason.CONTENDED, None, NOBODY_YET
        return Reason.HELD, holder.label, ""

    # What it says. Each sending carries a new number, so that it counts from its own time (rule S4)

    def send_prepare(self, now: float, *, waits: bool, to: Collection[str] | None = None) -> None:
        """Send Prepare to all nodes, or of these only ``to`` some. A candidate that waits attaches its lease,
        once a node has refused, for the nodes that may accept it (section 5). A node that lacks the lease of
        a holder with a quorum gets a plain Prepare that does not queue, and nothing once it has answered: if
        it were promised to one waiter after another, the holder could never win it back (L3).

        One that tries once stands in line only while a node supports it: so there are never more of these in
        line than nodes, and none where the name is held. A holder that wants a higher term never waits.
        """
        proposer, campaign, lease, pace = self.proposer, self.campaign, self.lease, self.pace
        self.queues = waits and (not campaign.once or bool(proposer.promises))
        refresh_ms = max(1, round(pace.refresh * 1000)) if self.queues else 0
        prepare = (
            *(proposer.request, campaign.name, proposer.at_least, proposer.candidate),
            *(int(campaign.age(now) * 1000), refresh_ms, pace.state_window_ms(), campaign.label),
        )
        pace.stated = pace.refresh
        lease_targets: Collection[str] = ()
        if waits and proposer.refusals:
            lease_targets = proposer.lease_targets(now, pace.heard_lately(now))
        elif waits and pace.eager:
            lease_targets = proposer.nodes
        others: Collection[str] = proposer.nodes
        beside = prepare
        if len(lease_targets) == len(proposer.nodes):
            others = ()
        elif lease_targets:
            others = [node for node in proposer.unheard_or_leased(now) if node not in lease_targets]
            beside = (*prepare[:5], 0, *prepare[6:])
        if to is not None:
            lease_targets = [node for node in lease_targets if node in to]
            others = [node for node in others if node in to]
        if lease_targets:
            self.newest = self.shared.numbers.next(now)
            standing = StandingPrepare(*prepare, lease.ttl_ms, lease.data, self.newest, self.lock)
            self.shared.exchanges.send(lease_targets, standing, now)
            proposer.sent_lease.update(lease_targets)
            self.stood = True
        if others:
            self.shared.exchanges.send(others, Prepare(*beside), now)
        self.spared.difference_update(lease_targets, others)

    def send_accept(self, nodes: list[str], now: float) -> None:
        """Send Accept in the proposer's term, and what it was chosen in to those that hear of it only now."""
        if not nodes:
            return
        proposer, campaign = self.proposer, self.campaign
        self.newest = self.shared.numbers.next(now)
        message = Accept(
            request=proposer.request,
            name=campaign.name,
            term=proposer.term,
            lease=self.lease,
            seq=self.newest,
            age_ms=int(campaign.age(now) * 1000),
            window_ms=self.pace.state_window_ms(),
            lock=self.lock,
        )
        self.shared.exchanges.send(nodes, message, now)
        proposer.sent_lease.update(nodes)
        first_asked = self.spared.intersection(nodes)
        self.spared -= first_asked
        if first_asked and proposer.phase is Phase.CHOSEN:
            self.send_commit(proposer.term, sorted(first_asked))

    def send_commit(self, term: int, nodes: Iterable[str]) -> None:
        """The lease was chosen; leaves last, unless the attempt is over before that (`Outbox.commit`). Not to
        nodes that are spared: they would know of a lease that they do not hold, and not hear its end.
        """
        asked = [node for node in nodes if node not in self.spared]
        message = Commit(self.campaign.name, term, self.lease, self.lock)
        self.shared.out.commit(self.number, asked, message)


@attrs.define(eq=False)
class NameState:
    """One name in this process: at most one live attempt; further campaigns line up behind it (rule L7)."""

    name: str
    attempt: Attempt | None = None
    campaigns: deque[Campaign] = attrs.field(factory=deque)
