"""Real ``paxlock`` processes for the tests of the command line, and ways to wait for what they do."""

from __future__ import annotations

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import paxlock

LOOKS_MAX = 200
PATIENCE_S = 40.0  # for what must happen soon, on a machine that is slow and shared
COMPILED = tempfile.TemporaryDirectory(prefix="paxlock-test-", ignore_cleanup_errors=True)
SOURCE = str(Path(paxlock.__file__).parent.parent)
Argument = str | bytes | Path


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours without a cell that somebody may have set, and with the source tree."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PAXLOCK_")}
    clean.pop("PYTHONDONTWRITEBYTECODE", None)  # so many starts: what was compiled once is kept, aside
    return clean | {"PYTHONPATH": SOURCE, "PYTHONPYCACHEPREFIX": COMPILED.name} | dict(extra)


def default_signals() -> None:
    """In the child: even where the tests run in the background, INT is not ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def full_pipe() -> Iterator[int]:
    """A pipe that takes nothing more, and that nobody reads."""
    end, full = os.pipe()
    os.set_blocking(full, False)
    with suppress(BlockingIOError):
        while True:
            os.write(full, bytes(65_536))
    with suppress(BlockingIOError):
        while True:
            os.write(full, b"0")
    os.set_blocking(full, True)
    try:
        yield full
    finally:
        os.close(end)
        os.close(full)


def free_port(kind: socket.SocketKind) -> int:
    """A port that is free, below those that the kernel gives to whoever asks for any."""
    for port in random.SystemRandom().sample(range(10_000, 32_000), LOOKS_MAX):
        with socket.socket(socket.AF_INET, kind) as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


class Process:
    """A paxlock process in a folder of its own choice, with stdout and stderr to read."""

    def __init__(self, *arguments: Argument, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "paxlock", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(env),
            preexec_fn=default_signals,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.stdout = Lines(self._process.stdout.fileno())
        self.stderr = Lines(self._process.stderr.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(PATIENCE_S)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send_signal(self, signum: int) -> None:
        self._process.send_signal(signum)

    def close_stdout(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        return self._process.wait(PATIENCE_S)


class Lines:
    """The lines that arrive at a descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._text = b""

    def line(self) -> str:
        """Return the next line; fails if none comes in time, or the writers have gone."""
        while b"\n" not in self._text:
            assert self._more(), f"no line, but the end after {self._text!r}"
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    def empty(self) -> bool:
        """Whether the last writer goes without a word; waits until that is known."""
        return not self._text and not self._more()

    def rest(self) -> str:
        """Wait until the last writer has gone, and return what came until then."""
        while self._more():
            pass
        return self._text.decode()

    def ended(self) -> bool:
        """Whether the last writer has gone already; what there is to read is read."""
        while select.select([self._fd], [], [], 0)[0]:
            if not self._more():
                return True
        return False

    def _more(self) -> bool:
        ready, _, _ = select.select([self._fd], [], [], PATIENCE_S)
        assert ready, f"nothing came in {PATIENCE_S} s after {self._text!r}"
        data = os.read(self._fd, 65_536)
        self._text += data
        return bool(data)


class Lifeline:
    """A FIFO that a command and all that it starts hold open: it ends when the last of them has died."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self._own_end = os.open(path, os.O_WRONLY)
        self._lines = Lines(self._fd)

    def line(self) -> str:
        """The next line that somebody wrote."""
        return self._lines.line()

    def all_dead(self) -> None:
        """Wait until nobody holds it any more."""
        self._let_go()
        self._lines.rest()

    def is_dead(self) -> bool:
        """Whether nobody holds it at this moment."""
        self._let_go()
        return self._lines.ended()

    def _let_go(self) -> None:
        if self._own_end >= 0:
            os.close(self._own_end)
            self._own_end = -1

    def close(self) -> None:
        os.close(self._fd)
        self._let_go()


class Cell:
    """The environment of a running cell, and the calls of ``paxlock`` in it."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = dict(env)

    def start(self, *arguments: Argument, **env: str) -> Process:
        """Start a command that will be waited for."""
        return Process(*arguments, env=self.env | env)

    def run(self, *arguments: Argument, text: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "paxlock", *arguments],
            input=text,
            capture_output=True,
            text=True,
            env=environment(self.env | env),
            timeout=PATIENCE_S,
            check=False,
        )

    def output(self, *arguments: Argument, **env: str) -> str:
        """Run a command that has to succeed, and return what it wrote to stdout."""
        done = self.run(*arguments, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout.rstrip("\n")

    def wait_in_line(self, name: str, count: int = 1) -> None:
        """Look at a name until so many wait for it."""
        for _ in range(LOOKS_MAX):
            if len(json.loads(self.output("status", name, "--json"))["waiters"]) >= count:
                return
        raise AssertionError(f"never saw {count} waiting for {name}")

    def fails(self, code: int, *arguments: Argument, **env: str) -> str:
        """Run a command that has to end with this code and one line on stderr; return that line."""
        done = self.run(*arguments, **env)
        assert done.returncode == code, (done.returncode, done.stderr)
        assert done.stdout == ""
        assert done.stderr.startswith("paxlock: ")
        assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), done.stderr
        return done.stderr.removeprefix("paxlock: ").rstrip("\n")


NO_CELL = Cell({})


@contextmanager
def dev_cell(*options: str) -> Iterator[tuple[Cell, Process]]:
    """A ``paxlock dev`` process and its cell, serving."""
    with NO_CELL.start("dev", *options) as process:
        name, _, path = process.stdout.line().removeprefix("export ").partition("=")
        assert name == "PAXLOCK_CELL"
        assert Path(path).name == "cell.toml"
        yield Cell({"PAXLOCK_CELL": path}), process
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
        assert process.stdout.rest() == ""
        assert not Path(path).parent.exists()
