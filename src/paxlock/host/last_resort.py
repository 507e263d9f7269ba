"""The end of a process whose work does not stop although its lease is over: for those who ask for it.

It is a thread: what does not stop may be the event loop itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from paxlock.forks import Life
from paxlock.host.native import allocate_lock, start_thread

__all__ = ["EXIT_CODE", "LastResort"]

EXIT_CODE = 79  #: the lease was lost while running (contract.md section 3)
LONGEST_WAIT_S = 1.0  #: the clock of leases may run on while threads sleep in a suspend


class LastResort:
    """Ends the process with EXIT_CODE so many seconds after the deadline of a lease, unless disarmed before.
    A renewal moves it.
    """

    def __init__(self, name: str, now: Callable[[], float], at: float, patience: float) -> None:
        self._name = name
        self._now = now
        self._at = at
        self._patience = patience
        self._life = Life()
        self._armed = allocate_lock()  #: had by the work, until it has ended
        self._armed.acquire()
        start_thread(self._watch, "paxlock last resort")

    def move(self, deadline: float) -> None:
        """The lease is held until ``deadline``."""
        self._at = deadline + self._patience

    def disarm(self) -> None:
        """The work has ended."""
        if self._armed.locked():
            self._armed.release()

    def _watch(self) -> None:
        while (left := self._at - self._now()) > 0.0:
            if self._armed.acquire(timeout=min(left, LONGEST_WAIT_S)):
                return
        if self._armed.locked() and not self._life.over:
            print(
                f"paxlock: the lease of {self._name!r} is over, and its work goes on {self._patience:g} s "
                f"later: this process ends with code {EXIT_CODE}",
                file=sys.stderr,
                flush=True,
            )
            os._exit(EXIT_CODE)
