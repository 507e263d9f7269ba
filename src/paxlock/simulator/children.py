"""Forks in the simulator: a copy of a client that unwinds, or goes on, and must be silent (forks.py).

The child has everything that the parent had at that moment: the session with its leases and counters, the
endpoint with its next number, and for as long as it likes the wish to use them. What it has to be dead by is
the shipped switch of its endpoint. What a child manages to send goes out at the address of its parent, and is
judged by what comes of it: by exclusion, and by the rule that a number seals one text only.
"""

from __future__ import annotations

import copy
from math import inf
from random import Random
from typing import TYPE_CHECKING

from paxlock.core.session.session import Session
from paxlock.simulator.machines import ClientMachine
from paxlock.wire.endpoint import Endpoint

if TYPE_CHECKING:
    from paxlock.simulator.simulation import Simulation

__all__ = ["Children"]

STEPS_MAX = 20
UNWINDS = 0.5
UNWINDS_WITHIN_S = 0.02


class Children:
    """The children of the clients of a run. ``withheld`` counts the messages that they wanted to send."""

    def __init__(self, simulation: Simulation) -> None:
        self.withheld = 0
        self._sim = simulation

    def fork(self, client: ClientMachine, rng: Random) -> None:
        """The client's process forks: the child leaves everything, as one that unwinds, or goes on."""
        core, endpoint = client.core, client.endpoint
        assert core is not None
        # What seals and opens has no state of its own.
        stateless = (endpoint._keyring, endpoint._sealing._sealers, endpoint._lanes, endpoint._table)  # noqa: SLF001
        memo = {id(shared): shared for shared in stateless}
        child, its_endpoint = copy.deepcopy((core, endpoint), memo)
        its_endpoint._outboxes, its_endpoint._ready = {}, []  # noqa: SLF001 - what is queued, the parent sends
        its_endpoint._life.forked()  # noqa: SLF001 - as the hook of the process does
        child.take_effects()
        if rng.random() < UNWINDS:
            later = self._sim.true + rng.random() * UNWINDS_WITHIN_S
            self._sim.at(later, self._unwind, client, child, its_endpoint)
        else:
            self._go_on(client, child, its_endpoint, STEPS_MAX)

    def _unwind(self, client: ClientMachine, child: Session, endpoint: Endpoint) -> None:
        """What leaving its blocks and its client would do."""
        now = client.clock.local(self._sim.true)
        for ticket in self._sim.workload.tickets(client):
            child.release(ticket, now)
        self._send(client, child, endpoint)

    def _go_on(self, client: ClientMachine, child: Session, endpoint: Endpoint, steps: int) -> None:
        """Renew, refresh and repeat what comes due."""
        due = child.deadline()
        if due == inf:
            return
        child.tick(max(due, client.clock.local(self._sim.true)))
        self._send(client, child, endpoint)
        if steps:
            later = max(self._sim.true, client.clock.true(child.deadline()))
            self._sim.at(later, self._go_on, client, child, endpoint, steps - 1)

    def _send(self, client: ClientMachine, child: Session, endpoint: Endpoint) -> None:
        sim = self._sim
        for node, message in child.take_effects().sends:
            self.withheld += 1
            endpoint.queue(node, message)
        if sim.network.healed:
            return
        for data, address in endpoint.flush():
            sim.network.send(client, data, address)
