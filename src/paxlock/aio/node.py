"""A node embedded in an asyncio program, which is then a client of its cell too.

    async with paxlock.aio.open_node(config) as node:
        async with node.campaign("primary", data=b"10.0.0.7:8080") as held:
            await run_primary(fencing_token=held.term)

The node runs in a thread of its own, under trio; that is loaded only here. So an application that keeps its
loop busy does not cost the cell a node.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from functools import partial
from importlib import import_module
from os import PathLike
from typing import TYPE_CHECKING, Any

from paxlock.aio.client import Client
from paxlock.aio.opening import UnopenedInAsyncio, open_as, shielded
from paxlock.config.cell import Cell, NodeConfig, check_label, client_settings
from paxlock.config.starts import StartWord, check_node_config, start_word
from paxlock.core.messages import NodeMode
from paxlock.host.hosting import check_host_of_node

if TYPE_CHECKING:
    from paxlock.node.in_thread import NodeThread
    from paxlock.observe.statistics import NodeStatistics

__all__ = ["Node", "open_node"]

EXIT_OF_SIGTERM = 128 + signal.SIGTERM
LOOK_AGAIN_S = 0.05


class Node(Client):
    """A node in this process, and a client of its cell: ``lock``, ``campaign``, ``watch``, ``poll`` ...
    Made by ``open_node``.
    """

    _kind = "node"

    def __init__(self, thread: NodeThread, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._thread = thread

    @property
    def node_id(self) -> str:
        """Which node of the cell this is."""
        return self._thread.config.node_id

    @property
    def mode(self) -> NodeMode:
        """STARTING, RECOVERING (sitting out) or SERVING."""
        return self._thread.mode

    async def wait_serving(self) -> None:
        """Wait until this node serves. Raises what has ended it instead."""
        while not self._thread.wait_serving(0.0):  # noqa: ASYNC110 - another thread knows
            await asyncio.sleep(LOOK_AGAIN_S)

    def reload(self, cell: Cell | str | PathLike[str] | None = None) -> None:
        """Read the keys of this node and client anew, and which keys of clients the node does not take:
        from the files that its cell was read from, or from this cell or cell file.

        Nothing else of the cell file is taken before a restart. Raises ConfigError, and goes on as before,
        for a file that cannot be used.
        """
        self.take_keys(self._thread.reload(cell))

    def node_statistics(self) -> NodeStatistics:
        """Frozen counters of the node itself, with what it sees of the others."""
        return self._thread.statistics()


@contextmanager
def _ending_at_sigterm(end: Callable[[], None]) -> Iterator[None]:
    """Have SIGTERM end the block, where it would kill the process; where it is handled, it stays so."""
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    loop = asyncio.get_running_loop()
    if ours:
        loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    finally:
        if ours:
            loop.remove_signal_handler(signal.SIGTERM)


def open_node(
    config: NodeConfig,
    *,
    start: StartWord | str = StartWord.AUTO,
    create: bool = False,
    join: bool = False,
    label: str | None = None,
    last_will: bool = False,
    thrifty: bool = False,
) -> AbstractAsyncContextManager[Node]:
    """Run a node of the cell in this program, in a thread of its own, and be a client of the cell.

    Its first start needs no word: ``start="auto"`` goes on from the record in its data folder, and finds out
    from the other nodes where there is none; the very first nodes of a cell sit out ``max_ttl``.
    ``"create"`` is for a cell that is new for sure, and waits for nothing; ``"join"`` after its memory was
    lost, whatever record there is. ``create=True`` and ``join=True`` are short for these. ``"by-clock"`` is
    ``"auto"`` where members are gone for good, and too many disks are lost.

    Leaving the block releases what is held and stops the node cleanly. What a killed program holds
    stays held for its ttl, and a node whose machine crashed sits out ``max_ttl`` at its next start
    (protocol.md section 7). So where this is entered in the main thread, and the program has left SIGTERM
    alone, that signal cancels the block, and SystemExit(143) comes out.

    ``last_will``: as for ``open_client``. Where this process is killed, its node is gone as well; the others
    hear the will, and where they are a quorum the next in line holds at once.
    ``thrifty``: as for ``open_client``.

    Raises ConfigError and StoreError, with a sentence that says what to do; what ends the node later on
    cancels the body, and comes out as well.
    """

    def enter(stack: AsyncExitStack) -> Awaitable[Node]:
        return _open_node(stack, config, start, create, join, label, last_will, thrifty)

    return UnopenedInAsyncio("open_node", enter)


async def _open_node(
    stack: AsyncExitStack,
    config: NodeConfig,
    start: StartWord | str,
    create: bool,
    join: bool,
    label: str | None,
    last_will: bool,
    thrifty: bool,
) -> Node:
    check_host_of_node()
    # trio takes a while to load, and the loop may have leases to renew meanwhile.
    await asyncio.to_thread(import_module, "paxlock.node.in_thread")
    from paxlock.node.in_thread import NodeThread

    check_node_config(config)
    word = start_word(start, create=create, join=join)
    if label is not None:
        label = check_label(label)
    loop = asyncio.get_running_loop()
    found: list[Node] = []

    def end(error: BaseException) -> None:
        for node in found:
            node.end_block(error)

    def failed(error: BaseException) -> None:
        loop.call_soon_threadsafe(end, error)

    thread = NodeThread(config, start=word, failed=failed)
    stack.push_async_callback(lambda: shielded(asyncio.to_thread(thread.stop)))
    await shielded(asyncio.to_thread(thread.start))
    settings = client_settings(config.cell, environ={})
    make = partial(Node, thread)
    node = await open_as(stack, make, settings, label, last_will=last_will, thrifty=thrifty)
    found.append(node)
    stack.enter_context(_ending_at_sigterm(lambda: end(SystemExit(EXIT_OF_SIGTERM))))
    return node
