"""A node's machine: acceptor, learner and recovery behind one surface (protocol.md sections 2, 6 and 7).

Bad or forbidden input is counted and dropped. Every event first lets run out what has run out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, Kept, NodeRecord, Snapshot
from paxlock.core.effects import NOTHING, Effects
from paxlock.core.journal import Recall
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import (
    Accept,
    Commit,
    Forbidden,
    Greet,
    Greeted,
    Hello,
    Inquire,
    List,
    Message,
    NodeMode,
    Peer,
    Poll,
    Prepare,
    Recovering,
    Release,
    Released,
    Renew,
    Renewed,
    Seen,
    Unwatch,
    View,
    Waiting,
    Watch,
    Welcome,
)
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.node.handles import Handles
from paxlock.core.node.keeping import Keeping
from paxlock.core.node.learner import Learner
from paxlock.core.node.listing import Listing
from paxlock.core.node.notices import HandleRefused, LeftBehind, PeerAnswered, left_in
from paxlock.core.node.parts import parts
from paxlock.core.node.quotas import Quotas
from paxlock.core.node.recovery import Recovery, WaitsFor, Waived
from paxlock.core.node.seeing import Seeing
from paxlock.core.node.starts import Start
from paxlock.core.node.steering import Steering
from paxlock.core.node.subscriptions import first_version
from paxlock.core.reasons import Barrier
from paxlock.core.rights import ROOT, Revoked, Rights, forbidden, refusal
from paxlock.core.seeing import Count, Ping
from paxlock.core.statistics import ReplicaStatistics, counted
from paxlock.core.steering import Publish, Revoke
from paxlock.core.timers import Timers
from paxlock.core.value import value

__all__ = ["MemoryLost", "ModeChanged", "Replica", "ReplicaSettings", "Unconfirmed"]

COMPLAINT_S = 60.0
_ALWAYS_ANSWERED = frozenset({Hello, Ping, Count})  #: of sessions, whether this node serves or not


@value
class ReplicaSettings:
    """What a replica is told at its start. ``wall_offset`` is unix time minus the machine's clock then: used
    only against terms far ahead, for the expiry of keys, and where a cell begins by the clock, never for a
    lease. ``created`` is the unix second in which the cell was made, 0 where nobody knows.
    """

    node_id: str
    configuration: Configuration
    wall_offset: float
    created: int = 0
    revoked: Revoked = Revoked()

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(node for node in self.configuration.nodes if node != self.node_id)


@value
class ModeChanged:
    """Published when the node may do more than before, or less; ``sits_out`` in seconds, 0 where it serves;
    ``joins`` where it has no memory of its own.
    """

    mode: NodeMode
    sits_out: float
    joins: bool


@value
class Unconfirmed:
    """Published when a node serves from its snapshot though no other has said that it is the newest."""


@value
class MemoryLost:
    """Published when another member knows a later life of this node: it must stop and join."""

    explanation: str


class Replica:
    """One node of the cell. Driven through ``receive``, ``tick``, ``deadline`` and ``take_effects``."""

    def __init__(
        self, settings: ReplicaSettings, start: Start, *, run: bytes, now: float, rng: Random
    ) -> None:
        configuration = settings.configuration
        self.settings = settings
        self.revoked = settings.revoked  #: which keys of clients are not taken now
        self.counters: Counter[str] = Counter()
        self.seeing = Seeing(self._own_counters, now)
        self._timers = Timers()
        self._acceptor = Acceptor(
            floor=start.floor,
            ceiling=start.record.ceiling,
            max_ttl=configuration.max_ttl,
            grace=configuration.grace,
            timers=self._timers,
            wall_offset=settings.wall_offset,
        )
        self._learner = Learner(
            node_id=settings.node_id,
            others=settings.others,
            acceptor=self._acceptor,
            timers=self._timers,
            rng=rng,
            first_version=first_version(start.record, now + settings.wall_offset),
        )
        subscriptions = self._learner.subscriptions
        self._handles = Handles(self._acceptor, self._learner)
        self._quotas = Quotas(
            self._acceptor.records, subscriptions, self.counters, self._handles, configuration.max_ttl, now
        )
        self._keeping = Keeping(none=start.record.durability is Durability.MEMORY)
        self._listing = Listing(self._acceptor, self._timers, self._answer)
        self._steering = Steering(self._acceptor, self._learner.view)
        self._recovery = Recovery(
            record=start.record,
            run=run,
            floor=start.floor,
            others=settings.others,
            sits_out=start.sits_out,
            as_of=start.as_of,
            configured_max_ttl_ms=configuration.max_ttl_ms,
            drift=configuration.drift,
            wall_offset=settings.wall_offset,
            unconfirmed=start.snapshot is not None,
            created=settings.created,
            by_clock=start.by_clock,
        )
        self._sends: list[tuple[Peer, Message]] = []
        self._pushes: list[tuple[Peer, Message]] = []
        self._after_save: list[tuple[int, str, Greeted]] = []
        self._told_lost = False
        self._published: list[object] = []
        self._writing: NodeRecord | None = None
        self._shown_mode: NodeMode | None = None
        self._shown_waiting: WaitsFor | None = None
        self._told_lives_of: NodeRecord | None = None
        self._complaint, self._complains_until = "", 0.0
        self._begin(start, now)

    def _begin(self, start: Start, now: float) -> None:
        self._acceptor.journal.whole_from = now
        if start.snapshot is not None:
            for saved in start.snapshot.names:
                self._learner.restore(saved)
                self._acceptor.restore(saved, now, now if start.as_of is None else start.as_of)
        self._recovery.begin(now)
        self._timers.add(now, self._greet)
        self._settle(now)

    # The seam

    @property
    def mode(self) -> NodeMode:
        return self._recovery.mode

    def receive(
        self, message: Message, peer: Peer, now: float, lives: Lives = UNKNOWN, rights: Rights = ROOT
    ) -> None:
        """Take one message whose seal and address have been checked, with what a node says of ``lives``, or
        with the ``rights`` of a session's key."""
        if self._timers.pending(now):
            self._timers.run(now)
        self.counters[type(message).__name__] += 1
        if isinstance(peer, str):
            mine = lives.get(self.settings.node_id, 0)
            if mine > self._recovery.record.incarnation:
                self._recovery.hears_of(peer, mine, now)
            else:
                self._from_node(message, peer, now, lives)
        else:
            barrier: Barrier | None = None
            if rights is not ROOT:  # which may do everything, and has no quota
                barrier = refusal(message, peer, rights, self.revoked, now + self.settings.wall_offset)
                if barrier is None:
                    admitted = self._quotas.admit(message, peer, rights, now)
                    if isinstance(admitted, Barrier):
                        barrier = admitted
                    else:
                        message = admitted
            if barrier is None:
                self._from_session(message, peer, now, rights.key)
            else:
                self.counters["not_allowed"] += 1
                self._answer(peer, forbidden(message, barrier))
        self._settle(now)

    def tick(self, now: float) -> None:
        """Do what has come due."""
        self._timers.run(now)
        self._settle(now)

    def deadline(self) -> float:
        """When ``tick`` is wanted, on the clock of ``now``; infinity if never."""
        return self._timers.deadline()

    def take_effects(self) -> Effects:
        """What is to be done now. After a write of ``persist``, tell ``persisted``."""
        persist = None
        if self._writing is None and self._recovery.unsaved:
            persist = self._writing = self._recovery.record
        lives = self._newer_lives()
        keep = self._keeping.take(self._acceptor, self._recovery)
        untold = self._sends or self._pushes or self._published
        if not untold and keep is None and persist is None and lives is None:
            return NOTHING
        # Those who wait first: whoever has just let go of a name is in no hurry.
        effects = Effects(persist, (*self._pushes, *self._sends), tuple(self._published), lives, keep)
        self._pushes.clear()
        self._sends.clear()
        self._published.clear()
        return effects

    def kept_whole(self) -> Kept:
        """All that the state file must know, as of the last ``take_effects``: to begin it anew."""
        return self._keeping.whole(self._acceptor, self._recovery.kept_serve_at)

    def _newer_lives(self) -> Lives | None:
        """What datagrams are to say of lives from now on, where that has changed (rule S15)."""
        saved = self._recovery.saved
        if saved is self._told_lives_of:
            return None
        self._told_lives_of = saved
        lives = self._recovery.lives
        if lives == self._learner.lives:
            return None
        self._learner.lives = lives
        return lives

    def persisted(self, record: NodeRecord, now: float) -> None:
        """This record is durable now: what waited for it goes on."""
        assert record == self._writing
        self._writing = None
        self._recovery.saved = record
        self._timers.run(now)
        if record.ceiling > self._acceptor.ceiling:
            self._acceptor.raised(record.ceiling, now)
        waiting, self._after_save = self._after_save, []
        for incarnation, node, greeted in waiting:
            if self._recovery.remembers(node, incarnation):
                self._sends.append((node, greeted))
            else:
                self._after_save.append((incarnation, node, greeted))
        self._recovery.advance(now)
        self._settle(now)

    def stop(self, now: float) -> Snapshot | None:
        """A clean stop: the snapshot to be written before the record is marked clean, or None where this
        node has not been serving (then its next start is as after an unclean stop).

        Nothing may be answered after this.
        """
        self._timers.run(now)
        if self.mode is not NodeMode.SERVING:
            return None
        names = tuple(self._learner.save(saved) for saved in self._acceptor.snapshot(now))
        return Snapshot(self._recovery.record.incarnation, self._acceptor.floor, names)

    def left(self) -> LeftBehind:
        """What there is at a stop: leases that are held, and candidates that wait for one."""
        return left_in(self._acceptor.records.values())

    def complain(self, complaint: str, now: float) -> None:
        """Somebody was heard that this node cannot work with: for a while who asks is told."""
        self._complaint, self._complains_until = complaint, now + COMPLAINT_S

    @property
    def record(self) -> NodeRecord:
        """The record as it should be on disk; the durable one is at most as high."""
        return self._recovery.record

    # What comes in

    def _from_session(self, message: Message, session: bytes, now: float, key: str = "") -> None:
        if self._recovery.mode is not NodeMode.SERVING or type(message) in _ALWAYS_ANSWERED:
            self._answer_without_serving(message, session, now)
            return
        acceptor, learner = self._acceptor, self._learner
        match message:
            case Prepare():
                if self._own(message.candidate.session, session):
                    self._answer(session, acceptor.prepare(message, now))
            case Accept():
                if self._own(message.lease.candidate.session, session) and self._may_be(message):
                    self._answer(session, acceptor.accept(message, now))
            case Renew():
                renewed = self._handles.renew(message, session, now)
                for part in parts(renewed) if isinstance(renewed, Renewed) else (renewed,):
                    self._answer(session, part)
            case Release():
                if isinstance(released := self._handles.release(message, session, now), Released):
                    self._keeping.unkept.add(message.name)  # it may be all that is known of it
                self._answer(session, released)
            case Commit():
                if self._own(message.lease.candidate.session, session) and self._may_be(message):
                    acceptor.heard(message.lease.candidate)
                    learner.told(message, now)
            case Revoke():
                self._answer(session, self._steering.revoke(message, now))
            case Publish():
                if self._own(message.candidate.session, session):
                    self._answer(session, self._steering.publish(message, now))
            case Poll():
                self._answer(session, learner.view(message.name, now, message.request))
            case Waiting():
                self._answer(session, acceptor.waiters(message, now))
            case Recall():
                self._answer(session, acceptor.journal.page(message, acceptor.records.get(message.name), now))
            case List():
                self._answer(session, self._listing.ask(message, session, now))
            case Watch():
                self._answer(session, learner.subscriptions.watch(message, session, now, key))
            case Unwatch():
                learner.subscriptions.unwatch(message, session)
            case Seen():
                learner.subscriptions.seen(message, session, now)
            case _:
                self.counters["unexpected"] += 1

    def _answer_without_serving(self, message: Message, session: bytes, now: float) -> None:
        match message:
            case Hello():
                self._answer(session, self._welcome(message, now))
            case Ping() | Count():
                self._answer(session, self.seeing.answer(message, now))
            case _ if request := getattr(message, "request", 0):
                self._answer(session, Recovering(request, int(self.sits_out(now) * 1000.0)))

    def _from_node(self, message: Message, node: str, now: float, lives: Lives) -> None:
        recovery = self._recovery
        match message:
            case Hello():
                self._answer(node, self._welcome(message, now))
            case Greet():
                greeted = recovery.greeted_by(node, message, self._acceptor.highest_term, now)
                if greeted is None:
                    self.counters["greeting_refused"] += 1
                if greeted is not None and not recovery.remembers(node, message.incarnation):
                    self._after_save.append((message.incarnation, node, greeted))
                else:
                    self._answer(node, greeted)
                if greeted is not None:
                    self._answer(node, recovery.greet_back(node, message))
            case Greeted():
                recovery.answered(node, message, now)
            case Welcome():
                self._published.append(PeerAnswered(node, message.request, message.mode))
            case Commit() if self.mode is NodeMode.SERVING:
                if self._may_be(message):
                    self._learner.commit(message, now)
            case Inquire() if self.mode is NodeMode.SERVING:
                self._answer(node, self._learner.view(message.name, now, message.request))
            case View() if self.mode is NodeMode.SERVING:
                self._learner.answered(node, message, now, lives)
            case _:
                self.counters["unexpected"] += 1

    def _own(self, session: bytes, sender: bytes) -> bool:
        """Only a session itself may propose for its candidates."""
        if session == sender:
            return True
        self.counters["foreign_candidate"] += 1
        return False

    def _may_be(self, message: Accept | Commit) -> bool:
        """A token is the term in which a tenure became valid: none is above the term that a lease is in."""
        if message.lease.token <= message.term:
            return True
        self.counters["token_above_its_term"] += 1
        return False

    def _answer(self, peer: Peer, message: Message | None) -> None:
        if isinstance(message, Forbidden) and message.barrier is Barrier.SECRET and isinstance(peer, bytes):
            self.counters["wrong_secret"] += 1
            self._published.append(HandleRefused(peer))
        if message is not None:
            self._sends.append((peer, message))

    def _welcome(self, message: Hello, now: float) -> Welcome:
        configuration = self.settings.configuration
        return Welcome(
            request=message.request,
            node_id=self.settings.node_id,
            members=configuration.members,
            max_ttl_ms=configuration.max_ttl_ms,
            drift_ppm=configuration.drift_ppm,
            grace_ms=configuration.grace_ms,
            mode=self.mode,
            remaining_ms=int(self.sits_out(now) * 1000.0),
            floor=self._acceptor.floor,
            complaint=self._complaint if now < self._complains_until else "",
        )

    def sits_out(self, now: float) -> float:
        """For how many seconds this node still sits out."""
        return self._recovery.remaining(now)

    # Time

    def _look_whether_to_serve(self, now: float) -> None:
        """The time of sitting out may be over."""
        self._timers.add(now, self._greet)

    def _greet(self, now: float) -> None:
        """Take the next step, and greet those that have not answered."""
        self._recovery.advance(now)
        self._sends.extend(self._recovery.greet(now))
        self._timers.add(self._recovery.next_greeting(now), self._greet)
        self._show_waiting(now)

    def _settle(self, now: float) -> None:
        """Carry what one part has done over to the others."""
        acceptor, learner, recovery = self._acceptor, self._learner, self._recovery
        if acceptor.touched:
            touched, acceptor.touched = acceptor.touched, set()
            self._keeping.unkept |= touched
            for name in sorted(touched):
                learner.changed(name, now)
        if acceptor.pushes:
            self._pushes.extend(acceptor.pushes)
            acceptor.pushes = []
        if learner.sends:
            self._pushes.extend(learner.sends)
            learner.sends.clear()
        if acceptor.wanted_ceiling > recovery.record.ceiling:
            recovery.raise_ceiling(acceptor.wanted_ceiling)
        if recovery.mode is not NodeMode.SERVING:
            self._timers.add(recovery.next_greeting(now), self._greet)
            if recovery.wakes_at() > now:
                self._timers.add(recovery.wakes_at(), self._look_whether_to_serve)
        if recovery.mode is not self._shown_mode:
            self._show_mode(now)
        if recovery.lost_memory and not self._told_lost:
            self._told_lost = True
            self._published.append(MemoryLost(recovery.lost_memory))

    def _show_mode(self, now: float) -> None:
        acceptor, recovery = self._acceptor, self._recovery
        self._shown_mode = recovery.mode
        if recovery.mode is NodeMode.SERVING:
            acceptor.floor = max(acceptor.floor, recovery.floor)
            acceptor.highest_term = max(acceptor.highest_term, acceptor.floor)
            self._timers.add(recovery.max_ttl_settles_at(), self._recovery.settle_max_ttl)
            if recovery.unconfirmed:
                self._published.append(Unconfirmed())
            if recovery.waived:
                self._published.append(Waived(recovery.waived))
        joins = recovery.joining is not None
        self._published.append(ModeChanged(recovery.mode, recovery.remaining(now), joins))

    def _show_waiting(self, now: float) -> None:
        waiting = self._recovery.waits_for(now)
        if waiting is not None and waiting != self._shown_waiting:
            self._shown_waiting = waiting
            self._published.append(waiting)

    def _own_counters(self, now: float) -> Mapping[str, int]:
        return {"names": len(self._acceptor.records)}

    def statistics(self) -> ReplicaStatistics:
        """Frozen counters."""
        acceptor = self._acceptor
        if slow := self._learner.subscriptions.too_slow:
            self.counters["over_quota_events"] = slow
        return ReplicaStatistics(
            len(acceptor.records), acceptor.floor, acceptor.ceiling, counted(self.counters)
        )
