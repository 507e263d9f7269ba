"""An asyncio worker of which many copies are started, and one works.

    PAXLOCK_CELL=cell.toml python examples/asyncio_worker.py      # in two terminals

Kill the one that works: the other takes over within a ttl, with a higher term. End it with SIGTERM or Ctrl-C:
the other takes over at once.
"""

import asyncio
import itertools
import os
import signal

import paxlock.aio

TTL = 2.0  # seconds: how long the lease of a copy that was killed stands in the way


async def work(held: paxlock.aio.HeldLease) -> None:
    """What one copy does; cancelled when the lease is lost. ``held.term`` goes along with every write."""
    print(f"{os.getpid()} works with term {held.term}", flush=True)
    for _ in itertools.count():
        await asyncio.sleep(0.1)  # a piece of work


async def main() -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    # Cancelled, the blocks unwind: the lease is released after the work has ended.
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    async with paxlock.aio.open_client(os.environ["PAXLOCK_CELL"]) as client:
        try:
            await client.lead("worker", work, ttl=TTL)  # waits, works, and waits again after each loss
        except asyncio.CancelledError:
            print(f"{os.getpid()} stops", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
