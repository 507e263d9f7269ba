"""paxlock itself: three ``paxlock serve`` processes, sealed, durability ``record``; and embedded callers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import trio

import paxlock
import paxlock.aio
import paxlock.blocking
from benchmarks.machine import free_ports
from benchmarks.peers.base import Cluster, Connection, Peer, Session
from benchmarks.processes import PYTHON
from benchmarks.runtimes import Asyncio, Runtime, Threads, Trio

NODES = ("a", "b", "c")
EMBEDDED_NODE = "c"


class Cell(Cluster):
    nodes: Sequence[str] = NODES

    def prepare(self) -> None:
        ports = free_ports(len(NODES))
        addresses = (f"{self.places.address(number)}:{port}" for number, port in enumerate(ports))
        self.cell_file = self.folder / "cell.toml"
        paxlock.Cell.new(dict(zip(NODES, addresses, strict=True))).save(self.cell_file)

    def commands(self) -> list[list[str]]:
        serve = [PYTHON, "-m", "paxlock", "-q", "serve", "--cell", str(self.cell_file), "--create"]
        return [[*serve, "--node", node, "--data-dir", str(self.folder / node)] for node in self.nodes]

    def connection(self) -> Connection:
        return {"cell": str(self.cell_file), "embedded": str(self.folder / EMBEDDED_NODE)}


class TwoOfThree(Cell):
    """The third node is to be embedded in the client."""

    nodes = tuple(node for node in NODES if node != EMBEDDED_NODE)


class PaxlockSession:
    def __init__(self, client: paxlock.Client, ttl: float, nursery: trio.Nursery) -> None:
        self._client = client
        self._ttl = ttl
        self._nursery = nursery

    async def acquire(self, name: str) -> paxlock.HeldLease:
        return await self._client.acquire(name, ttl=self._ttl)

    async def release(self, grant: paxlock.HeldLease) -> None:
        await grant.release()

    async def held(self, grants: Sequence[paxlock.HeldLease]) -> int:
        return sum(grant.valid for grant in grants)

    async def watch(self, name: str, tell: Callable[[bool], None]) -> None:
        await self._nursery.start(self._listen, name, tell)

    async def _listen(
        self, name: str, tell: Callable[[bool], None], *, task_status: trio.TaskStatus[None]
    ) -> None:
        async with self._client.watch(name) as changes:
            async for change in changes:
                tell(change.state is paxlock.State.LED)
                task_status.started()
                break
            async for change in changes:
                tell(change.state is paxlock.State.LED)


@asynccontextmanager
async def _session_of(client: paxlock.Client, ttl: float) -> AsyncIterator[Session]:
    async with trio.open_nursery() as nursery:
        yield PaxlockSession(client, ttl, nursery)
        nursery.cancel_scope.cancel()


class Paxlock(Peer):
    name = "paxlock"
    title = "paxlock"
    runtime: ClassVar[type[Runtime]] = Trio
    cluster: ClassVar[type[Cell]] = Cell
    settings = "three `paxlock serve`, sealed, durability `record`, all defaults"
    scenarios = "ABCDEFGHWK"
    last_will = thrifty = False  #: of the clients

    def versions(self) -> str:
        return f"paxlock {paxlock.__version__}"

    @asynccontextmanager
    async def session(self, connection: Connection, ttl: float) -> AsyncIterator[Session]:
        opened = paxlock.open_client(connection["cell"], last_will=self.last_will, thrifty=self.thrifty)
        async with opened as client, _session_of(client, ttl) as session:
            yield session


class LoopSession:
    """A client of asyncio."""

    def __init__(self, client: paxlock.aio.Client, ttl: float) -> None:
        self._client = client
        self._ttl = ttl

    async def acquire(self, name: str) -> paxlock.aio.HeldLease:
        return await self._client.acquire(name, ttl=self._ttl)

    async def release(self, grant: paxlock.aio.HeldLease) -> None:
        await grant.release()

    async def held(self, grants: Sequence[paxlock.aio.HeldLease]) -> int:
        return sum(grant.valid for grant in grants)

    async def watch(self, name: str, tell: Callable[[bool], None]) -> None:
        raise NotImplementedError("watches are measured with trio")


class ThreadSession:
    """A client of threads; see Threads."""

    def __init__(self, client: paxlock.blocking.Client, ttl: float) -> None:
        self._client = client
        self._ttl = ttl

    async def acquire(self, name: str) -> paxlock.blocking.HeldLease:
        return self._client.acquire(name, ttl=self._ttl)

    async def release(self, grant: paxlock.blocking.HeldLease) -> None:
        grant.release()

    async def held(self, grants: Sequence[paxlock.blocking.HeldLease]) -> int:
        return sum(grant.valid for grant in grants)

    async def watch(self, name: str, tell: Callable[[bool], None]) -> None:
        raise NotImplementedError("watches are measured with trio")


class InAsyncio(Paxlock):
    """The face of asyncio."""

    name = "paxlock-asyncio"
    title = "paxlock, asyncio"
    runtime = Asyncio
    settings = "the same, by `paxlock.aio`"
    scenarios = "AB"

    @asynccontextmanager
    async def session(self, connection: Connection, ttl: float) -> AsyncIterator[Session]:
        async with paxlock.aio.open_client(connection["cell"]) as client:
            yield LoopSession(client, ttl)


class InThreads(Paxlock):
    """The face of programs without an event loop; in A its caller is the main thread."""

    name = "paxlock-blocking"
    title = "paxlock, blocking"
    runtime = Threads
    settings = "the same, by `paxlock.blocking`"
    scenarios = "AB"

    @asynccontextmanager
    async def session(self, connection: Connection, ttl: float) -> AsyncIterator[Session]:
        with paxlock.blocking.open_client(connection["cell"]) as client:
            yield ThreadSession(client, ttl)


class Embedded(Paxlock):
    """The callers run in the process of one of the three nodes."""

    name = "paxlock-embedded"
    title = "paxlock, embedded"
    settings = "two `paxlock serve`, and `open_node` in the process of the callers, which is the third"
    cluster = TwoOfThree
    servers = 2
    reusable = False  # the third node is new with each client process, so the cell is
    scenarios = "B"

    @asynccontextmanager
    async def session(self, connection: Connection, ttl: float) -> AsyncIterator[Session]:
        config = paxlock.NodeConfig(connection["cell"], EMBEDDED_NODE, connection["embedded"])
        async with paxlock.open_node(config, create=True) as node, _session_of(node, ttl) as session:
            yield session


class WithLastWill(Paxlock):
    """The holders leave a last will."""

    name = "paxlock-last-will"
    title = "paxlock, last will"
    settings = "as paxlock, and the clients with `last_will=True`"
    scenarios = "D"
    last_will = True


class WithThrift(Paxlock):
    """The clients ask a quorum first, where that is as good."""

    name = "paxlock-thrifty"
    title = "paxlock, thrifty"
    settings = "as paxlock, and the clients with `thrifty=True`"
    scenarios = "ABCGW"
    thrifty = True
