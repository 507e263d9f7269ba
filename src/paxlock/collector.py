"""Short pauses of Python's garbage collector in a process that only serves.

A node of a hundred thousand names has a million objects. The collector's oldest generation would walk through
all of them whenever it has grown by a quarter, and the node would stand still for a good part of a second:
longer than a short lease has left. What a node knows has no cycles, so nothing would be found.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["short_pauses"]


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
