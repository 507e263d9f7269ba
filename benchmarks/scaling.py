"""Measure whether cost stays flat as names, leases, waiters and sessions grow, and print Markdown tables.

    python -m benchmarks.scaling [--quick] [--processes]

The machines alone, three replicas and their sessions, are wired together in memory: no sockets, no seals, a
clock that is only a number. What is shown is CPU time of this process, client and three nodes together,
medians of runs. Renewals travel in sealed datagrams. Memory is what one replica keeps after it has decoded
the messages that a node would get. With ``--processes`` three real nodes hold leases too, and tell their CPU
time and memory.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

import attrs

from benchmarks.holding import in_processes
from benchmarks.in_memory import STEP_S, TTL_S, SealedWorld, World, known_names, replica, session_id
from paxlock.cli.gc_pauses import short_pauses
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Accept, List, Names, Watch
from paxlock.core.node.replica import Replica
from paxlock.wire.codec import decode_untrusted, encode, join


@attrs.frozen
class Effort:
    """How much is measured."""

    runs: int
    pairs: int  #: of acquisition and release, in each run
    names: tuple[int, ...]
    leases: tuple[int, ...]
    waiters: tuple[int, ...]
    sessions: tuple[int, ...]
    held: int  #: leases, for memory and the cost of renewals
    listed: int
    collected: int  #: names that a node knows while the collector is watched
    real: tuple[int, ...]  #: leases that a real cell holds
    seconds: float  #: how long


FULL = Effort(
    runs=5,
    pairs=1000,
    names=(1, 1_000, 100_000),
    leases=(1, 100, 1_000, 10_000),
    waiters=(1, 10, 100, 1_000),
    sessions=(1, 10, 100, 1_000),
    held=10_000,
    listed=100_000,
    collected=100_000,
    real=(1_000, 10_000),
    seconds=30.0,
)
QUICK = Effort(
    runs=3,
    pairs=200,
    names=(1, 10_000),
    leases=(1, 1_000),
    waiters=(1, 100),
    sessions=(1, 100),
    held=1_000,
    listed=10_000,
    collected=10_000,
    real=(100,),
    seconds=10.0,
)


# Cost of a pair


def cpu_of_each(work: Callable[[], object], times: int) -> float:
    """CPU microseconds of each."""
    gc.collect()
    begin = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begin) / times * 1e6


def medians(worlds: Mapping[int, Callable[[], object]], effort: Effort) -> dict[int, float]:
    """Microseconds for each size, the sizes in turns so that a slow moment of the machine hits all."""
    figures: dict[int, list[float]] = {size: [] for size in worlds}
    for work in worlds.values():
        cpu_of_each(work, effort.pairs)  # warm
    for _ in range(effort.runs):
        for size, work in worlds.items():
            figures[size].append(cpu_of_each(work, effort.pairs))
    return {size: statistics.median(found) for size, found in figures.items()}


def with_names(count: int) -> Callable[[], object]:
    """Pairs of names out of the middle of so many that are known."""
    world = World(known_names(count - 1))
    client = world.join(1)
    numbers = iter(range(1 << 30))
    fresh = max(1, count // 100)
    return lambda: world.pair(client, f"name-{count // 2:06d}-{next(numbers) % fresh}")


def with_leases(count: int) -> Callable[[], object]:
    """Pairs of a client that holds so many leases already."""
    world = World()
    client = world.join(1)
    for number in range(count):
        world.acquire(client, f"held-{number:06d}")
    world.granted.clear()
    return lambda: world.pair(client, "wanted")


def with_waiters(count: int) -> Callable[[], object]:
    """Hand-offs of one name among so many sessions, each of which wants it again at once."""
    world = World()
    for number in range(1, count + 2):
        world.acquire(world.join(number), "wanted")
        world.now += STEP_S

    def hand_off() -> None:
        found, granted = world.granted.popleft()
        holder = world.sessions[found]
        world.release(holder, granted.ticket)
        world.acquire(holder, "wanted")
        world.now += STEP_S

    return hand_off


def with_local_waiters(count: int) -> Callable[[], object]:
    """Hand-offs of one name among so many wishes of one session."""
    world = World()
    client = world.join(1)
    for _ in range(count + 1):
        world.acquire(client, "wanted")

    def hand_off() -> None:
        _, granted = world.granted.popleft()
        world.release(client, granted.ticket)
        world.acquire(client, "wanted")
        world.now += STEP_S

    return hand_off


def with_sessions(count: int) -> Callable[[], object]:
    """Pairs of so many sessions in turns, each of its own name."""
    world = World()
    clients = deque(world.join(number) for number in range(1, count + 1))

    def pair() -> None:
        clients.rotate()
        world.pair(clients[0], f"of-{clients[0].session.hex()}")

    return pair


# Refreshes, renewals, lists

REFRESHES_S = 20  #: who is far back in line asks every 10 s


def refresh(count: int) -> tuple[float, float]:
    """CPU milliseconds that so many waiters of one name cost in a second, all nodes and clients together,
    and how many messages.
    """
    world = World()
    for number in range(1, count + 2):
        world.acquire(world.join(number), "wanted")
    world.run(REFRESHES_S)
    before = sum(sum(r.counters.values()) for r in world.replicas.values())
    cpu = cpu_of_each(lambda: world.run(1.0), REFRESHES_S)
    after = sum(sum(r.counters.values()) for r in world.replicas.values())
    return cpu / 1e3, (after - before) / REFRESHES_S


@attrs.frozen
class Renewals:
    """What holding leases costs: cores, and the longest turn of a node in milliseconds."""

    nodes: float
    client: float
    longest_ms: float
    datagrams: float


def renewals(count: int) -> Renewals:
    """A client holds so many leases for a while."""
    world = SealedWorld()
    client = world.join(1)
    for number in range(count):
        world.acquire(client, f"held-{number:06d}")
        world.run(5.0 / count)
    world.run(2 * TTL_S)
    world.forget_figures()
    gc.collect()
    gc.freeze()
    seconds = 3 * TTL_S
    world.run(seconds)
    gc.unfreeze()
    assert client.statistics().leases == count
    return Renewals(
        world.used["nodes"] / seconds,
        world.used["client"] / seconds,
        world.longest["nodes"] * 1e3,
        world.datagrams / seconds,
    )


def listing(count: int) -> tuple[float, float, float]:
    """(milliseconds for the whole list of so many names at one node, for its longest page, for the longest
    turn of a new watch of all of them)
    """
    node = replica("a", known_names(count))
    node.take_effects()
    me = session_id(1)
    after, found, longest = "", 0, 0.0
    begin = time.thread_time()
    while True:
        asked = time.thread_time()
        node.receive(List(1, "name-", after, 1), me, 1.0)
        longest = max(longest, time.thread_time() - asked)
        answer = next(m for _, m in node.take_effects().sends if isinstance(m, Names))
        found += len(answer.names)
        if not answer.more:
            break
        after = max(answer.names)
    whole = time.thread_time() - begin
    assert found == count
    begin = time.thread_time()
    node.receive(Watch(1, 1, "name-", True, 3000), me, 1.0)
    return whole * 1e3, longest * 1e3, (time.thread_time() - begin) * 1e3


def listing_idle(count: int) -> tuple[int, float]:
    """A page asked for where nothing is in use among so many names: (turns, CPU milliseconds of the
    longest).
    """
    node = replica("a", known_names(count, left_ms=1))
    node.tick(1.0)
    node.take_effects()
    me = session_id(1)
    begin = time.thread_time()
    node.receive(List(1, "name-", "", 1), me, 1.0)
    longest, turns, now = time.thread_time() - begin, 1, 1.0
    while not any(isinstance(m, Names) for _, m in node.take_effects().sends):
        now = max(now, node.deadline())
        begin = time.thread_time()
        node.tick(now)
        longest, turns = max(longest, time.thread_time() - begin), turns + 1
    return turns, longest * 1e3


def expiry(count: int) -> float:
    """CPU milliseconds of the longest turn, where so many leases run out at one moment."""
    node = replica("a", known_names(count, left_ms=5_000))
    node.take_effects()
    return pass_time(node, 10.0)[0]


# Time of the collector, sweeps, memory


def sweep(count: int) -> tuple[float, float, int]:
    """(CPU milliseconds of the longest turn, of all turns, names that are left) after so many names were used
    once and then left alone.
    """
    world = World()
    client = world.join(1)
    for number in range(count):
        world.pair(client, f"once-{number:06d}")
    node = world.replicas["a"]
    gc.collect()
    with short_pauses():
        longest, whole = pass_time(node, world.now + 150.0)
    return longest, whole, node.statistics().names


def collector_pause(count: int, keep: Callable[[], AbstractContextManager[None]]) -> float:
    """The longest pause of the garbage collector, in milliseconds, while names come to a node that knows so
    many already.
    """
    me = session_id(1)
    pauses = [0.0]
    began = 0.0

    def watch(phase: str, _: object) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        else:
            pauses.append(time.thread_time() - began)

    gc.collect()
    with keep():
        node = replica("a", known_names(count))
        gc.callbacks.append(watch)
        try:
            for number in range(count // 2):
                lease = Lease(Candidate(me, number + 1), int(TTL_S * 1000), "", b"")
                accept = join([encode(Accept(1, f"new-{number}", 2, lease, 1, 0))])
                node.receive(decode_untrusted(accept)[0], me, 1.0)
                node.take_effects()
        finally:
            gc.callbacks.remove(watch)
    return max(pauses) * 1e3


@attrs.frozen
class Memory:
    """Bytes that one node keeps: per held lease, per name that was released just now, and per name long
    after it was last used.
    """

    held: float
    released: float
    forgotten: float


def memory(count: int) -> Memory:
    """What a node keeps of the messages that came to it while the leases were held for over a minute."""
    world = World()
    client = world.join(1)
    world.recorded = []
    tickets = []
    for number in range(count):
        tickets.append(world.acquire(client, f"held-{number:06d}"))
        world.run(5.0 / count)
    world.run(70.0)
    acquired, world.recorded = world.recorded, []
    for ticket in tickets:
        world.release(client, ticket)
    released = world.recorded
    node = replica("a")
    gc.collect()
    tracemalloc.start()
    figures = []
    try:
        before = tracemalloc.get_traced_memory()[0]
        for messages in (acquired, released):
            for now, sender, encoded in messages:
                node.tick(now)
                for message in decode_untrusted(join([encoded])):
                    node.receive(message, sender, now)
                    node.take_effects()
            gc.collect()
            figures.append((tracemalloc.get_traced_memory()[0] - before) / count)
        pass_time(node, world.now + 200.0)
        gc.collect()
        figures.append((tracemalloc.get_traced_memory()[0] - before) / count)
    finally:
        tracemalloc.stop()
    assert node.statistics().names == 0
    return Memory(*figures)


def pass_time(node: Replica, until: float) -> tuple[float, float]:
    """Let a node do alone what comes due: CPU milliseconds of the longest turn, and of all."""
    longest = whole = 0.0
    while (now := node.deadline()) <= until:
        begin = time.thread_time()
        node.tick(now)
        node.take_effects()
        took = time.thread_time() - begin
        longest, whole = max(longest, took), whole + took
    return longest * 1e3, whole * 1e3


# Tables


def table(title: str, head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
    return "\n".join([f"{title}\n", *lines, ""])


def pair_tables(effort: Effort) -> Iterator[str]:
    sweeps: tuple[tuple[str, Callable[[int], Callable[[], object]], tuple[int, ...]], ...] = (
        ("names known to the nodes", with_names, effort.names),
        ("leases held by the client", with_leases, effort.leases),
        ("sessions that wait for the name", with_waiters, effort.waiters),
        ("wishes of one session for the name", with_local_waiters, effort.waiters),
        ("sessions, each with a name of its own", with_sessions, effort.sessions),
    )
    rows: list[tuple[object, ...]] = []
    for what, of, sizes in sweeps:
        found = medians({size: of(size) for size in sizes}, effort)
        figures = ", ".join(f"{size:,}: {us:.0f}" for size, us in found.items())
        rows.append((what, figures, f"{found[sizes[-1]] / found[sizes[0]]:.2f}"))
    yield table(
        "CPU of an acquisition and a release, client and three nodes together, in us",
        ("how many", "us each", "most : fewest"),
        rows,
    )
    yield table(
        "Waiting in line: refreshes of all who wait for one name, in a second",
        ("waiters", "CPU ms, nodes and clients", "messages to the nodes"),
        [(count, f"{ms:.1f}", f"{sent:.0f}") for count in effort.waiters for ms, sent in [refresh(count)]],
    )


def holding_tables(effort: Effort) -> Iterator[str]:
    yield table(
        f"Holding leases of {TTL_S:g} s, sealed datagrams without sockets",
        ("leases", "cores, three nodes", "cores, client", "longest turn of a node, ms", "datagrams/s"),
        [
            (f"{n:,}", f"{r.nodes:.4f}", f"{r.client:.4f}", f"{r.longest_ms:.1f}", f"{r.datagrams:.0f}")
            for n in effort.leases
            for r in [renewals(n)]
        ],
    )
    kept = memory(effort.held)
    yield table(
        f"Memory of a node, {effort.held:,} names",
        ("what", "bytes each"),
        [
            ("held lease", f"{kept.held:.0f}"),
            ("name released just now", f"{kept.released:.0f}"),
            ("name long after its use", f"{kept.forgotten:.0f}"),
        ],
    )


def background_table(effort: Effort) -> str:
    whole, page, watch = listing(effort.listed)
    idle_steps, idle_longest = listing_idle(effort.listed)
    longest, swept, left = sweep(effort.listed // 5)
    storm = expiry(effort.held)
    free, careful = (collector_pause(effort.collected, keep) for keep in (nullcontext, short_pauses))
    return table(
        "Work of one node that is not asked for by one name",
        ("what", "CPU ms"),
        [
            (f"list of {effort.listed:,} names, all pages", f"{whole:.1f}"),
            ("its longest page", f"{page:.2f}"),
            (f"list past {effort.listed:,} idle names, longest of {idle_steps} turns", f"{idle_longest:.2f}"),
            ("first turn of a watch of them all", f"{watch:.2f}"),
            (f"{effort.listed // 5:,} idle names forgotten ({left} left), longest turn", f"{longest:.2f}"),
            ("the same, all turns", f"{swept:.0f}"),
            (f"{effort.held:,} leases that run out at one moment, longest turn", f"{storm:.1f}"),
            (f"longest pause of the collector, {effort.collected:,} names known", f"{free:.1f}"),
            ("the same as `paxlock serve` runs", f"{careful:.1f}"),
        ],
    )


def reality_table(effort: Effort) -> str:
    found = [in_processes(count, effort.seconds) for count in effort.real]
    return table(
        f"Three node processes, leases of {TTL_S:g} s held for {effort.seconds:g} s",
        ("leases", "cores, three nodes", "cores, client", "bytes per lease and node (PSS)"),
        [
            (f"{r.leases:,}", f"{r.nodes_cpu:.4f}", f"{r.client_cpu:.4f}", f"{r.node_bytes:.0f}")
            for r in found
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure whether cost stays flat as a cell fills up.")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a check")
    parser.add_argument("--processes", action="store_true", help="also hold leases in real nodes")
    options = parser.parse_args()
    effort = QUICK if options.quick else FULL
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {effort.runs} runs\n")
    for part in pair_tables(effort):
        print(part, flush=True)
    for part in holding_tables(effort):
        print(part, flush=True)
    print(background_table(effort), flush=True)
    if options.processes:
        print(reality_table(effort))


if __name__ == "__main__":
    main()
