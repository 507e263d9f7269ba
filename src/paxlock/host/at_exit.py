"""What is ended with the interpreter: sessions that hold leases, nodes that want a clean stop.

The order is that of concurrent.futures: before Python waits for its other threads, while daemon threads and
the starting of threads still work. But where threads of the program go on by themselves (not daemons), they
may work under a lease: then everything is ended once Python has waited for them, by plain atexit.
"""

from __future__ import annotations

import atexit
import threading
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet

__all__ = ["AtExit", "ends_at_exit"]


class AtExit(Protocol):
    """What the end of the interpreter ends."""

    def end_at_exit(self) -> None:
        """The interpreter ends: end in a bounded time. Must not raise."""


_ending: WeakSet[AtExit] = WeakSet()


def ends_at_exit(thing: AtExit) -> None:
    """Have ``thing.end_at_exit()`` called when the interpreter ends. Kept as a weak reference."""
    _ending.add(thing)


def _end_all() -> None:
    while _ending:
        with suppress(KeyError):
            _ending.pop().end_at_exit()


def _before_the_threads() -> None:
    main = threading.main_thread()
    if not any(one is not main and not one.daemon and one.is_alive() for one in threading.enumerate()):
        _end_all()


_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    with suppress(RuntimeError):  # the interpreter is ending already
        _register(_before_the_threads)
atexit.register(_end_all)
