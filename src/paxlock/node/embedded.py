"""A node embedded in a program, which is then a client of its cell too.

async with paxlock.open_node(config) as node:
    async with node.campaign("primary", data=b"10.0.0.7:8080") as held:
        await run_primary(fencing_token=held.term)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from os import PathLike

from paxlock.client.client import Client
from paxlock.client.opening import UnopenedInTrio, open_as
from paxlock.config.cell import Cell, NodeConfig, check_label, client_settings
from paxlock.config.starts import StartWord, check_node_config
from paxlock.core.messages import NodeMode
from paxlock.host.clock import Clock
from paxlock.node.reloading import cell_again, reload_node
from paxlock.node.server import Service, run_service
from paxlock.observe.statistics import NodeStatistics
from paxlock.runtime.environment import environment_of
from paxlock.runtime.sigterm import ending_at_sigterm
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.transport import Transport

__all__ = ["Node", "open_node"]


class Node(Client):
    """A node in this process, and a client of its cell: ``lock``, ``campaign``, ``watch``, ``poll`` ..."""

    _kind = "node"

    def __init__(
        self,
        service: Service,
        cell: Cell,
        session: bytes,
        *,
        label: str,
        endpoint: Endpoint,
        transport: Transport,
        clock: Clock,
        last_will: bool = False,
        thrifty: bool = False,
    ) -> None:
        super().__init__(
            cell,
            session,
            label=label,
            endpoint=endpoint,
            transport=transport,
            clock=clock,
            last_will=last_will,
            thrifty=thrifty,
        )
        self._service = service

    @property
    def node_id(self) -> str:
        """Which node of the cell this is."""
        return self._service.config.node_id

    @property
    def mode(self) -> NodeMode:
        """STARTING, RECOVERING (sitting out) or SERVING."""
        self.check_process()
        return self._service.replica.mode

    async def wait_serving(self) -> None:
        """Wait until this node serves."""
        self.check_process()
        await self._service.serving.wait()

    def reload(self, cell: Cell | str | PathLike[str] | None = None) -> None:
        """Read the keys of this node and client anew, and which keys of clients the node does not take:
        from the files that its cell was read from, or from this cell or cell file.

        Nothing else of the cell file is taken before a restart. Raises ConfigError, and goes on as before,
        for a file that cannot be used.
        """
        self.check_process()
        found = cell_again(self._service.config, cell)
        self.take_keys(reload_node(self._service, found))

    def node_statistics(self) -> NodeStatistics:
        """Frozen counters of the node itself, with what it sees of the others."""
        self.check_process()
        return self._service.eyes.statistics()


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
    """Run a node of the cell in this program, and be a client of the cell: embedded election.

    Its first start needs no word: ``start="auto"`` goes on from the record in its data folder, and finds out
    from the other nodes where there is none; the very first nodes of a cell sit out ``max_ttl``.
    ``"create"`` is for a cell that is new for sure, and waits for nothing; ``"join"`` after its memory was
    lost, whatever record there is. ``create=True`` and ``join=True`` are short for these. ``"by-clock"`` is
    ``"auto"`` where members are gone for good, and too many disks are lost.

    Leaving the block releases what is held and stops the node cleanly. What a killed program holds
    stays held for its ttl, and a node whose machine crashed sits out ``max_ttl`` at its next start
    (protocol.md section 7). So where this is entered in the main thread, and the program has left SIGTERM
    alone, that signal cancels the block, and SystemExit(143) comes out; a nursery around the block puts it
    into a group, as it does with every error.

    ``last_will``: as for ``open_client``. Where this process is killed, its node is gone as well; the others
    hear the will, and where they are a quorum the next in line holds at once.
    ``thrifty``: as for ``open_client``.

    Raises ConfigError and StoreError, with a sentence that says what to do.
    """
    return UnopenedInTrio("open_node", _open_node(config, start, create, join, label, last_will, thrifty))


@asynccontextmanager
async def _open_node(
    config: NodeConfig,
    start: StartWord | str,
    create: bool,
    join: bool,
    label: str | None,
    last_will: bool,
    thrifty: bool,
) -> AsyncIterator[Node]:
    check_node_config(config)
    if label is not None:
        label = check_label(label)
    with ending_at_sigterm():
        async with run_service(config, start=start, create=create, join=join) as service:
            settings = client_settings(config.cell, environ={})
            environment = environment_of(member.address for member in config.cell.members)
            make = partial(environment.kind(Node), service, last_will=last_will, thrifty=thrifty)
            async with open_as(make, settings, environment=environment, label=label) as node:
                yield node
