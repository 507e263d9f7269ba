"""The simulated machines: each with a clock of its own, a core, and for nodes a disk.

A machine that is paused processes nothing; what arrives meanwhile is its backlog, or is lost where the whole
machine sleeps. A crash takes all memory but what the disk holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from random import Random
from typing import NamedTuple

import attrs

from paxlock.core.durable import Kept, NodeRecord, Snapshot
from paxlock.core.lease import Candidate
from paxlock.core.messages import View
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.node.replica import Replica
from paxlock.core.session.session import Session
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.header import SessionSender
from paxlock.wire.transport import Address

__all__ = [
    "ClientMachine",
    "Datagram",
    "Held",
    "NodeMachine",
    "Sealed",
    "SimulatedClock",
    "SimulatedDisk",
    "SimulatedMachine",
]

ROUNDING_S = 1e-9


@attrs.frozen
class SimulatedClock:
    """One machine's clock: off by ``offset`` seconds, and running at ``rate``, within the drift."""

    offset: float
    rate: float

    def local(self, true: float) -> float:
        return self.offset + self.rate * true

    def true(self, local: float) -> float:
        return (local - self.offset) / self.rate


class Sealed(NamedTuple):
    """When a datagram was sealed, and by a node for a session: by which generation of keys the node had heard
    that session last, and as whom; and whether it has that key no more, and so answers by its first one.
    """

    at: float
    heard: tuple[int, SessionSender] | None = None
    gone: bool = False


class Datagram(NamedTuple):
    """What arrives at a machine. ``damaged``: not as it was sent. ``sealed`` is what the keys of its sender
    were like, where they change.
    """

    data: bytes
    source: Address
    sender: str
    damaged: bool
    sealed: Sealed | None = None


@attrs.define(eq=False)
class SimulatedMachine:
    """What nodes and clients have in common. ``label`` is unique in a run: a node's id, or "client 3"."""

    label: str
    address: Address
    clock: SimulatedClock
    paused_until: float = -inf
    asleep: bool = False  #: paused with its whole machine: nothing is received
    calm_since: float = -inf  #: since when, in true time, nothing has stopped it
    wakes_at: float = inf
    idle_ticks: int = 0
    backlog: list[Datagram] = attrs.field(factory=list)
    _read: float = -inf

    def now(self, true: float) -> float:
        """Read the clock; it never runs backwards, rounding or not."""
        clock = self.clock
        now = clock.offset + clock.rate * true
        if now > self._read:
            self._read = now
        return self._read

    def now_for(self, due: float, true: float) -> float:
        """Read the clock at a timer's moment: rounding must not put it just before the timer."""
        now = self.now(true)
        if now < due <= now + ROUNDING_S:
            self._read = now = due
        return now


@attrs.define(eq=False)
class SimulatedDisk:
    """What a node finds again: the last completed writes."""

    record: NodeRecord | None = None
    snapshot: Snapshot | None = None
    kept: list[Kept] = attrs.field(
        factory=list
    )  #: the state file; a crash of the machine leaves a synced one
    rebooted: bool = False  #: the machine has crashed since it was written
    kept_by: int = 0  #: the incarnation of the run whose file it is
    slow_until: float = -inf  #: in true time
    slow_by: float = 0.0
    fails_for: float | None = None  #: the next write fails, and the node is down for so long


class Held(NamedTuple):
    """A lease that a node holds: until when by its own clock, in which term, and who re-armed it last by
    which number.
    """

    candidate: Candidate
    deadline: float
    term: int
    sender: bytes
    seq: int


@attrs.define(eq=False)
class NodeMachine(SimulatedMachine):
    """A node. ``core`` is None while it is down; ``life`` counts its starts and stops."""

    rng: Random = attrs.field(kw_only=True)  #: of its disk
    core: Replica | None = None
    endpoint: Endpoint | None = None
    disk: SimulatedDisk = attrs.field(factory=SimulatedDisk)
    life: int = 0
    writing: NodeRecord | None = None
    written: list[NodeRecord] = attrs.field(factory=list)  #: completed while the machine was paused
    lost_disk: bool = False
    asks_from: float = -inf  #: while it joins: when, in true time, it has sat out and may ask for ceilings
    ended: set[tuple[str, Candidate]] = attrs.field(factory=set)
    barred: set[tuple[str, Candidate]] = attrs.field(factory=set)  #: their leases, by a handle
    held: dict[str, Held] = attrs.field(factory=dict)
    held_when_killed: dict[str, Held] = attrs.field(factory=dict)
    promised: dict[str, tuple[Candidate, int, float]] = attrs.field(factory=dict)

    def forget(self) -> None:
        """What the checkers have seen of the last life is history."""
        self.held.clear()
        self.promised.clear()

    @property
    def node_id(self) -> str:
        """Of the node whose life this is: another one may live under the same id (a twin)."""
        return self.label.partition(" ")[0]

    @property
    def acceptor(self) -> Acceptor:
        """The acceptor of a node that is up: the checkers look at its records, which no message shows."""
        assert self.core is not None
        return self.core._acceptor  # noqa: SLF001

    def view(self, name: str, now: float) -> View:
        """What the node would tell of the name, on its own clock."""
        assert self.core is not None
        return self.core._learner.view(name, now)  # noqa: SLF001


@attrs.define(eq=False)
class ClientMachine(SimulatedMachine):
    """A client. ``core`` is None once it has vanished; whoever takes its ``slot`` has its address."""

    session: bytes = attrs.field(kw_only=True)
    slot: int = attrs.field(kw_only=True)
    life: int = attrs.field(kw_only=True)
    rng: Random = attrs.field(kw_only=True)  #: of what its program wants
    order: Random = attrs.field(
        kw_only=True
    )  #: of the steps of its turns, and of what its program does at once
    endpoint: Endpoint = attrs.field(kw_only=True)
    core: Session | None = None
    slept: bool = False  #: the machine has slept, and the client has not noticed it yet
    in_turn: bool = False  #: what its program does now leaves with this turn
    stall: float = 0.0  #: for how long it is to stand still in the midst of its next turn
    rest: Iterator[float] | None = None  #: of a turn in the midst of which it stands still
