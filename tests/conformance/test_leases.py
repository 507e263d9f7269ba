"""Leases while the cell is up: acquiring, holding, letting go, and leaving them to others."""

# A block within a block is what is tested.
# ruff: noqa: SIM117

from __future__ import annotations

import time

import anyio
import anyio.lowlevel
import attrs
import pytest

from paxlock import (
    BusyError,
    ClosedError,
    ConfigError,
    LeaseLost,
    LossReason,
    NotAcquired,
    NotAllowed,
    Reason,
    State,
)
from paxlock.client.handle import format_handle, parse_handle
from tests.conformance.faces import Call, Client, Face, Lease, conforms


async def until_waiting(client: Client, name: str, count: int) -> tuple[str, ...]:
    """Wait until so many stand in line for a name; their labels in order."""
    while len(waiters := (await client.inspect(name)).waiters) != count:
        await anyio.lowlevel.checkpoint()
    return tuple(waiter.label for waiter in waiters)


async def until_campaigning(client: Client, count: int) -> None:
    """Wait until a client has so many campaigns and leases. What waits for a lease of the same client stands
    in no line of a node (protocol.md, L7).
    """
    while client.statistics().session.campaigns != count:  # noqa: ASYNC110 - no event tells
        await anyio.sleep(0.001)


@conforms
async def test_the_term_grows_with_every_holder(face: Face, name: str) -> None:
    async with face.open() as one, face.open() as other:
        terms = []
        for client in (one, other, one):
            async with client.lock(name) as held:
                assert (held.name, held.ttl, held.cell) == (name, 10.0, face.cell.cell_id.hex())
                terms.append(held.term)
    assert terms == sorted(set(terms))


@conforms
async def test_a_name_that_is_held_is_refused_with_its_holder(face: Face, name: str) -> None:
    async with face.open(label="the holder") as one, face.open() as other, one.lock(name):
        for wait in (0, 0.05):
            with pytest.raises(NotAcquired) as caught:
                await other.acquire(name, wait=wait)
            assert (caught.value.name, caught.value.reason) == (name, Reason.HELD)
            assert caught.value.holder == "the holder"
        with pytest.raises(NotAcquired):
            async with other.lock(name, wait=0):
                pytest.fail("two held it")


@conforms
async def test_the_label_of_a_lease_goes_before_that_of_its_client(face: Face, name: str) -> None:
    async with face.open(label="client") as one, one.campaign(name, label="lease"):
        assert (await one.poll(name)).label == "lease"


@conforms
async def test_a_lease_without_a_block(face: Face, name: str) -> None:
    async with face.open() as client:
        held = await client.acquire(name)
        assert held.valid
        held.check()
        assert 0.0 < held.remaining() <= 10.0
        assert held.handle.startswith("pl1.")
        await held.release()
        assert not held.valid
        assert held.remaining() == 0.0
        with pytest.raises(ClosedError):
            held.check()
        await held.release()
        assert (await client.poll(name)).state is State.FREE


@conforms
async def test_a_block_may_end_its_lease_early(face: Face, name: str) -> None:
    async with face.open() as client:
        async with client.lock(name) as held:
            await held.release()
            assert (await client.poll(name)).state is State.FREE
        assert not held.valid


@conforms
async def test_a_block_is_entered_once(face: Face, name: str) -> None:
    async with face.open() as client:
        block = client.lock(name)
        async with block:
            pass
        with pytest.raises(RuntimeError):
            await block.__aenter__()


@conforms
async def test_data_of_a_campaign_reaches_who_polls(face: Face, name: str) -> None:
    async with face.open(label="leader") as one, face.open() as other:
        async with one.campaign(name, ttl=7.0, data=b"10.0.0.7:80") as held:
            standing = await other.poll(name)
        assert (standing.name, standing.state, standing.term) == (name, State.LED, held.term)
        assert (standing.label, standing.data, standing.ttl) == ("leader", b"10.0.0.7:80", 7.0)
        assert 0.0 < standing.remaining <= 7.0
        assert (await other.poll(name)).state is State.FREE


@conforms
async def test_a_lease_is_renewed_in_the_background(face: Face, name: str) -> None:
    async with face.open() as client, client.lock(name, ttl=3.0) as held:
        first = held.deadline
        deadlines: list[float] = []
        held.on_extended(deadlines.append)
        while not deadlines:
            assert held.valid
            await anyio.sleep(0.01)
        assert first < deadlines[0] <= held.deadline


@conforms
async def test_an_error_of_the_body_comes_out_bare(face: Face, name: str) -> None:
    async with face.open() as client:
        with pytest.raises(KeyError) as caught:
            async with client.lock(name):
                raise KeyError("mine")
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
        assert (await client.poll(name)).state is State.FREE


@conforms
async def test_who_waits_gets_the_name_in_order(face: Face, name: str) -> None:
    async with face.open() as holder, face.open(label="1st") as first, face.open(label="2nd") as second:
        async with anyio.create_task_group() as group:
            held = await holder.acquire(name)
            one = Call(group, lambda: first.acquire(name))
            # Of two that came within a part of a round trip the nodes choose: let one be there for a while.
            while True:
                waiters = (await holder.inspect(name)).waiters
                if waiters and waiters[0].waiting >= 0.5:
                    break
                await anyio.sleep(0.01)
            two = Call(group, lambda: second.acquire(name))
            assert await until_waiting(holder, name, 2) == ("1st", "2nd")
            await held.release()
            held_first = await one.result()
            await held_first.release()
            held_second = await two.result()
            assert held.term < held_first.term < held_second.term
            await held_second.release()


@conforms
async def test_a_client_waits_for_itself(face: Face, name: str) -> None:
    async with face.open(label="twice") as client, anyio.create_task_group() as group:
        async with client.lock(name) as outer:
            with pytest.raises(NotAcquired) as caught:
                async with client.lock(name, wait=0):
                    pytest.fail("it is held twice")
            assert (caught.value.reason, caught.value.holder) == (Reason.HELD, "twice")
            inner = Call(group, lambda: client.acquire(name))
            await until_campaigning(client, 2)
            assert outer.valid
        held = await inner.result()
        assert held.term > outer.term
        await held.release()


@conforms
async def test_closing_a_client_releases_at_once(face: Face, name: str) -> None:
    async with face.open() as other:
        async with face.open() as client:
            held = await client.acquire(name, ttl=30.0)
        assert await held.wait_lost() is LossReason.CLOSED
        assert not held.valid
        with pytest.raises(LeaseLost) as caught:
            held.check()
        assert caught.value.reason is LossReason.CLOSED
        await held.release()
        async with other.lock(name, wait=10.0) as after:
            assert after.term > held.term


@conforms
async def test_closing_a_client_ends_its_waits(face: Face, name: str) -> None:
    async with face.open() as other, other.lock(name), anyio.create_task_group() as group:
        async with face.open() as client:
            waiting = Call(group, lambda: client.acquire(name))
            await until_waiting(other, name, 1)
        with pytest.raises(ClosedError):
            await waiting.result()
        await until_waiting(other, name, 0)


@conforms
async def test_wait_lost_ends_with_a_release(face: Face, name: str) -> None:
    async with face.open() as client, anyio.create_task_group() as group:
        held = await client.acquire(name)
        waiting = Call(group, held.wait_lost)
        await held.release()
        for _ in range(2):
            with pytest.raises(ClosedError):
                await waiting.result()
            waiting = Call(group, held.wait_lost)


# Handles


@conforms
async def test_a_handle_renews_exactly_its_grant(face: Face, name: str) -> None:
    async with face.open() as one, face.open() as other:
        held = await one.acquire(name, ttl=9.0)
        assert 0.0 < await other.renew_handle(held.handle) <= 9.0
        await held.release()
        with pytest.raises(LeaseLost) as caught:
            await other.renew_handle(held.handle)
        assert (caught.value.name, caught.value.term) == (name, held.term)
        async with one.lock(name) as later:
            await other.release_handle(held.handle)
            assert (await one.poll(name)).term == later.term


@conforms
async def test_a_holder_is_told_that_its_handle_was_released(face: Face, name: str) -> None:
    async with face.open() as one, face.open() as other:
        held = await one.acquire(name, ttl=9.0)
        await other.release_handle(held.handle)
        assert await held.wait_lost() is LossReason.RELEASED
        assert not held.valid
        with pytest.raises(LeaseLost) as caught:
            held.check()
        assert (caught.value.name, caught.value.term) == (name, held.term)
        assert caught.value.reason is LossReason.RELEASED
        await other.release_handle(held.handle)


@conforms
async def test_a_handle_that_is_none_is_refused(face: Face, name: str) -> None:
    async with face.open() as client, client.lock(name) as held:
        elsewhere = format_handle(attrs.evolve(parse_handle(held.handle), cell_id=bytes(16)))
        for wrong in ("", "nonsense", held.handle[:-2], held.handle + "A", elsewhere):
            with pytest.raises(ConfigError):
                await client.renew_handle(wrong)
            with pytest.raises(ConfigError):
                await client.release_handle(wrong)
        held.check()


@conforms
async def test_a_handle_that_was_made_up_from_what_a_poll_tells_does_nothing(face: Face, name: str) -> None:
    async with face.open() as one, face.open() as other:
        held = await one.acquire(name, ttl=9.0)
        made_up = format_handle(attrs.evolve(parse_handle(held.handle), secret=b"made up" + bytes(9)))
        for client in (one, other):
            with pytest.raises(NotAllowed, match="does not open the lease") as caught:
                await client.renew_handle(made_up)
            assert made_up[12:] not in str(caught.value)
            with pytest.raises(NotAllowed, match="does not open the lease"):
                await client.release_handle(made_up)
        held.check()
        assert (await other.poll(name)).term == held.term
        await other.release_handle(held.handle)
        assert await held.wait_lost() is LossReason.RELEASED


@conforms
async def test_a_detached_lease_lives_on_and_bars_its_client(face: Face, name: str) -> None:
    async with face.open() as one, face.open() as other:
        held = await one.acquire(name, ttl=20.0)
        held.detach()
        assert not held.valid
        with pytest.raises(ClosedError):
            held.check()
        with pytest.raises(ClosedError):
            await held.wait_lost()
        await held.release()
        assert (await other.poll(name)).term == held.term
        for wait in (None, 0):
            with pytest.raises(BusyError):
                await one.acquire(name, wait=wait)
            with pytest.raises(BusyError):
                async with one.campaign(name, wait=wait):
                    pytest.fail("it holds again")
        assert 0.0 < await one.renew_handle(held.handle) <= 20.0
        await other.release_handle(held.handle)
        async with other.lock(name, wait=10.0) as after:
            assert after.term > held.term


@conforms
async def test_detaching_ends_the_waits_of_the_same_client(face: Face, name: str) -> None:
    async with face.open() as one, face.open() as other, anyio.create_task_group() as group:
        held = await one.acquire(name)
        waiting = Call(group, lambda: one.acquire(name))
        await until_campaigning(one, 2)
        held.detach()
        with pytest.raises(BusyError):
            await waiting.result()
        await other.release_handle(held.handle)


@conforms
async def test_closing_waits_for_nothing_that_is_done(face: Face, name: str) -> None:
    took = []
    for _ in range(9):
        async with face.open() as client:
            held = await client.acquire(name)
            await held.release()
            began = time.monotonic()
        took.append(time.monotonic() - began)
    assert sorted(took)[4] < 0.1  # the one in the middle: a loaded machine may delay some


@conforms
async def test_a_lease_outlives_its_block_where_it_is_wanted_for_longer(face: Face, name: str) -> None:
    async with face.open() as one, face.open() as other:
        began = time.monotonic()  # before the grant, so that a thread which wakes late is no failure
        async with one.lock(name, ttl=1.0, at_least=2.0) as held:
            pass
        with pytest.raises(ClosedError):
            held.check()
        assert (await other.poll(name)).state is State.LED
        async with other.lock(name):
            assert time.monotonic() - began >= 1.95


@pytest.mark.slow
@conforms
async def test_a_client_that_is_closed_leaves_such_a_lease_behind(face: Face, name: str) -> None:
    async with face.open() as other:
        async with face.open() as one:
            held = await one.acquire(name, ttl=1.0, at_least=2.0)  # without a block, and still held
            began = time.monotonic()
        assert not held.valid
        assert (await other.poll(name)).state is State.LED
        async with other.lock(name):
            assert time.monotonic() - began >= 1.95


@conforms
async def test_lead_gives_its_result_while_such_a_lease_goes_on(face: Face, name: str) -> None:
    async def work(held: Lease) -> str:
        return held.name

    async with face.open() as one, face.open() as other:
        assert await one.lead(name, work, at_least=20.0) == name
        assert (await other.poll(name)).state is State.LED
