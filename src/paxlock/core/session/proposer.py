"""One candidate's rounds (protocol.md section 3).

                        .---------------- accepted by a quorum in one term ---------------.
                        |                                                                 v
    BACKING_OFF --> PREPARING --promised or accepted by a quorum--> ACCEPTING --same--> CHOSEN
         ^              |  waits in line meanwhile                      |
         '--------------'--------- failed in this term -----------------'

The proposer counts votes and says what follows; sending, clocks and numbers are its owner's. Voters are
counted by node id, not by message (rule S10).
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from typing import NamedTuple

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.lives import UNKNOWN, Lives, outlived
from paxlock.core.messages import RefusalReason, Refused
from paxlock.core.quorum import blocking, majority
from paxlock.core.session.pacing import LONG_AGO, NEVER
from paxlock.core.session.refusals import Refusals

__all__ = ["Phase", "Proposer", "Taken"]


# Refusals by which a node says that it neither holds this candidate's lease nor is promised to it.
_ELSEWHERE = (RefusalReason.HELD, RefusalReason.PROMISED, RefusalReason.QUEUED, RefusalReason.ENDED)


class Phase(enum.Enum):
    """Where a candidate is on its way to a lease."""

    BACKING_OFF = enum.auto()
    PREPARING = enum.auto()
    ACCEPTING = enum.auto()
    CHOSEN = enum.auto()


class Taken(NamedTuple):
    """In which term a node holds the lease, when the number by which it took it was first sent, and what the
    node knew of lives when it said so (rule S15).
    """

    term: int
    sent_at: float
    lives: Lives = UNKNOWN


@attrs.define(eq=False)
class Proposer:
    """The votes of one candidate in its present term.

    ``promises`` are the terms in which nodes are with this candidate, whether promised or accepted;
    ``taken`` the acceptances among them, also of other terms than the present one.
    """

    candidate: Candidate
    nodes: tuple[str, ...]
    phase: Phase = Phase.BACKING_OFF
    request: int = 0
    at_least: int = 0
    term: int = 0
    used: int = 0  #: the highest term in which this candidate has sent an Accept, or was accepted
    highest: int = 0  #: the highest term seen for this name
    started: float = 0.0
    asked_at: float = 0.0  #: when the request of this phase was first sent
    promises: dict[str, int] = attrs.field(factory=dict)
    taken: dict[str, Taken] = attrs.field(factory=dict)
    took_at: float = LONG_AGO  #: when the last acceptance was heard
    leased: set[str] = attrs.field(factory=set)  #: nodes that hold the lease by an answer that was lost
    occupies: set[str] = attrs.field(factory=set)  #: nodes where it may stand in somebody's way
    sent_lease: set[str] = attrs.field(factory=set)  #: nodes that may have accepted, and have not answered
    quorum: int = attrs.field(init=False)
    refusals: Refusals = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.quorum = majority(len(self.nodes))
        self.refusals = Refusals(self.candidate, self.quorum)

    def prepare(self, at_least: int, request: int, now: float) -> None:
        """Begin phase 1. ``at_least`` and the request number stay as they are in its repetitions."""
        self.phase = Phase.PREPARING
        self.at_least = at_least
        self.request = request
        self.started = self.asked_at = now
        self.promises.clear()
        self.taken.clear()
        self.leased.clear()
        self.refusals.clear()

    def promised(self, node: str, request: int, term: int, now: float = 0.0, *, leased: bool = False) -> bool:
        """Count a promise; True when a quorum's promises have just come together. ``leased`` where the node
        holds the lease.
        """
        if node not in self.nodes:
            return False
        self.highest = max(self.highest, term)
        if self.phase is not Phase.PREPARING or request not in (0, self.request) or term < self.at_least:
            return False
        self.promises[node] = term
        self.occupies.add(node)
        if not leased:
            self.sent_lease.discard(node)
        if leased and node not in self.taken and node not in self.leased:
            self.leased.add(node)
            self.took_at = now
        refusal = self.refusals.pop(node, None)
        if refusal is not None and self.refusals.drop_departed(refusal):
            self.started = now  # the other nodes have the patience of a new phase to say no again
        return self.may_accept

    @property
    def may_accept(self) -> bool:
        """Whether a quorum is with this candidate, in whatever terms."""
        return self.phase is Phase.PREPARING and len(self.promises) >= self.quorum

    def accept(self, request: int, now: float, *, since: float = NEVER) -> None:
        """Begin phase 2 in the highest term among the promises. Nodes that took the lease in that very
        term, by a number sent at ``since`` or later, need not be asked again.
        """
        self.phase = Phase.ACCEPTING
        self.term = max(self.promises.values())
        stays = [n for n, took in self.taken.items() if took.term == self.term and took.sent_at >= since]
        self.taken = {node: self.taken[node] for node in stays}
        self.used = max(self.used, self.term)
        self.occupies.update(self.nodes)
        self.request = request
        self.started = self.asked_at = now
        self.refusals.clear()

    def took(
        self,
        node: str,
        term: int,
        sent_at: float,
        lives: Lives = UNKNOWN,
        *,
        now: float = 0.0,
        since: float = LONG_AGO,
    ) -> bool:
        """Count an acceptance; True when the lease has just been chosen: by a quorum in ONE term (rule S3),
        of nodes whose answers count together (rule S15).

        In phase 1 a number sent before ``since`` is too old to make the lease valid: it is worth no more
        than a promise.
        """
        # Once an Accept is on its way, a lower term must not become the token: learners may see the higher.
        lowest = self.at_least if self.phase is Phase.PREPARING else self.term
        if node not in self.nodes or not term or term < lowest:
            return False
        before = self.taken.get(node)
        if before is not None and before.term > term:
            return False
        if before is not None and before.term == term:
            sent_at = max(sent_at, before.sent_at)
        self.taken[node] = Taken(term, sent_at, lives)
        self.took_at = now
        refusal = self.refusals.pop(node, None)
        if self.phase is Phase.CHOSEN:
            return False
        self.used = max(self.used, term)
        self.highest = max(self.highest, term)
        self.occupies.add(node)
        if self.phase is Phase.PREPARING:
            self.promises[node] = term
            if refusal is not None and self.refusals.drop_departed(refusal):
                self.started = now
        else:
            since = LONG_AGO
        together = 0
        same = True
        for taken in self.taken.values():
            together += taken.term == term and taken.sent_at >= since
            same = same and taken.lives is lives
        if together < self.quorum or not (same or self._together(term, since) >= self.quorum):
            return False
        self.term = term
        self.phase = Phase.CHOSEN
        return True

    def sent_since(self, node: str, sent_at: float) -> bool:
        """Whether a number sent then is news of this node: it has not answered one that was sent later."""
        before = self.taken.get(node)
        return before is None or before.sent_at < sent_at

    def _together(self, term: int, since: float) -> int:
        """How many hold the lease in this term, without those that another has outlived (rule S15)."""
        gone = self.outlived()
        return sum(
            taken.term == term and taken.sent_at >= since and node not in gone
            for node, taken in self.taken.items()
        )

    def outlived(self) -> Collection[str]:
        """Nodes that took the lease in an earlier life than another names: their word is void (rule S15)."""
        return outlived({node: taken.lives for node, taken in self.taken.items()})

    def refused(self, node: str, message: Refused, now: float) -> None:
        """Note a no of the present phase."""
        if node not in self.nodes:
            return
        self.highest = max(self.highest, message.term)
        if message.request != self.request:
            return
        took = self.taken.get(node)
        present = message.term + 1 if self.phase is Phase.PREPARING else self.term
        if took is not None and took.term >= present:
            return  # late: it has accepted since
        self.promises.pop(node, None)
        self.taken.pop(node, None)
        self.leased.discard(node)
        if message.reason in _ELSEWHERE:
            self.occupies.discard(node)
            self.sent_lease.discard(node)
        self.refusals.note(node, message, now)

    def back_off(self) -> None:
        """Give up this term; ``prepare`` begins the next one."""
        self.phase = Phase.BACKING_OFF

    def occupy_unanswered(self, spared: Collection[str] = ()) -> None:
        """The nodes that have not answered may have taken what they were sent; the ``spared`` were sent
        nothing.
        """
        self.occupies.update(node for node in self.unanswered() if node not in spared)

    def stay(self, term: int) -> None:
        """A holder gives up the attempt at a higher term and stays in the one that was chosen (rule L3)."""
        self.phase = Phase.CHOSEN
        self.term = term

    def waits_for(self, node: str) -> bool:
        """Whether in phase 1 this node has said neither yes nor no."""
        return self.phase is Phase.PREPARING and node not in self.promises and node not in self.refusals

    def unanswered(self) -> list[str]:
        """The nodes that have said neither yes nor no in this phase."""
        if self.phase is Phase.PREPARING:
            return [node for node in self.nodes if node not in self.promises and node not in self.refusals]
        return [node for node in self.lacking() if node not in self.refusals]

    def lacking(self) -> list[str]:
        """The nodes that have not taken the lease in this term, also those that have said no."""
        gone = self.outlived()
        return [node for node in self.nodes if node in gone or not self._has(node)]

    def unheard_or_leased(self, now: float) -> list[str]:
        """The nodes that may yet say no, or that hold the lease, or whose no has run out."""
        held = self.leased.union(self.taken)
        left_alone = self.refusals.standing(now) | (self.promises.keys() - held)
        return [node for node in self.nodes if node not in left_alone]

    def _has(self, node: str) -> bool:
        took = self.taken.get(node)
        return took is not None and took.term >= self.term

    def failed(self, silent: frozenset[str]) -> bool:
        """Refused at more than N - quorum nodes; nodes given up on count, and name nobody (section 5), and so
        do those that took the lease in a higher term meanwhile, since this one is over for them, or in a life
        that is over.
        """
        no = set(self.refusals) | {node for node in self.unanswered() if node in silent}
        if self.phase is Phase.ACCEPTING:
            no.update(node for node, took in self.taken.items() if took.term > self.term)
            no.update(self.outlived())
        return len(no) >= blocking(len(self.nodes))

    def promise_lapsed(self, node: str, message: Refused) -> bool:
        """Whether an Accept came too late for this candidate's own promise there, and nobody is in the way.

        To wait until the silence of other nodes counts would block the name for another ttl (rule L2).
        """
        stale = message.reason is RefusalReason.STALE and message.occupant is None
        return stale and self.phase is Phase.ACCEPTING and node in self.refusals

    def lease_targets(self, now: float, since: float) -> Collection[str]:
        """The nodes that get the lease along with a repeated Prepare: all, but while one candidate holds, by
        the word of a quorum or by its own heard ``since`` then, only those that hold its lease, or may do so
        by now. A node that lacks it must be free for it to come back (L3).
        """
        held = self.refusals.where_held(now, since)
        if not held:
            return self.nodes
        outdated = self.refusals.before_they_named(held)
        return [node for node in self.nodes if node in held or node in outdated]

    def holds_useless_minority(self) -> bool:
        """Whether a minority was taken while another candidate holds at a quorum, by what was heard since: it
        is alive and wants that minority back (rule L3).
        """
        if self.phase is not Phase.PREPARING or not (self.taken or self.leased):
            return False
        return self.refusals.lively_holder_since(self.took_at)

    def must_withdraw(self, *, age: float, window: float, now: float, patience: float | None = None) -> bool:
        """Whether votes are split and this candidate must give way: see `Refusals.must_withdraw`. Asked of
        one that has failed in its term; with a ``patience``, of one that tries once.

        A candidate that occupies nothing need not withdraw: its Release would free nothing, and a promise
        that was lost on its way lapses with its window.
        """
        if not self.occupies:
            return False
        preparing = self.phase is Phase.PREPARING
        patient_until = None if patience is None else self.asked_at + patience
        return self.refusals.must_withdraw(
            age=age,
            window=window,
            now=now,
            preparing=preparing,
            patient_until=patient_until,
            took=bool(self.taken or self.leased or self.sent_lease - self.refusals.keys()),
        )
