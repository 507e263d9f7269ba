"""How an asyncio task waits for what the machine will tell."""

from __future__ import annotations

import asyncio

from paxlock.aio.scope import sheltered
from paxlock.errors import ClosedError

__all__ = ["Reply", "check_loop"]


def check_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Raise RuntimeError where this is not the loop that runs: what another one waits for never arrives."""
    if asyncio.get_running_loop() is not loop:
        raise RuntimeError(
            "this client belongs to another event loop, the one it was opened in: open a client in each loop"
        )


class Reply:
    """Where the answer to one ticket will arrive; None means that the client was closed.

    The answer is kept here, and not in the future that is waited for: a cancellation takes the future, and
    the answer may be wanted nevertheless.
    """

    __slots__ = ("_loop", "_waiter", "_why", "arrived", "value")

    def __init__(self) -> None:
        self.arrived = False
        self.value: object = None
        self._why = "this client was closed"
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    def set(self, value: object) -> None:
        self.value = value
        self.arrived = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take(self, event: object) -> None:
        """The one event that is waited for has come."""
        self.set(event)

    def close(self, why: str) -> None:
        """Nothing will arrive any more."""
        self._why = why
        self.set(None)

    def result(self) -> object:
        """What has arrived. Raises ClosedError where the client was closed instead."""
        if self.value is None:
            raise ClosedError(self._why)
        return self.value

    async def wait(self) -> None:
        """Wait for it; one task at most."""
        if self.arrived:
            return
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def wait_shielded(self) -> None:
        """Wait, whatever is cancelled meanwhile, for an answer that comes within a bounded time. A
        cancellation comes out afterwards.
        """
        cancelled: asyncio.CancelledError | None = None
        with sheltered():
            while not self.arrived:
                try:
                    await self.wait()
                except asyncio.CancelledError as error:
                    cancelled = error
        if cancelled is not None:
            raise cancelled
