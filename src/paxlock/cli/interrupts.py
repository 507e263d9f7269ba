"""Ctrl-C while a command loads: it ends the process there and then.

Loading is a good part of what a short command takes. Python's own handler raises KeyboardInterrupt wherever
the program happens to be, and an import is a bad place for that: what a callback of its locks raises is
dropped, and the command would go on as if nothing had been typed; what the parts of a class raise comes out
as RuntimeError.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["INTERRUPTED", "ending_at_once", "say_interrupted"]

INTERRUPTED = 130  #: the one of exits.py, which may not be loaded yet


def say_interrupted() -> None:
    """Say it on stderr, without what is not loaded yet."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError, RuntimeError):
            sys.stderr.write("paxlock: interrupted\n")


def _end(signum: int, frame: FrameType | None) -> None:
    say_interrupted()
    os._exit(INTERRUPTED)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Have Ctrl-C end the process in this block, in which there is nothing to tidy up yet.

    Where the signal is ignored or has another handler than Python's own, and in another thread than the main
    one, it stays as it is.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler and _handle_by(_end)
    try:
        yield
    finally:
        if ours:
            _handle_by(signal.default_int_handler)


def _handle_by(handler: Callable[[int, FrameType | None], object]) -> bool:
    try:
        signal.signal(signal.SIGINT, handler)
    except ValueError:  # this is another thread
        return False
    return True
