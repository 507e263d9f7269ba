"""A master that forks workers, as web servers do: ``prefork_program.py CELLFILE NAME [NODE DATADIR]``.

A thread of the master runs trio: a client, or a node and a client in it, which holds the name. The main
thread then forks workers, by hand and by multiprocessing. Each of them finds the lease dead, and opens a
client of its own. Prints one JSON object a line.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from paxlock import Client, HeldLease, NodeConfig, open_client, open_node

TTL_S = 1.0
WORKERS = 3


def say(event: str, **facts: object) -> None:
    os.write(1, (json.dumps({"event": event, "process": os.getpid(), **facts}) + "\n").encode())


class Master:
    """The lease, in a thread of its own."""

    def __init__(self, cell: str, name: str, node_id: str = "", data_dir: str = "") -> None:
        self.cell = cell
        self.name = name
        self.node = node_id, data_dir
        self.held: HeldLease
        self.token: trio.lowlevel.TrioToken
        self.holds = threading.Event()
        self.leave: trio.Event
        self.thread = threading.Thread(target=trio.run, args=[self.main])
        self.thread.start()
        self.holds.wait()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Client]:
        node_id, data_dir = self.node
        if not node_id:
            async with open_client(self.cell, label="master") as client:
                yield client
        else:
            async with open_node(NodeConfig(self.cell, node_id, data_dir), create=True) as node:
                yield node

    async def main(self) -> None:
        async with self.opened() as client, client.lock(self.name, ttl=TTL_S) as held:
            self.token = trio.lowlevel.current_trio_token()
            self.leave = trio.Event()
            self.held = held
            say("acquired", term=held.term)
            held.on_extended(lambda deadline: say("extended", deadline=deadline))
            self.holds.set()
            await self.leave.wait()
            held.check()
        say("left")

    def end(self) -> None:
        trio.from_thread.run_sync(self.leave.set, trio_token=self.token)
        self.thread.join()


async def work(cell: str, name: str, number: int) -> None:
    async with open_client(cell, label=f"worker {number}") as client:
        standing = await client.poll(name)
        async with client.lock(f"y {number}", ttl=TTL_S) as held:
            await trio.to_thread.run_sync(held.check)
            say("worker", number=number, state=standing.state.name, term=standing.term)


def worker(master: Master, number: int) -> None:
    try:
        master.held.check()
    except trio.ClosedResourceError as error:
        assert "fork" in str(error)  # noqa: PT017 - this is no test
    else:
        say("the lease of the master lives in a worker", number=number)
    trio.run(work, master.cell, master.name, number)


def main() -> None:
    master = Master(*sys.argv[1:])
    workers = []
    for number in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            worker(master, number)
            sys.exit(3)  # by way of everything that runs at the end of an interpreter
        workers.append(pid)
    found = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    process = multiprocessing.get_context("fork").Process(target=worker, args=[master, WORKERS])
    process.start()
    process.join()
    say("workers ended", statuses=[*found, process.exitcode])
    sys.stdin.readline()
    master.end()


if __name__ == "__main__":
    main()
