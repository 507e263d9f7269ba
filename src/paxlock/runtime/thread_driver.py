"""The shell of a node's machine in a thread of its own, for a process that does nothing else.

The thread waits for a datagram in the kernel and answers it at once: two system calls, where a turn of an
event loop takes five. Trio keeps all that is slower: names, the disk's record, signals, pages for operators.
What they do with the machine they do under its lock, and then ring the bell; what the machine tells is told
in trio's loop, in its order.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial

import trio

from paxlock.core.durable import Kept
from paxlock.forks import told_in_child
from paxlock.host.clock import Clock
from paxlock.host.turn import Machine, Turn
from paxlock.host.waiting import IDLE_S, WaitingSocket
from paxlock.runtime.udp import TwoFamilies, UdpTransport
from paxlock.wire.endpoint import Endpoint

__all__ = ["FairLock", "ThreadDriver"]

BACKLOG_S = 20e-6  #: a datagram that came sooner had been there: others may be, and share the turn


class FairLock:
    """A lock of two threads that goes to the one that waits for it, and not back to who has just let it go:
    under a flood of datagrams trio's loop gets its turn after one of the other thread.
    """

    def __init__(self) -> None:
        self._gate = threading.Lock()  #: had by who is the next
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._gate:
            self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()


class ThreadDriver(Turn):
    """Runs one machine of a node over one endpoint and the sockets of one transport.

    ``publish`` and ``persist`` are called in trio's loop, ``keep`` and ``sync`` in the thread, ``keep`` with
    the machine to itself. ``sync``, if it is given, is waited for where something was kept in a turn, before
    anything of it is sent; the lock is free meanwhile, and nobody else sends.

    The states of its thread:

        waiting       without the lock, in the kernel
          | a datagram, the bell, the machine's deadline
          v
        in a turn     with the lock: hears, ticks, keeps, queues  -- nothing was kept, or no sync --.
          | something was kept, and there is a sync                                                 |
          v                                                                                         v
        on the disk   without the lock                                            -- the lock --> sending
          | or: it failed, and the thread ends with that                            .-- then: waiting --'
          '---------------------------------------------------------------------------> sending

        in any state, once `run` is cancelled --> no other turn begins, and the thread ends
    """

    def __init__(
        self,
        machine: Machine,
        endpoint: Endpoint,
        transport: UdpTransport | TwoFamilies,
        clock: Clock,
        *,
        publish: Callable[[object], None],
        persist: Callable[[object], None],
        keep: Callable[[Kept], None],
        sync: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(
            machine,
            endpoint,
            transport,
            clock,
            publish=publish,
            persist=lambda record: self.call(partial(persist, record)),
            keep=keep,
        )
        self.transport = transport
        self.lock = FairLock()  #: whoever touches the machine or the endpoint has it
        self.inherited = False  #: this is a copy in the child of a fork, where there is no such thread
        self._sync = sync
        self._socket = WaitingSocket(transport)
        self._to_tell: deque[Callable[[], object]] = deque()
        self._news = trio.Event()
        self._ended = trio.Event()
        self._loop: trio.lowlevel.TrioToken
        self._over = False
        self._trouble: BaseException | None = None
        told_in_child(self)

    def forked(self) -> None:
        """This is the child of a fork: who had the lock is not here to give it back."""
        self.inherited = True
        self.lock = FairLock()

    # For trio's loop

    def poke(self) -> None:
        """The machine or the endpoint has something to send: begin a turn soon."""
        if not self.inherited:
            self._socket.ring()

    async def run(self) -> None:
        """Own the machine until cancelled. When this is over, so is the thread."""
        self._loop = trio.lowlevel.current_trio_token()
        thread = threading.Thread(target=self._run, name="paxlock node", daemon=True)
        thread.start()
        try:
            while not self._ended.is_set():
                await self._news.wait()
                self._news = trio.Event()
                while self._to_tell:
                    self._to_tell.popleft()()
        finally:
            if not self.inherited:
                self._over = True
                self._socket.shut()
                with trio.CancelScope(shield=True):
                    await self._ended.wait()
                thread.join()
                if self._trouble is not None:  # also of a last turn, after the cancellation: no clean stop
                    raise self._trouble

    # For the thread

    def call(self, function: Callable[[], object]) -> None:
        """Call it soon in trio's loop, in the order of these calls."""
        self._to_tell.append(function)
        self._loop.run_sync_soon(self._wake, idempotent=True)

    def _wake(self) -> None:
        self._news.set()

    def _run(self) -> None:
        try:
            wait = 0.0
            while not self._over:
                wait = self._turn(wait)
        except BaseException as trouble:  # noqa: BLE001 - raised by `run`
            self._trouble = trouble
        self._loop.run_sync_soon(self._end)

    def _end(self) -> None:
        self._ended.set()
        self._news.set()

    def _turn(self, wait: float) -> float:
        """Wait so long at most, then one turn; gives how long to wait after it."""
        began = self.clock.now()
        found = self._socket.receive(wait)
        with self.lock:
            if self._over:
                return 0.0
            if found is not None:
                self.feed(*found)
                if self.clock.now() - began < BACKLOG_S:
                    self.drain()
            self.tick()
            self.take()
            if not (self.kept and self._sync is not None):
                return self._send()
        self.kept = False
        self._sync()
        with self.lock:
            return self._send()

    def _send(self) -> float:
        self.flush()
        for notice in self.unpublished:
            self.call(partial(self._publish, notice))
        self.unpublished.clear()
        return min(self.machine.deadline() - self.clock.now(), IDLE_S)
