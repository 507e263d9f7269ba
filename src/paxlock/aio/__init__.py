"""Leader election and locks for asyncio programs::

    async with paxlock.aio.open_client("cell.toml") as client:
        async with client.lock("nightly-report", ttl=10.0, wait=5.0) as held:
            await upload(report, token=held.term)

The verbs, arguments and errors of ``paxlock``, native to asyncio: callbacks of the running loop, no thread,
no trio. It works on every loop that has ``add_reader`` (uvloop has), and within anyio's task groups. A lease
that is lost cancels the block's task; a program that keeps the loop busy for two thirds of a ttl loses its
lease, as it should: nobody would hear of its end.
"""

from paxlock.aio.changes import Changes
from paxlock.aio.client import Client
from paxlock.aio.lease import HeldLease, LeaseBlock
from paxlock.aio.node import Node, open_node
from paxlock.aio.opening import open_client

__all__ = ["Changes", "Client", "HeldLease", "LeaseBlock", "Node", "open_client", "open_node"]
