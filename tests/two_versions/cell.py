"""The nodes and clients of a play: each a process of its own, of one version or the other."""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import json
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs

from tests.chaos.cluster import NETS_BITS, PORT, Child, Failed, boot_time
from tests.two_versions.judge import Record, acquired
from tests.two_versions.versions import Version

__all__ = ["Cell", "Failed", "Layout", "Refused", "Started"]

SERVING = '"event":"serving"'
SAT_OUT = '"event":"sitting_out"'
CONFIG = 78  #: the exit code of a node that cannot use its data folder
ENDED_BY_TERM = 128 + signal.SIGTERM
CALL_S = 60.0
PATIENCE_S = 60.0
LOOK_S = 0.1
WORKER = Path(__file__).with_name("worker.py")


@attrs.frozen
class Layout:
    """Who is there. Times are seconds."""

    node_ids: tuple[str, ...] = ("a", "b", "c")
    names: tuple[str, ...] = ("alpha", "beta", "gamma")
    workers: int = 2  #: of each version
    ttl: float = 5.0
    max_ttl: float = 6.0


class Refused(Exception):
    """A node has ended, because it cannot use what the other version has left in its data folder."""


@attrs.frozen
class Started:
    """A start of a node: how long it took until it served."""

    node_id: str
    version: str
    stopped_by: str
    seconds: float
    sat_out: bool = False

    def __str__(self) -> str:
        how = "sat out, and served" if self.sat_out else "served"
        return f"{self.node_id}: {self.stopped_by}, then {self.version} {how} after {self.seconds:.2f} s"


def run_name(version: Version) -> str:
    """The name that a ``paxlock run`` of this version holds all along."""
    return f"run-{version.name}"


def kept_name(version: Version) -> str:
    """The name that a worker of this version holds all along."""
    return f"kept-{version.name}"


class Cell:
    """All processes; whoever makes it closes it."""

    def __init__(self, layout: Layout, folder: Path, maker: Version) -> None:
        """The cell file and the key are written by ``maker``."""
        self.layout = layout
        self.folder = folder
        self.file = folder / "cell.toml"
        self.nodes: dict[str, Child] = {}
        self.clients: list[Child] = []
        self.all: list[Child] = []
        self.started: list[Started] = []
        self.kept: list[str] = []  #: the names that somebody holds all along
        self.left: dict[str, str] = {}  #: what was in the data folder of the node that was stopped last
        self._labels: list[str] = []
        self._count = 0
        # Addresses of loopback that nothing else will be in the way of.
        net = ipaddress.ip_address("127.64.0.0") + (secrets.randbits(NETS_BITS) << 8)
        self.addresses = {node: f"{net + 1 + at}:{PORT}" for at, node in enumerate(layout.node_ids)}
        members = [f"{node}={address}" for node, address in self.addresses.items()]
        code, _, said = self.tell(
            maker, "init", str(self.file), *members, "--max-ttl", f"{layout.max_ttl:g}s", cell=False
        )
        if code:
            raise Failed(f"the cell file was not made: {said}")

    def tell(self, version: Version, *words: str, cell: bool = True) -> tuple[int, str, str]:
        """The exit code of a ``paxlock`` command, what it prints and what it says on stderr."""
        where = {"PAXLOCK_CELL": str(self.file)} if cell else {}
        try:
            done = subprocess.run(
                version.command(*words),
                env={**version.env, **where},
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=CALL_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return -1, "", f"has not ended within {CALL_S:.0f} s"
        return done.returncode, done.stdout, done.stderr.strip()

    def _child(self, name: str, version: Version, command: list[str]) -> Child:
        self._count += 1
        env = {**version.env, "PAXLOCK_CELL": str(self.file)}
        child = Child(name, command, self.folder / f"{self._count:02}-{name}.stderr", env=env)
        self.all.append(child)
        return child

    # Nodes.

    def data_dir(self, node_id: str) -> Path:
        return self.folder / f"data-{node_id}"

    def start_node(self, node_id: str, version: Version, *how: str) -> Child:
        """Start a node on its folder, which its earlier process has left."""
        command = version.command("serve", "--node", node_id, "--data-dir", str(self.data_dir(node_id)), *how)
        child = self.nodes[node_id] = self._child(f"node-{node_id}-{version.name}", version, command)
        return child

    def first_start(self, version: Version) -> None:
        """Start all nodes of a new cell."""
        for node_id in self.layout.node_ids:
            self.start_node(node_id, version, "--create")
        for child in self.nodes.values():
            child.wait_says(SERVING)

    def replace(self, node_id: str, version: Version, *, kill: bool) -> None:
        """Stop a node, start it with the same folder in another version, and wait until it serves.

        Raises Refused where that version does not use the folder, Failed for anything else.
        """
        child = self.nodes[node_id]
        if kill:
            child.kill()
        else:
            child.terminate()
        self.left = self.content(node_id)
        self.go_on(node_id, version, "killed" if kill else "stopped")

    def go_on(self, node_id: str, version: Version, how: str = "refused") -> None:
        """Start a node whose earlier process is gone, as `replace` does."""
        began = boot_time()
        child = self.start_node(node_id, version)
        try:
            child.wait_says(SERVING)
        except Failed as failure:
            try:
                child.wait_end(CONFIG)
            except Failed:
                raise failure from None
            raise Refused("\n".join(child.said)) from None
        took = boot_time() - began
        self.started.append(Started(node_id, version.name, how, took, child.has_said(SAT_OUT)))

    def content(self, node_id: str) -> dict[str, str]:
        """What is in the data folder of a node that is stopped: a digest of each file."""
        folder = self.data_dir(node_id)
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    # Clients.

    def start_clients(self, versions: tuple[Version, ...]) -> None:
        """A worker and a ``paxlock run`` of each version."""
        self.kept = [named(version) for version in versions for named in (kept_name, run_name)]
        for seed, version in enumerate(versions):
            orders = {
                "cell": str(self.file),
                "label": f"worker-{version.name}",
                "folder": str(self.folder),
                "names": self.layout.names,
                "kept": kept_name(version),
                "watched": [*self.layout.names, *self.kept],
                "workers": self.layout.workers,
                "ttl": self.layout.ttl,
                "seed": seed,
            }
            self._labels.append(f"worker-{version.name}")
            command = [*version.python, str(WORKER), json.dumps(orders)]
            self.clients.append(self._child(f"worker-{version.name}", version, command))
            ttl = f"{self.layout.ttl:g}s"
            command = version.command("run", run_name(version), "--ttl", ttl, "--", "sleep", "3600")
            runner = self._child(f"run-{version.name}", version, command)
            runner.expected.add(ENDED_BY_TERM)
            self.clients.append(runner)

    def wait_held(self) -> None:
        """Wait until all the names that are held all along are seen to be held, by all workers."""
        self.wait("what is to be held all along is held", self._all_held)

    def _all_held(self) -> bool:
        record = Record.read(self.folder)
        told = {
            (watcher, name)
            for (watcher, name), seen in record.seen.items()
            if any(each.state == "led" for each in seen)
        }
        return told >= set(itertools.product(self._labels, self.kept))

    def look_on(self, seconds: float) -> None:
        """Let the clients work for so long, and until each worker has acquired something meanwhile."""
        began = boot_time()
        time.sleep(seconds)
        self.wait("every worker has acquired something", partial(self._all_acquired, began))

    def _all_acquired(self, since: float) -> bool:
        operations = Record.read(self.folder).history.operations
        return set(self._labels) <= {op.client for op in acquired(operations) if op.returned > since}

    def wait(self, what: str, true: Callable[[], bool]) -> None:
        """Wait until it is true. Raises Failed where it is not in time, or a process has ended meanwhile."""
        until = boot_time() + PATIENCE_S
        while not true():
            if boot_time() > until or self.early_ends():
                ended = "; ".join(self.early_ends())
                raise Failed(f"not within {PATIENCE_S:.0f} s: {what}. {ended}")
            time.sleep(LOOK_S)

    def early_ends(self) -> list[str]:
        """Which clients and nodes have ended that are to run on."""
        return [
            f"{child.name} has ended with {child.process.returncode}: {child.said[-3:]}"
            for child in (*self.clients, *self.nodes.values())
            if not child.running
        ]

    def finish(self) -> None:
        """End the clients, then the nodes, in good order. Raises Failed."""
        for child in self.clients:
            child.signal(signal.SIGTERM)
        for child in self.clients:
            child.wait_end(0)
        for child in self.nodes.values():
            child.terminate()

    def close(self) -> None:
        """Whatever has happened: nothing of this play goes on."""
        for child in self.all:
            child.close()
