"""The clock of the trio run as a clock of leases: for tests under a mock clock."""

from __future__ import annotations

import trio

__all__ = ["TrioClock"]


class TrioClock:
    """The clock of the trio run."""

    __slots__ = ()

    def now(self) -> float:
        return trio.current_time()
