"""``python -m benchmarks.kept``: what a pair of acquire and release costs by what the nodes keep of it.

``memory`` keeps nothing, ``record`` (the default) writes each turn's changes to the state file before it
answers, ``sync`` has them on the disk too. All three run in turn, several times, on the same machine.
"""

from __future__ import annotations

import argparse
import statistics
import time

import attrs
import trio

import paxlock
from benchmarks.holding import cpu_of, node_processes

MODES = ("memory", "record", "sync")
WARM_UP_S = 0.5
MAX_TTL_S = 1.0  #: a node without a memory sits out so long at its start


@attrs.frozen
class Cost:
    """Of one pair: CPU time of all nodes together and of the client, in microseconds; pairs in a second."""

    nodes_us: float
    client_us: float
    per_s: float


async def play(cell: paxlock.Cell, nodes: list[int], workers: int, seconds: float) -> Cost:
    """So many workers, each with a name of its own, acquire and release."""
    done = 0
    async with paxlock.open_client(cell) as client:

        async def work(number: int, end: float) -> None:
            nonlocal done
            while time.monotonic() < end:
                async with client.lock(f"worker-{number}", ttl=MAX_TTL_S):
                    pass
                done += 1

        async def all_of_them(length: float) -> None:
            end = time.monotonic() + length
            async with trio.open_nursery() as nursery:
                for number in range(workers):
                    nursery.start_soon(work, number, end)

        await all_of_them(WARM_UP_S)
        before, mine, done = sum(map(cpu_of, nodes)), time.process_time(), 0
        begin = time.perf_counter()
        await all_of_them(seconds)
        took = time.perf_counter() - begin
        cpu = sum(map(cpu_of, nodes)) - before
        return Cost(cpu / done * 1e6, (time.process_time() - mine) / done * 1e6, done / took)


def median(costs: list[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(*(statistics.median(figures) for figures in zip(*map(attrs.astuple, costs), strict=True)))


def main() -> None:
    """Run, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kept", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each mode in each round")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--modes", default=",".join(MODES))
    options = parser.parse_args()
    modes = options.modes.split(",")
    costs: dict[str, list[Cost]] = {mode: [] for mode in modes}
    for _ in range(options.rounds):
        for mode in modes:
            with node_processes(mode, MAX_TTL_S) as (cell, nodes):
                costs[mode].append(trio.run(play, cell, nodes, options.workers, options.seconds))
    least = median(costs[modes[0]])
    print(f"{options.workers} workers, medians of {options.rounds} rounds")
    print(f"{'':10}{'nodes, us':>12}{'client, us':>12}{'together':>10}{'pairs/s':>10}")
    for mode in modes:
        found = median(costs[mode])
        together = (found.nodes_us + found.client_us) / (least.nodes_us + least.client_us)
        line = f"{mode:10}{found.nodes_us:12.0f}{found.client_us:12.0f}{together:9.2f}x{found.per_s:10.0f}"
        print(line)


if __name__ == "__main__":
    main()
