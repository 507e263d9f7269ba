"""Host names from a file, which a test changes under running processes: {"a.test": ["127.0.0.2"]}."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import trio

__all__ = ["use_hosts"]


class _Hosts(trio.abc.HostnameResolver):
    def __init__(self, path: Path) -> None:
        self._path = path

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
        await trio.lowlevel.checkpoint()
        found: dict[str, list[str]] = json.loads(self._path.read_text(encoding="utf-8"))
        if host.decode() not in found:
            raise socket.gaierror("not known at the moment")
        addresses = found[host.decode()]
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", (address, int(port))) for address in addresses]

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


def use_hosts() -> None:
    """In this trio run, look names up in the file that the environment names, if it does."""
    path = os.environ.get("PAXLOCK_TEST_HOSTS")
    if path:
        trio.socket.set_custom_hostname_resolver(_Hosts(Path(path)))
