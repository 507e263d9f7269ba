"""The lease block: what comes out of it, and when (style.md section 3, points 1 to 3)."""

# A body that is cut off is several statements, and a block within a block is what is tested.
# ruff: noqa: PT012, SIM117

from __future__ import annotations

from functools import partial

import pytest
import trio
from cells import HandClock, until_lost
from trio.testing import MockClock

from paxlock import LeaseLost, LossReason, State, open_client, open_dev_cell
from paxlock.testing import open_virtual_cell


def chain(error: BaseException) -> list[BaseException]:
    """The error and its contexts."""
    found = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__context__
    return found


async def test_an_error_of_the_body_comes_out_bare(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        with pytest.raises(KeyError) as caught:
            async with client.lock("x"):
                raise KeyError("mine")
        assert caught.value.args == ("mine",)
        assert chain(caught.value) == [caught.value]
        assert (await client.poll("x")).state is State.FREE


async def test_an_error_of_the_body_comes_bare_out_of_open_client_too(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        with pytest.raises(KeyError):
            async with cell.open_client() as client, client.lock("x"):
                raise KeyError("mine")


async def test_a_loss_cancels_the_body_and_comes_out_as_lease_lost(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock("x", ttl=2.0) as held:
                cell.partition("a", "b")
                began = trio.current_time()
                await trio.sleep(60)
                pytest.fail("the body was not cancelled")
        error = caught.value
        assert (error.name, error.term, error.reason) == ("x", held.term, LossReason.EXPIRED)
        # By the margin before the nodes may forget: ttl x (1 - drift) / (1 + drift) - ttl / 10.
        assert trio.current_time() - began <= 2.0 * 0.99 / 1.01 - 0.2 + 1e-6
        assert not held.valid
        assert held.remaining() == 0.0
        with pytest.raises(LeaseLost):
            held.check()


async def test_renewals_keep_the_body_going_for_many_ttls(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        async with client.lock("x", ttl=1.0) as held:
            for _ in range(50):
                await trio.sleep(0.5)
                held.check()
                assert 0.1 < held.remaining() < 1.0


async def test_a_minority_cut_off_is_not_felt(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        async with client.lock("x", ttl=1.0) as held:
            for node_id in ("a", "b", "c"):
                cell.partition(node_id)
                await trio.sleep(3.0)
                held.check()
                cell.heal(node_id)
                await trio.sleep(3.0)
            term = held.term
        assert term == 1


async def test_a_body_without_checkpoints_past_the_deadline_is_told_at_the_exit(
    autojump_clock: MockClock,
) -> None:
    clock = HandClock()
    async with open_virtual_cell() as cell, open_client(cell.cell, clock=clock) as client:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock("x", ttl=2.0) as held:
                clock.offset += 2.0
                assert not held.valid
        assert caught.value.reason is LossReason.EXPIRED
        assert held.remaining() == 0.0


async def test_a_body_cut_off_a_hair_before_the_clock_shows_the_end_is_told(
    autojump_clock: MockClock,
) -> None:
    """trio's clock and the clock of leases are read one after the other: the scope may fire first."""
    clock = HandClock()
    async with open_virtual_cell() as cell, open_client(cell.cell, clock=clock) as client:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock("x", ttl=2.0) as held:
                cell.partition("a", "b", "c")
                clock.offset -= 1e-6
                await trio.sleep_forever()
        assert caught.value.reason is LossReason.EXPIRED
        assert client.now() - held.deadline < 0.01, "a loss must not wait for a quorum to hear the release"


async def test_a_deadline_that_passed_unseen_is_not_moved_by_a_late_renewal(
    autojump_clock: MockClock,
) -> None:
    clock = HandClock()
    async with open_virtual_cell() as cell, open_client(cell.cell, clock=clock) as client:
        with pytest.raises(LeaseLost):
            async with client.lock("x", ttl=2.0) as held:
                passed = held.deadline
                clock.offset += 2.0
                held.extended(client.now() + 2.0)
                assert held.deadline == passed
                assert not held.valid


async def test_an_answer_to_a_renewal_after_the_lapse_revives_nothing(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        with pytest.raises(LeaseLost):
            async with client.lock("x", ttl=2.0) as held:
                # From now on every answer takes longer than the whole ttl.
                cell.latency = 2.5
                await trio.sleep(60)
        deadline = held.deadline
        cell.latency = 0.001
        await trio.sleep(5)
        assert held.deadline == deadline
        assert not held.valid


async def test_error_and_loss_give_the_error_with_the_loss_in_its_chain(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        with pytest.raises(KeyError) as caught:
            async with client.lock("x", ttl=1.0) as held:
                cell.partition("a", "b")
                try:
                    await trio.sleep(60)
                finally:
                    raise KeyError("mine")
        losses = [error for error in chain(caught.value) if isinstance(error, LeaseLost)]
        assert [(loss.name, loss.term) for loss in losses] == [("x", held.term)]


async def test_error_without_cancelled_and_loss_give_the_error_with_the_loss(
    autojump_clock: MockClock,
) -> None:
    clock = HandClock()
    async with open_virtual_cell() as cell, open_client(cell.cell, clock=clock) as client:
        with pytest.raises(KeyError) as caught:
            async with client.lock("x", ttl=1.0):
                clock.offset += 5.0
                raise KeyError("mine")
        assert isinstance(caught.value.__context__, LeaseLost)


async def test_error_in_a_nursery_of_the_body_and_loss(autojump_clock: MockClock) -> None:
    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise KeyError("mine")

    async with open_virtual_cell() as cell, cell.open_client() as client:
        with pytest.raises(ExceptionGroup) as caught:
            async with client.lock("x", ttl=1.0), trio.open_nursery() as nursery:
                nursery.start_soon(fail_when_cancelled)
                nursery.start_soon(trio.sleep_forever)
                cell.partition("a", "b")
        matched, rest = caught.value.split(KeyError)
        assert matched is not None and rest is None
        assert any(isinstance(error, LeaseLost) for error in chain(caught.value))


async def test_check_in_the_body_is_one_loss_not_two(autojump_clock: MockClock) -> None:
    clock = HandClock()
    async with open_virtual_cell() as cell, open_client(cell.cell, clock=clock) as client:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock("x", ttl=1.0) as held:
                clock.offset += 5.0
                held.check()
        assert [error for error in chain(caught.value) if isinstance(error, LeaseLost)] == [caught.value]


async def test_outer_cancellation_stays_cancellation_and_releases(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        with trio.move_on_after(3.0) as scope:
            async with client.lock("x", ttl=1.0):
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert not client._session.releasing, "left before a quorum had heard the release"
        began = trio.current_time()
        async with other.lock("x", wait=1.0):
            assert trio.current_time() - began < 0.05


async def test_outer_cancellation_of_the_whole_client_releases_too(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client("other") as other:
        with trio.move_on_after(3.0) as scope:
            async with cell.open_client() as client, client.lock("x", ttl=10.0):
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() < scope.deadline + 0.2
        began = trio.current_time()
        async with other.lock("x", wait=1.0):
            assert trio.current_time() - began < 0.05


async def test_outer_cancellation_and_loss_together_stay_cancellation(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        with trio.CancelScope() as scope:
            async with client.lock("x", ttl=1.0) as held:
                cell.partition("a", "b")
                with trio.CancelScope(shield=True):
                    await until_lost(held)
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught


async def test_the_release_is_sent_only_after_the_body_has_ended(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        with trio.move_on_after(1.0):
            async with client.lock("x", ttl=10.0):
                try:
                    await trio.sleep_forever()
                finally:
                    with trio.CancelScope(shield=True):
                        await trio.sleep(2.0)  # still cleaning up
                        assert (await other.poll("x")).state is State.LED
                    ended = trio.current_time()
        assert ended == pytest.approx(3.0, abs=1.0)
        assert (await other.poll("x")).state is State.FREE


async def test_the_name_is_free_as_soon_as_the_block_is_left(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        async with client.lock("x"):
            pass
        assert (await other.poll("x")).state is State.FREE
        assert client.statistics().session.leases == 0


async def test_leaving_without_a_quorum_is_bounded_in_time(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        async with client.lock("x", ttl=10.0):
            cell.partition("a", "b", "c")
            left = trio.current_time()
        assert trio.current_time() - left <= 1.0 + 1e-6


async def test_a_block_is_entered_once(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        block = client.lock("x")
        async with block:
            pass
        with pytest.raises(RuntimeError, match="entered once"):
            await block.__aenter__()


@pytest.mark.parametrize("verb", ["release", "detach"])
async def test_what_was_let_go_in_the_block_no_longer_cuts_it_off(
    autojump_clock: MockClock, verb: str
) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        went_on = False
        async with client.lock("x", ttl=1.0) as held:
            if verb == "release":
                await held.release()
            else:
                held.detach()
            await trio.sleep(5.0)
            went_on = True
            with pytest.raises(trio.ClosedResourceError, match="released"):
                held.check()
        assert went_on


async def test_on_extended_tells_every_new_deadline(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        deadlines: list[float] = []
        async with client.lock("x", ttl=1.0) as held:
            held.on_extended(deadlines.append)
            await trio.sleep(2.0)
            assert deadlines[-1] == held.deadline
        assert len(deadlines) >= 5
        assert deadlines == sorted(deadlines)


ELSEWHERE_S = 30.0


async def test_in_another_run_of_trio_every_verb_says_so_and_the_client_lives_on() -> None:
    """What waits in another run could not be woken, and to try would end the client."""
    async with open_dev_cell() as cell, open_client(cell) as client:
        held = await client.acquire("x")
        watch, entered = client.watch("x"), await client.watch("x").__aenter__()
        assert (await entered.receive()).state is State.LED

        async def block() -> None:
            async with client.lock("y"):
                pass

        async def verbs() -> None:
            for verb in (
                *(block, partial(client.poll, "x"), partial(client.acquire, "y"), client.list, client.survey),
                *(held.wait_lost, held.release, partial(held.publish, b"y"), watch.__aenter__, watch.receive),
                partial(entered.__aexit__, None, None, None),
            ):
                with trio.fail_after(ELSEWHERE_S), pytest.raises(RuntimeError, match="another run of trio"):
                    await verb()

        await trio.to_thread.run_sync(trio.run, verbs, abandon_on_cancel=True)
        assert held.valid
        await held.release()
        with trio.fail_after(ELSEWHERE_S):
            assert (await entered.receive()).state is State.FREE, "its watch goes on"
        entered.close()
        for name in ("x", "y"):
            assert (await client.poll(name)).state is State.FREE
