"""Redis: one server with redis-py's Lock, and three independent ones with Redlock as pottery has it.

Neither lock renews itself, so the session extends what is held at every third of the ttl. Waiters poll: every
0.1 s in redis-py, after a random part of 0.2 s in pottery, by their defaults.
"""

from __future__ import annotations

import asyncio
import logging
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, ClassVar

from benchmarks.machine import (
    LOOPBACK,
    find_program,
    free_ports,
    missing_program,
    package_version,
    program_says,
)
from benchmarks.peers.base import Cluster, Connection, Peer, Session
from benchmarks.runtimes import Asyncio

SOCKET_TIMEOUT_S = 0.5
CONNECTIONS_MAX = 128
RENEWALS_AT_ONCE = 32


def redis_version() -> str:
    said = re.search(r"v=([0-9.]+)", program_says("redis-server", "--version"))
    return f"Redis {said[1]}" if said else "Redis"


class RedisServers(Cluster):
    count = 3

    def prepare(self) -> None:
        self.ports = free_ports(self.count)
        for port in self.ports:
            (self.folder / str(port)).mkdir()

    def commands(self) -> list[list[str]]:
        program = find_program("redis-server")
        assert program is not None
        return [
            [program, "--port", str(port), "--bind", LOOPBACK, "--dir", str(self.folder / str(port))]
            for port in self.ports
        ]

    def connection(self) -> Connection:
        return {"ports": self.ports}


class OneRedis(RedisServers):
    count = 1


class RenewingSession(ABC):
    """Acquires locks, and extends those it holds in the background."""

    def __init__(self, clients: Sequence[Any], ttl: float) -> None:
        self._clients = clients
        self._ttl = ttl
        self._held: dict[int, Any] = {}
        self._lost: set[int] = set()
        self._task = asyncio.create_task(self._renew())

    @abstractmethod
    def lock(self, name: str) -> Any:
        """The library's lock of this name."""

    @abstractmethod
    async def extend(self, lock: Any) -> None:
        """Give it a whole ttl again; raises where it is lost."""

    async def acquire(self, name: str) -> Any:
        lock = self.lock(name)
        await lock.acquire()
        self._held[id(lock)] = lock
        return lock

    async def release(self, grant: Any) -> None:
        self._held.pop(id(grant), None)
        await grant.release()

    async def held(self, grants: Sequence[Any]) -> int:
        return sum(id(grant) in self._held and id(grant) not in self._lost for grant in grants)

    async def watch(self, name: str, tell: Callable[[bool], None]) -> None:
        raise NotImplementedError("locks in Redis cannot be watched")

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _renew(self) -> None:
        limit = asyncio.Semaphore(RENEWALS_AT_ONCE)

        async def extend(number: int, lock: Any) -> None:
            async with limit:
                if number not in self._held:
                    return
                try:
                    await self.extend(lock)
                except Exception:  # noqa: BLE001 - whichever library: the lock could not be extended
                    if number in self._held:
                        self._lost.add(number)

        while True:
            await asyncio.sleep(self._ttl / 3)
            await asyncio.gather(*(extend(*item) for item in list(self._held.items())))


class RedisSession(RenewingSession):
    """redis-py's Lock on one server."""

    def lock(self, name: str) -> Any:
        return self._clients[0].lock(name, timeout=self._ttl)

    async def extend(self, lock: Any) -> None:
        await lock.reacquire()


class RedlockSession(RenewingSession):
    """pottery's AIORedlock on all of them."""

    def __init__(self, clients: Sequence[Any], ttl: float) -> None:
        super().__init__(clients, ttl)
        self._masters = set(clients)
        self._redlock: Any = import_module("pottery").AIORedlock

    def lock(self, name: str) -> Any:
        return self._redlock(
            key=name, masters=self._masters, auto_release_time=self._ttl, num_extensions=1_000_000
        )

    async def extend(self, lock: Any) -> None:
        await lock.extend()


def _clients(connection: Connection) -> list[Any]:
    """Without the retries of redis-py: by default a dead instance holds a caller for seconds."""
    redis: Any = import_module("redis.asyncio")
    retry: Any = import_module("redis.asyncio.retry").Retry
    none: Any = import_module("redis.backoff").NoBackoff
    return [
        redis.Redis(
            host=LOOPBACK,
            port=port,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=retry(none(), 0),
            max_connections=CONNECTIONS_MAX,
        )
        for port in connection["ports"]
    ]


class OnRedis(Peer):
    """What the two peers have in common; the report names ``packages`` in their order."""

    runtime = Asyncio
    session_kind: ClassVar[type[RenewingSession]]

    def missing(self) -> list[str]:
        return [*missing_program("redis-server", "redis-server"), *super().missing()]

    def versions(self) -> str:
        return ", ".join([redis_version(), *(package_version(package) for _, package in self.packages)])

    @asynccontextmanager
    async def session(self, connection: Connection, ttl: float) -> AsyncIterator[Session]:
        logging.getLogger("pottery").disabled = True  # it logs every refusal with a traceback
        clients = _clients(connection)
        session = self.session_kind(clients, ttl)
        try:
            for client in clients:
                await client.ping()
            yield session
        finally:
            await session.close()
            for client in clients:
                await client.aclose()


class Redis(OnRedis):
    name = "redis"
    title = "one Redis, redis-py Lock"
    cluster = OneRedis
    session_kind = RedisSession
    packages = (("redis", "redis"),)
    modules = ("redis.asyncio",)
    settings = (
        "one server, default snapshots (no append-only file), redis.asyncio, no retries, socket timeouts "
        "0.5 s; a lock whose server dies is gone, so scenario E is left out"
    )
    servers = 1
    scenarios = "ABCDFH"


class Redlock(OnRedis):
    name = "redlock"
    title = "Redlock, pottery on three Redis"
    cluster = RedisServers
    session_kind = RedlockSession
    packages = (("pottery", "pottery"), ("redis", "redis"))
    modules = ("redis.asyncio", "pottery")
    settings = (
        "three servers, default snapshots (no append-only file), pottery's AIORedlock, no retries of "
        "redis-py, socket timeouts 0.5 s"
    )
    scenarios = "ABCDEFH"
    leases_max = 1_000
