"""paxlock itself: three ``paxlock serve`` processes, sealed, durability ``record``; and embedded callers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import trio

import paxlock
from benchmarks.machine import LOOPBACK, free_ports
from benchmarks.peers.base import Cluster, Connection, Peer, Session
from benchmarks.processes import PYTHON
from benchmarks.runtimes import Trio

NODES = ("a", "b", "c")
EMBEDDED_NODE = "c"


class Cell(Cluster):
    nodes: Sequence[str] = NODES

    def prepare(self) -> None:
        addresses = (f"{LOOPBACK}:{port}" for port in free_ports(len(NODES)))
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
    runtime = Trio
    cluster: ClassVar[type[Cell]] = Cell
    settings = "three `paxlock serve`, sealed, durability `record`, all defaults"

    def versions(self) -> str:
        return f"paxlock {paxlock.__version__}"

    @asynccontextmanager
    async def session(self, connection: Connection, ttl: float) -> AsyncIterator[Session]:
        async with paxlock.open_client(connection["cell"]) as client, _session_of(client, ttl) as session:
            yield session


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

    @asynccontextmanager
    async def session(self, connection: Connection, ttl: float) -> AsyncIterator[Session]:
        async with (
            paxlock.open_client(connection["cell"], last_will=True) as client,
            _session_of(client, ttl) as session,
        ):
            yield session
