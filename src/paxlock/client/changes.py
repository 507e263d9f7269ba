"""The channel of a watch."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import trio

from paxlock.client.change_queue import ChangeQueue
from paxlock.client.desk import Desk
from paxlock.client.standing import Change
from paxlock.runtime.faults import TrioBusyError
from paxlock.runtime.reply import check_run

__all__ = ["Changes"]


class Changes(ChangeQueue):
    """The receive channel of a watch. It keeps the newest change per name, so it never grows without bound,
    and always arrives at the last state.
    """

    def __init__(self, desk: Desk, name: str, home: trio.lowlevel.TrioToken) -> None:
        super().__init__(desk, name)
        self._home = home
        self._arrived = trio.Event()
        self._receiving = False

    async def __aenter__(self) -> Self:
        check_run(self._home)
        await trio.lowlevel.checkpoint()
        self._open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._desk.inherited:
            check_run(self._home)
        self.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        return await self.receive()

    async def receive(self) -> Change:
        """The next change. Raises ClosedError when closed, BusyError when another task is receiving
        already.
        """
        self._desk.check_process()
        check_run(self._home)
        if self._receiving:
            raise TrioBusyError("another task is receiving from this watch")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            while (change := self._next()) is None:
                self._arrived = trio.Event()
                await self._arrived.wait()
            return change
        finally:
            self._receiving = False

    def receive_nowait(self) -> Change:
        """The next change; raises WouldBlock if there is none, ClosedError when closed."""
        change = self._next()
        if change is None:
            raise trio.WouldBlock
        return change

    def _wake(self) -> None:
        self._arrived.set()
