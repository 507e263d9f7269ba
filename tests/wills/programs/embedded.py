"""``embedded.py FACE CELLFILE NODE FOLDER NAME HOW``: is a node that serves, takes a lease with a last will,
says so (``held TERM``), and waits to be killed; or, where HOW is ``dies``, is dead in that moment.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import trio

import paxlock
import paxlock.aio
import paxlock.blocking

TTL_S = 10.0


def tell(term: int, how: str) -> None:
    print("held", term, flush=True)
    if how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)


async def in_trio(config: paxlock.NodeConfig, name: str, how: str) -> None:
    async with paxlock.open_node(config, create=True, last_will=True) as node:
        await node.wait_serving()
        async with node.lock(name, ttl=TTL_S) as held:
            tell(held.term, how)
            await trio.sleep_forever()


async def in_asyncio(config: paxlock.NodeConfig, name: str, how: str) -> None:
    async with paxlock.aio.open_node(config, create=True, last_will=True) as node:
        await node.wait_serving()
        async with node.lock(name, ttl=TTL_S) as held:
            tell(held.term, how)
            await asyncio.get_running_loop().create_future()


def in_a_thread(config: paxlock.NodeConfig, name: str, how: str) -> None:
    with paxlock.blocking.open_node(config, create=True, last_will=True) as node:
        node.wait_serving()
        with node.lock(name, ttl=TTL_S) as held:
            tell(held.term, how)
            while True:
                signal.pause()


face, path, node_id, folder, name, how = sys.argv[1:]
config = paxlock.NodeConfig(paxlock.Cell.load(path), node_id, folder)
if face == "trio":
    trio.run(in_trio, config, name, how)
elif face == "asyncio":
    asyncio.run(in_asyncio(config, name, how))
else:
    in_a_thread(config, name, how)
