"""Cancelled at any moment, acquire and release leave nothing behind (style.md section 2, all or nothing)."""

from __future__ import annotations

import pytest
import trio
from cells import until_waiting
from trio.testing import MockClock

from paxlock import Client
from paxlock.testing import VirtualCell, open_virtual_cell

STEP_S = 0.00025
AT_ONCE_S = 0.06
SCHEDULER_STEPS = 60


class CancelAfterSteps(trio.abc.Instrument):
    """Cancels a scope after so many steps of the scheduler, of whatever task."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope = scope
        self.left = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self._scope.cancel()


async def nothing_is_left(cell: VirtualCell, client: Client, other: Client, name: str) -> None:
    """Another client gets the name at once; nobody holds it or stands in line for it."""
    began = trio.current_time()
    held = await other.acquire(name, wait=5.0)
    assert trio.current_time() - began < AT_ONCE_S, name
    assert (await other.inspect(name)).waiters == (), name
    await held.release()
    session = client.statistics().session
    assert (session.leases, session.campaigns) == (0, 0), name
    assert len(client._desk) == 0
    assert client._desk.held == {}
    assert name not in [standing.name for standing in await other.list()], name


async def test_acquire_cancelled_at_every_moment_of_a_free_name(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        outcomes = set()
        for step in range(41):
            name = f"free-{step}"
            with trio.move_on_after(step * STEP_S) as scope:
                held = await client.acquire(name)
                scope.deadline = float("inf")
                await held.release()
            outcomes.add(scope.cancelled_caught)
            await nothing_is_left(cell, client, other, name)
        assert outcomes == {True, False}, "the sweep must begin before and end after the acquisition"


async def test_acquire_cancelled_after_every_step_of_the_scheduler(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        outcomes = set()
        for steps in range(1, SCHEDULER_STEPS):
            name = f"steps-{steps}"
            with trio.CancelScope() as scope:
                instrument = CancelAfterSteps(scope, steps)
                trio.lowlevel.add_instrument(instrument)
                try:
                    held = await client.acquire(name)
                finally:
                    trio.lowlevel.remove_instrument(instrument)
                await held.release()
            outcomes.add(scope.cancelled_caught)
            await nothing_is_left(cell, client, other, name)
        assert outcomes == {True, False}


async def test_block_cancelled_after_every_step_of_the_scheduler(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        entered = 0
        for steps in range(1, SCHEDULER_STEPS):
            name = f"block-{steps}"
            with trio.CancelScope() as scope:
                instrument = CancelAfterSteps(scope, steps)
                trio.lowlevel.add_instrument(instrument)
                try:
                    async with client.lock(name):
                        entered += 1
                        await trio.lowlevel.checkpoint()
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            await nothing_is_left(cell, client, other, name)
        assert 0 < entered < SCHEDULER_STEPS - 1


async def test_waiting_cancelled_leaves_no_place_in_line(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        held = await other.acquire("x")
        for step in range(0, 200, 7):
            with trio.move_on_after(step * 0.001):
                await client.acquire("x")
                pytest.fail("the name is held by another")
            # The Release needs one way to the nodes.
            await trio.sleep(0.005)
            assert (await other.inspect("x")).waiters == ()
        await held.release()
        await nothing_is_left(cell, client, other, "x")


async def test_waiting_cancelled_at_every_moment_of_the_hand_over(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        outcomes = set()
        for step in range(41):
            name = f"over-{step}"
            held = await other.acquire(name)
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()

                async def wait(name: str = name, scope: trio.CancelScope = scope) -> None:
                    with scope:
                        async with client.lock(name):
                            await trio.lowlevel.checkpoint()

                nursery.start_soon(wait)
                await until_waiting(other, name, 1)
                scope.deadline = trio.current_time() + step * STEP_S
                await held.release()
            outcomes.add(scope.cancelled_caught)
            await nothing_is_left(cell, client, other, name)
        assert outcomes == {True, False}


async def test_cancelled_local_waiters_do_not_hold_up_those_behind_them(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        held = await client.acquire("x")
        order: list[str] = []

        async def wait(label: str, seconds: float) -> None:
            with trio.move_on_after(seconds):
                async with client.lock("x"):
                    order.append(label)

        async with trio.open_nursery() as nursery:
            for label, seconds in (("first", 1.0), ("second", 60.0), ("third", 1.0), ("fourth", 60.0)):
                nursery.start_soon(wait, label, seconds)
                await trio.sleep(0.01)
            await trio.sleep(2.0)
            await held.release()
        assert order == ["second", "fourth"]
        assert client.statistics().session.campaigns == 0


async def test_release_cancelled_still_tells_the_nodes(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        for step in range(16):
            name = f"release-{step}"
            held = await client.acquire(name)
            with trio.move_on_after(step * STEP_S):
                await held.release()
            await nothing_is_left(cell, client, other, name)


async def test_release_repeats_what_was_lost_on_the_way(autojump_clock: MockClock) -> None:
    async with (
        open_virtual_cell(seed=3) as cell,
        cell.open_client() as client,
        cell.open_client("other") as other,
    ):
        for number in range(30):
            cell.loss = 0.0
            held = await client.acquire(f"n{number}", ttl=30.0)
            cell.loss = 0.3
            await held.release()
            with trio.fail_after(5.0):
                await other.acquire(f"n{number}", ttl=30.0)


async def test_questions_cancelled_leave_nothing_behind(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        cell.partition("a", "b", "c")
        for ask in (
            lambda: client.poll("x"),
            lambda: client.inspect("x"),
            lambda: client.list(),
            lambda: client.survey(),
        ):
            with trio.move_on_after(0.1) as scope:
                await ask()
            assert scope.cancelled_caught
        assert len(client._desk) == 0


async def test_a_renewal_by_handle_ends_when_it_is_cancelled(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        held = await client.acquire("x", ttl=20.0)
        held.detach()
        cell.partition("a", "b", "c")
        with trio.move_on_after(1.0) as scope:
            await other.renew_handle(held.handle)
        assert scope.cancelled_caught
        await trio.sleep(5.0)
        before = other.statistics().transport["lost"]
        await trio.sleep(20.0)
        assert other.statistics().transport["lost"] == before
