"""A callback for every change of leadership.

    python examples/watch_callbacks.py [CELLFILE]

Without a cell file the script runs a cell of its own, in memory. Two candidates lead one after the other,
and the callback prints what it is told: free, led, free, led, free.
"""

import sys
from contextlib import AsyncExitStack

import trio

import paxlock


class Observer:
    """Prints each change, and lets the others wait until it has arrived."""

    def __init__(self) -> None:
        self.seen: list[paxlock.State] = []
        self._arrived = trio.Event()

    async def on_change(self, change: paxlock.Change) -> None:
        """Called in order, one change at a time. Changes replaced before their turn are skipped."""
        who = f" by {change.label}, term {change.term}" if change.state is paxlock.State.LED else ""
        print(f"{change.name} is {change.state.value}{who}")
        self.seen.append(change.state)
        self._arrived.set()

    async def wait_for(self, state: paxlock.State) -> None:
        while not self.seen or self.seen[-1] is not state:
            self._arrived = trio.Event()
            await self._arrived.wait()


async def main() -> None:
    async with AsyncExitStack() as stack:
        cell = sys.argv[1] if len(sys.argv) > 1 else await stack.enter_async_context(paxlock.open_dev_cell())
        client = await stack.enter_async_context(paxlock.open_client(cell))
        observer = Observer()
        nursery = await stack.enter_async_context(trio.open_nursery())
        await nursery.start(client.watch_forever, "primary", observer.on_change)
        await observer.wait_for(paxlock.State.FREE)
        for label in ("athens", "byzantium"):
            async with client.campaign("primary", ttl=5.0, label=label):
                await observer.wait_for(paxlock.State.LED)
            await observer.wait_for(paxlock.State.FREE)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
