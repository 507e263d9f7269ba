"""PySyncObj: three servers in memory, and ReplLockManager in clients that follow them without a vote.

Run as a program it is one such server.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.machine import LOOPBACK, free_ports, package_version
from benchmarks.peers.base import Cluster, Connection, Peer, Session
from benchmarks.processes import PYTHON
from benchmarks.runtimes import Threads

POLL_S = 0.01
CALL_PATIENCE_S = 5.0
OPEN_PATIENCE_S = 30.0
SETTINGS = {
    "appendEntriesUseBatch": False,  # with it every operation waits for the next tick: 0.2 s
    "connectionRetryTime": 0.1,  # instead of 5 s
}


def _open_manager(own: str | None, others: Sequence[str], ttl: float) -> tuple[Any, Any]:
    library: Any = import_module("pysyncobj")
    batteries: Any = import_module("pysyncobj.batteries")
    manager = batteries.ReplLockManager(autoUnlockTime=ttl)
    node = library.SyncObj(own, list(others), library.SyncObjConf(**SETTINGS), consumers=[manager])
    return node, manager


class PySyncObjCluster(Cluster):
    def prepare(self) -> None:
        self.addresses = [f"{LOOPBACK}:{port}" for port in free_ports(3)]

    def commands(self) -> list[list[str]]:
        return [
            [PYTHON, "-m", "benchmarks.peers.pysyncobj_locks", json.dumps(self._node(number))]
            for number in range(3)
        ]

    def _node(self, number: int) -> dict[str, object]:
        others = [address for address in self.addresses if address != self.addresses[number]]
        return {
            "own": self.addresses[number],
            "others": others,
            "ttl": self.ttl,
            "leading": str(self._leading(number)),
        }

    def _leading(self, number: int) -> Path:
        return self.folder / f"leading-{number}"

    def connection(self) -> Connection:
        return {"addresses": self.addresses}

    def victim(self) -> int | None:
        """Each server that leads says so by a file."""
        leaders = [number for number in range(3) if self._leading(number).exists()]
        return leaders[0] if len(leaders) == 1 else None


class PySyncObjSession:
    def __init__(self, manager: Any) -> None:
        self._manager = manager

    async def acquire(self, name: str) -> str:
        """ReplLockManager has no waiting: try again every 10 ms."""
        while not self._manager.tryAcquire(name, sync=True, timeout=CALL_PATIENCE_S):
            time.sleep(POLL_S)  # noqa: ASYNC251 - a blocking client
        return name

    async def release(self, grant: str) -> None:
        self._manager.release(grant, sync=True, timeout=CALL_PATIENCE_S)

    async def held(self, grants: Sequence[str]) -> int:
        return sum(bool(self._manager.isAcquired(grant)) for grant in grants)

    async def watch(self, name: str, tell: Callable[[bool], None]) -> None:
        raise NotImplementedError("ReplLockManager cannot be watched")


class PySyncObj(Peer):
    name = "pysyncobj"
    title = "PySyncObj, ReplLockManager"
    runtime = Threads
    cluster = PySyncObjCluster
    packages = (("pysyncobj", "pysyncobj"),)
    modules = ("pysyncobj", "pysyncobj.batteries")
    settings = (
        "in memory (its default), appendEntriesUseBatch off, connectionRetryTime 0.1 s; clients are nodes "
        "without a vote; waiters try again every 10 ms, because the library has no waiting"
    )
    scenarios = "ABCDEFH"
    leases_max = 1_000

    def versions(self) -> str:
        return package_version("pysyncobj")

    @asynccontextmanager
    async def session(self, connection: Connection, ttl: float) -> AsyncIterator[Session]:
        node, manager = _open_manager(None, connection["addresses"], ttl)
        deadline = time.monotonic() + OPEN_PATIENCE_S
        while not node.isReady():
            if time.monotonic() > deadline:
                raise TimeoutError("no leader was found")
            time.sleep(0.005)  # noqa: ASYNC251 - a blocking client
        try:
            yield PySyncObjSession(manager)
        finally:
            manager.destroy()
            node.destroy()


def serve(specification: str) -> None:
    """Be one server until TERM; keep a file while this server leads."""
    node_of: dict[str, Any] = json.loads(specification)
    node, _ = _open_manager(node_of["own"], node_of["others"], node_of["ttl"])
    leading = Path(node_of["leading"])
    while True:
        leads = str(node.getStatus()["leader"]) == node_of["own"]
        if leads and not leading.exists():
            leading.touch()
        elif not leads:
            leading.unlink(missing_ok=True)
        time.sleep(0.1)


if __name__ == "__main__":
    serve(sys.argv[1])
