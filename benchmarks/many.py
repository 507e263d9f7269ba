"""Acquire and release very many names at once from one client, at three real nodes; print a Markdown table.

    python -m benchmarks.many [--names N ...] [--data BYTES] [--ttl SECONDS]

Of each number of names: pairs of acquisition and release a second when all are asked for at once, and when at
most 100 are, in turns so that a slow moment of the machine hits both. Names are free and never used before.
"""

from __future__ import annotations

import argparse
import statistics
import time
from itertools import count

import attrs
import trio

import paxlock
from benchmarks.holding import node_processes

AT_A_TIME = 100
PATIENCE_S = 300.0
_ROUNDS = count()


@attrs.frozen
class Found:
    """What became of names that were asked for."""

    acquired: int
    failed: int
    acquire_s: float  #: until the last one was acquired, or failed
    release_s: float  #: until the last one of them was released

    @property
    def pairs_per_s(self) -> float:
        return self.acquired / (self.acquire_s + self.release_s)


async def in_crowd(client: paxlock.Client, names: int, at_once: int, ttl: float, data: bytes) -> Found:
    """Acquire so many names, so many of them at a time; then release them in the same way."""
    prefix = f"many-{next(_ROUNDS)}-"
    leases: list[paxlock.HeldLease] = []
    failed = 0

    async def take(part: range) -> None:
        nonlocal failed
        for number in part:
            try:
                leases.append(await client.acquire(f"{prefix}{number}", ttl=ttl, data=data))
            except paxlock.NotAcquired:
                failed += 1

    async def let_go(part: range) -> None:
        for number in part:
            await leases[number].release()

    took = []
    for work in (take, let_go):
        size = names if work is take else len(leases)
        begin = time.perf_counter()
        with trio.move_on_after(PATIENCE_S):
            async with trio.open_nursery() as nursery:
                for first in range(min(at_once, size)):
                    nursery.start_soon(work, range(first, size, at_once))
        took.append(time.perf_counter() - begin)
    return Found(len(leases), names - len(leases), took[0], took[1])


async def measure(cell: paxlock.Cell, sizes: list[int], ttl: float, data: bytes, runs: int) -> None:
    async with paxlock.open_client(cell) as client:
        await in_crowd(client, 1000, AT_A_TIME, ttl, data)  # warm
        print("| names | 100 at a time | all at once | share | acquired | acquire, release |")
        print("| --- | --- | --- | --- | --- | --- |", flush=True)
        for size in sizes:
            few, all_at_once = [], []
            for _ in range(runs):
                few.append(await in_crowd(client, size, AT_A_TIME, ttl, data))
                all_at_once.append(await in_crowd(client, size, size, ttl, data))
            base = statistics.median(one.pairs_per_s for one in few)
            rate = statistics.median(one.pairs_per_s for one in all_at_once)
            last = all_at_once[-1]
            print(
                f"| {size:,} | {base:,.0f} pairs/s | {rate:,.0f} pairs/s | {rate / base:.2f} "
                f"| {last.acquired:,} | {last.acquire_s:.1f}, {last.release_s:.1f} s |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", type=int, nargs="+", default=[5_000, 50_000])
    parser.add_argument("--data", type=int, default=0, help="bytes of data in each lease")
    parser.add_argument("--ttl", type=float, default=30.0)
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    with node_processes() as (cell, _):
        trio.run(measure, cell, arguments.names, arguments.ttl, bytes(arguments.data), arguments.runs)


if __name__ == "__main__":
    main()
