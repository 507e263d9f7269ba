"""`paxlock run` is killed: its supervisor ends the command, and then carries out the will."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from paxlock import State
from paxlock.blocking import Client
from tests.blocking.cells import SOURCE, until
from tests.wills.processes import TTL_S, alive, in_line

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        sys.platform != "linux" or not hasattr(os, "pidfd_open"), reason="no last wills without pidfd"
    ),
]

SOON_S = TTL_S / 3
STAYS_S = 1.0
COMMAND = 'echo "$$"; exec sleep 600'
STUBBORN = "trap '' TERM; echo \"$$\"; while :; do sleep 600 & wait; done"


@pytest.fixture
def processes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def run_in(stack: ExitStack, path: str, name: str, script: str, *options: str) -> tuple[Popen[str], int]:
    """`paxlock run`, and the pid of its command."""
    arguments = ["--cell", path, *options, "--ttl", f"{TTL_S:.0f}s", name, "--", "sh", "-c", script]
    process = stack.enter_context(
        Popen(
            [sys.executable, "-m", "paxlock", "run", *arguments],
            stdout=PIPE,
            text=True,
            env={"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]},
        )
    )
    stack.callback(process.kill)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def supervisor_of(command: int) -> int:
    return int(Path(f"/proc/{command}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


def test_a_waiter_holds_at_once_when_run_is_killed(client: Client, path: str, processes: ExitStack) -> None:
    process, command = run_in(processes, path, "run killed", COMMAND)
    supervisor = supervisor_of(command)
    with in_line(client, "run killed") as waiter:
        killed_at = time.monotonic()
        process.kill()
        assert waiter.done() - killed_at < SOON_S
        assert not alive(command)
    until(lambda: not alive(supervisor), "the supervisor ends")


@pytest.mark.slow
def test_nothing_is_sent_while_the_command_lives(client: Client, path: str, processes: ExitStack) -> None:
    process, command = run_in(processes, path, "run stubborn", STUBBORN, "--kill-after", "2s")
    with in_line(client, "run stubborn") as waiter:
        killed_at = time.monotonic()
        process.kill()
        while alive(command):
            assert waiter.held_at is None
            time.sleep(0.005)
        assert time.monotonic() - killed_at > 1.0
        assert waiter.done() - killed_at < SOON_S + 2.0


@pytest.mark.slow
def test_a_run_that_is_stopped_keeps_its_lease(client: Client, path: str, processes: ExitStack) -> None:
    process, command = run_in(processes, path, "run stopped", COMMAND)
    process.send_signal(signal.SIGSTOP)
    os.kill(command, signal.SIGKILL)
    end = time.monotonic() + STAYS_S
    while time.monotonic() < end:
        assert client.poll("run stopped").state is State.LED
    with in_line(client, "run stopped") as waiter:
        killed_at = time.monotonic()
        process.kill()
        assert waiter.done() - killed_at < SOON_S


@pytest.mark.slow
def test_nothing_is_sent_before_at_least_has_passed(client: Client, path: str, processes: ExitStack) -> None:
    process, command = run_in(processes, path, "run at least", COMMAND, "--at-least", "10s")
    supervisor = supervisor_of(command)
    process.kill()
    until(lambda: not alive(supervisor), "the supervisor ends")
    end = time.monotonic() + STAYS_S
    while time.monotonic() < end:
        assert client.poll("run at least").state is State.LED


@pytest.mark.slow
def test_where_the_supervisor_is_killed_too_the_lease_runs_out(
    client: Client, path: str, processes: ExitStack
) -> None:
    process, command = run_in(processes, path, "run alone", COMMAND)
    os.kill(supervisor_of(command), signal.SIGSTOP)
    process.kill()
    os.kill(supervisor_of(command), signal.SIGKILL)
    until(lambda: not alive(command), "the kernel ends the command")
    assert client.poll("run alone").state is State.LED
