"""What a fork of the process must leave alone (protocol.md section 1: a session is dead after a fork).

The child has a copy of everything: the socket, the numbers that the next datagrams are sealed with, the
leases in memory, the lock of a data folder. If it used them it would speak in its parent's name: release what
the parent holds, seal two texts with one number, write a clean mark for a node that goes on. So all of this
is dead in the child from its first moment, whether it unwinds or goes on; what it opens itself is its own.

The hook sees every fork of Python's. A fork behind its back is noticed by the process id, which is looked at
before anything is sealed or written.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from trio._core._wakeup_socketpair import WakeupSocketpair

__all__ = ["INHERITED", "Inherited", "Life", "dies_in_child", "same_process", "told_in_child"]

#: What every call of the program is told in the child.
INHERITED = (
    "this belongs to the parent process: a fork holds no leases; open a client of its own in the child"
)


class Inherited(Protocol):
    """What is of no use in the child of a fork."""

    def forked(self) -> None:
        """This is the child: be dead. Called wherever the program forked, once trio's loop is its own."""


_dead: WeakSet[Inherited] = WeakSet()
_told: WeakSet[Inherited] = WeakSet()
_process = os.getpid()


def dies_in_child(thing: Inherited) -> None:
    """Have ``thing.forked()`` called in the child of every fork from now on. Kept as a weak reference."""
    same_process()
    _dead.add(thing)


def told_in_child(thing: Inherited) -> None:
    """As `dies_in_child`, after all of those are dead."""
    same_process()
    _told.add(thing)


def same_process() -> bool:
    """Whether no fork has passed by the hook since the last look; if one has, what it left is dead now."""
    if os.getpid() == _process:
        return True
    _after_fork()
    return False


class Life:
    """Whether the owner of this is still in the process that made it."""

    __slots__ = ("__weakref__", "_over")

    def __init__(self) -> None:
        self._over = False
        dies_in_child(self)

    @property
    def over(self) -> bool:
        """Whether this is a copy in the child of a fork. Costs a system call."""
        return self._over or not same_process()

    def forked(self) -> None:
        self._over = True


def _after_fork() -> None:
    global _process
    _process = os.getpid()
    dead, told = list(_dead), list(_told)
    _dead.clear()
    _told.clear()
    for thing in dead:
        thing.forked()
    if told:
        _leave_the_parents_poll()
    for thing in told:
        thing.forked()


def _leave_the_parents_poll() -> None:
    """Give the trio run of this thread, if there is one, an epoll and wake-up sockets of its own.

    Those inherited are the parent's as well. Each event that the child took from them the parent would miss,
    and where a task of the child ends its waiting, the parent's own would be disarmed: a node would be deaf
    until its next timer. trio has no door for this; where it is built otherwise, nothing is done.
    """
    try:
        runner = sys.modules["trio._core._run"].GLOBAL_RUN_CONTEXT.runner
        manager, wakeups = runner.io_manager, runner.entry_queue.wakeup
        shared, registered, forced = manager._epoll, manager._registered, manager._force_wakeup  # noqa: SLF001
    except (KeyError, AttributeError):
        return  # no run in this thread, or no epoll
    own = select.epoll()
    os.dup2(own.fileno(), shared.fileno(), inheritable=False)
    own.close()
    _renew(forced)
    _renew(wakeups)
    shared.register(forced.wakeup_sock.fileno(), select.EPOLLIN)
    for fd, waiters in registered.items():
        with suppress(OSError):  # closed by now: whoever waits for it is told
            shared.register(fd, waiters.current_flags | select.EPOLLONESHOT)


def _renew(pair: WakeupSocketpair) -> None:
    """Fresh sockets under the same numbers."""
    for inherited, fresh in zip((pair.wakeup_sock, pair.write_sock), socket.socketpair(), strict=True):
        fresh.setblocking(False)
        os.dup2(fresh.fileno(), inherited.fileno(), inheritable=False)
        fresh.close()


os.register_at_fork(after_in_child=_after_fork)
