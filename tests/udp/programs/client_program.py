"""A client as a process: ``client_program.py CELLFILE LABEL``; told what to do by JSON lines on stdin.

Prints one JSON object a line; ``at`` and ``deadline`` are seconds of the boot-time clock, which all processes
of a machine share.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import trio
from hosts import use_hosts

from paxlock import Change, Client, LeaseLost, NotAcquired, open_client


def say(event: str, **facts: object) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


class Told:
    """Carries out what it is told."""

    def __init__(self, client: Client, nursery: trio.Nursery) -> None:
        self.client = client
        self.nursery = nursery
        self.leaving: dict[str, trio.Event] = {}

    async def lock(self, name: str, ttl: float, wait: float | None = None) -> None:
        """Hold the name until told to leave, or until it is lost."""
        client = self.client
        self.leaving[name] = trio.Event()
        held = None
        try:
            async with client.lock(name, ttl=ttl, wait=wait) as held:
                # Said first, so that no extension is told before the acquisition.
                say("acquired", name=name, term=held.term, at=client.now(), deadline=held.deadline)
                held.on_extended(lambda deadline: say("extended", name=name, deadline=deadline))
                await self.leaving[name].wait()
        except NotAcquired as error:
            say("not acquired", name=name, reason=error.reason.name, at=client.now())
        except LeaseLost as error:
            assert held is not None
            try:
                held.check()
                checked = "nothing"
            except LeaseLost:
                checked = "LeaseLost"
            say("lost", name=name, term=error.term, reason=error.reason.name, at=client.now(), check=checked)
        else:
            say("left", name=name, at=client.now())

    async def leave(self, name: str) -> None:
        self.leaving[name].set()

    async def traffic(self, name: str, count: int, ttl: float) -> None:
        """Acquire and release over and over; tell of each."""
        client = self.client
        longest = 0.0
        for number in range(count):
            began = client.now()
            async with client.lock(f"{name}/{number % 5}", ttl=ttl) as held:
                held.check()
            longest = max(longest, client.now() - began)
            say("turn", number=number, term=held.term)
        say("traffic done", longest=longest)

    async def watch(self, name: str) -> None:
        async def tell(change: Change) -> None:
            say("change", state=change.state.name, term=change.term, label=change.label, name=change.name)

        await self.nursery.start(self.client.watch_forever, name, tell)
        say("watching")

    async def poll(self, name: str) -> None:
        standing = await self.client.poll(name)
        say("polled", state=standing.state.name, term=standing.term, remaining=standing.remaining)


async def main(cell: str, label: str) -> None:
    use_hosts()
    async with (
        open_client(cell, label=label) as client,
        trio.open_nursery() as nursery,
        trio.lowlevel.FdStream(0) as stdin,
    ):
        told = Told(client, nursery)
        say("open", at=client.now())
        rest = b""
        async for chunk in stdin:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                order: dict[str, Any] = json.loads(line)
                nursery.start_soon(partial(getattr(told, order.pop("do")), **order))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(partial(main, *sys.argv[1:]))
