"""More locks than one cell carries: a fixed number of cells, and arithmetic that finds the cell of a name.

    python examples/many_cells.py shard-0.toml shard-1.toml shard-2.toml

Every program that uses these names is given the same cell files. docs/scaling.md tells how to grow.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from hashlib import blake2b
from pathlib import Path

from paxlock import aio


def shard_of(name: str, shards: Sequence[str]) -> str:
    """Rendezvous hashing: each shard draws a number for the name, and the highest one has it."""
    return max(shards, key=lambda shard: blake2b(f"{shard}\0{name}".encode(), digest_size=8).digest())


class Cells:
    """A client of each cell. The name of a cell's file, without its folder, is the name of its shard."""

    def __init__(self, clients: dict[str, aio.Client]) -> None:
        self._clients = clients

    def of(self, name: str) -> aio.Client:
        return self._clients[shard_of(name, list(self._clients))]


async def main(files: list[str]) -> None:
    async with AsyncExitStack() as stack:
        clients = {Path(file).stem: await stack.enter_async_context(aio.open_client(file)) for file in files}
        cells = Cells(clients)
        for customer in range(8):
            name = f"customers/{customer}"
            async with cells.of(name).lock(name, ttl=10.0) as held:
                print(f"{name} lives in {shard_of(name, list(clients))}: held with term {held.term}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
