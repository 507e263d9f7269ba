"""The trio shell of one machine: one task that owns it (style: a pure core, a thin shell).

The task drains the socket, feeds the machine, carries out its effects, and sleeps until the machine's next
deadline or the next datagram. Everything for one peer in one turn leaves in one datagram. Local verbs call
the machine directly and then ``poke`` the task: the first one that finds it asleep sends at once, without a
change of tasks, and those after it share the datagrams of its next turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext

import trio

from paxlock.core.durable import Kept
from paxlock.forks import told_in_child
from paxlock.host.clock import Clock
from paxlock.host.turn import CLOCK_JUMP_S, Machine, Turn
from paxlock.limits import NEVER
from paxlock.runtime.background import in_loop
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.transport import Transport

__all__ = ["Driver"]


class Driver(Turn):
    """Runs one machine over one endpoint and one transport.

    What it publishes, and to whom, is told at Turn. ``longest_sleep`` bounds how late a suspend is noticed.
    ``sync``, if it is given, is waited for where something was kept in a turn, before anything of it is sent:
    it is on the disk then, and what has come meanwhile makes the next turn. In the child of a fork the
    machine is left alone from the first moment on; ``buried`` is called there, in trio's loop, if that goes
    on.

    Its states, by ``_sleep``, ``_direct`` and ``_poked``:

        running          in a turn: hears, ticks, tells; a poke is noted
          | somebody was told                   | nobody was
          v                                     |
        letting run      for two ticks of trio: in the first one those who were told run, before it or behind
          | they have run, and poked            |  it, as trio shuffles a tick; a poke is noted
          v                                     v
        sending          tells what they brought, then sends all in the same datagrams
          | nothing more to do (else: running)
          v
        asleep, direct   until a datagram or a deadline comes; the first poke sends by itself
          | poke, and nothing is to be told
          v
        asleep           a poke wakes the task: what many verbs want sent shares one turn
          | poke; or, from both, a datagram, a deadline, or something to be told
          v
        running
    """

    def __init__(
        self,
        machine: Machine,
        endpoint: Endpoint,
        transport: Transport,
        clock: Clock,
        *,
        publish: Callable[[object], None],
        persist: Callable[[object], None] | None = None,
        tell_first: Callable[[], Iterable[object]] | None = None,
        keep: Callable[[Kept], None] | None = None,
        sync: Callable[[], Awaitable[None]] | None = None,
        jumped: Callable[[float], None] | None = None,
        buried: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(
            machine,
            endpoint,
            transport,
            clock,
            publish=publish,
            persist=persist,
            tell_first=tell_first,
            keep=keep,
        )
        self.transport = transport
        self.lock = nullcontext()  #: for whoever touches the machine of a node: here all run in one loop
        self.longest_sleep = NEVER
        self._sync = sync
        self._jumped = jumped
        self._buried = buried
        self._poked = False
        self._sleep: trio.CancelScope | None = None
        self._direct = False
        self._lot = trio.lowlevel.ParkingLot()
        self._loop: trio.lowlevel.TrioToken | None = None
        self.inherited = False  #: this is a copy in the child of a fork
        told_in_child(self)

    def forked(self) -> None:
        """This is the child of a fork: nothing is received, sent or published any more."""
        self.inherited = True
        if self._sleep is not None and in_loop(self._loop):
            self._sleep.cancel()

    def poke(self) -> None:
        """A local verb has changed the machine: send what it wants sent, at once or in the next turn."""
        sleep = self._sleep
        if self.inherited:
            pass
        elif sleep is None or self._poked:
            self._poked = True
        elif self._direct and self._sync is None:
            self._direct = False
            self.hear()
            if not self.unpublished:
                self.take()
                self.flush()
            if self.unpublished:
                self._wake(sleep)
            else:
                sleep.deadline = min(sleep.deadline, self._alarm(self.clock.now()))
        else:
            self._wake(sleep)

    def _wake(self, sleep: trio.CancelScope) -> None:
        self._poked = True
        sleep.cancel()

    def call(self, function: Callable[[], object]) -> None:
        """Call it in trio's loop: that is here."""
        function()

    async def sent(self) -> None:
        """Wait until what local verbs wanted sent is on its way."""
        if self._poked:
            await self._lot.park()

    async def turned(self) -> None:
        """Wait for the end of a turn."""
        await self._lot.park()

    async def run(self) -> None:
        """Own the machine until cancelled."""
        offset = self.clock.now() - trio.current_time()
        self._loop = trio.lowlevel.current_trio_token()
        while True:
            # One scope serves many turns: making one costs more than a small turn. Its deadline is only moved
            # to earlier times; an alarm that is not wanted any more costs a turn that does nothing.
            with trio.CancelScope() as alarm:
                while True:
                    if self.inherited:
                        await self._lie_buried()
                    offset = self._notice_jump(offset)
                    if await self._turn():
                        await trio.lowlevel.checkpoint_if_cancelled()
                    else:
                        await self._wait(alarm)

    async def _lie_buried(self) -> None:
        self._poked = False
        self._lot.unpark_all()
        if self._buried is not None:
            self._buried()
        await trio.sleep_forever()

    def _notice_jump(self, offset: float) -> float:
        """Before anything that arrived is looked at: a loss by a jump of the clock shall be told as one."""
        if self._jumped is not None:
            now = self.clock.now()
            drift = now - trio.current_time() - offset
            if abs(drift) > CLOCK_JUMP_S:
                self._jumped(now)
                return offset + drift
        return offset

    async def _turn(self) -> bool:
        """Take what has come, do what is due, carry out what follows; True if there is more at once."""
        self._poked = False
        more = self.drain()
        self.tick()
        self.hear()
        told = self.publish_all()
        if more or told or self._poked:
            # Those who are told may have more to send, which leaves in the same datagrams. Shielded: an alarm
            # must not end a turn half-way.
            await trio.lowlevel.cancel_shielded_checkpoint()
            if told:
                # They run in one tick with this task, and trio shuffles the tasks of a tick: only at the
                # next one each of them has had its step, and let go of what it does not keep (no Commit).
                await trio.lowlevel.cancel_shielded_checkpoint()
            self._poked = False
            self.hear()
            told = self.publish_all()  # what they did may have ended what others count on
        if self.inherited:
            return True
        self.take()
        if self.kept and self._sync is not None:
            self.kept = False
            with trio.CancelScope(shield=True):  # an alarm must not end a turn half-way
                await self._sync()
            if self.inherited:
                return True
        self.flush()
        if self._lot:
            self._lot.unpark_all()
        return self.publish_all() or told or more or self._poked

    def _alarm(self, now: float) -> float:
        """When to wake at the latest, by trio's clock."""
        return trio.current_time() + min(self.machine.deadline() - now, self.longest_sleep)

    async def _wait(self, alarm: trio.CancelScope) -> None:
        when = self._alarm(self.clock.now())
        if when < alarm.deadline:
            alarm.deadline = when
        self._sleep = alarm
        self._direct = True
        try:
            if self.inherited:  # forked by somebody who was told something in this turn
                return
            await self.transport.wait_readable()
        finally:
            self._sleep = None
