"""Cells for threads: a dev cell in a background trio thread, whose nodes can be made silent."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import trio

import paxlock
from paxlock import Cell, open_dev_cell

PROGRAMS = Path(__file__).parent / "programs"
SOURCE = str(Path(paxlock.__file__).parents[1])
PATIENCE_S = 60.0  #: a loaded machine takes its time


class ThreadCell:
    """A dev cell that runs until it is silenced."""

    def __init__(self, max_ttl: float = 30.0) -> None:
        self.cell: Cell
        self._open = threading.Event()
        self._max_ttl = max_ttl
        self._thread = threading.Thread(target=trio.run, args=(self._main,), daemon=True)
        self._thread.start()
        assert self._open.wait(PATIENCE_S)

    async def _main(self) -> None:
        self._stop = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with open_dev_cell(max_ttl=self._max_ttl) as self.cell:
            self._open.set()
            await self._stop.wait()

    def silence(self) -> None:
        """Stop all nodes: from now on nobody answers."""
        if self._thread.is_alive():
            self._token.run_sync_soon(self._stop.set)
            self._thread.join(PATIENCE_S)


@contextmanager
def thread_cell(max_ttl: float = 30.0) -> Iterator[ThreadCell]:
    """A cell for a test that silences it."""
    cell = ThreadCell(max_ttl)
    try:
        yield cell
    finally:
        cell.silence()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what nobody tells of, with a bound."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain for: {what}"
        time.sleep(0.005)


class Worker(threading.Thread):
    """A thread whose result or error is asked for."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._error: BaseException | None = None
        self._result: object = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            self._error = error

    def result(self) -> Any:
        """Wait for the end of the thread, and give what it has returned, or raise what it has raised."""
        self.join(PATIENCE_S)
        assert not self.is_alive(), "the thread hangs"
        if self._error is not None:
            raise self._error
        return self._result


class Script:
    """A program of `programs`, which prints lines."""

    def __init__(self, name: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(PROGRAMS / name), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": SOURCE, "PATH": ""},
        )

    def line(self) -> str:
        """The next line that it prints; "" at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> tuple[int, str, str]:
        """Wait for its end: exit code, and the rest of what it has printed and complained."""
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, out.strip(), err.strip()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@contextmanager
def scripts() -> Iterator[Callable[..., Script]]:
    """Starts programs, and ends those that are left over."""
    with ExitStack() as stack:

        def start(name: str, *arguments: str) -> Script:
            script = Script(name, *arguments)
            stack.callback(script.close)
            return script

        yield start
