"""A node in a thread of its own, for programs whose own loop is not trio's, or that have none: a node on the
loop of an application would fall silent whenever that blocks, and cost the cell a node.

Only start, stop and a look cross over between the threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, TypeVar

import trio

from paxlock.config.cell import Cell, NodeConfig
from paxlock.config.starts import StartWord
from paxlock.core.messages import NodeMode
from paxlock.errors import ClosedError, PaxlockError
from paxlock.forks import INHERITED, Life
from paxlock.host.at_exit import ends_at_exit
from paxlock.host.failures import as_ours
from paxlock.node.reloading import cell_again, reload_node
from paxlock.node.server import Report, Service, run_service

if TYPE_CHECKING:
    from paxlock.observe.statistics import NodeStatistics

T = TypeVar("T")

__all__ = ["NodeThread"]

STOP_WAIT_S = 30.0  #: for a disk that takes its time


class NodeThread:
    """One node, from ``start`` to ``stop``; all of it may be called from any thread.

    ``failed`` is called, in the thread of the node, with the error that has ended it later on. In the child
    of a fork there is no node: it goes on in the parent, whatever is called here.
    """

    def __init__(
        self,
        config: NodeConfig,
        *,
        start: StartWord = StartWord.AUTO,
        report: Report | None = None,
        failed: Callable[[PaxlockError], object] | None = None,
    ) -> None:
        self.config = config
        self._word = start
        self._report = report
        self._failed = failed
        self._life = Life()
        self._mutex = threading.Lock()
        self._begun = threading.Event()
        self._serving = threading.Event()  #: or over
        self._over = threading.Event()
        self._error: PaxlockError | None = None
        self._service: Service | None = None
        self._stopping = False
        self._loop: trio.lowlevel.TrioToken | None = None
        self._scope: trio.CancelScope | None = None
        self._thread = threading.Thread(target=self._run, name="paxlock node", daemon=True)

    def start(self) -> None:
        """Start the node, and wait until its socket is bound. Raises the ConfigError or StoreError that the
        start has raised.
        """
        self._thread.start()
        ends_at_exit(self)
        try:
            self._begun.wait()
        except BaseException:
            self.stop()
            raise
        if self._service is None and self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Stop the node cleanly, and wait for its end. Harmless when repeated."""
        if self._life.over:
            return
        with self._mutex:
            self._stopping = True
            if self._loop is not None and not self._over.is_set():
                self._loop.run_sync_soon(self._cancel)
        self._over.wait(STOP_WAIT_S)

    def end_at_exit(self) -> None:
        """The interpreter ends."""
        self.stop()

    @property
    def mode(self) -> NodeMode:
        """STARTING, RECOVERING (sitting out) or SERVING."""
        return self._running().replica.mode

    def wait_serving(self, timeout: float | None = None) -> bool:
        """Wait until the node serves; False after ``timeout`` seconds. Raises what has ended it instead, or
        ClosedError once it is stopped.
        """
        self._running()
        found = self._serving.wait(timeout)
        self._running()
        return found

    def statistics(self) -> NodeStatistics:
        """Frozen counters of the node."""
        return self._look(lambda service: service.eyes.statistics())

    def reload(self, cell: Cell | str | PathLike[str] | None = None) -> Cell:
        """Read the keys of the node anew, and give the cell with them: see `paxlock.Node.reload`."""
        service = self._running()
        found = cell_again(service.config, cell)
        return self._look(lambda service: reload_node(service, found))

    def _look(self, read: Callable[[Service], T]) -> T:
        """Read something in the thread of the node."""
        service = self._running()
        found: list[T] = []
        done = threading.Event()

        def look() -> None:
            found.append(read(service))
            done.set()

        with self._mutex:
            if self._loop is not None and not self._over.is_set():
                self._loop.run_sync_soon(look)
        while not done.wait(0.1):
            self._running()
        return found[0]

    # Within

    def _running(self) -> Service:
        if self._life.over:
            raise ClosedError(INHERITED)
        if self._error is not None:
            raise self._error
        if self._service is None or self._over.is_set():
            raise ClosedError(f"node {self.config.node_id} is stopped")
        return self._service

    def _cancel(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except Exception as error:  # noqa: BLE001 - for whoever started the node
            self._error = as_ours(error)
        later = self._service is not None
        with self._mutex:
            self._over.set()
        self._begun.set()
        self._serving.set()
        if later and self._error is not None and self._failed is not None:
            self._failed(self._error)

    async def _serve(self) -> None:
        with trio.CancelScope() as self._scope:
            with self._mutex:
                self._loop = trio.lowlevel.current_trio_token()
                if self._stopping:
                    self._scope.cancel()
            async with run_service(self.config, start=self._word, report=self._report) as service:
                self._service = service
                self._begun.set()
                await service.serving.wait()
                self._serving.set()
                await trio.sleep_forever()
