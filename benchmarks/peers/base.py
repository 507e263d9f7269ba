"""What the harness needs of a peer: a cluster to start, and sessions that acquire and release."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from benchmarks.machine import missing_modules
from benchmarks.places import Here, Places
from benchmarks.processes import Failed, Server
from benchmarks.runtimes import Runtime

Connection = Mapping[str, Any]  #: what a client needs to know of a cluster; goes through JSON
LEADER_PATIENCE_S = 20.0


class Session(Protocol):
    """One client of a cluster. Held locks are kept alive until they are released or the process dies."""

    async def acquire(self, name: str) -> Any:
        """Wait until the lock is held, and give what ``release`` needs. Raises what its library raises."""

    async def release(self, grant: Any) -> None: ...

    async def held(self, grants: Sequence[Any]) -> int:
        """How many of these locks are still held, as far as this client knows."""
        raise NotImplementedError

    async def watch(self, name: str, tell: Callable[[bool], None]) -> None:
        """Have every change of a lock told, True for held; returns when the watch stands."""


class Cluster(ABC):
    """The servers of one peer, each a process of its own with its default durability.

    Server i is at place i of ``places``; all are on loopback unless these are far.
    """

    def __init__(self, folder: Path, ttl: float, places: Places | None = None) -> None:
        self.folder = folder
        self.ttl = ttl
        self.places = places or Here()
        self.servers: list[Server] = []
        folder.mkdir(parents=True)
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Choose ports and write what the servers need to find, before any clock runs."""

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """The command line of each server."""

    @abstractmethod
    def connection(self) -> Connection: ...

    def victim(self) -> int | None:
        """The index of the server whose death hurts most: the leader where there is one. None: not yet."""
        return 0

    @property
    def pids(self) -> list[int]:
        return [server.pid for server in self.servers]

    def start(self) -> None:
        """Start all servers; they may need a while until they serve."""
        for number, command in enumerate(self.commands()):
            at_place = self.places.command(number, command)
            self.servers.append(Server(at_place, self.folder / f"server-{number}.log"))

    def kill_victim(self) -> int:
        """Kill the leader (or any server, where none leads); gives the moment, ns of the monotonic clock."""
        deadline = time.monotonic() + LEADER_PATIENCE_S
        while (victim := self.victim()) is None:
            if time.monotonic() > deadline:
                raise Failed("no leader was found")
            time.sleep(0.05)
        moment = time.monotonic_ns()
        self.servers[victim].kill()
        return moment

    def freeze(self) -> None:
        """Have the servers use no CPU while others are measured."""
        for server in self.servers:
            server.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for server in self.servers:
            server.signal(signal.SIGCONT)

    def stop(self) -> None:
        self.thaw()
        for server in self.servers:
            server.signal(signal.SIGTERM)
        for server in self.servers:
            server.join()

    def complaint(self) -> str:
        """What the servers that have ended said last."""
        return "\n".join(server.log_tail() for server in self.servers if not server.running)


class Peer(ABC):
    """One lock service. ``name`` is its word on the command line."""

    name: ClassVar[str]
    title: ClassVar[str]
    runtime: ClassVar[type[Runtime]]
    settings: ClassVar[str]  #: what is not the default, for the report
    servers: ClassVar[int] = 3
    scenarios: ClassVar[str] = "ABCDEFGH"
    modules: ClassVar[Sequence[str]] = ()  #: loaded before the clock of scenario H runs
    reusable: ClassVar[bool] = True  #: one cluster serves several scenarios
    leases_max: ClassVar[int] = 10_000  #: more are not held in scenario F, within the time there is
    packages: ClassVar[Sequence[tuple[str, str]]] = ()  #: what is imported, and its name on PyPI
    cluster: ClassVar[type[Cluster]]

    def missing(self) -> list[str]:
        """What must be installed before this peer can be measured."""
        return missing_modules(**dict(self.packages))

    @abstractmethod
    def versions(self) -> str: ...

    @abstractmethod
    def session(self, connection: Connection, ttl: float) -> AbstractAsyncContextManager[Session]:
        """Open a session; may raise while the servers are still starting. ``ttl`` in seconds."""
