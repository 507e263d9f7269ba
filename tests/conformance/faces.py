"""The three faces in one shape, and the runner of the tests that are written for it.

The clients of trio and of asyncio have that shape already: mypy compares them with the protocols here. The
blocking one is wrapped: each verb runs in a worker thread. The tests use anyio, which runs on both loops.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import anyio
import anyio.abc
import anyio.from_thread
import anyio.to_thread

import paxlock
import paxlock.aio
import paxlock.blocking
from paxlock import (
    Cell,
    Change,
    LossReason,
    NodeCounters,
    NodeJournal,
    NodePing,
    NodeStanding,
    Standing,
    Statistics,
)
from paxlock.blocking import Changes as ThreadChanges
from paxlock.blocking import Client as ThreadClient
from paxlock.blocking import HeldLease as ThreadLease
from paxlock.blocking import LeaseBlock as ThreadBlock

PATIENCE_S = 60.0  #: of a whole test: a loaded machine takes its time
KINDS = ("trio", "asyncio", "blocking")

T = TypeVar("T")


class Lease(Protocol):
    """A lease that is held, in the shape of all faces."""

    name: str
    term: int
    ttl: float

    @property
    def handle(self) -> str: ...
    @property
    def cell(self) -> str: ...
    @property
    def deadline(self) -> float: ...
    @property
    def valid(self) -> bool: ...
    def remaining(self) -> float: ...
    def check(self) -> None: ...
    def detach(self) -> None: ...
    def on_extended(self, callback: Callable[[float], None]) -> None: ...
    async def publish(self, data: bytes) -> None: ...
    async def release(self) -> None: ...
    async def wait_lost(self) -> LossReason: ...


class Changes(Protocol):
    """The channel of a watch, in the shape of all faces."""

    async def receive(self) -> Change: ...
    def close(self) -> None: ...


class Client(Protocol):
    """A client, in the shape of all faces."""

    def lock(
        self,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
    ) -> AbstractAsyncContextManager[Lease]: ...
    def campaign(
        self,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
    ) -> AbstractAsyncContextManager[Lease]: ...
    async def acquire(
        self,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
    ) -> Lease: ...
    async def lead(
        self,
        name: str,
        async_fn: Callable[..., Awaitable[T]],
        /,
        *args: object,
        ttl: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
    ) -> T: ...
    def watch(self, name: str) -> AbstractAsyncContextManager[Changes]: ...
    async def watch_forever(self, name: str, async_fn: Callable[[Change], Awaitable[object]], /) -> None: ...
    async def poll(self, name: str) -> Standing: ...
    async def inspect(self, name: str) -> Standing: ...
    async def list(self, prefix: str = "") -> list[Standing]: ...
    async def survey(self) -> tuple[NodeStanding, ...]: ...

    async def journal(self, name: str) -> tuple[NodeJournal, ...]: ...
    async def ping(self, nodes: Sequence[str] | None = None) -> tuple[NodePing, ...]: ...
    async def counters(self) -> tuple[NodeCounters, ...]: ...
    def statistics(self) -> Statistics: ...
    async def renew_handle(self, handle: str, wait: float | None = None) -> float: ...
    async def release_handle(self, handle: str, wait: float | None = None) -> None: ...
    async def revoke(
        self, name: str, term: int, *, force: bool = False, wait: float | None = None
    ) -> float: ...
    async def transfer(self, name: str, *, to: str, wait: float | None = None) -> int: ...


# Threads in that shape


async def in_thread(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call it in a worker thread. Where the test gives up, the thread is left to the end of its client."""
    return await anyio.to_thread.run_sync(
        functools.partial(function, *args, **kwargs), abandon_on_cancel=True
    )


async def to_its_end(function: Callable[..., T], *args: Any) -> T:
    """The same for what must be done even where the test gives up: the thread is waited for."""
    return await anyio.to_thread.run_sync(functools.partial(function, *args))


def from_thread(async_fn: Callable[..., Awaitable[T]], *args: object) -> T:
    """Call it on the test's loop, from a worker thread."""

    async def call() -> T:
        return await async_fn(*args)

    return anyio.from_thread.run(call)


class WrappedLease:
    """A lease of the blocking face."""

    def __init__(self, held: ThreadLease) -> None:
        self._held = held
        self.name, self.term, self.ttl = held.name, held.term, held.ttl
        self.check, self.remaining, self.detach = held.check, held.remaining, held.detach
        self.on_extended = held.on_extended
        self.cell = held.cell

    @property
    def handle(self) -> str:
        return self._held.handle

    @property
    def deadline(self) -> float:
        return self._held.deadline

    @property
    def valid(self) -> bool:
        return self._held.valid

    async def publish(self, data: bytes) -> None:
        await in_thread(self._held.publish, data)

    async def release(self) -> None:
        await to_its_end(self._held.release)

    async def wait_lost(self) -> LossReason:
        reason = await in_thread(self._held.wait_lost)
        assert reason is not None
        return reason


class WrappedBlock:
    """A lease block of the blocking face."""

    def __init__(self, block: ThreadBlock) -> None:
        self._block = block

    async def __aenter__(self) -> Lease:
        return WrappedLease(await in_thread(self._block.__enter__))

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await to_its_end(self._block.__exit__, exc_type, exc, traceback)


class WrappedChanges:
    """A watch of the blocking face."""

    def __init__(self, changes: ThreadChanges) -> None:
        self._changes = changes
        self.close = changes.close

    async def __aenter__(self) -> Self:
        await in_thread(self._changes.__enter__)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await to_its_end(self._changes.__exit__, exc_type, exc, traceback)

    async def receive(self) -> Change:
        return await in_thread(self._changes.receive)


class WrappedClient:
    """A client of the blocking face."""

    def __init__(self, client: ThreadClient) -> None:
        self._client = client
        self.statistics = client.statistics

    def lock(self, name: str, **how: Any) -> WrappedBlock:
        return WrappedBlock(self._client.lock(name, **how))

    def campaign(self, name: str, **how: Any) -> WrappedBlock:
        return WrappedBlock(self._client.campaign(name, **how))

    async def acquire(self, name: str, **how: Any) -> Lease:
        return WrappedLease(await in_thread(self._client.acquire, name, **how))

    async def lead(self, name: str, async_fn: Callable[..., Awaitable[T]], /, *args: object, **how: Any) -> T:
        def work(held: ThreadLease, *args: object) -> T:
            return from_thread(async_fn, WrappedLease(held), *args)

        return await in_thread(self._client.lead, name, work, *args, **how)

    def watch(self, name: str) -> WrappedChanges:
        return WrappedChanges(self._client.watch(name))

    async def watch_forever(self, name: str, async_fn: Callable[[Change], Awaitable[object]], /) -> None:
        await in_thread(self._client.watch_forever, name, functools.partial(from_thread, async_fn))

    async def poll(self, name: str) -> Standing:
        return await in_thread(self._client.poll, name)

    async def inspect(self, name: str) -> Standing:
        return await in_thread(self._client.inspect, name)

    async def list(self, prefix: str = "") -> list[Standing]:
        return await in_thread(self._client.list, prefix)

    async def survey(self) -> tuple[NodeStanding, ...]:
        return await in_thread(self._client.survey)

    async def journal(self, name: str) -> tuple[NodeJournal, ...]:
        return await in_thread(self._client.journal, name)

    async def ping(self, nodes: Sequence[str] | None = None) -> tuple[NodePing, ...]:
        return await in_thread(self._client.ping, nodes)

    async def counters(self) -> tuple[NodeCounters, ...]:
        return await in_thread(self._client.counters)

    async def renew_handle(self, handle: str, wait: float | None = None) -> float:
        return await in_thread(self._client.renew_handle, handle, wait)

    async def release_handle(self, handle: str, wait: float | None = None) -> None:
        await in_thread(self._client.release_handle, handle, wait)

    async def revoke(self, name: str, term: int, **how: Any) -> float:
        return await in_thread(self._client.revoke, name, term, **how)

    async def transfer(self, name: str, *, to: str, wait: float | None = None) -> int:
        return await in_thread(functools.partial(self._client.transfer, to=to, wait=wait), name)


@asynccontextmanager
async def _open_wrapped(cell: Cell, **wishes: Any) -> AsyncIterator[Client]:
    client = paxlock.blocking.open_client(cell, **wishes)
    await in_thread(client.__enter__)
    try:
        yield WrappedClient(client)
    finally:
        await to_its_end(client.close)


# The face of a test


class Face:
    """One of the faces, with a cell that stays up."""

    def __init__(self, kind: str, cell: Cell) -> None:
        self.kind = kind
        self.cell = cell

    def open(
        self,
        cell: Cell | None = None,
        *,
        label: str | None = None,
        last_will: bool = False,
        thrifty: bool = False,
    ) -> AbstractAsyncContextManager[Client]:
        """Open a client of this face."""
        cell = cell or self.cell
        if self.kind == "trio":
            return paxlock.open_client(cell, label=label, last_will=last_will, thrifty=thrifty)
        if self.kind == "asyncio":
            return paxlock.aio.open_client(cell, label=label, last_will=last_will, thrifty=thrifty)
        return _open_wrapped(cell, label=label, last_will=last_will, thrifty=thrifty)


class Call:
    """Something that goes on beside the test; its error is kept for who asks for the result."""

    def __init__(self, group: anyio.abc.TaskGroup, work: Callable[[], Awaitable[object]]) -> None:
        self._ended = anyio.Event()
        self._error: Exception | None = None
        self._result: object = None
        group.start_soon(self._run, work)

    async def _run(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            self._result = await work()
        except Exception as error:  # noqa: BLE001 - raised by `result`
            self._error = error
        finally:
            self._ended.set()

    async def result(self) -> Any:
        """Wait for its end; what it has returned, or raise what it has raised."""
        await self._ended.wait()
        if self._error is not None:
            raise self._error
        return self._result


def conforms(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test on the loop of its ``face``: pytest sees a plain function, and no plugin takes it."""

    @functools.wraps(test)
    def run(face: Face, **fixtures: Any) -> None:
        async def bounded() -> None:
            with anyio.fail_after(PATIENCE_S):
                await test(face=face, **fixtures)

        anyio.run(bounded, backend="asyncio" if face.kind == "asyncio" else "trio")

    return run
