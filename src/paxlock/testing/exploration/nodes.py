"""A node as the explorer drives it: the shipped Replica, and a key for each situation.

Two situations with one key behave alike from then on, so that the machine is run only once for each. A key
leaves out what only tells how long something has lasted: the explorer decides when something runs out.
"""

# The key is made of what no message shows.
# ruff: noqa: SLF001

from __future__ import annotations

import enum

import attrs

from paxlock.core import recovery
from paxlock.core.acceptor import CEILING_STEP_TERMS, Record
from paxlock.core.durable import Durability, Membership, NodeRecord
from paxlock.core.messages import Accepted, Message, NodeMode, Promise, Refused, Release, Renewed
from paxlock.core.replica import Replica, ReplicaSettings
from paxlock.testing.checkers import CheckFailed
from paxlock.testing.exploration.bounds import Bounds
from paxlock.testing.exploration.cell import (
    DRIFT,
    GRACE_MS,
    MEMBERS,
    NAME,
    NODES,
    SESSIONS,
    STEP_S,
    TTL_S,
    OutOfBounds,
    Steady,
    who,
)

__all__ = ["ExploredNode", "NodeEvent"]

MEMORY_S = 60.0  #: a tombstone is kept so long; no path may outlast it


class NodeEvent(enum.Enum):
    """What happens to a node besides messages."""

    EXPIRES = "its lease runs out"
    PASSES_OVER = "its promise lapses after the grace"
    CRASHES = "crashes and starts again without its memory"
    SERVES = "has sat out and serves"


def _settings(node: str) -> ReplicaSettings:
    return ReplicaSettings(node, MEMBERS, round(TTL_S * 1000), round(DRIFT * 1e6), GRACE_MS, wall_offset=0.0)


def _first_record() -> NodeRecord:
    return NodeRecord(
        cell_id=bytes(16),
        epoch=1,
        node_id=NODES[0],
        incarnation=1,
        ceiling=CEILING_STEP_TERMS,
        durability=Durability.RECORD,
        membership=Membership.MEMBER,
        max_ttl_ms=round(TTL_S * 1000),
        clean=False,
    )


@attrs.define(eq=False)
class ExploredNode:
    """A node: the shipped Replica, and what the explorer remembers of it.

    ``armed`` is whose number, and which, set the deadline of the lease held here, or of the one that was
    forgotten in a crash, and the term of that lease. ``ended`` are the candidates whose Release was taken.
    """

    replica: Replica
    bounds: Bounds
    now: float = 0.0
    holder: tuple[int, int] | None = None
    armed: tuple[int, int, int] | None = None
    ended: frozenset[tuple[int, int]] = frozenset()

    @classmethod
    def fresh(cls, bounds: Bounds) -> ExploredNode:
        start = recovery.Start(_first_record(), 0, 0.0, None)
        node = cls(Replica(_settings(NODES[0]), start, run=bytes(16), now=0.0, rng=Steady()), bounds)
        node.replica.take_effects()
        return node

    @property
    def record(self) -> Record:
        acceptor = self.replica._acceptor
        return acceptor.records.get(NAME) or Record(NAME, acceptor.floor)

    @property
    def serving(self) -> bool:
        return self.replica.mode is NodeMode.SERVING

    @property
    def keeps(self) -> tuple[int, int] | None:
        """Whose lease keeps the others out, and its term: held, or forgotten in a crash and sat out."""
        if self.holder is not None:
            return self.holder[0], self.record.lease_term
        if self.armed is not None and not self.serving:
            return self.armed[0], self.armed[2]
        return None

    def key(self) -> tuple[object, ...]:
        record = self.record
        lease = record.lease
        stones = record.tombstones or {}
        return (
            self.serving,
            self.replica._acceptor.floor,
            record.term,
            None if record.owner is None else who(record.owner),
            self.holder,
            record.lease_term if lease is not None else 0,
            record.seq if lease is not None else 0,
            self.armed,
            tuple(sorted((SESSIONS.index(session), attempt) for session, (attempt, _) in stones.items())),
            tuple(sorted(self.ended)),
        )

    def events(self) -> list[NodeEvent]:
        if not self.serving:
            return [NodeEvent.SERVES]
        found = [NodeEvent.CRASHES] if self.bounds.crashes else []
        if self.holder is not None:
            found.append(NodeEvent.EXPIRES)
        elif self.record.owner is not None:
            found.append(NodeEvent.PASSES_OVER)
        return found

    def happens(self, event: NodeEvent) -> list[tuple[int, Message]]:
        """Let the event happen; gives what is sent, and to which session."""
        before = attrs.evolve(self.record)
        match event:
            case NodeEvent.EXPIRES:
                self.now = before.deadline
                self.replica.tick(self.now)
                if self.record.owner == before.owner and self.record.term == before.term:
                    raise CheckFailed("expiry", f"the lease ran out and term {before.term} is still open")
            case NodeEvent.PASSES_OVER:
                self.now = before.owner_since + GRACE_MS / 1000.0
                self.replica.tick(self.now)
            case NodeEvent.CRASHES:
                self._restart()
            case NodeEvent.SERVES:
                self.now = self.replica._recovery.serve_at
                self.replica.tick(self.now)
        self._check_term(before, crashed=event is NodeEvent.CRASHES)
        self.holder = None if self.record.lease is None else who(self.record.lease.candidate)
        if self.holder is None and event is not NodeEvent.CRASHES:
            self.armed = None
        return self._sent()

    def takes(self, message: Message, session: int) -> list[tuple[int, Message]]:
        """Deliver a message of a session; gives what is sent, and to which session."""
        self.now += STEP_S
        before = attrs.evolve(self.record)
        self.replica.receive(message, SESSIONS[session], self.now)
        after = self.record
        self._check_term(before)
        self._check_held(before, after, message)
        if after.lease is not None and after.owner not in (None, after.lease.candidate):
            raise CheckFailed("promised while held", f"{type(message).__name__} gave a term to another")
        if isinstance(message, Release) and self.serving:
            self.ended |= {who(message.candidate)}
        self.holder = None if after.lease is None else who(after.lease.candidate)
        owners = {self.holder, None if after.owner is None else who(after.owner)}
        if owners & self.ended:
            raise CheckFailed("ended", "a candidate whose Release was taken is held or promised again")
        return self._sent()

    def _restart(self) -> None:
        """Without memory. Its durable ceiling is the lowest that the rules allow: the highest term used."""
        replica = self.replica
        ceiling = max(replica._acceptor.highest_term, replica._acceptor.floor)
        record = attrs.evolve(_first_record(), ceiling=ceiling)
        start = recovery.begin(
            record,
            None,
            cell_id=record.cell_id,
            epoch=record.epoch,
            node_id=record.node_id,
            nodes=len(NODES),
            max_ttl_ms=record.max_ttl_ms,
            drift=DRIFT,
            durability=Durability.RECORD,
            unix_seconds=0,
        )
        self.ended = frozenset()
        self.replica = Replica(_settings(NODES[0]), start, run=bytes(16), now=self.now, rng=Steady())

    def _check_term(self, before: Record, *, crashed: bool = False) -> None:
        after = self.record
        if after.term < before.term:
            raise CheckFailed("term", f"a term went back from {before.term} to {after.term}")
        taken = after.owner is not None and after.owner != before.owner
        if not crashed and taken and after.term == before.term and before.term > 0:
            raise CheckFailed("one candidate per term", f"term {after.term} was given twice")

    def _check_held(self, before: Record, after: Record, message: Message) -> None:
        """A lease goes by its own Release only, and is armed by new numbers only."""
        old = before.lease.candidate if before.lease is not None else None
        new = after.lease.candidate if after.lease is not None else None
        released = isinstance(message, Release) and message.candidate == old
        if old is not None and new != old and not released:
            raise CheckFailed("let go", f"{type(message).__name__} ended a lease that was held")
        if new is None:
            self.armed = None if self.serving else self.armed
        elif new != old or after.deadline != before.deadline:
            number = getattr(message, "seq", 0)
            if new == old and after.deadline < before.deadline:
                raise CheckFailed("let go", "a deadline went back (S6)")
            if new == old and number <= before.seq:
                raise CheckFailed("re-armed", f"number {number} armed again, after {before.seq} (S5)")
            self.armed = (who(new)[0], number, after.lease_term)

    def _sent(self) -> list[tuple[int, Message]]:
        if self.now > MEMORY_S:
            raise AssertionError("a path outlasts the tombstones")
        if self.record.term > self.bounds.max_term:
            raise OutOfBounds
        sent: list[tuple[int, Message]] = []
        effects = self.replica.take_effects()
        if effects.persist is not None:
            self.replica.persisted(effects.persist, self.now)
        for peer, message in effects.sends:
            if isinstance(peer, bytes):
                normal = self._normal(message, peer)
                if normal is not None:
                    sent.append((SESSIONS.index(peer), normal))
        return sent

    def _normal(self, message: Message, session: bytes) -> Message | None:
        """Without what a session only reports, or needs against repetitions of other questions."""
        match message:
            case Promise():
                return attrs.evolve(message, lease_term=0)
            case Accepted() | Renewed():
                return attrs.evolve(message, request=0)
            case Refused() if not self.bounds.refusals:
                return None
            case Refused(occupant=occupant):
                own = occupant is not None and occupant.candidate.session == session
                if occupant is not None and own:
                    occupant = attrs.evolve(occupant, age_ms=0, remaining_ms=0)
                return attrs.evolve(message, occupant=occupant if own else None)
            case _:
                return None
