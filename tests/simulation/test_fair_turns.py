"""Who has waited for longest is next, where messages take their time between near machines."""

from __future__ import annotations

import trio

from paxlock import Client
from paxlock.testing import VirtualCell, run_virtual

CLIENTS = 8
TENURES = 40  #: of each client


def test_the_longest_waiter_is_next_where_all_ask_again_at_once() -> None:
    asked: dict[int, float] = {}
    fair: list[bool] = []

    async def contend(client: Client, number: int) -> None:
        for _ in range(TENURES):
            asked[number] = trio.current_time()
            async with client.lock("contended", ttl=10.0):
                fair.append(number == min(asked, key=asked.__getitem__))
                del asked[number]

    async def main(cell: VirtualCell) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                nursery.start_soon(contend_as, cell, number)

    async def contend_as(cell: VirtualCell, number: int) -> None:
        async with cell.open_client(label=str(number)) as client:
            await contend(client, number)

    run_virtual(main)
    counted = fair[2 * CLIENTS : -CLIENTS]  # all ask at one moment at first, and some have done at the end
    assert sum(counted) >= 0.9 * len(counted), f"{sum(counted)} of {len(counted)}"
