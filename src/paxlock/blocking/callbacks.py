"""What a program wants called: in one thread of its own, so that it may call verbs, and delays no renewal."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from paxlock.blocking.waiting import hub_here, new_gate
from paxlock.host.native import greenlets, start_thread

__all__ = ["Callbacks"]

_log = logging.getLogger("paxlock")


class Callbacks:
    """Calls what it is given, one at a time and in order. The thread is started with the first call. In a
    program of greenlets it is one of them, which may end or wake others, and who wants the call starts it.
    """

    def __init__(self) -> None:
        self._calls: deque[Callable[[], object] | None] = deque()
        self._news = new_gate()  #: open where there may be something to be called
        self._started = False

    def wanted(self) -> None:
        """Called by the thread of the program that something will be called for."""
        here = threading.current_thread() is threading.main_thread() or hub_here() is not None
        if not self._started and greenlets() and here:
            self._started = True
            threading.Thread(target=self._run, daemon=True).start()

    def call(self, callback: Callable[[], object]) -> None:
        """Have it called soon. One caller at a time."""
        self._give(callback)
        if not self._started:
            try:
                start_thread(self._run, "paxlock callbacks")
            except RuntimeError as error:  # it is tried again with the next call
                if threading.main_thread().is_alive():  # else the interpreter ends: nobody is there
                    _log.error("a callback of a lease is not called: no thread can be started (%s)", error)
            else:
                self._started = True

    def close(self) -> None:
        """Call what was given, and nothing more."""
        self._give(None)

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
