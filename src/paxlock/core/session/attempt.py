"""What a session keeps of one campaign for a name, and of the attempts made for it."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

import attrs

from paxlock.core.lease import Candidate, Lease, Timing
from paxlock.core.messages import Occupancy, Occupant
from paxlock.core.session.pacing import HEARD_OF_LATE_S
from paxlock.core.session.proposer import Proposer
from paxlock.errors import Reason

__all__ = ["Attempt", "AttemptTimer", "Campaign", "CampaignTimer", "NameState"]

REFRESH_UNKNOWN_S = 0.1
REFRESH_MIN_S = 0.01
REFRESH_MAX_S = 1.0
REFRESH_NEAR_END_S = 0.05
REFRESH_DIVISOR = 20
ONE_TRY_S = 1.0  #: how long a campaign that tries once waits for a quorum's answers
ONE_TRY_MAX_S = 5.0  #: and, where a quorum answers, for a holder to become known
ONE_TRY_ROUND_TRIPS = 4.0  #: or so many round trips, where that is longer,
ONE_TRY_MAX_ROUND_TRIPS = 20.0  #: and so many
NOBODY_YET = "several want it at this moment and nobody is known to hold it yet: try again"


class AttemptTimer(NamedTuple):
    """Something of this attempt wants repeating."""

    attempt: int
    kind: str = "attempt"  #: timers are compared as tuples, so that setting one costs little


class CampaignTimer(NamedTuple):
    """The time given to a campaign may be over."""

    ticket: int
    kind: str = "campaign"


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

    campaign: Campaign
    lease: Lease
    proposer: Proposer
    eager: bool  #: whether a Prepare carries the lease before anything was refused
    retry: float  #: until the next repetition in this phase
    backoff: float  #: until the next term, after one has failed
    refresh: float = REFRESH_UNKNOWN_S  #: what the next Prepare will state
    stated: float = REFRESH_UNKNOWN_S  #: what the last one stated
    queues: bool = False  #: whether the last Prepare asked for a place in line
    fresh: bool = True  #: the first one of its campaign: while it waits for its turn, no node knows of it
    repairs_left: int = 1
    window: float = 0.0  #: the longest that it has stated: what others may go by (rule L2)
    asked_at: float | None = None  #: when this phase was asked, unless it was repeated since
    heard: dict[str, float] = attrs.field(factory=dict)
    candidate: Candidate = attrs.field(init=False)
    number: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.candidate = self.lease.candidate
        self.number = self.candidate.attempt

    @property
    def last_term(self) -> int:
        """The highest term that this candidate has used."""
        return max(self.proposer.used, *self.proposer.promises.values(), 0)

    def heard_since(self, since: float) -> int:
        """How many nodes have answered from then on."""
        return sum(at >= since for at in self.heard.values())

    def occupants(self) -> list[Occupant]:
        refusals = self.proposer.refusals.values()
        return [refusal.occupant for refusal in refusals if refusal.occupant is not None]

    def next_refresh(self, soon: float) -> float:
        """How long until the next refresh, from what is known of the holder (section 5): ``soon``, where
        nobody is with a quorum.

        The next one comes within what was stated in the last, so that the place in line does not lapse.
        """
        occupants = self.occupants()
        holders = [o for o in occupants if o.occupancy is Occupancy.HELD]
        with_one = Counter(o.candidate for o in occupants)
        if occupants and max(with_one.values()) < self.proposer.quorum:
            self.refresh = REFRESH_UNKNOWN_S
            return min(self.stated, self.refresh, soon)
        if not holders:
            self.refresh = REFRESH_UNKNOWN_S
            return min(self.stated, self.refresh)
        ttl = max(o.ttl_ms for o in holders) / 1000.0
        left = max(o.remaining_ms for o in holders) / 1000.0
        self.refresh = max(REFRESH_MIN_S, min(REFRESH_MAX_S, ttl / REFRESH_DIVISOR))
        return min(self.stated, self.refresh, max(REFRESH_NEAR_END_S, left))

    def failure_reason(self, quorum: int, now: float) -> tuple[Reason, str | None, str]:
        """The reason to give where this attempt is given up: (reason, the holder's label, detail)."""
        heard = [node for node, at in self.heard.items() if now - at < max(HEARD_OF_LATE_S, 3 * self.refresh)]
        if len(heard) < quorum:
            return Reason.NO_QUORUM, None, f"{len(heard)} of {len(self.proposer.nodes)} nodes answered"
        holder = self.proposer.holder()
        if holder is None:
            return Reason.CONTENDED, None, NOBODY_YET
        return Reason.HELD, holder.label, ""


@attrs.define(eq=False)
class NameState:
    """One name in this process: at most one live attempt; further campaigns line up behind it (rule L7)."""

    name: str
    attempt: Attempt | None = None
    campaigns: deque[Campaign] = attrs.field(factory=deque)
