"""``python -m tests.soak``: 200 threads and 200 tasks take, lose and release under faults; exit code 1 where
something has leaked, or ended otherwise than it may.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import attrs

from tests.chaos.cluster import ROOT, Cluster, Layout
from tests.chaos.relay import CALM, Weather
from tests.soak.scales import Weight, leaks

WEIGHINGS = 6
WARM_UP = (
    1  #: the first weighing counts after so many stretches: what is loaded and cached by then is no leak
)
END_PATIENCE_S = 30.0
STRETCH_PATIENCE_S = 120.0
STORM = Weather(loss=0.25)
PAUSE_S = 0.5

Say = Callable[[str], None]


class Cell(Cluster):
    """Three real nodes behind the relay, which lets in whoever speaks to them."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(Layout(clients=0, skewed=False), folder, seed)
        self.relay.welcome = str(self._net + 201)
        self.file = folder / "cell.toml"
        self._rng = Random(f"soak {seed}")
        self.faults = 0

    def start(self) -> None:
        self.relay.start()
        for node in self.layout.node_ids:
            self.start_node(node, "--create")
        self.calm()

    def calm(self) -> None:
        """No fault any more, and every node serves."""
        self.relay.heal()
        for child in self.nodes.values():
            child.wait_says("serves")

    def fault(self) -> None:
        """One of them, for a moment."""
        self.faults += 1
        node = self._rng.choice(self.layout.node_ids)
        match self._rng.randrange(4):
            case 0:
                self.nodes[node].kill()
                time.sleep(PAUSE_S)
                self.start_node(node)
            case 1:
                self.nodes[node].terminate()
                self.start_node(node)
            case 2:
                self.relay.weather = STORM
                time.sleep(2.0 * PAUSE_S)
                self.relay.weather = CALM
            case _:  # no quorum for longer than most leases last
                for other in (node, *self.layout.node_ids[:1]):
                    self.nodes[other].kill()
                time.sleep(PAUSE_S)
                for other in {node, *self.layout.node_ids[:1]}:
                    self.start_node(other)
        for child in list(self.nodes.values()):
            child.wait_says("serves")


class Worker:
    """The process that is weighed."""

    def __init__(self, cell: Path, threads: int, tasks: int, log: Path) -> None:
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.worker", str(cell), str(threads), str(tasks)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=ROOT,
                text=True,
            )

    def begin(self, seconds: float) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()

    def told(self) -> dict[str, Any]:
        """Wait for the end of the stretch. Raises RuntimeError where the process has ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker has ended: {self._log.read_text()[-2000:]}")
        told: dict[str, Any] = json.loads(line)
        return told

    def finish(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(END_PATIENCE_S)

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@attrs.frozen
class Outcome:
    """What a soak has found."""

    weights: list[Weight]
    counts: dict[str, int]
    faults: int
    troubles: list[str]


def soak(seconds: float, *, threads: int, tasks: int, seed: int, say: Say) -> Outcome:
    """Work for so long, with a weighing after each part of it."""
    weights: list[Weight] = []
    troubles: list[str] = []
    told: dict[str, Any] = {"counts": {}}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paxlock-soak-")))
        cell = Cell(folder, seed)
        stack.callback(cell.close)
        cell.start()
        worker = Worker(cell.file, threads, tasks, folder / "worker.stderr")
        stack.callback(worker.close)
        part = seconds / (WEIGHINGS + WARM_UP)
        for number in range(WEIGHINGS + WARM_UP):
            ends = time.monotonic() + part
            worker.begin(part)
            while time.monotonic() < ends - 2.0 * PAUSE_S:
                time.sleep(PAUSE_S)
                cell.fault()
            cell.calm()
            told = worker.told()
            weight = Weight(**told["weight"])
            say(f"{(number + 1) * part:6.0f} s: {attrs.asdict(weight)}")
            troubles += [f"left: {what}" for what in told["left"]] + told["errors"]
            if number >= WARM_UP:
                weights.append(weight)
            if troubles:
                break
        if not troubles and (code := worker.finish()) != 0:
            troubles.append(f"the worker ended with {code}: {(folder / 'worker.stderr').read_text()[-2000:]}")
        troubles += cell.unexpected_ends()
        complaints = (folder / "worker.stderr").read_text()
        if complaints:
            troubles.append(f"the worker said: {complaints[-2000:]}")
    return Outcome(weights, told["counts"], cell.faults, troubles + (leaks(weights) if weights else []))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Leaks under faults.")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--threads", type=int, default=200)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--seed", type=int, help="of the faults (default: another one each time)")
    given = parser.parse_args()
    seed = secrets.randbits(31) if given.seed is None else given.seed
    print(f"seed {seed}, {given.threads} threads, {given.tasks} tasks, {given.seconds:g} s", flush=True)

    def say(text: str) -> None:
        print(text, flush=True)

    found = soak(given.seconds, threads=given.threads, tasks=given.tasks, seed=seed, say=say)
    say(f"{found.faults} faults; {json.dumps(dict(sorted(found.counts.items())))}")
    for trouble in found.troubles:
        say(f"TROUBLE: {trouble}")
    say("nothing has leaked" if not found.troubles else "failed")
    return 1 if found.troubles else 0


if __name__ == "__main__":
    raise SystemExit(main())
