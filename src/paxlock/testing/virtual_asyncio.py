"""A virtual cell for asyncio programs: its clients, and its verbs as an asyncio test awaits them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from paxlock.aio.client import Client
from paxlock.aio.lease import HeldLease
from paxlock.aio.opening import open_client
from paxlock.client.holding import Holding
from paxlock.config.syntax import normal_address
from paxlock.errors import LossReason
from paxlock.host.clock import Clock
from paxlock.testing.virtual_environment import (
    Program,
    VirtualClock,
    VirtualProcess,
    VirtualTransport,
    program_here,
)
from paxlock.testing.virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from paxlock.testing.virtual_cell import Holder, VirtualCell

__all__ = ["AsyncioCell", "run_in_asyncio"]

T = TypeVar("T")


class LoopLine:
    """A VirtualTransport as an asyncio client uses it."""

    def __init__(self, line: VirtualTransport) -> None:
        self.line = line
        self._scope: trio.CancelScope | None = None

    def hear(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        assert isinstance(loop, VirtualLoop)
        self._scope = loop.start_soon(self._pump, loop, callback)

    def stop_hearing(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._scope is not None:
            self._scope.cancel()

    async def _pump(self, loop: VirtualLoop, callback: Callable[[], object]) -> None:
        try:
            while True:
                await self.line.wait_readable()
                read = trio.Event()
                loop.call_soon(callback)
                loop.call_soon(read.set)
                await read.wait()
        except trio.ClosedResourceError:
            pass

    def receive_nowait(self) -> Any:
        return self.line.receive_nowait()

    def send_nowait(self, datagram: bytes, address: Any) -> None:
        self.line.send_nowait(datagram, address)

    def close(self) -> None:
        self.line.close()

    def statistics(self) -> Any:
        return self.line.statistics()


class VirtualAsyncioClient(VirtualProcess, Client):
    """An asyncio client that tells its cell of every grant, and that can be stopped and robbed."""

    _transport: LoopLine

    @property
    def line(self) -> VirtualTransport:
        """Its end of the network."""
        return self._transport.line

    def _hold_back(self) -> None:
        alarm = self._driver._alarm  # noqa: SLF001 - no other caller needs to hold a driver back
        if alarm is not None:
            alarm.cancel()
            self._driver._alarm = None  # noqa: SLF001 - as above

    def _let_go(self) -> None:
        self._driver.look()
        for held in self._leases():
            assert isinstance(held, HeldLease)
            held.look()


class AsyncioEnvironment:
    """What stands for the network and the clock where an asyncio client opens (aio/stand_ins.py)."""

    def __init__(self, cell: VirtualCell) -> None:
        self._cell = cell
        self._addresses = frozenset(normal_address(member.address) for member in cell.cell.members)

    def find(self, addresses: Iterable[str]) -> AsyncioEnvironment | None:
        """This one, where one of these addresses is that of a node of the cell."""
        return self if self._addresses & frozenset(map(normal_address, addresses)) else None

    def clock(self) -> Clock:
        return VirtualClock()

    def bind(self) -> LoopLine:
        return LoopLine(self._cell.bind())

    def label(self, label: str) -> str:
        program = program_here.get()
        return label if program is None else program.label

    def kind(self, make: Any) -> Any:
        return VirtualAsyncioClient


class AsyncioCell:
    """A VirtualCell in an asyncio test: the same verbs, awaited in asyncio; ``open_client`` opens a client of
    ``paxlock.aio``. All else is that of the cell.
    """

    def __init__(self, cell: VirtualCell, loop: VirtualLoop) -> None:
        self._cell = cell
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cell, name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("loss", "duplication", "latency"):
            setattr(self._cell, name, value)
        else:
            super().__setattr__(name, value)

    def open_client(self, label: str | None = None) -> AbstractAsyncContextManager[Client]:
        """An asyncio client of the cell. ``paxlock.aio.open_client(cell.cell)`` gives the same."""
        return open_client(self._cell.cell, label=label)

    def program(self, label: str) -> Program:
        """A process to run code under test in; see VirtualCell.program."""
        raise RuntimeError("programs are for trio tests: open clients with labels, and pause or kill those")

    @asynccontextmanager
    async def rival(
        self, name: str, *, ttl: float | None = None, label: str = "rival", seize: bool = False
    ) -> AsyncIterator[Holding]:
        """Somebody else holds the name within the block; see VirtualCell.rival."""
        entered: asyncio.Future[Holding] = self._loop.create_future()
        leave = trio.Event()

        async def hold() -> None:
            async with self._cell.rival(name, ttl=ttl, label=label, seize=seize) as held:
                entered.set_result(held)
                await leave.wait()

        task = asyncio.ensure_future(self._loop.in_trio(hold))
        try:
            both: set[asyncio.Future[Any]] = {task, entered}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not entered.done():
                task.result()
            yield entered.result()
            leave.set()
            await task
        finally:
            task.cancel()

    async def wait_holder(self, name: str, *, after: Holder | Holding | int = 0) -> Holder:
        """Wait until somebody holds the name, with a term above ``after`` if it is given."""
        return await self._loop.in_trio(lambda: self._cell.wait_holder(name, after=after))

    async def lose(self, lease: Holding | Holder | str, reason: LossReason = LossReason.EXPIRED) -> None:
        """Let a lease, or the one of this name, be lost at this moment; see VirtualCell.lose."""
        await self._loop.in_trio(lambda: self._cell.lose(lease, reason))

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass, with all that happens in it."""
        await self._loop.in_trio(lambda: self._cell.advance(seconds))

    async def stop_node(self, node_id: str) -> None:
        """Stop a node cleanly. Returns when it has stopped."""
        await self._loop.in_trio(lambda: self._cell.stop_node(node_id))

    async def kill_node(self, node_id: str) -> None:
        """End a node as by SIGKILL."""
        await self._loop.in_trio(lambda: self._cell.kill_node(node_id))

    async def start_node(self, node_id: str, *, join: bool = False) -> None:
        """Start a node again; see VirtualCell.start_node."""
        await self._loop.in_trio(lambda: self._cell.start_node(node_id, join=join))

    async def wait_serving(self, *node_ids: str) -> None:
        """Wait until these nodes, or all that run, serve."""
        await self._loop.in_trio(lambda: self._cell.wait_serving(*node_ids))


async def run_in_asyncio(cell: VirtualCell, async_fn: Callable[..., Awaitable[T]], *args: object) -> T:
    """Run ``async_fn(cell, *args)`` as an asyncio program in the virtual time of this trio run."""
    loop = VirtualLoop()
    loop.find_stand_in = AsyncioEnvironment(cell).find
    return await loop.run(lambda: async_fn(AsyncioCell(cell, loop), *args))
