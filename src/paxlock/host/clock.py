"""The clock of leases: one that goes on while the machine sleeps (protocol.md section 3).

Event loops sleep by a clock that stands still in a suspend; leases do not. Where no boot-time clock exists
the monotonic clock is used, with one warning that sleep is not counted.
"""

from __future__ import annotations

import time
import warnings
from typing import Protocol

__all__ = ["BootClock", "Clock"]


class Clock(Protocol):
    """Seconds since some moment, never stepping back."""

    def now(self) -> float: ...


class BootClock:
    """CLOCK_BOOTTIME; the monotonic clock where there is none."""

    __slots__ = ("_id",)

    def __init__(self) -> None:
        found: int | None = getattr(time, "CLOCK_BOOTTIME", None)
        if found is None:
            warnings.warn(
                "this system has no boot-time clock: while the machine sleeps, leases do not run out here",
                RuntimeWarning,
                stacklevel=3,
            )
            found = time.CLOCK_MONOTONIC
        self._id = found

    def now(self) -> float:
        return time.clock_gettime(self._id)
