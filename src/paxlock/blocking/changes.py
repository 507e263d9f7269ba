"""What a watch gives to a thread of the program, one change after the other."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

import attrs

from paxlock.blocking.engine import Engine
from paxlock.blocking.interrupts import interruptible
from paxlock.blocking.reply import INTERRUPT_CHECK_S, Reply
from paxlock.blocking.waiting import new_gate
from paxlock.client.desk import Desk
from paxlock.client.standing import Change
from paxlock.core.session.events import Changed
from paxlock.errors import BusyError, ClosedError
from paxlock.host.native import get_ident
from paxlock.limits import NEVER

__all__ = ["Changes", "Watched"]


class Watched(Protocol):
    """The session that a watch belongs to."""

    @property
    def desk(self) -> Desk: ...

    @property
    def engine(self) -> Engine: ...

    def check(self) -> None:
        """Raise the error that the session has ended with, if it has."""


class Changes:
    """The changes of a watch, for one thread at a time: an iterator, within ``with``. It keeps the newest
    change per name, so it never grows without bound, and always arrives at the last state.
    """

    def __init__(self, session: Watched, name: str) -> None:
        self._session = session
        self._name = name
        self._reply: Reply[None] | None = None
        self._pending: OrderedDict[str, Change] = OrderedDict()
        #: Open where there may be news. No condition: a signal handler may wait for the machine, which must
        #: not wait for the thread that the handler has interrupted.
        self._gate = new_gate()
        self._why: str | None = None  #: closed, and why
        self._receiving = new_gate()

    def __enter__(self) -> Self:
        if self._reply is not None:
            raise RuntimeError("a watch is entered once: call watch() again for another")
        reply: Reply[None] = Reply()
        self._reply = reply
        desk = self._session.desk

        def work() -> None:
            try:
                reply.ticket = desk.watch(self._name, _Incoming(self, desk, reply))
                reply.set(None)
            except Exception as error:  # noqa: BLE001 - for the thread that asked
                reply.fail(error)

        try:
            self._session.engine.do(work)
            reply.wait()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        return self.receive()

    def receive(self, timeout: float | None = None) -> Change:
        """The next change; TimeoutError after ``timeout`` seconds without one. Raises ClosedError when
        closed, BusyError while another thread is receiving.
        """
        desk = self._session.desk
        desk.check_process()
        if self._reply is None:
            raise RuntimeError("a watch is used within a block: with client.watch(name) as changes")
        if not self._receiving.acquire(blocking=False):
            raise BusyError("another thread is receiving from this watch")
        try:
            until = NEVER if timeout is None else desk.now() + timeout
            longest = INTERRUPT_CHECK_S if interruptible(get_ident()) else NEVER
            while not self._pending:
                if self._why is not None:
                    self._session.check()
                    raise ClosedError(self._why)
                left = min(longest, until - desk.now())
                if left <= 0:
                    raise TimeoutError(f"nothing about {self._name!r} has changed in {timeout} s")
                self._gate.acquire(timeout=-1 if left == NEVER else left)
            return self._pending.popitem(last=False)[1]
        finally:
            self._receiving.release()

    def close(self) -> None:
        """Watch no longer. Whoever receives is told so."""
        self.end("this watch is closed")
        reply, desk = self._reply, self._session.desk
        if reply is None or desk.inherited:
            return

        def work() -> None:
            if reply.ticket is not None:
                desk.unwatch(reply.ticket)
                reply.ticket = None

        self._session.engine.do(work)

    # For the client

    def end(self, why: str) -> None:
        """Nothing comes any more."""
        if self._why is None:
            self._why = why
        self._pending.clear()
        self._ring()

    def note(self, change: Change) -> None:
        """A change has come."""
        if self._why is None:
            replaced = self._pending.pop(change.name, None)
            if replaced is not None:
                change = attrs.evolve(change, skipped=replaced.skipped + 1)
            self._pending[change.name] = change
            self._ring()

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it is open already
            self._gate.release()


class _Incoming:
    """Takes for a watch what the machine tells; called with the machine to itself."""

    def __init__(self, changes: Changes, desk: Desk, reply: Reply[None]) -> None:
        self._changes = changes
        self._desk = desk
        self._reply = reply

    def take(self, event: object) -> _Incoming:
        assert isinstance(event, Changed)
        self._changes.note(Change(event.name, event.state, event.term, event.label, event.data))
        return self

    def close(self, why: str) -> None:
        self._changes.end(why)
        if self._reply.ticket is not None:
            self._desk.unwatch(self._reply.ticket)
            self._reply.ticket = None
