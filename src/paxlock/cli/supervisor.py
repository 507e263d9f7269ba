"""The small process that owns the child of ``paxlock run`` and kills it in time.

Started as a script with the arguments ``CONTROL STATUS TERM_AT KILL_AT KILL_AFTER JOB WILL LC_CTYPE
COMMAND...``,
in a session of its own, or, where ``JOB`` is not 0, in a process group of its own. It imports the standard
library alone, so that it is up in a few milliseconds and nothing that goes wrong in ``paxlock run`` can reach
it.

``CONTROL`` and ``STATUS`` are numbers of inherited descriptors; the three times are nanoseconds (``TERM_AT``
and ``KILL_AT`` of the boot-time clock, ``KILL_AFTER`` a duration). ``JOB`` is the process group that the
child joins, so that it keeps the terminal (``--foreground``); 0 gives it a session of its own. ``WILL`` is
empty, or ``NOT_BEFORE:HOLDER:SOCKETS``: a time of the boot-time clock, a pidfd of ``paxlock run``, and the
sockets (numbers with commas between them) that its last will is sent from. ``LC_CTYPE``
is ``=VALUE`` or empty: the interpreter may change that variable in its own environment, and the command must
get what was meant for it.

Lines on the control pipe:

============================  ========================================================================
``deadline TERM_AT KILL_AT``  a renewal: both move, forward only, and never once ``KILL_AT`` has passed
``signal N``                  pass this signal on to the child's process group
``will ...``                  a deposit of the last will (last_will.py), in the place of an earlier one
``end``                       TERM now, KILL after ``KILL_AFTER`` at most
end of file                   ``paxlock run`` is gone: the same as ``end``
============================  ========================================================================

Lines on the status pipe: ``started PID`` or ``failed CODE MESSAGE``; ``left COUNT PID...`` if the child has
ended and some that it started (the first of them are named) had not; then ``exited CODE`` or ``signaled N``,
with `` deadline`` behind it if the deadline ended the child. The end is reported only after the child and
all that it started are gone.

What holds (contract.md section 3): TERM goes out at ``TERM_AT`` and KILL at ``KILL_AT`` by this process's own
clock, whatever happens to ``paxlock run`` and to the network. If this process is killed, the kernel kills
the child (``PR_SET_PDEATHSIG``) and ``paxlock run`` kills the child's session, or, in a job, what the child
has started.

The last will (protocol.md section 11): once the child and all that it started are gone, and the pidfd says
that ``paxlock run`` is dead as well, the Releases that it has deposited are sent.

Limits: orphans are found through subreapers and ``/proc`` (Linux); elsewhere one that left the process
group, or was started in a job, is not found. One that runs under another user cannot be signalled; it is not
waited for after KILL.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import sys
import time

from paxlock.cli.processes import (
    HAS_PROC,
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    READ_BYTES,
    Process,
    find_process,
    list_descendants,
    set_process_option,
    signal_group,
    signal_process,
)

TYPE_CHECKING = False  # the module that it is usually imported from takes long to load
if TYPE_CHECKING:
    from paxlock.cli.heir import Heir

TICK_MS = 250  # the longest wait: poll() does not count the time that the machine sleeps
KILL_RETRY_MS = 10  # the first wait between two rounds of KILL; doubles up to TICK_MS
LINE_BYTES = 4000  # the longest line on either pipe: below PIPE_BUF, so that each is written whole

LEASE_LOST = 79  # contract.md section 3: the lease ended before the command could be started
NOT_RUNNABLE = 126
NOT_FOUND = 127
LEFT_NAMED_MAX = 20  # of those that the child left behind, so many are named

FIRST_FD_ABOVE_STDIO = 3

# Sent to everybody by a terminal or a stopping system: `paxlock run` passes them on, this process stays.
IGNORED_SIGNALS = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGPIPE,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def boot_ns() -> int:
    """Return the boot-time clock in nanoseconds; the monotonic one where there is no boot-time clock."""
    if sys.platform == "linux":
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()


def pipe_above_stdio() -> tuple[int, int]:
    """Return a pipe (read end, write end), not inherited; raises OSError if no descriptor is left.

    In a program started with its stdout closed ``pipe()`` returns descriptor 1: the child would write to it.
    """
    low = os.pipe()
    high: list[int] = []
    try:
        high.extend(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FD_ABOVE_STDIO) for fd in low)
    finally:
        for fd in low:
            os.close(fd)
    return high[0], high[1]


def open_fds() -> list[int]:
    """Return the descriptors above stdio that are open in this process."""
    try:
        names = os.listdir("/dev/fd")  # noqa: PTH208 - pathlib takes as long to import as all the rest
    except OSError:
        return []
    return [fd for fd in map(int, names) if fd >= FIRST_FD_ABOVE_STDIO]


class Supervisor:
    """One child, its deadline, and all that has to be dead then.

    Times are nanoseconds of the boot-time clock. The machine: TERM is sent once, at ``term_at`` or as soon as
    an end was asked for or the child has ended and left others behind; KILL from ``kill_due`` on, again and
    again until nothing is left. Nothing leads back out of the killing.
    """

    def __init__(self, status: int, term_at: int, kill_at: int, kill_after: int, job: int = 0) -> None:
        self.status = status
        self.job = job  # the process group that the child shares with `paxlock run`; 0: it has its own
        self.term_at = term_at
        self.kill_at = kill_at
        self.kill_after = kill_after
        self.pid = 0
        self.wait_status: int | None = None  # of a child that had to be reaped at once, where no /proc is
        self.end_by: int | None = None  # KILL at the latest then, because an end was asked for
        self.child_ended = False
        self.term_sent = False
        self.killing = False
        self.by_deadline = False
        self.retry_ms = KILL_RETRY_MS
        self.untouchable: set[tuple[int, int]] = set()  # (pid, start time) of those that may not be killed
        self.heir: Heir | None = None  # who carries out the last will of `paxlock run`

    def report(self, line: str) -> None:
        """Write one status line. Whoever should read it may be gone, which changes nothing here."""
        text = line.encode("utf-8", "backslashreplace")[: LINE_BYTES - 1] + b"\n"
        try:
            os.write(self.status, text)
        except OSError:
            return

    def obey(self, line: bytes) -> None:
        """Carry out one control line; a line that makes no sense is ignored, and the deadline stays."""
        match line.split():
            case [b"deadline", term_at, kill_at] if term_at.isdigit() and kill_at.isdigit():
                self.extend(int(term_at), int(kill_at))
            case [b"signal", signum] if signum.isdigit() and 0 < int(signum) < signal.NSIG:
                self.pass_on(int(signum))
            case [b"will", *_] if self.heir is not None:
                self.heir.take(line)
            case [b"end"]:
                self.ask_end()
            case _:
                return

    def extend(self, term_at: int, kill_at: int) -> None:
        """Move the deadline forward. What has passed is never revived: a late renewal changes nothing."""
        if not self.killing and boot_ns() < self.kill_at:
            self.term_at = max(self.term_at, term_at)
            self.kill_at = max(self.kill_at, kill_at)

    def ask_end(self) -> None:
        """TERM at the next step, KILL after ``kill_after`` or at the deadline; once is enough."""
        if self.end_by is None:
            self.end_by = boot_ns() + self.kill_after

    def pass_on(self, signum: int) -> None:
        """Send a signal to the child's group; of a job, to the part of it that the child has started."""
        if not self.job:
            signal_group(self.pid, signum)
            return
        self.signal_child(signum)
        for process in self.survivors():
            if process.group == self.job:
                signal_process(process, signum)

    def signal_child(self, signum: int) -> None:
        """Send a signal to the child alone."""
        if (child := find_process(self.pid)) is not None:
            signal_process(child, signum)
        elif not HAS_PROC and not self.child_ended:
            os.kill(self.pid, signum)

    def reap(self) -> None:
        """Bury adopted orphans, and notice the child's end.

        The child stays a zombie, so that its pid, the number of its process group, goes to nobody else.
        """
        if not HAS_PROC:
            if not self.child_ended:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.child_ended = pid == self.pid
                self.wait_status = status
            return
        while not self.child_ended:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None:
                return
            if ended.si_pid == self.pid:
                self.child_ended = True
            else:
                os.waitpid(ended.si_pid, 0)

    def survivors(self) -> list[Process]:
        """Return what the child started and is still there, the child itself not.

        A process that forks and ends while the table is read leaves a zombie in it, and its child out of it.
        So zombies are buried and the table is read again, until it shows none.
        """
        while True:
            found = [p for p in list_descendants(os.getpid()) if p.pid != self.pid]
            buried = False
            for process in found:
                if not process.alive and process.parent == os.getpid():
                    pid, _ = os.waitpid(process.pid, os.WNOHANG)
                    buried = buried or pid == process.pid
            if not buried:
                return [p for p in found if (p.pid, p.started) not in self.untouchable]

    def anyone_left(self) -> bool:
        """Tell whether something has to end before the end can be reported; the child must have ended.

        The first time that is reported, before they are told to end.
        """
        if not HAS_PROC:
            return not self.job and signal_group(self.pid, 0)
        left = self.survivors()
        if left and not self.term_sent and not self.killing:
            pids = " ".join(str(process.pid) for process in left[:LEFT_NAMED_MAX])
            self.report(f"left {len(left)} {pids}")
            self.ask_end()
        return bool(left)

    def signal_all(self, *signums: int) -> None:
        """Send the signals to the group at once, and to each descendant that has left it.

        The group of a job is not all the child's: there each one is signalled by itself.
        """
        for signum in signums:
            if self.job or not signal_group(self.pid, signum):
                self.signal_child(signum)  # it may not have come to make its group yet
        for process in self.survivors():
            for signum in signums:
                if signum == signal.SIGKILL:
                    if not signal_process(process, signum):
                        self.untouchable.add((process.pid, process.started))
                elif self.job or process.group != self.pid:
                    signal_process(process, signum)

    def kill_due(self) -> int:
        """Return when KILL is due: the deadline, or earlier if an end was asked for."""
        return self.kill_at if self.end_by is None else min(self.kill_at, self.end_by)

    def step(self) -> bool:
        """Do what is due now; return True when the child and all its kin are gone."""
        self.reap()
        if self.child_ended:
            if not self.anyone_left():
                return True
            self.ask_end()
        now = boot_ns()
        if self.killing or now >= self.kill_due():
            if not self.child_ended and not self.killing and self.kill_due() == self.kill_at:
                self.by_deadline = True
            self.killing = True
            self.signal_all(signal.SIGKILL)
        elif not self.term_sent and (self.end_by is not None or now >= self.term_at):
            self.by_deadline = self.end_by is None
            self.term_sent = True
            self.signal_all(signal.SIGTERM, signal.SIGCONT)  # a stopped process acts on TERM once continued
        return False

    def wait_ms(self) -> int:
        """Return how long to wait for an event, in milliseconds, rounded up: waking early would spin."""
        if self.killing:
            retry_ms, self.retry_ms = self.retry_ms, min(2 * self.retry_ms, TICK_MS)
            return retry_ms
        if not self.term_sent and self.end_by is not None:
            return 0
        due = self.kill_due() if self.term_sent else min(self.term_at, self.kill_due())
        return max(0, min(TICK_MS, -(-(due - boot_ns()) // 1_000_000)))

    def may_bequeath(self) -> bool:
        """Whether nobody works under the lease any more, as far as the child is concerned: it and all that it
        started are gone. Where that cannot be seen, or one could not be killed, it may not.
        """
        return self.child_ended and not self.untouchable and HAS_PROC and not self.survivors()

    def final_line(self) -> str:
        """Bury the child and return the line that reports its end."""
        if self.wait_status is None:
            _, self.wait_status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(self.wait_status)
        flag = " deadline" if self.by_deadline else ""
        return f"exited {code}{flag}" if code >= 0 else f"signaled {-code}{flag}"


def run_command(argv: list[str], supervisor_pid: int, job: int, errors: int) -> None:
    """In the forked child: become the command. Does not return; a failure goes out as its errno."""
    code = errno.EINTR
    try:
        if job:
            os.setpgid(0, job)
        else:
            os.setsid()
        set_process_option(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor_pid:
            os._exit(NOT_RUNNABLE)  # the supervisor died before the kernel was told to watch it
        for name in ("SIGPIPE", "SIGXFSZ"):  # the interpreter ignores these at its start
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        os.execvp(argv[0], argv)
    except OSError as error:
        code = error.errno or errno.EINVAL
    except ValueError:
        code = errno.EINVAL
    finally:
        os.write(errors, str(code).encode())
        os._exit(NOT_FOUND)


def describe_failure(command: str, error: int) -> str:
    """Return the status line of a failed start: the exit code (126 or 127, as in shells) and a sentence."""
    code, why = NOT_RUNNABLE, os.strerror(error)
    if error == errno.ENOEXEC:
        why = "neither a program nor a script with a #! line"
    elif error in (errno.ENOENT, errno.ENOTDIR):
        code = NOT_FOUND
        if "/" not in command or not os.path.exists(command):  # noqa: PTH110 - no pathlib here
            return f"failed {code} command not found: {command!r}"
        why = "the interpreter in its first line was not found"
    return f"failed {code} {command!r} cannot be run: {why}"


def leave_stdio(keep: set[int]) -> None:
    """Close all that the child got as well: a pipe must end when the child ends."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(FIRST_FD_ABOVE_STDIO):
        if fd != null:
            os.dup2(null, fd)
    for fd in open_fds():
        if fd not in keep:
            try:
                os.close(fd)
            except OSError:
                continue  # the descriptor that listed the folder


def wake_on_child() -> tuple[int, int]:
    """Make the end of a child readable: return the pipe (read end, write end) that gets a byte then."""
    wake_read, wake_write = pipe_above_stdio()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    # Without a handler (or with the signal ignored, as inherited) children vanish without a trace.
    signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    return wake_read, wake_write


def read_some(fd: int) -> bytes | None:
    """Read what is there: None if nothing is, ``b""`` at the end of the file."""
    try:
        return os.read(fd, READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def hear_start(supervisor: Supervisor, exec_errors: int) -> bytes:
    """Return the errno that kept the command from running; without one, report that it runs."""
    failure = read_some(exec_errors) or b""
    if not failure:
        supervisor.report(f"started {supervisor.pid}")
    return failure


def supervise(supervisor: Supervisor, command: str, control: int, wake: int, exec_errors: int) -> str:
    """Watch the child until it and its kin are gone; return the line that says how it went."""
    poller = select.poll()
    for fd in (control, wake, exec_errors):
        os.set_blocking(fd, False)
        poller.register(fd, select.POLLIN)
    pending = b""
    failure: bytes | None = None
    while not supervisor.step():
        ready = {fd for fd, _ in poller.poll(supervisor.wait_ms())}
        if wake in ready:
            read_some(wake)
        if exec_errors in ready:
            poller.unregister(exec_errors)
            failure = hear_start(supervisor, exec_errors)
        if control in ready:
            data = read_some(control)
            if data == b"":
                poller.unregister(control)
                supervisor.ask_end()
            *lines, pending = (pending + (data or b"")).split(b"\n")
            pending = pending[:LINE_BYTES]
            for line in lines:
                supervisor.obey(line)
    if failure is None:  # the child ended before the loop came to look
        failure = hear_start(supervisor, exec_errors)
    end = supervisor.final_line()
    return describe_failure(command, int(failure)) if failure else end


def main(arguments: list[str]) -> None:
    """Start the command and stay until it is gone; the arguments are those of the module's first lines."""
    control, status = int(arguments[0]), int(arguments[1])
    supervisor = Supervisor(status, *map(int, arguments[2:6]))
    will_fds = [int(fd) for fd in arguments[6].replace(",", ":").split(":")[1:] if fd]
    for fd in (control, status, *will_fds):
        os.set_inheritable(fd, False)
    os.environ.pop("LC_CTYPE", None)
    if arguments[7]:
        os.environ["LC_CTYPE"] = arguments[7].removeprefix("=")
    argv = arguments[8:]
    if boot_ns() >= min(supervisor.term_at, supervisor.kill_at):
        supervisor.report(f"failed {LEASE_LOST} the lease ended before {argv[0]!r} could be started")
        return
    if HAS_PROC:
        set_process_option(PR_SET_CHILD_SUBREAPER, 1)
    wake, wake_write = wake_on_child()
    exec_read, exec_write = pipe_above_stdio()
    own_pid = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        supervisor.report(f"failed {NOT_RUNNABLE} no process can be started: {error.strerror}")
        return
    if pid == 0:
        run_command(argv, own_pid, supervisor.job, exec_write)
    os.close(exec_write)
    supervisor.pid = pid
    try:
        # Only now: what is ignored stays ignored in a program that is started.
        for signum in IGNORED_SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        leave_stdio({control, status, wake, wake_write, exec_read, *will_fds})
        if will_fds:
            from paxlock.cli.heir import Heir  # the command has been started: nothing waits for this

            supervisor.heir = Heir(arguments[6])
        supervisor.report(supervise(supervisor, argv[0], control, wake, exec_read))
        if supervisor.heir is not None and supervisor.may_bequeath():
            supervisor.heir.carry_out(boot_ns, supervisor.kill_at, control)
    except BaseException:
        supervisor.signal_all(signal.SIGKILL)
        raise
