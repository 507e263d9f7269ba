"""A lease in the hands of a program, as far as no event loop is needed: what it is, whether it is still held,
and what the machine tells of it. Each face adds how its end is waited for and how a block is ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from paxlock.client.desk import Desk, Receiver
from paxlock.client.handle import Handle, format_handle
from paxlock.client.staying import Staying
from paxlock.core.session.events import DataPublished, Extended, LetGoAsked, Lost
from paxlock.errors import LeaseLost, LossReason
from paxlock.wire.wills import Wills

__all__ = ["Holding"]


class Holding(Staying):
    """A lease that this program holds, renewed in the background while its client is open.

    ``name`` is what is held, ``term`` the fencing token: constant, and greater than that of every holder
    before.
    """

    _kind = "lease"
    _instead = "its name, term and handle can, or acquire one there"

    def __init__(self, desk: Desk, ticket: int, *, grant: Handle, ttl: float, deadline: float) -> None:
        self.name = grant.name
        self.term = grant.term
        self.ttl = ttl
        self._grant = grant
        self._desk = desk
        self._ticket = ticket
        self._deadline = deadline
        self._reason: LossReason | None = None
        self._let_go = False
        self._keep = True  #: for ``at_least``
        self._listeners: list[Callable[[float], None]] = []

    def __repr__(self) -> str:
        state = "lost" if self._reason else "released" if self._let_go else "held"
        return f"<HeldLease {self.name!r} term {self.term} {state}>"

    @property
    def handle(self) -> str:
        """Names this grant for the command line: it is a capability, keep it as you would a key. Whoever
        releases by it ends the lease at once, a moment before this holder is told.

        Whoever has it may renew the lease, also when this process is dead. So with ``last_will`` the lease is
        out of the will before this returns, for good (protocol.md section 11).
        """
        self._withdraw_will()
        return format_handle(self._grant)

    @property
    def cell(self) -> str:
        """The id of the cell that granted the lease, in hex: terms of two cells are not to be compared."""
        return self._grant.cell_id.hex()

    @property
    def deadline(self) -> float:
        """When the work must have stopped, margin taken off: seconds of the boot-time clock."""
        return self._deadline

    @property
    def valid(self) -> bool:
        """Whether the lease is held at this moment, by the boot-time clock."""
        self._desk.check_process()
        return not self._let_go and self._reason is None and self._desk.now() < self._deadline

    @property
    def stands(self) -> bool:
        """Whether this process still stands in the way of whoever wants the name."""
        # One that was revoked politely is renewed until its body has ended.
        held = self._reason in (None, LossReason.REVOKED)
        return held and not self._let_go and not self._desk.inherited

    def remaining(self) -> float:
        """Seconds until the lease would be lost if no renewal came; 0 where it is over."""
        return max(0.0, self._deadline - self._desk.now()) if self.valid else 0.0

    def check(self) -> None:
        """Call before what cannot be undone. Raises LeaseLost if the lease was lost, ClosedError if it was
        released or this process is a fork of the holder.
        """
        self._desk.check_process()
        if self._let_go and self._reason is None:
            raise self._desk.errors.closed(f"the lease of {self.name!r} was released")
        if not self.valid:
            raise self.loss()

    def loss(self) -> LeaseLost:
        """The error that tells of this lease's loss."""
        return LeaseLost(self.name, self.term, self._reason or LossReason.EXPIRED)

    def on_extended(self, callback: Callable[[float], None]) -> None:
        """Have ``callback`` called, synchronously, with each new deadline. It must not raise."""
        self._desk.check_process()
        self._listeners.append(callback)

    def detach(self) -> None:
        """Forget the lease without releasing it: it lives on until its ttl, for whoever has the handle.

        This client cannot campaign for the name again, and its tasks that wait for it raise
        BusyError: the end of a later attempt of the same session would also end the handle's power to
        renew (protocol.md section 2, tombstones).
        """
        self._desk.check_process()
        self._withdraw_will()
        self._end()
        self._desk.detach(self._ticket)

    def _end(self) -> None:
        self._let_go = True
        self._tell()

    # For the client and the block

    def name_in(self, wills: Wills) -> None:
        """From now on this lease is in the will."""
        grant = self._grant
        if not self._let_go and self._reason is None:
            wills.hold(self._ticket, grant.name, grant.candidate, grant.term)

    def tells(self, error: BaseException) -> bool:
        """Whether an error tells of the loss of this lease and of nothing else, as when ``check`` raised it,
        perhaps in several tasks.
        """
        if isinstance(error, BaseExceptionGroup):
            return all(self.tells(inner) for inner in error.exceptions)
        return isinstance(error, LeaseLost) and (error.name, error.term) == (self.name, self.term)

    def take(self, event: object) -> Self | None:
        """What the machine tells of this lease; None where that is the last."""
        if isinstance(event, LetGoAsked):
            self._keep = False  # whoever may administer the name wants it back
            if not self._let_go:
                self.lost(LossReason.REVOKED)
            return self  # it is held, until the program has done with it
        if isinstance(event, Extended):
            if self.extended(event.deadline):
                return self
            # Renewed in time, but told only after the deadline that the program knew: for the program it was
            # over by then, so it is over, and nobody shall renew it.
            self._desk.lose(self._ticket, LossReason.EXPIRED)
            return None
        assert isinstance(event, Lost)
        self.lost(event.reason)
        return None

    def close(self, why: str) -> None:
        """The client is closed; the lease was lost with it."""

    def waive(self) -> Self:
        """No work was done under it: its end is a release, however early."""
        self._keep = False
        return self

    def extended(self, deadline: float) -> bool:
        """The machine moved the deadline. False where the old one had passed by now, although the renewal was
        counted in time: what was over for the program, and a scope that has silently ended, is not revived.
        Of one that is to let go the deadline stands: it is renewed only for what is left to be done.
        """
        if self._reason is not None:
            return True
        now = self._desk.now()
        if now >= self._deadline:
            return False
        self._deadline = deadline
        self._moved(deadline - now)
        for listener in self._listeners:
            listener(deadline)
        return True

    def lost(self, reason: LossReason) -> None:
        """The machine gave the lease up, or is asked to: for the program it is over, once for all."""
        if self._reason is not None:
            return
        self._reason = reason
        self._tell()
        self._stop_work()

    def ended(self, *, by_scope: bool = False) -> LeaseLost | None:
        """The body has ended: was the lease still held? The clock decides: a body without a checkpoint passes
        the deadline unseen. The scope decides too: it may have fired a hair before the clock shows the end.
        """
        over = self._desk.now() >= self._deadline or by_scope
        if self._reason is None and not self._let_go and over:
            self._reason = LossReason.EXPIRED
            self._tell()
        return self.loss() if self._reason is not None else None

    def begin_publishing(self, data: bytes, receiver: Receiver) -> int:
        """Other data for this lease; gives the ticket. Raises as ``check`` does, and ConfigError."""
        self.check()
        ticket = self._desk.publish_data(self._ticket, data, receiver)
        if ticket is None:
            raise self.loss()
        return ticket

    def check_published(self, answer: object) -> None:
        """Raise, as ``check`` does, where the lease was over before a quorum had the data."""
        assert isinstance(answer, DataPublished)
        if not answer.done:
            self.check()
            raise self.loss()

    # What a face does

    def _withdraw_will(self) -> None:
        """No last will ends this lease any more."""
        if not self._desk.inherited:
            self._desk.show_handle(self._ticket)

    def _tell(self) -> None:
        """The lease is over: wake those who wait for its end."""

    def _moved(self, left: float) -> None:
        """The lease is held for so many seconds more, from now on."""

    def _stop_work(self) -> None:
        """The lease is lost: cancel the body that works under it."""
