"""Blocks under a lease in asyncio, in virtual time: how a loss cancels, and what comes out (aio/lease.py)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import Any

import pytest

from paxlock import ConfigError, LeaseLost, LossReason, NotAcquired, Reason, State, aio
from paxlock.testing import run_virtual
from paxlock.testing.virtual_asyncio import AsyncioCell
from tests.aio.cells import virtual

ELSEWHERE_S = 5.0


@virtual
async def test_a_block_holds_and_releases(cell: AsyncioCell) -> None:
    async with cell.open_client("one") as client:
        async with client.lock("x") as held:
            assert held.valid
            assert (await client.poll("x")).state is State.LED
            first = held.term
        assert (await client.poll("x")).state is State.FREE
        async with client.lock("x") as held:
            assert held.term > first


@virtual
async def test_a_loss_cancels_the_body_and_lease_lost_comes_out(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        ended = []
        with pytest.raises(LeaseLost) as caught:
            async with client.lock("x") as held:
                cell.partition(client)
                try:
                    await asyncio.sleep(1000.0)
                except asyncio.CancelledError:
                    ended.append(held.remaining())
                    raise
        assert caught.value.reason is LossReason.EXPIRED
        assert caught.value.__suppress_context__
        assert ended == [0.0]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


@virtual
async def test_nobody_holds_before_the_body_was_cancelled(cell: AsyncioCell) -> None:
    loop = asyncio.get_running_loop()
    async with cell.open_client("old") as old, cell.open_client("new") as new:
        stopped = loop.create_future()

        async def work() -> None:
            try:
                with pytest.raises(LeaseLost):
                    async with old.lock("x"):
                        cell.partition(old)
                        await asyncio.sleep(1000.0)
            finally:
                stopped.set_result(loop.time())

        async with asyncio.TaskGroup() as group:
            group.create_task(work())
            await cell.wait_holder("x")
            async with new.lock("x"):
                assert stopped.done()
                assert loop.time() - stopped.result() < 10.0


@virtual
async def test_an_error_of_the_body_comes_out_bare(cell: AsyncioCell) -> None:
    error = ValueError("mine")
    async with cell.open_client() as client:
        with pytest.raises(ValueError, match="mine") as caught:
            async with client.lock("x"):
                raise error
        assert caught.value is error
        assert error.__context__ is None
        assert (await client.poll("x")).state is State.FREE


@virtual
async def test_an_error_after_the_loss_has_it_as_its_context(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        with pytest.raises(ValueError, match="mine") as caught:
            async with client.lock("x"):
                try:
                    await cell.lose("x")
                    await asyncio.sleep(1000.0)
                except asyncio.CancelledError:
                    raise ValueError("mine") from None
        chain: list[type[BaseException]] = []
        link = caught.value.__context__
        while link is not None:
            chain.append(type(link))
            link = link.__context__
        assert LeaseLost in chain


@virtual
async def test_a_body_without_an_await_learns_of_the_loss_at_its_end(cell: AsyncioCell) -> None:
    """And the cancellation that it never saw does not hit what follows the block."""
    async with cell.open_client("one") as client:
        with pytest.raises(LeaseLost):
            async with client.lock("x") as held:
                client._desk.lose(held._ticket, LossReason.RELEASED)
        await asyncio.sleep(1.0)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


@virtual
async def test_a_cancellation_from_outside_stays_one(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        entered = asyncio.Event()

        async def work() -> None:
            async with client.lock("x"):
                entered.set()
                await asyncio.sleep(1000.0)

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert (await client.poll("x")).state is State.FREE


@virtual
async def test_cancelled_from_outside_and_lost_at_once_it_is_cancelled(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        held_by: list[aio.HeldLease] = []

        async def work() -> None:
            async with client.lock("x") as held:
                held_by.append(held)
                await asyncio.sleep(1000.0)

        task = asyncio.create_task(work())
        await cell.wait_holder("x")
        await asyncio.sleep(0.01)
        client._desk.lose(held_by[0]._ticket, LossReason.EXPIRED)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@virtual
async def test_a_timeout_around_a_block_ends_as_a_timeout(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                async with client.lock("x"):
                    await asyncio.sleep(1000.0)
        assert (await client.poll("x")).state is State.FREE


@virtual
async def test_a_timeout_within_a_block_is_none_of_the_lease(cell: AsyncioCell) -> None:
    async with cell.open_client() as client, client.lock("x") as held:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await asyncio.sleep(1000.0)
        assert held.valid


@virtual
async def test_two_leases_lost_at_once(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        inner: list[str] = []
        with pytest.raises(LeaseLost) as caught:
            async with client.lock("outer"):
                try:
                    async with client.lock("inner"):
                        cell.partition(client)
                        await asyncio.sleep(1000.0)
                except LeaseLost as lost:
                    inner.append(lost.name)
                    await asyncio.sleep(1000.0)
        assert caught.value.name == "outer"
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0


@virtual
async def test_a_task_group_within_a_block_ends_with_it(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        ended: list[int] = []

        async def child(number: int) -> None:
            try:
                await asyncio.sleep(1000.0)
            finally:
                ended.append(number)

        with pytest.raises(LeaseLost):
            async with client.lock("x"), asyncio.TaskGroup() as group:
                for number in range(3):
                    group.create_task(child(number))
                await cell.lose("x")
                await asyncio.sleep(1000.0)
        assert sorted(ended) == [0, 1, 2]


@virtual
async def test_tasks_that_check_tell_of_the_loss_in_a_group_and_lead_campaigns_again(
    cell: AsyncioCell,
) -> None:
    terms: list[int] = []

    async def work(held: aio.HeldLease) -> str:
        terms.append(held.term)
        if len(terms) == 1:
            await cell.lose("x")
            await asyncio.sleep(1000.0)
        return "done"

    async with cell.open_client() as client:
        assert await client.lead("x", work) == "done"
    assert len(terms) == 2
    assert terms[0] < terms[1]


@virtual
async def test_in_virtual_time_there_is_no_last_resort(cell: AsyncioCell) -> None:
    """For its thread time does not pass, and what would end is the run of the tests."""
    async with cell.open_client() as client:
        with pytest.raises(LeaseLost):
            async with client.lock("x", exit_after=0.0):
                cell.partition(client)
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(1000.0)
                threads = [thread.name for thread in threading.enumerate()]
        assert "paxlock last resort" not in threads


@virtual
async def test_an_exit_after_that_is_no_number_is_refused(cell: AsyncioCell) -> None:
    text: Any = "1s"
    async with cell.open_client() as client:
        for block in (client.lock, client.campaign):
            with pytest.raises(TypeError, match="exit_after must be seconds as a number"):
                block("x", exit_after=text)
            with pytest.raises(ConfigError, match="exit_after must be None, 0 or more seconds"):
                block("x", exit_after=-1.0)

        async def work(held: aio.HeldLease) -> None:
            pytest.fail("it was called")

        with pytest.raises(ConfigError, match="exit_after must be None, 0 or more seconds"):
            await client.lead("x", work, exit_after=-1.0)


@pytest.mark.parametrize("held", [False, True])
def test_a_body_that_only_lets_go_without_a_quorum_is_not_said_to_have_swallowed(
    held: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(cell: AsyncioCell) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(SystemExit):
            async with cell.open_client() as client:
                if held:
                    await client.acquire("other", ttl=30.0)
                    async with client.lock("x", ttl=30.0):
                        cell.partition(client)
                        began = loop.time()
                        loop.call_later(1.0, client.end_block, SystemExit(143))
                        await asyncio.sleep(1000.0)
                cell.partition(client)
                began = loop.time()
                loop.call_later(1.0, client.end_block, SystemExit(143))
                await client.acquire("x")
        assert 1.5 < loop.time() - began < 4.0
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    with caplog.at_level(logging.WARNING, "paxlock.aio"):
        run_virtual(scenario, loop="asyncio")
    assert [record.message for record in caplog.records] == []


def test_a_body_that_swallows_is_cancelled_again_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(cell: AsyncioCell) -> None:
        loop = asyncio.get_running_loop()
        async with cell.open_client() as client:
            with pytest.raises(LeaseLost):
                async with client.lock("x"):
                    cell.partition(client)
                    swallowed: list[float] = []
                    while len(swallowed) < 3:
                        try:
                            await asyncio.sleep(1000.0)
                        except asyncio.CancelledError:
                            swallowed.append(loop.time())
            assert swallowed[2] - swallowed[0] == pytest.approx(2.0, abs=0.01)
            cell.heal()
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            await asyncio.sleep(5.0)  # nothing is cancelled after the block

    with caplog.at_level(logging.WARNING, "paxlock.aio"):
        run_virtual(scenario, loop="asyncio")
    assert [r.message for r in caplog.records if "swallowed the cancellation" in r.message]


@virtual
async def test_released_only_after_the_body_has_ended(cell: AsyncioCell) -> None:
    async with cell.open_client("old") as old, cell.open_client("new") as new:
        order: list[str] = []

        async def work() -> None:
            async with old.lock("x", ttl=10.0):
                try:
                    await asyncio.sleep(1000.0)
                finally:
                    await asyncio.sleep(3.0)
                    order.append("old ended")

        async def follow() -> None:
            async with new.lock("x"):
                order.append("new begins")

        task = asyncio.create_task(work())
        await cell.wait_holder("x")
        following = asyncio.create_task(follow())
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task, following])
        assert order == ["old ended", "new begins"]


@virtual
async def test_a_block_is_entered_once(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        block = client.lock("x")
        async with block:
            pass
        with pytest.raises(RuntimeError, match="call lock"):
            async with block:
                pass


@virtual
async def test_wait_zero_tells_who_holds(cell: AsyncioCell) -> None:
    async with cell.rival("x", label="the other") as theirs, cell.open_client() as client:
        with pytest.raises(NotAcquired) as caught:
            await client.acquire("x", wait=0)
        assert (caught.value.reason, caught.value.holder) == (Reason.HELD, "the other")
        assert theirs.term == 1


@virtual
async def test_a_paused_process_loses_when_it_goes_on(cell: AsyncioCell) -> None:
    async with cell.open_client("paused") as client:
        held = await client.acquire("x")
        cell.pause("paused")
        async with cell.rival("x"):
            assert held.valid, "its own clock stands still"
            cell.resume("paused")
            assert not held.valid
            await held.wait_lost()


@virtual
async def test_a_name_that_was_lost_is_free_for_the_next(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        for _ in range(3):
            with pytest.raises(LeaseLost):
                async with client.lock("x"):
                    await cell.lose("x")
                    await asyncio.sleep(1000.0)
    assert cell.terms("x") == [1, 2, 3]


@virtual
async def test_in_another_loop_every_verb_says_so_at_once(cell: AsyncioCell) -> None:
    async with cell.open_client() as client:
        held = await client.acquire("x")
        watch, entered = client.watch("x"), await client.watch("x").__aenter__()
        assert (await entered.receive()).state is State.LED

        async def block() -> None:
            async with client.lock("y"):
                pass

        async def verbs() -> None:
            for verb in (
                *(block, lambda: client.poll("x"), lambda: client.acquire("y"), client.list, client.survey),
                *(held.wait_lost, held.release, lambda: held.publish(b"y"), watch.__aenter__, watch.receive),
                lambda: entered.__aexit__(None, None, None),
            ):
                with pytest.raises(RuntimeError, match="belongs to another event loop"):
                    async with asyncio.timeout(ELSEWHERE_S):
                        await verb()
            said.append("all")

        said: list[str] = []
        # A daemon: what this is about is a verb that never returns.
        thread = threading.Thread(target=lambda: asyncio.run(verbs()), daemon=True)
        thread.start()
        thread.join(4.0 * ELSEWHERE_S)
        assert said == ["all"]
        assert held.valid
        await held.release()
        assert (await entered.receive()).state is State.FREE, "its watch goes on"
        entered.close()
        assert (await client.poll("x")).state is State.FREE
        assert (await client.poll("y")).state is State.FREE
