"""The client: the trio shell of a Session (core/session/session.py).

    async with paxlock.open_client("cell.toml") as client:
        async with client.lock("nightly-report", ttl=10.0, wait=5.0) as held:
            await upload(report, token=held.term)

Times are seconds. No function takes a timeout: the caller's cancel scope is the limit. ``wait`` is the one
exception, because a scope around a lease block would bound its body as well.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import TypeVar

import attrs
import trio

from paxlock.client.changes import Changes
from paxlock.client.desk import Desk, FaceErrors, Receiver
from paxlock.client.handle import Handle
from paxlock.client.lease import HeldLease, LeaseBlock
from paxlock.client.standing import Change, Standing, State, Waiter
from paxlock.config.cell import Cell
from paxlock.core.session.events import Barred, Failed, Granted, NodeStanding, Surveyed
from paxlock.core.session.session import Session, SessionSettings
from paxlock.errors import LeaseLost, NotAcquired, Reason
from paxlock.forks import INHERITED
from paxlock.limits import NEVER
from paxlock.runtime.clock import Clock
from paxlock.runtime.driver import Driver
from paxlock.runtime.reply import Reply
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.transport import Transport

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

T = TypeVar("T")

RESUME_CHECK_S = 0.1
CLOSE_PATIENCE_S = 1.0
_ERRORS = FaceErrors(closed=trio.ClosedResourceError, busy=trio.BusyResourceError)


@attrs.frozen
class Statistics:
    """Counters at one moment: of messages, of datagrams, of the socket."""

    session: Mapping[str, int]
    endpoint: Mapping[str, int]
    transport: Mapping[str, int]


class _Acquisition:
    """Takes the end of a campaign. A lease is held from that moment, not from when the waiting task runs: it
    may be lost before that.
    """

    def __init__(self, desk: Desk, name: str, ttl: float, granted: Callable[[int, HeldLease], None]) -> None:
        self.reply = Reply()
        self._desk = desk
        self._name = name
        self._ttl = ttl
        self._granted = granted

    def take(self, event: object) -> Receiver | None:
        if not isinstance(event, Granted):
            self.reply.set(event)
            return None
        held = HeldLease(
            self._desk,
            event.ticket,
            grant=Handle(self._desk.cell.cell_id, self._name, *event.candidate, event.term),
            ttl=self._ttl,
            deadline=event.deadline,
        )
        self.reply.set(held)
        self._granted(event.ticket, held)
        return held

    def close(self, why: str) -> None:
        self.reply.close(why)


class Client:
    """Locks, elections, watches and questions in one cell. Made by ``open_client`` and ``open_node``."""

    def __init__(
        self,
        cell: Cell,
        session: bytes,
        *,
        label: str,
        endpoint: Endpoint,
        transport: Transport,
        clock: Clock,
    ) -> None:
        self.cell = cell
        self._clock = clock
        self._transport = transport
        settings = SessionSettings(cell.members, cell.max_ttl_ms, cell.drift_ppm, cell.grace_ms, label)
        self._session = Session(settings, session=session, now=clock.now(), rng=Random(secrets.randbits(64)))
        self._desk = Desk(cell, self._session, now=clock.now, poke=self._poke, errors=_ERRORS)
        self._desk.on_holding = self._settle_sleep
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

    # Locks and elections

    def lock(
        self,
        name: str,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
    ) -> LeaseBlock:
        """A block that holds the lease of ``name``: see LeaseBlock and ``acquire``."""
        return LeaseBlock(lambda: self.acquire(name, ttl=ttl, wait=wait, label=label, data=data))

    def campaign(
        self,
        name: str,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
    ) -> LeaseBlock:
        """The same as ``lock``, for readers: an election, in the same namespace. ``data`` (up to 512 bytes,
        e.g. the leader's address) reaches whoever polls or watches.
        """
        return self.lock(name, ttl=ttl, wait=wait, label=label, data=data)

    async def acquire(
        self,
        name: str,
        *,
        ttl: float = 10.0,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        kill_after: float = 0.0,
    ) -> HeldLease:
        """Acquire without a block, for objects that hold a lease for their lifetime: it is renewed in the
        background, and nothing is cancelled on loss.

        ``wait``: None waits for ever, 0 never waits for a holder to let go, else seconds in all. Of several
        with ``wait=0`` at one moment on a free name exactly one gets it, and the others are told HELD, with
        its label; NO_QUORUM after at most 1 s without one, or a few round trips. ``ttl`` must leave time for
        ``kill_after`` seconds of killing besides the margin. Raises NotAcquired, or ConfigError for names,
        labels, data and durations that do not fit, BusyResourceError for a name whose lease this client has
        detached, also while it waits. If cancelled, nothing is left behind.
        """
        name, label = self._desk.check_campaign(name, wait, label, data)
        until = None if wait is None else self.now() + wait
        while True:
            left = wait if until is None or not wait else max(0.0, until - self.now())
            held = await self._try(name, ttl=ttl, wait=left, label=label, data=data, kill_after=kill_after)
            if held.valid:
                return held
            # Granted, but this task came to run only after it had lapsed.
            await held.release()
            if until is not None and self.now() >= until:
                raise NotAcquired(name, Reason.NO_QUORUM, detail="the lease ran out before it could be used")

    async def lead(
        self,
        name: str,
        async_fn: Callable[..., Awaitable[T]],
        *args: object,
        ttl: float = 10.0,
        label: str | None = None,
        data: bytes = b"",
    ) -> T:
        """Campaign, run ``async_fn(held_lease, *args)``, campaign again after each loss, until cancelled.

        Returns what ``async_fn`` returns, unless the lease was lost while it ran: then it runs again in a
        later term. Other errors of ``async_fn`` come out.
        """
        while True:
            held: HeldLease | None = None
            try:
                async with self.campaign(name, ttl=ttl, label=label, data=data) as held:
                    return await async_fn(held, *args)
            except (LeaseLost, ExceptionGroup) as error:
                if held is None or not held.tells(error):
                    raise

    # Looking

    def watch(self, name: str) -> Changes:
        """Watch a name, or all names with a prefix (``"jobs/*"``): ``async with client.watch(name) as
        changes``. The first change is the present state; a watch skips what was replaced meanwhile, never
        runs backwards, and always arrives at the last state (protocol.md section 6).
        """
        self._desk.check_open()
        self._desk.pattern(name)
        return Changes(self._desk, name)

    async def watch_forever(
        self,
        name: str,
        async_fn: Callable[[Change], Awaitable[object]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Call ``async_fn(change)`` for every change, one at a time, in order, until cancelled."""
        async with self.watch(name) as changes:
            task_status.started()
            async for change in changes:
                await async_fn(change)

    async def poll(self, name: str) -> Standing:
        """A quorum's answer to what a name is: led, free or, without a quorum for 1 s, unknown."""
        return self._desk.standing(name, await self._answer(lambda to: self._desk.poll(name, to, line=False)))

    async def inspect(self, name: str) -> Standing:
        """As ``poll``, but asks every node, and tells who waits in line."""
        return self._desk.standing(name, await self._answer(lambda to: self._desk.poll(name, to, line=True)))

    async def list(self, prefix: str = "") -> list[Standing]:
        """The standings of all names in use that begin with ``prefix``, in order of name.

        Without a quorum it waits, until the caller's scope ends it: a part of the names would pass for all.
        """
        names = self._desk.names_of(await self._answer(lambda to: self._desk.names(prefix, to)))
        replies = [Reply() for _ in names]
        tickets = self._desk.poll_all(names, replies)
        try:
            standings = []
            for name, reply in zip(names, replies, strict=True):
                await reply.wait()
                standings.append(self._desk.standing(name, reply.result()))
            return standings
        finally:
            for ticket in tickets:
                self._desk.forget(ticket)

    async def survey(self) -> tuple[NodeStanding, ...]:
        """How every node of the cell describes itself; those that do not answer within 1 s have no mode."""
        found = await self._answer(self._desk.survey)
        assert isinstance(found, Surveyed)
        return found.nodes

    def statistics(self) -> Statistics:
        """Frozen counters: messages by kind, datagrams dropped by reason, trouble of the socket."""
        self._desk.check_process()
        return Statistics(
            MappingProxyType(dict(self._session.statistics())),
            self.driver.endpoint.statistics(),
            self._transport.statistics(),
        )

    # Detached leases

    async def renew_handle(self, handle: str, wait: float | None = None) -> float:
        """Renew the lease of a handle by its whole ttl; gives the seconds it has left.

        Raises LeaseLost where the grant is over, NotAcquired (NO_QUORUM) where no quorum answered within
        ``wait``, ConfigError for a handle that is malformed or of another cell.
        """
        grant = self._desk.grant(handle)
        answer = await self._answer(lambda to: self._desk.renew_detached(grant, wait, to))
        self._desk.check_outcome(grant, answer, renewed=True)
        return (await self.poll(grant.name)).remaining

    async def release_handle(self, handle: str, wait: float | None = None) -> None:
        """Release exactly the grant of a handle; one that is over already is no error.

        The grant ends at once, whoever holds it, and the next in line gets the name. A holder that still
        works is told within a round trip, at the next renewal (a third of its ttl) at the latest, and its
        lease is lost as RELEASED: until then two believe that they hold.

        Raises NotAcquired (NO_QUORUM) where no quorum answered within ``wait``, ConfigError as above.
        """
        grant = self._desk.grant(handle)
        answer = await self._answer(lambda to: self._desk.release_detached(grant, wait, to))
        self._desk.check_outcome(grant, answer, renewed=False)

    def now(self) -> float:
        """The clock of leases: seconds, going on while the machine sleeps."""
        return self._clock.now()

    def check_process(self) -> None:
        """Raise ClosedResourceError in a fork of the process that opened this client."""
        self._desk.check_process()

    # Within

    async def _try(
        self, name: str, *, ttl: float, wait: float | None, label: str | None, data: bytes, kill_after: float
    ) -> HeldLease:
        acquisition = _Acquisition(self._desk, name, ttl, self._granted)
        ticket = self._desk.campaign(
            name, acquisition, ttl=ttl, wait=wait, label=label, data=data, kill_after=kill_after
        )
        try:
            await acquisition.reply.wait()
        except BaseException:
            self._desk.give_up(ticket)  # all or nothing
            raise
        result = acquisition.reply.result()
        if isinstance(result, Failed):
            raise NotAcquired(name, result.reason, result.holder, result.detail)
        if isinstance(result, Barred):
            raise self._desk.barred(name)
        assert isinstance(result, HeldLease)
        return result

    async def _answer(self, ask: Callable[[Reply], int]) -> object:
        """Ask, and wait for the answer."""
        reply = Reply()
        ticket = ask(reply)
        try:
            await reply.wait()
        finally:
            self._desk.forget(ticket)
        return reply.result()

    def _poke(self) -> None:
        self.driver.poke()

    def _granted(self, ticket: int, held: HeldLease) -> None:
        """A lease is held from now on."""

    def _settle_sleep(self, holding: bool) -> None:
        """While something is held, a suspend must be noticed soon after the machine wakes."""
        self.driver.longest_sleep = RESUME_CHECK_S if holding else NEVER

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

    def close(self, why: str = "this client was closed") -> None:
        """Nothing is answered any more; whoever waits is told so."""
        self._desk.close(why)
