"""Thousands of names at once from one client, at nodes that are processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from processes import process_cell

from paxlock import HeldLease, open_client

NAMES = 2_000


@pytest.mark.slow
def test_two_thousand_names_at_once_are_acquired_and_released(tmp_path: Path) -> None:
    with process_cell(tmp_path, max_ttl=30.0) as cell:
        trio.run(_all_at_once, cell.path)


async def _all_at_once(cell: Path) -> None:
    """Bounded by what a slow machine may take; sent all at once, most were not acquired in any time."""
    held: dict[int, HeldLease] = {}

    async with open_client(cell) as client:

        async def take(number: int) -> None:
            held[number] = await client.acquire(f"name-{number}", ttl=30.0)

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for number in range(NAMES):
                    nursery.start_soon(take, number)
            assert len(held) == NAMES
            assert all(lease.valid for lease in held.values())
            async with trio.open_nursery() as nursery:
                for lease in held.values():
                    nursery.start_soon(lease.release)
            assert client.statistics().session.leases == 0
            assert (await client.poll(f"name-{NAMES - 1}")).state.value == "free"
