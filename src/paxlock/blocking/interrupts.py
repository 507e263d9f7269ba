"""An exception for a thread that works under a lease that is lost (``interrupt=True``).

Python raises it in that thread at the next step of its Python code: not while it waits in C code, such as
``time.sleep`` or a socket. It is a LeaseLost, so that nothing else comes out even where it is raised in the
last step of the block. It is sent at most once, never after the block has ended, and one that was sent but
not raised yet is caught then.

Where gevent has made the threads of the program greenlets, Python would raise it in whichever runs. So there
the hub throws it into the right one, as it does with a timeout: where that waits, or next waits.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from importlib import import_module
from typing import Any, Protocol

from paxlock.blocking.waiting import Door
from paxlock.errors import LeaseLost, LossReason
from paxlock.host.native import allocate_lock, get_ident, greenlets, sleep

__all__ = ["Interrupt", "interrupt_here", "interruptible"]

_armed: Counter[int] = Counter()


def interruptible(thread: int) -> bool:
    """Whether an exception may be sent to this thread at any moment."""
    return _armed[thread] > 0


class Interrupt(Protocol):
    """The exception that is sent to the thread that made this, if the lease is lost within the block."""

    kind: type[LeaseLost] | None  #: the class of what was sent

    def send(self, reason: LossReason) -> None:
        """The lease is lost: called by another thread, at most once matters."""

    def disarm(self) -> None:
        """The block ends, in its own thread: nothing is raised after this."""


def interrupt_here(name: str, term: int) -> Interrupt:
    """An interrupt for the thread, or the greenlet, that calls this."""
    return _OfGreenlet(name, term) if greenlets() else _OfThread(name, term)


class _OfThread:
    def __init__(self, name: str, term: int) -> None:
        self._lease = name, term
        self._thread = get_ident()
        self._mutex = allocate_lock()
        self._over = False
        self.kind: type[LeaseLost] | None = None
        _armed[self._thread] += 1

    def send(self, reason: LossReason) -> None:
        with self._mutex:
            if not self._over and self.kind is None:
                self.kind = _kind_of(*self._lease, reason)
                _send(self._thread, self.kind)

    def disarm(self) -> None:
        done = False
        while not done:
            try:
                self._send_no_more()
                if self.kind is not None:
                    _settle(self._thread)
                done = True
            except LeaseLost as error:
                if self.kind is None or not isinstance(error, self.kind):
                    raise

    def _send_no_more(self) -> None:
        with self._mutex:
            if not self._over:
                self._over = True
                _armed[self._thread] -= 1


class _OfGreenlet:
    def __init__(self, name: str, term: int) -> None:
        gevent = import_module("gevent")
        self._lease = name, term
        self._greenlet: Any = gevent.getcurrent()
        self._door = Door.of(gevent.get_hub())
        self._over = False
        self.kind: type[LeaseLost] | None = None

    def send(self, reason: LossReason) -> None:
        if not self._over and self.kind is None:
            self.kind = _kind_of(*self._lease, reason)
            self._door.call(self._throw)

    def _throw(self) -> None:
        """In the hub: the greenlet does not run meanwhile."""
        if not self._over and not self._greenlet.dead:
            self._greenlet.throw(self.kind)

    def disarm(self) -> None:
        self._over = True


class _Settled(BaseException):
    """Takes the place of what was sent to a thread and not raised yet; caught at once."""


def _settle(thread: int) -> None:
    """Have nothing pending for this thread, which is the one that runs.

    What is pending is replaced, and the replacement raised and caught here. To take it back would be simpler,
    and leaves Python 3.11 in the belief that something is pending: each step is slower from then on, and the
    first that a debugger traces never ends.
    """
    interrupted: BaseException | None = None
    try:
        while True:
            try:
                _send(thread, _Settled)
                while True:
                    sleep(0)
            except _Settled:
                raise
            except BaseException as error:  # noqa: BLE001 - Ctrl-C, say; raised again below
                interrupted = error
    except _Settled:
        pass
    if interrupted is not None:
        raise interrupted


def _kind_of(name: str, term: int, reason: LossReason) -> type[LeaseLost]:
    """Python sends a class and makes the exception of it, without arguments, in the other thread."""

    class Interruption(LeaseLost):
        """The lease was lost while this thread worked under it."""

        def __init__(self) -> None:
            super().__init__(name, term, reason)

        def __reduce__(self) -> tuple[type[LeaseLost], tuple[str, int, LossReason]]:
            return LeaseLost, (name, term, reason)

    return Interruption


def _send(thread: int, kind: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))
