"""Measure acquisition and release on this machine, and print one Markdown table.

    python benchmarks/latency.py [--quick]

One client acquires and releases one name, again and again, in a cell of three node processes on loopback,
durability ``record``. Beside it stands the floor: the same request to all three nodes and the wait for two
answers, over the same transport, codec and seal, without a lock. An acquisition is one such round trip and
a release is another, so a ratio near 2 would be perfect. Runs are interleaved; the table shows medians of
runs.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import trio

import paxlock
from paxlock.core.messages import Hello, Poll, View
from paxlock.opening import keyring_of
from paxlock.wire.endpoint import Endpoint, SessionSender
from paxlock.wire.transport import UdpTransport, split_address

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
QUORUM = 2
NAME = "benchmark"
ANSWER_WAIT_S = 5.0
CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Effort:
    """How much is measured."""

    runs: int
    pairs: int  #: of acquisition and release, in each run; as many round trips of the floor
    starts: int
    seeds: int


FULL = Effort(runs=5, pairs=1000, starts=5, seeds=200)
QUICK = Effort(runs=3, pairs=150, starts=1, seeds=20)


@attrs.frozen
class Run:
    """One run: seconds each, and CPU seconds for a pair."""

    floor: list[float]
    acquire: list[float]
    pair: list[float]
    client_cpu: float
    nodes_cpu: float


@contextmanager
def started(*commands: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes of ours, ended by TERM."""
    with ExitStack() as stack:
        processes = []
        for command in commands:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            processes.append(stack.enter_context(process))
            stack.callback(process.send_signal, signal.SIGTERM)
        yield processes


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


class Floor:
    """A bare quorum round trip: ask every node what a name is, wait for two answers."""

    def __init__(self, cell: paxlock.Cell) -> None:
        addresses = {member.node_id: [split_address(member.address)] for member in cell.members}
        self._nodes = cell.node_ids
        self._endpoint = Endpoint(
            SessionSender(secrets.token_bytes(16)),
            keyring_of(cell.keys),
            cell_id=cell.cell_id,
            epoch=cell.epoch,
            members=addresses,
        )
        self._transport = UdpTransport.bind("127.0.0.1", 0)
        self._request = 0

    async def prove_address(self) -> None:
        """Exchange cookies with every node, so that no request is challenged later."""
        for node in self._nodes:
            self._endpoint.queue(node, Hello(1))
        self._flush()
        await self._answers(lambda _: True, len(self._nodes))

    async def round_trip(self) -> None:
        self._request += 1
        request = self._request
        for node in self._nodes:
            self._endpoint.queue(node, Poll(request, NAME))
        self._flush()
        await self._answers(lambda m: isinstance(m, View) and m.request == request, QUORUM)

    def close(self) -> None:
        self._transport.close()

    def _flush(self) -> None:
        for datagram, address in self._endpoint.flush():
            self._transport.send_nowait(datagram, address)

    async def _answers(self, wanted: Callable[[object], bool], count: int) -> None:
        heard: set[object] = set()
        with trio.fail_after(ANSWER_WAIT_S):
            while len(heard) < count:
                found = self._transport.receive_nowait()
                if found is None:
                    await self._transport.wait_readable()
                    continue
                received = self._endpoint.receive_untrusted(*found)
                if received is not None and any(map(wanted, received.messages)):
                    heard.add(received.peer)


async def measure(cell: paxlock.Cell, nodes: list[int], effort: Effort) -> list[Run]:
    """The floor and the pairs, in turns."""
    runs = []
    floor = Floor(cell)
    async with paxlock.open_client(cell) as client:
        async with client.lock(NAME):
            pass  # from here on every node serves and knows this client
        await floor.prove_address()
        for _ in range(effort.runs):
            echoes = []
            for _ in range(effort.pairs):
                begin = time.perf_counter()
                await floor.round_trip()
                echoes.append(time.perf_counter() - begin)
            before = [cpu_of(node) for node in nodes]
            client_before = time.process_time()
            acquisitions, pairs = [], []
            for _ in range(effort.pairs):
                begin = time.perf_counter()
                held = await client.acquire(NAME)
                middle = time.perf_counter()
                await held.release()
                acquisitions.append(middle - begin)
                pairs.append(time.perf_counter() - begin)
            client_cpu = (time.process_time() - client_before) / effort.pairs
            nodes_cpu = sum(cpu_of(n) for n in nodes) - sum(before)
            runs.append(Run(echoes, acquisitions, pairs, client_cpu, nodes_cpu / effort.pairs))
    floor.close()
    return runs


def in_three_processes(effort: Effort) -> list[Run]:
    """Start three nodes, measure, stop them."""
    with tempfile.TemporaryDirectory(prefix="paxlock-") as folder:
        cell = paxlock.Cell.new(dict(zip("abc", free_addresses(3), strict=True)))
        cell_file = Path(folder) / "cell.toml"
        cell.save(cell_file)
        serve = [PYTHON, "-m", "paxlock", "-q", "serve", "--cell", str(cell_file), "--create"]
        commands = [[*serve, "--node", n, "--data-dir", f"{folder}/{n}"] for n in cell.node_ids]
        with started(*commands) as processes:
            return trio.run(measure, cell, [process.pid for process in processes], effort)


def dev_to_first_lock() -> float:
    """Seconds from the start of ``paxlock dev`` until a lock is held."""

    async def lock(path: str) -> None:
        async with paxlock.open_client(path) as client, client.lock(NAME):
            pass

    begin = time.perf_counter()
    with started([PYTHON, "-m", "paxlock", "-q", "dev"]) as (process,):
        assert process.stdout is not None
        path = process.stdout.readline().strip().removeprefix("export PAXLOCK_CELL=")
        trio.run(lock, path)
        return time.perf_counter() - begin


def seeds_per_second(seeds: int) -> float:
    """How fast the simulator replays runs."""
    begin = time.perf_counter()
    command = [PYTHON, "-m", "paxlock.testing", "--seeds", f"0-{seeds - 1}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the simulation failed:\n{done.stdout}{done.stderr}")
    told = re.search(r"([0-9.]+) seeds/s", done.stdout)
    return float(told[1]) if told else seeds / (time.perf_counter() - begin)


def lines_of_code() -> Mapping[str, int]:
    """Lines that are neither empty nor a comment alone."""
    package = ROOT / "src" / "paxlock"
    core, testing = (set((package / part).rglob("*.py")) for part in ("core", "testing"))
    parts = {
        "core": core,
        "shell": set(package.rglob("*.py")) - core - testing,
        "simulator": testing,
        "tests": set((ROOT / "tests").rglob("*.py")),
    }
    return {part: sum(map(count_lines, paths)) for part, paths in parts.items()}


def count_lines(path: Path) -> int:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


def over_runs(runs: list[Run], figure: Callable[[Run], float]) -> float:
    """The median over the runs."""
    return statistics.median(map(figure, runs))


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def table(runs: list[Run], first_lock: float, seeds: float, lines: Mapping[str, int]) -> str:
    """The Markdown table."""

    def both(part: Callable[[Run], list[float]]) -> str:
        return " / ".join(
            f"{over_runs(runs, lambda run, p=percent: percentile(part(run), p)) * 1e6:.0f} us"  # type: ignore[misc]
            for percent in (50, 99)
        )

    def ratio(part: Callable[[Run], list[float]]) -> str:
        return f"{over_runs(runs, lambda r: percentile(part(r), 50) / percentile(r.floor, 50)):.1f}"

    rows = [
        ("quorum round trip, the floor: p50 / p99", both(lambda run: run.floor)),
        ("acquire: p50 / p99", both(lambda run: run.acquire)),
        ("acquire and release: p50 / p99", both(lambda run: run.pair)),
        ("acquire : floor, p50", ratio(lambda run: run.acquire)),
        ("acquire and release : floor, p50", ratio(lambda run: run.pair)),
        ("CPU of the client for a pair", f"{over_runs(runs, lambda run: run.client_cpu) * 1e6:.0f} us"),
        ("CPU of the three nodes for a pair", f"{over_runs(runs, lambda run: run.nodes_cpu) * 1e6:.0f} us"),
        ("`paxlock dev` to the first lock", f"{first_lock * 1e3:.0f} ms"),
        ("simulated runs (seeds) per second", f"{seeds:.0f}"),
        ("lines of code: " + ", ".join(lines), ", ".join(map(str, lines.values()))),
    ]
    where = f"Python {platform.python_version()}, {os.cpu_count()} CPUs"
    head = [f"| {where}, {len(runs)} runs of {len(runs[0].pair)} pairs | median |", "| --- | --- |"]
    return "\n".join([*head, *(f"| {what} | {figure} |" for what, figure in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure acquisition and release on this machine.")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a check")
    effort = QUICK if parser.parse_args().quick else FULL
    runs = in_three_processes(effort)
    first_lock = statistics.median(dev_to_first_lock() for _ in range(effort.starts))
    print(table(runs, first_lock, seeds_per_second(effort.seeds), lines_of_code()))


if __name__ == "__main__":
    main()
