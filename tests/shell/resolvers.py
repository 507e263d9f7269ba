"""A resolver of host names that a test writes in, in the place of the system's."""

from __future__ import annotations

import socket
from typing import Any

import trio

__all__ = ["Hosts"]

SILENT_S = 20.0  #: how long a resolver that is out of order keeps one waiting


class Hosts(trio.abc.HostnameResolver):
    """The addresses of each name. Of ``silent`` ones nothing is heard for long; ``asked`` is when what was
    looked up.
    """

    def __init__(self, book: dict[str, list[str]]) -> None:
        self.book = book
        self.silent: set[str] = set()
        self.asked: list[tuple[float, str]] = []
        trio.socket.set_custom_hostname_resolver(self)

    def times(self, name: str) -> list[float]:
        return [when for when, asked in self.asked if asked == name]

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name that trio uses
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        assert host is not None and port is not None
        name = host.decode()
        self.asked.append((trio.current_time(), name))
        if name in self.silent:
            await trio.sleep(SILENT_S)
        if name in self.silent or name not in self.book:
            raise socket.gaierror("not known at the moment")
        await trio.lowlevel.checkpoint()
        return [_info(address, int(port)) for address in self.book[name]]

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


def _info(address: str, port: int) -> tuple[Any, ...]:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", (address, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, port))
