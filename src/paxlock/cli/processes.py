"""Processes as the system shows them: the table in ``/proc``, signals that hit nobody else, ``prctl``.

For the supervisor of ``paxlock run``, which loads the standard library alone, and for who watches over it.
"""

from __future__ import annotations

import os
import signal
import sys

READ_BYTES = 65_536
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

HAS_PROC = sys.platform == "linux" and os.access("/proc/self/stat", os.R_OK)


class Process:
    """One line of the process table: what ``/proc/PID/stat`` says at one moment."""

    __slots__ = ("alive", "group", "parent", "pid", "session", "started")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.parent = int(fields[1])
        self.group = int(fields[2])
        self.session = int(fields[3])
        # A process whose first thread has ended shows as a zombie while its other threads run on.
        self.alive = fields[0] not in (b"Z", b"X") or int(fields[17]) > 1
        self.started = int(fields[19])


def find_process(pid: int) -> Process | None:
    """Return the entry of ``pid`` in the process table, or None if there is none (or no ``/proc``)."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(fd, READ_BYTES)
    except OSError:
        return None
    finally:
        os.close(fd)
    if not text:
        return None
    # The second field is the command's name in brackets, which may itself hold brackets and blanks.
    return Process(pid, text.rpartition(b")")[2].split())


def list_processes() -> list[Process]:
    """Return the process table; empty where there is no ``/proc``."""
    if not HAS_PROC:
        return []
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208
    return [process for process in map(find_process, pids) if process is not None]


def list_descendants(root: int) -> list[Process]:
    """Return all processes below ``root``, zombies among them, ``root`` itself not."""
    children: dict[int, list[Process]] = {}
    for process in list_processes():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    parents = [root]
    while parents:
        below = children.pop(parents.pop(), [])
        found.extend(below)
        parents.extend(process.pid for process in below)
    return found


def signal_process(process: Process, signum: int) -> bool:
    """Send ``signum`` to exactly this process, even if its pid was given away since; False if not allowed."""
    fd = -1
    if sys.platform == "linux":
        try:
            fd = os.pidfd_open(process.pid)
        except (OSError, AttributeError):
            fd = -1  # gone, or an old kernel: what follows tells
    try:
        same = find_process(process.pid)
        if same is None or same.started != process.started:
            return True
        if fd >= 0 and sys.platform == "linux":
            signal.pidfd_send_signal(fd, signum)
        else:
            os.kill(process.pid, signum)
    except PermissionError:
        return False
    except OSError:
        return True  # gone already, or a signal that this system does not have
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def signal_group(group: int, signum: int) -> bool:
    """Send ``signum`` to a process group; False if there is no member left that may be signalled."""
    try:
        os.killpg(group, signum)
    except OSError:
        return False
    return True


def set_process_option(option: int, argument: int) -> None:
    """Call ``prctl``; does nothing on systems that have none."""
    if sys.platform != "linux":
        return
    try:
        import ctypes

        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        return
