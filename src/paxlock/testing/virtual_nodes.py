"""The nodes that a virtual cell runs itself: they stop, are killed, and start again on what they kept."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from paxlock.config.cell import Cell, NodeConfig
from paxlock.node.server import Service, run_service
from paxlock.runtime.clock import TrioClock
from paxlock.testing.virtual_environment import VirtualDisk, VirtualTransport

__all__ = ["VirtualNodes"]

SERVING_PATIENCE_S = 30.0
# It stands for the mode "record"; what is used is a Disk.
FOLDER = "/virtual"


@attrs.define(eq=False)
class VirtualLife:
    """One run of one node."""

    service: Service
    disk: VirtualDisk
    line: VirtualTransport
    scope: trio.CancelScope
    over: trio.Event = attrs.field(factory=trio.Event)


class VirtualNodes:
    """The nodes of a cell. ``run`` and ``fail`` are tasks: the second raises what goes wrong in a node."""

    def __init__(self, cell: Cell, bind: Callable[[str], VirtualTransport]) -> None:
        self.lives: dict[str, VirtualLife] = {}
        self._cell = cell
        self._bind = bind
        self._disks: dict[str, VirtualDisk] = {}
        self._nursery: trio.Nursery | None = None
        self._running = trio.Event()
        self._trouble = trio.Event()
        self._error: Exception | None = None

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._running.set()
            await trio.sleep_forever()

    async def fail(self) -> None:
        await self._trouble.wait()
        assert self._error is not None
        raise self._error

    async def start_all(self) -> None:
        """The first start of the cell. Returns when all nodes serve."""
        for node_id in self._cell.node_ids:
            await self.start(node_id)
        with trio.fail_after(SERVING_PATIENCE_S):
            await self.wait_serving()

    async def start(self, node_id: str, *, join: bool = False) -> None:
        self._cell.address_of(node_id)
        if node_id in self.lives:
            raise ValueError(f"node {node_id!r} runs already: stop_node or kill_node comes before start_node")
        if join:
            self._disks.pop(node_id, None)
        await self._running.wait()
        assert self._nursery is not None
        await self._nursery.start(self._live, node_id, join)

    async def stop(self, node_id: str) -> None:
        life = self._life(node_id)
        life.scope.cancel()
        await life.over.wait()

    async def kill(self, node_id: str) -> None:
        life = self._life(node_id)
        life.disk.pull()
        life.line.die()
        await self.stop(node_id)

    async def wait_serving(self, *node_ids: str) -> None:
        await trio.lowlevel.checkpoint()
        for life in [self._life(node_id) for node_id in node_ids or self.lives]:
            await life.service.serving.wait()

    async def _live(self, node_id: str, join: bool, *, task_status: trio.TaskStatus[None]) -> None:
        """One run: until its scope is cancelled. That is a clean stop, unless the disk was pulled."""
        previous = self._disks.get(node_id)
        disk = self._disks[node_id] = VirtualDisk() if previous is None else previous.again()
        line = self._bind(node_id)
        life: VirtualLife | None = None
        try:
            with trio.CancelScope() as scope:
                async with run_service(
                    NodeConfig(self._cell, node_id, FOLDER),
                    create=previous is None and not join,
                    join=join,
                    transport=line,
                    store=disk,
                    clock=TrioClock(),
                ) as service:
                    life = self.lives[node_id] = VirtualLife(service, disk, line, scope)
                    task_status.started()
                    await trio.sleep_forever()
        except Exception as error:
            if life is None:
                raise
            self._error = error
            self._trouble.set()
        finally:
            if life is not None:
                del self.lives[node_id]
                life.over.set()

    def _life(self, node_id: str) -> VirtualLife:
        self._cell.address_of(node_id)
        if node_id not in self.lives:
            raise ValueError(
                f"the cell does not run node {node_id!r} at the moment: start_node({node_id!r}) does"
            )
        return self.lives[node_id]
