"""Processes of ours: servers with a log, and clients that talk in lines of JSON."""

from __future__ import annotations

import compileall
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
LOG_TAIL_BYTES = 800
STOP_PATIENCE_S = 10.0
READY_PATIENCE_S = 60.0


def compile_package(package: Path) -> bool:
    """Write the bytecode of a package beside it where it is missing or old; False where that cannot be.

    pip does so with what it installs, the peers that are written in Python among it, but not where it only
    links to a tree like this one. Where Python is told to write none, each server would compile all of
    paxlock at its start.
    """
    return bool(compileall.compile_dir(package, quiet=2))


class Failed(Exception):
    """A server or a client did not do what it should; the message tells what it said last."""


class Server:
    """One server process, with its output in a log file."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        if self.running:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._process.wait(STOP_PATIENCE_S)

    def join(self) -> None:
        """Wait for a process that was told to stop; kill it if it does not."""
        try:
            self._process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def log_tail(self) -> str:
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")


class Client:
    """A client process: it says ``ready``, is told ``go`` (or more), and gives one result. ``at`` gives the
    command line by which it is run where it is to run.

    Used as a context manager it is killed at the end unless it has ended.
    """

    def __init__(
        self,
        specification: Mapping[str, object],
        log: Path,
        module: str = "benchmarks.client",
        at: Callable[[Sequence[str]], list[str]] = list,
    ) -> None:
        self._log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                at([PYTHON, "-m", module, json.dumps(specification)]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
            )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._failed("has ended") from error

    def hear(self, patience: float) -> dict[str, Any]:
        """The next line of it. Raises Failed after ``patience`` seconds, or if the client has ended."""
        try:
            line = self._lines.get(timeout=patience)
        except queue.Empty:
            raise self._failed(f"said nothing for {patience:.0f} s") from None
        if not line:
            raise self._failed("has ended")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def wait_ready(self) -> None:
        self.hear(READY_PATIENCE_S)

    def kill(self) -> int:
        """End it as a crash would, and give the moment (ns, monotonic) just before."""
        moment = time.monotonic_ns()
        self._process.kill()
        self._process.wait(STOP_PATIENCE_S)
        return moment

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _failed(self, what: str) -> Failed:
        tail = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
        return Failed(f"the client {what}" + (f"; its last words:\n{tail}" if tail else ""))
