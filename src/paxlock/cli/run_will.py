"""The last will of ``paxlock run``, as it is deposited with the supervisor (protocol.md section 11).

What is deposited before the supervisor is started is the first that it reads: so there is no moment at which
the command runs and there is no will.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from paxlock.host.guardian import unavailable
from paxlock.host.last_will import will_words
from paxlock.wire.transport import Address

__all__ = ["RunWill"]


class RunWill:
    """The supervisor as the guardian of one session: see paxlock.wire.wills.Guardian.

    ``sockets`` are what the will is sent from, not before ``not_before``, seconds of the boot-time clock.
    """

    def __init__(self, sockets: Sequence[int], not_before: float) -> None:
        self.first: list[str] = []  #: control lines for a supervisor that is about to be started
        self._sockets = list(sockets)
        self._not_before_ns = max(0, round(not_before * 1e9))
        self._tell: Callable[[str], object] = self.first.append
        self._end: Callable[[], object] = lambda: None

    def argument(self) -> tuple[str, list[int]]:
        """The argument WILL of the supervisor, and the descriptors that it names: a pidfd of ours, which is
        to be closed here, and the sockets. Nothing where there can be no will.
        """
        if not self._sockets or unavailable():
            return "", []
        try:
            holder = os.pidfd_open(os.getpid())
        except OSError:  # no descriptor is left
            return "", []
        text = f"{self._not_before_ns}:{holder}:{','.join(map(str, self._sockets))}"
        return text, [holder, *self._sockets]

    def started(self, tell: Callable[[str], object], end: Callable[[], object]) -> None:
        """From now on what is deposited is told to the supervisor, which ``end`` kills and waits for."""
        self._tell, self._end = tell, end

    def expect(self) -> None:
        """It is there."""

    def deposit(self, page: int, at: int, address: Address, datagrams: Sequence[bytes]) -> None:
        """The supervisor sends these once we are dead, and the command with all that it started is."""
        self._tell(will_words(0, page, at, address, tuple(datagrams)))

    def catch_up(self) -> None:
        """There is one lease, and the pipe has room for it."""

    def settle(self) -> None:
        """The will ends with the supervisor."""
        self._end()

    def close(self) -> None:
        """The session ends. A will for what is over harms nobody."""
