"""The parts of a virtual cell: what its clients and nodes get in the place of sockets, clock and disk, and
the clients themselves, which keep book of their leases and can be stopped.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio

from paxlock.client.client import Client
from paxlock.client.face import Face
from paxlock.client.holding import Holding
from paxlock.client.lease import HeldLease
from paxlock.config.cell import NodeConfig
from paxlock.core.durable import Durability, NodeRecord, Snapshot
from paxlock.errors import LossReason
from paxlock.host.clock import Clock
from paxlock.host.labels import default_label
from paxlock.node.embedded import Node
from paxlock.runtime.environment import Environment
from paxlock.store.folder import MemoryStore, StoreLike
from paxlock.testing.memory_network import MemoryTransport
from paxlock.wire.transport import Address, Transport

if TYPE_CHECKING:
    from paxlock.testing.virtual_cell import VirtualCell

__all__ = [
    "Program",
    "VirtualClient",
    "VirtualClock",
    "VirtualDisk",
    "VirtualEnvironment",
    "VirtualNode",
    "VirtualProcess",
    "VirtualTransport",
]

T = TypeVar("T")

program_here: ContextVar[Program | None] = ContextVar("paxlock program", default=None)


class VirtualClock:
    """The clock of the trio run, as one process sees it: it stands still while the process is stopped."""

    def __init__(self) -> None:
        self._stopped_at: float | None = None

    def now(self) -> float:
        return trio.current_time() if self._stopped_at is None else self._stopped_at

    def stop(self) -> None:
        self._stopped_at = self.now()

    def go(self) -> None:
        self._stopped_at = None


class VirtualTransport:
    """A Transport of the virtual network whose owner can be stopped, for a while or for good.

    While stopped, what arrives waits, as in the buffer of a socket, and nothing is sent.
    """

    def __init__(self, cell: VirtualCell, inner: MemoryTransport, node_id: str | None) -> None:
        self.node_id = node_id
        self.client: VirtualProcess | None = None
        self.program = program_here.get()
        self.dead = False
        self._cell = cell
        self._inner = inner
        self._going = trio.Event()
        self._going.set()
        self._holds_driver = False

    @property
    def stopped(self) -> bool:
        return not self._going.is_set()

    def stop(self, *, hold_driver: bool = False) -> None:
        """Stop. ``hold_driver`` stops the whole driver: it must be let go before it is cancelled."""
        if not self.stopped:
            self._going = trio.Event()
        self._holds_driver = hold_driver

    def go(self) -> None:
        if not self.dead:
            self._holds_driver = False
            self._going.set()

    def die(self) -> None:
        """Stop for good."""
        self.go()
        self.stop()
        self.dead = True

    def granted(self, held: Holding, label: str) -> None:
        """For the client: it holds a lease from now on."""
        self._cell.granted(self, held, label)

    @property
    def address(self) -> Address:
        return self._inner.address

    def receive_nowait(self) -> tuple[bytes, Address] | None:
        return None if self.stopped else self._inner.receive_nowait()

    async def wait_readable(self) -> None:
        try:
            if self.stopped:
                await self._going.wait()
            await self._inner.wait_readable()
        finally:
            if self._holds_driver:
                # Shielded: the driver's own deadline shall not wake it either.
                with trio.CancelScope(shield=True):
                    await self._going.wait()

    def reaches(self, address: Address) -> bool:
        return self._inner.reaches(address)

    def send_nowait(self, datagram: bytes, address: Address) -> None:
        if not self.stopped:
            self._inner.send_nowait(datagram, address)

    def close(self) -> None:
        self._cell.hung_up(self)
        self._inner.close()

    def statistics(self) -> Mapping[str, int]:
        return self._inner.statistics()


class VirtualProcess(Face[Any]):
    """A client that tells its cell of every grant, and that can be stopped and robbed; of every face."""

    _clock: VirtualClock

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.line.client = self

    @property
    @abstractmethod
    def line(self) -> VirtualTransport:
        """Its end of the network."""

    @property
    def label(self) -> str:
        """Who this is, for people."""
        return self._session.settings.label

    def stop(self) -> None:
        """As if the process were stopped: nothing is renewed or received, the clock stands still, no block
        is cancelled.
        """
        if self._desk.closed or self.line.stopped:
            return
        self._own_clock().stop()
        self.line.stop(hold_driver=True)
        self._desk.stand_still()  # what runs of the program shall go on
        self._hold_back()

    def go(self) -> None:
        """Take back ``stop``: what has run out meanwhile is over at once."""
        if not self.line.stopped:
            return
        self._own_clock().go()
        self._desk.go_on()
        self.line.go()
        self._let_go()

    def lose(self, held: Holding, reason: LossReason) -> None:
        """End a lease as if it were lost to the program at this moment."""
        for ticket, mine in list(self._desk.held.items()):
            if mine is held:
                self._desk.lose(ticket, reason)

    def close(self, why: str = "this client was closed") -> None:
        self.go()
        super().close(why)

    def _hold_back(self) -> None:
        """No block is cancelled from now on."""

    def _let_go(self) -> None:
        """Blocks are cancelled again when it is time."""

    def _leases(self) -> Iterator[Holding]:
        return (held for held in self._desk.held.values() if isinstance(held, Holding))

    def _own_clock(self) -> VirtualClock:
        if not isinstance(self._clock, VirtualClock):
            raise ValueError(f"{self.label!r} was opened with a clock of its own: it cannot be stopped")
        return self._clock

    def _granted(self, ticket: int, held: Holding) -> None:
        campaign = self._session.campaign_of(ticket)
        self.line.granted(held, self.label if campaign is None else campaign.label)

    def _settle_sleep(self, holding: bool) -> None:
        # A virtual machine is never suspended unseen: looking ten times a second would be slow.
        if not isinstance(self._clock, VirtualClock):
            super()._settle_sleep(holding)


class VirtualClient(VirtualProcess, Client):
    """The client of a trio program in a virtual cell."""

    _transport: VirtualTransport

    @property
    def line(self) -> VirtualTransport:
        """Its end of the network."""
        return self._transport

    async def leave(self) -> None:
        self.go()
        await super().leave()

    def _hold_back(self) -> None:
        for held in self._leases():
            if isinstance(held, HeldLease) and held._scope is not None:  # noqa: SLF001 - no other caller
                held._scope.deadline = math.inf  # noqa: SLF001 - needs to hold a deadline back

    def _let_go(self) -> None:
        for held in self._leases():
            if isinstance(held, HeldLease) and held._scope is not None:  # noqa: SLF001 - as above
                held._scope.deadline = held.deadline  # noqa: SLF001 - both clocks are the run's


class VirtualNode(VirtualClient, Node):
    """A node in the program under test, with a VirtualClient."""


class VirtualDisk(MemoryStore):
    """What a node keeps its record on. After ``pull`` nothing more is written: the process was killed."""

    def __init__(self) -> None:
        super().__init__()
        self._pulled = False

    def pull(self) -> None:
        self._pulled = True

    def again(self) -> VirtualDisk:
        """The same disk for the next run of the node."""
        following = VirtualDisk()
        following._record, following._snapshot = self._record, self._snapshot
        return following

    def write_record(self, record: NodeRecord) -> None:
        if not self._pulled:
            super().write_record(record)

    def write_snapshot(self, snapshot: Snapshot) -> None:
        if not self._pulled:
            super().write_snapshot(snapshot)


class Program:
    """A process under test: a function whose clients and nodes can be stopped, cut off and killed together.

    Made by ``VirtualCell.program``. Clients that it opens without a label get its label.
    """

    def __init__(self, label: str) -> None:
        self.label = label
        self.killed = False
        self.disks: list[VirtualDisk] = []
        self._scope = trio.CancelScope()
        self._ran = False

    def __repr__(self) -> str:
        return f"<Program {self.label!r}{' killed' if self.killed else ''}>"

    async def run(self, async_fn: Callable[..., Awaitable[T]], *args: object) -> T | None:
        """Call ``async_fn(*args)``; gives its value, or None if the program was killed. Runs once."""
        if self._ran:
            raise ValueError(f"the program {self.label!r} has run: make another one for another run")
        self._ran = True
        before = program_here.set(self)
        try:
            with self._scope:
                return await async_fn(*args)
        except Exception:
            if not self.killed:
                raise
        finally:
            program_here.reset(before)
        return None

    def end(self) -> None:
        """For the cell: the process is gone, and writes to no disk any more."""
        self.killed = True
        for disk in self.disks:
            disk.pull()
        self._scope.cancel()


class VirtualEnvironment(Environment):
    """The environment of the clients and nodes of one virtual cell."""

    probes = False

    def __init__(self, cell: VirtualCell) -> None:
        self._cell = cell
        self._disks: dict[tuple[str, Path], VirtualDisk] = {}

    def clock(self) -> Clock:
        return VirtualClock()

    def label(self) -> str:
        program = program_here.get()
        return default_label() if program is None else program.label

    def kind(self, kind: type[T]) -> type[T]:
        found: type[object] = VirtualNode if issubclass(kind, Node) else VirtualClient
        return cast(type[T], found)

    def bind_beside(self, addresses: Sequence[Address], *, named: bool = False) -> Transport:
        return self._cell.bind()

    async def bind(self, config: NodeConfig) -> Transport:
        await trio.lowlevel.checkpoint()
        return self._cell.bind(config.node_id)

    async def open_store(self, config: NodeConfig) -> StoreLike:
        await trio.lowlevel.checkpoint()
        disk = VirtualDisk()
        if config.data_dir is not None and config.durability is not Durability.MEMORY:
            key = config.node_id, config.data_dir
            disk = self._disks[key] = self._disks.get(key, disk).again()
        program = program_here.get()
        if program is not None:
            program.disks.append(disk)
        return disk
