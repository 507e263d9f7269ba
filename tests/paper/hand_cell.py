"""A whole cell of real machines whose messages are delivered, or lost, by hand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from random import Random
from typing import TypeVar

import attrs
from by_hand import NAME, replica_of, row, session_id, session_of, settled, who_is

from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import Message, Peer, Prepare, StandingPrepare
from paxlock.core.node.replica import Replica
from paxlock.core.session.session import Session

M = TypeVar("M")


def without_lease(message: StandingPrepare) -> Prepare:
    """What a candidate sends that does not stand."""
    return Prepare(*(getattr(message, field.name) for field in attrs.fields(Prepare)))


class HandCell:
    """Real replicas and sessions. Messages lie in ``mail`` until they are delivered or lost by hand.

    Where sessions are ``plain``, no Prepare carries the lease: every term takes both phases. Those that are
    ``thrifty`` may ask a quorum first.
    """

    def __init__(
        self, nodes: str, sessions: Iterable[str], *, plain: bool = False, thrifty: Collection[str] = ()
    ) -> None:
        self.now = 0.0
        self._plain = plain
        self.nodes = nodes
        self.replicas = {node: replica_of(node, nodes) for node in nodes}
        self.sessions = {
            who: settled(session_of(who, nodes, now=0.0, rng=Random(3), thrifty=who in thrifty), nodes)
            for who in sessions
        }
        self.mail: list[tuple[str, str, Message]] = []
        self.lives: dict[str, Lives] = {}  #: what the datagrams of each node say
        self.notices: list[tuple[str, object]] = []
        self.collect()

    def collect(self) -> None:
        for node, replica in self.replicas.items():
            while True:
                effects = replica.take_effects()
                self.lives[node] = effects.lives or self.lives.get(node, UNKNOWN)
                for peer, message in effects.sends:
                    to = who_is(peer) if isinstance(peer, bytes) else peer
                    self.mail.append((node, to, message))
                if effects.persist is None:
                    break
                replica.persisted(effects.persist, self.now)
        for who, session in self.sessions.items():
            effects = session.take_effects()
            for peer, message in effects.sends:
                if self._plain and isinstance(message, StandingPrepare):
                    message = without_lease(message)
                self.mail.append((who, str(peer), message))
            self.notices.extend((who, notice) for notice in effects.published)

    def _hand_over(self, sender: str, to: str, message: Message) -> None:
        if to in self.replicas:
            peer: Peer = sender if sender in self.replicas else session_id(sender)
            self.replicas[to].receive(message, peer, self.now, self.lives.get(sender, UNKNOWN))
        elif to in self.sessions:
            self.sessions[to].receive(message, sender, self.now, self.lives[sender])
        self.collect()

    def deliver(self, kind: type[Message], sender: str, *to: str) -> None:
        """Deliver the messages of one kind from one sender to each of these, in order."""
        for receiver in to:
            found = [
                envelope
                for envelope in self.mail
                if envelope[0] == sender and envelope[1] == receiver and isinstance(envelope[2], kind)
            ]
            assert found, f"no {kind.__name__} from {sender} to {receiver} in {self.mail}"
            for envelope in found:
                self.mail.remove(envelope)
                self._hand_over(*envelope)

    def lose(self) -> None:
        """Everything under way is lost."""
        self.mail.clear()

    def dies(self, who: str) -> None:
        """A client, or a node, is gone; what it has sent before is still under way."""
        if who in self.sessions:
            del self.sessions[who]
        else:
            del self.replicas[who]

    def at(self, now: float) -> None:
        """The clock moves on; what comes due is done at its own time, and nothing is delivered."""
        while (due := min((m.deadline() for m in self._machines()), default=now)) <= now:
            self._tick(due)
        self._tick(now)

    def _tick(self, now: float) -> None:
        self.now = now
        for machine in self._machines():
            machine.tick(now)
        self.collect()

    def _machines(self) -> list[Replica | Session]:
        return [*self.replicas.values(), *self.sessions.values()]

    def run(self, seconds: float, *, lost: Callable[[str, str, Message], bool] | None = None) -> None:
        """Deliver everything in order, without delay, for this long; ``lost`` picks what is lost."""
        end = self.now + seconds
        self.collect()
        while True:
            while self.mail:
                sender, to, message = self.mail.pop(0)
                if lost is None or not lost(sender, to, message):
                    self._hand_over(sender, to, message)
            due = min((m.deadline() for m in self._machines()), default=end)
            if due > end:
                self.now = end
                return
            self._tick(max(due, self.now))

    def told(self, who: str, kind: type[M]) -> list[M]:
        """Take the notices of this kind to one session."""
        found = [notice for to, notice in self.notices if to == who and isinstance(notice, kind)]
        self.notices = [(to, n) for to, n in self.notices if not (to == who and isinstance(n, kind))]
        return found

    def shows(self, node: str) -> tuple[int, str, bool]:
        acceptor = self.replicas[node]._acceptor
        return row(acceptor.records.get(NAME), acceptor.floor)
