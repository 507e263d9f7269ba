"""The blocking shell of one machine: a lock, and one plain thread (style: a pure core, a thin shell).

The thread sleeps until a datagram or the machine's deadline. A thread of the program that asks for something
takes the lock, calls the machine and sends by itself; then it waits for the answer, outside of the lock.
Where another thread has the lock, that one does its work as well.

Two kinds of threads may not touch the machine, as an exception may hit them between any two of its steps and
would leave it half-way: the main thread (signals, Ctrl-C) and those that a loss may interrupt
(interrupts.py). They hand their work over to the thread of the machine, in order. So a signal handler that
calls a verb waits for no lock that its own thread holds.
"""

from __future__ import annotations

import math
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from paxlock.blocking.interrupts import interruptible
from paxlock.blocking.waiting import Event
from paxlock.core.session.events import Granted
from paxlock.core.session.session import Session
from paxlock.errors import ClosedError, PaxlockError
from paxlock.forks import dies_in_child
from paxlock.host.clock import Clock
from paxlock.host.failures import as_ours
from paxlock.host.native import allocate_lock, get_ident, greenlets, poll, socketpair, start_thread
from paxlock.host.turn import CLOCK_JUMP_S, DatagramSocket, Turn
from paxlock.limits import NEVER
from paxlock.wire.endpoint import Endpoint

__all__ = ["Alarms", "BlockingSocket", "Engine"]

LINGER_S = 0.001  #: for a thread to run that was told of its grant: some 0.1 ms pass until it does


class BlockingSocket(DatagramSocket, Protocol):
    """A UdpSocket, or TwoSockets."""

    def filenos(self) -> Sequence[int]: ...
    def close(self) -> None: ...


class Alarms(Protocol):
    """What is timed besides the machine; called with the machine to itself."""

    def due(self) -> float:
        """When to be called next, on the clock of leases."""

    def tick(self, now: float) -> None:
        """Do what is due."""

    def ended(self, failure: PaxlockError | None) -> None:
        """The thread ends: nothing is answered any more."""


class Engine(Turn):
    """Runs one machine.

    The states of its thread, and of the Commits of its session:

        turning      with the machine to itself: hears, tells, sends; no other thread is in the machine
          | nothing more to do     ^
          v                        | a datagram, an alarm, the end of a linger, the bell of another thread
        asleep       the verbs of other threads tell and send by themselves

        sent as they come   leaves with whatever is sent
          | a grant is told         ^
          v                         | LINGER_S have passed
        held back           stays here; the Release of a thread that is done at once takes its place
    """

    def __init__(
        self,
        session: Session,
        endpoint: Endpoint,
        transport: BlockingSocket,
        clock: Clock,
        *,
        publish: Callable[[object], None],
        alarms: Alarms,
    ) -> None:
        super().__init__(
            session, endpoint, transport, clock, publish=publish, tell_first=session.take_published
        )
        self._longest_sleep = NEVER
        self.inherited = False  #: this is a copy in the child of a fork
        self._session = session
        self._socket = transport
        self._alarms = alarms
        self._lock = allocate_lock()
        self._owner = 0  #: the thread that has the lock
        self._handed_over: deque[Callable[[], None]] = deque()
        self._asleep_until = -math.inf
        self._woken = False
        self._commits_at = NEVER  #: when Commits are sent that are held back
        self._ears, self._bell = socketpair()
        self._ears.setblocking(False)
        self._bell.setblocking(False)
        self._trouble: Exception | None = None
        self._stops_at = NEVER
        self._dead = False
        self.over = Event()  #: the thread has ended
        self._offset = clock.now() - time.monotonic()
        self._thread = 0  #: which one it is, once it runs
        dies_in_child(self)

    def start(self) -> None:
        """Start the thread. Raises ClosedError where none can be started any more."""
        try:
            start_thread(self._run, "paxlock")
        except RuntimeError as error:
            self._close_bell()
            if threading.main_thread().is_alive():
                why = (
                    f"no thread can be started ({error}): this process, its user or its container has as "
                    "many as it may (ulimit -u, pids.max)"
                )
            else:
                why = (
                    "the interpreter ends, and no thread can be started any more: use the client once before "
                    "the main thread ends"
                )
            raise ClosedError(why) from error

    def forked(self) -> None:
        """This is the child of a fork: there is no thread here, and nothing is waited for."""
        self.inherited = True
        self._close_bell()

    # For the threads of the program

    def exposed(self) -> bool:
        """Whether an exception may hit this thread between any two steps."""
        me = get_ident()
        # A greenlet may be left for another in the midst of its work.
        return greenlets() or me == threading.main_thread().ident or interruptible(me)

    def within(self) -> bool:
        """Whether this thread may not wait for the machine, because the machine waits for it: as where the
        garbage collector runs a ``__del__`` of the program in the midst of a turn.
        """
        return get_ident() in (self._owner, self._thread)

    def do(self, work: Callable[[], None]) -> None:
        """Run ``work`` with the machine to itself, now or soon, and send what follows. It must not raise."""
        if self.exposed() or self.within():
            self.hand_over(work)
            if self._dead and not self.within():
                self._do_the_rest()
            return
        self._handed_over.append(work)
        # Where another thread has the machine, it does this work too: nobody waits for the lock, and what
        # many ask for at one moment leaves in one datagram. Whoever lets go of the lock looks for more.
        while self._handed_over and self._lock.acquire(blocking=False):
            self._owner = get_ident()
            try:
                self._work_off()
                if not self._dead:
                    self._settle()
            finally:
                self._owner = 0
                self._lock.release()

    def _work_off(self) -> None:
        while self._handed_over:
            self._handed_over.popleft()()

    def hand_over(self, work: Callable[[], None]) -> None:
        """Have the thread run ``work``. Takes no lock."""
        self._handed_over.append(work)
        self.wake()

    def sleep_at_most(self, seconds: float) -> None:
        """With the machine to itself: bound how late a suspend is noticed."""
        self._longest_sleep = seconds
        if self._owner != self._thread:
            self.wake()

    def stop(self, patience: float) -> None:
        """With the machine to itself: end the thread once all Releases are heard, or after ``patience``."""
        self._stops_at = min(self._stops_at, self.clock.now() + patience)
        self.wake()  # all may have been heard already, and then no datagram ends the thread's sleep

    def wake(self) -> None:
        """End the sleep of the thread. Takes no lock."""
        if not self._woken:
            self._woken = True
            with suppress(OSError):  # full, and so awake; or closed
                self._bell.send(b"\0")

    # The thread

    def _run(self) -> None:
        self._thread = get_ident()
        failure: PaxlockError | None = None
        try:
            poller = poll()  # not epoll, which a fork would share
            for fileno in {self._ears.fileno(), *self._socket.filenos()}:
                poller.register(fileno, select.POLLIN)
            while self._turn():
                poller.poll(self._sleep_ms())
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever waits must hear of it
            failure = as_ours(error)
        with self._lock:
            self._owner = get_ident()
            self._dead = True
            self._alarms.ended(failure)
            self._socket.close()
            self._close_bell()
            self._owner = 0
        self._do_the_rest()
        self.over.set()

    def _close_bell(self) -> None:
        self._ears.close()
        self._bell.close()

    def _turn(self) -> bool:
        """One turn, and how long to sleep after it; False at the end."""
        with suppress(BlockingIOError):
            self._ears.recv(4096)
        self._woken = False
        with self._lock:
            self._owner = get_ident()
            try:
                self._notice_jump()
                self._work_off()
                more = self.drain()
                self.tick()
                now = self.clock.now()
                if self._alarms.due() <= now:
                    self._alarms.tick(now)
                self._settle()
                if self._trouble is not None:
                    raise self._trouble
                if self._stops_at < NEVER and (not self._session.releasing or now >= self._stops_at):
                    return False
                self._asleep_until = -math.inf if more else self._deadline()
            finally:
                self._owner = 0
        return True

    def _sleep_ms(self) -> float | None:
        """Milliseconds to sleep; whoever has moved the deadline since then has rung the bell."""
        if self._handed_over:
            return 0.0  # by a thread that has found the machine taken by this one
        until = min(self._asleep_until, self.clock.now() + self._longest_sleep)
        return None if until == NEVER else math.ceil(max(0.0, until - self.clock.now()) * 1000.0)

    def _deadline(self) -> float:
        return min(self.machine.deadline(), self._alarms.due(), self._stops_at, self._commits_at)

    def _settle(self) -> None:
        """Tell first, then send: a loss is told of before the Release leaves (core/effects.py)."""
        try:
            self.hear()
            self._hold_commits()
            self.publish_all()
            told = True
            while told:
                self.take()
                self.flush()
                told = self.publish_all()
        except Exception as trouble:  # noqa: BLE001 - raised by the thread
            self._trouble = trouble
        if self._trouble is not None or self._deadline() < self._asleep_until:
            self.wake()

    def _hold_commits(self) -> None:
        """Whoever is told of a grant may be done at once: then its Release says all that a Commit could."""
        if self._commits_at < NEVER:
            if self.clock.now() < self._commits_at:
                return
            self._commits_at = NEVER
        elif any(isinstance(told, Granted) for told in self.unpublished):
            self._commits_at = self.clock.now() + LINGER_S
        else:
            return
        self._session.hold_commits(self._commits_at < NEVER)

    def _notice_jump(self) -> None:
        """Before anything that arrived is looked at: a loss by a jump of the clock shall be told as one."""
        now = self.clock.now()
        drift = now - time.monotonic() - self._offset
        if abs(drift) > CLOCK_JUMP_S:
            self._offset += drift
            self._session.clock_jumped(now)

    def _do_the_rest(self) -> None:
        """Of what was handed over, what the thread did not do before its end: all of it is refused."""
        while self._handed_over:
            with self._lock:
                while self._handed_over:
                    with suppress(IndexError):
                        self._handed_over.popleft()()
