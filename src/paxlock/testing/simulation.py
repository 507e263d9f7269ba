"""The deterministic simulator: nodes, clients, clocks, disks and a network, all from one seed.

The machines are the shipped ones (core/replica.py, core/session.py), driven through their seam; everything
around them is simulated in true time. A run has three parts: faults; the heal, after which every waiting
candidate must be served; and the end, at which every watcher must show the last state.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from random import Random
from typing import Any

import attrs

from paxlock.core import acceptor, lease_manager, recovery
from paxlock.core.durable import Durability, Membership
from paxlock.core.lease import quarantine
from paxlock.core.messages import Member, Message, NodeMode, Peer, Release, Released
from paxlock.core.recovery import Start, begin
from paxlock.core.replica import MemoryLost, ModeChanged, Replica, ReplicaSettings
from paxlock.core.session import Session, SessionSettings
from paxlock.errors import ConfigError
from paxlock.testing.checkers import CheckFailed, Histories, NodeChecker, Progress
from paxlock.testing.faults import Faults
from paxlock.testing.machines import ClientMachine, Clock, Machine, NodeMachine
from paxlock.testing.network import Network
from paxlock.testing.scenario import Scenario
from paxlock.testing.workload import Workload

__all__ = ["Outcome", "Simulation", "run"]

UNIX_S = 1_700_000_000
CELL_ID = b"simulated cell.."
EPOCH = 1
IDLE_TICKS_MAX = 2_000
EVENTS_MAX = 400_000
START_S = 0.05  #: faults begin when the cell has had this long to form
LAPSE_S = 0.3  #: what a dead candidate may cost on top of a ttl: graces and lapsing places in the line
LOOK_S = 0.05
END_S = 3.0  #: how long watchers may take to arrive at the last state

Action = Callable[..., None]


@attrs.frozen
class Outcome:
    """What a run that broke no rule was like."""

    seed: int
    events: int
    tenures: int
    longest_gap: float
    true_time: float


@contextmanager
def _limits(scenario: Scenario) -> Iterator[None]:
    """Small limits make rare cases common: split Renews, a ceiling that is often reached."""
    changed: tuple[tuple[Any, str, int], ...] = (
        (lease_manager, "ATTEMPTS_PER_RENEW", scenario.attempts_per_renew),
        (acceptor, "CEILING_STEP_TERMS", scenario.ceiling_step),
        (recovery, "CEILING_STEP_TERMS", scenario.ceiling_step),
    )
    shipped = [getattr(module, name) for module, name, _ in changed]
    for module, name, value in changed:
        setattr(module, name, value)
    try:
        yield
    finally:
        for (module, name, _), value in zip(changed, shipped, strict=True):
            setattr(module, name, value)


class Simulation:
    """One run. ``run()`` plays it to its end and gives its Outcome, or raises CheckFailed."""

    def __init__(self, seed: int, scenario: Scenario | None = None, *, trace: bool = False) -> None:
        self.seed = seed
        self.scenario = scenario if scenario is not None else Scenario.drawn(seed)
        self.rng = Random(seed)
        self.true = 0.0
        self.events = 0
        self.timeline: list[str] | None = [] if trace else None
        self.network = Network(self.scenario, self.rng)
        self.machines: dict[Peer, Machine] = {}
        self.healed_at = inf
        self.healthy_at = inf
        scenario = self.scenario
        first_max = scenario.max_ttl * (1.0 + scenario.drift) / (1.0 - scenario.drift) + LAPSE_S
        self.check = Histories(
            Progress(first_max=first_max, next_max=scenario.handoff_max),
            nodes=NodeChecker(scenario.grace_ms / 1000.0),
        )
        self._heap: list[tuple[float, int, Action, tuple[Any, ...]]] = []
        self._pushed = 0
        self._over = False
        self.members = tuple(
            Member(node_id, f"127.0.0.1:{7400 + at}")
            for at, node_id in enumerate("abcdefg"[: scenario.nodes])
        )
        self.nodes = [NodeMachine(member.node_id, self._clock()) for member in self.members]
        self.machines.update((node.peer, node) for node in self.nodes)
        self.workload = Workload(self)
        self.faults = Faults(self)

    def run(self) -> Outcome:
        """Play the run to its end."""
        try:
            with _limits(self.scenario):
                self._play()
        except CheckFailed as failure:
            raise CheckFailed(failure.check, f"seed {self.seed}, at {self.true:.6f} s: {failure}") from None
        except Exception as error:
            error.add_note(f"in the simulation of seed {self.seed}, at {self.true:.6f} s")
            raise
        longest = self.check.progress.longest
        return Outcome(self.seed, self.events, self.check.exclusion.count, longest, self.true)

    def _play(self) -> None:
        for node in self.nodes:
            self.start(node, create=True)
        self.workload.begin()
        self.faults.begin()
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
        self.note("everything heals")
        self.faults.heal()
        self.workload.heal()
        self._look()

    def _look(self) -> None:
        """Now and then after the heal: is there progress, and is everything done?"""
        if self.healthy_at == inf:
            late = self.true - self.healed_at
            if all(node.core is not None and node.core.mode is NodeMode.SERVING for node in self.nodes):
                self.healthy_at = self.true
            elif late > 2.0 * quarantine(self.scenario.max_ttl, self.scenario.drift) + 2.0:
                raise CheckFailed("progress", f"{late:.3f} s after the heal not all nodes serve")
        else:
            self.look_for_progress()
        if self.workload.settled(self.true):
            self._over = True
            return
        self.at(self.true + LOOK_S, self._look)

    def look_for_progress(self) -> None:
        """After the heal: who waits for what, and is it held?"""
        if self.healthy_at == inf:
            return
        wanted = self.workload.wanted()
        for name in self.workload.names:
            held = bool(self.check.exclusion.holders(name, self.true))
            self.check.progress.look(name, waiting=name in wanted, held=held, true=self.true)

    # Events

    def at(self, true: float, action: Action, *arguments: Any) -> None:
        """Do this at a true time."""
        self._pushed += 1
        heapq.heappush(self._heap, (true, self._pushed, action, arguments))

    def note(self, text: str) -> None:
        """A line of the timeline, where one is kept."""
        if self.timeline is not None:
            self.timeline.append(f"{self.true:10.6f}  {text}")

    def deliver(self, target: Peer, source: Peer, message: Message) -> None:
        """A datagram arrives."""
        machine = self.machines.get(target)
        if machine is None:
            return
        if self.true < machine.paused_until:
            machine.backlog.append((source, message))
        elif type(machine) is NodeMachine:
            self._node_receives(machine, source, message)
        elif type(machine) is ClientMachine and machine.core is not None:
            if self.timeline is not None:
                self.note(f"{_who(source)} -> {_who(target)}  {_show(message)}")
            machine.core.receive(message, source, machine.now(self.true))
            self.client_did(machine)

    def _node_receives(self, node: NodeMachine, source: Peer, message: Message) -> None:
        core = node.core
        if core is None:
            return
        if self.timeline is not None:
            self.note(f"{_who(source)} -> {_who(node.peer)}  {_show(message)}")
        now = node.now(self.true)
        frozen = self.check.nodes.before(node, message, source, now)
        core.receive(message, source, now)
        self._node_did(node, now, frozen, message)

    def _wake(self, machine: NodeMachine | ClientMachine, core: Replica | Session, when: float) -> None:
        """A timer of the machine has come due, by its own clock."""
        if machine.wakes_at != when:
            return
        machine.wakes_at = inf
        if machine.core is not core or self.true < machine.paused_until:
            return
        now = machine.now_for(core.deadline(), self.true)
        machine.idle_ticks += 1
        if machine.idle_ticks > IDLE_TICKS_MAX:
            raise CheckFailed("busy", f"{_who(machine.peer)} ticks without end at {now:.6f} by its clock")
        core.tick(now)
        if type(machine) is NodeMachine:
            self._node_did(machine, now, {}, None)
        elif type(machine) is ClientMachine:
            self.client_did(machine)

    def _set_wake(self, machine: NodeMachine | ClientMachine, core: Replica | Session) -> None:
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
            machine.wakes_at = when
            self.at(when, self._wake, machine, core, when)

    def _send(self, source: Peer, target: Peer, message: Message) -> None:
        for delay in self.network.delays(source, target):
            self._pushed += 1
            heapq.heappush(
                self._heap, (self.true + delay, self._pushed, self.deliver, (target, source, message))
            )

    def resume(self, machine: Machine) -> None:
        """A paused machine goes on: timers first or its backlog first, as it happens."""
        if self.true < machine.paused_until or machine.paused_until == -inf:
            return
        machine.paused_until = -inf
        self.note(f"{_who(machine.peer)} goes on")
        machine.wakes_at = inf
        backlog, machine.backlog = machine.backlog, []
        if isinstance(machine, NodeMachine):
            written, machine.written = machine.written, []
            for record in written:
                self._persisted(machine, machine.core, record)
        for source, message in backlog:
            self.deliver(machine.peer, source, message)
        if isinstance(machine, NodeMachine | ClientMachine) and machine.core is not None:
            self._set_wake(machine, machine.core)

    # Nodes

    def _node_did(
        self, node: NodeMachine, now: float, frozen: dict[Any, float], message: Message | None
    ) -> None:
        core = node.core
        assert core is not None
        effects = core.take_effects()
        if effects.persist is not None:
            node.writing = effects.persist
            scenario = self.scenario
            latency = self.rng.uniform(scenario.persist_min, scenario.persist_max)
            self.at(self.true + latency, self._persisted, node, core, effects.persist)
        for target, answer in effects.sends:
            if isinstance(message, Release) and isinstance(answer, Released):
                self.check.nodes.released(node, message)
            self._send(node.peer, target, answer)
        self.check.nodes.after(node, now, frozen)
        for published in effects.published:
            self.note(f"{_who(node.peer)}: {published}")
            if isinstance(published, MemoryLost):
                raise CheckFailed("memory", f"{_who(node.peer)} says: {published.explanation}")
            if isinstance(published, ModeChanged) and published.mode is NodeMode.SERVING:
                self.check.nodes.serves(node, self.check.exclusion)
        self._set_wake(node, core)

    def _persisted(self, node: NodeMachine, core: Replica | None, record: Any) -> None:
        if node.core is not core or core is None:
            return
        node.disk.record = record
        if self.true < node.paused_until:
            node.written.append(record)
            return
        node.writing = None
        now = node.now(self.true)
        core.persisted(record, now)
        self._node_did(node, now, {}, None)

    def start(self, node: NodeMachine, *, create: bool = False, join: bool = False) -> None:
        """A node that is down starts: its new record first, then the machine."""
        if node.core is not None:
            return
        node.life += 1
        scenario = self.scenario
        memory = scenario.durability is Durability.MEMORY
        try:
            start = begin(
                node.disk.record if not memory else None,
                node.disk.snapshot,
                cell_id=CELL_ID,
                epoch=EPOCH,
                node_id=node.node_id,
                nodes=scenario.nodes,
                max_ttl_ms=scenario.max_ttl_ms,
                drift=scenario.drift,
                durability=scenario.durability,
                unix_seconds=int(UNIX_S + self.true),
                run=_run_of(node),
                create=create and not memory,
                join=join and not memory,
            )
        except ConfigError as error:
            raise CheckFailed("start", f"{_who(node.peer)} does not start: {error}") from error
        node.writing = start.record
        self.note(f"{_who(node.peer)} starts: {start.record}")
        latency = self.rng.uniform(scenario.persist_min, scenario.persist_max)
        self.at(self.true + latency, self._started, node, node.life, start)

    def _started(self, node: NodeMachine, life: int, start: Start) -> None:
        if node.life != life:
            return
        node.disk.record = start.record
        node.writing = None
        node.lost_disk = False
        now = node.now(self.true)
        scenario = self.scenario
        settings = ReplicaSettings(
            node_id=node.node_id,
            members=self.members,
            max_ttl_ms=scenario.max_ttl_ms,
            drift_ppm=scenario.drift_ppm,
            grace_ms=scenario.grace_ms,
            wall_offset=UNIX_S + self.true - now,
        )
        node.forget()
        joins = start.record.membership is Membership.JOINING
        node.asks_from = node.clock.true(now + start.sits_out) if joins else -inf
        node.wakes_at = inf
        if start.snapshot is None:
            node.ended.clear()
        node.core = Replica(settings, start, run=_run_of(node), now=now, rng=self.rng)
        if start.snapshot is not None:
            self.check.nodes.restored(node, start.snapshot, now)
        self._node_did(node, now, {}, None)

    # Clients

    def new_client(self) -> ClientMachine:
        """A session that begins now."""
        scenario = self.scenario
        label = f"client {len(self.machines)}"
        client = ClientMachine(self.rng.randbytes(16), self._clock(), label=label)
        self.machines[client.peer] = client
        settings = SessionSettings(
            members=self.members,
            max_ttl_ms=scenario.max_ttl_ms,
            drift_ppm=scenario.drift_ppm,
            grace_ms=scenario.grace_ms,
            label=label,
        )
        now = client.now(self.true)
        client.core = Session(settings, session=client.session, now=now, rng=self.rng)
        self.client_did(client)
        return client

    def client_did(self, client: ClientMachine) -> None:
        """Carry out what a client's machine wants done."""
        core = client.core
        assert core is not None
        effects = core.take_effects()
        exclusion, sessions = self.check.exclusion, self.check.sessions
        if effects.published:
            self.workload.hear_of_losses(client, effects.published)
        for target, message in effects.sends:
            over = sessions.sent(message)
            if over is not None and exclusion.valid(over, self.true):
                raise CheckFailed("S2", f"attempt {over.attempt} is released while it counts as valid")
            self._send(client.peer, target, message)
        for notice in effects.published:
            self.note(f"{_who(client.peer)}: {notice}")
            self.workload.notice(client, notice)
        if client.core is not None:
            self._set_wake(client, client.core)

    # Within

    def _clock(self) -> Clock:
        drift = self.scenario.drift
        rate = self.rng.choice((1.0 - drift, 1.0, 1.0 + drift, self.rng.uniform(1.0 - drift, 1.0 + drift)))
        return Clock(self.rng.uniform(1.0, 1_000_000.0), rate)


def _run_of(node: NodeMachine) -> bytes:
    """The number of a run: different for every life of every node."""
    return f"{node.node_id}{node.life:015d}".encode()


def _who(peer: Peer) -> str:
    return peer if isinstance(peer, str) else peer.hex()[:6]


def _show(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()[:6]
    kind: Any = type(value)
    if attrs.has(kind):
        shown = (f"{field.name}={_show(getattr(value, field.name))}" for field in attrs.fields(kind))
        return f"{kind.__name__}({', '.join(shown)})"
    if isinstance(value, tuple):
        return f"({', '.join(_show(item) for item in value)})"
    return repr(value)


def run(seed: int, scenario: Scenario | None = None) -> Outcome:
    """Play one run; raises CheckFailed, with the seed and the moment, where a rule is broken."""
    return Simulation(seed, scenario).run()
