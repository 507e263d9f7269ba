"""The channel of a watch."""

from __future__ import annotations

from collections import OrderedDict
from types import TracebackType
from typing import Self

import attrs
import trio

from paxlock.client.desk import Desk
from paxlock.client.standing import Change
from paxlock.core.session.events import Changed
from paxlock.runtime.faults import TrioBusyError, TrioClosedError

__all__ = ["Changes"]


class Changes:
    """The receive channel of a watch. It keeps the newest change per name, so it never grows without bound,
    and always arrives at the last state.
    """

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk = desk
        self._name = name
        self._ticket: int | None = None
        self._pending: OrderedDict[str, Change] = OrderedDict()
        self._arrived = trio.Event()
        self._closed = False
        self._receiving = False

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._ticket = self._desk.watch(self._name, self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        return await self.receive()

    async def receive(self) -> Change:
        """The next change. Raises ClosedResourceError when closed, BusyResourceError when another task is
        receiving already.
        """
        self._desk.check_process()
        if self._receiving:
            raise TrioBusyError("another task is receiving from this watch")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            while not self._pending:
                if self._closed:
                    self._desk.check_process()
                    raise TrioClosedError("this watch is closed")
                self._arrived = trio.Event()
                await self._arrived.wait()
            return self.receive_nowait()
        finally:
            self._receiving = False

    def receive_nowait(self) -> Change:
        """The next change; raises WouldBlock if there is none, ClosedResourceError when closed."""
        self._desk.check_process()
        if self._closed:
            raise TrioClosedError("this watch is closed")
        if not self._pending:
            raise trio.WouldBlock
        _, change = self._pending.popitem(last=False)
        return change

    def close(self, why: str = "") -> None:
        """End the watch. Changes not yet taken are dropped."""
        if self._ticket is not None and not self._closed:
            self._desk.unwatch(self._ticket)
        self._closed = True
        self._pending.clear()
        self._arrived.set()

    def take(self, event: object) -> Changes:
        """For the client: a change has come."""
        assert isinstance(event, Changed)
        change = Change(event.name, event.state, event.term, event.label, event.data)
        if not self._closed:
            replaced = self._pending.pop(change.name, None)
            if replaced is not None:
                change = attrs.evolve(change, skipped=replaced.skipped + 1)
            self._pending[change.name] = change
            self._arrived.set()
        return self
