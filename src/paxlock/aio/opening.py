"""Opening an asyncio client: finding the cell, its addresses and its configuration (contract.md section
1).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import TypeVar

from paxlock.aio.client import Client
from paxlock.aio.resolving import keep, resolve_all
from paxlock.aio.scope import TaskScope
from paxlock.aio.stand_ins import stand_in_for
from paxlock.aio.udp import LoopTransport, TwoLoopSockets, UdpLoopSocket
from paxlock.client.discovery import SEED_RETRY_S, CellSource, cell_told, settings_of
from paxlock.config.cell import Cell, ClientSettings, check_label
from paxlock.host.clock import BootClock
from paxlock.host.failures import add_context, as_ours
from paxlock.host.labels import default_label
from paxlock.host.udp import bind_beside
from paxlock.host.whereabouts import Whereabouts, has_names, keyring_of
from paxlock.wire.endpoint import Endpoint, SessionSender
from paxlock.wire.grants import new_session
from paxlock.wire.transport import Address

__all__ = ["open_as", "open_client", "shielded"]

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
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()


@asynccontextmanager
async def _followed(whereabouts: Whereabouts) -> AsyncIterator[None]:
    """Within the block host names are looked up again, by one task for each."""
    news = {node_id: asyncio.Event() for node_id in whereabouts.named}
    whereabouts.wake = lambda node_id: news[node_id].set()
    tasks = [
        asyncio.ensure_future(keep(whereabouts, node_id, address, news[node_id]))
        for node_id, address in whereabouts.named.items()
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def open_as(
    make: Callable[..., C],
    settings: ClientSettings,
    label: str | None,
    *,
    last_will: bool = False,
    thrifty: bool = False,
) -> AsyncIterator[C]:
    """Open what ``make`` makes: a Client, or a Node."""
    sender = SessionSender(new_session(settings.grant), settings.grant)
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
    try:
        if cell is None:
            cell = await _discover(settings, endpoint, transport, reach)
            found = await resolve_all({member.node_id: member.address for member in cell.members})
        whereabouts = Whereabouts(cell, endpoint, found)
        async with _followed(whereabouts):
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
            client.end_block = block.end
            async with block.around(client):
                yield client
    finally:
        transport.close()


class _Block:
    """The body of ``open_client``: ended where the client fails beneath it."""

    def __init__(self) -> None:
        self._scope = TaskScope("the client of this block has failed")
        self._failure: BaseException | None = None
        self._client: Client | None = None

    def end(self, error: BaseException) -> None:
        """Cancel the body; ``error`` comes out of the block. What is held is still released."""
        if self._failure is None:
            self._failure = error
            self._scope.cancel()

    def fail(self, error: Exception) -> None:
        """The client can do no more: whoever waits for it is told, and the body is cancelled."""
        if self._client is not None:
            self._client.close()
        self.end(error)

    @asynccontextmanager
    async def around(self, client: Client) -> AsyncIterator[None]:
        """An error of the body comes out bare, with that of the client in its chain of contexts; what cancels
        the body from outside reaches the body only, since a release needs the client.
        """
        self._client = client
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:  # noqa: BLE001 - raised again below
            error = raised
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
            return
        if failure is not None:
            add_context(remaining, failure)
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
    return open_as(Client, settings_of(cell, key), label, last_will=last_will, thrifty=thrifty)
