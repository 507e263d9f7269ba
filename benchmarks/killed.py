"""``python -m benchmarks.killed``: from the SIGKILL of a holder with a last will until a waiter holds.

The holder's ttl is 10 s: without a will that is about how long the waiter would wait. Each round has a holder
of its own, a program of one of the faces, or `paxlock run` with a command that ends on TERM.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.holding import bytes_of, node_processes
from paxlock.blocking import Client, open_client

TTL_S = 10.0
IN_LINE_S = 0.05
PATIENCE_S = 60.0
SETTLED_S = 0.2  #: a guardian may still be starting

TRIO = """
import sys, trio, paxlock
async def main():
    async with paxlock.open_client(sys.argv[1], last_will=True) as client:
        async with client.lock(sys.argv[2], ttl=10.0):
            print("held", flush=True)
            await trio.sleep_forever()
trio.run(main)
"""
ASYNCIO = """
import asyncio, sys, paxlock.aio
async def main():
    async with paxlock.aio.open_client(sys.argv[1], last_will=True) as client:
        async with client.lock(sys.argv[2], ttl=10.0):
            print("held", flush=True)
            await asyncio.get_running_loop().create_future()
asyncio.run(main())
"""
BLOCKING = """
import sys, time
from paxlock.blocking import open_client
with open_client(sys.argv[1], last_will=True) as client, client.lock(sys.argv[2], ttl=10.0):
    print("held", flush=True)
    time.sleep(3600)
"""


def program(text: str) -> Callable[[str, str], list[str]]:
    return lambda cell, name: [sys.executable, "-c", text, cell, name]


def run(cell: str, name: str) -> list[str]:
    command = ["sh", "-c", "echo held; exec sleep 3600"]
    return [sys.executable, "-m", "paxlock", "run", "--cell", cell, "--ttl", "10s", name, "--", *command]


HOLDERS: dict[str, Callable[[str, str], list[str]]] = {
    "trio": program(TRIO),
    "asyncio": program(ASYNCIO),
    "blocking": program(BLOCKING),
    "paxlock run": run,
}


def measure(client: Client, command: list[str], name: str, guardians: list[int]) -> float:
    """One holder is killed; gives the seconds until the waiter holds."""
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    held_at: list[float] = []

    def wait() -> None:
        with client.lock(name, ttl=TTL_S):
            held_at.append(time.monotonic())

    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waiter = threading.Thread(target=wait, daemon=True)
        waiter.start()
        until = time.monotonic() + PATIENCE_S
        while not client.inspect(name).waiters:
            assert time.monotonic() < until, "it does not come into the line"
            time.sleep(IN_LINE_S)
        time.sleep(SETTLED_S)
        guardians += guardian_bytes(holder.pid)
        killed_at = time.monotonic()
        holder.kill()
        waiter.join(PATIENCE_S)
        return held_at[0] - killed_at
    finally:
        holder.kill()
        holder.communicate()


def guardian_bytes(holder: int) -> list[int]:
    """The memory of the guardian of this process, if it has one."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or b"last_will.py" not in (entry / "cmdline").read_bytes():
                continue
            if any(f"\nPid:\t{holder}\n" in info.read_text() for info in (entry / "fdinfo").iterdir()):
                found.append(bytes_of(int(entry.name)))
        except OSError:
            continue
    return found


def share(sorted_values: list[float], part: float) -> float:
    return sorted_values[max(0, math.ceil(part * len(sorted_values)) - 1)]


def summary(took: list[float]) -> str:
    """Of times in milliseconds, in order."""
    shares = {"median": 0.5, "p90": 0.9, "p99": 0.99, "longest": 1.0}
    told = [f"{what} {share(took, part):.1f} ms" for what, part in shares.items()]
    return f"{len(took)} rounds, {', '.join(told)}"


def memory(guardians: list[int]) -> str:
    return f", guardian {sum(guardians) / len(guardians) / 2**20:.1f} MiB" if guardians else ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.killed", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=100, metavar="N", help="of each kind of holder")
    parser.add_argument("--only", choices=list(HOLDERS), help="only this kind of holder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, node_processes() as (cell, _), open_client(cell) as client:
        path = os.path.join(folder, "cell.toml")  # noqa: PTH118
        cell.save(Path(path))
        for kind in [options.only] if options.only else list(HOLDERS):
            guardians: list[int] = []
            took = []
            for number in range(options.rounds):
                name = f"{kind} {number}"
                took.append(1000.0 * measure(client, HOLDERS[kind](path, name), name, guardians))
            print(f"{kind}: {summary(sorted(took))}{memory(guardians)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
