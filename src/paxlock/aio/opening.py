"""Opening an asyncio client: finding the cell, its addresses and its configuration (contract.md section
1).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TypeVar

from paxlock.aio.client import Client
from paxlock.aio.resolving import keep, resolve_all
from paxlock.aio.scope import TaskScope, sheltered
from paxlock.aio.stand_ins import stand_in_for
from paxlock.aio.udp import LoopTransport, TwoLoopSockets, UdpLoopSocket
from paxlock.client.discovery import SEED_RETRY_S, CellSource, cell_told, settings_of
from paxlock.client.unopened import Unopened
from paxlock.config.cell import Cell, ClientSettings, check_label
from paxlock.host.clock import BootClock
from paxlock.host.failures import add_context, as_ours
from paxlock.host.labels import default_label
from paxlock.host.udp import bind_beside
from paxlock.host.whereabouts import Whereabouts, has_names, keyring_of
from paxlock.wire.endpoint import Endpoint, SessionSender
from paxlock.wire.grants import draw_session
from paxlock.wire.transport import Address

__all__ = ["UnopenedInAsyncio", "open_as", "open_client", "shielded"]

C = TypeVar("C", bound=Client)
T = TypeVar("T")


async def _discover(
    settings: ClientSettings, endpoint: Endpoint, transport: LoopTransport, seeds: Sequence[Address]
) -> Cell:
    """Ask the seeds until one of them tells the configuration (contract.md section 1)."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    transport.hear(loop, readable.set)
    try:
        while True:
            endpoint.greet_seeds(seeds, 1)
            for datagram, address in endpoint.flush():
                transport.send_nowait(datagram, address)
            try:
                async with asyncio.timeout(SEED_RETRY_S):
                    while True:
                        await readable.wait()
                        readable.clear()
                        while (found := transport.receive_nowait()) is not None:
                            cell = cell_told(settings, endpoint, found)
                            if cell is not None:
                                return cell
            except TimeoutError:
                pass
    finally:
        transport.stop_hearing(loop)


async def shielded(work: Coroutine[object, object, T]) -> T:
    """Do this to its end, whatever is cancelled meanwhile; a cancellation comes out afterwards."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with sheltered():
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


def _follow(whereabouts: Whereabouts) -> Callable[[], None]:
    """Look up host names again, by one task for each; gives what ends that."""
    news = {node_id: asyncio.Event() for node_id in whereabouts.named}
    whereabouts.wake = lambda node_id: news[node_id].set()
    tasks = [
        asyncio.ensure_future(keep(whereabouts, node_id, address, news[node_id]))
        for node_id, address in whereabouts.named.items()
    ]

    def end() -> None:
        for task in tasks:
            task.cancel()

    return end


async def open_as(
    stack: AsyncExitStack,
    make: Callable[..., C],
    settings: ClientSettings,
    label: str | None,
    *,
    last_will: bool = False,
    thrifty: bool = False,
) -> C:
    """Open what ``make`` makes, a Client or a Node; what closes it is pushed on the stack."""
    sender = SessionSender(draw_session(), settings.grant)
    cell = settings.cell
    wanted = (
        {m.node_id: m.address for m in cell.members} if cell is not None else dict.fromkeys(settings.seeds)
    )
    addresses = {key: address or key for key, address in wanted.items()}
    stand_in = stand_in_for(addresses.values())
    clock = stand_in.clock() if stand_in is not None else BootClock()
    keys = cell.keys if cell is not None else settings.keys
    endpoint = Endpoint(
        sender,
        keyring_of(keys, settings.grant),
        wall_offset=time.time() - clock.now(),
    )
    found = await resolve_all(addresses)
    reach = [address for several in found.values() for address in several]
    transport: LoopTransport
    if stand_in is not None:
        transport = stand_in.bind()
    else:
        transport = bind_beside(
            reach, UdpLoopSocket.bind, TwoLoopSockets, named=has_names(addresses.values())
        )
    stack.callback(transport.close)
    if cell is None:
        cell = await _discover(settings, endpoint, transport, reach)
        found = await resolve_all({member.node_id: member.address for member in cell.members})
    whereabouts = Whereabouts(cell, endpoint, found)
    stack.callback(_follow(whereabouts))
    who = default_label() if label is None else label
    if stand_in is not None:
        who = stand_in.label(who) if label is None else who
        make = stand_in.kind(make)
    if last_will:
        make = partial(make, last_will=True)
    if thrifty:
        make = partial(make, thrifty=True)
    block = _Block()
    client = make(
        cell,
        sender.session,
        label=who,
        endpoint=endpoint,
        transport=transport,
        clock=clock,
        failed=block.fail,
    )
    block.holds(client)
    stack.push_async_exit(block.leave)
    return client


class UnopenedInAsyncio(Unopened[C]):
    """A client, or a node, of an asyncio program before its block is entered.

    No async generator stands behind it: where a program leaves a loop without closing its client, asyncio
    would end that underneath it.
    """

    face = "asyncio"

    def __init__(self, opener: str, enter: Callable[[AsyncExitStack], Awaitable[C]]) -> None:
        super().__init__(opener)
        self._enter = enter
        self._entered = False
        self._stack: AsyncExitStack | None = None

    async def __aenter__(self) -> C:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            raise self._elsewhere() from None
        if self._entered:
            raise RuntimeError(f"this block is entered once: call {self._opener}() again for another")
        self._entered = True
        async with AsyncExitStack() as stack:
            client = await self._enter(stack)
            self._stack = stack.pop_all()
        client.on_aclose = self._close
        return client

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        stack, self._stack = self._stack, None
        if stack is None:
            return False  # closed by `aclose`
        return await stack.__aexit__(exc_type, exc, traceback)

    async def _close(self) -> None:
        await self.__aexit__(None, None, None)


class _Block:
    """The body of ``open_client``: ended where the client fails beneath it."""

    def __init__(self) -> None:
        self._scope = TaskScope("the client of this block has failed")
        self._failure: BaseException | None = None
        self._client: Client | None = None

    def holds(self, client: Client) -> None:
        """From now on this is the client of the block."""
        self._client = client
        client.end_block = self.end

    def end(self, error: BaseException) -> None:
        """Cancel the body; ``error`` comes out of the block. What is held is still released."""
        if self._failure is None:
            self._failure = error
            self._scope.cancel("SIGTERM ends this block" if isinstance(error, SystemExit) else None)

    def fail(self, error: Exception) -> None:
        """The client can do no more: whoever waits for it is told, and the body is cancelled."""
        if self._client is not None:
            self._client.close()
        self.end(error)

    async def leave(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """An error of the body comes out bare, with that of the client in its chain of contexts; what cancels
        the body from outside reaches the body only, since a release needs the client.
        """
        client, raised = self._client, error
        assert client is not None
        try:
            await shielded(client.leave())
        except asyncio.CancelledError as cancelled:
            if error is not None:
                add_context(cancelled, error)
            error = cancelled
        finally:
            client.close()
        remaining = await self._scope.leave(error)
        failure = as_ours(self._failure) if isinstance(self._failure, Exception) else self._failure
        if remaining is None or (failure is not None and isinstance(remaining, asyncio.CancelledError)):
            if failure is not None:
                raise failure
            return True
        if failure is not None:
            add_context(remaining, failure)
        if remaining is raised:
            return False
        raise remaining


def open_client(
    cell: CellSource,
    *,
    key: bytes | str | None = None,
    label: str | None = None,
    last_will: bool = False,
    thrifty: bool = False,
) -> AbstractAsyncContextManager[Client]:
    """Open a client of a cell: ``async with open_client("cell.toml") as client``.

    ``cell`` is a path to a cell file, a Cell, or a list of node addresses. Addresses are only seeds: the
    nodes, and so the quorum, always come from the configuration (protocol.md section 1); opening then waits
    until one has answered, and ``key`` is the cell's key. ``label`` says who this is, for people (host and
    process unless given). Neither cell nor node need be up: no quorum is waiting, not an error.
    ``last_will``: where this process is killed, a small process beside it tells the nodes at once, instead of
    leaving its leases to run out; Linux only, elsewhere a warning (protocol.md section 11).
    ``thrifty``: an acquisition asks only a quorum at first, where that is as fast. That saves datagrams, and
    is for programs near their nodes whose names are rarely wanted by several at once (docs/scaling.md).

    Raises ConfigError for a configuration that cannot be, also later, in the body, when nodes turn out to
    run with another one.
    """
    if label is not None:
        label = check_label(label)
    settings = settings_of(cell, key)
    return UnopenedInAsyncio(
        "open_client",
        lambda stack: open_as(stack, Client, settings, label, last_will=last_will, thrifty=thrifty),
    )
