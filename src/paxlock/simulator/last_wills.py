"""Last wills in the simulator: holders that are killed, stopped, forked or made daemons (protocol.md section
11).

What is deposited, and when it is sent, is decided by the shipped code (wire/wills.py, host/last_will.py);
processes, their forks and the channel to the guardian are simulated. What a killed holder has handed to a
fork goes on there: its tenure ends with the fork.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import attrs

from paxlock.host.last_will import ROUNDS_S, LastWill
from paxlock.simulator.machines import ClientMachine
from paxlock.simulator.moments import What
from paxlock.wire.transport import Address
from paxlock.wire.wills import Wills

if TYPE_CHECKING:
    from paxlock.core.lease import Candidate
    from paxlock.simulator.simulation import Simulation
    from paxlock.simulator.wishes import Wish

__all__ = ["LastWills"]

MISSED = 0.2  #: the share of deposits that do not arrive, since the guardian stands still
LATE_S = 0.02  #: how late a guardian may hear of a death


class _Guardian:
    """The guardian of one client, and the processes that keep its channel open."""

    def __init__(self, rng: Random, tell: Callable[[Address, int], None]) -> None:
        self.will: LastWill | None = LastWill()  # None once it has been killed
        self.rng = rng
        self.tell = tell  # the timeline: for whom was deposited, and how many datagrams
        self.process_open = True
        self.forks = 0
        self.works: list[Candidate] = []  # what the forks of a dead process still work under
        self._missed: set[tuple[int, int]] = set()

    def expect(self) -> None:
        """It is there."""

    def deposit(self, page: int, at: int, address: Address, datagrams: Sequence[bytes]) -> None:
        if self.will is None:
            return
        if not self.process_open or self.rng.random() < MISSED:
            self._missed.add((page, at))
            return
        self._missed.discard((page, at))
        self.will.deposit(0, page, at, address, tuple(datagrams))
        self.tell(address, len(datagrams))

    def catch_up(self) -> None:
        """What has not arrived does not: the worst case."""

    def settle(self) -> None:
        if self._missed:
            self.will = None

    def close(self) -> None:
        self.will = None

    def look(self) -> None:
        """What the channel says."""
        if self.will is not None:
            self.will.pipe_ended = not self.process_open and not self.forks


@attrs.define(eq=False)
class _Kept:
    """Of one client with a will: what it deposits, and with whom."""

    wills: Wills
    guardian: _Guardian


class LastWills:
    """The wills of the clients of a run, and what becomes of them. ``sent`` counts their datagrams."""

    def __init__(self, simulation: Simulation) -> None:
        self.sent = 0
        self._sim = simulation
        self._kept: dict[bytes, _Kept] = {}

    def begin(self, client: ClientMachine) -> None:
        """A client has begun; perhaps it asks for a will."""
        rng = Random(f"will {self._sim.seed} {client.label}")
        if rng.random() < self._sim.scenario.wills:
            guardian = _Guardian(rng, partial(self._deposited, client))
            self._kept[client.session] = _Kept(Wills(client.endpoint, guardian), guardian)

    def hold(self, wish: Wish) -> None:
        """A lease is held."""
        kept = self._kept.get(wish.client.session)
        if kept is not None and wish.candidate is not None:
            kept.wills.hold(wish.ticket, wish.name, wish.candidate, wish.term)

    def drop(self, wish: Wish) -> None:
        """It is over."""
        kept = self._kept.get(wish.client.session)
        if kept is not None:
            kept.wills.drop(wish.ticket)

    def withdraw(self, wish: Wish) -> None:
        """Its handle is about to be shown."""
        kept = self._kept.get(wish.client.session)
        if kept is not None:
            kept.wills.withdraw(wish.ticket)

    def settle(self, client: ClientMachine) -> None:
        """The end of a turn."""
        kept = self._kept.get(client.session)
        if kept is not None:
            kept.wills.settle_turn()

    def fork(self, client: ClientMachine, lasts: float) -> None:
        """A fork is given some of the work, for so long."""
        kept = self._kept.get(client.session)
        if kept is not None:
            kept.guardian.forks += 1
            self._sim.at(self._sim.true + lasts, self._fork_ends, client, kept.guardian)

    def daemonise(self, client: ClientMachine) -> bool:
        """The client closes all that it has, and goes on. False where it has no will."""
        kept = self._kept.get(client.session)
        if kept is None or not kept.guardian.process_open:
            return False
        kept.guardian.process_open = False
        self._look(client, kept.guardian)
        return True

    def die(self, client: ClientMachine, wishes: Sequence[Wish]) -> tuple[bool, bool]:
        """The client is killed. Gives whether it leaves a will, and whether a fork works on under what it
        held.
        """
        kept = self._kept.pop(client.session, None)
        if kept is None:
            return False, False
        guardian = kept.guardian
        guardian.process_open = False
        if guardian.will is not None:
            guardian.will.process_dead = True
        if guardian.forks:
            guardian.works = [wish.candidate for wish in wishes if wish.candidate is not None]
        self._sim.at(self._sim.true + guardian.rng.random() * LATE_S, self._look, client, guardian)
        return True, bool(guardian.forks)

    # Within

    def _deposited(self, client: ClientMachine, address: Address, datagrams: int) -> None:
        label = self._sim.network.machines[address].label
        text = f"{datagrams or 'no'} datagram{'' if datagrams == 1 else 's'} for {label}"
        self._sim.tell(client.label, What.DEPOSITED, other=label, text=text)

    def _fork_ends(self, client: ClientMachine, guardian: _Guardian) -> None:
        guardian.forks -= 1
        if not guardian.forks:
            for candidate in guardian.works:
                self._sim.workload.ended(candidate)
            guardian.works = []
        self._look(client, guardian)

    def _look(self, client: ClientMachine, guardian: _Guardian) -> None:
        """The guardian looks whether its time has come: then it sends, in rounds, and ends."""
        guardian.look()
        if guardian.will is None:
            return
        due = guardian.will.due()
        if due:
            guardian.will = None
            self._sim.tell(client.label, What.WILL_SENT, text=f"{len(due)} datagrams")
            for after in ROUNDS_S:
                self._sim.at(self._sim.true + after, self._send, client, due)

    def _send(self, client: ClientMachine, due: Sequence[tuple[int, Address, bytes]]) -> None:
        for _, address, datagram in due:
            self.sent += 1
            self._sim.network.send(client, datagram, address)
