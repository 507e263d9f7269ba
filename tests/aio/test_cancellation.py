"""What is cancelled in asyncio leaves nothing behind, and what is told is told before anything is sent."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from paxlock import LossReason, NotAcquired, State, aio
from paxlock.core.messages import Commit, Message, Peer
from paxlock.testing.virtual_asyncio import AsyncioCell
from tests.aio.cells import virtual

STEP_S = 0.00025  #: a quarter of what a datagram takes in the virtual network
STEPS = 24


@virtual
async def test_acquire_cancelled_at_every_moment_leaves_nothing(cell: AsyncioCell) -> None:
    async with cell.open_client("one") as client, cell.open_client("other") as other:
        for step in range(STEPS):
            task = asyncio.create_task(client.acquire(f"x{step}"))
            await asyncio.sleep(step * STEP_S)
            if task.done():
                await task.result().release()
                continue
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client._desk.held == {}
            held = await other.acquire(f"x{step}", wait=2.0)
            await held.release()
        assert len(client._desk) == 0


@virtual
async def test_a_block_cancelled_at_every_moment_leaves_nothing(cell: AsyncioCell) -> None:
    async with cell.open_client("one") as client, cell.open_client("other") as other:

        async def work(name: str) -> None:
            async with client.lock(name):
                await asyncio.sleep(4 * STEP_S)

        for step in range(2 * STEPS):
            task = asyncio.create_task(work(f"x{step}"))
            await asyncio.sleep(step * STEP_S)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert client._desk.held == {}
            held = await other.acquire(f"x{step}", wait=2.0)
            await held.release()
        assert len(client._desk) == 0


@virtual
async def test_waiting_cancelled_leaves_no_place_in_line(cell: AsyncioCell) -> None:
    async with cell.rival("x"), cell.open_client("one") as client:
        task = asyncio.create_task(client.acquire("x"))
        while not (await client.inspect("x")).waiters:
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while (await client.inspect("x")).waiters:
            pass


@virtual
async def test_a_release_that_is_cancelled_is_heard_nevertheless(cell: AsyncioCell) -> None:
    """And the cancellation comes out only after that."""
    async with cell.open_client("one") as client:
        held = await client.acquire("x")
        task = asyncio.create_task(held.release())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client._session.releasing == 0
        assert (await client.poll("x")).state is State.FREE


@virtual
async def test_what_is_over_in_the_turn_of_its_grant_is_released_without_a_commit(cell: AsyncioCell) -> None:
    """The tasks that are told run before anything of that turn is sent (core/effects.py)."""
    async with cell.open_client("one") as client:
        sent: list[Message] = []
        queue = client._driver.endpoint.queue

        def noting(peer: Peer, message: Message) -> None:
            sent.append(message)
            queue(peer, message)

        client._driver.endpoint.queue = noting  # type: ignore[method-assign]
        async with client.lock("x"):
            pass
        assert not any(isinstance(message, Commit) for message in sent)
        async with client.lock("x"):
            await asyncio.sleep(1.0)
        assert any(isinstance(message, Commit) for message in sent)


@virtual
async def test_nor_with_one_where_an_earlier_verb_has_begun_the_end_of_a_turn(cell: AsyncioCell) -> None:
    async with cell.open_client("one") as client:
        driver = client._driver
        sent: list[Message] = []
        queue, drain = driver.endpoint.queue, driver.drain

        def noting(peer: Peer, message: Message) -> None:
            sent.append(message)
            queue(peer, message)

        def poked() -> bool:
            driver._finish_soon()  # as a loop may run it that calls readers ahead of what is ready
            return drain()

        driver.endpoint.queue = noting  # type: ignore[method-assign]
        driver.drain = poked  # type: ignore[method-assign]
        async with client.lock("x"):
            pass
        assert not any(isinstance(message, Commit) for message in sent)


@virtual
async def test_a_jump_of_the_clock_is_told_as_one(cell: AsyncioCell) -> None:
    async with cell.open_client("one") as client:
        held = await client.acquire("x", ttl=10.0)
        now = client._clock.now
        client._clock.now = lambda: now() + 20.0  # type: ignore[method-assign]
        client._driver.look()
        assert await held.wait_lost() is LossReason.CLOCK_JUMPED


@virtual
async def test_leaving_a_client_releases_what_it_holds_at_once(cell: AsyncioCell) -> None:
    loop = asyncio.get_running_loop()
    async with cell.open_client("other") as other:
        async with cell.open_client("one") as client:
            held: aio.HeldLease = await client.acquire("x", ttl=30.0)
        left = loop.time()
        assert await held.wait_lost() is LossReason.CLOSED
        mine = await other.acquire("x")
        assert mine.term > held.term
        assert loop.time() - left < 1.0


@virtual
async def test_leaving_a_client_that_is_cut_off_is_bounded_in_time(cell: AsyncioCell) -> None:
    loop = asyncio.get_running_loop()
    async with cell.open_client("one") as client:
        await client.acquire("x", ttl=30.0)
        cell.partition(client)
        left = loop.time()
    assert loop.time() - left < 3.0


@virtual
async def test_giving_up_after_a_while_is_not_acquired(cell: AsyncioCell) -> None:
    async with cell.rival("x", label="the other"), cell.open_client("one") as client:
        with pytest.raises(NotAcquired, match="the other"):
            await client.acquire("x", wait=2.0)
        assert len(client._desk) == 0
