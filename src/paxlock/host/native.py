"""Threads, locks and sockets of the operating system, also where gevent has put its own in their place.

In a program that gevent has patched a thread is a greenlet: it runs only when all others wait, so one that
computes would keep it from renewing a lease, and from noticing its loss. What must run on time takes what it
needs from here. Gevent may patch before or after this module is loaded; it is never loaded from here.
"""

from __future__ import annotations

import _socket
import subprocess
import sys
import threading
from _socket import getaddrinfo  # no patch is made there
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

__all__ = [
    "RLock",
    "Socket",
    "allocate_lock",
    "get_ident",
    "getaddrinfo",
    "greenlets",
    "has_patched",
    "poll",
    "process_class",
    "sleep",
    "socketpair",
    "start_thread",
]


def _original(module: str, name: str) -> Any:
    """What the name meant before gevent patched it, if it did."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original(module, name)
    return getattr(import_module(module), name, None)  # eventlet takes some away: see `check_host`


if TYPE_CHECKING:
    from _thread import RLock, allocate_lock, get_ident, start_new_thread
    from select import poll
    from socket import socket as Socket  # noqa: N812 - a class
    from time import sleep
else:
    RLock = _original("_thread", "RLock")
    allocate_lock = _original("_thread", "allocate_lock")
    get_ident = _original("_thread", "get_ident")
    start_new_thread = _original("_thread", "start_new_thread")
    poll = _original("select", "poll")
    Socket = _original("socket", "socket")
    sleep = _original("time", "sleep")


def greenlets() -> bool:
    """Whether gevent has made the threads of this program greenlets."""
    return has_patched("threading")


def has_patched(module: str) -> bool:
    """Whether gevent has patched this module of Python's."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched(module))


def start_thread(work: Callable[[], object], name: str) -> None:
    """Start a daemon thread. Raises RuntimeError where none can be started any more."""
    if greenlets():
        start_new_thread(work, ())  # `threading.Thread` would make a greenlet of it
    else:
        threading.Thread(target=work, name=name, daemon=True).start()


def socketpair(family: int = _socket.AF_UNIX, kind: int = _socket.SOCK_STREAM) -> tuple[Socket, Socket]:
    """Two sockets that are connected."""
    first, second = _socket.socketpair(family, kind)
    return Socket(family, kind, 0, first.detach()), Socket(family, kind, 0, second.detach())


def process_class() -> type[subprocess.Popen[bytes]]:
    """A Popen for any thread. That of gevent is for those with its default loop, and has made Python's own
    useless: so this is one of a fresh copy of the module.
    """
    if not has_patched("subprocess"):
        return subprocess.Popen
    spec = find_spec("subprocess")
    assert spec is not None
    assert spec.loader is not None
    again = module_from_spec(spec)
    spec.loader.exec_module(again)
    found: type[subprocess.Popen[bytes]] = again.Popen
    return found
