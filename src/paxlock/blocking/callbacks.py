"""What a program wants called: in one thread of its own, so that it may call verbs, and delays no renewal."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from paxlock.blocking.waiting import new_gate
from paxlock.host.native import greenlets

__all__ = ["Callbacks"]

_log = logging.getLogger("paxlock")


class Callbacks:
    """Calls what it is given, one at a time and in order. The thread is started with the first; where it is a
    greenlet, which only a thread of the program can start, as soon as one wants to be called.
    """

    def __init__(self) -> None:
        self._calls: deque[Callable[[], object] | None] = deque()
        self._news = new_gate()  #: open where there may be something to be called
        self._thread: threading.Thread | None = None

    def wanted(self) -> None:
        """Something will be given, says the program in a thread of its own."""
        if greenlets():
            self._start()

    def call(self, callback: Callable[[], object]) -> None:
        """Have it called soon. One caller at a time."""
        self._give(callback)
        self._start()

    def close(self) -> None:
        """Call what was given, and nothing more."""
        self._give(None)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="paxlock callbacks", daemon=True)
            with suppress(RuntimeError):  # the interpreter ends: nobody is there to be called
                self._thread.start()

    def _give(self, callback: Callable[[], object] | None) -> None:
        self._calls.append(callback)
        with suppress(RuntimeError):  # it is open already
            self._news.release()

    def _run(self) -> None:
        while (callback := self._next()) is not None:
            try:
                callback()
            except BaseException:  # noqa: BLE001 - of the program; also SystemExit, which would end this thread
                _log.exception("a callback of a lease has raised")

    def _next(self) -> Callable[[], object] | None:
        while not self._calls:
            self._news.acquire()
        return self._calls.popleft()
