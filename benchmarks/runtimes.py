"""One way to write a workload for clients of three kinds: trio, asyncio, and calls that block a thread.

A workload is an async function that uses nothing but its runtime and its session. For a blocking client the
async functions of the session never wait: they block, and ``Threads`` runs each coroutine to its end in one
step, in a thread of its own. So the same loop measures all peers.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

import trio

T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, None]]


class Runtime(Protocol):
    """What a workload may use besides its session."""

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T: ...

    async def gather(self, *jobs: Job) -> None:
        """Run all jobs side by side until all have ended; the first error comes out."""

    async def sleep(self, seconds: float) -> None: ...

    async def line(self) -> str:
        """The next line of standard input."""
        raise NotImplementedError


class Trio:
    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return trio.run(main)

    async def gather(self, *jobs: Job) -> None:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(job)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def line(self) -> str:
        return await trio.to_thread.run_sync(sys.stdin.readline)


class Asyncio:
    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run(main())

    async def gather(self, *jobs: Job) -> None:
        await asyncio.gather(*(job() for job in jobs))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def line(self) -> str:
        return await asyncio.to_thread(sys.stdin.readline)


class Threads:
    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return at_once(main())

    async def gather(self, *jobs: Job) -> None:
        errors: list[BaseException] = []

        def run(job: Job) -> None:
            try:
                at_once(job())
            except Exception as error:  # noqa: BLE001 - raised again below, in the thread that waits
                errors.append(error)

        threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - this is the runtime in which everything blocks

    async def line(self) -> str:
        return sys.stdin.readline()


def at_once(awaitable: Awaitable[T]) -> T:
    """Run a coroutine that never really waits. Raises RuntimeError if it does."""
    steps = awaitable.__await__()
    try:
        next(iter(steps))
    except StopIteration as end:
        value: T = end.value
        return value
    raise RuntimeError("a blocking client waited for an event loop")
