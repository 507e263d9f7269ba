"""A lease in the hands of the program: the object, and the block that is cancelled when it is lost."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from types import TracebackType

import trio

from paxlock.client.desk import Desk
from paxlock.client.handle import Handle
from paxlock.client.nesting import Nesting
from paxlock.client.verbs import AsyncHolding
from paxlock.errors import LeaseLost, LossReason
from paxlock.host.failures import add_context
from paxlock.runtime.reply import Reply, check_run

__all__ = ["HeldLease", "LeaseBlock"]


class HeldLease(AsyncHolding):
    """A lease that this program holds, renewed in the background while its client is open.

    ``name`` is what is held, ``term`` the fencing token: constant, and greater than that of every holder
    before.
    """

    def __init__(self, desk: Desk, ticket: int, *, grant: Handle, ttl: float, deadline: float) -> None:
        super().__init__(desk, ticket, grant=grant, ttl=ttl, deadline=deadline)
        self._home = trio.lowlevel.current_trio_token()
        self._over: trio.Event | None = None  #: made for the first who waits for the end
        self._scope: trio.CancelScope | None = None

    async def wait_lost(self) -> LossReason:
        """Wait until the lease is lost, and give the reason. Raises ClosedError once released."""
        self._desk.check_process()
        check_run(self._home)
        if self._over is None:
            self._over = trio.Event()
            if self._let_go or self._reason is not None:
                self._over.set()
        await self._over.wait()
        self._desk.check_process()
        if self._reason is None:
            raise self._desk.errors.closed(f"the lease of {self.name!r} was released")
        return self._reason

    async def release(self) -> None:
        """Let go of the lease and tell the nodes; shielded, and bounded in time. Harmless when repeated.

        Call it only after the work has ended.
        """
        self._desk.check_process()
        check_run(self._home)
        if self._let_go:
            # Shielded: at the end of a block, a Cancelled would take the place of the body's own error.
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._end()
        # What is lost already is worth no waiting: the nodes are told in the background.
        reply = Reply()
        if self._desk.release(
            self._ticket, reply, self.ttl if self._reason is None else 0.0, keep=self._keep
        ):
            # The machine tells also when the patience is over: a scope for it would cost more than the rest.
            await reply.wait_shielded()
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    def detach(self) -> None:
        check_run(self._home)
        super().detach()

    # For the client and the block

    def _reply(self) -> Reply:
        check_run(self._home)
        return Reply()

    def _end(self) -> None:
        super()._end()
        if self._scope is not None and self._reason is None:
            self._scope.deadline = math.inf  # nothing to lose any more: the rest of the block just runs

    def _tell(self) -> None:
        if self._over is not None:
            self._over.set()

    def _moved(self, left: float) -> None:
        if self._scope is not None:
            self._scope.deadline = trio.current_time() + left

    def _stop_work(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def open_scope(self) -> trio.CancelScope:
        """The scope that ends with the lease, entered."""
        self._scope = trio.CancelScope(deadline=trio.current_time() + (self._deadline - self._desk.now()))
        self._scope.__enter__()
        return self._scope

    def close_scope(self) -> LeaseLost | None:
        """The body has ended: the loss, if the lease was not held any more."""
        scope, self._scope = self._scope, None
        return self.ended(by_scope=scope is not None and scope.cancel_called)


class LeaseBlock:
    """``async with client.lock(...) as held:`` - the body is cancelled when the lease is lost.

    Entering raises NotAcquired where ``wait`` ended first, and RuntimeError where this task would wait
    without end for a name that it holds by an outer block. Leaving releases, after the body has ended, and
    raises LeaseLost if the lease was lost; an error of the body comes out bare, with LeaseLost as its
    context if both happened.
    """

    def __init__(
        self, acquire: Callable[[], Awaitable[HeldLease]], nesting: Nesting, waits_for: str | None
    ) -> None:
        """``waits_for``: the name, where it is waited for without end."""
        self._acquire = acquire
        self._nesting = nesting
        self._waits_for = waits_for
        self._held: HeldLease | None = None
        self._scope: trio.CancelScope | None = None

    async def __aenter__(self) -> HeldLease:
        if self._held is not None:
            raise RuntimeError("a lease block is entered once: call lock() again for another")
        task = trio.lowlevel.current_task()
        if self._waits_for is not None:
            self._nesting.check(self._waits_for, lambda by: by is task)
        self._held = await self._acquire()
        self._nesting.entered(self._held, task)
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
        self._nesting.left(held)
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
