"""Three node processes and one client that holds leases there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import trio

import paxlock
from benchmarks.in_memory import MAX_TTL_S, NODES, TTL_S

AT_A_TIME = 20
CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Reality:
    """Three node processes and one client that holds leases."""

    leases: int
    lost: int
    nodes_cpu: float  #: cores, all three together
    client_cpu: float
    node_bytes: float  #: proportional set size of a node, per lease, above that of an idle one


def free_addresses(count: int) -> list[str]:
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", 0))
            found.append(f"127.0.0.1:{sock.getsockname()[1]}")
        return found


def cpu_of(process: int) -> float:
    """CPU seconds of another process: user and system."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S


def bytes_of(process: int) -> int:
    """The proportional set size of another process."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


async def hold(cell: paxlock.Cell, nodes: list[int], count: int, seconds: float) -> Reality:
    async with paxlock.open_client(cell) as client:
        async with client.lock("first"):
            pass  # from here on every node serves
        empty = sum(map(bytes_of, nodes))
        leases: list[paxlock.HeldLease] = []

        async def take(part: range) -> None:
            for number in part:
                leases.append(await client.acquire(f"held-{number:06d}", ttl=TTL_S))  # noqa: PERF401

        async with trio.open_nursery() as nursery:
            for number in range(AT_A_TIME):
                nursery.start_soon(take, range(number, count, AT_A_TIME))
        await trio.sleep(TTL_S)
        before, mine = sum(map(cpu_of, nodes)), time.process_time()
        begin = time.perf_counter()
        await trio.sleep(seconds)
        took = time.perf_counter() - begin
        return Reality(
            count,
            sum(lease.remaining() <= 0 for lease in leases),
            (sum(map(cpu_of, nodes)) - before) / took,
            (time.process_time() - mine) / took,
            (sum(map(bytes_of, nodes)) - empty) / len(nodes) / count,
        )


@contextmanager
def node_processes(
    durability: str = "record", max_ttl: float = MAX_TTL_S, program: Sequence[str] = ("-m", "paxlock")
) -> Iterator[tuple[paxlock.Cell, list[int]]]:
    """Three nodes of a new cell as processes: the cell, and their process ids. ``program``: what is run."""
    with tempfile.TemporaryDirectory(prefix="paxlock-") as folder, ExitStack() as stack:
        cell = paxlock.Cell.new(dict(zip(NODES, free_addresses(3), strict=True)), max_ttl=max_ttl)
        cell_file = Path(folder) / "cell.toml"
        cell.save(cell_file)
        serve = [sys.executable, *program, "-q", "serve", "--cell", str(cell_file)]
        serve += ["--durability", durability, "--log-level", "error"]
        processes = []
        for node in NODES:
            place = [] if durability == "memory" else ["--data-dir", f"{folder}/{node}", "--create"]
            process = subprocess.Popen([*serve, "--node", node, *place])
            processes.append(stack.enter_context(process))
            stack.callback(process.send_signal, signal.SIGTERM)
        yield cell, [process.pid for process in processes]


def in_processes(count: int, seconds: float) -> Reality:
    """Start three nodes, hold leases there, stop them."""
    with node_processes() as (cell, nodes):
        return trio.run(hold, cell, nodes, count, seconds)
