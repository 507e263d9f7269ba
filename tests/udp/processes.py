"""Nodes and clients as processes on loopback, driven by pipes: what they print is waited for."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paxlock
from paxlock import Cell

PROGRAMS = Path(__file__).parent / "programs"
SOURCE = str(Path(paxlock.__file__).parents[1])
PATIENCE_S = 120.0  #: a loaded machine takes its time even to start a process

Event = dict[str, Any]


def boot_time() -> float:
    """The clock that all processes of this machine share, and that leases run on."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Program:
    """One process, and the events that it printed."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": SOURCE},
        )
        self.seen: list[Event] = []
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def next_event(self, within: float = PATIENCE_S) -> Event | None:
        """The next event; None where the process has ended, or closed its pipe."""
        try:
            line = self._lines.get(timeout=within)
        except queue.Empty:
            raise AssertionError(f"nothing came in {within} s after {self.seen[-5:]}") from None
        if line is None:
            self._lines.put(None)
            return None
        event: Event = json.loads(line)
        self.seen.append(event)
        return event

    def expect(self, *kinds: str, within: float = PATIENCE_S, **facts: object) -> Event:
        """The next event of one of these kinds and with these facts; those before it stay in ``seen``."""
        end = time.monotonic() + within
        while True:
            event = self.next_event(max(0.0, end - time.monotonic()))
            assert event is not None, f"ended while {kinds} was waited for, after {self.seen[-5:]}"
            if event["event"] in kinds and all(event.get(key) == value for key, value in facts.items()):
                return event

    def settle(self) -> None:
        """Take what has come so far into ``seen``, without waiting."""
        with suppress(AssertionError):
            while self.next_event(within=0.0) is not None:
                pass

    def told(self, kind: str) -> list[Event]:
        """Of everything seen so far, the events of one kind."""
        self.settle()
        return [event for event in self.seen if event["event"] == kind]

    def tell(self, do: str = "", **facts: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **facts}).encode() + b"\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> float:
        """Send a signal to this process; gives the boot time just before."""
        at = boot_time()
        self.process.send_signal(number)
        return at

    def kill(self) -> float:
        """SIGKILL, and wait until the process is gone."""
        at = self.signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        return at

    def stop(self) -> int:
        """SIGTERM, and wait for the clean end; gives the exit status."""
        self.signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        """End the process if it still runs, and give back its pipes."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


class ProcessCell:
    """Three nodes as processes, and any number of clients."""

    def __init__(self, folder: Path, max_ttl: float) -> None:
        self.folder = folder
        self.ports = dict(zip("abc", free_ports(3), strict=True))
        self.cell = Cell.new(
            {node_id: f"127.0.0.1:{port}" for node_id, port in self.ports.items()}, max_ttl=max_ttl
        )
        self.path = folder / "cell.toml"
        self.cell.save(self.path)
        self.nodes: dict[str, Program] = {}
        self._all: list[Program] = []

    def data_dir(self, node_id: str) -> Path:
        return self.folder / f"data-{node_id}"

    def node(self, node_id: str, start: str = "", *, data_dir: Path | None = None) -> Program:
        """Start a node; its earlier process must be gone."""
        arguments = [str(self.path), node_id, str(data_dir or self.data_dir(node_id))]
        program = Program("node_program.py", *arguments, *([start] if start else []))
        self._all.append(program)
        self.nodes[node_id] = program
        return program

    def machine_crashes(self, *node_ids: str) -> None:
        """Kill nodes, and take what a crash of their machines takes: what is in the state files."""
        for node_id in node_ids:
            self.nodes[node_id].kill()
        for node_id in node_ids:
            (self.data_dir(node_id) / "state").unlink()

    def client(self, label: str) -> Program:
        """Start a client; it is open when it says so, but orders may be given at once."""
        return self.program("client_program.py", str(self.path), label)

    def program(self, program: str, *arguments: str) -> Program:
        """Start any of the programs; it ends with the cell."""
        started = Program(program, *arguments)
        self._all.append(started)
        return started

    @contextmanager
    def guests(self) -> Iterator[ProcessCell]:
        """This cell, without the programs that are started within the block once that is over."""
        before = len(self._all)
        try:
            yield self
        finally:
            for program in self._all[before:]:
                program.close()
            del self._all[before:]

    def create(self) -> None:
        """The first start of all nodes."""
        for node_id in self.ports:
            self.node(node_id, "create")
        for node_id in self.ports:
            self.serves(node_id)

    def serves(self, node_id: str) -> None:
        """Wait until a node says that it serves."""
        self.nodes[node_id].expect("report", text=f"node {node_id} serves")

    def close(self) -> None:
        for program in self._all:
            program.close()


@contextmanager
def process_cell(folder: Path, *, max_ttl: float = 2.0, create: bool = True) -> Iterator[ProcessCell]:
    """A cell of processes; ``max_ttl`` is short, so that sitting out is."""
    cell = ProcessCell(folder, max_ttl)
    try:
        if create:
            cell.create()
        yield cell
    finally:
        cell.close()


def free_ports(count: int) -> list[int]:
    """UDP ports of loopback that were free a moment ago."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()
