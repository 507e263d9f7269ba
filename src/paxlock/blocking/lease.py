"""A lease in the hands of a program of threads: the object, and the block.

Nothing can end a thread from outside: what the program does under a lease has to look at ``held.valid``, call
``held.check()``, or have itself told (``on_lost``, ``interrupt``).
"""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable
from functools import partial
from types import FrameType, TracebackType
from typing import Literal

import attrs

from paxlock.blocking.callbacks import Callbacks
from paxlock.blocking.engine import Engine
from paxlock.blocking.interrupts import Interrupt, interrupt_here
from paxlock.blocking.reply import INTERRUPT_CHECK_S, Reply
from paxlock.blocking.waiting import Event
from paxlock.client.desk import Desk
from paxlock.client.handle import Handle
from paxlock.client.holding import Holding
from paxlock.client.nesting import Nesting
from paxlock.errors import ConfigError, InternalError, LeaseLost, LossReason
from paxlock.host.failures import add_context
from paxlock.limits import NEVER

__all__ = ["HeldLease", "LeaseBlock", "Renew", "Working"]

Renew = Literal["background", "manual"]


@attrs.frozen
class Working:
    """How a program works under a lease: who is called on its loss, and who keeps it renewed."""

    on_lost: Callable[[LeaseLost], object] | None = None
    renew: Renew = "background"

    def __attrs_post_init__(self) -> None:
        if self.renew not in ("background", "manual"):
            raise ConfigError(f"renew must be 'background' or 'manual', not {self.renew!r}")
        if self.on_lost is not None and not callable(self.on_lost):
            raise ConfigError("on_lost must be a function that takes a LeaseLost")


class HeldLease(Holding):
    """A lease that this program holds, renewed in the background while its client is open.

    ``name`` is what is held, ``term`` the fencing token: constant, and greater than that of every holder
    before. All of it may be used by several threads.
    """

    def __init__(
        self,
        desk: Desk,
        ticket: int,
        *,
        grant: Handle,
        ttl: float,
        deadline: float,
        engine: Engine,
        answer: Callable[[Callable[[Reply[object]], int]], object],
        callbacks: Callbacks,
        working: Working,
    ) -> None:
        super().__init__(desk, ticket, grant=grant, ttl=ttl, deadline=deadline)
        self._engine = engine
        self._answer = answer
        self._callbacks = callbacks
        self._on_lost = working.on_lost
        self._manual = working.renew == "manual"
        self._over = Event()
        self._interrupt: Interrupt | None = None
        timing = desk.session.timing(ttl)
        #: How long a heartbeat keeps the lease: as long as a renewal of a lease of this ttl.
        self._period = timing.span - timing.margin
        self._renewed_until = deadline
        self._working_until = desk.now() + self._period if self._manual else NEVER
        self._deadline = min(deadline, self._working_until)

    def wait_lost(self, timeout: float | None = None) -> LossReason | None:
        """Wait until the lease is lost, and give the reason; None after ``timeout`` seconds. Raises
        ClosedError once released.
        """
        self._desk.check_process()
        if self._interrupt is None:
            over = self._over.wait(timeout)
        else:
            # Not in Event.wait: an exception that is sent in the midst of it may come out as RuntimeError,
            # "release unlocked lock".
            until = NEVER if timeout is None else self._desk.now() + timeout
            while not (over := self._over.is_set()):
                left = until - self._desk.now()
                if left <= 0.0:
                    break
                time.sleep(min(INTERRUPT_CHECK_S, left))
        self._desk.check_process()
        if over and self._reason is None:
            raise self._desk.errors.closed(f"the lease of {self.name!r} was released")
        return self._reason

    def release(self) -> None:
        """Let go of the lease and tell the nodes; bounded in time. Harmless when repeated.

        Call it only after the work has ended.
        """
        self._leave(ended=False)

    def publish(self, data: bytes) -> None:
        """Change the lease's data (up to 512 bytes) within the tenure: watches and polls see them with the
        same term. Returns once a quorum has them; from then on no poll shows older ones. Of several at one
        moment the last one called stays.

        Raises LeaseLost if the lease is lost before that, ClosedError if it was released, ConfigError for
        data that are too long (protocol.md section 12).
        """
        self.check_published(self._answer(lambda to: self.begin_publishing(data, to)))

    def detach(self) -> None:
        """Forget the lease without releasing it: it lives on until its ttl, for whoever has the handle.

        This client cannot campaign for the name again, and its threads that wait for it raise BusyError: the
        end of a later attempt of the same session would also end the handle's power to renew (protocol.md
        section 2, tombstones).
        """
        self._desk.check_process()
        self._withdraw_will()
        reply: Reply[None] = Reply()

        def work() -> None:
            self._end()
            self._desk.detach(self._ticket)
            reply.set(None)

        self._engine.do(work)
        if not self._engine.within():
            reply.wait()

    def heartbeat(self) -> None:
        """For ``renew="manual"``: the worker still works, so the lease may be renewed for one period more.
        Call it more often than every third of the ttl; without it the lease is lost in less than a ttl.

        Raises as ``check`` does, and ConfigError where the lease is renewed in the background anyway.
        """
        if not self._manual:
            raise ConfigError('heartbeat() is for a lease that was acquired with renew="manual"')
        self.check()
        until = self._desk.now() + self._period

        def work() -> None:
            self._working_until = max(self._working_until, until)
            if self._reason is None and not self._let_go:
                self.extended(self._renewed_until)

        self._engine.do(work)

    def on_extended(self, callback: Callable[[float], None]) -> None:
        """Have ``callback`` called with each new deadline, by a thread of paxlock's. It must not raise."""
        self._callbacks.wanted()
        super().on_extended(lambda deadline: self._callbacks.call(partial(callback, deadline)))

    # For the client and the block

    def extended(self, deadline: float) -> bool:
        self._renewed_until = max(self._renewed_until, deadline)
        wanted = min(self._renewed_until, self._working_until)
        if wanted <= self._deadline and self._reason is None:
            return self._desk.now() < self._deadline
        return super().extended(wanted)

    def run_out(self, now: float) -> float:
        """With ``renew="manual"``: give up a lease whose worker has not been heard of in time. Gives the end
        of one that goes on.
        """
        if self._reason not in (None, LossReason.REVOKED) or self._let_go:
            return NEVER
        if now >= self._working_until:  # also one that was asked to let go, and does not
            self._desk.lose(self._ticket, LossReason.EXPIRED)
            return NEVER
        return self._working_until

    def arm(self) -> None:
        """This thread works under the lease from now on: a loss interrupts it."""
        self._interrupt = interrupt = interrupt_here(self.name, self.term)

        def work() -> None:
            if self._reason is not None:
                interrupt.send(self._reason)

        self._engine.do(work)

    def disarm(self) -> None:
        """The work has ended."""
        if self._interrupt is not None:
            self._interrupt.disarm()

    def interrupts_by(self, error: BaseException | None) -> bool:
        """Whether this is the exception that has interrupted the work."""
        kind = self._interrupt.kind if self._interrupt is not None else None
        return kind is not None and isinstance(error, kind)

    def leave(self) -> LeaseLost | None:
        """The body has ended: release. Gives the loss, if the lease was not held any more."""
        self._leave(ended=True)
        return self.loss() if self._reason is not None else None

    @property
    def inherited(self) -> bool:
        """Whether this is a copy in the child of a fork."""
        return self._desk.inherited

    # Within

    def _withdraw_will(self) -> None:
        if self._desk.wills is None or self._desk.inherited:
            return
        reply: Reply[None] = Reply()

        def work() -> None:
            try:
                self._desk.show_handle(self._ticket)
            except InternalError as error:
                reply.fail(error)
            else:
                reply.set(None)

        self._engine.do(work)
        if not self._engine.within():
            reply.wait()
        reply.result()

    def _leave(self, *, ended: bool) -> None:
        self._desk.check_process()
        if self._let_go:
            return
        reply: Reply[object] = Reply()

        def work() -> None:
            if ended:
                self.ended()
            if self._let_go:
                reply.set(None)
                return
            self._end()
            # What is lost already is worth no waiting: the nodes are told in the background.
            if not self._desk.release(
                self._ticket, reply, self.ttl if self._reason is None else 0.0, keep=self._keep
            ):
                reply.set(None)

        self._engine.do(work)
        if not self._engine.within():
            reply.wait_closed()

    def _tell(self) -> None:
        self._over.set()
        if self._reason is not None and self._on_lost is not None:
            callback, self._on_lost = self._on_lost, None
            self._callbacks.call(partial(callback, self.loss()))

    def _stop_work(self) -> None:
        if self._interrupt is not None and self._reason is not None:
            self._interrupt.send(self._reason)


@attrs.frozen
class _EnteredAt:
    """The frame that has entered a block, and the step of its code at which it did."""

    frame: FrameType
    step: int


def _caller(frame: FrameType | None) -> _EnteredAt | None:
    """None for what enters blocks for others, and would be kept with all that it refers to."""
    if frame is None or frame.f_code.co_filename == contextlib.__file__:
        return None
    return _EnteredAt(frame, frame.f_lasti)


def _is_running(entered_by: object) -> bool:
    """Whether the frame that has entered a block waits for what this thread does now, at a later step. To be
    in the same thread would prove nothing: where the threads of a pool enter and leave blocks, one serves
    many callers in turn, all from one step of its loop.
    """
    frame = inspect.currentframe()
    while isinstance(entered_by, _EnteredAt) and frame is not None:
        if frame is entered_by.frame:
            return frame.f_lasti != entered_by.step
        frame = frame.f_back
    return False


class LeaseBlock:
    """``with client.lock(...) as held:`` - leaving the block releases, after the body has ended.

    Entering raises NotAcquired where ``wait`` ended first, and RuntimeError where this thread would wait
    without end for a name that it holds by an outer block. Leaving raises LeaseLost if the lease was lost,
    also if the body ran past the deadline unseen; an error of the body comes out bare, with LeaseLost as its
    context if both happened.
    """

    def __init__(
        self,
        acquire: Callable[[], HeldLease],
        nesting: Nesting,
        waits_for: str | None,
        *,
        interrupt: bool,
    ) -> None:
        """``waits_for``: the name, where it is waited for without end."""
        self._acquire = acquire
        self._nesting = nesting
        self._waits_for = waits_for
        self._interrupt = interrupt
        self._held: HeldLease | None = None

    def __enter__(self) -> HeldLease:
        if self._held is not None:
            raise RuntimeError("a lease block is entered once: call lock() again for another")
        here = inspect.currentframe()
        caller = _caller(here.f_back if here is not None else None)
        del here  # a frame that keeps itself is garbage
        if self._waits_for is not None:
            self._nesting.check(self._waits_for, _is_running)
        self._held = self._acquire()
        self._nesting.entered(self._held, caller)
        if self._interrupt:
            try:
                self._held.arm()
            except BaseException:
                self._nesting.left(self._held)
                self._held.disarm()
                self._held.release()
                raise
        return self._held

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        held = self._held
        assert held is not None
        self._nesting.left(held)
        if held.inherited:
            return  # the lease is the parent's
        held.disarm()
        lost = held.leave()
        if lost is None:
            return
        if exc is None or held.interrupts_by(exc):
            raise lost from None
        if not held.tells(exc):
            add_context(exc, lost)
