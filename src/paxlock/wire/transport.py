"""What an endpoint's datagrams travel by, and addresses as text (protocol.md section 8).

A transport never blocks on sending and never raises for trouble in the network: what cannot be sent is
counted and lost, like any datagram. The machines repeat what matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from paxlock.errors import ConfigError
from paxlock.limits import PORT_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Address", "Transport", "format_address", "is_literal", "split_address"]

Address: TypeAlias = tuple[str, int]


class Transport(Protocol):
    """What node and client need of a network."""

    @property
    def address(self) -> Address:
        """The address that others see, or the one bound to."""

    def receive_nowait(self) -> tuple[bytes, Address] | None:
        """The next datagram and where it came from, or None. Raises trio.ClosedResourceError."""

    async def wait_readable(self) -> None:
        """Wait until there may be a datagram. Raises trio.ClosedResourceError, trio.BusyResourceError."""

    def send_nowait(self, datagram: bytes, address: Address) -> None:
        """Send, or count why not. Raises trio.ClosedResourceError."""

    def reaches(self, address: Address) -> bool:
        """Whether there is a socket of the family of this address."""

    def close(self) -> None:
        """Close for good; whoever waits gets trio.ClosedResourceError. Closing again does nothing."""

    def statistics(self) -> Mapping[str, int]:
        """A frozen copy of the counters."""


def format_address(address: Address) -> str:
    """``host:port``, or ``[host]:port`` for IPv6."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_literal(address: str) -> bool:
    """Whether this is an IP address with a port, and no host name."""
    host = address.strip().rpartition(":")[0]
    return host.startswith("[") or host.replace(".", "").isdigit()


def split_address(text: str) -> Address:
    """Split ``host:port`` or ``[v6]:port`` without looking anything up; raise ConfigError."""
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        bare = ":" in host
    else:
        bare = not any(character in host for character in ":[]")
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= len(str(PORT_MAX)) else -1
    if not colon or not host or not bare or any(map(str.isspace, host)) or not 0 <= number <= PORT_MAX:
        raise ConfigError(
            f"{text!r} is not an address: write it as host:port, or as [host]:port for IPv6, "
            f"with a port from 0 to {PORT_MAX}"
        )
    return host, number
