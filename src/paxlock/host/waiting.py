"""A thread that waits for datagrams in the kernel, and is woken from there: two system calls for a datagram
that is answered, where an event loop needs five.

A socket's own timeout (SO_RCVTIMEO) costs no call for each datagram, but comes late: the kernel rounds it up
by an eighth, and to its ticks. So it is set to less than there is to wait, and seldom; who wakes too early
looks at the clock and waits again, at last by ``poll``, which is exact to a millisecond.
"""

from __future__ import annotations

import secrets
import select
import struct
from collections.abc import Sequence
from typing import Protocol

from paxlock.host.udp import UdpSocket
from paxlock.wire.header import VERSION
from paxlock.wire.transport import Address

__all__ = ["IDLE_S", "KernelSocket", "WaitingSocket"]

IDLE_S = 1.0  #: at the latest after so long a thread looks up, should its bell not have been heard
EXACT_S = 0.02  #: what is less far away is waited for by poll
TICKS_S = 0.008  #: of the kernel's clock: at most so much it may be late, besides its share
SHARE = 0.8  #: of what there is to wait: with an eighth on top it is not too late
SELDOM = 0.25  #: a timeout that is shorter by no more than this is left as it is
BELL_BYTES = 16
_TIMEVAL = struct.Struct("@ll")


class KernelSocket(Protocol):
    """A UdpSocket, or TwoSockets."""

    def receive_nowait(self) -> tuple[bytes, Address] | None: ...
    def sockets(self) -> Sequence[UdpSocket]: ...


class WaitingSocket:
    """The sockets of one transport, for one thread that receives. The bell may be rung from any thread.

    The bell is a datagram to oneself, which nobody else can know. It looks like one of an older version,
    as those pass the filter against junk (host/socket_filter.py); if it is lost nevertheless, the thread
    looks up after IDLE_S.
    """

    def __init__(self, transport: KernelSocket) -> None:
        self._transport = transport
        self._sockets = transport.sockets()
        self._sockets[0].bell = bytes([VERSION - 1]) + secrets.token_bytes(BELL_BYTES)
        self._timeout = 0.0
        self._poll = select.poll()
        for one in self._sockets:
            self._poll.register(one.fileno(), select.POLLIN)
        self._only = self._sockets[0] if len(self._sockets) == 1 else None

    def receive(self, seconds: float) -> tuple[bytes, Address] | None:
        """The next datagram, waited for so long at most, and often for less; None where there is none yet, or
        the bell was rung.
        """
        if seconds > EXACT_S and self._only is not None:
            self._set_timeout(min(seconds, IDLE_S))
            return self._only.receive_waiting()
        if seconds > 0.0:
            self._poll.poll(min(seconds, IDLE_S) * 1000.0)
        return self._transport.receive_nowait()

    def _set_timeout(self, seconds: float) -> None:
        latest = SHARE * seconds - TICKS_S
        if not SELDOM * latest <= self._timeout <= latest:
            self._timeout = latest
            whole = int(latest)
            assert self._only is not None
            self._only.set_timeout(_TIMEVAL.pack(whole, int((latest - whole) * 1e6)))

    def ring(self) -> None:
        """End the wait."""
        first = self._sockets[0]
        first.ring(_at_home(first.address))

    def shut(self) -> None:
        """End this wait and all that follow: nothing is received any more."""
        for one in self._sockets:
            one.shut()
        self.ring()  # where shutting a socket without a peer wakes nobody


def _at_home(address: Address) -> Address:
    """Where on this host that address is reached."""
    host, port = address
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port
