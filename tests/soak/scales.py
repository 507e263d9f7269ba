"""What one process has in use, and whether it has become more."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from pathlib import Path
from typing import Self

import attrs

MIB = 1 << 20
#: A moment's count may differ by what comes and goes by itself.
SLACK = {"threads": 0, "files": 0, "tasks": 0}
OBJECTS_SLACK = 2_000
OBJECTS_SHARE = 0.02
RSS_SLACK_MIB = 6.0
RSS_SHARE = 0.05


@attrs.frozen
class Weight:
    """At one moment, with nothing held and nobody at work."""

    threads: int
    files: int
    tasks: int
    objects: int  #: that the garbage collector knows
    rss_mib: float

    @classmethod
    def of_this_process(cls) -> Self:
        """To be called in an asyncio program."""
        for _ in range(3):
            gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            threads=threading.active_count(),
            files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - one of them is this look's own
            tasks=len(asyncio.all_tasks()),
            objects=len(gc.get_objects()),
            rss_mib=round(pages * os.sysconf("SC_PAGE_SIZE") / MIB, 1),
        )


def leaks(weights: list[Weight]) -> list[str]:
    """What has become more from the first to the last, in sentences."""
    first, last = weights[0], weights[-1]
    bounds: dict[str, float] = {
        **{name: getattr(first, name) + slack for name, slack in SLACK.items()},
        "objects": first.objects * (1.0 + OBJECTS_SHARE) + OBJECTS_SLACK,
        "rss_mib": first.rss_mib * (1.0 + RSS_SHARE) + RSS_SLACK_MIB,
    }
    return [
        f"{name}: {getattr(first, name)} at first, {getattr(last, name)} at the end; at most {bound:.0f}"
        for name, bound in bounds.items()
        if getattr(last, name) > bound
    ]
