"""The guard for Redis, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paxlock.fencing import StaleToken, Token
from tests.fencing.libraries import library
from tests.fencing.rules import Rules
from tests.fencing.stopped import passed_by_its_successor
from tests.fencing.tokens import Held

redis = library("redis")

from paxlock.fencing.redis import AsyncRedisGuard, RedisGuard  # noqa: E402

pytestmark = [pytest.mark.servers, pytest.mark.processes]


@pytest.fixture
def client(redis_server: Path) -> Iterator[Any]:
    with redis.Redis(unix_socket_path=str(redis_server)) as client:
        client.flushall()
        yield client


class Store:
    """One client."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def claim(self, held: Token) -> None:
        RedisGuard(self.client, held).claim()

    def write(self, held: Token, value: str) -> None:
        RedisGuard(self.client, held).set("effect", value)

    def value(self) -> str | None:
        found = self.client.get("effect")
        return found.decode() if isinstance(found, bytes) else found


class AsyncStore(Store):
    """Clients of redis.asyncio, one for each call."""

    def __init__(self, client: Any, socket: Path) -> None:
        super().__init__(client)
        self.socket = socket

    def run(self, action: Callable[[Any], Any]) -> None:
        from redis.asyncio import Redis

        async def connected() -> None:
            client = Redis(unix_socket_path=str(self.socket))
            try:
                await action(client)
            finally:
                await client.aclose()

        asyncio.run(connected())

    def claim(self, held: Token) -> None:
        self.run(lambda client: AsyncRedisGuard(client, held).claim())

    def write(self, held: Token, value: str) -> None:
        self.run(lambda client: AsyncRedisGuard(client, held).set("effect", value, px=60_000))


class TestRules(Rules):
    claims_at_the_first_write = True

    @pytest.fixture(params=["bytes", "text", "awaited"])
    def storage(self, client: Any, redis_server: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
        if request.param == "awaited":
            yield AsyncStore(client, redis_server)
        else:
            settings = {"decode_responses": request.param == "text"}
            with redis.Redis(unix_socket_path=str(redis_server), **settings) as again:
                yield Store(again)


def test_commands(client: Any) -> None:
    guard = RedisGuard(client, Held(7))
    guard.set("effect", b"\x00\xff", px=60_000)
    assert client.get("effect") == b"\x00\xff" and 0 < client.pttl("effect") <= 60_000
    assert guard.execute("HSET", "more", "field", 1) == 1
    assert guard.execute("HGET", "more", "nothing") is None
    assert guard.execute("LPUSH", "list", "a", "b") == 2
    assert (guard.delete("effect"), guard.delete("effect")) == (True, False)
    with pytest.raises(redis.ResponseError):
        guard.execute("LPUSH", "more", "a")
    RedisGuard(client, Held(8)).claim()
    with pytest.raises(StaleToken):
        guard.delete("more")
    assert client.exists("more")


def test_awaited_commands(client: Any, redis_server: Path) -> None:
    async def action(connected: Any) -> None:
        guard = AsyncRedisGuard(connected, Held(7), key="{orders}:fence")
        assert await guard.execute("INCR", "{orders}:count") == 1
        assert (await guard.delete("{orders}:count"), await guard.delete("{orders}:count")) == (True, False)

    AsyncStore(client, redis_server).run(action)
    assert client.hgetall("{orders}:fence")[b"term"] == b"7"


@pytest.mark.parametrize("kind", ["redis", "redis, awaited"])
def test_a_holder_stopped_before_its_write(client: Any, redis_server: Path, kind: str) -> None:
    passed_by_its_successor(kind, str(redis_server), Store(client))
    assert client.get("effect") == b"new"
