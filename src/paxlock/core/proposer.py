"""One candidate's rounds (protocol.md section 3).

    BACKING_OFF --> PREPARING --promises of a quorum--> ACCEPTING --accepted by a quorum--> CHOSEN
         ^              |  waits in line meanwhile          |
         '--------------'--------- failed in this term -----'

The proposer counts votes and says what follows; sending, clocks and numbers are its owner's. Voters are
counted by node id, not by message (rule S10).
"""

from __future__ import annotations

import enum

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.messages import Occupant, RefusalReason, Refused
from paxlock.core.quorum import Tally, Verdict, blocking, majority

__all__ = ["Phase", "Proposer", "Refusal"]


# Refusals by which a node says that it neither holds this candidate's lease nor is promised to it.
_ELSEWHERE = (RefusalReason.HELD, RefusalReason.PROMISED, RefusalReason.QUEUED, RefusalReason.ENDED)


class Phase(enum.Enum):
    BACKING_OFF = enum.auto()
    PREPARING = enum.auto()
    ACCEPTING = enum.auto()
    CHOSEN = enum.auto()


@attrs.frozen
class Refusal:
    """A node's no, and when it was heard."""

    reason: RefusalReason
    occupant: Occupant | None
    heard_at: float


@attrs.define(eq=False)
class Proposer:
    """The votes of one candidate in its present term."""

    candidate: Candidate
    nodes: tuple[str, ...]
    phase: Phase = Phase.BACKING_OFF
    request: int = 0
    at_least: int = 0
    term: int = 0
    used: int = 0  #: the highest term in which this candidate has sent an Accept
    highest: int = 0  #: the highest term seen for this name
    started: float = 0.0
    promises: dict[str, int] = attrs.field(factory=dict)
    refusals: dict[str, Refusal] = attrs.field(factory=dict)
    occupies: set[str] = attrs.field(factory=set)  #: nodes where it may stand in somebody's way
    accepted: Tally = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.accepted = Tally(frozenset(self.nodes))

    def prepare(self, at_least: int, request: int, now: float) -> None:
        """Begin phase 1. ``at_least`` and the request number stay as they are in its repetitions."""
        self.phase = Phase.PREPARING
        self.at_least = at_least
        self.request = request
        self.started = now
        self.promises.clear()
        self.refusals.clear()

    def promised(self, node: str, request: int, term: int) -> bool:
        """Count a promise; True when a quorum's promises have just come together."""
        if node not in self.nodes:
            return False
        self.highest = max(self.highest, term)
        if self.phase is not Phase.PREPARING or request not in (0, self.request) or term < self.at_least:
            return False
        self.promises[node] = term
        self.occupies.add(node)
        self.refusals.pop(node, None)
        return len(self.promises) >= majority(len(self.nodes))

    def accept(self, request: int, now: float) -> None:
        """Begin phase 2 in the highest term among the promises."""
        self.phase = Phase.ACCEPTING
        self.term = max(self.promises.values())
        self.used = max(self.used, self.term)
        self.occupies.update(self.nodes)
        self.request = request
        self.started = now
        self.refusals.clear()
        self.accepted = Tally(frozenset(self.nodes))

    @property
    def counts(self) -> bool:
        """Whether acceptances of ``term`` may still choose the lease; they may come while backing off."""
        return self.phase in (Phase.ACCEPTING, Phase.BACKING_OFF)

    def took(self, node: str, term: int) -> bool:
        """Count an acceptance; True when the lease has just been chosen."""
        if not term or term != self.term or not (self.counts or self.phase is Phase.CHOSEN):
            return False
        self.accepted.record(node, True)
        self.refusals.pop(node, None)
        if self.counts and self.accepted.verdict() is Verdict.WON:
            self.phase = Phase.CHOSEN
            return True
        return False

    def refused(self, node: str, message: Refused, now: float) -> None:
        """Note a no of the present phase."""
        if node not in self.nodes:
            return
        self.highest = max(self.highest, message.term)
        if message.request != self.request:
            return
        if self.phase is not Phase.PREPARING and node in self.accepted.yes:
            return  # late: it has accepted since
        self.promises.pop(node, None)
        if message.reason in _ELSEWHERE:
            self.occupies.discard(node)
        self.refusals[node] = Refusal(message.reason, message.occupant, now)

    def stay(self, term: int) -> None:
        """A holder gives up the attempt at a higher term and stays in the one that was chosen (rule L3)."""
        self.phase = Phase.CHOSEN
        self.term = term

    def unanswered(self) -> list[str]:
        """The nodes that have said neither yes nor no in this phase."""
        yes = self.promises.keys() if self.phase is Phase.PREPARING else self.accepted.yes
        return [node for node in self.nodes if node not in yes and node not in self.refusals]

    def failed(self, silent: frozenset[str]) -> bool:
        """Refused at more than N - quorum nodes; nodes given up on count, and name nobody (section 5)."""
        no = set(self.refusals) | {node for node in self.unanswered() if node in silent}
        return len(no) >= blocking(len(self.nodes))

    def must_withdraw(self, *, age: float, grace: float, now: float) -> bool:
        """Whether votes are split and an older candidate is among the occupants (rule L2).

        Asked of a candidate that has failed in its term. One that occupies nothing need not withdraw: its
        Release would free nothing, and a promise that was lost on its way lapses with the grace.
        """
        occupants: dict[Candidate, list[float]] = {}
        for refusal in self.refusals.values():
            occupant = refusal.occupant
            # Its own earlier attempts are on their way out: no occupants.
            if occupant is not None and occupant.candidate.session != self.candidate.session:
                age_now = occupant.age_ms / 1000.0 + (now - refusal.heard_at)
                occupants.setdefault(occupant.candidate, []).append(age_now)
        if any(len(ages) >= majority(len(self.nodes)) for ages in occupants.values()):
            return False
        if not self.occupies:
            return False
        return any(
            other_age > age + grace or (other_age >= age - grace and candidate < self.candidate)
            for candidate, ages in occupants.items()
            for other_age in ages
        )
