"""What a program sees of names that it does not hold: standings, and the channel of a watch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Self

import attrs
import trio

from paxlock.core.session.judgement import State

__all__ = ["Change", "Changes", "Standing", "State", "Waiter"]


@attrs.frozen
class Waiter:
    """Somebody in line: label, and for how many seconds already."""

    label: str
    waiting: float


@attrs.frozen
class Standing:
    """A quorum's answer: history when it arrives. Nobody may act on FREE except by acquiring.

    ``term`` is the fencing token of the tenure that is led, ``remaining`` and ``ttl`` are seconds.
    """

    name: str
    state: State
    term: int = 0
    label: str = ""
    data: bytes = b""
    remaining: float = 0.0
    ttl: float = 0.0
    waiters: tuple[Waiter, ...] = ()
    nodes_up: int = 0
    nodes_total: int = 0


@attrs.frozen
class Change:
    """A new state of a watched name. ``skipped`` states were replaced before anybody took them."""

    name: str
    state: State
    term: int
    label: str
    data: bytes
    skipped: int = 0


class Changes:
    """The receive channel of a watch. It keeps the newest change per name, so it never grows without bound,
    and always arrives at the last state.
    """

    def __init__(
        self, start: Callable[[Changes], int], stop: Callable[[int], None], check_process: Callable[[], None]
    ) -> None:
        self._start = start
        self._stop = stop
        self._check_process = check_process
        self._ticket: int | None = None
        self._pending: OrderedDict[str, Change] = OrderedDict()
        self._arrived = trio.Event()
        self._closed = False
        self._receiving = False

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._ticket = self._start(self)
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
        self._check_process()
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving from this watch")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            while not self._pending:
                if self._closed:
                    self._check_process()
                    raise trio.ClosedResourceError("this watch is closed")
                self._arrived = trio.Event()
                await self._arrived.wait()
            return self.receive_nowait()
        finally:
            self._receiving = False

    def receive_nowait(self) -> Change:
        """The next change; raises WouldBlock if there is none, ClosedResourceError when closed."""
        self._check_process()
        if self._closed:
            raise trio.ClosedResourceError("this watch is closed")
        if not self._pending:
            raise trio.WouldBlock
        _, change = self._pending.popitem(last=False)
        return change

    def close(self) -> None:
        """End the watch. Changes not yet taken are dropped."""
        if self._ticket is not None and not self._closed:
            self._stop(self._ticket)
        self._closed = True
        self._pending.clear()
        self._arrived.set()

    def put(self, change: Change) -> None:
        """For the client: a change has come."""
        if self._closed:
            return
        replaced = self._pending.pop(change.name, None)
        if replaced is not None:
            change = attrs.evolve(change, skipped=replaced.skipped + 1)
        self._pending[change.name] = change
        self._arrived.set()
