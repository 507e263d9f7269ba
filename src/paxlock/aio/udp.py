"""Real UDP under asyncio: sockets that tell a loop when they can be read, and the look-up of host names."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from paxlock.host.turn import DatagramSocket
from paxlock.host.udp import TwoSockets, UdpSocket, addresses_of, look_up, unresolved
from paxlock.wire.transport import Address, is_literal, split_address

__all__ = ["LoopTransport", "TwoLoopSockets", "UdpLoopSocket", "resolve"]


class LoopTransport(DatagramSocket, Protocol):
    """What an asyncio client needs of a network."""

    def hear(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        """Have ``callback`` called by the loop whenever there is a datagram to be read."""

    def stop_hearing(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take back ``hear``."""

    def close(self) -> None:
        """Close for good."""


def _add_readers(
    filenos: Sequence[int], loop: asyncio.AbstractEventLoop, callback: Callable[[], object]
) -> None:
    for fileno in filenos:
        loop.add_reader(fileno, callback)


def _remove_readers(filenos: Sequence[int], loop: asyncio.AbstractEventLoop) -> None:
    if not loop.is_closed():
        for fileno in filenos:
            loop.remove_reader(fileno)


class UdpLoopSocket(UdpSocket):
    """A UDP socket that a loop watches."""

    def hear(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        _add_readers(self.filenos(), loop, callback)

    def stop_hearing(self, loop: asyncio.AbstractEventLoop) -> None:
        _remove_readers(self.filenos(), loop)


class TwoLoopSockets(TwoSockets[UdpLoopSocket]):
    """Two UDP sockets that a loop watches, for IPv4 and for IPv6."""

    def hear(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> None:
        _add_readers(self.filenos(), loop, callback)

    def stop_hearing(self, loop: asyncio.AbstractEventLoop) -> None:
        _remove_readers(self.filenos(), loop)


async def resolve(address_text: str) -> list[Address]:
    """Look up all addresses of ``host:port`` or ``[v6]:port``, the preferred one first. A host name is looked
    up in a thread of the loop's executor, an IP address needs none.

    Raises ConfigError for what is not an address or is not known to the resolver.
    """
    if is_literal(address_text):
        return look_up(address_text)
    host, port = split_address(address_text)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise unresolved(address_text) from error
    return addresses_of(found, address_text)
