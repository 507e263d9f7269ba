"""Redis: one server with redis-py's Lock, and three independent ones with Redlock as pottery has it.

Neither lock renews itself, so the session extends what is held at every third of the ttl. Waiters poll: every
0.1 s in redis-py, after a random part of 0.2 s in pottery, by their defaults.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.machine import (
    LOOPBACK,
    find_program,
    free_ports,
    missing_modules,
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


class Renewing:
    """Held locks, extended in the background; ``extend`` raises where a lock is lost."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._held: dict[int, Any] = {}
        self._lost: set[int] = set()
        self._task = asyncio.create_task(self._renew())

    def keep(self, lock: Any) -> None:
        self._held[id(lock)] = lock

    def forget(self, lock: Any) -> None:
        self._held.pop(id(lock), None)

    async def held(self, grants: Sequence[Any]) -> int:
        return sum(id(grant) in self._held and id(grant) not in self._lost for grant in grants)

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

    async def extend(self, lock: Any) -> None:
        raise NotImplementedError


class RedisSession(Renewing):
    def __init__(self, client: Any, ttl: float) -> None:
        super().__init__(ttl)
        self._client = client

    async def acquire(self, name: str) -> Any:
        lock = self._client.lock(name, timeout=self._ttl)
        await lock.acquire()
        self.keep(lock)
        return lock

    async def release(self, grant: Any) -> None:
        self.forget(grant)
        await grant.release()

    async def extend(self, lock: Any) -> None:
        await lock.reacquire()

    async def watch(self, name: str, tell: Callable[[bool], None]) -> None:
        raise NotImplementedError("redis-py's Lock cannot be watched")


class RedlockSession(Renewing):
    def __init__(self, masters: Sequence[Any], ttl: float) -> None:
        super().__init__(ttl)
        self._masters = set(masters)
        self._redlock: Any = import_module("pottery").AIORedlock

    async def acquire(self, name: str) -> Any:
        lock = self._redlock(
            key=name, masters=self._masters, auto_release_time=self._ttl, num_extensions=1_000_000
        )
        await lock.acquire()
        self.keep(lock)
        return lock

    async def release(self, grant: Any) -> None:
        self.forget(grant)
        await grant.release()

    async def extend(self, lock: Any) -> None:
        await lock.extend()

    async def watch(self, name: str, tell: Callable[[bool], None]) -> None:
        raise NotImplementedError("Redlock cannot be watched")


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


@asynccontextmanager
async def _open(
    connection: Connection, make: Callable[[Sequence[Any]], RedisSession | RedlockSession]
) -> AsyncIterator[Session]:
    logging.getLogger("pottery").disabled = True  # it logs every refusal with a traceback
    clients = _clients(connection)
    session = make(clients)
    try:
        for client in clients:
            await client.ping()
        yield session
    finally:
        await session.close()
        for client in clients:
            await client.aclose()


class Redis(Peer):
    name = "redis"
    title = "one Redis, redis-py Lock"
    runtime = Asyncio
    modules = ("redis.asyncio",)
    settings = (
        "one server, default snapshots (no append-only file), redis.asyncio, no retries, socket timeouts "
        "0.5 s; a lock whose server dies is gone, so scenario E is left out"
    )
    servers = 1
    scenarios = "ABCDFH"

    def missing(self) -> list[str]:
        return [*missing_program("redis-server", "redis-server"), *missing_modules(redis="redis")]

    def versions(self) -> str:
        return f"{redis_version()}, {package_version('redis')}"

    def cluster(self, folder: Path, ttl: float) -> Cluster:
        return OneRedis(folder, ttl)

    def session(self, connection: Connection, ttl: float) -> AbstractAsyncContextManager[Session]:
        return _open(connection, lambda clients: RedisSession(clients[0], ttl))


class Redlock(Peer):
    name = "redlock"
    title = "Redlock, pottery on three Redis"
    runtime = Asyncio
    modules = ("redis.asyncio", "pottery")
    settings = (
        "three servers, default snapshots (no append-only file), pottery's AIORedlock, no retries of "
        "redis-py, socket timeouts 0.5 s"
    )
    scenarios = "ABCDEFH"
    leases_max = 1_000

    def missing(self) -> list[str]:
        return [
            *missing_program("redis-server", "redis-server"),
            *missing_modules(redis="redis", pottery="pottery"),
        ]

    def versions(self) -> str:
        return f"{redis_version()}, {package_version('pottery')}, {package_version('redis')}"

    def cluster(self, folder: Path, ttl: float) -> Cluster:
        return RedisServers(folder, ttl)

    def session(self, connection: Connection, ttl: float) -> AbstractAsyncContextManager[Session]:
        return _open(connection, lambda clients: RedlockSession(clients, ttl))
