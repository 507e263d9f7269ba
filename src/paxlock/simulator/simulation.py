"""The deterministic simulator: nodes, clients, clocks, disks and a network, all from one seed.

The machines are the shipped ones (core/node/replica.py, core/session/session.py), driven through their seam,
and so are the endpoints through which every message goes as bytes (wire/endpoint.py); everything around them
is simulated in true time. A run has three parts: faults; the heal, after which every waiting candidate must
be served; and the end, at which every watcher must show the last state.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf
from random import Random
from typing import Any

import attrs

from paxlock.core.lease import quarantine
from paxlock.core.messages import NodeMode
from paxlock.core.node.replica import Replica
from paxlock.core.quorum import majority
from paxlock.core.session.session import Session
from paxlock.simulator.administration import Administration
from paxlock.simulator.checkers import CheckFailed, Histories, NodeChecker, Progress
from paxlock.simulator.children import Children
from paxlock.simulator.clients import Clients
from paxlock.simulator.faults import Faults
from paxlock.simulator.history import History
from paxlock.simulator.insiders import Insiders
from paxlock.simulator.last_wills import LastWills
from paxlock.simulator.limits import small_limits
from paxlock.simulator.linearizability import NotLinearizable, Operation, check_history
from paxlock.simulator.machines import ClientMachine, Datagram, NodeMachine, SimulatedClock, SimulatedMachine
from paxlock.simulator.moments import Moment, What
from paxlock.simulator.network import Network
from paxlock.simulator.nodes import CELL_ID, EPOCH, Nodes
from paxlock.simulator.plan import Fault, drawn_faults
from paxlock.simulator.rotation import KeyFile, Rotation
from paxlock.simulator.scenario import START_S, Scenario
from paxlock.simulator.workload import Workload
from paxlock.wire.endpoint import Endpoint, Received
from paxlock.wire.header import Sender
from paxlock.wire.transport import Address

__all__ = ["Outcome", "Simulation", "run"]

IDLE_TICKS_MAX = 2_000
EVENTS_MAX = 600_000
SERVING_S = 2.0  #: within two times of sitting out and this, the nodes of the healed quorum serve
LOOK_S = 0.05
DRAIN_MAX_DATAGRAMS = 64  #: as the shell takes them in one turn
RESUME_CHECK_S = 0.1  #: within this time of its own a client that holds something notices a suspend

Action = Callable[..., object]


@attrs.frozen
class Outcome:
    """What a run that broke no rule was like."""

    seed: int
    events: int
    tenures: int
    longest_gap: float
    true_time: float


class Simulation:
    """One run. ``run()`` plays it to its end and gives its Outcome, or raises CheckFailed.

    ``faults`` takes the place of those that the seed draws (plan.py). With ``trace`` the ``timeline`` is a
    list of Moments. ``history`` are the operations of the clients.
    """

    def __init__(
        self,
        seed: int,
        scenario: Scenario | None = None,
        *,
        faults: tuple[Fault, ...] | None = None,
        trace: bool = False,
    ) -> None:
        self.seed = seed
        self.scenario = scenario = scenario if scenario is not None else Scenario.drawn(seed)
        self.plan = faults if faults is not None else drawn_faults(seed, scenario)
        self.true = 0.0
        self.events = 0
        self.timeline: list[Moment] | None = [] if trace else None
        self.calls = History()
        self.healed_at = inf
        self.healthy_at = inf
        self.check = Histories(
            Progress(
                first_max=scenario.served_max,
                next_max=scenario.next_max,
                dead_max=quarantine(scenario.max_ttl, scenario.drift),
            ),
            nodes=NodeChecker(scenario.grace_ms / 1000.0),
        )
        self._heap: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._pushed = 0
        self._over = False
        self._damaged = 0
        self._endpoints: list[Endpoint] = []
        self.rotation = Rotation(self)
        self.network = Network(self)
        self.nodes = Nodes(self)
        self.clients = Clients(self)
        self.children = Children(self)
        self.last_wills = LastWills(self)
        self.administration = Administration(self)
        self.insiders = Insiders(self)
        self.workload = Workload(self)
        self.faults = Faults(self)

    @property
    def history(self) -> list[Operation]:
        """What the clients called and were told so far, for linearizability.py."""
        return self.calls.closed()

    def datagrams(self) -> Counter[str]:
        """The counters of all endpoints together, and how many datagrams were ``damaged``."""
        total = Counter({"damaged": self._damaged})
        for one in self._endpoints:
            total.update(one.statistics())
        return total

    def run(self) -> Outcome:
        """Play the run to its end."""
        try:
            with small_limits(self.scenario):
                self._play()
            check_history(self.history)
        except CheckFailed as failure:
            raise CheckFailed(failure.check, f"seed {self.seed}, at {self.true:.6f} s: {failure}") from None
        except NotLinearizable as failure:
            raise CheckFailed("linearizable", f"seed {self.seed}: {failure}") from None
        except Exception as error:
            error.add_note(f"in the simulation of seed {self.seed}, at {self.true:.6f} s")
            raise
        longest = self.check.progress.longest
        return Outcome(self.seed, self.events, self.check.exclusion.count, longest, self.true)

    def _play(self) -> None:
        self.nodes.begin()
        self.workload.begin()
        self.faults.begin()
        self.rotation.begin()
        self.insiders.begin()
        self.at(START_S + self.scenario.faulty_for, self._heal)
        heap = self._heap
        while heap and not self._over:
            self.true, _, action, arguments = heapq.heappop(heap)
            self.events += 1
            if self.events > EVENTS_MAX:
                raise CheckFailed("busy", f"{EVENTS_MAX} events and no end")
            action(*arguments)

    # The parts of the run

    def _heal(self) -> None:
        self.healed_at = self.true
        self.network.heal()
        self.tell("cell", What.HEALED)
        self.faults.heal()
        self.workload.heal()
        self._look()

    def _look(self) -> None:
        """Now and then after the heal: is there progress, and is everything done?"""
        if self.healthy_at == inf:
            late = self.true - self.healed_at
            healed = [node for node in self.nodes.all if node.label not in self.nodes.left_out]
            if all(node.core is not None and node.core.mode is NodeMode.SERVING for node in healed):
                self.healthy_at = self.true
            elif late > 2.0 * self.scenario.sits_out + SERVING_S:
                raise CheckFailed("progress", f"{late:.3f} s after the heal not all nodes serve")
        else:
            self.look_for_progress()
        if self.rotation.over and self.workload.settled(self.true):
            self._over = True
            for machine in self.network.machines.values():
                if isinstance(machine, ClientMachine) and machine.core is not None:
                    self.check.sessions.settled(machine.session)
            return
        self.at(self.true + LOOK_S, self._look)

    def look_for_progress(self) -> None:
        """After the heal: who waits for what, and is it held?"""
        if self.healthy_at == inf:
            return
        wanted = self.workload.wanted()
        for name in self.workload.names:
            held, waiting = bool(self.check.exclusion.holders(name, self.true)), name in wanted
            blocked = waiting and not held and self._blocked(name)
            self.check.progress.look(name, waiting=waiting, held=held, true=self.true, blocked=blocked)

    def _blocked(self, name: str) -> bool:
        """Whether leases of clients that are no more leave less than a quorum of nodes to the others."""
        machines = self.network.machines.values()
        alive = {m.session for m in machines if isinstance(m, ClientMachine) and m.core is not None}
        left = 0
        for node in self.nodes.all:
            held = node.held.get(name) if node.core is not None else None
            left += node.core is not None and (held is None or held.candidate.session in alive)
        return left < majority(self.scenario.nodes)

    # Events

    def at(self, true: float, action: Action, *arguments: Any) -> None:
        """Do this at a true time."""
        self._pushed += 1
        heapq.heappush(self._heap, (true, self._pushed, action, arguments))

    def tell(self, who: str, what: What, **details: Any) -> None:
        """A moment of the timeline, where one is kept."""
        if self.timeline is not None:
            self.timeline.append(Moment(self.true, who, what, **details))

    def turn(self, machine: SimulatedMachine, datagrams: list[Datagram]) -> None:
        """A machine that is not paused takes what has arrived, and does what has come due."""
        if type(machine) is NodeMachine:
            self.nodes.turn(machine, datagrams)
        elif type(machine) is ClientMachine:
            self.clients.turn(machine, datagrams)

    def receive(self, machine: SimulatedMachine, endpoint: Endpoint, datagram: Datagram) -> Received | None:
        """What the machine's endpoint makes of a datagram: it must drop every damaged one."""
        traced = self.timeline is not None
        before = endpoint.statistics() if traced else {}
        book = self.rotation.book
        endpoint.refused = ""
        endpoint.age(machine.now(self.true))
        received = endpoint.receive_untrusted(datagram.data, datagram.source)
        self._damaged += datagram.damaged
        if datagram.damaged and received is not None:
            raise CheckFailed("seal", f"{machine.label} takes a damaged datagram of {datagram.sender}")
        if book is not None:
            book.arrives(machine, endpoint, datagram, received)
        if traced and received is not None:
            self.tell(datagram.sender, What.ARRIVED, other=machine.label, messages=received.messages)
        elif traced:
            reason = ", ".join(
                key for key, count in endpoint.statistics().items() if count > before.get(key, 0)
            )
            self.tell(datagram.sender, What.DROPPED, other=machine.label, text=reason)
        return received

    def _wake(self, machine: NodeMachine | ClientMachine, core: Replica | Session, when: float) -> None:
        """A timer of the machine has come due, by its own clock. One of an earlier life may be for the same
        moment: a node remembers until when it sits out.
        """
        if machine.core is not core or machine.wakes_at != when:
            return
        machine.wakes_at = inf
        if self.true < machine.paused_until:
            return
        machine.idle_ticks += 1
        if machine.idle_ticks > IDLE_TICKS_MAX:
            now = machine.now(self.true)
            raise CheckFailed("busy", f"{machine.label} ticks without end at {now:.6f} by its clock")
        self.turn(machine, [])

    def set_wake(self, machine: NodeMachine | ClientMachine, core: Replica | Session) -> None:
        """Wake the machine when its next timer comes due."""
        due = core.deadline()
        if due == inf:
            return
        clock = machine.clock
        when = (due - clock.offset) / clock.rate
        if when < machine.wakes_at:
            if when < self.true:
                when = self.true
            if when > self.true:
                machine.idle_ticks = 0
            self._wake_at(machine, core, when)

    def _wake_at(self, machine: NodeMachine | ClientMachine, core: Replica | Session, when: float) -> None:
        machine.wakes_at = when
        self.at(when, self._wake, machine, core, when)

    # Pauses

    def pause(self, machine: SimulatedMachine, lasts: float, *, asleep: bool) -> None:
        """The machine's process stands still; or, ``asleep``, the whole machine sleeps. Its clock goes on."""
        machine.paused_until = self.true + lasts
        machine.asleep = asleep
        self.at(machine.paused_until, self.resume, machine, max(0.0, machine.wakes_at - self.true))

    def resume(self, machine: SimulatedMachine, left: float = 0.0) -> None:
        """A paused machine goes on: with what has arrived meanwhile, then with what has come due.

        After a sleep nothing has arrived, and timers have ``left`` what they had: trio's do not count it.
        """
        if self.true < machine.paused_until or machine.paused_until == -inf:
            return
        machine.paused_until = -inf
        machine.calm_since = max(machine.calm_since, self.true)
        slept, machine.asleep = machine.asleep, False
        machine.wakes_at = inf
        self.tell(machine.label, What.RESUMED)
        backlog, machine.backlog = machine.backlog, []
        if isinstance(machine, NodeMachine):
            self.nodes.resumed(machine)
        if isinstance(machine, ClientMachine):
            machine.slept = slept
            left = min(left, RESUME_CHECK_S) if slept else left
        if slept and isinstance(machine, NodeMachine | ClientMachine) and machine.core is not None:
            if left < inf:
                self._wake_at(machine, machine.core, self.true + left)
            return
        for first in range(0, max(1, len(backlog)), DRAIN_MAX_DATAGRAMS):
            self.turn(machine, backlog[first : first + DRAIN_MAX_DATAGRAMS])

    # Parts

    def clock_of(self, label: str) -> SimulatedClock:
        """A clock within the drift, for the machine of this name."""
        rng, drift = Random(f"clock {self.seed} {label}"), self.scenario.drift
        rate = rng.choice((1.0 - drift, 1.0, 1.0 + drift, rng.uniform(1.0 - drift, 1.0 + drift)))
        return SimulatedClock(rng.uniform(1.0, 1_000_000.0), rate)

    def endpoint(
        self,
        sender: Sender,
        key_file: KeyFile,
        members: Mapping[str, Sequence[Address]],
        wall_offset: float | None = None,
    ) -> Endpoint:
        """The endpoint of one run of a node, or of one session, with the keys that its file has now."""
        secret = Random(f"secret {self.seed} {sender.identity.hex()}").randbytes(16)
        made = Endpoint(
            sender,
            self.rotation.read(key_file),
            cell_id=CELL_ID,
            epoch=EPOCH,
            members=members,
            wall_offset=wall_offset,
            secret=secret,
        )
        self._endpoints.append(made)
        if self.rotation.book is not None:
            self.rotation.book.loaded(made, key_file.generations)
        return made


def run(seed: int, scenario: Scenario | None = None, *, faults: tuple[Fault, ...] | None = None) -> Outcome:
    """Play one run; raises CheckFailed, with the seed and the moment, where a rule is broken."""
    return Simulation(seed, scenario, faults=faults).run()
