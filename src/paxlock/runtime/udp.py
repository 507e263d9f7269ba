"""Real UDP under trio."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import trio

from paxlock.host.udp import TwoSockets, UdpSocket, addresses_of, unresolved
from paxlock.host.udp import bind_all as bind_all_with
from paxlock.wire.transport import Address, Transport, split_address

__all__ = ["TwoFamilies", "UdpTransport", "bind_all", "resolve"]


async def resolve(address_text: str) -> list[Address]:
    """Look up all addresses of ``host:port`` or ``[v6]:port``, the preferred one first.

    Raises ConfigError for what is not an address or is not known to the resolver.
    """
    host, port = split_address(address_text)
    try:
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise unresolved(address_text) from error
    return addresses_of(found, address_text)


class UdpTransport(UdpSocket):
    """A UDP socket whose datagrams a task can wait for."""

    closed_error = trio.ClosedResourceError

    async def wait_readable(self) -> None:
        self.refuse_closed()
        await trio.lowlevel.wait_readable(self._socket)

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            super().close()


class TwoFamilies(TwoSockets[UdpTransport]):
    """Two UDP sockets as one transport, for IPv4 and for IPv6."""

    async def wait_readable(self) -> None:
        first, second = self._both
        first.refuse_closed()
        if self._waiting is not None:
            await trio.lowlevel.wait_readable(self._waiting.fileno())
            return
        async with trio.open_nursery() as nursery:

            async def wait(one: UdpTransport) -> None:
                with suppress(trio.ClosedResourceError):
                    await one.wait_readable()
                nursery.cancel_scope.cancel()

            nursery.start_soon(wait, first)
            nursery.start_soon(wait, second)
        first.refuse_closed()

    def close(self) -> None:
        if self._waiting is not None and not self._waiting.closed:
            trio.lowlevel.notify_closing(self._waiting.fileno())
        super().close()


def bind_all(addresses: Sequence[Address]) -> Transport:
    """A transport for all of these addresses of this host, of which at most one of each family is bound: the
    first that can be. Raises ConfigError where none can be.
    """
    return bind_all_with(addresses, UdpTransport.bind, TwoFamilies)
