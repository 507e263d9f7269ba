"""Ending a block from outside in asyncio: its task is cancelled, and the cancellation is told apart from any
other when the block is left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from paxlock.host.failures import add_context

__all__ = ["TaskScope", "sheltered"]

PRESS_AGAIN_S = 1.0

log = logging.getLogger("paxlock.aio")


_sheltered: set[asyncio.Task[object] | None] = set()


@contextmanager
def sheltered() -> Iterator[None]:
    """Within the block this task waits for something bounded, such as a release, and keeps a cancellation for
    afterwards: it has not swallowed it.
    """
    task = asyncio.current_task()
    _sheltered.add(task)
    try:
        yield
    finally:
        _sheltered.discard(task)


class TaskScope:
    """The block of one task. ``cancel`` cancels the task, and again each second while the block goes on: a
    body may have swallowed the cancellation.

    How many other cancellations are under way is counted when the block is entered: only those beyond it, and
    beyond our own, are somebody else's.
    """

    def __init__(self, what: str) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a lease block is entered by a task: call it in a coroutine that asyncio runs")
        self.cancelled = False
        self._what = what
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._before = task.cancelling()
        self._presses = 0
        self._since = 0.0  #: the first press, by the loop's clock
        self._again: asyncio.TimerHandle | None = None
        self._left = False

    def cancel(self, what: str | None = None) -> None:
        """End the block, because of ``what``. Does nothing when it has been left, or is being cancelled
        already.
        """
        if not self.cancelled and not self._left:
            self.cancelled = True
            self._what = what or self._what
            self._press()

    def _press(self) -> None:
        if self._left or self._task.done():
            return
        if self._task not in _sheltered or not self._presses:
            if self._presses:
                log.warning(
                    "%s, and its body goes on after %d s: it has swallowed the cancellation",
                    self._what,
                    round(self._loop.time() - self._since),
                )
            else:
                self._since = self._loop.time()
            self._presses += 1
            self._task.cancel()
        self._again = self._loop.call_later(PRESS_AGAIN_S, self._press)

    async def leave(self, error: BaseException | None) -> BaseException | None:
        """The block is left with this error: gives back what is left of it without our own cancellation.

        A cancellation that the body ended before it was delivered is taken here: it must not hit what comes
        after the block.
        """
        self._left = True
        if self._again is not None:
            self._again.cancel()
        if not self._presses:
            return error
        for _ in range(self._presses):
            others = self._task.uncancel() - self._before
        if isinstance(error, asyncio.CancelledError):
            return error if others > 0 else None
        if self._task is asyncio.current_task():
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError as late:
                if others > 0:
                    if error is not None:
                        add_context(late, error)
                    return late
        return error
