"""Tests of report.py, in virtual time: minutes of work take milliseconds.

python -m pytest examples/testing_your_code
"""

from pathlib import Path

import pytest
import trio
from report import NAME, PAGES, TTL, StaleTerm, Store, take_part

import paxlock
from paxlock.testing import VirtualCell

DAY = "2031-05-01"
REPORT = [f"page {number}" for number in range(1, PAGES + 1)]


async def test_the_report_is_made_once(paxlock_cell: VirtualCell) -> None:
    cell, store = paxlock_cell, Store()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take_part, cell.cell, store, DAY)
    assert store.reports == {DAY: REPORT}
    assert cell.terms(NAME) == [1, 2, 3]  # the others looked after it, and found the report there


async def test_the_cell_can_come_from_a_file(paxlock_cell: VirtualCell, tmp_path: Path) -> None:
    paxlock_cell.cell.save(tmp_path / "cell.toml")
    store = Store()
    await take_part(tmp_path / "cell.toml", store, DAY)
    assert store.reports == {DAY: REPORT}


async def test_a_lost_lease_stops_the_work_and_nothing_half_done_is_published(
    paxlock_cell: VirtualCell,
) -> None:
    cell, store = paxlock_cell, Store()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_part, cell.cell, store, DAY)
        await cell.wait_holder(NAME)
        await cell.advance(150.0)  # in the middle of the work
        async with cell.rival(NAME, seize=True) as rival:
            await cell.advance(300.0)
            assert rival.valid
            assert store.reports == {}
        await cell.wait_holder(NAME, after=rival)  # the program tries again, from the beginning
    assert store.reports == {DAY: REPORT}


async def test_a_leader_that_is_cut_off_steps_down_before_the_next_one_begins(
    paxlock_cell: VirtualCell,
) -> None:
    cell, store = paxlock_cell, Store()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(take_part, cell.cell, store, DAY)
        first = await cell.wait_holder(NAME)
        cell.partition(first)
        assert await first.held.wait_lost() is paxlock.LossReason.EXPIRED
        assert cell.holder(NAME) is None  # it has stopped, and nobody else has begun
        second = await cell.wait_holder(NAME, after=first)
        cell.heal()
    assert store.term >= second.term > first.term
    assert store.reports == {DAY: REPORT}


async def test_after_a_kill_another_machine_takes_over_within_the_ttl(paxlock_cell: VirtualCell) -> None:
    cell, store = paxlock_cell, Store()
    machines = [cell.program("athens"), cell.program("byzantium")]
    async with trio.open_nursery() as nursery:
        for machine in machines:
            nursery.start_soon(machine.run, take_part, cell.cell, store, DAY)
        first = await cell.wait_holder(NAME)
        cell.kill(first)
        with trio.fail_after(TTL + 1.0):
            second = await cell.wait_holder(NAME, after=first)
    assert {first.label, second.label} == {"athens", "byzantium"}
    assert store.reports == {DAY: REPORT}


async def test_the_late_write_of_a_frozen_machine_is_refused(paxlock_cell: VirtualCell) -> None:
    cell, store = paxlock_cell, Store()
    frozen = cell.program("frozen")

    async def run_frozen() -> None:
        # While it is paused, what runs of it believes in its lease: it goes on to its write.
        with pytest.raises(StaleTerm, match="term 1 is too old"):
            await frozen.run(take_part, cell.cell, store, DAY)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_frozen)
        first = await cell.wait_holder(NAME)
        await cell.advance(150.0)
        cell.pause(frozen)
        nursery.start_soon(take_part, cell.cell, store, DAY)
        await cell.wait_holder(NAME, after=first)
    assert store.reports == {DAY: REPORT}
