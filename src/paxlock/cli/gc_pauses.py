"""Python's garbage collector in programs of ours: no work while they load, short pauses while they serve.

A node of a hundred thousand names has a million objects. The collector's oldest generation would walk through
all of them whenever it has grown by a quarter, and the node would stand still for a good part of a second:
longer than a short lease has left. What a node knows has no cycles, so nothing would be found.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from paxlock.cli.interrupts import ending_at_once

__all__ = ["load", "no_pauses", "short_pauses"]


def load(module: str) -> ModuleType:
    """Import a module, collecting nothing meanwhile; set aside (``gc.freeze``) what it is made of.

    Ctrl-C ends the process meanwhile. What was set aside lives as long as the process does: to look through
    it again and again is a tenth of what a command takes from its start to its end.
    """
    if module not in sys.modules:
        with ending_at_once(), no_pauses():
            import_module(module)
    return import_module(module)


@contextmanager
def no_pauses() -> Iterator[None]:
    """Collect nothing in this block, and set aside what it has made: where all of that stays."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def short_pauses() -> Iterator[None]:
    """Set aside (``gc.freeze``) what has outlived a collection of the middle generation.

    Cycles are collected while they are young. One that comes to be only after its parts were set aside would
    stay until the block is left. This is a matter of the whole process, so it is for programs of ours alone.
    """

    def set_aside(phase: str, info: dict[str, int]) -> None:
        if phase == "stop" and info["generation"] > 0:
            gc.freeze()

    gc.callbacks.append(set_aside)
    try:
        yield
    finally:
        gc.callbacks.remove(set_aside)
        gc.unfreeze()
