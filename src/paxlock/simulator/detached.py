"""Detached leases in the simulator: renewed and released by whoever has the handle, and what is held released
by its handle (protocol.md section 3).
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from paxlock.core.session.events import HandleOutcome
from paxlock.simulator.linearizability import OperationKind, OperationOutcome
from paxlock.simulator.moments import What
from paxlock.simulator.wishes import DetachedLease, Stage, Wish

if TYPE_CHECKING:
    from paxlock.simulator.machines import ClientMachine
    from paxlock.simulator.simulation import Simulation
    from paxlock.simulator.workload import Workload

__all__ = ["DetachedLeases"]

HANDLE_RENEWALS_MAX = 3
HANDLE_PATIENCE_S = 0.15  #: or so many round trips, if that is longer:
HANDLE_ROUND_TRIPS = 4


class DetachedLeases:
    """Who has the handle of which lease, and what becomes of it."""

    def __init__(self, simulation: Simulation, workload: Workload) -> None:
        self._sim = simulation
        self._work = workload
        self._handles: dict[tuple[bytes, int], tuple[DetachedLease, float]] = {}

    def detach(self, wish: Wish) -> None:
        sim, client = self._sim, wish.client
        if wish.over or client.core is None or sim.true < client.paused_until:
            return
        assert wish.candidate is not None
        if client.now(sim.true) >= wish.deadline or wish.ended_elsewhere:
            return  # lost, and it will be told
        sim.last_wills.withdraw(wish)
        sim.tell(client.label, What.DETACHED, name=wish.name, term=wish.term)
        wish.over = True
        client.core.detach(wish.ticket, client.now(sim.true))
        sim.check.sessions.detached(wish.name, wish.candidate)
        sim.clients.turn(client, [])
        self._work.gave_away.add((client.session, wish.name))
        left = client.rng.randint(0, HANDLE_RENEWALS_MAX)
        secret = client.core.secret_of(wish.candidate)
        handle = DetachedLease(wish.name, wish.candidate, wish.term, secret, wish.timing, left, client.rng)
        sim.at(sim.true + client.rng.random() * wish.timing.renew, self._use_handle, handle)

    def _use_handle(self, handle: DetachedLease) -> None:
        """Somebody renews the lease of the handle, releases it, or forgets it."""
        sim = self._sim
        able = [client for client in self._work.clients if sim.true >= client.paused_until]
        if handle.over or not able:
            return
        client = handle.rng.choice(able)
        patience = self._handle_patience()
        assert client.core is not None
        now = client.now(sim.true)
        if handle.left > 0 and self._work.stage is Stage.FAULTY:
            handle.left -= 1
            named = handle.candidate, handle.term, handle.secret
            ticket = client.core.renew_detached(*named, now, patience=patience)
            self._handles[client.session, ticket] = (handle, now)
            sim.at(sim.true + handle.timing.renew, self._use_handle, handle)
        elif handle.rng.random() < 0.7:
            handle.over = True
            self._work.ended(handle.candidate)
            known = handle.name, handle.candidate, handle.term, handle.secret
            ticket = client.core.release_detached(*known, now, patience=patience)
            self._work.called(client, ticket, handle.name, OperationKind.RELEASE, handle.term)
        sim.clients.turn(client, [])

    def release_elsewhere(self, wish: Wish, rng: Random) -> None:
        """Somebody releases, by its handle, what is held and not detached."""
        sim = self._sim
        able = [client for client in self._work.clients if sim.true >= client.paused_until]
        if wish.over or wish.ended_elsewhere or not able or self._work.stage is not Stage.FAULTY:
            return
        client = rng.choice(able)
        assert client.core is not None
        assert wish.candidate is not None
        assert wish.client.core is not None
        secret = wish.client.core.secret_of(wish.candidate)
        wish.ended_elsewhere = True
        self._work.ended(wish.candidate)
        sim.check.sessions.ended_elsewhere(wish.candidate)
        ticket = client.core.release_detached(
            *(wish.name, wish.candidate, wish.term, secret, client.now(sim.true)),
            patience=self._handle_patience(),
        )
        self._work.called(client, ticket, wish.name, OperationKind.RELEASE, wish.term)
        sim.clients.turn(client, [])

    def _handle_patience(self) -> float:
        return max(HANDLE_PATIENCE_S, HANDLE_ROUND_TRIPS * self._sim.scenario.round_trip)

    def outcome(self, client: ClientMachine, notice: HandleOutcome) -> None:
        found = self._handles.pop((client.session, notice.ticket), None)
        if found is None:
            outcome = OperationOutcome.REFUSED if notice.over else OperationOutcome.UNKNOWN
            outcome = OperationOutcome.OK if notice.done else outcome
            self._work.returned(client, notice.ticket, OperationKind.RELEASE, outcome)
            return
        handle, since = found
        if handle.over:
            return
        if notice.done:
            until = client.clock.true(since + handle.timing.span)
            if until > self._sim.true:
                self._work.extended(client, handle, until, detached=True)
        elif notice.over:
            handle.over = True
            self._work.ended(handle.candidate)
            self._work.lost(client, handle)
