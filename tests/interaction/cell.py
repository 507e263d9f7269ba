"""The cell of a golden script: real machines, a clock that stands still, messages that lie in the mail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import attrs
from by_hand import (
    NAME,
    member_record,
    replica_of,
    session_id,
    session_secret,
    settings_for,
    settled,
    start_of,
    who_is,
)

from paxlock.core.durable import NodeRecord, Snapshot
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import Message, Peer, Prepare, StandingPrepare
from paxlock.core.node.replica import Replica
from paxlock.core.node.starts import Start
from paxlock.core.session.events import Ended, Extended, Failed, Granted, Lost
from paxlock.core.session.session import Session
from paxlock.simulator.moments import Moment, What

__all__ = ["Envelope", "ScriptCell"]

JOINED_AT_UNIX_S = 1_000


@attrs.frozen
class Envelope:
    """One message on its way."""

    sender: str
    to: str
    message: Message


def without_lease(message: Message) -> Message:
    """What a candidate sends that does not stand."""
    if not isinstance(message, StandingPrepare):
        return message
    return Prepare(*(getattr(message, field.name) for field in attrs.fields(Prepare)))


@attrs.define(eq=False)
class ScriptCell:
    """Nodes and clients. ``mail`` is what is on its way, ``told`` what was told since it was last taken.
    ``trace`` is all that has happened, as the simulator tells it (simulator/moments.py).

    In a ``plain`` cell no Prepare carries the lease: every term takes both phases.
    """

    node_ids: str
    plain: bool = False
    now: float = 0.0
    nodes: dict[str, Replica] = attrs.field(factory=dict)
    clients: dict[str, Session] = attrs.field(factory=dict)
    mail: list[Envelope] = attrs.field(factory=list)
    told: list[tuple[str, object]] = attrs.field(factory=list)
    tickets: dict[str, int] = attrs.field(factory=dict)  #: of each client's campaign
    holding: dict[str, Granted] = attrs.field(factory=dict)
    trace: list[Moment] = attrs.field(factory=list)
    _disks: dict[str, NodeRecord] = attrs.field(factory=dict)
    _snapshots: dict[str, Snapshot] = attrs.field(factory=dict)
    _lives: dict[str, Lives] = attrs.field(factory=dict)
    _starts: int = 0

    def __attrs_post_init__(self) -> None:
        for node in self.node_ids:
            self._start(node, Start(member_record(node), 0, 0.0, None))
        self._greet()

    def _greet(self) -> None:
        """Everything that is on its way arrives: the greetings with which a cell begins."""
        while self.mail:
            self.hand_over(self.mail.pop(0))
        self.told.clear()

    # Who comes and goes

    def add_client(self, name: str) -> None:
        session = Session(
            settings_for(self.node_ids),
            session=session_id(name),
            secret=session_secret(name),
            now=self.now,
            rng=Random(name),
        )
        self.clients[name] = settled(session, self.node_ids)
        self.collect()
        self._greet()

    def _start(self, node: str, start: Start) -> None:
        self._starts += 1
        run = f"run-{self._starts}"
        self._lives.pop(node, None)
        self.nodes[node] = replica_of(node, self.node_ids, start, now=self.now, run=run)
        self.collect()

    def crash(self, who: str) -> None:
        """A client or a node is gone, at any moment; what it has sent is still on its way."""
        if self.clients.pop(who, None) is None:
            del self.nodes[who]
        self.holding.pop(who, None)
        self._happened(who, What.STOPPED, text="crashed")

    def stop(self, node: str) -> None:
        """A clean stop: the snapshot is written, then the record is marked clean."""
        snapshot = self.nodes.pop(node).stop(self.now)
        if snapshot is not None:
            self._snapshots[node] = snapshot
            self._disks[node] = attrs.evolve(self._disks[node], clean=True)

    def restart(self, node: str) -> None:
        """The node starts with what is on its disk."""
        self._start(
            node, start_of(node, self._disks[node], self._snapshots.get(node), nodes=len(self.node_ids))
        )

    def join(self, node: str) -> None:
        """The node starts with an empty disk, and is told to join."""
        self._start(
            node,
            start_of(node, None, nodes=len(self.node_ids), join=True, unix_seconds=JOINED_AT_UNIX_S),
        )

    # Messages and time

    def collect(self) -> list[Envelope]:
        """What the machines want done is done; what they send goes into the mail, and is returned."""
        sent: list[Envelope] = []
        for node, replica in self.nodes.items():
            while True:
                effects = replica.take_effects()
                self._lives[node] = effects.lives or self._lives.get(node, UNKNOWN)
                sent.extend(Envelope(node, _address(peer), message) for peer, message in effects.sends)
                self.told.extend((node, event) for event in effects.published)
                if effects.persist is None:
                    break
                self._disks[node] = effects.persist
                replica.persisted(effects.persist, self.now)
        for name, session in self.clients.items():
            effects = session.take_effects()
            for peer, message in effects.sends:
                sent.append(Envelope(name, _address(peer), without_lease(message) if self.plain else message))
            for event in effects.published:
                self._note(name, event)
        self.mail.extend(sent)
        for one in sent:
            self._happened(one.sender, What.SENT, other=one.to, messages=(one.message,))
        return sent

    def _happened(self, who: str, what: What, **details: Any) -> None:
        self.trace.append(Moment(self.now, who, what, **details))

    def _note(self, name: str, event: object) -> None:
        self.told.append((name, event))
        if isinstance(event, Granted):
            self.holding[name] = event
            self._happened(name, What.GRANTED, name=NAME, term=event.term, until=event.deadline)
        elif isinstance(event, Extended) and name in self.holding:
            held = self.holding[name] = attrs.evolve(self.holding[name], deadline=event.deadline)
            self._happened(name, What.EXTENDED, name=NAME, term=held.term, until=held.deadline)
        elif isinstance(event, Lost | Failed | Ended):
            self._holds_no_more(name)

    def _holds_no_more(self, name: str) -> None:
        held = self.holding.pop(name, None)
        if held is not None:
            self._happened(name, What.ENDED, name=NAME, term=held.term)

    def take_told(self) -> list[tuple[str, object]]:
        told, self.told = self.told, []
        return told

    def hand_over(self, envelope: Envelope) -> list[Envelope]:
        """One message arrives, or is lost where nobody is there; what is sent because of it."""
        sender, to = envelope.sender, envelope.to
        there = to in self.nodes or to in self.clients
        self._happened(sender, What.ARRIVED if there else What.LOST, other=to, messages=(envelope.message,))
        lives = self._lives.get(sender, UNKNOWN)
        if to in self.nodes:
            peer: Peer = sender if sender in self.node_ids else session_id(sender)
            self.nodes[to].receive(envelope.message, peer, self.now, lives)
        elif to in self.clients:
            self.clients[to].receive(envelope.message, sender, self.now, lives)
        return self.collect()

    def wait(self, seconds: float) -> list[Envelope]:
        """Time goes on; what comes due is done at its own time, and nothing arrives."""
        end = self.now + seconds
        sent: list[Envelope] = []
        while (due := self._due()) <= end:
            sent.extend(self._tick(due))
        sent.extend(self._tick(end))
        return sent

    def run(
        self, seconds: float, *, lost: Callable[[Envelope], bool], late: Callable[[Envelope], bool]
    ) -> Counter[str]:
        """Time goes on and messages arrive at once, but what is ``lost``, or ``late``: that stays on its way.
        How many of each kind have arrived.
        """
        end = self.now + seconds
        arrived: Counter[str] = Counter()
        held: list[Envelope] = []
        while True:
            while self.mail:
                envelope = self.mail.pop(0)
                if late(envelope):
                    held.append(envelope)
                elif not lost(envelope):
                    arrived[type(envelope.message).__name__] += 1
                    self.hand_over(envelope)
            due = self._due()
            if due > end:
                break
            self._tick(max(due, self.now))
        self.now = end
        self.mail = held
        return arrived

    def _due(self) -> float:
        return min((machine.deadline() for machine in self._machines()), default=float("inf"))

    def _tick(self, now: float) -> list[Envelope]:
        self.now = now
        for machine in self._machines():
            machine.tick(now)
        return self.collect()

    def _machines(self) -> Iterable[Replica | Session]:
        return [*self.nodes.values(), *self.clients.values()]

    # What the program asks for

    def campaign(self, name: str, ttl: float, wait: float | None) -> None:
        self._happened(name, What.WANTED, name=NAME)
        self.tickets[name] = self.clients[name].campaign(NAME, ttl=ttl, now=self.now, wait=wait, label=name)

    def release(self, name: str) -> None:
        self.clients[name].release(self.tickets[name], self.now)
        self._happened(name, What.LEFT, name=NAME)
        self._holds_no_more(name)


def _address(peer: Peer) -> str:
    return who_is(peer) if isinstance(peer, bytes) else peer
