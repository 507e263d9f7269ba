"""Opening a client: finding the cell, its addresses and its configuration (contract.md section 1)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TypeVar

import trio

from paxlock.client.client import Client
from paxlock.client.discovery import SEED_RETRY_S, CellSource, cell_told, settings_of
from paxlock.client.unopened import Unopened
from paxlock.config.cell import Cell, ClientSettings, check_label
from paxlock.host.clock import Clock
from paxlock.host.whereabouts import Whereabouts, has_names, keyring_of
from paxlock.runtime.background import attended
from paxlock.runtime.environment import Environment, environment_of
from paxlock.runtime.resolving import keep, resolve_addresses, resolve_members
from paxlock.wire.endpoint import Endpoint, SessionSender
from paxlock.wire.grants import draw_session
from paxlock.wire.transport import Address, Transport

__all__ = ["UnopenedInTrio", "open_as", "open_client"]

C = TypeVar("C", bound=Client)


class UnopenedInTrio(Unopened[C]):
    """A client, or a node, of a trio program before its block is entered."""

    face = "trio"

    def __init__(self, opener: str, block: AbstractAsyncContextManager[C]) -> None:
        super().__init__(opener)
        self._block = block

    async def __aenter__(self) -> C:
        if not trio.lowlevel.in_trio_run():
            raise self._elsewhere()
        client = await self._block.__aenter__()
        client.block = self  # entered by hand, nothing else might keep the block
        return client

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._block.__aexit__(exc_type, exc, traceback)


async def _discover(
    settings: ClientSettings, endpoint: Endpoint, transport: Transport, seeds: Sequence[Address]
) -> Cell:
    """Ask the seeds until one of them tells the configuration (contract.md section 1)."""
    while True:
        endpoint.greet_seeds(seeds, 1)
        for datagram, address in endpoint.flush():
            transport.send_nowait(datagram, address)
        with trio.move_on_after(SEED_RETRY_S):
            while True:
                await transport.wait_readable()
                cell = cell_told(settings, endpoint, transport.receive_nowait())
                if cell is not None:
                    return cell


@asynccontextmanager
async def open_as(
    make: Callable[..., C],
    settings: ClientSettings,
    *,
    environment: Environment,
    label: str | None,
    transport: Transport | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[C]:
    """Open what ``make`` makes: a Client, or a Node. What is not given is in ``environment``."""
    sender = SessionSender(draw_session(), settings.grant)
    keys = settings.cell.keys if settings.cell is not None else settings.keys
    clock = clock or environment.clock()
    wall_offset = time.time() - clock.now()
    endpoint = Endpoint(sender, keyring_of(keys, settings.grant), wall_offset=wall_offset)
    cell = settings.cell
    members: dict[str, list[Address]] = {}
    if cell is not None:
        members = await resolve_members(cell.members)
        reach = [address for addresses in members.values() for address in addresses]
    else:
        reach = await resolve_addresses(settings.seeds)
    if transport is None:
        wanted = [member.address for member in cell.members] if cell is not None else settings.seeds
        transport = environment.bind_beside(reach, named=has_names(wanted))
    try:
        if cell is None:
            cell = await _discover(settings, endpoint, transport, reach)
            members = await resolve_members(cell.members)
        whereabouts = Whereabouts(cell, endpoint, members)
        client = make(
            cell,
            sender.session,
            label=environment.label() if label is None else label,
            endpoint=endpoint,
            transport=transport,
            clock=clock,
        )
        try:
            async with attended(
                client.driver.run,
                partial(keep, whereabouts, client.driver),
                before_leaving=client.leave,
                failed=client.close,
            ):
                yield client
        finally:
            client.close()
    finally:
        transport.close()


@asynccontextmanager
async def _open_client(
    settings: ClientSettings,
    label: str | None,
    last_will: bool,
    thrifty: bool,
    transport: Transport | None,
    clock: Clock | None,
) -> AsyncIterator[Client]:
    members = settings.cell.members if settings.cell is not None else ()
    environment = environment_of([member.address for member in members] or settings.seeds)
    kind = environment.kind(Client)
    async with open_as(
        partial(kind, last_will=last_will, thrifty=thrifty) if last_will or thrifty else kind,
        settings,
        environment=environment,
        label=label,
        transport=transport,
        clock=clock,
    ) as client:
        yield client


def open_client(
    cell: CellSource,
    *,
    key: bytes | str | None = None,
    label: str | None = None,
    last_will: bool = False,
    thrifty: bool = False,
    transport: Transport | None = None,
    clock: Clock | None = None,
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
    run with another one. ``transport`` and ``clock`` are for tests.
    """
    if label is not None:
        label = check_label(label)
    return UnopenedInTrio(
        "open_client", _open_client(settings_of(cell, key), label, last_will, thrifty, transport, clock)
    )
