"""The child of ``paxlock run``, seen from trio: it dies at a deadline that only renewals move.

The work is done by :mod:`paxlock.cli.supervisor`, a process of its own; this module starts it, passes
renewals and signals on to it, and hears from it how the child ended (contract.md section 3, ``run``).
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs
import trio

from paxlock.cli import processes, supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from paxlock.cli.run_will import RunWill

__all__ = ["ChildEnd", "CommandFailed", "SupervisedChild", "boot_time"]

SIGNAL_BASE = 128  # shells report the death by signal N as the exit code 128 + N
TICK_S = 0.25  # how often the boot-time clock is looked at: trio's own clock stands still in a suspend
NUDGE_AFTER_S = 0.1  # after KILL was due: kill the child's session from here, and wake the supervisor
GIVE_UP_AFTER_S = 2.0  # after KILL was due: kill the supervisor as well
SWEEP_STEP_S = 0.01
SWEEP_MAX_S = 2.0
ANSWER_MAX_BYTES = 65_536


class CommandFailed(Exception):
    """The command could not be started.

    ``code`` is the exit code to end with: 127 not found, 126 not runnable, 79 if the deadline had passed
    before the command could be started. ``message`` is one sentence for people.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[CommandFailed], tuple[int, str]]:
        return type(self), (self.code, self.message)


@attrs.frozen
class ChildEnd:
    """How the child ended.

    ``returncode`` is its exit code, or 128 + the signal that killed it; ``by_deadline`` says that it was
    ended because the deadline came. ``left`` is how many processes the child left behind when it ended by
    itself, which were then ended; the first of them are named by ``left_pids``.
    """

    returncode: int
    by_deadline: bool
    left: int = 0
    left_pids: tuple[int, ...] = ()


def boot_time() -> float:
    """Return the clock of all deadlines here: seconds of the boot-time clock, or of the monotonic one."""
    return supervisor.boot_ns() / 1e9


def _to_ns(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


def _start_supervisor(
    arguments: Sequence[str], env: Mapping[str, str], fds: Sequence[int], foreground: bool
) -> subprocess.Popen[bytes]:
    """Start the supervisor script with our stdio and ``fds``, in a session of its own, or, for a child in the
    foreground, in a process group of its own: what a terminal sends to its job does not reach it.

    Descriptors that we were given to inherit (a shell's ``<(...)``, a job server) go along to the command.
    """
    inherited = [fd for fd in supervisor.open_fds() if fd not in fds and _is_inheritable(fd)]
    script = Path(supervisor.__file__).with_name("supervise.py")
    return subprocess.Popen(
        [sys.executable, "-I", "-S", script, *arguments],
        env=dict(env),
        pass_fds=[*fds, *inherited],
        start_new_session=not foreground,
        process_group=0 if foreground else None,
    )


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # closed since it was listed


class SupervisedChild:
    """A running command and the supervisor that owns it; made by :meth:`start`.

    Every child that was started has to be seen off with :meth:`wait` or :meth:`end`: only these give back
    the descriptors and the process table entry.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        control: int,
        status: int,
        kill_at: float,
        kill_after: float,
        foreground: bool,
    ) -> None:
        self._process = process
        self._control = control
        self._status = trio.lowlevel.FdStream(status)
        self._kill_at = kill_at
        self._kill_after = kill_after
        self._foreground = foreground
        self._left: tuple[int, ...] = ()
        self._end_by = math.inf
        self._nudged = False
        self._text = b""
        self._pid = 0
        self._birth: int | None = None
        self._reading = trio.Lock()
        self._ended: ChildEnd | None = None

    @property
    def pid(self) -> int:
        """The child's process id; without ``foreground`` also the number of its group and of its session."""
        return self._pid

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        term_at: float,
        kill_at: float,
        kill_after: float,
        foreground: bool = False,
        will: RunWill | None = None,
    ) -> Self:
        """Start ``argv`` with exactly the environment ``env`` and our stdin, stdout and stderr.

        TERM goes to the child and all that it started at ``term_at``, KILL at ``kill_at``, both seconds of
        :func:`boot_time`; ``kill_after`` is the time in seconds between TERM and KILL when an end is asked
        for. With ``foreground`` the child stays in our process group, and so keeps our terminal.
        The supervisor carries out our last ``will``, if there is one.
        Raises :class:`CommandFailed` if the command cannot be started. If cancelled, nothing is left.
        """
        times = [str(_to_ns(seconds)) for seconds in (term_at, kill_at, kill_after)]
        control_read, control_write = supervisor.pipe_above_stdio()
        status_read, status_write = supervisor.pipe_above_stdio()
        os.set_blocking(control_write, False)
        ctype = f"={env['LC_CTYPE']}" if "LC_CTYPE" in env else ""
        job = str(os.getpgrp()) if foreground else "0"
        will_text, will_fds = will.argument() if will is not None else ("", [])
        if will is not None and will_fds:
            os.write(control_write, "".join(f"{line}\n" for line in will.first).encode())
        arguments = [str(control_read), str(status_write), *times, job, will_text, ctype, *argv]
        if foreground:  # what the child has started comes to us if the supervisor is lost
            processes.set_process_option(processes.PR_SET_CHILD_SUBREAPER, 1)
        try:
            fds = (control_read, status_write, *will_fds)
            process = _start_supervisor(arguments, env, fds, foreground)
        except (OSError, ValueError) as error:
            os.close(control_write)
            os.close(status_read)
            reason = getattr(error, "strerror", None) or str(error)
            message = f"the supervisor of the command cannot be started: {reason}"
            raise CommandFailed(supervisor.NOT_RUNNABLE, message) from error
        finally:
            os.close(control_read)
            os.close(status_write)
            for fd in will_fds[:1]:  # the pidfd; the others are the client's
                os.close(fd)
        child = cls(process, control_write, status_read, kill_at, kill_after, foreground)
        if will is not None:
            will.started(child._tell, child._give_up_supervisor)
        try:
            await child._begin()
        except CommandFailed:
            await child._see_off()
            raise
        except BaseException:
            await child.end()
            raise
        return child

    def extend(self, term_at: float, kill_at: float) -> None:
        """Move the deadline forward (seconds of :func:`boot_time`). Never blocks and never raises.

        A deadline that has passed is never revived, and none moves back. If the pipe to the supervisor is
        full the update is dropped: the child then dies earlier, which is the safe side.
        """
        if boot_time() < self._kill_at and self._tell(f"deadline {_to_ns(term_at)} {_to_ns(kill_at)}"):
            self._kill_at = max(self._kill_at, kill_at)

    def send_signal(self, signum: int) -> None:
        """Pass a signal on to the child's process group; does nothing once the child has ended."""
        self._tell(f"signal {int(signum)}")

    async def wait(self) -> ChildEnd:
        """Wait until the child and all that it started are gone, and say how the child ended.

        May be cancelled and called again, also after the end. If the supervisor is lost, the child's
        session is killed from here and 137 reported.
        """
        await self._reading.acquire()
        try:
            return self._ended or await self._hear_end()
        finally:
            self._reading.release()

    async def end(self) -> ChildEnd:
        """End the child: TERM now, KILL after ``kill_after`` or at the deadline; then as :meth:`wait`.

        Not cancellable: it takes no longer than the time to KILL and the two seconds after which even a
        supervisor that does not answer is given up.
        """
        if self._ended is None:
            self._tell("end")
            self._end_by = min(self._end_by, boot_time() + self._kill_after)
        with trio.CancelScope(shield=True):
            ended = await self.wait()
        return ended  # noqa: RET504 - mypy takes it that a scope may swallow the return

    def _tell(self, line: str) -> bool:
        """Write a control line, whole or not at all; tell whether it was written."""
        if self._control < 0:
            return False
        try:
            os.write(self._control, f"{line}\n".encode())
        except (BlockingIOError, BrokenPipeError):
            return False
        return True

    def _give_up_supervisor(self) -> None:
        self._process.kill()
        self._process.wait()

    async def _begin(self) -> None:
        """Wait for the supervisor's first line; of a command that has ended at once it may be the second."""
        line = await self._next_line()
        if line.startswith("left "):
            self._note_left(line)
            line = await self._next_line()
        word, _, rest = line.partition(" ")
        if word == "failed":
            code, _, message = rest.partition(" ")
            raise CommandFailed(int(code), message)
        if word != "started":
            message = "the supervisor of the command ended before the command was started"
            raise CommandFailed(supervisor.NOT_RUNNABLE, message)
        self._note_pid(line)

    async def _hear_end(self) -> ChildEnd:
        """Read the supervisor's last line and give back what it held."""
        while (line := await self._next_line()).startswith(("started ", "left ")):
            if line.startswith("left "):
                self._note_left(line)
            else:
                self._note_pid(line)  # here only if the start was cancelled
        with trio.CancelScope(shield=True):
            ended = self._ended = await self._conclude(line)
        return ended

    def _note_left(self, line: str) -> None:
        self._left = tuple(map(int, line.split()[1:]))

    def _note_pid(self, line: str) -> None:
        self._pid = int(line.partition(" ")[2])
        # The supervisor has not buried it, or is about to report that it did: nobody else has this pid yet.
        born = processes.find_process(self._pid)
        self._birth = born.started if born is not None else None

    async def _next_line(self) -> str:
        """Return the next status line, or ``""`` if the supervisor is gone; keep an eye on the clock."""
        while b"\n" not in self._text:
            with trio.move_on_after(TICK_S):
                data = await self._status.receive_some(ANSWER_MAX_BYTES)
                if not data:
                    return ""
                self._text += data
            self._check_supervisor()
        line, _, self._text = self._text.partition(b"\n")
        return line.decode("utf-8", "replace")

    def _check_supervisor(self) -> None:
        """Step in for a supervisor that did not kill in time, because it was stopped, say."""
        late = boot_time() - min(self._kill_at, self._end_by)
        if late >= NUDGE_AFTER_S and not self._nudged:
            self._nudged = True
            self._kill_session()
            self._process.send_signal(signal.SIGCONT)
        if late >= GIVE_UP_AFTER_S:
            self._process.kill()

    async def _conclude(self, line: str) -> ChildEnd:
        """Make of the supervisor's last line what it says, and give back what it held."""
        await self._see_off()
        match line.split():
            case ["exited", code, *flags]:
                return self._end_with(int(code), flags)
            case ["signaled", signum, *flags]:
                return self._end_with(SIGNAL_BASE + int(signum), flags)
            case ["failed", code, *_]:
                return ChildEnd(int(code), False)
            case _:
                await self._sweep()
                return ChildEnd(SIGNAL_BASE + signal.SIGKILL, boot_time() >= self._kill_at)

    def _end_with(self, code: int, flags: Sequence[str]) -> ChildEnd:
        left, *pids = self._left or (0,)
        return ChildEnd(code, "deadline" in flags, left, tuple(pids))

    async def _see_off(self) -> None:
        """Reap the supervisor, which has nothing left to do, and close the pipes."""
        with trio.CancelScope(shield=True):
            # It is ending by itself; a KILL gets at it even if somebody stopped it. So this wait is short.
            self._process.kill()
            await trio.to_thread.run_sync(self._process.wait)
            if self._control >= 0:
                os.close(self._control)
                self._control = -1
            await self._status.aclose()

    def _kill_session(self) -> bool:
        """Send KILL to the child's session (its group, where there is no ``/proc``); False if it is empty.

        A child in the foreground has our session: there it is all that is below us but the supervisor.

        Once the supervisor is gone the pid may be given away, so its owner's time of birth is compared.
        """
        if self._pid <= 0:
            return False
        if self._foreground:
            below = processes.list_descendants(os.getpid())
            members = [p for p in below if p.alive and p.pid != self._process.pid]
            killed = [processes.signal_process(process, signal.SIGKILL) for process in members]
            return any(killed)
        if not processes.HAS_PROC:
            return processes.signal_group(self._pid, signal.SIGKILL)
        leader = processes.find_process(self._pid)
        if leader is not None and leader.started != self._birth:
            return False
        members = [p for p in processes.list_processes() if p.session == self._pid and p.alive]
        if members:
            processes.signal_group(self._pid, signal.SIGKILL)
        killed = [processes.signal_process(process, signal.SIGKILL) for process in members]
        return any(killed)

    async def _sweep(self) -> None:
        """Kill the child's session until it is empty."""
        with trio.move_on_after(SWEEP_MAX_S):
            while self._kill_session():  # noqa: ASYNC110 - no event tells that a stranger's child has ended
                await trio.sleep(SWEEP_STEP_S)
