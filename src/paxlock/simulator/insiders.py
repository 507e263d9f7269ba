"""Clients that make up handles (protocol.md section 3, "Handles"): they know whatever a poll tells, have the
same key, and show secrets that are not right, to renew and to release what others hold or want.

What must hold: a node does nothing because of them, whether it holds the lease or not, and whoever asks is
never told that it was done where it was not.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, TypeAlias

from paxlock.core.handles import SECRET_BYTES, lock_of
from paxlock.core.lease import Candidate
from paxlock.core.messages import Accept, Message, Peer, Release, Renew, StandingPrepare
from paxlock.core.session.events import HandleOutcome
from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.moments import What
from paxlock.simulator.wishes import Stage

if TYPE_CHECKING:
    from paxlock.simulator.machines import ClientMachine, NodeMachine
    from paxlock.simulator.simulation import Simulation

__all__ = ["Insiders", "State"]

NEXT_ATTEMPT = 0.2  #: the share of tries at an attempt that is yet to come
RELEASES = 0.6  #: the share of tries that are to release
ANOTHERS_SECRET = 0.3  #: the share that show the secret of another attempt of the same session
PATIENCE_S = 0.15

State: TypeAlias = dict[str, tuple[object, ...]]


class Insiders:
    """What is tried, and what a node makes of it. Its draws are its own: other runs stay as they are."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._rng = Random(f"insiders {simulation.seed}")
        self._locks: dict[Candidate, bytes] = {}  #: of every lease that was ever proposed to a node
        self._tries: dict[tuple[bytes, int], bool] = {}  #: by ticket, whether it is to renew
        self.refused = 0

    def begin(self) -> None:
        if self._sim.scenario.insiders:
            self._later()

    # What they do

    def _later(self) -> None:
        sim = self._sim
        sim.at(sim.true + self._rng.expovariate(sim.scenario.insiders), self._try)

    def _try(self) -> None:
        sim, rng = self._sim, self._rng
        if sim.workload.stage is not Stage.FAULTY:
            return
        self._later()
        known = sorted(self._known())
        if not known:
            return
        name, candidate = rng.choice(known)
        if rng.random() < NEXT_ATTEMPT:
            candidate = Candidate(candidate.session, candidate.attempt + 1)
        able = [
            client
            for client in sim.workload.clients
            if sim.true >= client.paused_until and client.session != candidate.session
        ]
        if not able:
            return
        client, secret = rng.choice(able), self._secret(candidate)
        assert client.core is not None
        now, renews = client.now(sim.true), rng.random() >= RELEASES
        text = f"makes up a handle of attempt {candidate.attempt} at {name!r}"
        sim.tell(client.label, What.FAULT, text=text)
        if renews:
            ticket = client.core.renew_detached(candidate, 1, secret, now, patience=PATIENCE_S)
        else:
            ticket = client.core.release_detached(name, candidate, 1, secret, now, patience=PATIENCE_S)
        self._tries[client.session, ticket] = renews
        sim.clients.turn(client, [])

    def _known(self) -> set[tuple[str, Candidate]]:
        """Who holds, was promised or waits for which name, at any node."""
        found: set[tuple[str, Candidate]] = set()
        for node in self._sim.nodes.all:
            for name, record in node.acceptor.records.items() if node.core is not None else ():
                line = record.line.entries(node.now(self._sim.true)) if record.line is not None else []
                holder = record.lease.candidate if record.lease is not None else None
                here = (record.owner, holder, *(entry.candidate for entry in line))
                found.update((name, candidate) for candidate in here if candidate is not None)
        return found

    def _secret(self, candidate: Candidate) -> bytes:
        """One that is not right: made up, or of another attempt."""
        if self._rng.random() < ANOTHERS_SECRET:
            for client in self._sim.workload.clients:
                if client.session == candidate.session and client.core is not None:
                    return client.core.secret_of(candidate._replace(attempt=candidate.attempt + 1))
        return self._rng.randbytes(SECRET_BYTES)

    def outcome(self, client: ClientMachine, notice: HandleOutcome) -> bool:
        """What somebody is told of a try; False where it was none."""
        renews = self._tries.pop((client.session, notice.ticket), None)
        if renews is None:
            return False
        self.refused += notice.refused
        if renews and notice.done:
            raise CheckFailed("handles", "a lease was renewed by a handle that was made up")
        return True

    # What nodes make of it

    def is_made_up(self, message: Message, peer: Peer) -> bool:
        """Whether this shows a wrong secret, or none, for the lease of another session."""
        match message:
            case Accept(lease=lease, lock=lock):
                self._locks[lease.candidate] = lock
            case StandingPrepare(candidate=candidate, lock=lock):
                self._locks[candidate] = lock
            case Release() if message.candidate.session != peer:
                return not self._opens(message.candidate, message.secret)
            case Renew() if message.session != peer:
                shown = zip(message.attempts, message.secrets, strict=True)
                return not all(self._opens(Candidate(message.session, a), secret) for a, secret in shown)
            case _:
                pass
        return False

    def _opens(self, candidate: Candidate, secret: bytes) -> bool:
        return lock_of(candidate, secret) == self._locks.get(candidate)

    def state(self, node: NodeMachine, message: Message) -> State:
        """What must be the same after such a message: of every name who holds it, until when, by whose word,
        who was promised it, who waits, what others are told, and whether the one that it names may go on.
        """
        found: State = {}
        for name, record in node.acceptor.records.items():
            lease = record.lease
            held = lease and (lease.candidate, record.deadline, record.sender, record.seq)
            line = record.line.entries(node.now(self._sim.true)) if record.line is not None else []
            ended = False
            if isinstance(message, Release) and message.name == name:
                candidate = message.candidate
                ended = record.end_of(candidate, self._locks.get(candidate, b"")) is not None
            view = node.view(name, node.now(self._sim.true))
            found[name] = record.term, record.owner, held, tuple(e.candidate for e in line), ended, view
        if isinstance(message, Release) and message.name not in found:
            view = node.view(message.name, node.now(self._sim.true))
            found[message.name] = (
                None,
                None,
                None,
                (),
                False,
                view,
            )  # known from what others have said, perhaps
        return found

    def changed_nothing(self, node: NodeMachine, message: Message, before: State) -> None:
        for name, after in self.state(node, message).items():
            was = before[name]
            same = was[1:] == after[1:] if was[0] is None else was == after
            if not same:
                raise CheckFailed(
                    "handles", f"{node.node_id} heeds a handle that was made up: {name!r} is {after}"
                )
