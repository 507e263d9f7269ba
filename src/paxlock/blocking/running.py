"""One session of a blocking client: the machine, its desk and its thread, from the first use to the end.

The client that the program has (client.py) refers to it, and not the other way: so a client that nobody has
any more is collected, and its thread ends.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from paxlock.blocking.callbacks import Callbacks
from paxlock.blocking.changes import Changes
from paxlock.blocking.engine import BlockingSocket, Engine
from paxlock.blocking.interrupts import interruptible
from paxlock.blocking.lease import HeldLease, Working
from paxlock.blocking.names import NameKeeper
from paxlock.blocking.reply import Reply
from paxlock.client.administration import Script
from paxlock.client.desk import Desk, FaceErrors
from paxlock.client.face import Acquisition, Face, Statistics
from paxlock.client.handle import Handle
from paxlock.config.cell import Cell, check_name
from paxlock.errors import BusyError, ClosedError, PaxlockError
from paxlock.host.at_exit import ends_at_exit
from paxlock.host.clock import Clock
from paxlock.host.native import get_ident
from paxlock.host.whereabouts import Whereabouts
from paxlock.limits import NEVER
from paxlock.wire.endpoint import Endpoint

__all__ = ["Running"]

T = TypeVar("T")

RESUME_CHECK_S = 0.1
CLOSE_PATIENCE_S = 1.0
CLOSE_WAIT_S = 5.0  #: for a thread that this machine does not let run
_ERRORS = FaceErrors(closed=ClosedError, busy=BusyError)


class Running(Face[HeldLease]):
    """One session and its thread."""

    def __init__(
        self,
        cell: Cell,
        session: bytes,
        *,
        label: str,
        endpoint: Endpoint,
        transport: BlockingSocket,
        clock: Clock,
        whereabouts: Whereabouts,
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
        self._failure: PaxlockError | None = None
        self._callbacks = Callbacks()
        self._manual: dict[HeldLease, float] = {}
        self._leaving = False
        self.engine = Engine(
            self._session, endpoint, transport, clock, publish=self._desk.publish, alarms=self
        )
        self.engine.before_sending = self._keys.look
        if last_will:
            self._leave_a_will(self.engine)
        self._names = NameKeeper(whereabouts, do=self.engine.do)
        self.engine.start()
        ends_at_exit(self)

    @property
    def desk(self) -> Desk:
        """Who asked for what."""
        return self._desk

    @property
    def inherited(self) -> bool:
        """Whether this is a copy in the child of a fork."""
        return self._desk.inherited

    def check(self) -> None:
        """Raise the error that the background work has ended with, if it has."""
        if self._failure is not None:
            again = copy.copy(self._failure)  # one for each who is told
            again.__cause__ = self._failure.__cause__
            raise again from again.__cause__

    # Verbs

    def acquire(
        self,
        name: str,
        ttl: float | None,
        wait: float | None,
        label: str | None,
        data: bytes,
        *,
        at_least: float,
        working: Working,
    ) -> HeldLease:
        """One campaign, to its end: the lease, or NotAcquired."""
        if working.on_lost is not None:
            self._callbacks.wanted()
        name = check_name(name)  # in NFC, as the lease shall tell it
        ttl = self._desk.allowed.lease_ttl(ttl, self._desk.cell.max_ttl)
        reply: Reply[object] = Reply()
        make = partial(self._make, working)
        acquisition: Acquisition[HeldLease] = Acquisition(
            self._desk, name, ttl, reply, make=make, granted=self._granted
        )

        def ask(_: Reply[object]) -> int:
            self._desk.check_campaign(name, wait, label, data, at_least)
            return self._desk.campaign(
                *(name, acquisition),
                ttl=ttl,
                wait=wait,
                label=label,
                data=data,
                kill_after=0.0,
                at_least=at_least,
            )

        def leave_nothing() -> None:
            if reply.ticket is not None:
                self._desk.give_up(reply.ticket)

        self._ask_and_wait(reply, ask, leave_nothing)
        return acquisition.result()

    def answer(self, ask: Callable[[Reply[object]], int]) -> object:
        """Ask a question, and wait for the answer."""
        reply: Reply[object] = Reply()

        def forget() -> None:
            if reply.ticket is not None:
                self._desk.forget(reply.ticket)

        return self._ask_and_wait(reply, ask, forget)

    def play(self, script: Script[T]) -> T:
        """Ask what a script wants to know, and tell it the answers."""
        try:
            ask = next(script)
            while True:
                ask = script.send(self.answer(ask))
        except StopIteration as end:
            result: T = end.value
            return result

    def answers(self, names: tuple[str, ...]) -> list[object]:
        """What all of these names are."""
        replies: list[Reply[object]] = [Reply() for _ in names]
        tickets: list[int] = []

        def ask(begun: Reply[object]) -> int:
            self._desk.check_open()
            tickets.extend(self._desk.poll_all(names, replies))
            begun.set(None)
            return 0

        def forget() -> None:
            for ticket in tickets:
                self._desk.forget(ticket)

        self._ask_and_wait(Reply(), ask, forget)
        try:
            return [self._wait(reply) for reply in replies]
        except BaseException:
            self.engine.do(forget)
            raise

    def counters(self) -> Statistics:
        """The counters of this session."""

        def ask(reply: Reply[Statistics]) -> int:
            reply.set(self.statistics())
            return 0

        reply: Reply[Statistics] = Reply()
        self._ask_and_wait(reply, ask, lambda: None)
        return reply.result()

    def watch(self, name: str) -> Changes:
        """The changes of a name."""
        self.check()
        self._desk.check_open()
        self._desk.pattern(name)
        return Changes(self, name)

    # The end

    def leave(self) -> None:
        """Let go of everything, and wait until the thread has ended: bounded in time. Takes no lock that
        another thread might hold for long; in the child of a fork, does nothing.
        """
        if self.inherited:
            return
        self.engine.do(self._let_go)
        if not self.engine.within():
            self.engine.over.wait(CLOSE_WAIT_S)

    def abandon(self) -> bool:
        """The client was collected by the garbage collector, in any thread and at any moment. Gives whether
        the session was still going on.
        """
        going_on = not self._leaving and not self.engine.over.is_set() and not self.inherited
        self.engine.hand_over(self._let_go)
        return going_on

    def end_at_exit(self) -> None:
        """The interpreter ends."""
        self.leave()

    # For the engine

    def due(self) -> float:
        """When something is due besides the machine."""
        return min(self._names.due(self._clock.now()), min(self._manual.values(), default=NEVER))

    def tick(self, now: float) -> None:
        """Do what is due besides the machine."""
        self._names.tick(now)
        for held in [held for held, until in self._manual.items() if until <= now]:
            self._manual[held] = held.run_out(now)
            if self._manual[held] == NEVER:
                del self._manual[held]

    def ended(self, failure: PaxlockError | None) -> None:
        """The thread has ended."""
        self._failure = failure
        self.close()
        self._callbacks.close()

    # Within

    def _let_go(self) -> None:
        if not self._leaving:
            self._leaving = True
            if not self._desk.closed:
                self._desk.leave()
            self.engine.stop(CLOSE_PATIENCE_S)

    def _ask_and_wait(
        self, reply: Reply[T], ask: Callable[[Reply[T]], int], on_error: Callable[[], None]
    ) -> T:
        def work() -> None:
            try:
                reply.ticket = ask(reply)
            except Exception as error:  # noqa: BLE001 - for the thread that asked
                reply.fail(error)

        self._desk.check_process()
        if self.engine.within():
            raise BusyError("paxlock is in the midst of its work in this thread: call it from another one")
        try:
            self.engine.do(work)
            return self._wait(reply)
        except BaseException:
            self.engine.do(on_error)
            raise

    def _wait(self, reply: Reply[T]) -> T:
        try:
            return reply.wait(attentive=interruptible(get_ident()))
        except ClosedError:
            self.check()
            raise

    def _make(self, working: Working, ticket: int, grant: Handle, ttl: float, deadline: float) -> HeldLease:
        held = HeldLease(
            self._desk,
            ticket,
            grant=grant,
            ttl=ttl,
            deadline=deadline,
            engine=self.engine,
            answer=self.answer,
            callbacks=self._callbacks,
            working=working,
        )
        if working.renew == "manual":
            self._manual[held] = held.deadline
        return held

    def _poke(self) -> None:
        """Whoever works with the machine sends what follows from it."""

    def _settle_sleep(self, holding: bool) -> None:
        self.engine.sleep_at_most(RESUME_CHECK_S if holding else NEVER)
