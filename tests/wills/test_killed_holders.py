"""Holders with a last will are killed, stopped, forked and made daemons: real processes, a ttl of 10 s."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paxlock import State
from paxlock.blocking import Client
from tests.blocking.cells import until
from tests.wills.processes import FACES, HOLDER, TTL_S, Run, alive, guardian_of, guardians_of, in_line

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        sys.platform != "linux" or not hasattr(os, "pidfd_open"), reason="no last wills without pidfd"
    ),
]

SOON_S = TTL_S / 3  #: on a busy machine; the lease itself would stay for longer than this
STAYS_S = 1.0  #: a will that is sent at all is sent long before


def begin(
    run: Run, face: str, path: str, name: str, how: str = "just_wait"
) -> tuple[subprocess.Popen[str], int]:
    """A holder: its process, and its term."""
    script = run(HOLDER, face, path, name, how)
    word, term = script.line().split()
    assert word == "held"
    return script.process, int(term)


def stays_led(client: Client, name: str, term: int) -> None:
    """Nobody lets go of this tenure."""
    end = time.monotonic() + STAYS_S
    while time.monotonic() < end:
        standing = client.poll(name)
        assert (standing.state, standing.term) == (State.LED, term)


@pytest.mark.parametrize("face", FACES)
def test_a_waiter_holds_at_once_when_the_holder_is_killed(
    face: str, client: Client, path: str, run: Run
) -> None:
    process, term = begin(run, face, path, f"killed {face}")
    with in_line(client, f"killed {face}") as waiter:
        guardian = guardian_of(process.pid)
        killed_at = time.monotonic()
        process.kill()
        assert waiter.done() - killed_at < SOON_S
        assert waiter.term > term
    until(lambda: not alive(guardian), "the guardian ends")


def test_a_holder_that_is_killed_before_its_guardian_is_up_has_a_will(
    client: Client, path: str, run: Run
) -> None:
    process, _ = begin(run, "blocking", path, "early")
    killed_at = time.monotonic()
    process.kill()
    with client.lock("early", ttl=TTL_S):
        assert time.monotonic() - killed_at < SOON_S


@pytest.mark.parametrize("face", FACES)
def test_one_that_dies_in_the_moment_in_which_it_holds_has_a_will(
    face: str, client: Client, path: str, run: Run
) -> None:
    process, term = begin(run, face, path, f"at once {face}", "dies")
    assert process.wait() == -signal.SIGKILL
    died_at = time.monotonic()
    with client.lock(f"at once {face}", ttl=TTL_S) as held:
        assert time.monotonic() - died_at < SOON_S
        assert held.term > term


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_lease_that_is_wanted_for_longer_than_the_work_is_in_no_will(
    face: str, client: Client, path: str, run: Run
) -> None:
    process, term = begin(run, face, path, f"kept {face}", "kept")
    process.kill()
    process.wait()
    stays_led(client, f"kept {face}", term)


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_clean_end_leaves_no_guardian(face: str, client: Client, path: str, run: Run) -> None:
    script = run(HOLDER, face, path, f"leaves {face}", "leaves")
    assert script.line().startswith("held")
    pid = script.process.pid
    assert script.end() == (0, "", "")
    assert guardians_of(pid) == []
    assert client.poll(f"leaves {face}").state is State.FREE


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_fork_that_lives_on_keeps_the_lease(face: str, client: Client, path: str, run: Run) -> None:
    name = f"forked {face}"
    script = run(HOLDER, face, path, name, "a_fork_lives_on")
    term = int(script.line().split()[1])
    child = int(script.line().split()[1])
    guardian = guardian_of(script.process.pid)
    script.process.kill()
    script.process.wait()
    try:
        stays_led(client, name, term)
        assert alive(guardian)
    finally:
        os.kill(child, signal.SIGKILL)
    began = time.monotonic()
    with client.lock(name, ttl=TTL_S):
        assert time.monotonic() - began < SOON_S
    until(lambda: not alive(guardian), "the guardian ends")


@pytest.mark.slow
def test_a_daemon_that_has_closed_all_is_not_waited_for(client: Client, path: str, run: Run) -> None:
    """As docs/how_it_works.md says: it holds nothing, and nothing tells the guardian of it."""
    script = run(HOLDER, "blocking", path, "daemon", "a_daemon_closes_all")
    assert script.line().startswith("held")
    child = int(script.line().split()[1])
    guardian_of(script.process.pid)
    script.process.kill()
    try:
        began = time.monotonic()
        with client.lock("daemon", ttl=TTL_S):
            assert time.monotonic() - began < SOON_S
            assert alive(child)
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.slow
def test_a_stopped_holder_keeps_its_lease_until_it_is_killed(client: Client, path: str, run: Run) -> None:
    process, term = begin(run, "trio", path, "stopped")
    guardian_of(process.pid)
    process.send_signal(signal.SIGSTOP)
    with in_line(client, "stopped") as waiter:
        stays_led(client, "stopped", term)
        killed_at = time.monotonic()
        process.kill()
        assert waiter.done() - killed_at < SOON_S


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_holder_that_closes_the_channel_has_no_will_and_goes_on(
    face: str, client: Client, path: str, run: Run
) -> None:
    name = f"closes {face}"
    script = run(HOLDER, face, path, name, "closes_all")
    term = int(script.line().split()[1])
    guardian = guardian_of(script.process.pid)
    script.process.send_signal(signal.SIGUSR1)
    assert script.line() == "closed"
    until(lambda: not alive(guardian), "the guardian ends, and says nothing")
    stays_led(client, name, term)
    script.process.kill()
    script.process.wait()
    stays_led(client, name, term)


@pytest.mark.slow
def test_a_holder_whose_guardian_is_killed_goes_on(client: Client, path: str, run: Run) -> None:
    process, term = begin(run, "asyncio", path, "alone")
    os.kill(guardian_of(process.pid), signal.SIGKILL)
    stays_led(client, "alone", term)
    assert process.poll() is None


@pytest.mark.slow
@pytest.mark.parametrize("face", FACES)
def test_a_lease_whose_handle_was_shown_is_in_no_will(face: str, client: Client, path: str, run: Run) -> None:
    name = f"shown {face}"
    script = run(HOLDER, face, path, name, "shows")
    term = int(script.line().split()[1])
    handle = script.line()
    guardian = guardian_of(script.process.pid)
    script.process.kill()
    until(lambda: not alive(guardian), "the guardian ends")
    assert client.renew_handle(handle) > 0.0
    stays_led(client, name, term)
    client.release_handle(handle)


@pytest.mark.slow
def test_signals_for_the_group_do_not_reach_the_guardian(client: Client, path: str, run: Run) -> None:
    process, _ = begin(run, "trio", path, "signals")
    guardian = guardian_of(process.pid)
    assert os.getsid(guardian) != os.getsid(process.pid)
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(guardian, signum)
    killed_at = time.monotonic()
    process.kill()
    with client.lock("signals", ttl=TTL_S):
        assert time.monotonic() - killed_at < SOON_S


@pytest.mark.slow
def test_the_guardian_is_nobodys_child_and_keeps_nothing_open(path: str, run: Run) -> None:
    process, _ = begin(run, "trio", path, "apart")
    guardian = guardian_of(process.pid)
    stat = Path(f"/proc/{guardian}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    assert int(stat[1]) != process.pid
    links = {fd.readlink() for fd in Path(f"/proc/{guardian}/fd").iterdir()}
    sockets = {link for link in links if str(link).startswith("socket:")}
    assert len(sockets) == 2  # the channel, and what the will is sent from
    assert {str(link) for link in links - sockets} <= {os.devnull, "anon_inode:[pidfd]"}
    process.send_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_pipeline_ends_with_its_program(path: str, run: Run) -> None:
    """A child that the holder leaves behind would keep the pipe; its guardian does not."""
    script = run(HOLDER, "blocking", path, "pipe", "just_wait")
    assert script.line().startswith("held")
    guardian = guardian_of(script.process.pid)
    os.kill(guardian, signal.SIGSTOP)  # it stays for longer than the holder
    script.process.kill()
    try:
        assert script.line() == ""
    finally:
        os.kill(guardian, signal.SIGCONT)


@pytest.mark.slow
def test_a_holder_that_has_forked_twice_has_a_will(client: Client, path: str, run: Run) -> None:
    script = run(HOLDER, "blocking", path, "twice", "double_fork")
    pid = int(script.line())
    assert script.line().startswith("held")
    guardian_of(pid)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    with client.lock("twice", ttl=TTL_S):
        assert time.monotonic() - began < SOON_S
