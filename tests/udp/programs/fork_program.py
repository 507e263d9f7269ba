"""A process that forks: ``fork_program.py CELLFILE NAME HOW [NODE DATADIR]``.

It opens a client of the cell, or with NODE that node and a client in it, holds the name, and forks. HOW
tells what the child does; it must say "child" and never harm its parent. Then the parent waits for the end of
its standard input, and leaves. Prints one JSON object a line.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio

from paxlock import Client, HeldLease, NodeConfig, open_client, open_node

TTL_S = 1.0
GOES_ON_S = 1.5 * TTL_S  #: longer than a lease that nobody renews
CHILD_S_MAX = 6.0 * TTL_S
EXIT_STATUS = 7
PARENT = os.getpid()


def say(event: str, **facts: object) -> None:
    line = json.dumps({"event": event, "process": os.getpid(), **facts}) + "\n"
    os.write(1, line.encode())


def refusal_of(call: Callable[[], object]) -> str:
    """What a synchronous call says of the fork, or its result."""
    try:
        found = call()
    except trio.ClosedResourceError as error:
        return "closed" if "fork" in str(error) else str(error)
    return repr(found)


async def goes_on(client: Client, held: HeldLease) -> None:
    """Stay in the loop: a loss of the body, refusals, and no renewal of anything."""
    try:
        await client.acquire(held.name)
    except trio.ClosedResourceError as error:
        said = "closed" if "fork" in str(error) else str(error)
    else:
        said = "acquired"
    say("child", acquire=said, valid=refusal_of(lambda: held.valid), statistics=refusal_of(client.statistics))
    with trio.CancelScope(shield=True):
        try:
            await trio.to_thread.run_sync(time.sleep, 0.01)  # the loop of the child still works
        finally:
            say("thread")
        await trio.sleep(GOES_ON_S)
    await trio.lowlevel.checkpoint()


async def child(how: str, client: Client, held: HeldLease) -> None:
    """What the child does before it leaves the block."""
    match how:
        case "_exit":
            say("child")
            os._exit(0)
        case "exit":
            say("child")
            sys.exit(EXIT_STATUS)
        case "raise":
            say("child")
            raise KeyError("of the child")
        case "return":
            say("child")
        case "go on":
            await goes_on(client, held)
        case "live on":
            say("child")
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        case _:
            raise AssertionError(how)


def fork(how: str) -> int:
    """Fork; where it is to pass by Python's hooks, in C."""
    if how.startswith("c "):
        return int(ctypes.PyDLL(None).fork())
    return os.fork()


@asynccontextmanager
async def opened(cell: str, node_id: str, data_dir: str) -> AsyncIterator[Client]:
    if not node_id:
        async with open_client(cell, label="parent") as client:
            yield client
        return
    async with open_node(NodeConfig(cell, node_id, data_dir), create=True, label="parent") as node:
        await node.wait_serving()
        say("serving")
        yield node


async def main(cell: str, name: str, how: str, node_id: str = "", data_dir: str = "") -> None:
    async with opened(cell, node_id, data_dir) as client, trio.open_nursery() as nursery:
        async with client.lock(name, ttl=TTL_S) as held:
            nursery.start_soon(waits, client, name)
            while not client.statistics().session.campaigns > 1:
                await trio.lowlevel.checkpoint()
            say("acquired", term=held.term)
            pid = fork(how)
            if pid == 0:
                nursery.cancel_scope.deadline = trio.current_time() + CHILD_S_MAX
                await child(how.removeprefix("c "), client, held)
                return
            say("forked", child=pid)
            held.on_extended(lambda deadline: say("extended", deadline=deadline))
            if how != "live on":
                _, status = await trio.to_thread.run_sync(os.waitpid, pid, 0)
                say("child ended", status=os.waitstatus_to_exitcode(status))
            async with trio.lowlevel.FdStream(0) as stdin:
                await stdin.receive_some()
            held.check()
            nursery.cancel_scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()
        say("left")


async def waits(client: Client, name: str) -> None:
    """Another task of this program waits in line for the same name."""
    try:
        async with client.lock(name, ttl=TTL_S):
            say("the other task holds")
    except trio.ClosedResourceError as error:
        say("the other task ends", error=str(error))


if __name__ == "__main__":
    try:
        trio.run(partial(main, *sys.argv[1:]))
    except* SystemExit:
        sys.exit(EXIT_STATUS)
    finally:
        if os.getpid() != PARENT:
            say("child unwound")
