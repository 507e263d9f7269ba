"""Makes happen what the plan of a run says (plan.py): to nodes, clients, disks and links."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from random import Random
from typing import TYPE_CHECKING

from paxlock.core.durable import Durability, Membership
from paxlock.core.messages import NodeMode
from paxlock.core.node.joining import WAIVED_AFTER_S
from paxlock.core.quorum import majority
from paxlock.simulator.machines import ClientMachine, NodeMachine, SimulatedDisk, SimulatedMachine
from paxlock.simulator.moments import What
from paxlock.simulator.plan import Fault, FaultKind

if TYPE_CHECKING:
    from paxlock.simulator.simulation import Simulation

__all__ = ["Faults"]

SPLIT_SHARE_MIN, SPLIT_SHARE_MAX = 0.1, 0.6
LINKS_SHARE_MIN, LINKS_SHARE_MAX = 0.05, 0.5
GONE_STARTS = 3.0  #: a node that is gone for good is so for as long as so many starts without it take


class Faults:
    """Carries out the faults of a run. ``heal`` ends them, and brings back a quorum at least."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._healed = False
        self._kinds: dict[FaultKind, Callable[[Fault], str | None]] = {
            FaultKind.CRASH: self._crash,
            FaultKind.KILL: self._kill,
            FaultKind.CLEAN_STOP: self._stop,
            FaultKind.DISK_LOSS: self._lose_a_disk,
            FaultKind.WIPE: self._wipe,
            FaultKind.GONE: self._be_gone,
            FaultKind.DISK_FAILURE: self._fail_a_disk,
            FaultKind.SLOW_DISK: self._slow_a_disk,
            FaultKind.NODE_PAUSE: self._pause_a_node,
            FaultKind.NODE_SUSPEND: self._pause_a_node,
            FaultKind.CLIENT_CRASH: self._crash_a_client,
            FaultKind.CLIENT_PAUSE: self._pause_a_client,
            FaultKind.CLIENT_SUSPEND: self._pause_a_client,
            FaultKind.CLIENT_STALL: self._stall_a_client,
            FaultKind.DAEMON: self._close_all,
            FaultKind.FORK: self._fork,
            FaultKind.SPLIT: self._split,
            FaultKind.ONE_WAY_SPLIT: self._split_one_way,
            FaultKind.BROKEN_LINKS: self._break_links,
            FaultKind.HOLDER_CUT_OFF: self._cut_off_a_holder,
            FaultKind.TWIN: self._start_a_twin,
            FaultKind.ECHO: self._echo,
        }

    def begin(self) -> None:
        """Every fault of the plan has its moment."""
        for fault in self._sim.plan:
            self._sim.at(fault.at, self._happen, fault)

    def heal(self) -> None:
        """Every machine goes on, and every node starts again, but for those that are left out."""
        sim, nodes = self._sim, self._sim.nodes
        self._healed = True
        machines: list[SimulatedMachine] = [*nodes.all, *sim.workload.clients]
        for machine in machines:
            if machine.paused_until > sim.true:
                machine.paused_until = sim.true
                sim.resume(machine)
        for client in sim.workload.clients:
            client.stall = 0.0  # one that was to come
        for node in nodes.all:
            node.disk.slow_until, node.disk.fails_for = -inf, None
        nodes.end_twins()
        for node in nodes.all:
            self._comes_back(node)
        self._leave_out()
        for node in nodes.all:
            nodes.bring_back(node)

    def _leave_out(self) -> None:
        """Of some nodes, fewer than a quorum, half the times dead and half the times out of reach.

        Those that are still to become members are left out first: they need more than a quorum of others.
        """
        sim, nodes = self._sim, self._sim.nodes
        rng = Random(f"left out {sim.seed}")
        record = sim.scenario.durability is not Durability.MEMORY
        new = [node for node in nodes.all if not (_is_member(node) if record else _serves(node))]
        count = min(sim.scenario.left_out, (len(nodes.all) - 1) // 2)
        if len(new) > count:
            return
        old = [node for node in nodes.all if node not in new]
        for node in [*new, *rng.sample(old, len(old))][:count]:
            nodes.left_out.add(node.label)
            dead = rng.random() < 0.5
            sim.tell(node.label, What.FAULT, text="stays dead" if dead else "stays out of reach")
            if not dead:
                sim.network.isolate(node.label)
            elif node.core is not None or node.writing is not None:
                nodes.crash(node)

    def _happen(self, fault: Fault) -> None:
        if self._healed:
            return
        what = self._kinds[fault.kind](fault)
        if what is not None:
            self._sim.tell("network" if "->" in what else what, What.FAULT, text=f"{fault} {what}")

    # Nodes. Each of these says who is concerned, or None where nobody can be.

    def _crash(self, fault: Fault) -> str | None:
        node = self._a_node(fault)
        if node is None:
            return None
        self._sim.nodes.crash(node)
        return self._back(node, fault)

    def _kill(self, fault: Fault) -> str | None:
        node = self._a_node(fault)
        if node is None:
            return None
        self._sim.nodes.kill(node)
        return self._back(node, fault)

    def _stop(self, fault: Fault) -> str | None:
        node = self._a_node(fault)
        if node is None:
            return None
        self._sim.nodes.stop(node)
        return self._back(node, fault)

    def _lose_a_disk(self, fault: Fault) -> str | None:
        """One at a time, unless nodes start by themselves: with two of three disks lost the rest could not
        help.
        """
        sim = self._sim
        if sim.scenario.durability is Durability.MEMORY:
            return None
        alone = sim.scenario.nodes < 3 or any(
            node.lost_disk or not _is_member(node) for node in sim.nodes.all
        )
        node = self._a_node(fault)
        if node is None or (alone and not sim.scenario.auto):
            return None
        return self._without_disk(node, fault)

    def _wipe(self, fault: Fault) -> str | None:
        if not self._sim.scenario.auto:
            return None
        for node in self._sim.nodes.all:
            self._without_disk(node, fault)
        return "all nodes -> empty disks"

    def _be_gone(self, fault: Fault) -> str | None:
        """So few at a time that N - quorum + 1 others are left for every one. Half of them live on: they are
        out of reach for the nodes, and not for the clients.
        """
        sim, gone = self._sim, self._sim.nodes.gone
        node = self._a_node(fault)
        if not sim.scenario.auto or node is None or node.lost_disk or node.label in gone:
            return None
        if len(gone) >= majority(sim.scenario.nodes) - 2:
            return None
        gone.add(node.label)
        if fault.rng().random() < 0.5:
            sim.nodes.crash(node)
        else:
            sim.network.part(node.label)
        starts = GONE_STARTS * (sim.scenario.sits_out + WAIVED_AFTER_S)
        sim.at(sim.true + fault.lasts + starts, self._comes_back, node)
        return node.label

    def _comes_back(self, node: NodeMachine) -> None:
        """It was not gone: it is here, with the memory that it had."""
        sim = self._sim
        if node.label in sim.nodes.gone:
            sim.nodes.gone.discard(node.label)
            sim.network.mend(node.label)
            sim.tell(node.label, What.FAULT, text="was not gone")
            sim.nodes.bring_back(node)

    def _without_disk(self, node: NodeMachine, fault: Fault) -> str:
        self._sim.nodes.crash(node)
        node.disk, node.lost_disk = SimulatedDisk(), True
        return self._back(node, fault)

    def _start_a_twin(self, fault: Fault) -> str | None:
        """One at a time, as with lost disks; and nodes without a disk nothing protects (section 7)."""
        sim = self._sim
        if sim.scenario.nodes < 3 or sim.scenario.durability is Durability.MEMORY:
            return None
        if any(node.lost_disk or not _is_member(node) for node in sim.nodes.all):
            return None
        node = self._a_node(fault)
        if node is None or node.label in sim.nodes.gone:
            return None
        return self._back(sim.nodes.move(node), fault)

    def _echo(self, fault: Fault) -> str | None:
        count = self._sim.network.echo(fault.rng())
        return f"{count} datagrams of lives that are over -> nodes" if count else None

    def _fail_a_disk(self, fault: Fault) -> str | None:
        node = self._a_node(fault)
        if node is None or self._sim.scenario.durability is Durability.MEMORY:
            return None
        node.disk.fails_for = fault.lasts
        return node.label

    def _slow_a_disk(self, fault: Fault) -> str | None:
        node = self._a_node(fault)
        if node is None:
            return None
        node.disk.slow_until, node.disk.slow_by = self._sim.true + fault.lasts, fault.lasts
        return node.label

    def _pause_a_node(self, fault: Fault) -> str | None:
        return self._pause(self._a_node(fault), fault)

    def _back(self, node: NodeMachine, fault: Fault) -> str:
        self._sim.at(self._sim.true + fault.lasts, self._sim.nodes.bring_back, node)
        return node.label

    # Clients

    def _crash_a_client(self, fault: Fault) -> str | None:
        client = self._a_client(fault)
        if client is None:
            return None
        self._sim.workload.vanish(client)
        return client.label

    def _pause_a_client(self, fault: Fault) -> str | None:
        return self._pause(self._a_client(fault), fault)

    def _stall_a_client(self, fault: Fault) -> str | None:
        """Within a turn to come: when it has counted, told or done something, and goes on with that later."""
        client = self._a_client(fault)
        if client is None or self._sim.true < client.paused_until:
            return None
        client.stall = fault.lasts
        return client.label

    def _fork(self, fault: Fault) -> str | None:
        client = self._a_client(fault)
        if client is None or self._sim.true < client.paused_until:
            return None
        self._sim.children.fork(client, fault.rng())
        self._sim.last_wills.fork(client, fault.lasts)
        return client.label

    def _close_all(self, fault: Fault) -> str | None:
        client = self._a_client(fault)
        if client is None or not self._sim.last_wills.daemonise(client):
            return None
        return client.label

    def _pause(self, machine: SimulatedMachine | None, fault: Fault) -> str | None:
        if machine is None or self._sim.true < machine.paused_until:
            return None
        asleep = fault.kind in (FaultKind.NODE_SUSPEND, FaultKind.CLIENT_SUSPEND)
        self._sim.pause(machine, fault.lasts, asleep=asleep)
        return machine.label

    # Links

    def _split(self, fault: Fault) -> str | None:
        return self._divide(fault, both_ways=True)

    def _split_one_way(self, fault: Fault) -> str | None:
        return self._divide(fault, both_ways=False)

    def _divide(self, fault: Fault, *, both_ways: bool) -> str:
        rng, labels = fault.rng(), self._labels()
        share = rng.uniform(SPLIT_SHARE_MIN, SPLIT_SHARE_MAX)
        apart = [label for label in labels if rng.random() < share]
        rest = [label for label in labels if label not in apart]
        return self._cut(fault, apart, rest, both_ways=both_ways)

    def _break_links(self, fault: Fault) -> str:
        rng, labels = fault.rng(), self._labels()
        share = rng.uniform(LINKS_SHARE_MIN, LINKS_SHARE_MAX)
        links = [(one, other) for one in labels for other in labels if rng.random() < share]
        self._sim.network.cut(frozenset(links), fault.lasts)
        return f"{len(links)} links -> nowhere"

    def _cut_off_a_holder(self, fault: Fault) -> str | None:
        sim, rng = self._sim, fault.rng()
        holders = {
            tenure.candidate.session
            for name in sim.workload.names
            for tenure in sim.check.exclusion.holders(name, sim.true)
        }
        found = [client for client in sim.workload.clients if client.session in holders]
        if not found:
            return None
        client = found[fault.target % len(found)]
        nodes = rng.sample(list(sim.nodes.addresses), majority(sim.scenario.nodes))
        way = rng.choice(("both", "out", "in"))
        if way == "in":
            return self._cut(fault, nodes, [client.label], both_ways=False)
        return self._cut(fault, [client.label], nodes, both_ways=way == "both")

    def _cut(self, fault: Fault, apart: Iterable[str], rest: Iterable[str], *, both_ways: bool) -> str:
        links = [(one, other) for one in apart for other in rest]
        if both_ways:
            links += [(other, one) for one, other in links]
        self._sim.network.cut(frozenset(links), fault.lasts)
        return f"{', '.join(apart)} {'<->' if both_ways else '->'} {', '.join(rest)}"

    def _labels(self) -> list[str]:
        return [*self._sim.nodes.addresses, *(client.label for client in self._sim.workload.clients)]

    # Whom

    def _a_node(self, fault: Fault) -> NodeMachine | None:
        up = self._sim.nodes.up
        return up[fault.target % len(up)] if up else None

    def _a_client(self, fault: Fault) -> ClientMachine | None:
        found = self._sim.workload.clients
        return found[fault.target % len(found)] if found else None


def _serves(node: NodeMachine) -> bool:
    return node.core is not None and node.core.mode is NodeMode.SERVING


def _is_member(node: NodeMachine) -> bool:
    record = node.disk.record
    return record is not None and record.membership is Membership.MEMBER
