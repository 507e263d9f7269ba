"""The garbage collector in programs of ours: while they load, and while they only serve."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

from paxlock.cli.gc_pauses import load, no_pauses, short_pauses


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


def test_nothing_is_collected_in_a_block_and_what_it_made_is_set_aside() -> None:
    gc.unfreeze()
    runs: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        runs.append(phase)

    gc.callbacks.append(note)
    try:
        with no_pauses():
            kept = [Link() for _ in range(5_000)]
            assert runs == []
        assert gc.isenabled()
        assert gc.get_freeze_count() > len(kept)
        gc.collect(0)
        assert runs
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()


def test_a_collector_that_is_off_stays_off() -> None:
    gc.disable()
    try:
        with no_pauses():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_nothing_is_collected_while_a_module_loads_and_what_it_is_made_of_is_set_aside() -> None:
    program = (
        "import gc\n"
        "from paxlock.cli.gc_pauses import load\n"
        "runs = []\n"
        "gc.callbacks.append(lambda phase, info: runs.append(phase))\n"
        "assert load('paxlock.cli.group') is load('paxlock.cli.group')\n"
        "print(runs, gc.isenabled(), gc.get_freeze_count() > 10_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True True\n"


def test_a_module_that_cannot_be_loaded_leaves_the_collector_as_it_was() -> None:
    gc.unfreeze()
    with pytest.raises(ModuleNotFoundError):
        load("paxlock.no_such_module")
    assert gc.isenabled()
    gc.disable()
    try:
        load("paxlock.cli.gc_pauses")
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()


def test_what_is_loaded_already_is_not_set_aside_again() -> None:
    gc.unfreeze()
    load("paxlock.cli.gc_pauses")
    assert gc.get_freeze_count() == 0
