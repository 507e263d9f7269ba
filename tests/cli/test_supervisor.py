"""`paxlock run`'s child and its supervisor: real processes, a real clock, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

import paxlock
from paxlock.cli import processes, supervisor
from paxlock.cli.child import ChildEnd, CommandFailed, SupervisedChild, boot_time

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = [
    pytest.mark.slow,
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="strays are found through /proc and prctl"),
]

PATIENCE_S = 15.0  # for what must happen soon, on a busy machine
SOON_S = 3.0  # how late a KILL may be noticed there
LONG_S = 600.0  # a deadline that plays no part

OPEN = 'exec 9>"$LIFE"; '
HOLD = OPEN + "echo up >&9; exec sleep 600"
STUBBORN = OPEN + "trap '' TERM; echo up >&9; sleep 600; sleep 600"

# Starts a child as `paxlock run` does, tells its pid and then how it ended.
DRIVER = """
import os, sys, trio
from paxlock.cli.child import SupervisedChild, boot_time

async def main():
    term_in, kill_in, kill_after = map(float, sys.argv[1:4])
    now = boot_time()
    child = await SupervisedChild.start(
        sys.argv[4:], env=os.environ, term_at=now + term_in, kill_at=now + kill_in, kill_after=kill_after,
        foreground="FOREGROUND" in os.environ,
    )
    sys.exit((await child.wait()).returncode)

trio.run(main)
"""


class Lifeline:
    """A FIFO that the child and all that it starts hold open: it ends when the last of them has died."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._stream = trio.lowlevel.FdStream(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        self._own_end = os.open(path, os.O_WRONLY)
        self._text = b""

    async def line(self) -> str:
        """Return the next line that somebody wrote."""
        with trio.fail_after(PATIENCE_S):
            while b"\n" not in self._text:
                self._text += await self._stream.receive_some()
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    async def all_dead(self, within_s: float = PATIENCE_S) -> None:
        """Wait until nobody holds the FIFO any more."""
        self._release()
        with trio.fail_after(within_s):
            while await self._stream.receive_some():
                pass

    def _release(self) -> None:
        if self._own_end >= 0:
            os.close(self._own_end)
            self._own_end = -1

    async def aclose(self) -> None:
        self._release()
        await self._stream.aclose()


@pytest.fixture
async def life(tmp_path: Path) -> AsyncIterator[Lifeline]:
    lifeline = Lifeline(tmp_path / "life")
    yield lifeline
    await lifeline.aclose()


@pytest.fixture(autouse=True)
def no_strays() -> Iterator[None]:
    """Nothing that a test started may outlive it: neither child nor supervisor nor zombie."""
    before = {p.pid for p in processes.list_descendants(os.getpid())}
    yield
    assert [p.pid for p in processes.list_descendants(os.getpid()) if p.pid not in before] == []


async def start(
    life: Lifeline, *argv: str, term_in: float = LONG_S, kill_in: float = LONG_S, kill_after: float = 5.0
) -> SupervisedChild:
    now = boot_time()
    env = {**os.environ, "LIFE": str(life.path)}
    with trio.fail_after(PATIENCE_S):
        return await SupervisedChild.start(
            argv, env=env, term_at=now + term_in, kill_at=now + kill_in, kill_after=kill_after
        )


async def shell(life: Lifeline, script: str, **times: float) -> SupervisedChild:
    return await start(life, "/bin/sh", "-c", script, **times)


async def python(life: Lifeline, program: str, *args: str, **times: float) -> SupervisedChild:
    return await start(life, sys.executable, "-I", "-S", "-c", program, *args, **times)


async def ended(child: SupervisedChild) -> ChildEnd:
    with trio.fail_after(PATIENCE_S):
        return await child.wait()


async def drive(life: Lifeline, *arguments: str, **env: str) -> trio.Process:
    """Start the driver, a stand-in for `paxlock run`, in a process of its own."""
    source = str(Path(paxlock.__file__).parents[1])
    return await trio.lowlevel.open_process(
        [sys.executable, "-c", DRIVER, *arguments],
        env={**os.environ, "LIFE": str(life.path), "PYTHONPATH": source, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


# How a child ends


@pytest.mark.parametrize(("script", "returncode"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137)])
async def test_the_end_is_passed_through(life: Lifeline, script: str, returncode: int) -> None:
    child = await shell(life, script)
    assert await ended(child) == ChildEnd(returncode, by_deadline=False)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("no-such-command-here", 127, "not found"),
        ("/no/such/command", 127, "not found"),
        ("/", 126, "cannot be run"),
        ("/etc/passwd", 126, "cannot be run"),
    ],
)
async def test_a_command_that_cannot_be_started(life: Lifeline, command: str, code: int, said: str) -> None:
    with pytest.raises(CommandFailed, match=said) as failure:
        await start(life, command)
    assert failure.value.code == code
    assert command in failure.value.message


async def test_a_script_without_its_interpreter_is_not_found(life: Lifeline, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    with pytest.raises(CommandFailed, match="interpreter in its first line") as failure:
        await start(life, str(script))
    assert failure.value.code == 127


async def test_a_program_without_a_known_format_is_not_runnable(life: Lifeline, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("exit 0\n")
    script.chmod(0o755)
    with pytest.raises(CommandFailed, match="neither a program nor a script") as failure:
        await start(life, str(script))
    assert failure.value.code == 126


async def test_a_supervisor_that_cannot_be_started_is_said_so(
    life: Lifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(CommandFailed, match="supervisor of the command cannot be started") as failure:
        await start(life, "true")
    assert failure.value.code == 126


async def test_nothing_is_started_once_the_deadline_has_passed(life: Lifeline) -> None:
    with pytest.raises(CommandFailed, match="lease ended before") as failure:
        await shell(life, "echo up 9>$LIFE >&9", term_in=-0.5, kill_in=1.0)
    assert failure.value.code == 79
    await life.all_dead()
    assert life._text == b""


async def test_wait_may_be_cancelled_and_repeated(life: Lifeline) -> None:
    child = await shell(life, HOLD)
    assert await life.line() == "up"
    with trio.move_on_after(0) as scope:
        await child.wait()
    assert scope.cancelled_caught
    child.send_signal(signal.SIGUSR2)
    assert await ended(child) == await ended(child) == ChildEnd(140, by_deadline=False)
    child.send_signal(signal.SIGUSR2)
    child.extend(boot_time() + LONG_S, boot_time() + LONG_S)
    with trio.fail_after(PATIENCE_S):
        assert await child.end() == ChildEnd(140, by_deadline=False)


async def test_wait_and_end_from_two_tasks_agree(life: Lifeline) -> None:
    child = await shell(life, HOLD)
    assert await life.line() == "up"
    seen: list[ChildEnd] = []

    async def waiter() -> None:
        seen.append(await child.wait())

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiter)
            await trio.testing.wait_all_tasks_blocked()
            seen.append(await child.end())
    assert seen == [ChildEnd(143, by_deadline=False)] * 2


async def test_a_cancelled_start_leaves_nothing(life: Lifeline) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await shell(life, HOLD)
    assert scope.cancelled_caught
    await life.all_dead()


# The deadline


async def test_term_at_its_time_then_kill_at_its_time(life: Lifeline) -> None:
    program = (
        "import os, signal\n"
        "fd = os.open(os.environ['LIFE'], os.O_WRONLY)\n"
        "signal.signal(signal.SIGTERM, lambda *_: os.write(fd, b'term\\n'))\n"
        "os.write(fd, b'up\\n')\n"
        "while True: signal.pause()\n"
    )
    before = boot_time()
    child = await python(life, program, term_in=0.6, kill_in=1.0)
    assert await life.line() == "up"
    assert await life.line() == "term"
    assert before + 0.6 <= boot_time()
    assert await ended(child) == ChildEnd(137, by_deadline=True)
    assert before + 1.0 <= boot_time() <= before + 1.0 + SOON_S
    await life.all_dead(0.5)


async def test_a_child_that_obeys_term_is_not_killed(life: Lifeline) -> None:
    child = await shell(life, HOLD, term_in=0.3, kill_in=LONG_S)
    assert await ended(child) == ChildEnd(143, by_deadline=True)


async def test_a_stopped_child_acts_on_term(life: Lifeline) -> None:
    child = await shell(life, OPEN + "echo up >&9; kill -STOP $$; exit 9")
    assert await life.line() == "up"
    with trio.fail_after(PATIENCE_S):
        assert await child.end() == ChildEnd(143, by_deadline=False)


async def test_end_kills_after_the_grace(life: Lifeline) -> None:
    child = await shell(life, STUBBORN, kill_after=0.3)
    assert await life.line() == "up"
    before = boot_time()
    with trio.fail_after(PATIENCE_S):
        assert await child.end() == ChildEnd(137, by_deadline=False)
    assert before + 0.3 <= boot_time() <= before + 0.3 + SOON_S


async def test_end_waits_no_longer_than_the_deadline(life: Lifeline) -> None:
    child = await shell(life, STUBBORN, term_in=0.8, kill_in=0.8, kill_after=LONG_S)
    assert await life.line() == "up"
    with trio.fail_after(PATIENCE_S):
        assert await child.end() == ChildEnd(137, by_deadline=True)


async def test_extend_moves_the_deadline(life: Lifeline) -> None:
    before = boot_time()
    child = await shell(life, HOLD, term_in=0.5, kill_in=0.7)
    child.extend(before + 1.4, before + LONG_S)
    child.extend(before + 0.1, before + 0.2)  # never back
    assert await ended(child) == ChildEnd(143, by_deadline=True)
    assert before + 1.4 <= boot_time()


async def test_a_late_renewal_revives_nothing(life: Lifeline) -> None:
    before = boot_time()
    child = await shell(life, STUBBORN, term_in=0.5, kill_in=0.5)
    assert await life.line() == "up"
    # The supervisor finds the renewal in its pipe when it comes to itself after the deadline.
    child._process.send_signal(signal.SIGSTOP)
    await trio.sleep(before + 0.55 - boot_time())
    late = int((before + LONG_S) * 1e9)
    assert child._tell(f"deadline {late} {late}")
    child._process.send_signal(signal.SIGCONT)
    assert await ended(child) == ChildEnd(137, by_deadline=True)
    await life.all_dead(0.5)


async def test_this_side_sends_no_late_renewal(life: Lifeline) -> None:
    before = boot_time()
    child = await shell(life, STUBBORN, term_in=0.4, kill_in=0.4)
    await trio.sleep(before + 0.4 - boot_time())
    child.extend(before + LONG_S, before + LONG_S)
    assert child._kill_at < before + LONG_S
    assert await ended(child) == ChildEnd(137, by_deadline=True)


def test_the_supervisor_moves_its_deadline_forward_only() -> None:
    now = supervisor.boot_ns()
    hour = 3_600_000_000_000
    machine = supervisor.Supervisor(-1, now + hour, now + 2 * hour, 1)
    machine.obey(b"deadline %d %d" % (now, now))
    assert (machine.term_at, machine.kill_at) == (now + hour, now + 2 * hour)
    machine.obey(b"deadline %d %d" % (now + 3 * hour, now + 4 * hour))
    assert (machine.term_at, machine.kill_at) == (now + 3 * hour, now + 4 * hour)
    for nonsense in (b"", b"deadline", b"deadline 1", b"deadline x y", b"signal 99999", b"signal -1", b"en"):
        machine.obey(nonsense)
    assert (machine.term_at, machine.kill_at, machine.end_by) == (now + 3 * hour, now + 4 * hour, None)
    machine.killing = True
    machine.obey(b"deadline %d %d" % (now + 5 * hour, now + 6 * hour))
    assert machine.kill_at == now + 4 * hour


# Strays

STRAY = "trap '' TERM; echo stray >&9; sleep 600; sleep 600"
DAEMON = f'(setsid sh -c "{STRAY}" &) & '  # forked twice, in a session of its own, its parent gone


async def test_what_the_child_leaves_behind_is_gone_before_the_end_is_told(life: Lifeline) -> None:
    gate = 'until test -e "$LIFE.go"; do sleep 0.02; done; exit 5'
    child = await shell(life, OPEN + DAEMON + f'sh -c "{STRAY}" & ' + gate, kill_after=0.3)
    assert [await life.line(), await life.line()] == ["stray", "stray"]
    await trio.Path(f"{life.path}.go").touch()
    end = await ended(child)
    assert (end.returncode, end.by_deadline) == (5, False)
    assert end.left >= 2  # each shell, and what it runs at that moment
    assert len(end.left_pids) == end.left
    await life.all_dead(0.5)


async def test_strays_die_at_the_deadline(life: Lifeline) -> None:
    child = await shell(life, OPEN + DAEMON + STRAY, term_in=0.8, kill_in=1.0)
    assert [await life.line(), await life.line()] == ["stray", "stray"]
    assert await ended(child) == ChildEnd(137, by_deadline=True)
    await life.all_dead(0.5)


async def test_strays_that_obey_get_their_term(life: Lifeline) -> None:
    stray = "setsid sh -c \"trap 'echo bye >&9; exit' TERM; echo up >&9; while :; do sleep 0.05; done\" & "
    child = await shell(life, OPEN + stray + "wait")
    assert await life.line() == "up"
    with trio.fail_after(PATIENCE_S):
        assert await child.end() == ChildEnd(143, by_deadline=False)
    assert await life.line() == "bye"
    await life.all_dead(0.5)


async def test_adopted_orphans_are_buried_while_the_child_runs(life: Lifeline) -> None:
    # Each orphan ends after its parent did; none may stay behind as a zombie of the supervisor.
    script = OPEN + "for i in 1 2 3; do (sh -c 'exit 0' &); done; echo up >&9; exec sleep 600"
    child = await shell(life, script)
    assert await life.line() == "up"
    with trio.fail_after(PATIENCE_S):
        # No event tells that the supervisor has buried somebody.
        while len(processes.list_descendants(child._process.pid)) > 1:  # noqa: ASYNC110
            await trio.sleep(0.01)
        await child.end()


# Sessions, signals, descriptors, environment


async def test_sessions_and_groups(life: Lifeline) -> None:
    child = await shell(life, HOLD)
    keeper = child._process.pid
    assert os.getsid(child.pid) == os.getpgid(child.pid) == child.pid
    assert os.getsid(keeper) == keeper
    for signum in supervisor.IGNORED_SIGNALS:
        os.kill(keeper, signum)
    child.send_signal(signal.SIGUSR1)
    assert await ended(child) == ChildEnd(138, by_deadline=False)


async def test_signals_are_passed_on(life: Lifeline) -> None:
    script = OPEN + "trap 'echo got >&9; exit 7' USR1; echo up >&9; while :; do sleep 0.05; done"
    child = await shell(life, script)
    assert await life.line() == "up"
    child.send_signal(signal.SIGUSR1)
    assert await life.line() == "got"
    assert await ended(child) == ChildEnd(7, by_deadline=False)


def ignored_here() -> int:
    """The signals that this process ignores, also those that Python does not name."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in status if line.startswith("SigIgn")]
    return int(line.split()[1], 16)


async def test_the_child_starts_with_ordinary_signals(life: Lifeline) -> None:
    script = OPEN + "grep SigIgn /proc/self/status >&9"
    child = await shell(life, script)
    ignored = int((await life.line()).split()[1], 16)
    # What the interpreter ignores for its own sake is not passed on; what we were told to ignore is.
    python = sum(1 << (signum - 1) for signum in (signal.SIGPIPE, signal.SIGXFSZ))
    assert ignored == ignored_here() & ~python
    await ended(child)


async def test_stdin_and_stdout_are_those_of_the_caller(life: Lifeline) -> None:
    driver = await drive(life, "600", "600", "1", "/bin/sh", "-c", "cat; exit 4")
    assert driver.stdin is not None and driver.stdout is not None
    with trio.fail_after(PATIENCE_S):
        await driver.stdin.send_all(b"through\n")
        await driver.stdin.aclose()
        assert b"".join([chunk async for chunk in driver.stdout]) == b"through\n"
        assert await driver.wait() == 4


async def test_open_descriptors_go_to_the_child_and_stay_open_nowhere_else(life: Lifeline) -> None:
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    program = (
        "import os, signal, sys\n"
        "fd = int(sys.argv[1])\n"
        "os.write(fd, b'given')\n"
        "os.close(fd)\n"
        "signal.pause()\n"
    )
    child = await python(life, program, str(write_end))
    os.close(write_end)
    async with trio.lowlevel.FdStream(read_end) as stream:
        with trio.fail_after(PATIENCE_S):
            # It ends while the child is alive: the supervisor does not hold it.
            assert b"".join([chunk async for chunk in stream]) == b"given"
    with trio.fail_after(PATIENCE_S):
        assert await child.end() == ChildEnd(143, by_deadline=False)


@pytest.mark.parametrize("extra", [{}, {"LC_CTYPE": "C"}, {"NAME": "caf\u00e9\udcff"}])
async def test_the_environment_is_exactly_the_given_one(life: Lifeline, extra: dict[str, str]) -> None:
    env = {"LIFE": str(life.path), **extra}
    program = (
        "import os\n"
        "text = open('/proc/self/environ', 'rb').read()\n"
        "open(os.environ['LIFE'], 'wb').write(text + b'\\n')\n"
    )
    now = boot_time()
    argv = [sys.executable, "-I", "-S", "-c", program]
    child = await SupervisedChild.start(argv, env=env, term_at=now + 60, kill_at=now + 60, kill_after=1.0)
    with trio.fail_after(PATIENCE_S):
        while b"\n" not in life._text:
            life._text += await life._stream.receive_some()
    given = dict(entry.split(b"=", 1) for entry in life._text.strip(b"\n").strip(b"\0").split(b"\0"))
    assert given == {os.fsencode(key): os.fsencode(value) for key, value in env.items()}
    assert await ended(child) == ChildEnd(0, by_deadline=False)


def test_pipes_keep_clear_of_stdio() -> None:
    saved = os.dup(0)
    try:
        os.close(0)
        ends = supervisor.pipe_above_stdio()
    finally:
        os.dup2(saved, 0)
        os.close(saved)
    assert min(ends) >= 3
    assert not any(os.get_inheritable(fd) for fd in ends)
    for fd in ends:
        os.close(fd)


# When `paxlock run` or the supervisor is killed or stopped


async def test_when_the_caller_is_killed_the_child_gets_term_at_once(life: Lifeline) -> None:
    driver = await drive(life, "600", "600", "600", "/bin/sh", "-c", HOLD)
    assert await life.line() == "up"
    driver.kill()
    await life.all_dead()
    await driver.wait()


async def test_when_the_caller_is_killed_a_stubborn_child_and_its_strays_are_killed(life: Lifeline) -> None:
    driver = await drive(life, "600", "600", "0.3", "/bin/sh", "-c", OPEN + DAEMON + STRAY)
    assert [await life.line(), await life.line()] == ["stray", "stray"]
    driver.kill()
    await life.all_dead()
    await driver.wait()


async def test_when_the_caller_is_stopped_the_child_dies_at_the_deadline(life: Lifeline) -> None:
    before = boot_time()
    driver = await drive(life, "1.5", "2", "600", "/bin/sh", "-c", STUBBORN)
    assert await life.line() == "up"
    driver.send_signal(signal.SIGSTOP)
    await life.all_dead()
    assert before + 2 <= boot_time()
    driver.send_signal(signal.SIGCONT)
    with trio.fail_after(PATIENCE_S):
        assert await driver.wait() == 137


async def test_when_the_supervisor_is_killed_the_child_dies_too(life: Lifeline) -> None:
    # `set -m` gives the second one a process group of its own, within the child's session.
    script = OPEN + f'set -m; sh -c "{STRAY}" & set +m; sh -c "{STRAY}" & ' + STRAY
    child = await shell(life, script)
    assert [await life.line() for _ in range(3)] == ["stray"] * 3
    child._process.kill()
    assert await ended(child) == ChildEnd(137, by_deadline=False)
    await life.all_dead(0.5)


async def test_when_the_supervisor_of_a_child_in_the_foreground_is_killed_all_die(life: Lifeline) -> None:
    script = OPEN + DAEMON + STRAY
    driver = await drive(life, "600", "600", "600", "/bin/sh", "-c", script, FOREGROUND="yes")
    assert [await life.line(), await life.line()] == ["stray", "stray"]
    (keeper,) = [p for p in processes.list_descendants(driver.pid) if p.parent == driver.pid]
    (child,) = [p for p in processes.list_descendants(keeper.pid) if p.group == os.getpgid(driver.pid)][:1]
    assert (keeper.group, child.session) == (keeper.pid, os.getsid(driver.pid))
    os.kill(keeper.pid, signal.SIGKILL)
    with trio.fail_after(PATIENCE_S):
        assert await driver.wait() == 137
    await life.all_dead(0.5)


async def test_a_stopped_supervisor_of_a_child_in_the_foreground_leaves_nobody_after_the_deadline(
    life: Lifeline,
) -> None:
    script = OPEN + DAEMON + STRAY
    driver = await drive(life, "2", "2", "600", "/bin/sh", "-c", script, FOREGROUND="yes")
    assert [await life.line(), await life.line()] == ["stray", "stray"]
    (keeper,) = [p for p in processes.list_descendants(driver.pid) if p.parent == driver.pid]
    os.kill(keeper.pid, signal.SIGSTOP)
    await life.all_dead()
    with trio.fail_after(PATIENCE_S):
        assert await driver.wait() == 137


async def test_when_both_are_killed_the_child_dies(life: Lifeline) -> None:
    driver = await drive(life, "600", "600", "600", "/bin/sh", "-c", OPEN + "echo up >&9; exec sleep 600")
    assert await life.line() == "up"
    (keeper,) = [p for p in processes.list_descendants(driver.pid) if p.parent == driver.pid]
    driver.send_signal(signal.SIGSTOP)
    os.kill(keeper.pid, signal.SIGKILL)
    driver.kill()
    await life.all_dead()
    await driver.wait()


async def test_a_stopped_supervisor_is_woken_at_the_deadline_and_leaves_no_strays(life: Lifeline) -> None:
    before = boot_time()
    child = await shell(life, OPEN + DAEMON + STRAY, term_in=0.8, kill_in=0.8)
    assert [await life.line(), await life.line()] == ["stray", "stray"]
    child._process.send_signal(signal.SIGSTOP)
    assert (await ended(child)).returncode == 137
    assert before + 0.8 <= boot_time() <= before + 0.8 + SOON_S
    await life.all_dead(0.5)


async def test_a_child_dies_in_time_though_its_supervisor_cannot_be_woken(
    life: Lifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paxlock.cli.child.GIVE_UP_AFTER_S", LONG_S)
    child = await shell(life, STUBBORN, term_in=0.6, kill_in=0.6)
    assert await life.line() == "up"
    os.kill(child._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(child._process, "send_signal", lambda signum: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ended, child)
        await life.all_dead()
        os.kill(child._process.pid, signal.SIGCONT)


async def test_a_supervisor_that_never_answers_is_given_up(
    life: Lifeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = await shell(life, STUBBORN, term_in=0.6, kill_in=0.6)
    assert await life.line() == "up"
    os.kill(child._process.pid, signal.SIGSTOP)
    send_signal = child._process.send_signal

    def deaf(signum: int) -> None:
        if signum != signal.SIGCONT:
            send_signal(signum)

    monkeypatch.setattr(child._process, "send_signal", deaf)
    assert await ended(child) == ChildEnd(137, by_deadline=True)
    await life.all_dead(0.5)


async def test_a_full_pipe_drops_renewals_and_blocks_nobody(life: Lifeline) -> None:
    child = await shell(life, STUBBORN, kill_after=0.3)
    assert await life.line() == "up"
    child._process.send_signal(signal.SIGSTOP)
    now = boot_time()
    step = 0
    while child._kill_at >= now + LONG_S + step - 1:
        step += 1
        assert step < 10_000
        child.extend(now + LONG_S + step, now + LONG_S + step)
    assert child._kill_at < now + LONG_S + step
    child.send_signal(signal.SIGTERM)
    with trio.fail_after(PATIENCE_S):
        assert (await child.end()).returncode == 137
    await life.all_dead(0.5)


def test_a_child_that_has_no_group_yet_is_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "list_descendants", lambda root: [])
    machine = supervisor.Supervisor(-1, 0, 0, 0)
    with subprocess.Popen(["sleep", "600"]) as child:
        machine.pid = child.pid
        machine.signal_all(signal.SIGTERM, signal.SIGCONT)
        assert child.wait(PATIENCE_S) == -signal.SIGTERM


def test_a_recycled_pid_is_not_signalled() -> None:
    mine = processes.find_process(os.getpid())
    assert mine is not None
    mine.started += 1
    assert processes.signal_process(mine, signal.SIGKILL)
    assert processes.find_process(2**22 + 1) is None


async def test_a_foreign_session_with_the_same_number_is_not_killed(life: Lifeline) -> None:
    child = await shell(life, HOLD)
    assert await life.line() == "up"
    born, child._birth = child._birth, -1
    assert not child._kill_session()
    child._birth = born
    with trio.fail_after(PATIENCE_S):
        assert await child.end() == ChildEnd(143, by_deadline=False)
