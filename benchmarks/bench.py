"""The clusters and clients of one run of the comparison.

Each peer has one cluster that serves the scenarios in turn, so that nothing is measured cold: it is stopped
with SIGSTOP while others are measured, and so takes no CPU from them. Scenarios that kill, fill or time the
start of a cluster get a fresh one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self

import attrs

from benchmarks.peers.base import Cluster, Peer
from benchmarks.places import Places
from benchmarks.processes import Client, Failed

TTL_S = 10.0
RESULT_PATIENCE_S = 60.0


@attrs.frozen
class Effort:
    """How much is measured in one round; seconds unless said."""

    rounds: int = 3
    seconds: float = 2.0
    warm_up_s: float = 0.5
    workers: tuple[int, ...] = (1, 8, 64)
    clients: int = 8
    holders: int = 3
    steady_s: float = 5.0
    leases: tuple[int, ...] = (1_000, 10_000)
    idle_s: float = 2.0
    held_s: float = 5.0
    changes: int = 100
    crowd: int = 1_000
    crowd_s: float = 10.0
    starts: int = 3  #: of ``paxlock dev``
    seeds: int = 200  #: of the simulation


QUICK = Effort(
    rounds=1,
    seconds=0.8,
    warm_up_s=0.2,
    workers=(1, 64),
    clients=3,
    holders=1,
    steady_s=1.5,
    leases=(100,),
    idle_s=0.3,
    held_s=0.7,
    changes=20,
    starts=1,
    seeds=20,
)


class Bench:
    """A context manager: everything that it started has ended when it is left."""

    def __init__(self, folder: Path, effort: Effort) -> None:
        self.effort = effort
        self.round = 1
        self._folder = folder
        self._numbers = count(1)
        self._shared: dict[str, Cluster] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def new_folder(self, what: str) -> Path:
        return self._folder / f"{next(self._numbers)}-{what}"

    @contextmanager
    def shared(self, peer: Peer) -> Iterator[Cluster]:
        """The peer's cluster, awake inside the block."""
        cluster = self._shared.get(peer.name)
        if cluster is None:
            cluster = peer.cluster(self.new_folder(peer.name), TTL_S)
            self._stack.callback(cluster.stop)
            cluster.start()
            self._shared[peer.name] = cluster
        cluster.thaw()
        try:
            with _explained(cluster):
                yield cluster
        except Failed:
            # Whatever is wrong with it shall not spoil what follows.
            del self._shared[peer.name]
            raise
        finally:
            cluster.freeze()

    @contextmanager
    def fresh(
        self, peer: Peer, ttl: float = TTL_S, start: bool = True, places: Places | None = None
    ) -> Iterator[Cluster]:
        """A cluster of its own for one measurement."""
        cluster = peer.cluster(self.new_folder(peer.name), ttl, places)
        if start:
            cluster.start()
        try:
            with _explained(cluster):
                yield cluster
        finally:
            cluster.stop()

    def client(
        self,
        peer: Peer,
        cluster: Cluster,
        workload: str,
        ttl: float = TTL_S,
        place: int = 0,
        **arguments: object,
    ) -> Client:
        """A client process at its start, at one of the places of the cluster."""
        return Client(
            {
                "peer": peer.name,
                "workload": workload,
                "connection": cluster.connection(),
                "ttl": ttl,
                "servers": cluster.pids,
                "arguments": arguments,
            },
            cluster.folder / "clients.log",
            at=partial(cluster.places.command, place),
        )

    def one_client(self, peer: Peer, cluster: Cluster, workload: str, **arguments: Any) -> dict[str, Any]:
        """Run a workload that needs one process, and give its result."""
        with self.client(peer, cluster, workload, **arguments) as client:
            client.wait_ready()
            client.tell("go")
            return result_of(client)


def result_of(client: Client) -> dict[str, Any]:
    result: dict[str, Any] = client.hear(RESULT_PATIENCE_S)["result"]
    return result


@contextmanager
def _explained(cluster: Cluster) -> Iterator[None]:
    """Add to a failure what the servers said."""
    try:
        yield
    except Failed as error:
        complaint = cluster.complaint()
        raise Failed(f"{error}\n{complaint}".strip()) from error
