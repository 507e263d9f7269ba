"""How a thread of the program waits for what the machine will tell."""

from __future__ import annotations

from typing import Generic, TypeVar

from paxlock.blocking.waiting import new_gate
from paxlock.errors import ClosedError

__all__ = ["Reply"]

T = TypeVar("T")

INTERRUPT_CHECK_S = 0.05  #: a thread that a loss may interrupt looks up so often: a lock is waited for in C


class Reply(Generic[T]):
    """Where one answer will arrive, for one thread. An Event does the same for many, and costs several times
    as much.
    """

    __slots__ = ("_arrived", "_error", "_gate", "_value", "ticket")

    def __init__(self) -> None:
        self.ticket: int | None = None  #: under which the machine knows what was asked
        self._gate = new_gate()
        self._gate.acquire()
        self._arrived = False
        self._error: Exception | None = None
        self._value: T

    def set(self, value: T) -> None:
        """The answer."""
        self._value = value
        self._open()

    def fail(self, error: Exception) -> None:
        """What comes out in the place of an answer."""
        self._error = error
        self._open()

    def take(self, event: T) -> None:
        """The one event that is waited for has come."""
        self.set(event)

    def close(self, why: str) -> None:
        """Nothing will arrive any more."""
        self.fail(ClosedError(why))

    def result(self) -> T:
        """What has arrived. Raises the error that came instead."""
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, *, attentive: bool = False) -> T:
        """Wait for it, and give it; ``attentive`` where an exception may be sent to this thread."""
        if attentive:
            while not self._gate.acquire(timeout=INTERRUPT_CHECK_S):
                pass
        else:
            self._gate.acquire()
        return self.result()

    def wait_closed(self) -> None:
        """Wait for it, where the end of the client is as good as an answer; both come in a bounded time."""
        self._gate.acquire()

    def _open(self) -> None:
        if not self._arrived:
            self._arrived = True
            self._gate.release()
