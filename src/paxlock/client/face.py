"""What the clients of every face have in common: the machine, the desk, the counters; and how the end of a
campaign becomes a lease.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Generic, Protocol, TypeVar

import attrs

from paxlock.client.desk import Desk, FaceErrors, Receiver
from paxlock.client.handle import Handle
from paxlock.client.holding import Holding
from paxlock.client.key_file import KeyFollower
from paxlock.client.nesting import Nesting
from paxlock.client.staying import Staying
from paxlock.config.cell import Cell
from paxlock.core.handles import SECRET_BYTES
from paxlock.core.session.events import Barred, Failed, Granted
from paxlock.core.session.session import Session, SessionSettings
from paxlock.core.statistics import SessionStatistics
from paxlock.errors import NotAcquired
from paxlock.host.clock import Clock
from paxlock.host.guardian import guardian_for
from paxlock.host.turn import DatagramSocket, Turn
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.wills import Guardian, Wills

__all__ = ["Acquisition", "Face", "PendingReply", "Statistics"]

H = TypeVar("H", bound=Holding)


class PendingReply(Receiver, Protocol):
    """Where the answer to one ticket arrives."""

    def set(self, value: object) -> None:
        """The answer."""

    def result(self) -> object:
        """What has arrived. Raises the closed error where the client was closed instead."""


@attrs.frozen
class Statistics:
    """Counters at one moment: of leases and messages, of datagrams, of the socket."""

    session: SessionStatistics
    endpoint: Mapping[str, int]
    transport: Mapping[str, int]


class Acquisition(Generic[H]):
    """Takes the end of a campaign. A lease is held from that moment, not from when whoever waits for it runs:
    it may be lost before that.
    """

    def __init__(
        self,
        desk: Desk,
        name: str,
        ttl: float,
        reply: PendingReply,
        *,
        make: Callable[[int, Handle, float, float], H],
        granted: Callable[[int, H], None],
    ) -> None:
        """``make`` makes a lease of ticket, grant, ttl and deadline; ``granted`` is told of it at once."""
        self._desk = desk
        self._name = name
        self._ttl = ttl
        self._reply = reply
        self._make = make
        self._granted = granted

    def take(self, event: object) -> H | None:
        if not isinstance(event, Granted):
            self._reply.set(event)
            return None
        secret = self._desk.session.secret_of(event.candidate)
        grant = Handle(self._desk.cell.cell_id, self._name, *event.candidate, event.term, secret)
        held = self._make(event.ticket, grant, self._ttl, event.deadline)
        self._reply.set(held)
        self._granted(event.ticket, held)
        return held

    def close(self, why: str) -> None:
        self._reply.close(why)

    def result(self) -> H:
        """The lease. Raises NotAcquired, the busy or the closed error."""
        result = self._reply.result()
        if isinstance(result, Failed):
            raise NotAcquired(self._name, result.reason, result.holder, result.detail)
        if isinstance(result, Barred):
            raise self._desk.barred(self._name)
        held: H = result  # type: ignore[assignment]  # what `take` has made
        return held


class Face(Staying, ABC, Generic[H]):
    """A client's machine and desk, whatever the program waits with."""

    def __init__(
        self,
        cell: Cell,
        session: bytes,
        *,
        label: str,
        endpoint: Endpoint,
        transport: DatagramSocket,
        clock: Clock,
        errors: FaceErrors,
        thrifty: bool = False,
    ) -> None:
        self.cell = cell
        self._clock = clock
        self._endpoint = endpoint
        self._transport = transport
        settings = SessionSettings(cell.configuration, label, thrifty=thrifty)
        secret, rng = secrets.token_bytes(SECRET_BYTES), Random(secrets.randbits(64))
        self._session = Session(settings, session=session, secret=secret, now=clock.now(), rng=rng)
        self._desk = Desk(cell, self._session, now=clock.now, poke=self._poke, errors=errors)
        self._desk.on_holding = self._settle_sleep
        self._nesting = Nesting()
        self._keys = KeyFollower(cell, endpoint, now=clock.now(), taken=self._desk.take_grant)
        self._desk.other_key = self._keys.look_now

    def statistics(self) -> Statistics:
        """Frozen counters: messages by kind, datagrams dropped by reason, trouble of the socket."""
        self._desk.check_process()
        return Statistics(
            self._session.statistics(), self._endpoint.statistics(), self._transport.statistics()
        )

    def lease_ttl(self, ttl: float | None) -> float:
        """How many seconds a lease of this ttl lives; of None, what is the default here."""
        return self._desk.allowed.lease_ttl(ttl, self.cell.max_ttl)

    def now(self) -> float:
        """The clock of leases: seconds, going on while the machine sleeps."""
        return self._clock.now()

    def check_process(self) -> None:
        """Raise ClosedError in a fork of the process that opened this client."""
        self._desk.check_process()

    def on_left_early(self, callback: Callable[[str, float], None]) -> None:
        """Have ``callback(name, seconds)`` called, instead of a warning logged, where a lease that is left
        behind for its ``at_least`` may run out so many seconds too early.
        """
        self._desk.left_early = callback

    def close(self, why: str = "this client was closed") -> None:
        """Nothing is answered any more; whoever waits is told so."""
        self._desk.close(why)
        if self._desk.wills is not None:
            self._desk.wills.close()

    def take_keys(self, cell: Cell) -> None:
        """Go on with the keys of this cell. Raises ConfigError for those of another client."""
        self._keys.take((cell.keys, cell.grant))

    def will_sockets(self) -> Sequence[int]:
        """The descriptors that a last will is sent from; none where the network is a virtual one."""
        sockets: Sequence[int] = getattr(self._transport, "sending_filenos", tuple)()
        return sockets

    def _leave_a_will(self, turn: Turn) -> None:
        """The program wants a last will: a guardian beside it, where there can be one."""
        sockets = self.will_sockets()
        guardian = guardian_for(sockets, self.cell.max_ttl) if sockets else None
        if guardian is not None:
            self._deposit_with(guardian, turn)

    def _deposit_with(self, guardian: Guardian, turn: Turn) -> Wills:
        """From now on, what ends this client's leases is deposited with this guardian, in each of these turns
        (protocol.md section 11). Leases that are held already are not in the will.
        """
        wills = self._desk.wills = Wills(self._endpoint, guardian)
        turn.before_leaving, turn.after_sending = wills.settle_places, wills.settle_turn
        return wills

    # What a face does

    def _granted(self, ticket: int, held: H) -> None:
        """A lease is held from now on."""

    @abstractmethod
    def _poke(self) -> None:
        """The machine has something to send."""

    def _settle_sleep(self, holding: bool) -> None:
        """While something is held, a suspend must be noticed soon: a face that sleeps for long sleeps shorter
        then.
        """
