"""Programs of which one works: starts them, reads the lines that they print, and ends them."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paxlock
from paxlock import Cell
from paxlock.blocking import Client

EXAMPLES = Path(__file__).parent.parent / "examples"
SOURCE = str(Path(paxlock.__file__).parents[1])
PATIENCE_S = 60.0  #: a loaded machine takes its time


class Programs:
    """Processes that print what they do; all of their lines arrive here, in one queue."""

    def __init__(self, cell_file: Path, folder: Path) -> None:
        root = EXAMPLES.parent
        self.folder = folder  #: where they run
        self.environment = os.environ | {
            "PAXLOCK_CELL": str(cell_file),
            "PYTHONPATH": f"{SOURCE}{os.pathsep}{root}",
            "PYTHONUNBUFFERED": "1",
            "HOME": str(folder),  # gunicorn puts a socket there
        }
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._readers: list[threading.Thread] = []
        self.processes: list[subprocess.Popen[str]] = []
        self.printed: list[str] = []

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start ``python COMMAND`` in a process group of its own."""
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=self.environment,
        )
        self.processes.append(process)
        reader = threading.Thread(target=self._read, args=(process,), daemon=True)
        reader.start()
        self._readers.append(reader)
        return process

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._lines.put(line.rstrip())

    def line(self, pattern: str) -> re.Match[str]:
        """Wait for a line with this pattern."""
        end = time.monotonic() + PATIENCE_S
        while (left := end - time.monotonic()) > 0:
            over = not any(reader.is_alive() for reader in self._readers)
            if over and self._lines.empty():
                break
            with suppress(queue.Empty):
                line = self._lines.get(timeout=min(left, 0.5))
                self.printed.append(line)
                if found := re.search(pattern, line):
                    return found
        raise AssertionError(f"waited in vain for {pattern!r} in:\n" + "\n".join(self.printed))

    def worker(self) -> tuple[int, int]:
        """Wait until one works: its pid and term."""
        found = self.line(r"(\d+) works with term (\d+)")
        return int(found[1]), int(found[2])

    def nobody_works(self) -> None:
        """Nobody has begun to work since the last one did."""
        while not self._lines.empty():
            line = self._lines.get()
            self.printed.append(line)
            assert "works with term" not in line, "\n".join(self.printed)

    def end(self, process: subprocess.Popen[str], signum: int = signal.SIGTERM) -> int:
        """Send a signal, and wait for the end: the exit code."""
        process.send_signal(signum)
        return process.wait(PATIENCE_S)

    def rest(self) -> None:
        """All have ended: put what they have printed into `printed`."""
        for reader in self._readers:
            reader.join(PATIENCE_S)
        while not self._lines.empty():
            self.printed.append(self._lines.get())

    def close(self) -> None:
        """End what is left over, with its children: each has a group of its own."""
        for process in self.processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.close()


@contextmanager
def programs(cell: Cell, folder: Path) -> Iterator[Programs]:
    """Starts programs that find their cell in PAXLOCK_CELL."""
    cell.save(folder / "cell.toml")
    found = Programs(folder / "cell.toml", folder)
    try:
        yield found
    finally:
        found.close()


def wait_in_line(client: Client, name: str, count: int) -> None:
    """Wait until so many stand in line for a name."""
    end = time.monotonic() + PATIENCE_S
    while len(client.inspect(name).waiters) != count:
        assert time.monotonic() < end, f"not {count} wait for {name!r}: {client.inspect(name)}"
        time.sleep(0.02)
