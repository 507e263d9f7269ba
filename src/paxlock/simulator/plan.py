"""The plan of a run's faults, drawn up front, so that single faults can be left out of a replay."""

from __future__ import annotations

import enum
from math import inf
from random import Random

import attrs

from paxlock.simulator.scenario import LONG_AWAY_TTLS, START_S, Scenario

__all__ = ["Fault", "FaultKind", "drawn_faults"]

LONG_AWAY = 0.15  #: the share of absences that are measured by max_ttl instead
TARGETS = 1 << 16


class FaultKind(enum.Enum):
    """What goes wrong. The values are for people."""

    CRASH = "crash"  #: a node loses its memory, and a write under way is done or not
    KILL = "kill"  #: the process of a node ends, and its machine goes on: the state file is whole
    CLEAN_STOP = "clean stop"
    DISK_LOSS = "disk loss"  #: a crash after which the disk is empty: the node must join
    WIPE = "wipe"  #: all nodes crash at one moment, and no disk is left: the cell begins by the clock
    GONE = "gone"  #: a node is dead, or out of reach, and its operator says that it is so for good
    DISK_FAILURE = "disk failure"  #: the next write of a node fails, and the node stops
    SLOW_DISK = "slow disk"
    NODE_PAUSE = "node pause"  #: the process stands still; what arrives waits
    NODE_SUSPEND = "node suspend"  #: the whole machine sleeps; what arrives is lost
    CLIENT_CRASH = "client crash"
    CLIENT_PAUSE = "client pause"
    CLIENT_SUSPEND = "client suspend"
    CLIENT_STALL = "client stall"  #: a client's process stands still in the midst of a turn
    DAEMON = "daemon"  #: a client's process closes all its descriptors, and goes on
    FORK = "fork"  #: a client's process forks, and the child unwinds, or goes on as if it were the parent
    SPLIT = "network split"
    ONE_WAY_SPLIT = "one-way split"  #: nothing passes from some machines to the rest
    BROKEN_LINKS = "broken links"  #: nothing passes along some directed pairs of machines
    TWIN = "twin"  #: a node is started elsewhere and joins; its old process lives on, cut off from the nodes
    ECHO = "echo"  #: what nodes sent to each other in lives that are over arrives once more
    HOLDER_CUT_OFF = "holder cut off"  #: a client that holds a name cannot reach, or hear, a majority


@attrs.frozen
class Fault:
    """One thing that goes wrong at the true time ``at``, and for how many seconds.

    ``target`` says with whom: an index, taken modulo what is there when it happens. Whatever else must be
    drawn comes from ``rng``, so a fault does the same whether or not others are left out.
    """

    at: float
    kind: FaultKind
    target: int
    lasts: float

    def rng(self) -> Random:
        """The random numbers of this fault alone."""
        return Random(f"fault {self.kind.value} {self.at!r} {self.target}")

    def __str__(self) -> str:
        return f"{self.at:.6f} s: {self.kind.value} (target {self.target}) for {self.lasts:.6f} s"


def drawn_faults(seed: int, scenario: Scenario) -> tuple[Fault, ...]:
    """All faults of the run of this seed, in the order in which they happen."""
    end = START_S + scenario.faulty_for
    faults: list[Fault] = []
    for kind, rate in _rates(scenario).items():
        rng = Random(f"faults {seed} {kind.value}")
        at = rng.expovariate(rate) if rate > 0.0 else inf
        while at < end:
            faults.append(Fault(at, kind, rng.randrange(TARGETS), _lasts(rng, scenario)))
            at += rng.expovariate(rate)
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _lasts(rng: Random, scenario: Scenario) -> float:
    if rng.random() < LONG_AWAY:
        return rng.uniform(0.0, LONG_AWAY_TTLS) * scenario.max_ttl
    return rng.uniform(0.0, scenario.away_max)


def _rates(scenario: Scenario) -> dict[FaultKind, float]:
    return {
        FaultKind.CRASH: scenario.crashes,
        FaultKind.KILL: scenario.kills,
        FaultKind.CLEAN_STOP: scenario.clean_stops,
        FaultKind.DISK_LOSS: scenario.disk_losses,
        FaultKind.WIPE: scenario.wipes,
        FaultKind.GONE: scenario.gone,
        FaultKind.DISK_FAILURE: scenario.disk_failures,
        FaultKind.SLOW_DISK: scenario.slow_disks,
        FaultKind.NODE_PAUSE: scenario.node_pauses,
        FaultKind.NODE_SUSPEND: scenario.node_suspends,
        FaultKind.CLIENT_CRASH: scenario.client_crashes,
        FaultKind.CLIENT_PAUSE: scenario.client_pauses,
        FaultKind.CLIENT_SUSPEND: scenario.client_suspends,
        FaultKind.CLIENT_STALL: scenario.client_stalls,
        FaultKind.DAEMON: scenario.daemons,
        FaultKind.FORK: scenario.forks,
        FaultKind.SPLIT: scenario.partitions,
        FaultKind.ONE_WAY_SPLIT: scenario.one_way_splits,
        FaultKind.BROKEN_LINKS: scenario.broken_links,
        FaultKind.HOLDER_CUT_OFF: scenario.holders_cut_off,
        FaultKind.TWIN: scenario.twins,
        FaultKind.ECHO: scenario.echoes,
    }
