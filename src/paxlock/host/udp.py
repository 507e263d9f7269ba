"""Real UDP: non-blocking sockets of one family or of both, and the look-up of host names."""

from __future__ import annotations

import errno
import select
import socket
import sys
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from paxlock.errors import ClosedError, ConfigError
from paxlock.forks import INHERITED, dies_in_child
from paxlock.host.native import Socket, getaddrinfo
from paxlock.host.socket_filter import attach, kernel_drops
from paxlock.wire.transport import Address, format_address, split_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "RECEIVE_BUFFER_BYTES",
    "TwoSockets",
    "UdpSocket",
    "addresses_of",
    "bind_all",
    "bind_beside",
    "bind_trouble",
    "look_up",
    "unresolved",
]

S = TypeVar("S", bound="UdpSocket")
T = TypeVar("T")

RECEIVE_BUFFER_BYTES = 4 << 20
SEND_BUFFER_BYTES = 1 << 20
RECEIVE_MAX_BYTES = 2048  #: above any datagram of ours: what is cut off here is too long anyway
RECEIVE_ERRORS_MAX = 64  #: errors of earlier sends to read past in one call
DONT_WAIT = getattr(socket, "MSG_DONTWAIT", 0)  #: also where a thread waits in another call (host/waiting.py)


def look_up(address_text: str) -> list[Address]:
    """All addresses of ``host:port`` or ``[v6]:port``, the preferred one first; may wait for the resolver.

    Raises ConfigError for what is not an address or is not known to the resolver.
    """
    host, port = split_address(address_text)
    try:
        found = getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise unresolved(address_text) from error
    return addresses_of(found, address_text)


def unresolved(address_text: str) -> ConfigError:
    """The error of a host name that the resolver does not know."""
    return ConfigError(
        f"the address {address_text!r} cannot be resolved: check the host name, or give an IP address"
    )


def addresses_of(found: Iterable[tuple[object, ...]], address_text: str) -> list[Address]:
    """The addresses that the resolver has found, each once. Raises ConfigError where there is none."""
    addresses = []
    for *_, sockaddr in found:
        assert isinstance(sockaddr, tuple)
        addresses.append(_address(sockaddr))
    if not addresses:
        raise ConfigError(f"the host of {address_text!r} has no IP address: give another one")
    return list(dict.fromkeys(addresses))


def _address(sockaddr: tuple[object, ...]) -> Address:
    """(host, port) of what the socket module gives: IPv6 adds flow and scope, and only the scope matters."""
    host, port = str(sockaddr[0]), sockaddr[1]
    assert isinstance(port, int)
    if len(sockaddr) == 4 and sockaddr[3]:
        host = f"{host.partition('%')[0]}%{sockaddr[3]}"
    return host, port


class UdpSocket:
    """A raw non-blocking UDP socket: far less work per datagram than an event loop's own (no task each)."""

    #: What is raised after `close`.
    closed_error: type[Exception] = ClosedError

    def __init__(self, sock: socket.socket) -> None:
        """Take over a bound, non-blocking UDP socket."""
        self._socket = sock
        self._address = _address(sock.getsockname())
        self._plain = sock.family == socket.AF_INET
        self._counts: dict[str, int] = {
            "sent": 0,
            "received": 0,
            "send_errors": 0,
            "receive_errors": 0,
            "kernel_drops": 0,
        }
        self._inherited = False
        self.bell: bytes | None = None  #: what is sent to oneself, to wake who waits (host/waiting.py)
        dies_in_child(self)

    @classmethod
    def bind(cls, host: str, port: int) -> Self:
        """Bind to an IP address and port (0: a free one); raise ConfigError where that cannot be.

        The bind is exclusive: with SO_REUSEADDR two processes could share one UDP port.
        """
        where = format_address((host, port))
        try:
            family, kind, protocol, _, sockaddr = getaddrinfo(
                host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE
            )[0]
        except (OSError, UnicodeError, OverflowError):
            raise ConfigError(
                f"cannot listen on {where}: give the IP address and port of this host"
            ) from None
        sock = Socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            for option, size in (
                (socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES),
                (socket.SO_SNDBUF, SEND_BUFFER_BYTES),
            ):
                # The kernel's default holds a few hundred datagrams; it may grant less than asked.
                sock.setsockopt(socket.SOL_SOCKET, option, size)
            sock.bind(sockaddr)
        except OSError as error:
            sock.close()
            raise ConfigError(bind_trouble(where, error)) from error
        return cls(sock)

    @property
    def address(self) -> Address:
        return self._address

    def receive_nowait(self) -> tuple[bytes, Address] | None:
        for _ in range(RECEIVE_ERRORS_MAX):
            try:
                datagram, sender = self._socket.recvfrom(RECEIVE_MAX_BYTES, DONT_WAIT)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError as error:
                self.refuse_closed()
                self._count("receive_errors", error)
                continue
            return self._came(datagram, sender)
        return None

    def receive_waiting(self) -> tuple[bytes, Address] | None:
        """The next datagram, waited for as long as `set_timeout` says; None where none came, or the socket is
        shut.
        """
        try:
            datagram, sender = self._socket.recvfrom(RECEIVE_MAX_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            self.refuse_closed()
            self._count("receive_errors", error)
            return None
        return self._came(datagram, sender)

    def _came(self, datagram: bytes, sender: Any) -> tuple[bytes, Address] | None:
        if sender is None or datagram == self.bell:  # None where the socket is shut
            return None
        self._counts["received"] += 1
        return datagram, (sender if self._plain else _address(sender))

    def set_timeout(self, timeval: bytes) -> None:
        """How long `receive_waiting` waits."""
        if not self._socket.getblocking():
            self._socket.setblocking(True)  # all other calls say that they do not wait
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)

    def shut(self) -> None:
        """Receive nothing any more, and wake who waits: Linux does so in spite of the error."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def reaches(self, address: Address) -> bool:
        return self._plain is not _is_ipv6(address)

    def send_nowait(self, datagram: bytes, address: Address) -> None:
        try:
            self._socket.sendto(datagram, DONT_WAIT, address)
        except OSError as error:
            self.refuse_closed()
            self._count("send_errors", error if self.reaches(address) else OSError(errno.EAFNOSUPPORT, ""))
        else:
            self._counts["sent"] += 1

    def ring(self, address: Address) -> None:
        """Send the bell to oneself, who has this address, if that can be."""
        assert self.bell is not None
        with suppress(OSError):
            self._socket.sendto(self.bell, DONT_WAIT, address)

    def sockets(self) -> Sequence[UdpSocket]:
        """All of this transport."""
        return [self]

    def forked(self) -> None:
        """This is the child of a fork: close its handle of the parent's socket, and say nothing to
        the event loop, whose epoll may be the parent's.
        """
        self._inherited = True
        self._socket.close()

    def close(self) -> None:
        self._socket.close()

    def statistics(self) -> Mapping[str, int]:
        if self._socket.fileno() >= 0:
            self._counts["kernel_drops"] = kernel_drops(self._socket)
        return MappingProxyType(dict(self._counts))

    def filter(self, program: bytes) -> bool:
        """Have the kernel drop what this program does not let pass; False where it cannot."""
        return attach(self._socket, program)

    def receive_buffer(self) -> int:
        """How many bytes the kernel lets wait here. (Linux tells twice as much: its own needs are in it.)"""
        found = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        return found // 2 if sys.platform == "linux" else found

    def fileno(self) -> int:
        """Of the socket, for whoever waits for several; -1 once it is closed."""
        return self._socket.fileno()

    def filenos(self) -> Sequence[int]:
        """Of all that has to be waited for."""
        return [self._socket.fileno()]

    def sending_filenos(self) -> Sequence[int]:
        """Of all that is sent from."""
        return [self._socket.fileno()]

    def refuse_closed(self) -> None:
        """Raise the closed error after `close`."""
        if self._socket.fileno() < 0:
            raise self.closed_error(INHERITED if self._inherited else "the transport was closed")

    def _count(self, what: str, error: OSError) -> None:
        """Count an error in all, and by its name where it has one: EAGAIN, EPERM, ENETUNREACH ..."""
        self._counts[what] += 1
        name = errno.errorcode.get(error.errno or 0)
        if name is not None:
            key = f"{what}_{name}"
            self._counts[key] = self._counts.get(key, 0) + 1


class TwoSockets(Generic[S]):
    """Two UDP sockets as one, for IPv4 and for IPv6: each address is reached by its own family."""

    def __init__(self, first: S, second: S) -> None:
        """``first`` is the one whose address is shown."""
        self._both = (first, second)
        self._first = first
        self._turn = 0
        self._waiting = _both_readable(first, second)

    @property
    def address(self) -> Address:
        return self._first.address

    def receive_nowait(self) -> tuple[bytes, Address] | None:
        # In turn, so that a flood by the one leaves the other its share.
        for _ in self._both:
            self._turn = 1 - self._turn
            found = self._both[self._turn].receive_nowait()
            if found is not None:
                return found
        return None

    def reaches(self, address: Address) -> bool:
        return any(one.reaches(address) for one in self._both)

    def send_nowait(self, datagram: bytes, address: Address) -> None:
        first, second = self._both
        (first if first.reaches(address) else second).send_nowait(datagram, address)

    def filenos(self) -> Sequence[int]:
        """Of all that has to be waited for."""
        return [self._waiting.fileno()] if self._waiting is not None else [s.fileno() for s in self._both]

    def sending_filenos(self) -> Sequence[int]:
        """Of all that is sent from."""
        return [one.fileno() for one in self._both]

    def sockets(self) -> Sequence[UdpSocket]:
        """Both."""
        return self._both

    def filter(self, program: bytes) -> bool:
        """Of both."""
        first, second = (one.filter(program) for one in self._both)
        return first and second

    def receive_buffer(self) -> int:
        """Of the smaller one."""
        return min(one.receive_buffer() for one in self._both)

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
        for one in self._both:
            one.close()

    def statistics(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        for one in self._both:
            for what, number in one.statistics().items():
                counts[what] = counts.get(what, 0) + number
        return MappingProxyType(counts)


def _both_readable(*sockets: UdpSocket) -> select.epoll | None:
    """One thing to wait for in the place of two; None where the system has no such thing."""
    if not hasattr(select, "epoll"):
        return None
    found = select.epoll()
    for one in sockets:
        found.register(one.fileno(), select.EPOLLIN)
    return found


def bind_all(addresses: Sequence[Address], bind: Callable[[str, int], S], both: Callable[[S, S], T]) -> S | T:
    """A socket for all of these addresses of this host, of which at most one of each family is bound: the
    first that can be. Two of them are made one by ``both``. Raises ConfigError where none can be bound.
    """
    bound: dict[bool, S] = {}
    trouble: ConfigError | None = None
    port = 0
    for host, wanted in addresses:
        family = _is_ipv6((host, wanted))
        if family in bound:
            continue
        try:
            bound[family] = bind(host, wanted or port)
            port = bound[family].address[1]
        except ConfigError as error:
            trouble = trouble or error
    found = list(bound.values())
    if not found:
        assert trouble is not None
        raise trouble
    return found[0] if len(found) == 1 else both(*found)


def bind_beside(
    addresses: Sequence[Address], bind: Callable[[str, int], S], both: Callable[[S, S], T], *, named: bool
) -> S | T:
    """A socket for a client, from which these addresses can be reached; and others, where nodes are
    ``named``: tomorrow a host name may have an address of the other family.
    """
    hosts = [host for host, _ in addresses] or ["127.0.0.1"]
    local = all(host.startswith("127.") or host == "::1" for host in hosts)
    own = {False: "127.0.0.1", True: "::1"} if local else {False: "0.0.0.0", True: "::"}
    families = dict.fromkeys([":" in host for host in hosts] + [False, True] * named)
    try:
        return bind_all([(own[family], 0) for family in families], bind, both)
    except ConfigError as error:
        if any(":" not in host for host in hosts):
            raise
        raise ConfigError(
            "the nodes have IPv6 addresses only, and this host cannot use IPv6: "
            "give them names or addresses that it can reach"
        ) from error


def _is_ipv6(address: Address) -> bool:
    return ":" in address[0]


def bind_trouble(where: str, error: OSError) -> str:
    """Why there can be no socket at this address, and what to do, in one sentence."""
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {where}: the port is in use; stop the other program, or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {where}: this host does not have that address; give one of its own"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"cannot listen on {where}: not allowed; choose a port above 1023"
    return f"cannot listen on {where}: {error.strerror or error}"
