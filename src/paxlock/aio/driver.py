"""The asyncio shell of a client's machine: callbacks of the loop, no task and no thread.

A datagram or the machine's next deadline begins a turn. What the machine has to tell is told at once, which
makes the tasks that wait ready to run; the rest of the turn is a callback behind them, so that they run
before anything is sent (core/effects.py). Local verbs call the machine directly and then ``poke``: the first
one after a turn sends at once, and those after it share the datagrams of the next turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from math import inf

from paxlock.aio.udp import LoopTransport
from paxlock.forks import told_in_child
from paxlock.host.clock import Clock
from paxlock.host.turn import CLOCK_JUMP_S, Machine, Turn
from paxlock.limits import NEVER
from paxlock.wire.endpoint import Endpoint

__all__ = ["LoopDriver"]


class LoopDriver(Turn):
    """Runs one machine over one endpoint and one transport, in the loop that is running.

    ``jumped`` is told where the clock of leases has jumped, ``failed`` of an error that ends the driver.
    ``longest_sleep`` bounds how late a suspend is noticed. In the child of a fork the machine is left alone
    from the first moment on, and ``buried`` is called.
    """

    def __init__(
        self,
        machine: Machine,
        endpoint: Endpoint,
        transport: LoopTransport,
        clock: Clock,
        *,
        publish: Callable[[object], None],
        tell_first: Callable[[], Iterable[object]],
        jumped: Callable[[float], None],
        failed: Callable[[Exception], None],
        buried: Callable[[], None],
    ) -> None:
        super().__init__(machine, endpoint, transport, clock, publish=publish, tell_first=tell_first)
        self.longest_sleep = NEVER
        self.over = False
        self._loop = asyncio.get_running_loop()
        self._hearing = transport
        self._jumped = jumped
        self._failed = failed
        self._buried = buried
        self._offset = clock.now() - self._loop.time()
        self._ending: asyncio.Handle | None = None  #: the rest of a turn, behind the tasks that were told
        self._direct = True  #: no verb has sent by itself since the last turn
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._turned: list[asyncio.Future[None]] = []
        told_in_child(self)

    def start(self) -> None:
        """Hear and send from now on."""
        self._hearing.hear(self._loop, lambda: self._guarded(self._begin))
        self._finish_soon()

    def stop(self) -> None:
        """Nothing is heard or sent any more. The socket stays open: who opened it closes it."""
        if self.over:
            return
        self.over = True
        self._hearing.stop_hearing(self._loop)
        for handle in (self._ending, self._alarm):
            if handle is not None:
                handle.cancel()
        self._wake_waiters()

    def forked(self) -> None:
        """This is the child of a fork. The loop's selector may be the parent's as well: leave it alone."""
        self.over = True
        self._buried()

    def poke(self) -> None:
        """A local verb has changed the machine: send what it wants sent, at once or in the next turn."""
        if self.over or self._ending is not None:
            return
        if self._direct:
            self._direct = False
            self.hear()
            if not self.unpublished:
                self.take()
                self.flush()
                self._set_alarm()
                if not self.unpublished:
                    return
        self._finish_soon()

    def look(self) -> None:
        """Begin a turn soon: time may have passed unseen."""
        self._loop.call_soon(self._guarded, self._begin)

    async def turned(self) -> None:
        """Wait for the end of the next turn."""
        if not self.over:
            waiter = self._loop.create_future()
            self._turned.append(waiter)
            await waiter

    @property
    def pending(self) -> bool:
        """Whether local verbs want something sent that is not yet on its way."""
        return self._ending is not None

    # Within

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the client and must come out there
            self.stop()
            self._failed(error)

    def _begin(self) -> None:
        """Take what has come, do what is due, and tell of it."""
        if self.over:
            return
        self._notice_jump()
        self.drain()  # what is left is read in the next pass of the loop
        self.tick()
        self.hear()
        if self.publish_all():
            if self._ending is not None:  # of an earlier verb, ahead of those who were told now
                self._ending.cancel()
                self._ending = None
            self._finish_soon()
        elif self._ending is None:
            self._finish()

    def _finish_soon(self) -> None:
        if self._ending is None and not self.over:
            self._ending = self._loop.call_soon(self._guarded, self._finish)

    def _finish(self) -> None:
        """Publish what verbs of those who were told have brought, and send all that is to be sent."""
        self._ending = None
        if self.over:
            return
        self._direct = True
        self.hear()
        self.publish_all()
        self.take()
        self.flush()
        if self.publish_all():
            self._finish_soon()
        self._set_alarm()
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        waiters, self._turned = self._turned, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _notice_jump(self) -> None:
        """Before anything that arrived is looked at: a loss by a jump of the clock shall be told as one."""
        now = self.clock.now()
        drift = now - self._loop.time() - self._offset
        if abs(drift) > CLOCK_JUMP_S:
            self._offset += drift
            self._jumped(now)

    def _set_alarm(self) -> None:
        """Wake at the machine's deadline. An alarm is only moved to earlier times: one that comes too early
        costs a turn that does nothing, and another timer for every datagram would cost more.
        """
        sleep = min(self.machine.deadline() - self.clock.now(), self.longest_sleep)
        if sleep == inf:
            return
        at = self._loop.time() + max(sleep, 0.0)
        if self._alarm is not None:
            if self._alarm_at <= at:
                return
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = self._loop.call_at(at, self._guarded, self._ring)

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, inf
        self._begin()
