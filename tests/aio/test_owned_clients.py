"""Clients without a block of their own in asyncio: entered by hand, in a stack, closed late or never."""

from __future__ import annotations

import asyncio
import gc
import warnings
from contextlib import AsyncExitStack

import pytest

from paxlock import Cell, ClosedError, State, aio
from paxlock.testing.virtual_asyncio import AsyncioCell
from tests.aio.cells import virtual

CELL = Cell.new({"a": "127.0.0.1:7400"})


class Worker:
    """An object that owns its client."""

    async def start(self, cell: Cell) -> None:
        self.client = await aio.open_client(cell).__aenter__()
        self.held = await self.client.acquire("x")

    async def stop(self) -> None:
        await self.client.aclose()


@virtual
async def test_a_client_that_was_entered_by_hand_works_until_it_is_closed(cell: AsyncioCell) -> None:
    worker = Worker()
    await worker.start(cell.cell)
    gc.collect()
    await asyncio.sleep(30.0)
    assert worker.held.valid
    async with cell.open_client() as other:
        assert (await other.poll("x")).term == worker.held.term
        await worker.stop()
        assert (await other.poll("x")).state is State.FREE
    await worker.stop()  # harmless
    with pytest.raises(ClosedError):
        await worker.client.acquire("x")


@virtual
async def test_another_task_than_the_one_that_opened_it_may_close_it(cell: AsyncioCell) -> None:
    worker = Worker()
    await asyncio.create_task(worker.start(cell.cell))
    await asyncio.create_task(worker.stop())
    async with cell.open_client() as other:
        assert (await other.poll("x")).state is State.FREE


@virtual
async def test_a_block_whose_client_was_closed_within_ends_as_ever(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        held = await client.acquire("x")
        await client.aclose()
        assert not held.valid


@virtual
async def test_a_stack_closes_what_it_was_given(cell: AsyncioCell) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(aio.open_client(cell.cell))
        held = await client.acquire("x")
    assert not held.valid


@virtual
async def test_a_block_is_entered_once(cell: AsyncioCell) -> None:
    block = aio.open_client(cell.cell)
    async with block:
        with pytest.raises(RuntimeError, match="entered once"):
            await block.__aenter__()


def test_a_client_that_is_left_unclosed_at_the_end_of_its_loop_warns_and_does_no_harm() -> None:
    async def main() -> None:
        clients.append(await aio.open_client(CELL).__aenter__())

    clients: list[aio.Client] = []
    asyncio.run(main())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clients.clear()
        gc.collect()
    found = [one.category for one in caught if "a paxlock client was not closed" in str(one.message)]
    assert found == [ResourceWarning]


def test_a_client_that_was_closed_does_not_warn() -> None:
    async def main() -> None:
        async with aio.open_client(CELL):
            pass

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(main())
        gc.collect()
    assert [str(one.message) for one in caught if "paxlock client" in str(one.message)] == []
