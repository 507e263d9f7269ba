"""ZooKeeper: three servers, and the lock recipe of kazoo."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.machine import (
    LOOPBACK,
    find_program,
    free_ports,
    package_version,
    program_says,
)
from benchmarks.peers.base import Cluster, Connection, Peer, Session
from benchmarks.runtimes import Threads

JARS = (Path("/usr/share/java/zookeeper.jar"), Path("/usr/share/zookeeper/lib/zookeeper.jar"))
TICK_MS = 2000
OPEN_PATIENCE_S = 30.0
FOLDER = "/benchmark"


def jar() -> Path | None:
    return next((path for path in JARS if path.exists()), None)


def zookeeper_version() -> str:
    """By the package, or by the name of the archive."""
    if find_program("dpkg-query"):
        said = program_says("dpkg-query", "-W", "-f=${Version}", "zookeeper")
        if said[:1].isdigit():
            return said
    path = jar()
    return path.resolve().stem.removeprefix("zookeeper-") if path else "unknown"


class ZooKeeperCluster(Cluster):
    def prepare(self) -> None:
        ports = free_ports(9)
        self.clients = ports[:3]
        members = "".join(
            f"server.{number + 1}={LOOPBACK}:{ports[3 + number]}:{ports[6 + number]}\n" for number in range(3)
        )
        for number, port in enumerate(self.clients):
            folder = self.folder / f"n{number}"
            folder.mkdir()
            (folder / "myid").write_text(f"{number + 1}\n")
            (self.folder / f"n{number}.cfg").write_text(
                f"tickTime={TICK_MS}\ninitLimit=10\nsyncLimit=5\ndataDir={folder}\nclientPort={port}\n"
                f"clientPortAddress={LOOPBACK}\nadmin.enableServer=false\n"
                f"4lw.commands.whitelist=srvr\n{members}"
            )

    def commands(self) -> list[list[str]]:
        java, zookeeper = find_program("java"), jar()
        assert java is not None
        assert zookeeper is not None
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        options = ["-cp", str(zookeeper), "-Dzookeeper.jmx.log4j.disable=true"]
        return [[java, *options, main, str(self.folder / f"n{number}.cfg")] for number in range(3)]

    def connection(self) -> Connection:
        return {"hosts": ",".join(f"{LOOPBACK}:{port}" for port in self.clients)}

    def victim(self) -> int | None:
        for number, port in enumerate(self.clients):
            if mode(asked(port)) == "leader":
                return number
        return None


def asked(port: int) -> str:
    """What a server answers to ``srvr``; nothing if it is not there."""
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1.0) as sock:
        sock.sendall(b"srvr")
        parts = []
        while part := sock.recv(4096):
            parts.append(part)
        return b"".join(parts).decode(errors="replace")
    return ""


def mode(answer: str) -> str:
    """leader, follower, or nothing."""
    found = re.search(r"^Mode: (\w+)$", answer, re.MULTILINE)
    return found[1] if found else ""


class ZooKeeperSession:
    def __init__(self, client: Any) -> None:
        self._client = client
        self._locks: dict[str, Any] = {}

    async def acquire(self, name: str) -> Any:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = self._client.Lock(f"{FOLDER}/{name}")
        lock.acquire()
        return lock

    async def release(self, grant: Any) -> None:
        grant.release()

    async def held(self, grants: Sequence[Any]) -> int:
        if not self._client.connected:
            return 0
        return sum(grant.is_acquired for grant in grants)

    async def watch(self, name: str, tell: Callable[[bool], None]) -> None:
        path = f"{FOLDER}/{name}"
        self._client.ensure_path(path)
        self._client.ChildrenWatch(path, lambda children: tell(bool(children)))


class ZooKeeper(Peer):
    name = "zookeeper"
    title = "ZooKeeper"
    runtime = Threads
    cluster = ZooKeeperCluster
    packages = (("kazoo", "kazoo"),)
    modules = ("kazoo.client",)
    settings = (
        "tickTime 2000, initLimit 10, syncLimit 5 (Debian's example), so that 4 s is the shortest session; "
        "kazoo's Lock, one session a process, reconnecting after at most 0.1 s"
    )

    def missing(self) -> list[str]:
        java = [] if find_program("java") else ["default-jre-headless (Debian)"]
        server = [] if jar() else ["zookeeper (Debian)"]
        return [*java, *server, *super().missing()]

    def versions(self) -> str:
        found = (
            f"ZooKeeper {zookeeper_version()}",
            package_version("kazoo"),
            program_says("java", "-version"),
        )
        return ", ".join(found)

    @asynccontextmanager
    async def session(self, connection: Connection, ttl: float) -> AsyncIterator[Session]:
        kazoo: Any = import_module("kazoo.client")
        client = kazoo.KazooClient(
            hosts=connection["hosts"],
            timeout=ttl,
            connection_retry={"max_tries": -1, "delay": 0.05, "max_delay": 0.1},
        )
        client.start(timeout=OPEN_PATIENCE_S)
        try:
            yield ZooKeeperSession(client)
        finally:
            client.stop()
            client.close()
