"""The clients of a run, each in the turns of its shell (runtime/driver.py, core/effects.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING

from paxlock.core.handles import SECRET_BYTES
from paxlock.core.messages import Message, Peer
from paxlock.core.session.session import Session, SessionSettings
from paxlock.limits import SESSION_BYTES
from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.machines import ClientMachine, Datagram
from paxlock.simulator.moments import What
from paxlock.wire.endpoint import SessionSender

if TYPE_CHECKING:
    from paxlock.simulator.simulation import Simulation

__all__ = ["Clients"]

FIRST_PORT = 8000
TOLD_FIRST = 0.7  #: the share of turns in which the program is told before anything is sent, as by the shell


class Clients:
    """Makes the sessions, and drives them."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation

    def begin(self, slot: int, life: int) -> ClientMachine:
        """A session that begins now, at the address of its slot: the port of a dead one is used again."""
        sim = self._sim
        label = f"client {slot}.{life}" if life else f"client {slot}"
        rng = Random(f"client {sim.seed} {label}")
        keys = sim.rotation.of_client(slot)
        sender = SessionSender(rng.randbytes(SESSION_BYTES), keys.grant)
        session = sender.session
        secret = Random(f"secret {sim.seed} {label}").randbytes(SECRET_BYTES)
        client = ClientMachine(
            label,
            ("127.0.0.1", FIRST_PORT + slot),
            sim.clock_of(label),
            session=session,
            slot=slot,
            life=life,
            rng=Random(f"workload {sim.seed} {label}"),
            order=Random(f"order {sim.seed} {label}"),
            endpoint=sim.endpoint(sender, keys, sim.nodes.addresses),
        )
        sim.network.machines[client.address] = client
        settings = SessionSettings(sim.nodes.configuration, label, sim.scenario.thrifty)
        sim.tell(label, What.STARTED, text=f"session {session.hex()}")
        client.core = Session(settings, session=session, secret=secret, now=client.now(sim.true), rng=rng)
        sim.last_wills.begin(client)
        self.turn(client, [])
        return client

    def turn(self, client: ClientMachine, datagrams: list[Datagram]) -> None:
        """The client takes what has arrived, and does what has come due; also after a verb was called.

        A verb that the program calls when it is told something leaves with the turn in which it was told.
        """
        sim, core = self._sim, client.core
        if core is None or client.in_turn:
            return
        if sim.true < client.paused_until:
            client.backlog.extend(datagrams)
            return
        client.in_turn = True
        try:
            rest, client.rest = client.rest, None
            if rest is not None:
                for _ in rest:
                    raise AssertionError("it stands still once in a turn")
            self._begin_turn(client, datagrams)
        finally:
            client.in_turn = False
        if client.rest is None:
            sim.set_wake(client, core)

    def _begin_turn(self, client: ClientMachine, datagrams: list[Datagram]) -> None:
        steps = self._steps(client, datagrams)
        for lasts in steps:
            client.rest = steps
            self._sim.pause(client, lasts, asleep=False)
            return

    def _steps(self, client: ClientMachine, datagrams: list[Datagram]) -> Iterator[float]:
        """The steps of a turn; it stands still for what is given in between."""
        sim, core = self._sim, client.core
        assert core is not None
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
        more = True
        while more:
            more = False
            if client.order.random() < TOLD_FIRST:
                told = core.take_published()
                if told:
                    yield from self._stall(client)
                    self._publish(client, told)
                    # What the program did may have ended what others count on; they hear of it in time.
                    told = core.take_published()
                    self._publish(client, told)
                    more = bool(told)
            effects = core.take_effects()
            if effects.published:
                sim.workload.hear_of_losses(client, effects.published)
            if effects.sends:
                yield from self._stall(client)
                self._send(client, effects.sends)
            if effects.published:
                yield from self._stall(client)
                self._publish(client, effects.published)
                more = True
        sim.last_wills.settle(client)

    def _stall(self, client: ClientMachine) -> Iterator[float]:
        """Perhaps it stands still here."""
        if client.stall and client.order.random() < 0.5:
            lasts, client.stall = client.stall, 0.0
            yield lasts

    def _publish(self, client: ClientMachine, published: Sequence[object]) -> None:
        self._sim.workload.hear_of_losses(client, published)
        for notice in published:
            self._sim.tell(client.label, What.NOTICE, text=str(notice))
            self._sim.workload.notice(client, notice)

    def _send(self, client: ClientMachine, sends: tuple[tuple[Peer, Message], ...]) -> None:
        sim = self._sim
        exclusion, sessions = sim.check.exclusion, sim.check.sessions
        sim.rotation.look(client)
        for target, message in sends:
            made_up = sim.insiders.is_made_up(message, client.session)
            over = None if made_up else sessions.sent(message, target)
            if over is not None and exclusion.valid(over, sim.true):
                raise CheckFailed("S2", f"attempt {over.attempt} is released while it counts as valid")
            client.endpoint.queue(target, message)
        sim.network.flush(client, client.endpoint)
