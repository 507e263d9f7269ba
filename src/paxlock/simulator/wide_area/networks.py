"""The networks that are measured, and how a simulated run plays one."""

from __future__ import annotations

from random import Random

import attrs

from paxlock.core.quorum import majority
from paxlock.simulator.network import Link, Network
from paxlock.simulator.scenario import Scenario
from paxlock.simulator.simulation import Simulation
from paxlock.simulator.workload import Workload

__all__ = ["NETWORKS", "QUICK", "Net", "WideSimulation"]

ROUND_TRIPS_MS = (0.4, 10.0, 20.0, 50.0, 150.0, 300.0)
JITTERS = (1.0, 3.0)
LOSSES = (0.0, 0.01, 0.05, 0.2)
NODES = "abc"
#: Round trips in milliseconds between three regions, each with one node and a third of the clients.
REGIONS_MS = ((1.0, 40.0, 120.0), (40.0, 1.0, 120.0), (120.0, 120.0, 1.0))


@attrs.frozen
class Net:
    """One network. Times are seconds.

    ``trips`` are round trips between regions; with one region it is the same everywhere. With a ``jitter`` of
    3 the slowest datagram takes three times as long as the fastest, and all of them on average what they take
    with 1.
    """

    label: str
    trips: tuple[tuple[float, ...], ...]
    jitter: float = 1.0
    loss: float = 0.0

    def __str__(self) -> str:
        return f"{self.label}, jitter x{self.jitter:g}, loss {self.loss:.0%}"

    @property
    def longest(self) -> float:
        """The longest round trip between any two, on average."""
        return max(max(row) for row in self.trips)

    def region(self, machine: str) -> int:
        """Where the machine with this label is: "a", or "client 7"."""
        place = NODES.find(machine)
        if place < 0:
            place = int(machine.rpartition(" ")[2].partition(".")[0])
        return place % len(self.trips)

    def of_quorum(self, region: int) -> float:
        """In what time a quorum of the nodes can be heard from here, on average."""
        return sorted(self.trips[region][self.region(node)] for node in NODES)[majority(len(NODES)) - 1]

    def bounds(self, link: Link) -> tuple[float, float]:
        """How long a datagram takes, at least and at most."""
        source, target = link
        one_way = self.trips[self.region(source)][self.region(target)] / 2.0
        least = 2.0 * one_way / (1.0 + self.jitter)
        return least, least * self.jitter


def _networks() -> tuple[Net, ...]:
    kinds: dict[str, tuple[tuple[float, ...], ...]] = {
        f"{ms:g} ms": ((ms / 1000.0,),) for ms in ROUND_TRIPS_MS
    }
    kinds["1 / 40 / 120 ms"] = tuple(tuple(ms / 1000.0 for ms in row) for row in REGIONS_MS)
    return tuple(
        Net(label, trips, jitter, loss)
        for label, trips in kinds.items()
        for jitter in JITTERS
        for loss in LOSSES
    )


NETWORKS = _networks()
#: What is measured in a minute: the narrowest, a middle one and the widest, and the three regions.
QUICK = tuple(
    net
    for net in NETWORKS
    if net.label in ("0.4 ms", "20 ms", "300 ms", "1 / 40 / 120 ms")
    and net.jitter > 1
    and net.loss in (0.0, 0.05)
)


class _WideNetwork(Network):
    """A network whose links have the latency, jitter and loss of a Net."""

    def __init__(self, simulation: Simulation, net: Net) -> None:
        super().__init__(simulation)
        self._net = net

    def _delays(self, link: Link, rng: Random, longer: float) -> tuple[float, ...]:
        least, most = self._net.bounds(link)
        lost, delay = rng.random() < self._net.loss, least + rng.random() * (most - least)
        return () if lost else (delay,)


class WideSimulation(Simulation):
    """A cell and its clients on such a network, with all checkers of the simulator; no fault but loss."""

    def __init__(self, seed: int, net: Net, scenario: Scenario, workload: type[Workload]) -> None:
        super().__init__(seed, scenario, faults=())
        self.net = net
        network = _WideNetwork(self, net)
        network.machines = self.network.machines
        self.network = network
        self.workload = workload(self)
