"""Guards for Redis and Valkey, with redis-py.

    guard = fencing.redis.RedisGuard(client, held)
    guard.claim()                                  # once, when the lease is acquired
    guard.set("report", body)                      # compared and written in one script
    guard.execute("HSET", "report:meta", "by", "me")

`AsyncRedisGuard` is the same for redis.asyncio. The highest term is in the key "paxlock:fence:" + name; give
``key`` for another, in a cluster one with the hash tag of what you write.

**A failover may forget.** Replicas are behind: one that takes over may lack the last writes, the fence
among them, and then a stale holder passes until its successor writes again. So may a restart without
``appendfsync always``, and eviction by an ``allkeys-*`` policy. What must not be lost belongs into a
database that keeps it.
"""

from __future__ import annotations

from typing import Any

from paxlock.fencing.token import Token, cell_of, check, judge

__all__ = ["AsyncRedisGuard", "RedisGuard"]

# Terms are compared as decimal strings without leading zeros: numbers of Lua are exact up to 2^53 only.
_SCRIPT = """
local function lower(a, b)
    if #a ~= #b then return #a < #b end
    return a < b
end
local cell, term = ARGV[1], ARGV[2]
local fence = redis.call('HMGET', KEYS[1], 'cell', 'term')
if fence[2] then
    if fence[1] ~= cell or lower(term, fence[2]) then return {0, fence[1], fence[2]} end
    if term ~= fence[2] then redis.call('HSET', KEYS[1], 'term', term) end
else
    redis.call('HSET', KEYS[1], 'cell', cell, 'term', term)
end
if #ARGV == 2 then return {1} end
return {1, redis.call(unpack(ARGV, 3))}
"""

Argument = str | bytes | int | float


class _Fence:
    def __init__(self, client: Any, held: Token, *, key: str | None = None) -> None:
        self._client = client
        self._held = held
        self._key = f"paxlock:fence:{held.name}" if key is None else key

    def _call(self, command: tuple[Argument, ...]) -> Any:
        check(self._held)
        # The keys of the command are its first argument; a cluster has to know where to send the script.
        keys = [self._key, *command[1:2]]
        return self._client.eval(
            _SCRIPT, len(keys), *keys, cell_of(self._held), str(self._held.term), *command
        )

    def _answer(self, reply: Any) -> Any:
        passed, *rest = reply
        if not passed:
            cell, term = (part.decode() if isinstance(part, bytes) else part for part in rest)
            judge(self._held, cell, int(term), f"the Redis key {self._key!r}")
        return rest[0] if rest else None


class RedisGuard(_Fence):
    """Writes to Redis while the term is the highest there. All raise StaleToken where it is not."""

    def claim(self) -> None:
        """Make the term the highest, and write nothing else."""
        self._answer(self._call(()))

    def execute(self, command: str, key: str, *arguments: Argument) -> Any:
        """One command on one key, if the term is the highest; gives what Redis answers, as it is."""
        return self._answer(self._call((command, key, *arguments)))

    def set(self, key: str, value: Argument, *, px: int | None = None) -> None:
        """SET, for ``px`` milliseconds where given."""
        self.execute("SET", key, value, *(() if px is None else ("PX", px)))

    def delete(self, key: str) -> bool:
        """DEL. Whether there was something."""
        return bool(self.execute("DEL", key))


class AsyncRedisGuard(_Fence):
    """`RedisGuard` for a client of redis.asyncio."""

    async def claim(self) -> None:
        """Make the term the highest, and write nothing else."""
        self._answer(await self._call(()))

    async def execute(self, command: str, key: str, *arguments: Argument) -> Any:
        """One command on one key, if the term is the highest; gives what Redis answers, as it is."""
        return self._answer(await self._call((command, key, *arguments)))

    async def set(self, key: str, value: Argument, *, px: int | None = None) -> None:
        """SET, for ``px`` milliseconds where given."""
        await self.execute("SET", key, value, *(() if px is None else ("PX", px)))

    async def delete(self, key: str) -> bool:
        """DEL. Whether there was something."""
        return bool(await self.execute("DEL", key))
