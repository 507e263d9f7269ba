"""``paxlock run --foreground``: the command keeps the terminal, and still never outlives its lease."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paxlock_process import PATIENCE_S, Cell, Lifeline, Lines, default_signals, dev_cell, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="strays are found through /proc and prctl"),
]

CTRL_C = b"\x03"
COUNT = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
print("up", flush=True)
heard = 0
while signal.sigwait([signal.SIGINT, signal.SIGTERM]) == signal.SIGINT:
    heard += 1
    print("heard", heard, flush=True)
print("in all", heard, flush=True)
raise SystemExit(7)
"""
COUNTING = (sys.executable, "-I", "-S", "-c", COUNT)
STUBBORN = "exec 9>\"$LIFE\"; trap '' HUP TERM INT; echo up >&9; sleep 600; sleep 600"


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with dev_cell() as (cell, _):
        yield cell


class Typed:
    """A process whose terminal is ours to type at."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self._master = master
        self.process = process
        self._lines = Lines(master)

    def type(self, text: bytes) -> None:
        """Type this at the terminal."""
        os.write(self._master, text)

    def line(self) -> str:
        """The next line on the terminal: what is typed is not shown there."""
        return self._lines.line().rstrip("\r")


def own_the_terminal() -> None:
    """In the child, which has a session of its own: its stdin is its terminal."""
    default_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def terminal(cell: Cell, *arguments: str, **env: str) -> Iterator[Typed]:
    """``paxlock`` in the foreground of a terminal of its own."""
    master, slave = pty.openpty()
    shown = termios.tcgetattr(slave)
    shown[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, shown)
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "paxlock", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(cell.env | env),
            start_new_session=True,
            preexec_fn=own_the_terminal,
        ) as process:
            try:
                yield Typed(master, process)
            finally:
                process.kill()
    finally:
        os.close(slave)
        os.close(master)


def test_the_command_reads_from_the_terminal(cell: Cell) -> None:
    script = 'exec < /dev/tty; echo ready; read line; echo "read $line"; exit 5'
    with terminal(cell, "run", "--foreground", "typed", "--", "sh", "-c", script) as typed:
        assert typed.line() == "ready"
        typed.type(b"hello\n")
        assert typed.line() == "read hello"
        assert typed.process.wait(PATIENCE_S) == 5


def test_without_foreground_it_has_no_terminal(cell: Cell) -> None:
    script = "if (exec < /dev/tty) 2> /dev/null; then echo a terminal; else echo none; fi"
    with terminal(cell, "run", "plain", "--", "sh", "-c", script) as typed:
        assert typed.line() == "none"
        assert typed.process.wait(PATIENCE_S) == 0


def test_ctrl_c_reaches_the_command_once_and_other_signals_are_passed_on(cell: Cell) -> None:
    with terminal(cell, "run", "--foreground", "ctrl-c", "--", *COUNTING) as typed:
        assert typed.line() == "up"
        typed.type(CTRL_C)
        assert typed.line() == "heard 1"
        typed.process.send_signal(signal.SIGTERM)
        assert typed.line() == "in all 1"
        assert typed.process.wait(PATIENCE_S) == 7
    assert cell.run("status", "--check", "-q", "ctrl-c").returncode == 1


def test_without_a_terminal_every_signal_is_passed_on(cell: Cell) -> None:
    with cell.start("run", "--foreground", "no-terminal", "--", *COUNTING) as run:
        assert run.stdout.line() == "up"
        run.send_signal(signal.SIGINT)
        assert run.stdout.line() == "heard 1"
        run.send_signal(signal.SIGTERM)
        assert run.stdout.line() == "in all 1"
        assert run.wait() == 7


def test_ctrl_c_ends_the_waiting(cell: Cell) -> None:
    cell.output("acquire", "busy", "--label", "host:1", "--ttl", "30s")
    with terminal(cell, "run", "--foreground", "busy", "--", "true") as typed:
        assert typed.line() == "paxlock: waiting for 'busy': held by 'host:1'"
        typed.type(CTRL_C)
        assert typed.line() == "paxlock: interrupted while waiting for 'busy'"
        assert typed.process.wait(PATIENCE_S) == 130


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_the_command_dies_in_time_though_run_is_killed_or_stopped(
    cell: Cell, tmp_path: Path, signum: signal.Signals
) -> None:
    name = f"killed-{signum}"
    life = Lifeline(tmp_path / "life")
    order = ("run", "--foreground", name, "--ttl", "2s", "--", "sh", "-c", STUBBORN)
    with terminal(cell, *order, LIFE=str(life.path)) as typed:
        assert life.line() == "up"
        typed.process.send_signal(signum)
        cell.output("acquire", name)
        assert life.is_dead()  # before anybody else could hold the name
    life.close()


def test_the_command_dies_in_time_though_its_whole_job_is_stopped(cell: Cell, tmp_path: Path) -> None:
    life = Lifeline(tmp_path / "life")
    order = ("run", "--foreground", "job", "--ttl", "2s", "--", "sh", "-c", STUBBORN)
    with terminal(cell, *order, LIFE=str(life.path)) as typed:
        assert life.line() == "up"
        os.killpg(typed.process.pid, signal.SIGSTOP)
        cell.output("acquire", "job")
        assert life.is_dead()
    life.close()
