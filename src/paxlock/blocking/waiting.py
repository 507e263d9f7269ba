"""How a thread of the program waits for the thread of the machine: in the kernel; or, where gevent has made
the threads of the program greenlets, so that the other greenlets run meanwhile.

A greenlet is woken from another thread by an async watcher of its hub's loop, the one thing in gevent that
every thread may touch. Where no other greenlet could run (this thread has no hub, or it is the hub itself
that waits, as in a signal handler) a greenlet waits in the kernel as well.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol

from paxlock.host.native import allocate_lock, greenlets
from paxlock.limits import NEVER

__all__ = ["Door", "Event", "Gate", "hub_here", "new_gate"]


class _Bell(Protocol):
    """What one that waits is woken by."""

    def ring(self) -> None:
        """From any thread."""

    def wait(self, seconds: float) -> None:
        """Until it is rung; it may have been since the last call."""

    def close(self) -> None: ...


class _KernelBell:
    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def ring(self) -> None:
        with suppress(RuntimeError):  # it is open already
            self._lock.release()

    def wait(self, seconds: float) -> None:
        self._lock.acquire(timeout=-1 if seconds == NEVER else min(seconds, threading.TIMEOUT_MAX))

    def close(self) -> None:
        pass


class Door:
    """The way into a hub for other threads: what they have called here is called by the hub, while all of its
    greenlets wait. There is one for the whole life of a hub: its watcher cannot be closed while one uses it.
    """

    def __init__(self, hub: Any) -> None:
        self._calls: deque[Callable[[], object]] = deque()
        self._waiting = 0
        self._watcher = hub.loop.async_(ref=False)
        self._watcher.start(self._call_all)

    @staticmethod
    def of(hub: Any) -> Door:
        """That of this hub, for a greenlet of it."""
        if not hasattr(hub, "paxlock_door"):
            hub.paxlock_door = Door(hub)
        found: Door = hub.paxlock_door
        return found

    def call(self, function: Callable[[], object]) -> None:
        """From any thread. Takes no lock: a signal handler may wait for the thread that calls this."""
        self._calls.append(function)
        with suppress(Exception):  # the hub is gone, and its greenlets with it
            self._watcher.send()

    def _call_all(self) -> None:
        while self._calls:
            self._calls.popleft()()

    def waits(self, more: int) -> None:
        """So many greenlets more wait for a call. A hub in which nothing is waited for ends."""
        self._waiting += more
        self._watcher.ref = self._waiting > 0


class _HubBell:
    """For a greenlet of this hub."""

    def __init__(self, hub: Any) -> None:
        self._rung = import_module("gevent.event").Event()
        self._door = Door.of(hub)
        self._door.waits(1)

    def ring(self) -> None:
        self._door.call(self._rung.set)

    def wait(self, seconds: float) -> None:
        self._rung.wait(None if seconds == NEVER else seconds)
        self._rung.clear()

    def close(self) -> None:
        self._door.waits(-1)


def hub_here() -> Any:
    """The hub of this thread's greenlets; None where it has none, or none yet."""
    return import_module("gevent._hub_local").get_hub_if_exists() if greenlets() else None


def _new_bell() -> _Bell:
    hub = hub_here()
    if hub is None or import_module("gevent").getcurrent() is hub:
        return _KernelBell()
    return _HubBell(hub)


class _Waiters:
    """Those that wait for one thing."""

    def __init__(self) -> None:
        self._bells: list[_Bell] = []

    def wake(self) -> None:
        """From any thread: have them look again."""
        for bell in tuple(self._bells):
            bell.ring()

    def wait(self, come: Callable[[], bool], timeout: float) -> bool:
        """Wait until ``come()`` is true, which is followed by `wake`; False after ``timeout`` seconds."""
        if come():
            return True
        until = time.monotonic() + timeout
        bell = _new_bell()
        self._bells.append(bell)
        try:
            while not come():
                left = until - time.monotonic()
                if left <= 0.0:
                    return False
                bell.wait(left)
            return True
        finally:
            self._bells.remove(bell)
            bell.close()


class Event:
    """An Event of `threading`."""

    def __init__(self) -> None:
        self._happened = False
        self._waiters = _Waiters()

    def is_set(self) -> bool:
        return self._happened

    def set(self) -> None:
        self._happened = True
        self._waiters.wake()

    def wait(self, timeout: float | None = None) -> bool:
        return self._waiters.wait(self.is_set, NEVER if timeout is None else timeout)


class Gate:
    """A lock of `threading`, open at first. It may be older than gevent's patches."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._waiters = _Waiters()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not blocking:
            return self._take()
        return self._waiters.wait(self._take, NEVER if timeout < 0 else timeout)

    def _take(self) -> bool:
        return self._lock.acquire(blocking=False)

    def release(self) -> None:
        self._lock.release()
        self._waiters.wake()

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


def new_gate() -> Gate | threading.Lock:
    """A gate for what begins now: where no greenlet will wait for it, a lock is faster."""
    return Gate() if greenlets() else allocate_lock()
