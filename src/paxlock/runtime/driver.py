"""The trio shell of one machine: one task that owns it (style: a pure core, a thin shell).

The task drains the socket, feeds the machine, carries out its effects, and sleeps until the machine's next
deadline or the next datagram. Everything for one peer in one turn leaves in one datagram. Local verbs call
the machine directly and then ``poke`` the task: the first one that finds it asleep sends at once, without a
change of tasks, and those after it share the datagrams of its next turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import trio

from paxlock.core.effects import Effects
from paxlock.core.lives import Lives
from paxlock.core.messages import Message, Peer
from paxlock.forks import told_in_child
from paxlock.limits import NEVER
from paxlock.runtime.background import in_loop
from paxlock.runtime.clock import Clock
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.transport import Transport

__all__ = ["Driver", "Machine"]

DRAIN_MAX_DATAGRAMS = 64
CLOCK_JUMP_S = 0.05


class Machine(Protocol):
    """The seam of core/effects.py."""

    def receive(self, message: Message, peer: Peer, now: float, lives: Lives) -> None: ...
    def tick(self, now: float) -> None: ...
    def deadline(self) -> float: ...
    def take_effects(self) -> Effects: ...


class Driver:
    """Runs one machine over one endpoint and one transport.

    ``publish`` is called synchronously with everything the machine publishes, and with the Strangers of whom
    the endpoint has heard, ``persist`` with a record to be made durable. ``tell_first`` takes from the
    machine what is to be published ahead of what is to be sent (core/effects.py). ``longest_sleep`` bounds
    how late a suspend is noticed. In the child of a fork the machine is left alone from the first moment on;
    ``buried`` is called there, in trio's loop, if that goes on.

    Its states, by ``_sleep``, ``_direct`` and ``_poked``:

        running          in a turn; a poke is noted, and the next turn follows at once
          | nothing more to do
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
        jumped: Callable[[float], None] | None = None,
        buried: Callable[[], None] | None = None,
    ) -> None:
        self.machine = machine
        self.endpoint = endpoint
        self.transport = transport
        self.clock = clock
        self.longest_sleep = NEVER
        self._publish = publish
        self._persist = persist
        self._tell_first = tell_first
        self._jumped = jumped
        self._buried = buried
        self._poked = False
        self._sleep: trio.CancelScope | None = None
        self._direct = False
        self._unpublished: list[object] = []
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
        elif self._direct:
            self._direct = False
            self._hear()
            if not self._unpublished:
                self._take()
                self._flush()
            if self._unpublished:
                self._wake(sleep)
            else:
                sleep.deadline = min(sleep.deadline, self._alarm(self.clock.now()))
        else:
            self._wake(sleep)

    def _wake(self, sleep: trio.CancelScope) -> None:
        self._poked = True
        sleep.cancel()

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
        more = self._drain()
        now = self.clock.now()
        if self.machine.deadline() <= now:
            self.machine.tick(now)
        self._hear()
        told = self._publish_all()
        if more or told or self._poked:
            # Those who are told may have more to send, which leaves in the same datagrams. Shielded: an alarm
            # must not end a turn half-way.
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._poked = False
            self._hear()
            told = self._publish_all()  # what they did may have ended what others count on
        if self.inherited:
            return True
        self._take()
        self._flush()
        if self._lot:
            self._lot.unpark_all()
        return self._publish_all() or told or more or self._poked

    def _hear(self) -> None:
        """Take what is to be told before anything is sent."""
        if self._tell_first is not None:
            self._unpublished.extend(self._tell_first())

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

    def _drain(self) -> bool:
        """Feed what has arrived; True if there may be more. The clock is read after each datagram came."""
        transport, endpoint, machine, clock = self.transport, self.endpoint, self.machine, self.clock
        for _ in range(DRAIN_MAX_DATAGRAMS):
            found = transport.receive_nowait()
            if found is None:
                return False
            now = clock.now()
            endpoint.age(now)
            received = endpoint.receive_untrusted(*found)
            if received is None:
                if endpoint.strangers:
                    self._tell_strangers()
                continue
            for message in received.messages:
                machine.receive(message, received.peer, now, received.lives)
        return True

    def _tell_strangers(self) -> None:
        strangers, self.endpoint.strangers = self.endpoint.strangers, []
        for stranger in strangers:
            self._unpublished.append(stranger)

    def _take(self) -> None:
        """Persist, queue what is to be sent, note what is to be published."""
        effects = self.machine.take_effects()
        if effects.persist is not None:
            assert self._persist is not None
            self._persist(effects.persist)
        if effects.lives is not None:
            self.endpoint.live(effects.lives)
        for peer, message in effects.sends:
            self.endpoint.queue(peer, message)
        self._unpublished.extend(effects.published)

    def _flush(self) -> None:
        self.endpoint.age(self.clock.now())
        for datagram, address in self.endpoint.flush():
            self.transport.send_nowait(datagram, address)

    def _publish_all(self) -> bool:
        """Publish what there is; True if there was something."""
        if not self._unpublished:
            return False
        unpublished, self._unpublished = self._unpublished, []
        for notice in unpublished:
            self._publish(notice)
        return True
