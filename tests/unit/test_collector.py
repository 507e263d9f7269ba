"""The garbage collector in a process that only serves."""

from __future__ import annotations

import gc
import weakref

from paxlock.collector import short_pauses


class Link:
    """May be a part of a cycle."""

    def __init__(self) -> None:
        self.other: Link | None = None


def test_what_stays_is_set_aside_and_young_cycles_are_still_found() -> None:
    before = len(gc.callbacks)
    gc.unfreeze()
    with short_pauses():
        kept = [Link() for _ in range(1_000)]
        gc.collect(1)
        assert gc.get_freeze_count() > len(kept)
        assert all(link is not kept[0] for link in gc.get_objects())
        cycle = Link()
        cycle.other = cycle
        gone = weakref.ref(cycle)
        del cycle
        gc.collect(0)
        assert gone() is None
    assert gc.get_freeze_count() == 0
    assert len(gc.callbacks) == before
