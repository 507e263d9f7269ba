"""What a client process does in each scenario, written once for all peers (see runtimes.py).

Moments are nanoseconds of the monotonic clock, which all processes of the machine share. A workload says
``ready`` when it has a session that works, and begins when it is told to.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib import import_module
from typing import Any

import attrs

from benchmarks.machine import Meter, packets_here
from benchmarks.peers.base import Peer, Session
from benchmarks.runtimes import Job, Runtime

OPEN_PATIENCE_S = 60.0
RETRY_S = 0.02
FAILED_CALL_PAUSE_S = 0.01
RECOVERY_PATIENCE_S = 30.0
WAIT_BEGINS_S = 0.3
HOLD_AT_ONCE = 32
NS_PER_S = 1_000_000_000

Result = dict[str, Any]


@attrs.frozen
class Context:
    """One client process: its peer, its cluster, what it is to do."""

    peer: Peer
    runtime: Runtime
    connection: Mapping[str, Any]
    ttl: float
    servers: list[int]
    arguments: Mapping[str, Any]

    def tell(self, what: Mapping[str, object]) -> None:
        print(json.dumps(what), flush=True)

    async def ready(self) -> str:
        """Say that this client can begin, and wait for the word: it is returned.

        What was loaded until now is set aside: a full collection walks through all of it, 20 ms or so, at a
        moment that hangs on how many modules were loaded, and would be taken for a wait for the servers.
        """
        gc.collect()
        gc.freeze()
        self.tell({"ready": True})
        return (await self.runtime.line()).strip()

    @asynccontextmanager
    async def opened(self, probe: bool = True) -> AsyncIterator[Session]:
        """A session; with ``probe`` one that has acquired and released a name of its own already.

        Servers that have just been started or thawed refuse for a while: that is tried again.
        """
        opening: list[AbstractAsyncContextManager[Session]] = []

        async def enter() -> Session:
            opening[:] = [self.peer.session(self.connection, self.ttl)]
            return await opening[0].__aenter__()

        session = await self.until_it_works(enter)
        try:
            if probe:
                name = f"probe-{os.getpid()}"
                grant = await self.until_it_works(lambda: session.acquire(name))
                await self.until_it_works(lambda: session.release(grant))
            yield session
        finally:
            await opening[0].__aexit__(None, None, None)

    async def until_it_works(self, call: Callable[[], Awaitable[Any]]) -> Any:
        deadline = time.monotonic() + OPEN_PATIENCE_S
        while True:
            try:
                return await call()
            except Exception:
                if time.monotonic() > deadline:
                    raise
            await self.runtime.sleep(RETRY_S)


async def pairs(context: Context) -> Result:
    """Acquire and release one name in sequence; the durations of both, and CPU seconds a pair."""
    async with context.opened() as session:
        await context.ready()
        await _pairs(session, context.arguments["warm_up_s"])
        meter = Meter(context.servers)
        acquired, released = await _pairs(session, context.arguments["seconds"])
        return {"acquire": acquired, "release": released, **meter.read()}


async def _pairs(session: Session, seconds: float) -> tuple[list[int], list[int]]:
    acquired, released = [], []
    end = time.monotonic_ns() + int(seconds * NS_PER_S)
    moment = time.monotonic_ns()
    while moment < end:
        grant = await session.acquire("pairs")
        middle = time.monotonic_ns()
        await session.release(grant)
        after = time.monotonic_ns()
        acquired.append(middle - moment)
        released.append(after - middle)
        moment = after
    return acquired, released


async def workers(context: Context) -> Result:
    """For each number of workers: so many loops side by side, each with a name of its own.

    A call that fails costs its worker a moment, and is counted.
    """
    results = {}
    async with context.opened() as session:
        await context.ready()
        for count in context.arguments["workers"]:
            await _workers(context, session, count, context.arguments["warm_up_s"])
            meter = Meter(context.servers)
            done, failed = await _workers(context, session, count, context.arguments["seconds"])
            results[str(count)] = {"pairs": done, "failed": failed, **meter.read()}
    return results


async def _workers(context: Context, session: Session, count: int, seconds: float) -> tuple[int, int]:
    end = time.monotonic_ns() + int(seconds * NS_PER_S)
    done, failed = [0] * count, [0] * count

    def worker(number: int) -> Job:
        name = f"worker-{number}"

        async def run() -> None:
            while time.monotonic_ns() < end:
                try:
                    await session.release(await session.acquire(name))
                    done[number] += 1
                except Exception:  # noqa: BLE001 - whatever the library raises is a failed call
                    failed[number] += 1
                    await context.runtime.sleep(FAILED_CALL_PAUSE_S)

        return run

    await context.runtime.gather(*map(worker, range(count)))
    return sum(done), sum(failed)


async def contend(context: Context) -> Result:
    """Take one lock again and again beside others, holding it for a moment, and note every tenure.

    All begin at the moment that they are told, once for each of the times to hold it.
    """
    async with context.opened() as session:
        for hold_s in context.arguments["holds"]:
            begin = int(await context.ready())
            end = begin + int(context.arguments["seconds"] * NS_PER_S)
            await context.runtime.sleep(max(0.0, (begin - time.monotonic_ns()) / NS_PER_S))
            context.tell({"tenures": await _contend(context, session, hold_s, end)})
    return {}


async def _contend(context: Context, session: Session, hold_s: float, end: int) -> list[tuple[int, int, int]]:
    tenures = []
    while (asked := time.monotonic_ns()) < end:
        grant = await session.acquire("contended")
        held = time.monotonic_ns()
        if hold_s:
            await context.runtime.sleep(hold_s)
        released = time.monotonic_ns()
        await session.release(grant)
        tenures.append((asked, held, released))
    return tenures


async def hold(context: Context) -> Result:
    """Hold some names until told otherwise (or killed)."""
    names: list[str] = []
    async with context.opened() as session:
        grants: list[Any] = []

        async def take() -> None:
            while names:
                grants.append(await session.acquire(names.pop()))

        await context.ready()
        while int(wanted := (await context.runtime.line()).strip() or "0"):
            names.extend(
                f"{context.arguments['prefix']}{number}" for number in range(len(grants), int(wanted))
            )
            await context.runtime.gather(*[take] * min(HOLD_AT_ONCE, len(names)))
            context.tell({"holding": len(grants)})
            await context.runtime.line()
            context.tell({"held": await session.held(grants)})
    return {}


async def succeed(context: Context) -> Result:
    """Wait for names that others hold, all at once; the moments when each was acquired."""
    moments: dict[str, int] = {}
    async with context.opened() as session:

        def waiter(name: str) -> Job:
            async def run() -> None:
                grant = await context.until_it_works(lambda: session.acquire(name))
                moments[name] = time.monotonic_ns()
                await context.until_it_works(lambda: session.release(grant))

            return run

        async def announce() -> None:
            await context.runtime.sleep(WAIT_BEGINS_S)
            context.tell({"waiting": True})

        await context.ready()
        await context.runtime.gather(announce, *map(waiter, context.arguments["names"]))
    return {"acquired": moments}


async def steady(context: Context) -> Result:
    """Acquire and release for some seconds whatever befalls the servers; note successes and failures.

    If the last call failed it goes on until one succeeds: otherwise the gap would end with the measurement.
    """
    failures: list[tuple[int, str]] = []
    async with context.opened() as session:
        await context.ready()
        successes = [time.monotonic_ns()]
        end = time.monotonic_ns() + int(context.arguments["seconds"] * NS_PER_S)
        give_up = end + int(RECOVERY_PATIENCE_S * NS_PER_S)
        while (now := time.monotonic_ns()) < end or (failures and failures[-1][0] > successes[-1]):
            if now > give_up:
                break
            try:
                grant = await session.acquire("steady")
                successes.append(time.monotonic_ns())
                await session.release(grant)
                successes.append(time.monotonic_ns())
            except Exception as error:  # noqa: BLE001 - whatever the library raises is a failed call
                failures.append((time.monotonic_ns(), f"{type(error).__name__}: {error}"[:200]))
                await context.runtime.sleep(FAILED_CALL_PAUSE_S)
    return {"successes": successes, "failures": failures}


async def change(context: Context) -> Result:
    """Acquire and release a watched name, with pauses: when acquire returned, when release was called."""
    changes = []
    pause = context.arguments["pause_s"]
    async with context.opened() as session:
        await context.ready()
        for _ in range(context.arguments["count"]):
            grant = await session.acquire("watched")
            changes.append((time.monotonic_ns(), True))
            await context.runtime.sleep(pause)
            changes.append((time.monotonic_ns(), False))
            await session.release(grant)
            await context.runtime.sleep(pause)
    return {"changes": changes}


async def watch(context: Context) -> Result:
    """Note when this process is told of each change, until told to stop."""
    heard: list[tuple[int, bool]] = []
    async with context.opened() as session:
        await session.watch("watched", lambda led: heard.append((time.monotonic_ns(), led)))
        await context.ready()
        await context.runtime.line()
    return {"heard": heard}


async def crowd(context: Context) -> Result:
    """Many sessions wait for one lock that another holds, or watch it, and nothing happens: what that costs.

    The process ends itself: nobody is to be served after that.
    """
    count, watching = context.arguments["count"], context.arguments["watching"]
    async with AsyncExitStack() as stack:
        holder = await stack.enter_async_context(context.opened())
        sessions = [await stack.enter_async_context(context.opened(probe=False)) for _ in range(count)]
        grant = await context.until_it_works(lambda: holder.acquire("crowd"))

        def member(session: Session) -> Job:
            async def run() -> None:
                if watching:
                    await session.watch("crowd", lambda led: None)
                else:
                    await session.acquire("crowd")
                    raise AssertionError(f"acquired, and the holder has {await holder.held([grant])}")

            return run

        async def measure() -> None:
            await context.ready()
            await context.runtime.sleep(context.arguments["settle_s"])
            meter, packets = Meter(context.servers), packets_here()
            await context.runtime.sleep(context.arguments["seconds"])
            context.tell({"result": {**meter.read(), "packets": packets_here() - packets}})
            os._exit(0)

        await context.runtime.gather(measure, *map(member, sessions))
    return {}


async def first(context: Context) -> Result:
    """The moment of the first lock, of a client that is there before the servers are."""
    for module in context.peer.modules:
        import_module(module)
    await context.ready()
    async with context.opened(probe=False) as session:
        grant = await context.until_it_works(lambda: session.acquire("first"))
        moment = time.monotonic_ns()
        await context.until_it_works(lambda: session.release(grant))
    return {"acquired": moment}


WORKLOADS: Mapping[str, Callable[[Context], Awaitable[Result]]] = {
    workload.__name__: workload
    for workload in (pairs, workers, contend, hold, succeed, steady, change, watch, crowd, first)
}
