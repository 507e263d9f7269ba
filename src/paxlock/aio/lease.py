"""A lease in the hands of an asyncio program: the object, and the block that is cancelled when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType

from paxlock.aio.reply import Reply, check_loop
from paxlock.aio.scope import TaskScope
from paxlock.client.desk import Desk
from paxlock.client.handle import Handle
from paxlock.client.nesting import Nesting
from paxlock.client.verbs import AsyncHolding
from paxlock.errors import ClosedError, LeaseLost, LossReason
from paxlock.host.failures import add_context
from paxlock.host.last_resort import LastResort

__all__ = ["HeldLease", "LeaseBlock"]


class HeldLease(AsyncHolding):
    """A lease that this program holds, renewed in the background while its client is open.

    ``name`` is what is held, ``term`` the fencing token: constant, and greater than that of every holder
    before.
    """

    def __init__(self, desk: Desk, ticket: int, *, grant: Handle, ttl: float, deadline: float) -> None:
        super().__init__(desk, ticket, grant=grant, ttl=ttl, deadline=deadline)
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Event | None = None  #: made for the first who waits for the end
        self._scope: TaskScope | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._last_resort: LastResort | None = None

    async def wait_lost(self) -> LossReason:
        """Wait until the lease is lost, and give the reason. Raises ClosedError once released."""
        self._desk.check_process()
        check_loop(self._loop)
        if self._over is None:
            self._over = asyncio.Event()
            if self._let_go or self._reason is not None:
                self._over.set()
        await self._over.wait()
        self._desk.check_process()
        if self._reason is None:
            raise ClosedError(f"the lease of {self.name!r} was released")
        return self._reason

    async def release(self) -> None:
        """Let go of the lease and tell the nodes; shielded, and bounded in time. Harmless when repeated.

        Call it only after the work has ended. A cancellation that comes meanwhile comes out afterwards.
        """
        self._desk.check_process()
        if self._let_go:
            return
        check_loop(self._loop)
        self._end()
        reply = Reply()
        # What is lost already is worth no waiting: the nodes are told in the background.
        if self._desk.release(
            self._ticket, reply, self.ttl if self._reason is None else 0.0, keep=self._keep
        ):
            await reply.wait_shielded()

    # For the client and the block

    def _reply(self) -> Reply:
        check_loop(self._loop)
        return Reply()

    def open_scope(self, exit_after: float | None) -> None:
        """Have the body of a block, which begins now, end with the lease; and the process, where the body
        then goes on for ``exit_after`` seconds. Raises RuntimeError where no thread can be started for that.
        """
        if exit_after is not None and not getattr(self._loop, "paxlock_virtual_time", False):
            self._last_resort = LastResort(self.name, self._desk.now, self._deadline + exit_after, exit_after)
        self._scope = TaskScope(f"the lease of {self.name!r} was lost")
        self._set_alarm()

    async def close_scope(self, error: BaseException | None) -> tuple[BaseException | None, LeaseLost | None]:
        """The body has ended: what is left of its error, and the loss, if the lease was not held any more."""
        scope, self._scope = self._scope, None
        assert scope is not None
        if self._alarm is not None:
            self._alarm.cancel()
        if self._last_resort is not None:
            self._last_resort.disarm()
        lost = self.ended(by_scope=scope.cancelled)
        return await scope.leave(error), lost

    def look(self) -> None:
        """Time may have passed unseen: end the body at once where the lease is over."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._set_alarm()

    def _end(self) -> None:
        super()._end()
        if self._reason is None:
            # Nothing to lose any more: the rest of the block just runs.
            if self._alarm is not None:
                self._alarm.cancel()
            if self._last_resort is not None:
                self._last_resort.disarm()

    def _tell(self) -> None:
        if self._over is not None:
            self._over.set()

    def _moved(self, left: float) -> None:
        if self._last_resort is not None:
            self._last_resort.move(self._deadline)

    def _stop_work(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def _set_alarm(self) -> None:
        """End the body at the deadline: the machine's own alarm does that too, but may find much to do first.
        A renewal does not set it anew: when it rings, the deadline of then counts.
        """
        left = self._deadline - self._desk.now()
        if left > 0.0:
            self._alarm = self._loop.call_later(left, self._set_alarm)
        elif not self._let_go:
            self._stop_work()


class LeaseBlock:
    """``async with client.lock(...) as held:`` - the body is cancelled when the lease is lost.

    Entering raises NotAcquired where ``wait`` ended first, and RuntimeError where this task would wait
    without end for a name that it holds by an outer block. Leaving releases, after the body has ended, and
    raises LeaseLost if the lease was lost; an error of the body comes out bare, with LeaseLost as its
    context if both happened. A body that swallows the cancellation is cancelled again each second, and
    logged; with ``exit_after`` the process ends when it still goes on so many seconds later (exit code 79).
    """

    def __init__(
        self,
        acquire: Callable[[], Awaitable[HeldLease]],
        nesting: Nesting,
        waits_for: str | None,
        exit_after: float | None = None,
    ) -> None:
        """``waits_for``: the name, where it is waited for without end."""
        self._acquire = acquire
        self._nesting = nesting
        self._waits_for = waits_for
        self._exit_after = exit_after
        self._held: HeldLease | None = None

    async def __aenter__(self) -> HeldLease:
        if self._held is not None:
            raise RuntimeError("a lease block is entered once: call lock() again for another")
        task = asyncio.current_task()
        if self._waits_for is not None:
            self._nesting.check(self._waits_for, lambda by: by is task)
        held = await self._acquire()
        try:
            held.open_scope(self._exit_after)
        except Exception:  # nobody will leave this block
            await held.release()
            raise
        self._held = held
        self._nesting.entered(held, task)
        return held

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        held = self._held
        assert held is not None
        self._nesting.left(held)
        remaining, lost = await held.close_scope(exc)
        await held.leave()
        if remaining is None:
            if lost is not None:
                raise lost from None
            return exc is not None
        if (
            lost is not None
            and not isinstance(remaining, asyncio.CancelledError)
            and not held.tells(remaining)
        ):
            add_context(remaining, lost)
        if remaining is exc:
            return False
        raise remaining
