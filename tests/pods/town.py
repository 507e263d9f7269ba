"""Pods on one bridge: each a network namespace with an address, and the names of all of them.

As in Kubernetes or Compose. Needs root and iproute2; everything has a name of this process, and is removed at
the end.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from paxlock.config.cell import Cell

__all__ = ["MAX_TTL_S", "NODES", "Pod", "Town", "until"]

NODES = ("paxlock-0", "paxlock-1", "paxlock-2")
PORT = 7400
MAX_TTL_S = 3.0
PATIENCE_S = 60.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def until(true: Callable[[], bool], what: str) -> float:
    """Wait for it; how many seconds that took."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > PATIENCE_S:
            raise AssertionError(f"{what}: not within {PATIENCE_S:.0f} s")
        time.sleep(0.02)
    return time.monotonic() - began


class Pod:
    """A place of its own: a namespace, an address, and what runs there."""

    def __init__(self, town: Town, number: int) -> None:
        self.address = f"10.74.0.{number}"
        self.space = f"{town.name}-{number}"
        self.log = town.folder / f"log-{number}"
        self._town = town
        self._running: list[subprocess.Popen[str]] = []
        ip("netns", "add", self.space)
        town.undo.append(lambda: ip("netns", "del", self.space))
        names = Path("/etc/netns") / self.space
        names.mkdir(parents=True)
        town.undo.append(lambda: shutil.rmtree(names))
        (names / "hosts").hardlink_to(town.hosts)  # the one file, so that all learn at once what is in it
        outside = f"{town.name}v{number}"
        ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        ip("link", "set", outside, "master", town.name, "up")
        ip("-n", self.space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.space, "link", "set", "eth0", "up")
        ip("-n", self.space, "link", "set", "lo", "up")
        town.undo.append(self.kill)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A ``paxlock`` command here, on the cell of the town; what it says is in the log."""
        with self.log.open("a", encoding="utf-8") as log:
            started = subprocess.Popen(
                self._command(words), stdout=log, stderr=log, text=True, env=self._town.env
            )
        self._running.append(started)
        return started

    def tell(self, *words: str) -> tuple[int, str]:
        """The exit code of a ``paxlock`` command here, and what it prints."""
        done = subprocess.run(
            self._command(words),
            capture_output=True,
            text=True,
            env=self._town.env,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.returncode, done.stdout

    def _command(self, words: tuple[str, ...]) -> list[str]:
        return ["ip", "netns", "exec", self.space, sys.executable, "-m", "paxlock", *words]

    def kill(self) -> None:
        """As where a machine is gone: no goodbye."""
        for process in self._running:
            process.kill()
            process.wait()

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8") if self.log.exists() else ""


class NodePod(Pod):
    """One life of a node, on a volume."""

    def __init__(self, town: Town, node_id: str, number: int, volume: Path) -> None:
        super().__init__(town, number)
        self.node_id, self.volume = node_id, volume
        words = ("serve", "--node", node_id, "--data-dir", str(volume), "--listen", f"0.0.0.0:{PORT}")
        self.process = self.start(*words)

    @property
    def serves(self) -> bool:
        code = self.process.poll()
        if code is not None:
            raise AssertionError(f"{self.node_id} has ended with {code}: {self.said()}")
        return '"event":"serving"' in self.said()


class Town:
    """The bridge, the names of the pods, and a pod for clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"pl{os.getpid()}"
        self.hosts = Path("/etc/netns") / f"{self.name}-names"
        cell_file = folder / "cell.toml"
        Cell.new({node: f"{node}.paxlock:{PORT}" for node in NODES}, max_ttl=MAX_TTL_S).save(cell_file)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PAXLOCK_")}
        self.env = {**inherited, "PAXLOCK_CELL": str(cell_file)}
        self.undo: list[Callable[[], object]] = []
        self.nodes: dict[str, NodePod] = {}
        self._numbers = iter(range(10, 250))

    def __enter__(self) -> Self:
        try:
            self._build()
        except BaseException:
            self._undo()
            raise
        return self

    def _build(self) -> None:
        self.hosts.parent.mkdir(exist_ok=True)
        self.hosts.write_text("127.0.0.1 localhost\n", encoding="utf-8")
        self.undo.append(self.hosts.unlink)
        ip("link", "add", self.name, "type", "bridge")
        self.undo.append(lambda: ip("link", "del", self.name))
        ip("link", "set", self.name, "up")
        self.client = Pod(self, next(self._numbers))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo()

    def _undo(self) -> None:
        for step in reversed(self.undo):
            step()

    def start(self, *node_ids: str, volumes: dict[str, Path] | None = None) -> None:
        """New pods of these nodes, with new addresses; an empty volume each, unless one is given."""
        for node_id in node_ids:
            number = next(self._numbers)
            volume = (volumes or {}).get(node_id) or self.folder / f"volume-{number}"
            self.nodes[node_id] = NodePod(self, node_id, number, volume)
        lines = [f"{pod.address} {pod.node_id}.paxlock" for pod in self.nodes.values()]
        # In place: a new file would be another one than that which the pods have.
        self.hosts.write_text("\n".join(["127.0.0.1 localhost", *lines, ""]), encoding="utf-8")

    def wait_serving(self) -> float:
        """Wait until all serve, by their own word; how many seconds that took."""
        return until(lambda: all(pod.serves for pod in self.nodes.values()), "all nodes serve")

    def status(self, name: str) -> dict[str, Any]:
        """What a client is told of a name."""
        _, text = self.client.tell("status", name, "--json")
        found: dict[str, Any] = json.loads(text)
        return found
