"""What a node may do after a start (protocol.md section 7).

                   create: N - quorum + 1 others never saw this node
                   clean stop: another confirms the snapshot, or none answers for 1 s
       STARTING ------------------------------------------------------------------> SERVING
        |    ^                                                                        ^
        |    | joining, and a later life of this node is heard of: begin again        |
        v    |                                                                        |
       RECOVERING --------------------------------------------------------------------'
        ^          unclean stop: it has sat out; floor = its old ceiling
        |          join, auto, memory mode: it has sat out, then read the others' ceilings;
        |                             floor = the highest of them, and durable
        |          auto: it has sat out, and every other serves or has no memory either (by-clock:
        |                or was never heard of); floor = the clock, or above, and durable
        |
        `-- unclean stop: at once
            join, auto, memory mode: once N - quorum + 1 others have noted this life
            auto: once every other has

From any mode: a node that is not joining, and hears of a later life of itself, has lost its memory and stops.

The record is durable before anything that rests on it is sent: ``record`` is as it should be on disk, and
what depends on a change waits until ``saved`` is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import attrs

from paxlock.core.durable import (
    CLOCK_SET_S,
    Durability,
    Membership,
    NodeRecord,
    SeenNode,
    incarnation_max,
)
from paxlock.core.lease import TERM_MAX, quarantine
from paxlock.core.lives import Lives
from paxlock.core.messages import Greet, Greeted, NodeMode
from paxlock.core.node.acceptor import CEILING_STEP_TERMS, TERMS_PER_UNIX_SECOND
from paxlock.core.node.joining import INCARNATION_STEP, Joining
from paxlock.core.node.starts import CLOCK_EXTRA_S
from paxlock.core.quorum import blocking
from paxlock.core.value import value

__all__ = ["Recovery", "WaitsFor", "Waived"]

GREET_RETRY_FIRST_S = 0.05
GREET_RETRY_MAX_S = 1.0
MEMORY_JOIN_PATIENCE_S = 1.0
CONFIRM_PATIENCE_S = 1.0
WAITS_AFTER_S = 2.0  #: so long does a node ask before it says that it waits
WAITS_TO_BE_NOTED_S = 10.0  #: the others of a new cell may only now be started
BEGINS_ANEW_MAX = 8  #: two that join as one node would outbid each other until no incarnation is believed
NEVER = float("inf")
NO_RUN = b"\0" * 16


@value
class WaitsFor:
    """Published when a node has sat out, and waits: for these ``nodes`` (to serve, or, where it is blank, to
    answer at all), or until its clock shows a time that can be. Where they have not even ``noted`` it for a
    while it does not sit out yet. ``needed``: where the operator waives those
    that are gone for good, so many others must answer all the same; 0 elsewhere.
    """

    nodes: tuple[str, ...]
    clock_is_set: bool
    needed: int = 0
    noted: bool = True


@value
class Waived:
    """Published when a node begins by the clock without a word of these, as its operator has said."""

    nodes: tuple[str, ...]


@attrs.define(eq=False)
class Recovery:
    """The way of one node from its start to serving, and its durable record from then on.

    ``sits_out`` is in seconds; ``unconfirmed``: the memory is whole, if it is the newest. A backup that was
    restored would look the same. ``created`` is the unix second in which the cell was made: a clock that
    shows less is wrong. ``by_clock``: who has never been heard of is gone for good.
    """

    record: NodeRecord
    run: bytes
    floor: int
    others: tuple[str, ...]
    sits_out: float
    configured_max_ttl_ms: int
    drift: float
    wall_offset: float
    unconfirmed: bool = False
    as_of: float | None = None  #: when it began to sit out; None: at its start
    created: int = 0
    by_clock: bool = False
    mode: NodeMode = attrs.field(init=False, default=NodeMode.STARTING)
    saved: NodeRecord = attrs.field(init=False)
    lost_memory: str = attrs.field(init=False, default="")
    started_at: float = attrs.field(init=False, default=0.0)
    serve_at: float = attrs.field(init=False, default=NEVER)
    joining: Joining | None = attrs.field(init=False, default=None)
    waived: tuple[str, ...] = attrs.field(init=False, default=())  #: it began by the clock without these
    _greeted: set[str] = attrs.field(init=False, factory=set)
    _runs: dict[str, bytes] = attrs.field(init=False, factory=dict)
    _retry: float = attrs.field(init=False, default=GREET_RETRY_FIRST_S)
    _joined_floor: int = attrs.field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        # The shell has made this record durable before it made the machine.
        self.saved = self.record

    @property
    def needed(self) -> int:
        """How many of the other members must have answered: N - quorum + 1."""
        return min(blocking(len(self.others) + 1), len(self.others))

    def begin(self, now: float) -> None:
        """The machine is running: settle the first mode."""
        self.started_at = now
        blank = self.record.membership is Membership.BLANK
        if blank or self.record.membership is Membership.JOINING:
            extra = CLOCK_EXTRA_S if blank or self.record.durability is Durability.MEMORY else 0.0
            others = len(self.others)
            self.joining = Joining(
                *(others, self.needed, self.sits_out, extra, self.drift),
                blank=blank,
                by_clock=blank and self.by_clock,
            )
        else:
            self.serve_at = (now if self.as_of is None else self.as_of) + self.sits_out
            if self.sits_out > 0.0 and self.record.membership is Membership.MEMBER:
                self.mode = NodeMode.RECOVERING
        self.unconfirmed = self.unconfirmed and self.needed > 0
        self.advance(now)

    @property
    def remembers_all(self) -> bool:
        """Whether this node has a memory that counts: it serves, or sits out and joins nobody."""
        return self.mode is NodeMode.SERVING or (
            self.joining is None and self.saved.membership is Membership.MEMBER
        )

    @property
    def kept_serve_at(self) -> float:
        """Until when it sits out, as its state file tells; 0.0 for one that serves, or has its whole memory
        and only asks whether that is the newest. Of one that was sitting out a start takes up no names.
        """
        return 0.0 if self.mode is NodeMode.SERVING or self.sits_out == 0.0 else self.serve_at

    def waits_for(self, now: float) -> WaitsFor | None:
        """Why a node without memory does not sit out, or has done so for long enough and does not serve; None
        where it may.
        """
        joining = self.joining
        if joining is None or self.record.membership is Membership.MEMBER:
            return None
        noted = self.mode is NodeMode.RECOVERING
        since = self.serve_at + WAITS_AFTER_S if noted else self.started_at + WAITS_TO_BE_NOTED_S
        if now < since:
            return None
        told = joining.answered()
        serving = {node for node, ceiling in told.items() if ceiling is not None}
        known = joining.noters() if not noted else told.keys() if joining.blank else serving
        return WaitsFor(
            tuple(node for node in self.others if node not in known),
            self.clock_is_set(now),
            self.needed if joining.by_clock else 0,
            noted,
        )

    # The record

    @property
    def unsaved(self) -> bool:
        return self.record is not self.saved and self.record != self.saved

    @property
    def lives(self) -> Lives:
        """What every datagram of this node says from now on: its own incarnation, and those it has noted."""
        saved = self.saved
        return {saved.node_id: saved.incarnation, **{seen.node_id: seen.incarnation for seen in saved.seen}}

    def remembers(self, node: str, incarnation: int) -> bool:
        """Whether the durable record knows this incarnation of another member, or a later one."""
        return any(seen.node_id == node and seen.incarnation >= incarnation for seen in self.saved.seen)

    def _note(self, found: SeenNode) -> None:
        """Keep the newest life of another member."""
        known = {seen.node_id: seen for seen in self.record.seen}
        before = known.get(found.node_id)
        if found.node_id in self.others and (before is None or found.incarnation > before.incarnation):
            known[found.node_id] = found
            self.record = attrs.evolve(self.record, seen=tuple(known[key] for key in sorted(known)))

    def raise_ceiling(self, ceiling: int) -> None:
        """Ask for a higher durable ceiling; it counts only when saved."""
        if self.record.durability is Durability.MEMORY:
            return
        if ceiling > self.record.ceiling:
            self.record = attrs.evolve(self.record, ceiling=min(ceiling, TERM_MAX))

    def settle_max_ttl(self, now: float) -> None:
        """A lowered max_ttl becomes the one that matters once the old one has passed in this run."""
        old = self.record.max_ttl_ms
        if old > self.configured_max_ttl_ms and now >= self.max_ttl_settles_at():
            self.record = attrs.evolve(self.record, max_ttl_ms=self.configured_max_ttl_ms)

    def max_ttl_settles_at(self) -> float:
        """When an old max_ttl has passed; infinity where none was lowered."""
        if self.record.max_ttl_ms <= self.configured_max_ttl_ms:
            return NEVER
        return self.started_at + quarantine(self.record.max_ttl_ms / 1000.0, self.drift)

    # Greetings

    def greet(self, now: float) -> Iterable[tuple[str, Greet]]:
        """Whom to greet now: those that have not answered, and, while joining, those whose answer is old."""
        if self.saved.incarnation == self.record.incarnation:
            for node in self.others:
                if node not in self._greeted:
                    yield node, self._greeting()
        self._retry = min(self._retry * 2.0, GREET_RETRY_MAX_S)

    def greet_back(self, node: str, message: Greet) -> Greet | None:
        """Another node greets, and has not answered our own greeting: it has only now come up, perhaps, and
        need not wait for the next one. Once for each run of it, so that two nodes do not go on and on.
        """
        if node in self._greeted or self._runs.get(node) == message.run:
            return None
        self._runs[node] = message.run
        return self._greeting() if self.saved.incarnation == self.record.incarnation else None

    def _greeting(self) -> Greet:
        phase = self.joining.phase if self.joining is not None else 1
        return Greet(phase, self.record.incarnation, self.run)

    def next_greeting(self, now: float) -> float:
        """When to greet again, and to look whether it may serve; infinity once nobody is left to ask."""
        joins = self.joining is not None and self.record.membership is not Membership.MEMBER
        return now + self._retry if joins or len(self._greeted) < len(self.others) else NEVER

    def greeted_by(self, node: str, message: Greet, highest_term: int, now: float) -> Greeted | None:
        """Another node greets. The answer must not leave before the record that remembers it is saved.

        Without a disk there is no ceiling to tell, only the highest term used so far. None for what is not
        to be believed.
        """
        believed = 1 <= message.incarnation <= self._incarnation_max(now)
        if node not in self.others or not believed:
            return None
        if self.joining is not None:
            self.joining.meet(node)
        known = {seen.node_id: seen for seen in self.record.seen}
        before = known.get(node, SeenNode(node, 0, NO_RUN))
        self._note(SeenNode(node, message.incarnation, message.run))
        record, settles = self.record, self.max_ttl_settles_at()
        lowered = now < settles < NEVER
        memory = record.durability is Durability.MEMORY
        return Greeted(
            request=message.request,
            to_incarnation=message.incarnation,
            to_run=message.run,
            seen_incarnation=before.incarnation,
            seen_run=before.run,
            incarnation=record.incarnation,
            run=self.run,
            ceiling=highest_term if memory else self.saved.ceiling,
            mode=self.mode,
            # Without a disk nobody is more than that: whoever runs such a cell vouches for the rest.
            member=memory or record.membership not in (Membership.JOINING, Membership.BLANK),
            blank=record.membership is not Membership.MEMBER,
            max_ttl_ms=self.configured_max_ttl_ms,
            old_max_ttl_ms=record.max_ttl_ms if lowered else 0,
            old_left_ms=ceil((settles - now) * 1000.0) if lowered else 0,
            known=tuple(seen for other, seen in sorted(known.items()) if other != node),
        )

    def answered(self, node: str, message: Greeted, now: float) -> None:
        """A node answers our greeting: it tells what it knew of us, and where it stands itself.

        What answers another life of this node, or another run, is not for us (S15).
        """
        record = self.record
        if node not in self.others or (message.to_incarnation, message.to_run) != (
            record.incarnation,
            self.run,
        ):
            return
        if self._another_memory(message.seen_incarnation, message.seen_run):
            self.hears_of(node, message.seen_incarnation, now)
            return
        for seen in (SeenNode(node, message.incarnation, message.run), *message.known):
            if seen.incarnation <= self._incarnation_max(now):
                self._note(seen)
        if self.joining is None:
            self._greeted.add(node)
        else:
            self.joining.heard(node, message, now)
            told = self.joining.answered().items()
            self._greeted = {
                other for other, ceiling in told if ceiling is not None
            }  # the rest is asked again
        self.unconfirmed = False
        self.advance(now)

    def _incarnation_max(self, now: float) -> int:
        return incarnation_max(now + self.wall_offset)

    def hears_of(self, node: str, incarnation: int, now: float) -> None:
        """Another member knows of a life of this node that this disk does not know: it must join, or, while
        it does so, take a higher incarnation than that one's. Of the future nobody can know.
        """
        if incarnation > self._incarnation_max(now):
            return
        if self.joining is not None and self.mode is not NodeMode.SERVING:
            if self.joining.begun_anew == BEGINS_ANEW_MAX:
                self.lost_memory = (
                    f"node {node!r} hears of this node at incarnation {incarnation}, and again and again of "
                    "a higher one: another process was started as this node; end one of the two"
                )
                return
            # Durable before it is told to anybody; until then nobody is greeted.
            self.record = attrs.evolve(self.record, incarnation=incarnation + INCARNATION_STEP)
            self.joining.begin_anew()
            self.serve_at, self.mode = NEVER, NodeMode.STARTING
            self._greeted = set()
            return
        self.lost_memory = (
            f"node {node!r} has seen this node at incarnation {incarnation} in another run: "
            "its memory was lost or copied (a second --create, a restored backup, a cloned disk, another "
            "process that joined in its place); start it with --join"
        )

    def _another_memory(self, incarnation: int, run: bytes) -> bool:
        """Whether somebody has seen a life of this node that this disk does not know."""
        if incarnation == 0:
            return False
        if self.record.membership is Membership.CREATING:
            # "Never saw this node", but for the runs of this very disk (section 7, create).
            mine = {(seen.incarnation, seen.run) for seen in self.record.creating_runs}
            return (incarnation, run) not in mine | {(self.record.incarnation, self.run)}
        mine_now = self.record.incarnation
        return incarnation > mine_now or (incarnation == mine_now and run != self.run)

    # The way to serving

    def advance(self, now: float) -> None:
        """Take the next step that the time and the answers allow."""
        if self.mode is NodeMode.SERVING or self.lost_memory:
            return
        membership = self.record.membership
        if membership is Membership.CREATING:
            if len(self._greeted) >= self.needed:
                self.record = attrs.evolve(self.record, membership=Membership.MEMBER, creating_runs=())
        elif membership is not Membership.MEMBER:
            self._advance_joining(now)
        confirmed = not self.unconfirmed or now >= self.started_at + CONFIRM_PATIENCE_S
        if self.saved.membership is Membership.MEMBER and now >= self.serve_at and confirmed:
            self.floor = max(self.floor, self._joined_floor)
            self.mode = NodeMode.SERVING

    def remaining(self, now: float) -> float:
        """How long it sits out from now on, in seconds, as far as is known."""
        return max(0.0, self.serve_at - now) if self.serve_at < NEVER else self.sits_out

    def wakes_at(self) -> float:
        """When time alone may allow a step: sitting out is over, or nobody has answered for too long."""
        return self.started_at + CONFIRM_PATIENCE_S if self.unconfirmed else self.serve_at

    def _advance_joining(self, now: float) -> None:
        joining = self.joining
        if joining is None or not joining.noted(now):
            return
        if joining.asks(now):
            self._greeted = set()
        self.serve_at, self.mode = joining.serve_at(), NodeMode.RECOVERING
        self._join(joining, now)

    def _join(self, joining: Joining, now: float) -> None:
        floor = self._floor_by(joining, now)
        if floor is None:
            return
        ttl_ms = max(self.record.max_ttl_ms, joining.longest_ms)
        joined = attrs.evolve(self.record, membership=Membership.MEMBER, max_ttl_ms=ttl_ms)
        self._joined_floor, self.serve_at = floor, now
        if joined.durability is Durability.MEMORY:
            self.record = self.saved = joined  # there is no disk
        else:
            ceiling = min(max(joined.ceiling, floor) + CEILING_STEP_TERMS, TERM_MAX)
            self.record = attrs.evolve(joined, ceiling=ceiling)

    def _floor_by(self, joining: Joining, now: float) -> int | None:
        """The floor to begin with, or None where what was answered does not tell it yet."""
        ceilings = joining.ceilings().values()
        enough = len(ceilings) >= self.needed
        # Not whole seconds: with a short max_ttl the last life may have used terms of this very second.
        by_clock = int(max(0.0, now + self.wall_offset) * TERMS_PER_UNIX_SECOND)
        if self.record.durability is Durability.MEMORY:
            if now < self.serve_at or (not enough and now < self.serve_at + MEMORY_JOIN_PATIENCE_S):
                return None
            return max([by_clock, *ceilings]) if enough else by_clock
        if ceilings and enough:
            return max(ceilings)
        if joining.blank and joining.nobody_else_remembers(now) and self.clock_is_set(now):
            told = joining.answered()
            self.waived = tuple(node for node in self.others if node not in told)
            heard = [ceiling for ceiling in told.values() if ceiling is not None]
            return max([by_clock, *heard])
        return None

    def clock_is_set(self, now: float) -> bool:
        """Whether the clock shows a time that can be, so that a cell may begin by it."""
        return now + self.wall_offset >= max(self.created, CLOCK_SET_S)
