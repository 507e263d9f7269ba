"""The client of asyncio programs: callbacks over the machine that trio programs use, and no thread.

    async with paxlock.aio.open_client("cell.toml") as client:
        async with client.lock("nightly-report", ttl=10.0, wait=5.0) as held:
            await upload(report, token=held.term)

Times are seconds. No function takes a timeout: ``asyncio.timeout`` is the limit. ``wait`` is the one
exception, because a timeout around a lease block would bound its body as well.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar, TypeVarTuple

from paxlock.aio.changes import Changes
from paxlock.aio.driver import LoopDriver
from paxlock.aio.lease import HeldLease, LeaseBlock
from paxlock.aio.reply import Reply, check_loop
from paxlock.aio.udp import LoopTransport
from paxlock.client.desk import FaceErrors
from paxlock.client.functions import awaitable_of, check_async
from paxlock.client.handle import Handle
from paxlock.client.nesting import waits_for_ever
from paxlock.client.standing import Change
from paxlock.client.verbs import AsyncVerbs
from paxlock.config.cell import Cell
from paxlock.config.durations import check_seconds
from paxlock.errors import BusyError, ClosedError, ConfigError
from paxlock.forks import INHERITED
from paxlock.host.clock import Clock
from paxlock.limits import NEVER
from paxlock.wire.endpoint import Endpoint

__all__ = ["Client"]

RESUME_CHECK_S = 0.1
CLOSE_PATIENCE_S = 1.0
_ERRORS = FaceErrors(closed=ClosedError, busy=BusyError)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Client(AsyncVerbs[HeldLease]):
    """Locks, elections, watches and questions in one cell. Made by ``open_client`` and ``open_node``."""

    def __init__(
        self,
        cell: Cell,
        session: bytes,
        *,
        label: str,
        endpoint: Endpoint,
        transport: LoopTransport,
        clock: Clock,
        failed: Callable[[Exception], None],
        last_will: bool = False,
        thrifty: bool = False,
    ) -> None:
        super().__init__(
            cell,
            session,
            label=label,
            endpoint=endpoint,
            transport=transport,
            clock=clock,
            errors=_ERRORS,
            thrifty=thrifty,
        )
        self._loop = asyncio.get_running_loop()
        #: Cancels the body of the block of this client; the error comes out of it.
        self.end_block: Callable[[BaseException], None] = lambda error: None
        #: Closes the client as the end of its block does.
        self.on_aclose: Callable[[], Awaitable[None]] | None = None
        self._driver = LoopDriver(
            self._session,
            endpoint,
            transport,
            clock,
            publish=self._desk.publish,
            tell_first=self._session.take_published,
            jumped=self._session.clock_jumped,
            failed=failed,
            buried=lambda: self._close(INHERITED),
        )
        self._driver.before_sending = self._keys.look
        if last_will:
            self._leave_a_will(self._driver)
        self._driver.start()

    # Locks and elections

    def lock(
        self,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
        exit_after: float | None = None,
    ) -> LeaseBlock:
        """A block that holds the lease of ``name``: see LeaseBlock and ``acquire``."""
        if exit_after is not None and not check_seconds("exit_after", exit_after) >= 0:
            raise ConfigError(f"exit_after must be None, 0 or more seconds, not {exit_after!r}")
        return LeaseBlock(
            lambda: self.acquire(name, ttl=ttl, wait=wait, label=label, data=data, at_least=at_least),
            self._nesting,
            waits_for_ever(name, wait),
            exit_after,
        )

    def campaign(
        self,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
        exit_after: float | None = None,
    ) -> LeaseBlock:
        """The same as ``lock``, for readers: an election, in the same namespace. ``data`` (up to 512 bytes,
        e.g. the leader's address) reaches whoever polls or watches.
        """
        return self.lock(
            name, ttl=ttl, wait=wait, label=label, data=data, at_least=at_least, exit_after=exit_after
        )

    async def lead(
        self,
        name: str,
        async_fn: Callable[[HeldLease, *Ts], Awaitable[T]],
        *args: *Ts,
        ttl: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
        exit_after: float | None = None,
    ) -> T:
        """Campaign, run ``async_fn(held_lease, *args)``, campaign again after each loss, until cancelled.

        Returns what ``async_fn`` returns, unless the lease was lost while it ran: then it runs again in a
        later term. Other errors of ``async_fn`` come out. With ``at_least`` (see ``acquire``) the lease
        outlives an ``async_fn`` that returns earlier; its result comes at once. ``exit_after`` is that of
        ``lock``. Raises TypeError for what is not an async function.
        """

        def block() -> LeaseBlock:
            return self.campaign(
                name, ttl=ttl, label=label, data=data, at_least=at_least, exit_after=exit_after
            )

        return await self._lead(block, async_fn, *args)

    # Looking

    def watch(self, name: str) -> Changes:
        """Watch a name, or all names with a prefix (``"jobs/*"``): ``async with client.watch(name) as
        changes``. The first change is the present state; a watch skips what was replaced meanwhile, never
        runs backwards, and always arrives at the last state (protocol.md section 6).
        """
        self._desk.check_open()
        self._desk.pattern(name)
        return Changes(self._desk, name, self._loop)

    async def watch_forever(
        self,
        name: str,
        async_fn: Callable[[Change], Awaitable[object]],
        *,
        started: asyncio.Event | None = None,
    ) -> None:
        """Call ``async_fn(change)`` for every change, one at a time, in order, until cancelled. ``started``
        is set once the watch stands.
        """
        check_async("watch_forever", async_fn)
        async with self.watch(name) as changes:
            if started is not None:
                started.set()
            async for change in changes:
                await awaitable_of("watch_forever", async_fn, async_fn(change))

    # Opening and closing

    async def aclose(self) -> None:
        """Close this client, as the end of its block does: for an object that owns its client, and entered
        ``open_client`` by hand. Harmless when repeated. What is still held is lost to the program, then
        released; of a node, its thread is stopped.
        """
        if not self._desk.inherited:
            check_loop(self._loop)
        if self.on_aclose is not None:
            await self.on_aclose()

    def __del__(self) -> None:
        driver = getattr(self, "_driver", None)  # there is none where opening has failed
        if driver is None or driver.over or self._desk.inherited:
            return
        warnings.warn(
            "a paxlock client was not closed: its leases run out; use it in an async with block, enter it "
            "into an AsyncExitStack, or await its aclose()",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )

    async def leave(self) -> None:
        """Let go of everything: what is still held is lost to the program, then released."""
        if self._desk.inherited or self._desk.closed:
            return  # nothing of it is the child's; and what has failed sends nothing
        check_loop(self._loop)
        self._desk.leave()
        await self._until(lambda: not self._driver.pending)
        while left := self._session.releasing:  # very many are told in turns
            if not await self._until(partial(self._released_more, left)):
                return

    def _released_more(self, left: int) -> bool:
        return self._session.releasing < left

    async def _until(self, come: Callable[[], bool]) -> bool:
        """Whether this has come within CLOSE_PATIENCE_S; looked at after each turn of the machine."""
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                while not come() and not self._driver.over:
                    await self._driver.turned()
        except TimeoutError:
            return False
        return come()

    def close(self, why: str = "this client was closed") -> None:
        """Nothing is answered any more; whoever waits is told so."""
        self._driver.stop()
        self._close(why)

    # Within

    def _close(self, why: str) -> None:
        super().close(why)

    def _make_lease(self, ticket: int, grant: Handle, ttl: float, deadline: float) -> HeldLease:
        return HeldLease(self._desk, ticket, grant=grant, ttl=ttl, deadline=deadline)

    def _reply(self) -> Reply:
        check_loop(self._loop)
        return Reply()

    def _poke(self) -> None:
        self._driver.poke()

    def _settle_sleep(self, holding: bool) -> None:
        self._driver.longest_sleep = RESUME_CHECK_S if holding else NEVER
