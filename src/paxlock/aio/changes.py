"""The channel of a watch in asyncio."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from paxlock.aio.reply import check_loop
from paxlock.client.change_queue import ChangeQueue
from paxlock.client.desk import Desk
from paxlock.client.standing import Change
from paxlock.errors import BusyError

__all__ = ["Changes"]


class Changes(ChangeQueue):
    """The receive channel of a watch. It keeps the newest change per name, so it never grows without bound,
    and always arrives at the last state.
    """

    def __init__(self, desk: Desk, name: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(desk, name)
        self._loop = loop
        self._arrived = asyncio.Event()
        self._receiving = False

    async def __aenter__(self) -> Self:
        check_loop(self._loop)
        self._open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._desk.inherited:
            check_loop(self._loop)
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        return await self.receive()

    async def receive(self) -> Change:
        """The next change. Raises ClosedError when closed, BusyError when another task is receiving
        already.
        """
        check_loop(self._loop)
        if self._receiving:
            raise BusyError("another task is receiving from this watch")
        self._receiving = True
        try:
            # A consumer that never waits would keep the loop from hearing anything new.
            await asyncio.sleep(0)
            while (change := self._next()) is None:
                self._arrived.clear()
                await self._arrived.wait()
            return change
        finally:
            self._receiving = False

    def receive_nowait(self) -> Change:
        """The next change; raises asyncio.QueueEmpty if there is none, ClosedError when closed."""
        change = self._next()
        if change is None:
            raise asyncio.QueueEmpty
        return change

    def _wake(self) -> None:
        self._arrived.set()
