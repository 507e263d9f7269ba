"""The nodes of a run: their starts and stops, their disks, and the turns in which they do something.

A turn is that of the shell (runtime/driver.py): everything that has arrived is fed to the machine, then what
has come due, and all that is to be sent leaves, one datagram for each peer.
"""

from __future__ import annotations

from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, NodeRecord, SeenNode, Snapshot, StartWord
from paxlock.core.messages import Member, Message, NodeMode, Release, Released
from paxlock.core.node.keeping import replay
from paxlock.core.node.replica import MemoryLost, ModeChanged, Replica, ReplicaSettings
from paxlock.core.node.starts import Start, begin
from paxlock.errors import ConfigError
from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.endurance import SLOW_WRITE_S
from paxlock.simulator.machines import Datagram, NodeMachine
from paxlock.simulator.moments import What
from paxlock.wire.endpoint import Endpoint, NodeSender, Received

if TYPE_CHECKING:
    from paxlock.simulator.simulation import Simulation

__all__ = ["CELL_ID", "EPOCH", "Nodes"]

UNIX_S = 1_700_001_000  #: above the time that a clock which was never set shows
CELL_ID = b"simulated cell.."
EPOCH = 1
FIRST_PORT = 7400
CLOCKS_AHEAD, CLOCK_AHEAD_MAX_S = 0.2, 40_000


class Nodes:
    """All nodes, up or down."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = sim = simulation
        self.members = tuple(
            Member(node_id, f"127.0.0.1:{FIRST_PORT + at}")
            for at, node_id in enumerate("abcdefg"[: sim.scenario.nodes])
        )
        scenario = sim.scenario
        self.configuration = Configuration(
            self.members, scenario.max_ttl_ms, scenario.drift_ppm, scenario.grace_ms
        )
        self.addresses = {
            member.node_id: (("127.0.0.1", FIRST_PORT + at),) for at, member in enumerate(self.members)
        }
        self.all = [
            NodeMachine(node_id, address, sim.clock_of(node_id), rng=Random(f"disk {sim.seed} {node_id}"))
            for node_id, (address,) in self.addresses.items()
        ]
        self._noted: set[tuple[str, SeenNode]] = set()  #: who has ever written down which life of another
        self.twins: list[NodeMachine] = []  #: old processes of nodes that have joined elsewhere
        self.left_out: set[str] = set()  #: by the heal: nobody brings them back
        self.gone: set[str] = set()  #: for good, as their operator says
        for node in self.all:
            sim.network.machines[node.address] = node

    @property
    def up(self) -> list[NodeMachine]:
        return [node for node in self.all if node.core is not None]

    def begin(self) -> None:
        """Create the cell."""
        for node in self.all:
            self.start(node, StartWord.AUTO if self._sim.scenario.auto else StartWord.CREATE)

    # Twins

    def move(self, node: NodeMachine) -> NodeMachine:
        """The node's address was changed in the cell file, and it is to join there. Its old process lives on:
        clients that have begun before go on with it, but nothing passes between it and the nodes any more.
        """
        sim, place = self._sim, len(self.twins) + len(self.all)
        new = NodeMachine(
            node.node_id,
            ("127.0.0.1", FIRST_PORT + place),
            sim.clock_of(f"{node.node_id} {place}"),
            rng=Random(f"disk {sim.seed} {node.node_id} {place}"),
            life=node.life + 1,
            lost_disk=True,
        )
        node.label = f"{node.node_id} (life {len(self.twins)})"
        self.all[self.all.index(node)] = new
        self.twins.append(node)
        sim.network.machines[new.address] = new
        sim.network.part(node.label)
        self.addresses[new.node_id] = (new.address,)
        for other in self.all:
            if other.endpoint is not None:
                other.endpoint.configure(CELL_ID, EPOCH, self.addresses)
        return new

    def end_twins(self) -> None:
        """Old processes end at last, and every client learns where the nodes are by now."""
        for node in self.twins:
            if node.core is not None or node.writing is not None:
                self.crash(node)
        if self.twins:
            for client in self._sim.workload.clients:
                client.endpoint.configure(CELL_ID, EPOCH, self.addresses)

    # Turns

    def turn(self, node: NodeMachine, datagrams: list[Datagram]) -> None:
        """The node takes what has arrived, and does what has come due."""
        sim, core, endpoint = self._sim, node.core, node.endpoint
        if core is None or endpoint is None:
            return
        check = sim.check.nodes
        for datagram in datagrams:
            received = sim.receive(node, endpoint, datagram)
            if received is None:
                continue
            now = node.now(sim.true)
            for message in received.messages:
                if sim.insiders.is_made_up(message, received.peer):
                    self._hear_made_up(node, core, endpoint, now, message, received)
                    continue
                frozen = check.before(node, message, received.peer, now)
                core.receive(message, received.peer, now, received.lives)
                self._did(node, core, endpoint, now, frozen, message)
        due = core.deadline()
        now = node.now_for(due, sim.true)
        if due <= now:
            core.tick(now)
            self._did(node, core, endpoint, now, {}, None)
        sim.network.flush(node, endpoint)
        sim.set_wake(node, core)

    def _hear_made_up(
        self,
        node: NodeMachine,
        core: Replica,
        endpoint: Endpoint,
        now: float,
        message: Message,
        received: Received,
    ) -> None:
        """What has run out by now runs out; beyond that nothing changes."""
        core.tick(now)
        self._did(node, core, endpoint, now, {}, None)
        before = self._sim.insiders.state(node, message)
        core.receive(message, received.peer, now, received.lives)
        self._did(node, core, endpoint, now, {}, None)
        self._sim.insiders.changed_nothing(node, message, before)

    def _did(
        self,
        node: NodeMachine,
        core: Replica,
        endpoint: Endpoint,
        now: float,
        frozen: dict[Any, float],
        message: Message | None,
    ) -> None:
        """Carry out what the machine wants done, and look at what it has done."""
        sim = self._sim
        effects = core.take_effects()
        if effects.keep is not None:
            disk = node.disk
            disk.kept = [effects.keep] if effects.keep.whole else [*disk.kept, effects.keep]
            disk.kept_by = core.record.incarnation
        if effects.persist is not None:
            node.writing = effects.persist
            self._write(node, self._persisted, core, effects.persist)
        if effects.lives is not None:
            endpoint.live(effects.lives)
        for target, answer in effects.sends:
            if isinstance(message, Release) and isinstance(answer, Released):
                sim.check.nodes.released(node, message)
            endpoint.queue(target, answer)
        sim.check.nodes.after(node, now, frozen)
        for published in effects.published:
            sim.tell(node.label, What.NOTICE, text=str(published))
            if isinstance(published, MemoryLost) and node in self.twins:
                sim.at(sim.true, self._outlived, node, node.life)
            elif isinstance(published, MemoryLost):
                raise CheckFailed("memory", f"{node.label} says: {published.explanation}")
            if isinstance(published, ModeChanged) and published.joins:
                self._joins(node, core, published, now)
            if isinstance(published, ModeChanged) and published.mode is NodeMode.SERVING:
                node.calm_since = max(node.calm_since, sim.true)
                sim.check.nodes.serves(node, sim.check.exclusion)

    def _outlived(self, node: NodeMachine, life: int) -> None:
        """An old process has heard of the new life: it stops."""
        if node.life == life:
            self.crash(node)

    def _joins(self, node: NodeMachine, core: Replica, changed: ModeChanged, now: float) -> None:
        """A node without memory goes on: before it sits out, enough others must have noted it (S15)."""
        if changed.mode is NodeMode.RECOVERING:
            mine = core.record.incarnation
            by = {
                other
                for other, seen in self._noted
                if seen.node_id == node.node_id and seen.incarnation >= mine
            }
            self._sim.check.nodes.sits_out(node, len(by - {node.label}), len(self.all))
            node.asks_from = node.clock.true(now + changed.sits_out)

    # The disk

    def _write(self, node: NodeMachine, done: Any, *arguments: Any) -> None:
        """A write begins; ``done(node, *arguments)`` when it is durable."""
        sim, disk = self._sim, node.disk
        latency = node.rng.uniform(sim.scenario.persist_min, sim.scenario.persist_max)
        if sim.true < disk.slow_until:
            latency += node.rng.random() * disk.slow_by
        if latency > SLOW_WRITE_S:
            node.calm_since = max(node.calm_since, sim.true + latency)
        sim.at(sim.true + latency, self._written, node, node.life, done, arguments)

    def _written(self, node: NodeMachine, life: int, done: Any, arguments: tuple[Any, ...]) -> None:
        if node.life != life:
            return
        if node.disk.fails_for is not None:
            self._write_failed(node, node.disk.fails_for)
        else:
            done(node, *arguments)

    def _write_failed(self, node: NodeMachine, down_for: float) -> None:
        """The node stops at once, as the shell does: this memory may not be trusted for a clean stop."""
        sim = self._sim
        node.disk.fails_for = None
        sim.tell(node.label, What.DISK, text="a write has failed")
        self.crash(node)
        sim.at(sim.true + down_for, self.bring_back, node)

    def _persisted(self, node: NodeMachine, core: Replica, record: NodeRecord) -> None:
        sim = self._sim
        node.disk.record = record
        self._noted.update((node.label, seen) for seen in record.seen)
        if sim.true < node.paused_until:
            node.written.append(record)
            return
        assert node.endpoint is not None
        node.writing = None
        now = node.now(sim.true)
        core.persisted(record, now)
        self._did(node, core, node.endpoint, now, {}, None)
        sim.network.flush(node, node.endpoint)
        sim.set_wake(node, core)

    def resumed(self, node: NodeMachine) -> None:
        """A paused node goes on: what was written meanwhile is told first."""
        written, node.written = node.written, []
        for record in written:
            if node.core is not None:
                self._persisted(node, node.core, record)

    # Starts and stops

    def start(self, node: NodeMachine, word: StartWord = StartWord.AUTO) -> None:
        """A node that is down starts: its new record first, then the machine."""
        sim, scenario = self._sim, self._sim.scenario
        node.life += 1
        memory = scenario.durability is Durability.MEMORY
        old = node.disk.record
        same_run = old is not None and node.disk.kept_by == old.incarnation
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
                unix_seconds=self._unix_seconds(node),
                run=_run_of(node),
                word=word,
                kept=replay(node.disk.kept) if same_run else None,
                rebooted=node.disk.rebooted,
                now=node.now(sim.true),
            )
        except ConfigError as error:
            raise CheckFailed("start", f"{node.label} does not start: {error}") from error
        node.disk.rebooted = False
        node.writing = start.record
        sim.tell(node.label, What.STARTED, text=str(start.record))
        self._write(node, self._started, start)

    def _unix_seconds(self, node: NodeMachine) -> int:
        """No two starts are in one second: the shell waits. Now and then the clock of the machine is ahead
        (which a node must not be where nobody else remembers its incarnation, without a disk or after all
        disks were lost: its clients would take every later start for an old one).
        """
        rng = Random(f"date {self._sim.seed} {node.label} {node.life}")
        scenario = self._sim.scenario
        remembered = scenario.durability is not Durability.MEMORY and not scenario.auto
        ahead = rng.randrange(CLOCK_AHEAD_MAX_S) if remembered and rng.random() < CLOCKS_AHEAD else 0
        return UNIX_S + node.life + ahead

    def _clock_off(self, node: NodeMachine) -> float:
        """How wrong the wall clock is at a start: any two of them agree to within max_ttl (section 7)."""
        half = self._sim.scenario.max_ttl / 2.0
        off = Random(f"clock off {self._sim.seed} {node.label} {node.life}").uniform(-half, half)
        return off if self._sim.scenario.auto else 0.0

    def _started(self, node: NodeMachine, start: Start) -> None:
        sim = self._sim
        node.disk.record = start.record
        self._noted.update((node.label, seen) for seen in start.record.seen)
        node.writing = None
        node.lost_disk = False
        now = node.now(sim.true)
        settings = ReplicaSettings(
            node_id=node.node_id,
            configuration=self.configuration,
            wall_offset=UNIX_S + sim.true - now + self._clock_off(node),
        )
        node.forget()
        node.asks_from = -inf
        node.wakes_at = inf
        if start.snapshot is None:
            node.ended.clear()
            node.barred.clear()
        run = _run_of(node)
        node.core = core = Replica(
            settings, start, run=run, now=now, rng=Random(f"node {sim.seed} {node.label} {node.life}")
        )
        sender = NodeSender(node.node_id, start.record.incarnation, run)
        keys = sim.rotation.of_node(node.node_id)
        node.endpoint = sim.endpoint(sender, keys, self.addresses, settings.wall_offset)
        if start.snapshot is not None:
            sim.check.nodes.restored(node, start, now)
        node.held_when_killed.clear()
        self._did(node, core, node.endpoint, now, {}, None)
        sim.network.flush(node, node.endpoint)
        sim.set_wake(node, core)

    def crash(self, node: NodeMachine) -> None:
        """The machine of the node loses everything but its disk; a write under way is done or not."""
        if self._sim.scenario.durability is Durability.SYNC:
            node.held_when_killed = dict(node.held)
            node.disk.rebooted = True
        else:
            node.held_when_killed.clear()
            node.disk.kept = []
        self._die(node)
        self._sim.tell(node.label, What.STOPPED, text="crashed")

    def kill(self, node: NodeMachine) -> None:
        """The process ends, and its machine goes on: what was written is there, durable or not."""
        node.held_when_killed = dict(node.held)
        self._die(node)
        self._sim.tell(node.label, What.STOPPED, text="killed")

    def _die(self, node: NodeMachine) -> None:
        if node.writing is not None and node.rng.random() < 0.5:
            node.disk.record = node.writing
        self._take_down(node)

    def stop(self, node: NodeMachine) -> None:
        """A clean stop: nothing more is answered; the snapshot is written, then the record marked clean."""
        sim, core = self._sim, node.core
        assert core is not None
        snapshot, record = core.stop(node.now(sim.true)), core.record
        if snapshot is None:
            self.crash(node)
            return
        self._take_down(node)
        sim.tell(node.label, What.STOPPED, text="cleanly")
        self._write(node, self._snapshot_written, snapshot, attrs.evolve(record, clean=True))

    def _snapshot_written(self, node: NodeMachine, snapshot: Snapshot, marked: NodeRecord) -> None:
        node.disk.snapshot = snapshot
        self._write(node, self._marked_clean, marked)

    def _marked_clean(self, node: NodeMachine, marked: NodeRecord) -> None:
        node.disk.record = marked

    def bring_back(self, node: NodeMachine) -> None:
        """A node that is down starts, as its disk says."""
        if node.core is not None or node.writing is not None or node.label in self.left_out | self.gone:
            return
        if node.disk.record is not None or self._sim.scenario.auto:
            self.start(node, StartWord.BY_CLOCK if self.gone else StartWord.AUTO)
        else:
            self.start(node, StartWord.JOIN if node.lost_disk else StartWord.CREATE)

    def _take_down(self, node: NodeMachine) -> None:
        node.life += 1
        node.core = node.endpoint = None
        node.writing = None
        node.paused_until, node.asleep = -inf, False
        node.backlog.clear()
        node.written.clear()
        node.forget()


def _run_of(node: NodeMachine) -> bytes:
    """The number of a run: different for every life of every node."""
    return f"{node.node_id}{node.life:015d}".encode()
