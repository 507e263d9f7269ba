"""``at_least``: a lease that outlives its work, so that a slot is taken once. In virtual time."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import anyio
import pytest

import paxlock
import paxlock.aio
from paxlock import ConfigError, NotAcquired, Reason, State
from paxlock.testing import run_virtual

FACES: dict[str, ModuleType] = {"trio": paxlock, "asyncio": paxlock.aio}
KIND = pytest.mark.parametrize("kind", list(FACES))
MAX_TTL = 60.0


def play(kind: str, test: Callable[..., Awaitable[None]], *args: object) -> None:
    """Run a test with a cell, and what opens clients of one face."""

    async def main(cell: Any) -> None:
        def host(label: str) -> Any:
            return FACES[kind].open_client(cell.cell, label=label)

        await test(cell, host, *args)

    run_virtual(main, loop=kind, max_ttl=MAX_TTL)  # type: ignore[arg-type]  # one of the two


async def free_at(client: Any, name: str) -> float:
    """When the name falls free, on the clock of the client; the next holder gives it back at once."""
    async with client.lock(name):
        return float(client.now())


@KIND
@pytest.mark.parametrize("work", [0.0, 1.0, 20.0, 40.0])
def test_of_three_crons_two_seconds_apart_one_runs_in_every_slot(kind: str, work: float) -> None:
    ran: list[tuple[int, str]] = []

    async def crons(cell: Any, host: Any) -> None:
        async def cron(label: str, behind: float) -> None:
            began = anyio.current_time()
            for slot in range(4):
                await anyio.sleep(began + 60.0 * slot + behind - anyio.current_time())
                with suppress(NotAcquired):
                    async with (
                        host(label) as client,  # each run is a process of its own
                        client.lock("report", wait=0, at_least=50.0),
                    ):
                        ran.append((slot, label))
                        await anyio.sleep(work)

        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(cron, f"host {number}", 2.0 * number)

    play(kind, crons)
    assert [slot for slot, _ in ran] == [0, 1, 2, 3]


@KIND
def test_without_it_every_one_of_them_runs(kind: str) -> None:
    ran: list[str] = []

    async def crons(cell: Any, host: Any) -> None:
        for number in range(3):
            async with host(f"host {number}") as client, client.lock("report", wait=0):
                ran.append(f"host {number}")
            await anyio.sleep(2.0)

    play(kind, crons)
    assert len(ran) == 3


@KIND
@pytest.mark.parametrize(("at_least", "ttl"), [(30.0, 10.0), (30.0, 2.0), (5.0, 50.0), (150.0, 10.0)])
def test_while_the_client_is_open_the_name_is_free_at_that_very_time(
    kind: str, at_least: float, ttl: float
) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("one") as one, host("other") as other:
            async with one.lock("x", ttl=ttl, at_least=at_least) as held:
                began = one.now()
                assert held.valid
            assert not held.valid  # for the program it is over
            assert one.now() - began < 0.1  # and nobody has waited
            assert began + at_least <= await free_at(other, "x") < began + at_least + 0.1

    play(kind, test)


@KIND
@pytest.mark.parametrize("work", [0.0, 10.0, 40.0])
def test_a_client_that_closes_leaves_the_lease_to_run_out(kind: str, work: float) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("other") as other:
            async with host("one") as one, one.lock("x", at_least=50.0):
                began = one.now()
                await anyio.sleep(work)
            assert began + 50.0 <= await free_at(other, "x") < began + 52.5

    play(kind, test)


@KIND
def test_a_client_that_closes_renews_where_the_ttl_cannot_be_long_enough(kind: str) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("other") as other:
            async with host("one") as one, one.lock("x", at_least=MAX_TTL):
                began = one.now()
                await anyio.sleep(5.0)
            assert began + MAX_TTL <= await free_at(other, "x") <= began + 5.0 + MAX_TTL * 1.02

    play(kind, test)


@KIND
def test_a_client_that_closes_underneath_the_work_leaves_it_as_well(kind: str) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("other") as other:
            async with host("one") as one:
                await one.acquire("x", at_least=50.0)
                await anyio.sleep(1.0)
            assert (await other.poll("x")).state is State.LED
            await anyio.sleep(48.9)
            assert (await other.poll("x")).state is State.LED

    play(kind, test)


@KIND
def test_a_renewal_that_nobody_heard_is_told(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("one") as one, one.lock("x", at_least=MAX_TTL):
            cell.partition("one")

    with caplog.at_level(logging.WARNING, logger="paxlock"):
        play(kind, test)
    (record,) = [record for record in caplog.records if "at_least" in record.getMessage()]
    assert "the lease of 'x' could not be renewed when its client was closed" in record.getMessage()


@KIND
def test_work_that_takes_longer_releases_when_it_ends(kind: str) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("one") as one, host("other") as other:
            async with one.lock("x", ttl=3.0, at_least=30.0) as held:
                began = one.now()
                for _ in range(90):
                    await anyio.sleep(1.0)
                    held.check()
            assert began + 90.0 <= await free_at(other, "x") < began + 90.1

    play(kind, test)


@KIND
def test_work_that_fails_and_work_that_was_released_early_keep_it_as_well(kind: str) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("one") as one, host("other") as other:
            began = one.now()
            with pytest.raises(ZeroDivisionError):
                async with one.lock("x", at_least=20.0):
                    raise ZeroDivisionError
            held = await one.acquire("y", at_least=20.0)
            await held.release()
            await held.release()
            for name in "xy":
                assert began + 20.0 <= await free_at(other, name) < began + 21.0

    play(kind, test)


@KIND
def test_lead_gives_its_result_at_once_and_the_lease_stays(kind: str) -> None:
    async def test(cell: Any, host: Any) -> None:
        async def work(held: Any, word: str) -> str:
            return word

        async with host("one") as one, host("other") as other:
            began = one.now()
            assert await one.lead("x", work, "done", at_least=25.0) == "done"
            assert one.now() - began < 0.1
            assert (await other.poll("x")).state is State.LED
            assert began + 25.0 <= await free_at(other, "x") < began + 25.2

    play(kind, test)


@KIND
def test_the_same_client_waits_for_its_own_kept_lease(kind: str) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("one") as one:
            began = one.now()
            async with one.lock("x", at_least=15.0):
                pass
            with pytest.raises(NotAcquired) as caught:
                await one.acquire("x", wait=0)
            assert (caught.value.reason, caught.value.holder) == (Reason.HELD, "one")
            assert began + 15.0 <= await free_at(one, "x") < began + 15.2

    play(kind, test)


@KIND
def test_a_holder_that_is_killed_keeps_the_name_for_that_time(kind: str) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("one") as one, host("other") as other:
            await one.acquire("x", ttl=5.0, at_least=50.0)
            began = one.now()
            cell.kill("one")
            assert began + 50.0 <= await free_at(other, "x") < began + 52.5

    play(kind, test)


@KIND
def test_the_loss_of_the_quorum_ends_a_kept_lease_and_nothing_breaks(kind: str) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("one") as one, host("other") as other:
            async with one.lock("x", ttl=5.0, at_least=150.0):
                pass
            cell.partition("one")
            await anyio.sleep(100.0)
            cell.heal()
            async with one.lock("x"), other.lock("y"):
                pass

    play(kind, test)


@KIND
@pytest.mark.parametrize("at_least", [-1.0, math.nan, math.inf, -math.inf])
def test_what_is_no_such_time(kind: str, at_least: float) -> None:
    async def test(cell: Any, host: Any) -> None:
        async with host("one") as one:
            with pytest.raises(ValueError, match="at_least must be 0 or more seconds, and finite") as caught:
                await one.acquire("x", at_least=at_least)
            assert isinstance(caught.value, ConfigError)

    play(kind, test)
