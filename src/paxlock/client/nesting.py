"""Who has entered which block: a task or a thread that waits for a name within its own block of that name
would wait for itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from paxlock.client.holding import Holding
from paxlock.config.syntax import check_name

__all__ = ["Nesting", "waits_for_ever"]


def waits_for_ever(name: str, wait: float | None) -> str | None:
    """The name, where this ``wait`` never ends; otherwise None."""
    return name if wait is None or wait == math.inf else None


class Nesting:
    """The open blocks of one client, with who has entered each: a task, or the frame of a thread."""

    def __init__(self) -> None:
        #: Threads share it without a lock, which a fork could leave locked: at the worst one of two blocks
        #: that are entered and left at one moment is not known, and nothing is refused then.
        self._open: dict[str, dict[Holding, object]] = {}

    def check(self, name: str, is_here: Callable[[object], bool]) -> None:
        """Raise RuntimeError where one who ``is_here`` holds the lease of ``name`` and is about to wait for
        it without end. What was lost or released stands in nobody's way.
        """
        if not self._open:
            return
        for held, entered_by in tuple(self._open.get(check_name(name), {}).items()):
            if held.stands and is_here(entered_by):
                raise RuntimeError(
                    f"lock({name!r}) within a block that holds {name!r} already would wait for itself for "
                    "ever: use the lease of the outer block, or give wait= a number of seconds"
                )

    def entered(self, held: Holding, by: object) -> None:
        """A block was entered."""
        self._open.setdefault(held.name, {})[held] = by

    def left(self, held: Holding) -> None:
        """Its body has ended."""
        blocks = self._open.get(held.name, {})
        blocks.pop(held, None)
        if not blocks:
            self._open.pop(held.name, None)
