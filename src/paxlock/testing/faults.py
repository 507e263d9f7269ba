"""What goes wrong in a run, and when: crashes, clean stops, lost disks, pauses, network splits."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

import attrs

from paxlock.core.durable import Durability, Membership, NodeRecord, Snapshot
from paxlock.testing.machines import ClientMachine, Disk, Machine, NodeMachine

if TYPE_CHECKING:
    from paxlock.testing.simulation import Simulation

__all__ = ["Faults"]

LONG_AWAY = 0.15  #: the share of absences that are measured by max_ttl instead


class Faults:
    """Draws the faults of a run. After ``heal`` there are none, and everything is brought back."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._healed = False
        self._robbed: list[NodeMachine] = []

    def begin(self) -> None:
        scenario = self._sim.scenario
        kinds: tuple[tuple[float, Callable[[], None]], ...] = (
            (scenario.crashes, self._crash_one),
            (scenario.clean_stops, self._stop_one),
            (scenario.disk_losses, self._lose_a_disk),
            (scenario.node_pauses, self._pause_a_node),
            (scenario.client_crashes, self._crash_a_client),
            (scenario.client_pauses, self._pause_a_client),
            (scenario.partitions, self._split),
        )
        for rate, happen in kinds:
            if rate > 0.0:
                self._next(rate, happen)

    def heal(self) -> None:
        """Every node starts again, every machine goes on."""
        self._healed = True
        for machine in list(self._sim.machines.values()):
            if machine.paused_until > self._sim.true:
                machine.paused_until = self._sim.true
                self._sim.resume(machine)
        for node in self._sim.nodes:
            self.bring_back(node)

    def crash(self, node: NodeMachine) -> None:
        """The node loses everything but its disk; a write under way is done or not."""
        sim = self._sim
        if node.writing is not None and sim.rng.random() < 0.5:
            node.disk.record = node.writing
        self._take_down(node)
        sim.note(f"{node.node_id} crashes")

    def stop(self, node: NodeMachine) -> None:
        """A clean stop: nothing more is answered; the snapshot is written, then the record marked clean."""
        sim, core = self._sim, node.core
        assert core is not None
        snapshot, record = core.stop(node.now(sim.true)), core.record
        if snapshot is None:
            self.crash(node)
            return
        self._take_down(node)
        sim.note(f"{node.node_id} stops cleanly")
        life, scenario = node.life, sim.scenario
        marked = attrs.evolve(record, clean=True)
        latency = sim.rng.uniform(scenario.persist_min, scenario.persist_max)
        sim.at(sim.true + latency, self._snapshot_written, node, life, snapshot)
        sim.at(sim.true + 2.0 * latency, self._marked_clean, node, life, marked)

    def bring_back(self, node: NodeMachine) -> None:
        """A node that is down starts, as its disk says."""
        if node.core is not None or node.writing is not None:
            return
        empty = node.disk.record is None
        self._sim.start(node, create=empty and not node.lost_disk, join=empty and node.lost_disk)

    # Each kind

    def _crash_one(self) -> None:
        node = self._a_node()
        if node is not None:
            self.crash(node)
            self._sim.at(self._sim.true + self._away(), self.bring_back, node)

    def _stop_one(self) -> None:
        node = self._a_node()
        if node is not None:
            self.stop(node)
            self._sim.at(self._sim.true + self._away(), self.bring_back, node)

    def _lose_a_disk(self) -> None:
        """One at a time: with two of three disks lost only an operator could help."""
        sim = self._sim
        if sim.scenario.nodes < 3 or sim.scenario.durability is not Durability.RECORD:
            return
        for other in sim.nodes:
            record = other.disk.record
            if other.lost_disk or record is None or record.membership is not Membership.MEMBER:
                return
        node = self._a_node()
        # Once a run for each node: a join takes the unix seconds for its incarnation.
        if node is not None and node not in self._robbed:
            self._robbed.append(node)
            self.crash(node)
            node.disk, node.lost_disk = Disk(), True
            sim.note(f"{node.node_id} has lost its disk")
            sim.at(sim.true + self._away(), self.bring_back, node)

    def _pause_a_node(self) -> None:
        node = self._a_node()
        if node is not None:
            self._pause(node)

    def _crash_a_client(self) -> None:
        client = self._a_client()
        if client is not None:
            self._sim.workload.vanish(client)

    def _pause_a_client(self) -> None:
        client = self._a_client()
        if client is not None:
            self._pause(client)

    def _split(self) -> None:
        sim = self._sim
        share = sim.rng.uniform(0.1, 0.6)
        apart = frozenset(peer for peer in sim.machines if sim.rng.random() < share)
        sim.network.split(apart)
        sim.note(f"split off: {', '.join(p if isinstance(p, str) else p.hex()[:6] for p in apart)}")
        sim.at(sim.true + self._away(), sim.network.join)

    # Within

    def _next(self, rate: float, happen: Callable[[], None]) -> None:
        self._sim.at(self._sim.true + self._sim.rng.expovariate(rate), self._now, rate, happen)

    def _now(self, rate: float, happen: Callable[[], None]) -> None:
        if not self._healed:
            happen()
            self._next(rate, happen)

    def _away(self) -> float:
        rng, scenario = self._sim.rng, self._sim.scenario
        if rng.random() < LONG_AWAY:
            return rng.uniform(0.0, 1.5) * scenario.max_ttl
        return rng.uniform(0.0, scenario.away_max)

    def _pause(self, machine: Machine) -> None:
        sim = self._sim
        if machine.paused_until == -inf:
            machine.paused_until = sim.true + self._away()
            sim.note(f"{machine.peer!r} is paused until {machine.paused_until:.6f}")
            sim.at(machine.paused_until, sim.resume, machine)

    def _take_down(self, node: NodeMachine) -> None:
        node.life += 1
        node.core = None
        node.writing = None
        node.backlog.clear()
        node.written.clear()
        node.forget()

    def _snapshot_written(self, node: NodeMachine, life: int, snapshot: Snapshot) -> None:
        if node.life == life:
            node.disk.snapshot = snapshot

    def _marked_clean(self, node: NodeMachine, life: int, record: NodeRecord) -> None:
        if node.life == life:
            node.disk.record = record

    def _a_node(self) -> NodeMachine | None:
        up = [node for node in self._sim.nodes if node.core is not None]
        return self._sim.rng.choice(up) if up else None

    def _a_client(self) -> ClientMachine | None:
        found = self._sim.workload.clients
        return self._sim.rng.choice(found) if found else None
