"""Callers that do not wait, as a process: ``try_program.py CELLFILE``; told what to do by lines on stdin.

``{"do": "try", "name": ..., "labels": [...], "at": T, "fresh": true}``: one caller for each label tries at
boot time T, with a client of its own that was opened for it, or all with the one of this process. Prints what
each was told. Who wins holds the name until ``{"do": "leave"}``, which is answered once all have let go.
"""

from __future__ import annotations

import json
import sys
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import trio
from hosts import use_hosts

from paxlock import Client, HeldLease, NotAcquired, open_client


def say(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


class Callers:
    """Carries out what it is told."""

    def __init__(self, cell: str, usual: Client) -> None:
        self.cell = cell
        self.usual = usual
        self.held: list[HeldLease] = []
        self.leave = trio.Event()

    async def attempt(self, client: Client, name: str, label: str) -> None:
        try:
            held = await client.acquire(name, wait=0, label=label)
        except NotAcquired as error:
            facts = {"reason": error.reason.name, "holder": error.holder, "sentence": str(error)}
            say("not acquired", label=label, at=client.now(), **facts)
        else:
            self.held.append(held)
            say("acquired", label=label, at=client.now(), term=held.term)

    async def round(self, name: str, labels: list[str], at: float, fresh: bool) -> None:
        async with AsyncExitStack() as stack:
            clients = [self.usual for _ in labels]
            if fresh:
                clients = [await stack.enter_async_context(open_client(self.cell)) for _ in labels]
            say("ready")
            await trio.sleep(max(0.0, at - self.usual.now()))
            async with trio.open_nursery() as nursery:
                for client, label in zip(clients, labels, strict=True):
                    nursery.start_soon(self.attempt, client, name, label)
            say("told")
            await self.leave.wait()
            for held in self.held:
                await held.release()
            self.held.clear()
        say("left")

    async def run(self, nursery: trio.Nursery) -> None:
        async with trio.lowlevel.FdStream(0) as stdin:
            rest = b""
            async for chunk in stdin:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    order: dict[str, Any] = json.loads(line)
                    if order.pop("do") == "leave":
                        self.leave.set()
                    else:
                        self.leave = trio.Event()
                        nursery.start_soon(partial(self.round, **order))
        nursery.cancel_scope.cancel()


async def main(cell: str) -> None:
    use_hosts()
    async with open_client(cell) as usual, trio.open_nursery() as nursery:
        say("open")
        await Callers(cell, usual).run(nursery)


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
