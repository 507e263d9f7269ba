"""H: a cold start. P: the project itself, in figures that concern no peer."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import trio

import paxlock
from benchmarks.bench import Bench, result_of
from benchmarks.figures import Figures, median, seconds
from benchmarks.peers.base import Peer
from benchmarks.processes import PYTHON, ROOT
from benchmarks.scenarios.base import Column, Scenario, Table


def measure_start(bench: Bench, peer: Peer) -> Figures:
    """The client is there before: what it imports is no part of the start."""
    with bench.fresh(peer, start=False) as cluster, bench.client(peer, cluster, "first") as client:
        client.wait_ready()
        begin = time.monotonic_ns()
        cluster.start()
        client.tell("go")
        acquired = result_of(client)["acquired"]
    return {"first_lock": seconds(acquired - begin)}


def measure_project(bench: Bench) -> Figures:
    effort = bench.effort
    lines = lines_of_code()
    return {
        "dev": median([dev_to_first_lock() for _ in range(effort.starts)]),
        "seeds": seeds_per_second(effort.seeds),
        **{f"lines_{part}": float(count) for part, count in lines.items()},
    }


def dev_to_first_lock() -> float:
    """Seconds from the start of ``paxlock dev`` until a lock is held."""

    async def lock(path: str) -> None:
        async with paxlock.open_client(path) as client, client.lock("first"):
            pass

    begin = time.perf_counter()
    command = [PYTHON, "-m", "paxlock", "-q", "dev"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            trio.run(lock, process.stdout.readline().strip().removeprefix("export PAXLOCK_CELL="))
            return time.perf_counter() - begin
        finally:
            process.terminate()


def seeds_per_second(seeds: int) -> float:
    """How fast the simulator replays runs."""
    begin = time.perf_counter()
    command = [PYTHON, "-m", "paxlock.simulator", "--seeds", f"0-{seeds - 1}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the simulation failed:\n{done.stdout}{done.stderr}")
    said = re.search(r"([0-9.]+) seeds/s", done.stdout)
    return float(said[1]) if said else seeds / (time.perf_counter() - begin)


def lines_of_code() -> Mapping[str, int]:
    """Lines that are neither empty nor a comment alone."""
    package = ROOT / "src" / "paxlock"
    core, simulator, testing = (
        set((package / part).rglob("*.py")) for part in ("core", "simulator", "testing")
    )
    parts = {
        "core": core,
        "shell": set(package.rglob("*.py")) - core - simulator - testing,
        "simulator": simulator,
        "tests": set((ROOT / "tests").rglob("*.py")),
    }
    return {part: sum(map(count_lines, paths)) for part, paths in parts.items()}


def count_lines(path: Path) -> int:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return sum(1 for line in lines if line and not line.startswith("#"))


STARTS = Scenario(
    "H",
    "Cold start",
    (
        Table(
            "From spawning the server processes to the first lock of a client that waits for them",
            (Column("first_lock", "first lock", "ms"),),
        ),
    ),
    measure_start,
)

PROJECT = Scenario(
    "P",
    "paxlock itself",
    (
        Table(
            "`paxlock dev`, the simulator, lines of code",
            (
                Column("dev", "`paxlock dev` to the first lock", "ms", compared=False),
                Column("seeds", "simulated runs/s", "count", compared=False),
                *(
                    Column(f"lines_{part}", f"lines of {part}", "count", compared=False)
                    for part in ("core", "shell", "simulator", "tests")
                ),
            ),
        ),
    ),
    None,
    (("paxlock", measure_project),),
)
