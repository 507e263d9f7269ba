"""A lease in the hands of the program: the object, and the block that is cancelled when it is lost."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from types import TracebackType

import trio

from paxlock.client.desk import Desk
from paxlock.client.handle import Handle, format_handle
from paxlock.core.session.events import Extended, Lost
from paxlock.errors import LeaseLost, LossReason
from paxlock.runtime.background import add_context
from paxlock.runtime.reply import Reply

__all__ = ["HeldLease", "LeaseBlock"]


class HeldLease:
    """A lease that this program holds, renewed in the background while its client is open.

    ``name`` is what is held, ``term`` the fencing token: constant, and greater than that of every holder
    before.
    """

    def __init__(self, desk: Desk, ticket: int, *, grant: Handle, ttl: float, deadline: float) -> None:
        self.name = grant.name
        self.term = grant.term
        self.ttl = ttl
        self._grant = grant
        self._desk = desk
        self._ticket = ticket
        self._deadline = deadline
        self._reason: LossReason | None = None
        self._over: trio.Event | None = None  #: made for the first who waits for the end
        self._let_go = False
        self._scope: trio.CancelScope | None = None
        self._listeners: list[Callable[[float], None]] = []

    def __repr__(self) -> str:
        state = "lost" if self._reason else "released" if self._let_go else "held"
        return f"<HeldLease {self.name!r} term {self.term} {state}>"

    @property
    def handle(self) -> str:
        """Names this grant for the command line: it is a capability, keep it as you would a key. Whoever
        releases by it ends the lease at once, a moment before this holder is told.
        """
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

    def remaining(self) -> float:
        """Seconds until the lease would be lost if no renewal came; 0 where it is over."""
        return max(0.0, self._deadline - self._desk.now()) if self.valid else 0.0

    def check(self) -> None:
        """Call before what cannot be undone. Raises LeaseLost if the lease was lost, ClosedResourceError if
        it was released or this process is a fork of the holder.
        """
        self._desk.check_process()
        if self._let_go and self._reason is None:
            raise trio.ClosedResourceError(f"the lease of {self.name!r} was released")
        if not self.valid:
            raise self.loss()

    def loss(self) -> LeaseLost:
        """The error that tells of this lease's loss."""
        return LeaseLost(self.name, self.term, self._reason or LossReason.EXPIRED)

    async def wait_lost(self) -> LossReason:
        """Wait until the lease is lost, and give the reason. Raises ClosedResourceError once released."""
        self._desk.check_process()
        if self._over is None:
            self._over = trio.Event()
            if self._let_go or self._reason is not None:
                self._over.set()
        await self._over.wait()
        self._desk.check_process()
        if self._reason is None:
            raise trio.ClosedResourceError(f"the lease of {self.name!r} was released")
        return self._reason

    def on_extended(self, callback: Callable[[float], None]) -> None:
        """Have ``callback`` called, synchronously, with each new deadline. It must not raise."""
        self._desk.check_process()
        self._listeners.append(callback)

    async def release(self) -> None:
        """Let go of the lease and tell the nodes; shielded, and bounded in time. Harmless when repeated.

        Call it only after the work has ended.
        """
        self._desk.check_process()
        if self._let_go:
            # Shielded: at the end of a block, a Cancelled would take the place of the body's own error.
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._end()
        # What is lost already is worth no waiting: the nodes are told in the background.
        reply = Reply()
        if self._desk.release(self._ticket, reply, self.ttl if self._reason is None else 0.0):
            # The machine tells also when the patience is over: a scope for it would cost more than the rest.
            await reply.wait_shielded()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def leave(self) -> None:
        """At the end of a block: release, where this is not a copy in the child of a fork. There nothing is
        to be said: the lease is the parent's, and an error of the body comes out bare.
        """
        if not self._desk.inherited:
            await self.release()

    def detach(self) -> None:
        """Forget the lease without releasing it: it lives on until its ttl, for whoever has the handle.

        This client cannot campaign for the name again, and its tasks that wait for it raise
        BusyResourceError: the end of a later attempt of the same session would also end the handle's power to
        renew (protocol.md section 2, tombstones).
        """
        self._desk.check_process()
        self._end()
        self._desk.detach(self._ticket)

    def _end(self) -> None:
        self._let_go = True
        self._tell()
        if self._scope is not None and self._reason is None:
            self._scope.deadline = math.inf  # nothing to lose any more: the rest of the block just runs

    def _tell(self) -> None:
        if self._over is not None:
            self._over.set()

    # For the client and the block

    def tells(self, error: BaseException) -> bool:
        """Whether an error tells of the loss of this lease and of nothing else, as when ``check`` raised it,
        perhaps in several tasks.
        """
        if isinstance(error, BaseExceptionGroup):
            return all(self.tells(inner) for inner in error.exceptions)
        return isinstance(error, LeaseLost) and (error.name, error.term) == (self.name, self.term)

    def take(self, event: object) -> HeldLease | None:
        """What the machine tells of this lease; None where that is the last."""
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

    def extended(self, deadline: float) -> bool:
        """The machine moved the deadline. False where the old one had passed by now, although the renewal was
        counted in time: what was over for the program, and a scope that has silently ended, is not revived.
        """
        now = self._desk.now()
        if now >= self._deadline:
            return False
        self._deadline = deadline
        if self._scope is not None:
            self._scope.deadline = trio.current_time() + (deadline - now)
        for listener in self._listeners:
            listener(deadline)
        return True

    def lost(self, reason: LossReason) -> None:
        """The machine gave the lease up."""
        self._reason = reason
        self._tell()
        if self._scope is not None:
            self._scope.cancel()

    def open_scope(self) -> trio.CancelScope:
        """The scope that ends with the lease, entered."""
        self._scope = trio.CancelScope(deadline=trio.current_time() + (self._deadline - self._desk.now()))
        self._scope.__enter__()
        return self._scope

    def close_scope(self) -> LeaseLost | None:
        """The body has ended: was the lease still held? The clock decides: a body without a checkpoint passes
        the deadline unseen. The scope decides too: it may have fired a hair before the clock shows the end.
        """
        scope, self._scope = self._scope, None
        over = self._desk.now() >= self._deadline or (scope is not None and scope.cancel_called)
        if self._reason is None and not self._let_go and over:
            self._reason = LossReason.EXPIRED
            self._tell()
        return self.loss() if self._reason is not None else None


class LeaseBlock:
    """``async with client.lock(...) as held:`` - the body is cancelled when the lease is lost.

    Entering raises NotAcquired where ``wait`` ended first. Leaving releases, after the body has ended, and
    raises LeaseLost if the lease was lost; an error of the body comes out bare, with LeaseLost as its context
    if both happened.
    """

    def __init__(self, acquire: Callable[[], Awaitable[HeldLease]]) -> None:
        self._acquire = acquire
        self._held: HeldLease | None = None
        self._scope: trio.CancelScope | None = None

    async def __aenter__(self) -> HeldLease:
        if self._held is not None:
            raise RuntimeError("a lease block is entered once: call lock() again for another")
        self._held = await self._acquire()
        self._scope = self._held.open_scope()
        return self._held

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        held, scope = self._held, self._scope
        assert held is not None
        assert scope is not None
        remaining: BaseException | None
        try:
            swallowed = bool(scope.__exit__(exc_type, exc, traceback))
            remaining = None if swallowed else exc
        except BaseException as error:  # noqa: BLE001 - what is left of a group; raised again below
            swallowed, remaining = False, error
        lost = held.close_scope()
        await held.leave()
        if remaining is None:
            if lost is not None:
                raise lost from None
            return swallowed
        if lost is not None and not isinstance(remaining, trio.Cancelled) and not held.tells(remaining):
            add_context(remaining, lost)
        if remaining is exc:
            return False
        context = remaining.__context__
        try:
            raise remaining
        finally:
            remaining.__context__ = context
