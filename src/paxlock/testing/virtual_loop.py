"""An asyncio event loop that lives in trio's virtual time: for asyncio programs in a virtual cell.

The loop is a guest of one trio task. It runs what is ready, and then lets trio wait until its next timer is
due or something is called from outside; with trio's mock clock that takes no time. It has no sockets: what a
program under test talks to in reality is put in place by its own tests.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextvars import Context
from typing import Any, TypeVar

import sniffio
import trio

__all__ = ["VirtualLoop"]

T = TypeVar("T")


class _NothingToSelect:
    """The selector of a loop without file descriptors."""

    def select(self, timeout: float | None) -> list[object]:
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """One asyncio event loop; ``run`` runs a program in it."""

    _scheduled: list[asyncio.TimerHandle]
    _ready: Any

    paxlock_virtual_time = True  #: for no other thread does time pass as it does here

    def __init__(self) -> None:
        super().__init__()
        self._selector = _NothingToSelect()
        self._clock_resolution = 0.0
        self._called = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._token = trio.lowlevel.current_trio_token()
        self.find_stand_in: Callable[[Iterable[str]], Any] = lambda addresses: None

    def paxlock_stand_in(self, addresses: Iterable[str]) -> Any:
        """For asyncio clients: the virtual cell that has nodes at these addresses (aio/stand_ins.py)."""
        return self.find_stand_in(addresses)

    def time(self) -> float:
        return trio.current_time()

    def call_soon(  # type: ignore[override]  # of the stub, which knows types of arguments
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        self._called.set()
        return handle

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        self._called.set()
        return handle

    def start_soon(self, async_fn: Callable[..., Awaitable[object]], *args: object) -> trio.CancelScope:
        """Run a trio task beside the loop until its scope is cancelled, or the program ends."""
        scope = trio.CancelScope()

        async def guarded() -> None:
            with scope:
                await async_fn(*args)

        assert self._nursery is not None
        self._nursery.start_soon(guarded)
        return scope

    async def in_trio(self, async_fn: Callable[[], Awaitable[T]]) -> T:
        """Call this in a trio task, and wait for what it gives: for tasks of the loop."""
        future: asyncio.Future[T] = self.create_future()

        async def call() -> None:
            try:
                found = await async_fn()
            except Exception as error:  # noqa: BLE001 - it comes out where the future is awaited
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(found)

        scope = self.start_soon(call)
        try:
            return await future
        finally:
            scope.cancel()

    async def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run ``main()`` as a task of the loop; a cancellation by trio is one for the task."""

        async def call() -> T:
            return await main()

        async with trio.open_nursery() as self._nursery:
            task = self.create_task(call())
            try:
                await self._run_until(task)
            except trio.Cancelled:
                task.cancel()
                with trio.CancelScope(shield=True):
                    await self._run_until(task)
                raise
            await self._clean_up()
            self._nursery.cancel_scope.cancel()
        return task.result()

    async def _clean_up(self) -> None:
        """Cancel what the program has left behind, as asyncio.run does."""
        left = asyncio.all_tasks(self)
        for task in left:
            task.cancel()
            await self._run_until(task)
        self.close()

    async def _run_until(self, task: asyncio.Task[Any]) -> None:
        """Run what is ready, and wait until there is more, again and again."""
        while True:
            self._called = trio.Event()
            self._step()
            if task.done():
                return
            if self._ready:
                await trio.lowlevel.checkpoint()
                continue
            with trio.CancelScope(deadline=self._next_timer()):
                await self._called.wait()

    def _step(self) -> None:
        self._thread_id = threading.get_ident()
        library, sniffio.thread_local.name = sniffio.thread_local.name, "asyncio"
        asyncio._set_running_loop(self)  # noqa: SLF001 - what loops of every kind do
        try:
            self._run_once()  # type: ignore[attr-defined]  # of BaseEventLoop
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001 - as above
            sniffio.thread_local.name = library
            self._thread_id = None  # type: ignore[assignment]  # of the stub

    def _next_timer(self) -> float:
        """A hair after its time: virtual time stands still while anything runs, so a timer that is set to a
        moment lost in rounding would otherwise ring for ever.
        """
        when = min((h.when() for h in self._scheduled if not h.cancelled()), default=math.inf)
        return math.nextafter(when, math.inf)

    # What a loop of its own kind does for BaseEventLoop

    def _process_events(self, event_list: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        self._token.run_sync_soon(self._called.set, idempotent=True)
