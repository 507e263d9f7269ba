"""The client of trio programs: the trio shell of a Session (core/session/session.py).

    async with paxlock.open_client("cell.toml") as client:
        async with client.lock("nightly-report", ttl=10.0, wait=5.0) as held:
            await upload(report, token=held.term)

Times are seconds. No function takes a timeout: the caller's cancel scope is the limit. ``wait`` is the one
exception, because a scope around a lease block would bound its body as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import trio

from paxlock.client.changes import Changes
from paxlock.client.desk import FaceErrors
from paxlock.client.face import Statistics
from paxlock.client.functions import awaitable_of, check_async
from paxlock.client.handle import Handle
from paxlock.client.lease import HeldLease, LeaseBlock
from paxlock.client.nesting import waits_for_ever
from paxlock.client.standing import Change, Standing, State, Waiter
from paxlock.client.verbs import AsyncVerbs
from paxlock.config.cell import Cell
from paxlock.forks import INHERITED
from paxlock.host.clock import Clock
from paxlock.limits import NEVER
from paxlock.runtime.driver import Driver
from paxlock.runtime.faults import TrioBusyError, TrioClosedError
from paxlock.runtime.reply import Reply, check_run
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.transport import Transport
from paxlock.wire.wills import Guardian

__all__ = [
    "Change",
    "Changes",
    "Client",
    "HeldLease",
    "LeaseBlock",
    "Standing",
    "State",
    "Statistics",
    "Waiter",
]

RESUME_CHECK_S = 0.1
CLOSE_PATIENCE_S = 1.0
_ERRORS = FaceErrors(closed=TrioClosedError, busy=TrioBusyError)


class Client(AsyncVerbs[HeldLease]):
    """Locks, elections, watches and questions in one cell. Made by ``open_client`` and ``open_node``."""

    _transport: Transport

    def __init__(
        self,
        cell: Cell,
        session: bytes,
        *,
        label: str,
        endpoint: Endpoint,
        transport: Transport,
        clock: Clock,
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
        self._home = trio.lowlevel.current_trio_token()
        self.block: AbstractAsyncContextManager[Client] | None = None  #: for whose body this client is open
        #: Runs this client's machine; whoever opens the client runs it.
        self.driver = Driver(
            self._session,
            endpoint,
            transport,
            clock,
            publish=self._desk.publish,
            tell_first=self._session.take_published,
            jumped=self._session.clock_jumped,
            buried=lambda: self.close(INHERITED),
        )
        self.driver.before_sending = self._keys.look
        if last_will:
            self._leave_a_will(self.driver)

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
    ) -> LeaseBlock:
        """A block that holds the lease of ``name``: see LeaseBlock and ``acquire``."""
        return LeaseBlock(
            lambda: self.acquire(name, ttl=ttl, wait=wait, label=label, data=data, at_least=at_least),
            self._nesting,
            waits_for=waits_for_ever(name, wait),
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
    ) -> LeaseBlock:
        """The same as ``lock``, for readers: an election, in the same namespace. ``data`` (up to 512 bytes,
        e.g. the leader's address) reaches whoever polls or watches.
        """
        return self.lock(name, ttl=ttl, wait=wait, label=label, data=data, at_least=at_least)

    # Looking

    def watch(self, name: str) -> Changes:
        """Watch a name, or all names with a prefix (``"jobs/*"``): ``async with client.watch(name) as
        changes``. The first change is the present state; a watch skips what was replaced meanwhile, never
        runs backwards, and always arrives at the last state (protocol.md section 6).
        """
        self._desk.check_open()
        self._desk.pattern(name)
        return Changes(self._desk, name, self._home)

    async def watch_forever(
        self,
        name: str,
        async_fn: Callable[[Change], Awaitable[object]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Call ``async_fn(change)`` for every change, one at a time, in order, until cancelled."""
        check_async("watch_forever", async_fn)
        async with self.watch(name) as changes:
            task_status.started()
            async for change in changes:
                await awaitable_of("watch_forever", async_fn, async_fn(change))

    # Opening and closing

    async def leave(self) -> None:
        """Let go of everything: what is still held is lost to the program, then released."""
        if self._desk.inherited:
            return  # nothing of it is the child's
        self._desk.leave()
        with trio.move_on_after(CLOSE_PATIENCE_S) as scope:
            await self.driver.sent()
            while left := self._session.releasing:
                await self.driver.turned()
                if self._session.releasing < left:  # very many are told in turns
                    scope.deadline = trio.current_time() + CLOSE_PATIENCE_S

    def bequeath(self, guardian: Guardian, held: HeldLease) -> None:
        """Deposit with this guardian what ends this lease, whatever has become of its handle, and those that
        follow (protocol.md section 11).
        """
        wills = self._deposit_with(guardian, self.driver)
        held.name_in(wills)
        wills.settle_turn()

    # Within

    def _make_lease(self, ticket: int, grant: Handle, ttl: float, deadline: float) -> HeldLease:
        return HeldLease(self._desk, ticket, grant=grant, ttl=ttl, deadline=deadline)

    def _reply(self) -> Reply:
        check_run(self._home)
        return Reply()

    def _poke(self) -> None:
        self.driver.poke()

    def _settle_sleep(self, holding: bool) -> None:
        self.driver.longest_sleep = RESUME_CHECK_S if holding else NEVER
