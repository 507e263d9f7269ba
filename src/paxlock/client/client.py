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

from paxlock.client.changes import Change, Changes, Standing, State, Waiter
from paxlock.client.handle import Handle, parse_handle
from paxlock.client.lease import HeldLease, LeaseBlock
from paxlock.client.questions import Questions
from paxlock.config.cell import Cell, check_data, check_label, check_name
from paxlock.core.session.events import (
    Answered,
    Barred,
    Changed,
    Ended,
    Extended,
    Failed,
    Granted,
    HandleOutcome,
    Lost,
    Mismatch,
    NamesFound,
    NodeStanding,
    Surveyed,
)
from paxlock.core.session.session import Session, SessionSettings
from paxlock.errors import ConfigError, LeaseLost, LossReason, NotAcquired, Reason
from paxlock.forks import INHERITED, Life
from paxlock.runtime.clock import Clock
from paxlock.runtime.driver import Driver
from paxlock.runtime.reply import Reply
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.strangers import Stranger
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
RELEASE_PATIENCE_S = 1.0


@attrs.frozen
class Statistics:
    """Counters at one moment: of messages, of datagrams, of the socket."""

    session: Mapping[str, int]
    endpoint: Mapping[str, int]
    transport: Mapping[str, int]


class Client:
    """Locks, elections, watches and questions in one cell. Made by ``open_client`` and ``open_node``."""

    def __init__(self, cell: Cell, session: bytes, *, label: str, transport: Transport, clock: Clock) -> None:
        self.cell = cell
        self._clock = clock
        self._life = Life()
        self._closed = False
        settings = SessionSettings(cell.members, cell.max_ttl_ms, cell.drift_ppm, cell.grace_ms, label)
        self._session = Session(settings, session=session, now=clock.now(), rng=Random(secrets.randbits(64)))
        self._replies: dict[int, Reply] = {}
        self._held: dict[int, HeldLease] = {}
        self._watches: dict[int, Changes] = {}
        self._transport = transport
        self._driver: Driver
        self._questions: Questions

    def attach(self, endpoint: Endpoint) -> Driver:
        """For opening: the driver that runs this client's machine."""
        self._driver = Driver(
            self._session,
            endpoint,
            self._transport,
            self._clock,
            publish=self._publish,
            tell_first=self._session.take_published,
            jumped=self._session.clock_jumped,
            buried=lambda: self.close(INHERITED),
        )
        self._questions = Questions(self.cell, self._session, self._driver, self._clock)
        return self._driver

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
        self._check_open()
        check_name(name)
        if self._session.gave_away(name):
            raise _barred(name)
        check_data(data)
        if label is not None:
            check_label(label)
        if wait is not None and not wait >= 0:
            raise ConfigError(f"wait must be None, 0 or more seconds, not {wait!r}")
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
        self._check_open()
        prefix = name.endswith("*")
        pattern = _checked_prefix(name[:-1]) if prefix else check_name(name)
        return Changes(
            lambda changes: self._start_watch(changes, pattern, prefix), self._stop_watch, self.check_process
        )

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
        self._check_open()
        check_name(name)
        return await self._questions.poll(name, line=False)

    async def inspect(self, name: str) -> Standing:
        """As ``poll``, but asks every node, and tells who waits in line."""
        self._check_open()
        check_name(name)
        return await self._questions.poll(name, line=True)

    async def list(self, prefix: str = "") -> list[Standing]:
        """The standings of all names in use that begin with ``prefix``, in order of name.

        Without a quorum it waits, until the caller's scope ends it: a part of the names would pass for all.
        """
        self._check_open()
        _checked_prefix(prefix)
        return await self._questions.standings(prefix)

    async def survey(self) -> tuple[NodeStanding, ...]:
        """How every node of the cell describes itself; those that do not answer within 1 s have no mode."""
        self._check_open()
        return await self._questions.survey()

    def statistics(self) -> Statistics:
        """Frozen counters: messages by kind, datagrams dropped by reason, trouble of the socket."""
        self.check_process()
        return Statistics(
            MappingProxyType(dict(self._session.statistics())),
            self._driver.endpoint.statistics(),
            self._transport.statistics(),
        )

    # Detached leases

    async def renew_handle(self, handle: str, wait: float | None = None) -> float:
        """Renew the lease of a handle by its whole ttl; gives the seconds it has left.

        Raises LeaseLost where the grant is over, NotAcquired (NO_QUORUM) where no quorum answered within
        ``wait``, ConfigError for a handle that is malformed or of another cell.
        """
        return await self._questions.renew(self._grant(handle), wait)

    async def release_handle(self, handle: str, wait: float | None = None) -> None:
        """Release exactly the grant of a handle; one that is over already is no error.

        The grant ends at once, whoever holds it, and the next in line gets the name. A holder that still
        works is told within a round trip, at the next renewal (a third of its ttl) at the latest, and its
        lease is lost as RELEASED: until then two believe that they hold.

        Raises NotAcquired (NO_QUORUM) where no quorum answered within ``wait``, ConfigError as above.
        """
        await self._questions.release(self._grant(handle), wait)

    def _grant(self, handle: str) -> Handle:
        self._check_open()
        grant = parse_handle(handle)
        if grant.cell_id != self.cell.cell_id:
            raise ConfigError("the handle is of another cell: give the cell file it was acquired with")
        return grant

    # For HeldLease

    def now(self) -> float:
        """The clock of leases: seconds, going on while the machine sleeps."""
        return self._clock.now()

    def check_process(self) -> None:
        """Raise ClosedResourceError in a fork of the process that opened this client."""
        if self._life.over:
            raise trio.ClosedResourceError(INHERITED)

    @property
    def inherited(self) -> bool:
        """Whether this is a copy in the child of a fork."""
        return self._life.over

    async def release_ticket(self, ticket: int, patience: float) -> None:
        """End a lease and wait, shielded and for ``patience`` or 1 s, until a quorum has heard it."""
        self._held.pop(ticket, None)
        self._settle_sleep()
        # Where it was lost, the machine has ended it already.
        if self._closed or self._session.campaign_of(ticket) is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        reply = self._replies[ticket] = Reply()
        patience = min(RELEASE_PATIENCE_S, patience)
        self._session.release(ticket, self.now(), patience=patience)
        self._driver.poke()
        await self._wait_ended(reply, patience)
        self._replies.pop(ticket, None)

    async def _wait_ended(self, reply: Reply, patience: float) -> None:
        """Until the machine tells that a release was heard, or ``patience`` is over: it tells of that too, so
        that no scope is needed for the limit, which would cost more than the rest.
        """
        await reply.wait_shielded()

    def detach_ticket(self, ticket: int) -> None:
        """Forget a lease without releasing it."""
        self._held.pop(ticket, None)
        self._session.detach(ticket, self.now())
        self._driver.poke()
        self._settle_sleep()

    # Within

    def _check_open(self) -> None:
        self.check_process()
        if self._closed:
            raise trio.ClosedResourceError("this client is closed")

    async def _try(
        self, name: str, *, ttl: float, wait: float | None, label: str | None, data: bytes, kill_after: float
    ) -> HeldLease:
        ticket = self._session.campaign(
            name, ttl=ttl, now=self.now(), wait=wait, label=label, data=data, kill_after=kill_after
        )
        reply = self._replies[ticket] = Reply(name, ttl)
        self._driver.poke()
        try:
            await reply.wait()
        except BaseException:
            # All or nothing: whatever has become of the attempt, it ends here (and its Release is repeated
            # in the background until heard).
            self._replies.pop(ticket, None)
            self._held.pop(ticket, None)
            self._session.release(ticket, self.now())
            self._driver.poke()
            raise
        result = reply.result()
        if isinstance(result, Failed):
            raise NotAcquired(name, result.reason, result.holder, result.detail)
        if isinstance(result, Barred):
            raise _barred(name)
        assert isinstance(result, HeldLease)
        return result

    def _hold(self, name: str, ttl: float, granted: Granted) -> HeldLease:
        held = HeldLease(
            self,
            granted.ticket,
            grant=Handle(self.cell.cell_id, name, *granted.candidate, granted.term),
            ttl=ttl,
            deadline=granted.deadline,
        )
        self._held[granted.ticket] = held
        self._settle_sleep()
        return held

    def _settle_sleep(self) -> None:
        """While something is held, a suspend must be noticed soon after the machine wakes."""
        self._driver.longest_sleep = RESUME_CHECK_S if self._held else float("inf")

    def _start_watch(self, changes: Changes, pattern: str, prefix: bool) -> int:
        self._check_open()
        ticket = self._session.watch(pattern, prefix, self.now())
        self._watches[ticket] = changes
        self._driver.poke()
        return ticket

    def _stop_watch(self, ticket: int) -> None:
        self._watches.pop(ticket, None)
        if not self._closed:
            self._session.unwatch(ticket)
            self._driver.poke()

    def _publish(self, notice: object) -> None:
        """What the machine publishes, in its order."""
        match notice:
            case Granted():
                self._granted(notice)
            case Extended(ticket, deadline):
                held = self._held.get(ticket)
                if held is not None and not held.extended(deadline):
                    self._expired(ticket, held)
            case Lost(ticket, reason):
                held = self._held.pop(ticket, None)
                if held is not None:
                    held.lost(reason)
                self._settle_sleep()
            case Changed():
                changes = self._watches.get(notice.ticket)
                if changes is not None:
                    changes.put(Change(notice.name, notice.state, notice.term, notice.label, notice.data))
            case Failed() | Barred() | Ended():
                reply = self._replies.pop(notice.ticket, None)
                if reply is not None:
                    reply.set(notice)
            case Answered() | NamesFound() | Surveyed() | HandleOutcome():
                self._questions.answered(notice)
            case Mismatch(explanation):
                raise ConfigError(explanation)
            case Stranger():
                if notice.members:  # of an older version anybody may say that he is
                    raise ConfigError(notice.explanation)
            case _:
                raise AssertionError(notice)

    def _granted(self, notice: Granted) -> None:
        reply = self._replies.pop(notice.ticket, None)
        if reply is None:
            return  # cancelled in this very turn: its Release is on its way
        # Held from this moment, not from when the waiting task runs: it may be lost before that.
        reply.set(self._hold(reply.name, reply.ttl, notice))

    def _expired(self, ticket: int, held: HeldLease) -> None:
        """Renewed in time, but told only after the deadline that the program knew: for the program it was
        over by then, so it is over, and nobody shall renew it.
        """
        del self._held[ticket]
        held.lost(LossReason.EXPIRED)
        self._session.release(ticket, self.now())
        self._driver.poke()
        self._settle_sleep()

    # Opening and closing

    async def leave(self) -> None:
        """Let go of everything: what is still held is lost to the program, then released."""
        if self.inherited:
            return  # nothing of it is the child's
        now = self.now()
        for ticket, held in list(self._held.items()):
            held.lost(LossReason.CLOSED)
            self._session.release(ticket, now)
        for ticket in list(self._replies):
            self._session.release(ticket, now)
        for changes in list(self._watches.values()):
            changes.close()
        self.close()
        self._driver.poke()
        with trio.move_on_after(CLOSE_PATIENCE_S) as scope:
            await self._driver.sent()
            while left := self._session.releasing:
                await self._driver.turned()
                if self._session.releasing < left:  # very many are told in turns
                    scope.deadline = trio.current_time() + CLOSE_PATIENCE_S

    def close(self, why: str = "this client was closed") -> None:
        """Nothing is answered any more; whoever waits is told so."""
        self._closed = True
        for changes in list(self._watches.values()):
            changes.close()
        for held in list(self._held.values()):
            held.lost(LossReason.CLOSED)
        self._held.clear()
        replies, self._replies = self._replies, {}
        for reply in replies.values():
            reply.close(why)
        self._questions.close(why)


def _barred(name: str) -> trio.BusyResourceError:
    return trio.BusyResourceError(
        f"this client has detached a lease of {name!r}: open another client to campaign for it again"
    )


def _checked_prefix(prefix: str) -> str:
    """A prefix unchanged; raise ConfigError for what no name can begin with."""
    if prefix:
        check_name(prefix.replace("*", "-"))  # a star may stand within a name, only not at its end
    return prefix
