"""``embedded.py FACE CELLFILE NODE FOLDER NAME``: is a node that serves, takes a lease with a last will,
says so (``held TERM``), and waits to be killed.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import trio

import paxlock
import paxlock.aio
import paxlock.blocking

TTL_S = 10.0


def say(*words: object) -> None:
    print(*words, flush=True)


async def in_trio(config: paxlock.NodeConfig, name: str) -> None:
    async with paxlock.open_node(config, create=True, last_will=True) as node:
        await node.wait_serving()
        async with node.lock(name, ttl=TTL_S) as held:
            await node.poll(name)  # in a later turn: by now the will is deposited
            say("held", held.term)
            await trio.sleep_forever()


async def in_asyncio(config: paxlock.NodeConfig, name: str) -> None:
    async with paxlock.aio.open_node(config, create=True, last_will=True) as node:
        await node.wait_serving()
        async with node.lock(name, ttl=TTL_S) as held:
            await node.poll(name)
            say("held", held.term)
            await asyncio.get_running_loop().create_future()


def in_a_thread(config: paxlock.NodeConfig, name: str) -> None:
    with paxlock.blocking.open_node(config, create=True, last_will=True) as node:
        node.wait_serving()
        with node.lock(name, ttl=TTL_S) as held:
            node.poll(name)
            say("held", held.term)
            while True:
                signal.pause()


face, path, node_id, folder, name = sys.argv[1:]
config = paxlock.NodeConfig(paxlock.Cell.load(path), node_id, folder)
if face == "trio":
    trio.run(in_trio, config, name)
elif face == "asyncio":
    asyncio.run(in_asyncio(config, name))
else:
    in_a_thread(config, name)
