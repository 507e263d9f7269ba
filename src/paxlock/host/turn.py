"""One turn of a machine, without an event loop: what every face's driver does, and in which order.

A driver (runtime/driver.py for trio) decides when a turn begins and who runs between its steps; the order of
the steps is that of core/effects.py. Everything for one peer in one turn leaves in one datagram.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from paxlock.core.durable import Kept
from paxlock.core.effects import Effects
from paxlock.core.lives import Lives
from paxlock.core.messages import Message, Peer
from paxlock.core.rights import Rights
from paxlock.host.clock import Clock
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.transport import Address

__all__ = ["CLOCK_JUMP_S", "DatagramSocket", "Machine", "Turn"]

DRAIN_MAX_DATAGRAMS = 64
CLOCK_JUMP_S = 0.05  #: above this the clock of leases has jumped, against the one that sleeps are timed by


class Machine(Protocol):
    """The seam of core/effects.py."""

    def receive(
        self, message: Message, peer: Peer, now: float, lives: Lives = ..., rights: Rights = ...
    ) -> None: ...
    def tick(self, now: float) -> None: ...
    def deadline(self) -> float: ...
    def take_effects(self) -> Effects: ...


class DatagramSocket(Protocol):
    """What a turn needs of a network; Transport (wire/transport.py) says what each does."""

    def receive_nowait(self) -> tuple[bytes, Address] | None: ...
    def send_nowait(self, datagram: bytes, address: Address) -> None: ...
    def statistics(self) -> Mapping[str, int]: ...


class Turn:
    """The steps of a turn of one machine over one endpoint and one socket.

    ``publish`` is called synchronously with everything the machine publishes, and with the Strangers of whom
    the endpoint has heard, ``persist`` with a record to be made durable. ``tell_first`` takes from the
    machine what is to be published ahead of what is to be sent. ``keep`` has an entry in the state file when
    it returns.
    """

    def __init__(
        self,
        machine: Machine,
        endpoint: Endpoint,
        transport: DatagramSocket,
        clock: Clock,
        *,
        publish: Callable[[object], None],
        persist: Callable[[object], None] | None = None,
        tell_first: Callable[[], Iterable[object]] | None = None,
        keep: Callable[[Kept], None] | None = None,
    ) -> None:
        self.machine = machine
        self.endpoint = endpoint
        self.clock = clock
        self.unpublished: list[object] = []
        self._transport = transport
        self._publish = publish
        self._persist = persist
        self._tell_first = tell_first
        #: Called with the reason for which a datagram was dropped, and where it came from.
        self.refused: Callable[[str, Address], None] | None = None
        self._keep = keep
        #: Called with the time before anything is sealed.
        self.before_sending: Callable[[float], None] | None = None
        #: Called with everything known by which is sealed, before anything leaves.
        self.before_leaving: Callable[[], None] | None = None
        self.kept = False  #: an entry was kept in this turn
        #: Called at the end of each turn, once all is sent.
        self.after_sending: Callable[[], None] | None = None

    def drain(self) -> bool:
        """Feed what has arrived; True if there may be more. The clock is read after each datagram came."""
        transport = self._transport
        for _ in range(DRAIN_MAX_DATAGRAMS):
            found = transport.receive_nowait()
            if found is None:
                return False
            self.feed(*found)
        return True

    def feed(self, datagram: bytes, address: Address) -> None:
        """Feed a datagram that has just come."""
        endpoint, machine = self.endpoint, self.machine
        now = self.clock.now()
        endpoint.age(now)
        received = endpoint.receive_untrusted(datagram, address)
        if received is None:
            if endpoint.refused:
                reason, endpoint.refused = endpoint.refused, ""
                if self.refused is not None:
                    self.refused(reason, address)
            if endpoint.strangers:
                self._tell_strangers()
            return
        for message in received.messages:
            machine.receive(message, received.peer, now, received.lives, received.rights)

    def tick(self) -> None:
        """Do what is due."""
        now = self.clock.now()
        if self.machine.deadline() <= now:
            self.machine.tick(now)

    def hear(self) -> None:
        """Take what is to be told before anything is sent."""
        if self._tell_first is not None:
            self.unpublished.extend(self._tell_first())

    def take(self) -> None:
        """Keep, persist, queue what is to be sent, note what is to be published."""
        effects = self.machine.take_effects()
        if effects.keep is not None and self._keep is not None:
            self._keep(effects.keep)  # one write for all of this turn, before any of it is sent
            self.kept = True
        if effects.persist is not None:
            assert self._persist is not None
            self._persist(effects.persist)
        if effects.lives is not None:
            self.endpoint.live(effects.lives)
        for peer, message in effects.sends:
            self.endpoint.queue(peer, message)
        self.unpublished.extend(effects.published)

    def flush(self) -> None:
        now = self.clock.now()
        self.endpoint.age(now)
        if self.before_sending is not None:
            self.before_sending(now)
        if self.before_leaving is not None:
            self.before_leaving()
        for datagram, address in self.endpoint.flush():
            self._transport.send_nowait(datagram, address)
        if self.after_sending is not None:
            self.after_sending()

    def publish_all(self) -> bool:
        """Publish what there is; True if there was something."""
        if not self.unpublished:
            return False
        unpublished, self.unpublished = self.unpublished, []
        for notice in unpublished:
            self._publish(notice)
        return True

    def _tell_strangers(self) -> None:
        strangers, self.endpoint.strangers = self.endpoint.strangers, []
        for stranger in strangers:
            self.unpublished.append(stranger)
