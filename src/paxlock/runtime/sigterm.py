"""A clean stop at SIGTERM in trio, for a program that has not thought of that signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import trio

from paxlock.forks import dies_in_child
from paxlock.host.failures import add_context
from paxlock.runtime.background import only_cancelled

__all__ = ["ending_at_sigterm"]

EXIT_OF_SIGTERM = 128 + signal.SIGTERM


class _Ending:
    """The handler of SIGTERM while a block is open; in the child of a fork the signal is what it was."""

    def __init__(self, scope: trio.CancelScope) -> None:
        self.came = False
        self._scope = scope
        self._loop = trio.lowlevel.current_trio_token()
        self._handler = self.handle  # one object, to be known again
        signal.signal(signal.SIGTERM, self._handler)
        dies_in_child(self)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        self.came = True
        with suppress(trio.RunFinishedError):
            self._loop.run_sync_soon(self._scope.cancel)

    def leave(self) -> None:
        """Put back what was there, unless the program has a handler of its own by now."""
        if signal.getsignal(signal.SIGTERM) is self._handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def forked(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self.leave()


@contextmanager
def ending_at_sigterm() -> Iterator[None]:
    """Have SIGTERM cancel the block, where it would kill the process: SystemExit(143) comes out then, or the
    block's own error. Where the signal is handled, or in another thread, it stays as it is.
    """
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if not ours:
        yield
        return
    scope = trio.CancelScope()
    ending = _Ending(scope)
    try:
        try:
            with scope:
                yield
        finally:
            ending.leave()
    except BaseException as error:
        if not ending.came:
            raise
        if not only_cancelled(error):
            add_context(error, SystemExit(EXIT_OF_SIGTERM))
            raise
    if ending.came:
        raise SystemExit(EXIT_OF_SIGTERM)
