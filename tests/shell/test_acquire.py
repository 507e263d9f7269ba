"""Acquiring: ``wait``, the line within one client, and leases held without a block (contract.md, 2)."""

# A block within a block is what is tested; there is no event for "somebody got the name".
# ruff: noqa: SIM117, ASYNC110, PT012

from __future__ import annotations

import pickle
from collections.abc import Sequence

import pytest
import trio
import trio.testing
from cells import HandClock, until_lost, until_waiting
from trio.testing import MockClock

from paxlock import (
    Client,
    ConfigError,
    HeldLease,
    LeaseLost,
    LossReason,
    NotAcquired,
    Reason,
    State,
    open_client,
)
from paxlock.core.session.events import Event, Extended, Granted, Lost
from paxlock.testing import open_virtual_cell
from paxlock.wire.transport import Address


async def test_two_spellings_of_a_letter_are_one_name(autojump_clock: MockClock) -> None:
    one_letter, two_letters = "caf\u00e9", "cafe\u0301"
    async with open_virtual_cell() as cell, cell.open_client("one") as one, cell.open_client("two") as two:
        held = await one.acquire(two_letters, label=two_letters)
        assert held.name == one_letter
        with pytest.raises(NotAcquired) as refused:
            await two.acquire(one_letter, wait=0)
        assert (refused.value.reason, refused.value.holder) == (Reason.HELD, one_letter)
        standing = await two.poll(two_letters)
        assert (standing.name, standing.state, standing.label) == (one_letter, State.LED, one_letter)
        assert [found.name for found in await two.list("cafe\u0301")] == [one_letter]
        async with two.watch(two_letters) as changes:
            assert (await changes.__anext__()).state is State.LED


async def test_wait_none_waits_until_the_name_is_free(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client("one") as one, cell.open_client("two") as two:
        first = await one.acquire("x", ttl=5.0)
        async with trio.open_nursery() as nursery:
            got: list[HeldLease] = []

            async def wait() -> None:
                got.append(await two.acquire("x"))

            nursery.start_soon(wait)
            await trio.sleep(30.0)
            assert not got
            released = trio.current_time()
            await first.release()
        assert trio.current_time() - released < 0.1
        assert got[0].term > first.term


async def test_wait_zero_is_one_attempt_that_never_queues(autojump_clock: MockClock) -> None:
    async with (
        open_virtual_cell() as cell,
        cell.open_client("holder") as one,
        cell.open_client("other") as two,
    ):
        async with one.lock("x"):
            began = trio.current_time()
            with pytest.raises(NotAcquired) as caught:
                await two.acquire("x", wait=0)
            assert trio.current_time() - began < 0.1
            assert (caught.value.name, caught.value.reason) == ("x", Reason.HELD)
            assert caught.value.holder == "holder"
            assert "'holder'" in str(caught.value)
            assert (await two.inspect("x")).waiters == ()
        async with two.lock("x", wait=0) as held:
            assert held.valid


async def test_wait_zero_without_a_quorum_gives_up_after_a_second(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        cell.partition("a", "b")
        began = trio.current_time()
        with pytest.raises(NotAcquired) as caught:
            await client.acquire("x", wait=0)
        assert caught.value.reason is Reason.NO_QUORUM
        assert trio.current_time() - began == pytest.approx(1.0, abs=0.05)


async def test_wait_x_ends_after_x_seconds_with_the_holders_label(autojump_clock: MockClock) -> None:
    async with (
        open_virtual_cell() as cell,
        cell.open_client("holder") as one,
        cell.open_client("other") as two,
    ):
        async with one.lock("x", ttl=1.0, label="the report"):
            began = trio.current_time()
            with pytest.raises(NotAcquired) as caught:
                await two.acquire("x", wait=7.0)
            assert trio.current_time() - began == pytest.approx(7.0, abs=0.05)
            assert caught.value.reason is Reason.HELD
            assert caught.value.holder == "the report"


async def test_wait_x_without_a_quorum_says_so(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        cell.partition("b", "c")
        began = trio.current_time()
        with pytest.raises(NotAcquired) as caught:
            await client.acquire("x", wait=3.0)
        assert caught.value.reason is Reason.NO_QUORUM
        assert trio.current_time() - began == pytest.approx(3.0, abs=0.05)
        assert caught.value.holder is None


async def test_a_quorum_that_comes_back_within_the_wait_is_used(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        cell.partition("a", "b")
        async with trio.open_nursery() as nursery:

            async def heal() -> None:
                await trio.sleep(5.0)
                cell.heal("a")

            nursery.start_soon(heal)
            async with client.lock("x", wait=10.0):
                assert 5.0 < trio.current_time() < 6.0


async def test_one_deadline_for_waiting_behind_many(autojump_clock: MockClock) -> None:
    """Several holders come and go meanwhile; the wait does not begin anew with each."""
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("late") as late:

        async def hold_in_turn() -> None:
            async with client.lock("x"):
                await trio.sleep(1.0)

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(hold_in_turn)
            await trio.sleep(0.5)
            began = trio.current_time()
            with pytest.raises(NotAcquired):
                await late.acquire("x", wait=0.4)
            assert trio.current_time() - began == pytest.approx(0.4, abs=0.05)
            nursery.cancel_scope.cancel()


async def test_local_waiters_line_up_first_in_first_out(autojump_clock: MockClock) -> None:
    order: list[int] = []

    async def take(client: Client, number: int, started: trio.Event) -> None:
        async with client.lock("x"):
            order.append(number)
            started.set()
            await trio.sleep(0.1)

    async with open_virtual_cell() as cell, cell.open_client() as client:
        async with trio.open_nursery() as nursery:
            first = trio.Event()
            nursery.start_soon(take, client, 0, first)
            await first.wait()
            for number in range(1, 8):
                nursery.start_soon(take, client, number, trio.Event())
                await trio.sleep(0.001)
        assert order == list(range(8))


async def test_waiters_of_several_clients_are_served_in_order_of_arrival(autojump_clock: MockClock) -> None:
    order: list[str] = []

    async def take(client: Client, label: str) -> None:
        async with client.lock("x", label=label):
            order.append(label)

    async with (
        open_virtual_cell() as cell,
        cell.open_client() as one,
        cell.open_client() as two,
        cell.open_client() as three,
        trio.open_nursery() as nursery,
    ):
        held = await one.acquire("x")
        for label, client in (("first", two), ("second", three), ("third", one)):
            nursery.start_soon(take, client, label)
            await trio.sleep(1.0)
        await until_waiting(one, "x", 2)
        await held.release()
        # The third stands in its own process's line behind the lease just released.
        with trio.fail_after(5):
            while len(order) < 3:
                await trio.sleep(0.01)
    assert order == ["first", "second", "third"]


async def test_a_local_waiter_gives_up_with_the_label_of_the_local_holder(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        async with client.lock("x", label="me already"):
            for wait in (0.0, 0.5):
                with pytest.raises(NotAcquired) as caught:
                    await client.acquire("x", wait=wait)
                assert caught.value.reason is Reason.HELD
                assert caught.value.holder == "me already"


async def test_acquire_is_renewed_in_the_background(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        held = await client.acquire("x", ttl=1.0, data=b"10.0.0.7:80", label="me")
        await trio.sleep(20.0)
        held.check()
        assert held.valid
        assert 0.0 < held.remaining() <= 0.9
        assert "held" in repr(held)
        standing = await other.poll("x")
        assert (standing.state, standing.term, standing.label, standing.data) == (
            State.LED,
            held.term,
            "me",
            b"10.0.0.7:80",
        )
        await held.release()
        assert "released" in repr(held)
        assert (await other.poll("x")).state is State.FREE


async def test_a_released_lease_says_so(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        held = await client.acquire("x")
        await held.release()
        await held.release()  # harmless
        assert not held.valid
        assert held.remaining() == 0.0
        with pytest.raises(trio.ClosedResourceError, match="'x' was released"):
            held.check()
        with pytest.raises(trio.ClosedResourceError, match="'x' was released"):
            await held.wait_lost()


async def test_wait_lost_tells_the_loss_in_time_and_nothing_is_cancelled(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        held = await client.acquire("x", ttl=2.0)
        cell.partition("a", "c")
        with trio.fail_after(2.0):
            assert await held.wait_lost() is LossReason.EXPIRED
        assert "lost" in repr(held)
        assert not held.valid
        await held.release()
        with pytest.raises(LeaseLost) as caught:
            held.check()
        assert str(caught.value) == "the lease of 'x' (term 1) was lost: expired"


async def test_wait_lost_ends_with_closed_resource_error_on_release(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        held = await client.acquire("x")
        outcomes: list[str] = []

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await held.wait_lost()
            outcomes.append("told")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await held.release()
        assert outcomes == ["told"]


async def test_detach_leaves_the_lease_to_its_handle(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client("other") as other:
        async with cell.open_client("first") as first:
            held = await first.acquire("x", ttl=5.0)
            held.detach()
            with pytest.raises(trio.ClosedResourceError):
                held.check()
        standing = await other.poll("x")
        assert (standing.state, standing.term) == (State.LED, held.term)
        assert await other.renew_handle(held.handle) == pytest.approx(5.0, abs=0.1)
        await trio.sleep(4.0)
        assert (await other.poll("x")).state is State.LED
        await other.release_handle(held.handle)
        assert (await other.poll("x")).state is State.FREE
        await other.release_handle(held.handle)  # over already: no error
        with pytest.raises(LeaseLost):
            await other.renew_handle(held.handle)


async def test_what_a_renewed_handle_has_left_is_asked_again_without_a_quorum(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_cell(latency=0.1) as cell, cell.open_client() as client:
        held = await client.acquire("x", ttl=20.0)
        held.detach()
        await client.poll("x")
        async with trio.open_nursery() as nursery:
            asked: list[float] = []

            async def renew() -> None:
                asked.append(await client.renew_handle(held.handle))

            nursery.start_soon(renew)
            await trio.sleep(0.15)
            cell.partition("a", "b", "c")  # the nodes have renewed it, the client hears so, and asks
            await trio.sleep(3.0)
            assert not asked
            cell.heal()
        assert asked[0] == pytest.approx(17.0, abs=1.0)


async def test_a_detached_lease_runs_out_after_its_ttl(autojump_clock: MockClock) -> None:
    async with (
        open_virtual_cell() as cell,
        cell.open_client("other") as other,
        cell.open_client("first") as first,
    ):
        (await first.acquire("x", ttl=2.0)).detach()
        began = trio.current_time()
        async with other.lock("x"):
            assert 1.5 < trio.current_time() - began < 2.2


async def test_a_handle_without_a_quorum_is_not_acquired_in_time(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        held = await client.acquire("x", ttl=5.0)
        held.detach()
        cell.partition("a", "b", "c")
        for verb in (client.renew_handle, client.release_handle):
            with pytest.raises(NotAcquired) as caught:
                await verb(held.handle, 2.0)
            assert caught.value.reason is Reason.NO_QUORUM


async def test_release_by_handle_ends_a_lease_that_is_held_elsewhere(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        held = await client.acquire("x", ttl=2.0)
        await other.release_handle(held.handle)
        await until_lost(held)
        assert not held.valid
        assert (await other.poll("x")).state is State.FREE


async def test_a_handle_of_another_cell_is_refused(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, open_virtual_cell() as foreign:
        async with cell.open_client() as client, foreign.open_client() as other:
            held = await client.acquire("x")
            with pytest.raises(ConfigError, match="another cell"):
                await other.release_handle(held.handle)
            with pytest.raises(ConfigError):
                await client.release_handle("pl1.nonsense")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"ttl": 0.05}, "at least 200 ms"),
        ({"ttl": 31.0}, "max_ttl"),
        ({"ttl": float("nan")}, "at least 200 ms"),
        ({"wait": -1.0}, "wait must be"),
        ({"wait": float("nan")}, "wait must be"),
        ({"label": "x" * 65}, "label"),
        ({"data": b"x" * 513}, "data"),
        ({"ttl": 1.0, "kill_after": 0.9}, "longer ttl"),
    ],
)
async def test_what_does_not_fit_is_refused_with_a_sentence(
    autojump_clock: MockClock, arguments: dict[str, object], sentence: str
) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        with pytest.raises(ConfigError, match=sentence):
            await client.acquire("x", **arguments)  # type: ignore[arg-type]
        assert client.statistics().session.campaigns == 0


@pytest.mark.parametrize("name", ["", "x" * 256])
async def test_bad_names_are_refused(autojump_clock: MockClock, name: str) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        with pytest.raises(ConfigError, match="name"):
            await client.acquire(name)


async def test_acquisition_through_loss_repetition_and_disorder(autojump_clock: MockClock) -> None:
    async with open_virtual_cell(seed=7) as cell, cell.open_client() as one, cell.open_client() as two:
        cell.loss = 0.2
        cell.duplication = 0.2
        cell.network.delay_max = 0.01
        terms: list[int] = []
        for _ in range(20):
            for client in (one, two):
                async with client.lock("x", ttl=5.0, wait=20.0) as held:
                    terms.append(held.term)
                    held.check()
        assert terms == sorted(set(terms))


async def test_errors_survive_pickling() -> None:
    for error in (
        LeaseLost("x", 3, LossReason.EXPIRED),
        NotAcquired("x", Reason.HELD, "somebody", "more", "revoked"),
    ):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


async def test_lead_returns_the_value(autojump_clock: MockClock) -> None:
    async def run(held: HeldLease, one: int, two: int) -> tuple[int, int]:
        held.check()
        await trio.sleep(20.0)
        return held.term, one + two

    async with open_virtual_cell() as cell, cell.open_client() as client:
        assert await client.lead("x", run, 2, 3, ttl=1.0) == (1, 5)
        assert (await client.poll("x")).state is State.FREE


async def test_lead_campaigns_again_after_each_loss(autojump_clock: MockClock) -> None:
    terms: list[int] = []
    async with open_virtual_cell() as cell, cell.open_client() as client:

        async def run(held: HeldLease) -> str:
            terms.append(held.term)
            if len(terms) == 3:
                return "done"
            cell.partition("a", "b")
            try:
                await trio.sleep_forever()
            finally:
                cell.heal("a", "b")
            raise AssertionError("unreachable")

        assert await client.lead("x", run, ttl=1.0) == "done"
    assert terms == sorted(set(terms))
    assert len(terms) == 3


async def test_lead_runs_again_where_check_raised(autojump_clock: MockClock) -> None:
    runs: list[int] = []
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:

        async def run(held: HeldLease) -> None:
            runs.append(held.term)
            if len(runs) == 1:
                await other.release_handle(held.handle)
                with trio.CancelScope(shield=True):
                    await until_lost(held)
                held.check()

        await client.lead("x", run, ttl=1.0)
    assert len(runs) == 2
    assert runs[1] > runs[0]


async def test_lead_runs_again_where_check_raised_in_tasks_of_the_body(autojump_clock: MockClock) -> None:
    runs: list[int] = []
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:

        async def part(held: HeldLease) -> None:
            with trio.CancelScope(shield=True):
                await until_lost(held)
            held.check()

        async def run(held: HeldLease) -> None:
            runs.append(held.term)
            if len(runs) == 1:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(part, held)
                    nursery.start_soon(part, held)
                    await other.release_handle(held.handle)

        await client.lead("x", run, ttl=1.0)
    assert len(runs) == 2


async def test_a_group_with_another_error_comes_out_of_lead(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:

        async def run(held: HeldLease) -> None:
            await other.release_handle(held.handle)
            with trio.CancelScope(shield=True):
                await until_lost(held)
            raise ExceptionGroup("both", [KeyError("mine"), held.loss()])

        with pytest.raises(ExceptionGroup, match="both"):
            await client.lead("x", run, ttl=1.0)


async def test_other_errors_come_out_of_lead(autojump_clock: MockClock) -> None:
    async def run(held: HeldLease) -> None:
        raise KeyError(held.name)

    async with open_virtual_cell() as cell, cell.open_client() as client:
        with pytest.raises(KeyError, match="x"):
            await client.lead("x", run)


async def test_the_loss_of_another_name_comes_out_of_lead(autojump_clock: MockClock) -> None:
    runs: list[int] = []
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:

        async def run(held: HeldLease) -> None:
            runs.append(held.term)
            async with client.lock("inner", ttl=1.0) as inner:
                await other.release_handle(inner.handle)
                await trio.sleep_forever()

        with pytest.raises(LeaseLost) as caught:
            await client.lead("x", run, ttl=10.0)
        assert caught.value.name == "inner"
        assert len(runs) == 1
        assert (await other.poll("x")).state is State.FREE


async def test_lead_is_ended_by_cancellation(autojump_clock: MockClock) -> None:
    async def run(held: HeldLease) -> None:
        await trio.sleep_forever()

    async with open_virtual_cell() as cell, cell.open_client() as client:
        with trio.move_on_after(5.0) as scope:
            await client.lead("x", run, ttl=1.0)
        assert scope.cancelled_caught
        assert (await client.poll("x")).state is State.FREE


def lose_what_is_granted(client: Client, times: float) -> list[int]:
    """Have the machine lose each of the first leases in the very turn that granted it, before the waiting
    task runs; gives the list to which their terms are added.
    """
    publish = client.driver._publish
    lost: list[int] = []

    def publish_and_lose(notice: object) -> None:
        publish(notice)
        if isinstance(notice, Granted) and len(lost) < times:
            lost.append(notice.term)
            client._session.release(notice.ticket, client.now())
            publish(Lost(notice.ticket, LossReason.RELEASED))

    client.driver._publish = publish_and_lose
    return lost


async def test_what_was_lost_before_the_waiting_task_ran_is_not_handed_out(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        lost = lose_what_is_granted(client, 2)
        async with client.lock("x") as held:
            assert len(lost) == 2
            assert held.term > max(lost)
            held.check()
            assert (await other.poll("x")).term == held.term
        assert client._desk.held == {}


async def test_the_time_given_is_one_even_if_leases_are_lost_meanwhile(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        lost = lose_what_is_granted(client, float("inf"))
        began = trio.current_time()
        with pytest.raises(NotAcquired):
            await client.acquire("x", wait=0.5)
        assert len(lost) > 5
        assert trio.current_time() - began == pytest.approx(0.5, abs=0.1)


async def test_a_client_leaves_a_name_alone_that_it_has_detached(autojump_clock: MockClock) -> None:
    async with (
        open_virtual_cell() as cell,
        cell.open_client("first") as first,
        cell.open_client("second") as second,
    ):
        (await first.acquire("x", ttl=1.0)).detach()
        with pytest.raises(trio.BusyResourceError, match="open another client"):
            await first.acquire("x")
        held = await second.acquire("x", ttl=1.0)
        assert held.term == 2


async def test_whoever_waits_in_the_client_that_detaches_the_name_is_told_so(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_cell() as cell, cell.open_client("other") as other, cell.open_client() as client:
        held = await client.acquire("x", ttl=2.0)
        told = []

        async def waits() -> None:
            with pytest.raises(trio.BusyResourceError, match="open another client"):
                await client.acquire("x")
            told.append(trio.current_time())

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(waits)
                await trio.testing.wait_all_tasks_blocked()
                held.detach()
                began = trio.current_time()
        assert told == [began] * 3
        for _ in range(3):
            await trio.sleep(1.0)
            assert await other.renew_handle(held.handle) == pytest.approx(2.0, abs=0.1)


async def test_a_holder_whose_lease_is_released_elsewhere_is_told_within_a_round_trip(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client("other") as other:
        for _ in range(5):
            held = await client.acquire("x", ttl=10.0)
            began = trio.current_time()
            await other.release_handle(held.handle)
            with trio.fail_after(1):
                assert await held.wait_lost() is LossReason.RELEASED
            assert trio.current_time() - began < 0.1


async def test_a_client_that_releases_its_own_lease_by_the_handle_has_lost_it_at_once(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        valid_when_sent = []
        send = client._transport.send_nowait

        def note(datagram: bytes, address: Address) -> None:
            valid_when_sent.append(held.valid)
            send(datagram, address)

        with pytest.raises(LeaseLost) as caught:
            async with client.lock("x") as held:
                await trio.sleep(0.5)
                client._transport.send_nowait = note  # type: ignore[method-assign]
                await client.release_handle(held.handle)
                await trio.sleep_forever()
        assert caught.value.reason is LossReason.RELEASED
        assert (await client.poll("x")).state is State.FREE  # so the Release has left
        assert valid_when_sent
        assert not any(valid_when_sent), "nothing of a release leaves while the lease still counts"


async def test_a_renewal_that_is_told_too_late_is_a_loss(autojump_clock: MockClock) -> None:
    """The process stalls between counting an answer and telling of it: the program's lease had run out by its
    own clock, so it is over, and nobody renews it for ever.
    """
    clock = HandClock()
    async with (
        open_virtual_cell() as cell,
        open_client(cell.cell, clock=clock) as client,
        cell.open_client("other") as other,
    ):
        held = await client.acquire("x", ttl=2.0)
        take, stalls = client._session.take_published, [0.01]

        def stall() -> Sequence[Event]:
            found = take()
            if stalls and any(isinstance(notice, Extended) for notice in found):
                clock.offset += held.remaining() + stalls.pop()
                assert not held.valid
            return found

        client.driver._tell_first = stall
        with trio.fail_after(10):
            assert await held.wait_lost() is LossReason.EXPIRED
        assert stalls == []
        with pytest.raises(LeaseLost):
            held.check()
        with trio.fail_after(1):
            async with other.lock("x") as next_one:
                assert next_one.term > held.term
