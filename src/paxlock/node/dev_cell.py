"""A whole cell in this process, with nothing to configure: for development, tests and first looks.

The cell is made afresh each time, with a random id, a key and free ports on loopback; it is kept in memory
only. Nothing older than it can exist, so it serves at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from string import ascii_lowercase

import trio

from paxlock.config.cell import Cell, NodeConfig
from paxlock.core.durable import Durability
from paxlock.core.messages import Member
from paxlock.node.server import run_service
from paxlock.runtime.udp import UdpTransport
from paxlock.store.folder import MemoryStore
from paxlock.wire.transport import format_address

__all__ = ["open_dev_cell"]


@asynccontextmanager
async def open_dev_cell(
    nodes: int = 3, *, max_ttl: float = 30.0, report: Callable[[str], None] | None = None
) -> AsyncIterator[Cell]:
    """Run a fresh cell of 1, 3, 5 or 7 nodes in memory; the block is entered when all of them serve.

    ``max_ttl`` is in seconds. Raises ConfigError for other numbers of nodes.
    """
    ids = ascii_lowercase[:nodes]
    transports = {node_id: UdpTransport.bind("127.0.0.1", 0) for node_id in ids}
    async with AsyncExitStack() as stack:
        for transport in transports.values():
            stack.callback(transport.close)
        members = [Member(node_id, format_address(t.address)) for node_id, t in transports.items()]
        cell = Cell.new(members, max_ttl=max_ttl)
        services = []
        for node_id, transport in transports.items():
            config = NodeConfig(cell, node_id, None, Durability.MEMORY)
            services.append(
                await stack.enter_async_context(
                    run_service(
                        config,
                        create=True,
                        fresh_cell=True,
                        report=report,
                        transport=transport,
                        store=MemoryStore(),
                    )
                )
            )
        for service in services:
            with trio.fail_after(30):
                await service.serving.wait()
        yield cell
