"""The last will of ``paxlock run``, in the hands of its supervisor (protocol.md section 11).

Loaded by the supervisor once the command runs: the standard library alone, as all that it loads.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable

from paxlock.host.last_will import LastWill, carry_out, obey_will

__all__ = ["Heir"]

READ_BYTES = 65_536
TICK_MS = 20  # poll() does not count the time that the machine sleeps; and not every kernel wakes it at once


class Heir:
    """What the will needs: the deposits, how the holder's death is known, what to send from."""

    def __init__(self, text: str) -> None:
        """``text`` is ``NOT_BEFORE:HOLDER:SOCKETS``, as the supervisor is given it."""
        not_before, holder, sockets = text.split(":")
        self.will = LastWill()
        self.not_before = int(not_before)
        self._holder = int(holder)
        self._sockets = [socket.socket(fileno=int(fd)) for fd in sockets.split(",")]

    def take(self, line: bytes) -> None:
        """Take over a deposit; a line that makes no sense is ignored."""
        try:
            obey_will(self.will, line.split())
        except (ValueError, IndexError):
            return

    def take_rest(self, control: int) -> None:
        """Take the deposits that are still in the control pipe, which does not block: a command that ends at
        once is gone before they are read.
        """
        try:
            while data := os.read(control, READ_BYTES):
                for line in data.split(b"\n"):
                    if line.startswith(b"will "):
                        self.take(line)
        except OSError:
            return  # there is no more for now

    def carry_out(self, now: Callable[[], int], until: int, control: int) -> None:
        """The command and all that it started are gone, and that has been told. Usually ``paxlock run`` hears
        it, ends this process, and releases by itself. Where it is dead, or dies before ``until``, its will is
        carried out. Times are nanoseconds of the boot-time clock, which ``now`` reads.
        """
        poller = select.poll()
        poller.register(self._holder, select.POLLIN)
        while now() < until:
            if poller.poll(TICK_MS):
                self.will.process_dead = self.will.pipe_ended = True
                self.take_rest(control)
                if now() >= self.not_before:
                    carry_out(self.will, {0: self._sockets})
                return
