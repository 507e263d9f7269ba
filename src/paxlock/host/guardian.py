"""The guardian of this process's last wills, seen from the process (protocol.md section 11).

There is at most one guardian for a process, whatever clients it opens: it is started when the first lease is
wanted, and ended with the last client. What it does is told in last_will.py, the script that it runs.

The process holds one end of a pair of sockets, which every fork inherits and keeps open: the other end is at
its end only when all of them are gone. A guardian that is lost is not replaced: the program goes on, its
leases run out by their ttl if it is killed.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress

from paxlock.errors import InternalError
from paxlock.forks import dies_in_child, same_process
from paxlock.host import last_will
from paxlock.host.last_will import started_at, will_words
from paxlock.host.native import RLock, poll, process_class, socketpair
from paxlock.wire.transport import Address

__all__ = ["ClientGuardian", "guardian_for", "unavailable"]

SYNC_S = 1.0  #: within which a guardian says that it has taken over what it was sent
START_S = 5.0  #: within which it is up, on a machine that does not let it run
DEATH_S = 5.0  #: within which a process is dead that was killed
END_S = 0.25  #: so long a client that is closed waits for the end of its guardian
READ_BYTES = 4096
NOTHING = (-1, -1)

_log = logging.getLogger("paxlock")


def unavailable() -> str:
    """Why there can be no guardian here, as a clause; "" where there can be one."""
    if sys.platform != "linux" or not hasattr(os, "pidfd_open"):
        return "this system has no pidfd"
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return "this kernel has no pidfd, or does not allow it"
    return "" if _interpreter() else "this program has no Python interpreter of its own to start one with"


def guardian_for(sockets: Sequence[int], longest: float) -> ClientGuardian | None:
    """A guardian for a client that sends from these sockets, and of which no lease outlives ``longest``
    seconds. None, with a warning, where there can be none.
    """
    why = unavailable()
    if why:
        warnings.warn(
            f"last_will=True has no effect: {why}; leases of a killed process run out by their ttl",
            RuntimeWarning,
            stacklevel=4,
        )
        return None
    return ClientGuardian(sockets, longest)


def _interpreter() -> str:
    """A Python to run the guardian with: a program that embeds Python, or is frozen, is none."""
    found = [sys.executable or "", os.path.join(sys.exec_prefix, "bin", "python3")]  # noqa: PTH118
    for path in found:
        name = os.path.basename(path)  # noqa: PTH119
        if name.startswith(("python", "pypy")) and os.access(path, os.X_OK):
            return path
    return ""


class ClientGuardian:
    """The guardian of one client's will, in the process that opened the client. Thread-safe."""

    def __init__(self, sockets: Sequence[int], longest: float) -> None:
        self._sockets = list(sockets)
        self._longest_ms = round(longest * 1000.0)
        self._link: _Link | None = None
        self._client = 0
        self._over = False
        #: What it could not take over yet, in order: by page and node, and first (None) that we are here.
        self._unsaid: dict[tuple[int, int] | None, str] = {}
        dies_in_child(self)

    def forked(self) -> None:
        """This is the child of a fork: the will is its parent's."""
        self._over = True
        self._link = None

    def expect(self) -> None:
        """See paxlock.wire.wills.Guardian."""
        with _lock:
            if self._link is None and not self._over:
                self._link, self._client = _enrol()
                self._unsaid[None] = f"client {self._client} {self._longest_ms}"
                self._say_on(self._link)

    def deposit(self, page: int, at: int, address: Address, datagrams: Sequence[bytes]) -> None:
        """See paxlock.wire.wills.Guardian."""
        with _lock:
            if datagrams:
                self.expect()
            if self._over or self._link is None:
                return
            self._unsaid.pop((page, at), None)
            self._unsaid[page, at] = will_words(self._client, page, at, address, tuple(datagrams))
            self._say_on(self._link)

    def catch_up(self) -> None:
        """See paxlock.wire.wills.Guardian."""
        if self._unsaid:
            with _lock:
                if self._link is not None:
                    self._say_on(self._link)

    def _say_on(self, link: _Link) -> None:
        for key, line in list(self._unsaid.items()):
            if not link.say(line, self._sockets if key is None else ()):
                return
            del self._unsaid[key]

    def settle(self) -> None:
        """See paxlock.wire.wills.Guardian. Raises InternalError where neither can be brought about."""
        with _lock:
            if self._link is not None:
                self._say_on(self._link)
                if self._unsaid or not self._link.sync():
                    self._link.kill()

    def close(self) -> None:
        """See paxlock.wire.wills.Guardian."""
        with _lock:
            over, self._over = self._over, True
            link, self._link = self._link, None
            if not over and link is not None and same_process():
                link.leave(self._client)


class _Link:
    """This process's end of the channel, and what is known of the process at the other end."""

    def __init__(self) -> None:
        self.clients = 0
        self._numbered = 0
        self._lost = False
        self._synced = 0
        self._syncs = 0
        self._guardian: tuple[int, int] | None = None  # pid, and when it was started
        self._starter: subprocess.Popen[bytes] | None = None
        self.channel: socket.socket | None = None
        self._is = NOTHING
        try:
            self._start()
        except (OSError, ValueError) as error:
            self._lost = True
            _log.warning("no guardian can be started, so there is no last will: %s", error)
        dies_in_child(self)

    def _start(self) -> None:
        """Start the process that starts the guardian, and ends. Raises OSError."""
        self.channel, theirs = socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.setblocking(False)
        self._is = _identity(self.channel)
        holder = -1
        script = os.path.abspath(last_will.__file__)  # noqa: PTH100 - no link is to be followed
        try:
            holder = os.pidfd_open(os.getpid())
            self._starter = process_class()(
                [_interpreter(), "-I", "-S", script, str(theirs.fileno()), str(holder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), holder),
                start_new_session=True,
                cwd="/",
                env={key: text for key, text in os.environ.items() if not key.startswith("PAXLOCK_")},
            )
        finally:
            theirs.close()
            if holder >= 0:
                os.close(holder)

    def forked(self) -> None:
        """This is the child of a fork. It keeps the channel open for as long as it lives, and says nothing:
        its work is its parent's too.
        """
        self._lost = True
        if self.channel is not None:
            _inherited.append(self.channel)
        if self._starter is not None and self._starter.returncode is None:
            self._starter.returncode = 0  # the parent's child

    def enrol(self) -> int:
        """Another client; gives its number."""
        self._numbered += 1
        self.clients += 1
        return self._numbered

    def leave(self, client: int) -> None:
        """A client has ended by itself. With the last one the guardian ends, and is waited for a little: who
        started this program may look for processes that it has left behind.
        """
        self.say(f"gone {client}")
        self.clients -= 1
        if self.clients:
            return
        _forget(self)
        self.say("end")
        until = time.monotonic() + END_S
        while self._guardian is None and not self._lost and self._usable() and self._hear(until):
            pass
        if self._guardian is not None and not self._lost:
            with suppress(OSError):
                fd = os.pidfd_open(self._guardian[0])
                _readable(fd, END_S)
                os.close(fd)
        if self._starter is not None:
            self._starter.kill()  # had it started one without our hearing of it, that one ends by itself
            self._starter.wait()
        if self.channel is None:
            return
        if self._usable():
            self.channel.close()
        else:
            self.channel.detach()  # the number is somebody else's by now

    def say(self, line: str, fds: Sequence[int] = ()) -> bool:
        """Say a line, whole or not at all."""
        if self._lost or self.channel is None or not self._usable():
            return False
        try:
            socket.send_fds(self.channel, [line.encode()], list(fds))
        except BlockingIOError:
            return False  # it stands still
        except OSError:
            self._lost = True
            return False
        self._reap()
        return True

    def sync(self) -> bool:
        """Whether it says that it has taken over all that was said."""
        if self._lost or not self._usable():
            return False
        self._syncs += 1
        wanted = self._syncs
        if not self.say(f"sync {wanted}"):
            return False
        until = time.monotonic() + SYNC_S
        while self._synced < wanted:
            if not self._hear(until):
                return False
        return True

    def kill(self) -> None:
        """Have no guardian any more, surely. Raises InternalError where that cannot be had."""
        starter = self._starter
        self._lost = True
        if starter is None:
            return  # it was never started
        until = time.monotonic() + START_S
        while self._guardian is None and self._usable() and self._hear(until):
            pass
        if self._guardian is None or not _kill(*self._guardian):
            raise InternalError("the guardian of the last will does not answer, and cannot be ended")
        self._reap()

    def _hear(self, until: float = 0.0) -> bool:
        """Take one line that it says; False where none comes until then."""
        if self.channel is None or not _readable(self.channel.fileno(), max(0.0, until - time.monotonic())):
            return False
        try:
            words = self.channel.recv(READ_BYTES).split()
        except OSError:
            return False
        match words:
            case [b"guardian", pid, started]:
                self._guardian = int(pid), int(started)
            case [b"synced", number]:
                self._synced = max(self._synced, int(number))
        return bool(words)

    def _usable(self) -> bool:
        """Whether the descriptor is still ours: a program may close all that it has, and open others."""
        return self.channel is not None and _identity(self.channel) == self._is

    def _reap(self) -> None:
        """Bury the process that started the guardian and has ended at once."""
        if self._starter is not None:
            self._starter.poll()


def _identity(channel: socket.socket) -> tuple[int, int]:
    try:
        found = os.fstat(channel.fileno())
    except OSError:
        return NOTHING
    return found.st_dev, found.st_ino


def _readable(fd: int, patience: float) -> bool:
    poller = poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(round(patience * 1000.0)))


def _kill(pid: int, started: int) -> bool:
    """Kill exactly this process; whether it is dead then."""
    assert sys.platform == "linux"
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return started_at(pid) != started
    try:
        if started_at(pid) != started:
            return True
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        return _readable(fd, DEATH_S)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    finally:
        os.close(fd)


_lock = RLock()
_link: _Link | None = None
_inherited: list[socket.socket] = []  #: of the parents of this process: at their end they would send


def _enrol() -> tuple[_Link, int]:
    global _link
    if _link is None:
        _link = _Link()
    return _link, _link.enrol()


def _forget(link: _Link) -> None:
    global _link
    if _link is link:
        _link = None


class _Module:
    """In the child of a fork this module begins anew."""

    def forked(self) -> None:
        global _lock, _link
        _lock = RLock()
        _link = None
        dies_in_child(self)


_module = _Module()
dies_in_child(_module)
