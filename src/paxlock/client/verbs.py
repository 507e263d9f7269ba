"""The verbs of an asynchronous client, written once for every event loop.

They need of a face only a reply that one task waits for (face.py). client.py is the face of trio programs,
aio/client.py that of asyncio. Times are seconds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import islice
from typing import Protocol, TypeVar, TypeVarTuple

from paxlock.client import questions
from paxlock.client.administration import Script, revoking, transferring
from paxlock.client.detached import releasing, renewing
from paxlock.client.face import Acquisition, Face, PendingReply
from paxlock.client.functions import awaitable_of, check_async
from paxlock.client.handle import Handle
from paxlock.client.holding import Holding
from paxlock.client.standing import Standing
from paxlock.core.session.events import (
    CountersRead,
    JournalRead,
    NodeCounters,
    NodeJournal,
    NodePing,
    NodeStanding,
    Pinged,
    Surveyed,
)
from paxlock.errors import LeaseLost, NotAcquired, Reason

__all__ = ["AsyncHolding", "AsyncReply", "AsyncVerbs"]

POLLS_AHEAD = 2048  #: of a list: more than are under way at a time, and few enough for the memory they take
POLLS_A_STEP = 64  #: few, for the answers that have come wait meanwhile, and would pass for late


class AsyncReply(PendingReply, Protocol):
    """A reply that one task can wait for."""

    async def wait(self) -> None:
        """Wait for it; can be cancelled."""


class AsyncHolding(ABC, Holding):
    """A lease that is released by a task."""

    @abstractmethod
    async def release(self) -> None:
        """Let go of the lease and tell the nodes; shielded, and bounded in time. Harmless when repeated.

        Call it only after the work has ended.
        """

    async def publish(self, data: bytes) -> None:
        """Change the lease's data (up to 512 bytes) within the tenure: watches and polls see them with the
        same term. Returns once a quorum has them; from then on no poll shows older ones. If cancelled, they
        are told in the background all the same. Of several at one moment the last one called stays.

        Raises LeaseLost if the lease is lost before that, ClosedError if it was released, ConfigError for
        data that are too long (protocol.md section 12).
        """
        reply = self._reply()
        ticket = self.begin_publishing(data, reply)
        try:
            await reply.wait()
        finally:
            self._desk.forget(ticket)
        self.check_published(reply.result())

    @abstractmethod
    def _reply(self) -> AsyncReply:
        """Something that a task of this face can wait for."""

    async def leave(self) -> None:
        """At the end of a block: release, where this is not a copy in the child of a fork. There nothing is
        to be said: the lease is the parent's, and an error of the body comes out bare.
        """
        if not self._desk.inherited:
            await self.release()


A = TypeVar("A", bound=AsyncHolding)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class AsyncVerbs(Face[A]):
    """What can be asked of a client: leases without a block, questions, and the verbs on handles."""

    async def acquire(
        self,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
        kill_after: float = 0.0,
    ) -> A:
        """Acquire without a block, for objects that hold a lease for their lifetime: it is renewed in the
        background, and nothing is cancelled on loss.

        ``wait``: None waits for ever, 0 never waits for a holder to let go, else seconds in all. Of several
        with ``wait=0`` at one moment on a free name exactly one gets it, and the others are told HELD, with
        its label; NO_QUORUM after at most 1 s without one, or a few round trips.

        ``ttl`` is 10 s unless given, or the cell's max_ttl where that is shorter. It must leave time for
        ``kill_after`` seconds of killing besides the margin.

        ``at_least``: released earlier than so many seconds after it was acquired, the lease is kept until
        then, so that nobody else gets the name. A client that is closed meanwhile leaves it to run out: for
        that the ttl is raised, up to the cell's max_ttl.

        Raises NotAcquired, or ConfigError (a ValueError) for names, labels, data and durations that do not
        fit, TypeError for durations that are no numbers, BusyError for a name whose lease this client has
        detached, also while it waits. If cancelled, nothing is left behind.
        """
        name, label = self._desk.check_campaign(name, wait, label, data, at_least)
        ttl = self.lease_ttl(ttl)
        until = None if wait is None else self.now() + wait
        while True:
            left = wait if until is None or not wait else max(0.0, until - self.now())
            held = await self._try(
                *(name, ttl, left, label, data),
                kill_after=kill_after,
                at_least=at_least,
            )
            if held.valid:
                return held
            # Granted, but this task came to run only after it had lapsed.
            await held.waive().release()
            if until is not None and self.now() >= until:
                raise NotAcquired(name, Reason.NO_QUORUM, detail="the lease ran out before it could be used")

    async def lead(
        self,
        name: str,
        async_fn: Callable[[A, *Ts], Awaitable[T]],
        *args: *Ts,
        ttl: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
    ) -> T:
        """Campaign, run ``async_fn(held_lease, *args)``, campaign again after each loss, until cancelled.

        Returns what ``async_fn`` returns, unless the lease was lost while it ran: then it runs again in a
        later term. Other errors of ``async_fn`` come out. With ``at_least`` (see ``acquire``) the lease
        outlives an ``async_fn`` that returns earlier; its result comes at once. Raises TypeError for what is
        not an async function.
        """

        def block() -> AbstractAsyncContextManager[A]:
            return self.campaign(name, ttl=ttl, label=label, data=data, at_least=at_least)

        return await self._lead(block, async_fn, *args)

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
        standings: list[Standing] = []
        asked: deque[tuple[str, AsyncReply, int]] = deque()
        left = iter(names)
        try:
            while True:
                if len(asked) <= POLLS_AHEAD - POLLS_A_STEP:
                    part = tuple(islice(left, POLLS_A_STEP))
                    replies = [self._reply() for _ in part]
                    asked.extend(zip(part, replies, self._desk.poll_all(part, replies), strict=True))
                if not asked:
                    return standings
                name, reply, _ = asked[0]
                await reply.wait()
                asked.popleft()
                standings.append(self._desk.standing(name, reply.result()))
        finally:
            for _, _, ticket in asked:
                self._desk.forget(ticket)

    async def survey(self) -> tuple[NodeStanding, ...]:
        """How every node of the cell describes itself; those that do not answer within 1 s have no mode."""
        found = await self._answer(lambda to: questions.survey(self._desk, to))
        assert isinstance(found, Surveyed)
        return found.nodes

    async def journal(self, name: str) -> tuple[NodeJournal, ...]:
        """What every node remembers of what happened to a name: promises, leases, refusals, their ends.

        For people, and in memory alone: it decides nothing, and begins with each start of a node. Needs a key
        that may observe the name: raises NotAllowed. A node that does not answer within 1 s has no entries.
        """
        found = await self._answer(lambda to: questions.journal(self._desk, name, to))
        assert isinstance(found, JournalRead)
        return found.nodes

    async def ping(self, nodes: Sequence[str] | None = None) -> tuple[NodePing, ...]:
        """Send one small datagram to each of these nodes, by id, or to all: what comes back within 1 s?

        It is not repeated: several in a row tell how much is lost. Raises ConfigError for a node that the
        cell does not have.
        """
        found = await self._answer(lambda to: questions.ping(self._desk, nodes, to))
        assert isinstance(found, Pinged)
        return found.nodes

    async def counters(self) -> tuple[NodeCounters, ...]:
        """What every node has counted since its start, for people and programs that look after the cell.

        A node that does not answer within 1 s has none.
        """
        found = await self._answer(lambda to: questions.count(self._desk, to))
        assert isinstance(found, CountersRead)
        return found.nodes

    # Detached leases

    async def renew_handle(self, handle: str, wait: float | None = None) -> float:
        """Renew the lease of a handle by its whole ttl; gives the seconds it has left.

        Raises LeaseLost where the grant is over, NotAcquired (NO_QUORUM) where no quorum answered within
        ``wait``, ConfigError for a handle that is malformed or of another cell.
        """
        return await self._play(renewing(self._desk, handle, wait))

    async def release_handle(self, handle: str, wait: float | None = None) -> None:
        """Release exactly the grant of a handle; one that is over already is no error.

        The grant ends at once, whoever holds it, and the next in line gets the name. A holder that still
        works is told within a round trip, at the next renewal (a third of its ttl) at the latest, and its
        lease is lost as RELEASED: until then two believe that they hold.

        Raises NotAcquired (NO_QUORUM) where no quorum answered within ``wait``, ConfigError as above.
        """
        await self._play(releasing(self._desk, handle, wait))

    # The tenures of others

    async def revoke(self, name: str, term: int, *, force: bool = False, wait: float | None = None) -> float:
        """End the tenure of this term, whoever holds it; one that is over already is no error. Gives for how
        many seconds its lease is still held, at most: 0 where it is over.

        The holder is told at once: its lease is lost as REVOKED, and the next in line gets the name when its
        program has let go. Without ``force`` that is all: returns when it has. With ``force`` the lease is
        not renewed any more either, and runs out at its deadline, a ttl later at most: returns when a quorum
        has taken that. Until then it keeps everybody out (protocol.md section 12).

        Needs a key that may administer the name: raises NotAllowed. Raises ConfigError where the name is led
        in a term below this one, or this is none; NotAcquired (NO_QUORUM, or HELD where the holder has not
        let go) where ``wait`` seconds were not enough.
        """
        return await self._play(revoking(self._desk, name, term, force=force, wait=wait))

    async def transfer(self, name: str, *, to: str, wait: float | None = None) -> int:
        """A planned hand-over: ask the holder to let go, as ``revoke`` does without ``force``, and have who
        waits with the label ``to``, of several the one for longest, next in line. Gives its term.

        Needs a key that may administer the name: raises NotAllowed. Raises ConfigError where nobody holds the
        name, or nobody with this label waits for it; NotAcquired where the holder has not let go within
        ``wait`` seconds, or another one got the name after all (HELD), where nobody did (CONTENDED), or
        without a quorum (NO_QUORUM).
        """
        return await self._play(transferring(self._desk, name, to, wait=wait))

    # Within

    async def _lead(
        self,
        block: Callable[[], AbstractAsyncContextManager[A]],
        async_fn: Callable[[A, *Ts], Awaitable[T]],
        *args: *Ts,
    ) -> T:
        """Run the function in a block, and after each loss in another one."""
        check_async("lead", async_fn)
        while True:
            held: A | None = None
            try:
                async with block() as held:
                    return await awaitable_of("lead", async_fn, async_fn(held, *args))
            except (LeaseLost, ExceptionGroup) as error:
                if held is None or not held.tells(error):
                    raise

    async def _play(self, script: Script[T]) -> T:
        """Ask what a script wants to know, and tell it the answers."""
        try:
            ask = next(script)
            while True:
                ask = script.send(await self._answer(ask))
        except StopIteration as end:
            result: T = end.value
            return result

    @abstractmethod
    def campaign(
        self,
        name: str,
        *,
        ttl: float | None = None,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        at_least: float = 0.0,
    ) -> AbstractAsyncContextManager[A]:
        """A block that holds the lease of ``name``."""

    @abstractmethod
    def _reply(self) -> AsyncReply:
        """Something that a task of this face can wait for."""

    @abstractmethod
    def _make_lease(self, ticket: int, grant: Handle, ttl: float, deadline: float) -> A:
        """What the program holds."""

    async def _try(
        self,
        name: str,
        ttl: float,
        wait: float | None,
        label: str | None,
        data: bytes,
        *,
        kill_after: float,
        at_least: float,
    ) -> A:
        reply = self._reply()
        acquisition = Acquisition(self._desk, name, ttl, reply, make=self._make_lease, granted=self._granted)
        ticket = self._desk.campaign(
            *(name, acquisition),
            ttl=ttl,
            wait=wait,
            label=label,
            data=data,
            kill_after=kill_after,
            at_least=at_least,
        )
        try:
            await reply.wait()
        except BaseException:
            self._desk.give_up(ticket)  # all or nothing
            raise
        return acquisition.result()

    async def _answer(self, ask: Callable[[AsyncReply], int]) -> object:
        """Ask, and wait for the answer."""
        reply = self._reply()
        ticket = ask(reply)
        try:
            await reply.wait()
        finally:
            self._desk.forget(ticket)
        return reply.result()
