"""The clients of a run, each in the turns of its shell (driver.py)."""

from __future__ import annotations

import copy
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from paxlock.core.effects import Effects
from paxlock.core.messages import Hello
from paxlock.core.session import Session, SessionSettings
from paxlock.testing.checkers import CheckFailed
from paxlock.testing.machines import ClientMachine, Datagram
from paxlock.testing.moments import What
from paxlock.wire.endpoint import Endpoint, SessionSender
from paxlock.wire.transport import Address

if TYPE_CHECKING:
    from paxlock.testing.simulation import Simulation

__all__ = ["Clients"]

FIRST_PORT = 8000
CHILD_DATAGRAMS_MAX = 3
CHILD_DELAY_S = 0.05


class Clients:
    """Makes the sessions, and drives them."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation

    def begin(self, slot: int, life: int) -> ClientMachine:
        """A session that begins now, at the address of its slot: the port of a dead one is used again."""
        sim, scenario = self._sim, self._sim.scenario
        label = f"client {slot}.{life}" if life else f"client {slot}"
        rng = Random(f"client {sim.seed} {label}")
        session = rng.randbytes(16)
        client = ClientMachine(
            label,
            ("127.0.0.1", FIRST_PORT + slot),
            sim.clock_of(label),
            session=session,
            slot=slot,
            life=life,
            rng=Random(f"workload {sim.seed} {label}"),
            endpoint=sim.endpoint(SessionSender(session), sim.nodes.addresses),
        )
        sim.network.machines[client.address] = client
        settings = SessionSettings(
            members=sim.nodes.members,
            max_ttl_ms=scenario.max_ttl_ms,
            drift_ppm=scenario.drift_ppm,
            grace_ms=scenario.grace_ms,
            label=label,
        )
        sim.tell(label, What.STARTED, text=f"session {session.hex()}")
        client.core = Session(settings, session=session, now=client.now(sim.true), rng=rng)
        self.turn(client, [])
        return client

    def turn(self, client: ClientMachine, datagrams: list[Datagram]) -> None:
        """The client takes what has arrived, and does what has come due; also after a verb was called."""
        sim, core = self._sim, client.core
        if core is None:
            return
        if client.slept:
            client.slept = False
            core.clock_jumped(client.now(sim.true))
        for datagram in datagrams:
            received = sim.receive(client, client.endpoint, datagram)
            if received is not None:
                now = client.now(sim.true)
                for message in received.messages:
                    core.receive(message, received.peer, now, received.lives)
        due = core.deadline()
        now = client.now_for(due, sim.true)
        if due <= now:
            core.tick(now)
        self._carry_out(client, core.take_effects())
        if client.core is not None:
            sim.set_wake(client, client.core)

    def _carry_out(self, client: ClientMachine, effects: Effects) -> None:
        sim = self._sim
        exclusion, sessions = sim.check.exclusion, sim.check.sessions
        if effects.published:
            sim.workload.hear_of_losses(client, effects.published)
        for target, message in effects.sends:
            over = sessions.sent(message)
            if over is not None and exclusion.valid(over, sim.true):
                raise CheckFailed("S2", f"attempt {over.attempt} is released while it counts as valid")
            client.endpoint.queue(target, message)
        sim.network.flush(client, client.endpoint)
        for notice in effects.published:
            sim.tell(client.label, What.NOTICE, text=str(notice))
            sim.workload.notice(client, notice)

    def fork(self, client: ClientMachine, rng: Random) -> None:
        """The process forks. The child holds no leases, its client refuses every call, and so its session is
        never driven again. The worst that it can do is to use the endpoint that it has inherited, with the
        parent's numbers and socket: what it sends must count as a repetition of what the parent sent.
        """
        child = copy.copy(client.endpoint)
        child._outboxes, child._ready, child._counts = {}, [], Counter()  # noqa: SLF001
        child._nodes = {node: copy.copy(state) for node, state in child._nodes.items()}  # noqa: SLF001
        ready: list[tuple[bytes, Address]] = []
        for request in range(rng.randint(1, CHILD_DATAGRAMS_MAX)):
            for node in self._sim.nodes.addresses:
                child.queue(node, Hello(request))
            ready += child.flush()
        self._child_sends(client, child, ready, rng)

    def _child_sends(
        self, client: ClientMachine, child: Endpoint, ready: list[tuple[bytes, Address]], rng: Random
    ) -> None:
        """Once the parent has used these numbers: before, the child would silence it, as loss does."""
        sim = self._sim
        if client.core is None or sim.network.healed:
            return
        if client.endpoint._sequence >= child._sequence:  # noqa: SLF001
            for data, address in ready:
                sim.network.send(client, data, address)
        else:
            later = sim.true + rng.random() * CHILD_DELAY_S
            sim.at(later, self._child_sends, client, child, ready, rng)
