"""A node embedded in a program without an event loop, which is then a client of its cell too.

    with paxlock.blocking.open_node(config) as node:
        with node.campaign("primary", data=b"10.0.0.7:8080") as held:
            run_primary(fencing_token=held.term)

The node runs in a thread of its own, under trio; that is loaded only here.
"""

from __future__ import annotations

import logging
import signal
import threading
from os import PathLike
from types import FrameType
from typing import TYPE_CHECKING

from paxlock.blocking.client import Client
from paxlock.config.cell import Cell, NodeConfig, check_label, client_settings
from paxlock.config.starts import StartWord, check_node_config, start_word
from paxlock.core.messages import NodeMode
from paxlock.errors import PaxlockError
from paxlock.forks import Life
from paxlock.host.hosting import check_host_of_node

if TYPE_CHECKING:
    from paxlock.node.in_thread import NodeThread
    from paxlock.observe.statistics import NodeStatistics

__all__ = ["Node", "open_node"]

_log = logging.getLogger("paxlock")

EXIT_OF_SIGTERM = 128 + signal.SIGTERM


class Node(Client):
    """A node in this process, and a client of its cell: ``lock``, ``campaign``, ``watch``, ``poll`` ...
    Made by ``open_node``.
    """

    _kind = "node"
    _opener = "open_node"

    def __init__(
        self,
        thread: NodeThread,
        cell: Cell,
        label: str | None,
        *,
        last_will: bool,
        thrifty: bool,
        handles_sigterm: bool,
    ) -> None:
        super().__init__(client_settings(cell, environ={}), label, last_will=last_will, thrifty=thrifty)
        self._thread = thread
        self._entered = True  # a node is that of this process only
        self._life = Life()
        self._handles_sigterm = handles_sigterm

    def close(self) -> None:
        """Release what is held, then stop the node cleanly. Harmless when repeated."""
        try:
            super().close()
        finally:
            self._thread.stop()
            if self._handles_sigterm and not self._life.over:
                self._handles_sigterm = False
                _leave_sigterm()

    @property
    def node_id(self) -> str:
        """Which node of the cell this is."""
        return self._thread.config.node_id

    @property
    def mode(self) -> NodeMode:
        """STARTING, RECOVERING (sitting out) or SERVING."""
        return self._thread.mode

    def wait_serving(self, timeout: float | None = None) -> bool:
        """Wait until this node serves; False after ``timeout`` seconds. Raises what has ended it."""
        return self._thread.wait_serving(timeout)

    def reload(self, cell: Cell | str | PathLike[str] | None = None) -> None:
        """Read the keys of this node and client anew, and which keys of clients the node does not take:
        from the files that its cell was read from, or from this cell or cell file.

        Nothing else of the cell file is taken before a restart. Raises ConfigError, and goes on as before,
        for a file that cannot be used.
        """
        taken = self._thread.reload(cell)
        self._settings = client_settings(taken, environ={})
        running = self._running
        if running is not None:
            running.engine.do(lambda: running.take_keys(taken))

    def node_statistics(self) -> NodeStatistics:
        """Frozen counters of the node itself, with what it sees of the others."""
        return self._thread.statistics()


def open_node(
    config: NodeConfig,
    *,
    start: StartWord | str = StartWord.AUTO,
    create: bool = False,
    join: bool = False,
    label: str | None = None,
    last_will: bool = False,
    thrifty: bool = False,
) -> Node:
    """Run a node of the cell in this program, in a thread of its own, and be a client of the cell.

    Its first start needs no word: ``start="auto"`` goes on from the record in its data folder, and finds out
    from the other nodes where there is none; the very first nodes of a cell sit out ``max_ttl``.
    ``"create"`` is for a cell that is new for sure, and waits for nothing; ``"join"`` after its memory was
    lost, whatever record there is. ``create=True`` and ``join=True`` are short for these. ``"by-clock"`` is
    ``"auto"`` where members are gone for good, and too many disks are lost.

    The socket is bound when this returns. Leaving the ``with`` block, ``close`` or the end of the interpreter
    releases what is held and stops the node cleanly. What a killed program holds stays held for its ttl, and
    a node whose machine crashed sits out ``max_ttl`` at its next start (protocol.md section 7). So where this
    is called in the main thread, and the program has left SIGTERM alone, that signal raises SystemExit(143)
    until the node is closed.

    ``last_will``: as for ``open_client``. Where this process is killed, its node is gone as well; the others
    hear the will, and where they are a quorum the next in line holds at once.
    ``thrifty``: as for ``open_client``.

    Raises ConfigError and StoreError, with a sentence that says what to do. What ends the node later on is
    logged, and raised by ``mode``, ``wait_serving`` and ``node_statistics``; locks go on by the other nodes.
    """
    check_host_of_node()
    from paxlock.node.in_thread import NodeThread

    check_node_config(config)
    word = start_word(start, create=create, join=join)
    if label is not None:
        check_label(label)
    handles_sigterm = _handle_sigterm()
    try:
        thread = NodeThread(config, start=word, failed=_log_failure)
        thread.start()
    except BaseException:
        if handles_sigterm:
            _leave_sigterm()
        raise
    return Node(
        thread, config.cell, label, last_will=last_will, thrifty=thrifty, handles_sigterm=handles_sigterm
    )


def _log_failure(error: PaxlockError) -> None:
    _log.error("a node has ended: %s", error, exc_info=error)


def _handle_sigterm() -> bool:
    """Have SIGTERM end the program by an exception, where it would kill it; False where it is handled."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return False
    signal.signal(signal.SIGTERM, _exit)
    return True


def _leave_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is _exit and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(EXIT_OF_SIGTERM)
