"""What a program wants called: in one thread of its own, so that it may call verbs, and delays no renewal."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Callbacks"]

_log = logging.getLogger("paxlock")


class Callbacks:
    """Calls what it is given, one at a time and in order. The thread is started with the first."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, callback: Callable[[], object]) -> None:
        """Have it called soon. One caller at a time."""
        self._queue.put(callback)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="paxlock callbacks", daemon=True)
            with suppress(RuntimeError):  # the interpreter ends: nobody is there to be called
                self._thread.start()

    def close(self) -> None:
        """Call what was given, and nothing more."""
        self._queue.put(None)

    def _run(self) -> None:
        while (callback := self._queue.get()) is not None:
            try:
                callback()
            except BaseException:  # noqa: BLE001 - of the program; also SystemExit, which would end this thread
                _log.exception("a callback of a lease has raised")
