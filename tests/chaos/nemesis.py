"""What goes wrong: faults of a dozen kinds, drawn from the seed, in episodes that are followed by a calm.

An episode does one or two kinds of fault, lets them last, heals everything, and then waits until every name
has been written to again. All kinds come up once before any comes up again.
"""

from __future__ import annotations

import enum
import json
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import attrs

from .cluster import SERVES, Child, Cluster, Failed, boot_time
from .relay import Weather

__all__ = ["Episode", "FaultKind", "Nemesis", "Pulse", "drawn_kinds"]

CALM_MAX_S = 1.0
RECOVERY_PATIENCE_S = 30.0
LOOK_S = 0.05
PULSE_S = 0.02
FULL_BYTES = 64  #: less than any record: the next write fails
FULL_PATIENCE_S = 3.0
DISK_EXIT = 70  # docs of the command line: a disk that fails a running node
STORM = Weather(delay=0.001, spread=0.01, tail=0.1, tail_mean=0.1, loss=0.25, repeat=0.15)
SLOW = Weather(delay=0.02, spread=0.06, tail=0.2, tail_mean=0.25, loss=0.02, repeat=0.05)


class FaultKind(enum.Enum):
    """The kinds of faults. The values are for people."""

    KILL_NODES = "SIGKILL of a minority of nodes"
    KILL_ALL = "SIGKILL of all nodes"
    STOP_NODES = "SIGSTOP of nodes"
    STOP_HOLDERS = "SIGSTOP of holders"
    KILL_CLIENTS = "SIGKILL of clients"
    PARTITION = "partition"
    ONE_WAY = "one-way partition"
    CUT_OFF = "holder cut off from a majority"
    ROLLING_KILL = "rolling restart, unclean"
    ROLLING_CLEAN = "rolling restart, clean"
    CLEAN_ALL = "clean restart of all nodes"
    DISK_FULL = "disk full"
    DISK_LOST = "disk lost, joined"
    STATE_DAMAGED = "SIGKILL, and the state file damaged"
    STATE_FULL = "no room for the state file, then SIGKILL"
    STORM = "storm of loss and repetition"
    SLOW = "slow network"


#: these do their work step by step, and no two of them go on at the same time
LONG = frozenset(
    {
        FaultKind.ROLLING_KILL,
        FaultKind.ROLLING_CLEAN,
        FaultKind.CLEAN_ALL,
        FaultKind.DISK_FULL,
        FaultKind.DISK_LOST,
        FaultKind.STATE_FULL,
    }
)


def drawn_kinds(rng: Random) -> list[list[FaultKind]]:
    """All kinds in some order, in groups of one or two, with at most one long one in each."""
    bag = list(FaultKind)
    rng.shuffle(bag)
    groups: list[list[FaultKind]] = []
    while bag:
        group = [bag.pop()]
        if bag and rng.random() < 0.6 and not (group[0] in LONG and bag[-1] in LONG):
            group.append(bag.pop())
        groups.append(sorted(group, key=LONG.__contains__))
    return groups


@attrs.define
class Episode:
    """One time of trouble, in true seconds; ``lag`` is how late the machine itself was while it recovered."""

    kinds: tuple[FaultKind, ...]
    began: float
    healed: float = 0.0
    calm: float = 0.0
    lag: float = 0.0

    def to_json(self) -> str:
        return json.dumps({**attrs.asdict(self), "kinds": [kind.value for kind in self.kinds]})


class Pulse:
    """Measures how late this machine is: on a busy one, everybody else is as late."""

    def __init__(self) -> None:
        self._worst = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            due = boot_time() + PULSE_S
            if self._over.wait(PULSE_S):
                return
            self._worst = max(self._worst, boot_time() - due)

    def take(self) -> float:
        """The worst lateness since it was asked last, in seconds."""
        worst, self._worst = self._worst, 0.0
        return worst

    def close(self) -> None:
        self._over.set()
        self._thread.join()


class Nemesis:
    """Does the faults to a cluster, and heals."""

    def __init__(self, cluster: Cluster, seed: int, pulse: Pulse) -> None:
        self.cluster = cluster
        self.counts: Counter[FaultKind] = Counter()
        self.episodes: list[Episode] = []
        self._rng = Random(f"nemesis {seed}")
        self._pulse = pulse
        self._groups: list[list[FaultKind]] = []
        self._sleep = threading.Event().wait
        self._joining: set[str] = set()  #: to be started with --join
        self._lost: set[str] = set()  #: see _yet_to_join
        self._forgetful: set[str] = set()  #: whose state file counts for nothing: they must sit out
        self._faults: dict[FaultKind, Callable[[], int]] = {
            FaultKind.KILL_NODES: self._kill_nodes,
            FaultKind.KILL_ALL: self._kill_all,
            FaultKind.STOP_NODES: self._stop_nodes,
            FaultKind.STOP_HOLDERS: self._stop_holders,
            FaultKind.KILL_CLIENTS: self._kill_clients,
            FaultKind.PARTITION: self._partition,
            FaultKind.ONE_WAY: self._one_way,
            FaultKind.CUT_OFF: self._cut_off,
            FaultKind.ROLLING_KILL: self._rolling_kill,
            FaultKind.ROLLING_CLEAN: self._rolling_clean,
            FaultKind.CLEAN_ALL: self._clean_all,
            FaultKind.DISK_FULL: self._disk_full,
            FaultKind.DISK_LOST: self._disk_lost,
            FaultKind.STATE_DAMAGED: self._state_damaged,
            FaultKind.STATE_FULL: self._state_full,
            FaultKind.STORM: lambda: self._weather(STORM),
            FaultKind.SLOW: lambda: self._weather(SLOW),
        }

    def episode(self, kinds: Sequence[FaultKind] = ()) -> Episode:
        """One episode, of the kinds whose turn it is, or of these."""
        if not kinds:
            self._groups = self._groups or drawn_kinds(self._rng)
            kinds = self._groups.pop()
        episode = Episode(tuple(kinds), boot_time())
        self.episodes.append(episode)
        ends = boot_time() + self._rng.uniform(1.2, 1.8) * self.cluster.layout.max_ttl
        for kind in kinds:
            count = self._faults[kind]()
            if count:
                self.counts[kind] += count
            else:  # the other fault has left nobody for this one: its turn comes alone
                self._groups.append([kind])
            self._sleep(self._rng.uniform(0.0, 0.3))
        self._sleep(max(0.0, ends - boot_time()))
        self._heal()
        episode.healed = boot_time()
        self._pulse.take()
        self._wait_recovered(episode.healed)
        episode.lag = self._pulse.take()
        episode.calm = boot_time()
        self._sleep(self._rng.uniform(0.2, CALM_MAX_S))
        return episode

    def _heal(self) -> None:
        """Undo everything; a node that was down is back when it says that it serves or sits out."""
        cluster = self.cluster
        cluster.relay.heal()
        for child in (*cluster.nodes.values(), *cluster.clients.values()):
            if child.stopped:
                child.signal(signal.SIGCONT)
        self._restart(*(node for node, child in cluster.nodes.items() if not child.running))
        for label, child in list(cluster.clients.items()):
            if not child.running and child.expected:
                cluster.replace_client(label)

    def _wait_recovered(self, healed: float) -> None:
        """Until every name was written to by somebody who arrived there after the healing."""
        names = set(self.cluster.layout.names)
        while boot_time() < healed + RECOVERY_PATIENCE_S:
            latest = self.cluster.guard.latest()
            if all(name in latest and latest[name][1] > healed for name in names):
                return
            self._sleep(LOOK_S)

    # Nodes

    def _up(self) -> list[str]:
        nodes = self.cluster.nodes
        return [node for node, child in nodes.items() if child.running and not child.stopped]

    def _some(self, nodes: Sequence[str], most: int) -> list[str]:
        """Between one and so many of the nodes; all of them are not more than there are."""
        count = min(len(nodes), self._rng.randint(1, most))
        return self._rng.sample(list(nodes), count)

    def _restart(self, *nodes: str) -> None:
        started = []
        for node in nodes:
            how = ("--join",) if node in self._joining else ()
            self._joining.discard(node)
            started.append(self.cluster.start_node(node, *how))
        for child in started:
            child.wait_says("serves", "sits out")  # of itself or of another: it has begun
        for node, child in zip(nodes, started, strict=True):
            if node in self._forgetful and not child.has_said("sits out"):
                raise Failed(f"{child.name} did not sit out, though its state file was damaged")
            self._forgetful.discard(node)

    def _yet_to_join(self) -> set[str]:
        """The nodes that have lost their disk and do not serve with the new one, as far as is known."""
        self._lost = {node for node in self._lost if not self.cluster.nodes[node].has_said(SERVES)}
        return self._lost

    def _kill_nodes(self) -> int:
        chosen = self._some(self._up(), self.cluster.layout.minority)
        for node in chosen:
            self.cluster.nodes[node].kill()
        return len(chosen)

    def _kill_all(self) -> int:
        """Half of the time they come back at once, while holders still count on what was forgotten."""
        chosen = self._up()
        for node in chosen:
            self.cluster.nodes[node].signal(signal.SIGKILL)
        for node in chosen:
            self.cluster.nodes[node].kill()
        if self._rng.random() < 0.5:
            self._restart(*chosen)
        return min(1, len(chosen))

    def _stop_nodes(self) -> int:
        chosen = self._some(self._up(), self.cluster.layout.nodes)
        for node in chosen:
            self.cluster.nodes[node].signal(signal.SIGSTOP)
        return len(chosen)

    def _rolling_kill(self) -> int:
        """One after the other; mostly each is let serve again before the next. One that has yet to join is
        not waited for: it may need others that cannot be reached before everything heals.
        """
        count = 0
        for node in self._rng.sample(self.cluster.layout.node_ids, self.cluster.layout.nodes):
            if node in self._up():
                self.cluster.nodes[node].kill()
                self._restart(node)
                if self._rng.random() < 0.7 and node not in self._yet_to_join():
                    self.cluster.nodes[node].wait_says("serves")
                count += 1
        return count

    def _rolling_clean(self) -> int:
        count = 0
        for node in self._rng.sample(self.cluster.layout.node_ids, self.cluster.layout.nodes):
            if node in self._up():
                self.cluster.nodes[node].terminate()
                self._restart(node)
                self._sleep(self._rng.uniform(0.0, 0.5))
                count += 1
        return count

    def _clean_all(self) -> int:
        chosen = self._up()
        for node in chosen:
            self.cluster.nodes[node].terminate()
        self._restart(*chosen)
        return min(1, len(chosen))

    def _disk_full(self) -> int:
        """No room for what a node must write next: it stops, and says why. It comes back when everything
        heals, with room.

        What it must write is the snapshot of a clean stop, or that another node has been started anew. One
        that still sits out would have no snapshot to write.
        """
        serving = [node for node in self._up() if self.cluster.nodes[node].has_said(SERVES)]
        chosen = self._some(serving, 2)
        for node in chosen[:1]:
            child = self.cluster.nodes[node]
            child.limit_files(FULL_BYTES)
            child.expected.add(DISK_EXIT)
            for other in chosen[1:]:
                self.cluster.nodes[other].kill()
                self._restart(other)
            until = boot_time() + FULL_PATIENCE_S
            while len(chosen) > 1 and child.running and boot_time() < until:
                self._sleep(LOOK_S)
            if child.running:  # there is no other, or it cannot hear of it for a partition
                child.signal(signal.SIGTERM)
            child.wait_end(DISK_EXIT)
            child.wait_says("cannot be written")
        return len(chosen[:1])

    def _disk_lost(self) -> int:
        """The folder is gone, and the node joins when everything heals. Not while another has yet to join:
        too few would be left to ask.
        """
        chosen = [] if self._yet_to_join() else self._some(self._up(), 1)
        for node in chosen:
            self.cluster.nodes[node].kill()
            shutil.rmtree(self.cluster.data_dir(node))
            self._joining.add(node)
            self._lost.add(node)
        return len(chosen)

    def _state_damaged(self) -> int:
        """What a killed node wrote is gone, cut off, or has a wrong bit: it must not go on from there.

        Not in the second half: an entry that was not told yet may be torn.
        """
        serving = [node for node in self._up() if self.cluster.nodes[node].has_said(SERVES)]
        chosen = self._some(serving, self.cluster.layout.minority)
        for node in chosen:
            self.cluster.nodes[node].kill()
            path = self.cluster.data_dir(node) / "state"
            content = bytearray(path.read_bytes())
            place = self._rng.randrange(len(content) // 2)
            match self._rng.randrange(3):
                case 0:
                    path.unlink()
                case 1:
                    path.write_bytes(content[:place])
                case _:
                    content[place] ^= 1 << self._rng.randrange(8)
                    path.write_bytes(content)
            self._forgetful.add(node)
        return len(chosen)

    def _state_full(self) -> int:
        """No room for what a node tells others: it says so, and goes on; killed then, it must sit out.

        One that is asked for nothing meanwhile is none of these, and one that must write its record stops.
        """
        count = 0
        serving = [node for node in self._up() if self.cluster.nodes[node].has_said(SERVES)]
        for node in self._some(serving, 1) if serving else []:
            child = self.cluster.nodes[node]
            child.expected.add(DISK_EXIT)
            child.limit_files(FULL_BYTES)
            until = boot_time() + FULL_PATIENCE_S
            while not child.has_said("is not kept") and child.running and boot_time() < until:
                self._sleep(LOOK_S)
            child.kill()
            if child.has_said("is not kept"):
                self._forgetful.add(node)
                count += 1
        return count

    # Clients

    def _ordinary(self) -> list[Child]:
        """The clients that may be hurt: all but the prober."""
        clients = self.cluster.clients
        return [child for label, child in clients.items() if label != "prober" and child.running]

    def _holders(self) -> list[Child]:
        """Who wrote last, on names of which it is an ordinary client; the latest first."""
        latest = sorted(self.cluster.guard.latest().values(), key=lambda entry: -entry[1])
        writers = dict.fromkeys(writer for writer, _ in latest)
        ordinary = {child.name: child for child in self._ordinary()}
        found = [ordinary[writer] for writer in writers if writer in ordinary]
        return found or list(ordinary.values())[:1]

    def _stop_holders(self) -> int:
        chosen = self._holders()[: self._rng.randint(1, 2)]
        for child in chosen:
            child.signal(signal.SIGSTOP)
        return len(chosen)

    def _kill_clients(self) -> int:
        chosen = self._rng.sample(self._ordinary(), self._rng.randint(1, 2))
        for child in chosen:
            child.kill()
        return len(chosen)

    # The network

    def _split(self) -> tuple[list[str], list[str]]:
        """Two sides, each with some of the nodes."""
        nodes = list(self.cluster.layout.node_ids)
        self._rng.shuffle(nodes)
        cut = self._rng.randint(1, len(nodes) - 1)
        one, other = nodes[:cut], nodes[cut:]
        for label in self.cluster.clients:
            (one if self._rng.random() < 0.5 else other).append(label)
        return one, other

    def _partition(self) -> int:
        one, other = self._split()
        self.cluster.relay.block(one, other)
        self.cluster.relay.block(other, one)
        return 1

    def _one_way(self) -> int:
        one, other = self._split()
        self.cluster.relay.block(one, other)
        return 1

    def _cut_off(self) -> int:
        """A holder that reaches, or hears, too few nodes."""
        nodes = list(self.cluster.layout.node_ids)
        far = self._rng.sample(nodes, len(nodes) - self.cluster.layout.minority)
        ways = self._rng.choice(((True, True), (True, False), (False, True)))
        holders = self._holders()[:1]
        for child in holders:
            if ways[0]:
                self.cluster.relay.block([child.name], far)
            if ways[1]:
                self.cluster.relay.block(far, [child.name])
        return len(holders)

    def _weather(self, weather: Weather) -> int:
        self.cluster.relay.weather = weather
        return 1
