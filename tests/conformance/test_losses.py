"""What a program is told of a loss, and when."""

# A body that is cut off is several statements, and a block within a block is what is tested.
# ruff: noqa: PT012, SIM117

from __future__ import annotations

from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from paxlock import ClosedError, LeaseLost, LossReason
from paxlock.host.clock import BootClock
from tests.blocking.cells import ThreadCell
from tests.conformance.faces import Call, Client, Face, Lease, conforms

pytestmark = pytest.mark.slow

LATE_S = 10.0  #: how late a loaded machine may tell of a loss


async def silence(cell: ThreadCell) -> float:
    """Stop all nodes of a cell; gives when."""
    await anyio.to_thread.run_sync(cell.silence)
    return BootClock().now()


async def lose(client: Client, held: Lease) -> None:
    """Have a lease end by its handle. Within its block the body may be cancelled at any moment of this."""
    await client.release_handle(held.handle)
    await held.wait_lost()


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came out of."""
    while error is not None:
        yield error
        error = error.__context__


@conforms
async def test_a_silent_cell_is_a_loss_by_the_holders_own_clock(face: Face, mortal: ThreadCell) -> None:
    async with face.open(mortal.cell) as client:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock("x", ttl=1.0) as held:
                silent = await silence(mortal)
                await held.wait_lost()
        told = BootClock().now()
        assert (caught.value.name, caught.value.term) == ("x", held.term)
        assert caught.value.reason is LossReason.EXPIRED
        # What the nodes keep ends a ttl after the last renewal: the holder has stopped before that.
        assert held.deadline < silent + held.ttl
        assert held.deadline - 0.1 < told < held.deadline + LATE_S
        assert not held.valid
        with pytest.raises(LeaseLost):
            held.check()


@conforms
async def test_a_lease_without_a_block_tells_of_its_loss(face: Face, mortal: ThreadCell) -> None:
    async with face.open(mortal.cell) as client:
        held = await client.acquire("x", ttl=1.0)
        await silence(mortal)
        for _ in range(2):
            assert await held.wait_lost() is LossReason.EXPIRED
        assert held.remaining() == 0.0
        await held.release()
        for _ in range(2):
            with pytest.raises(LeaseLost) as caught:
                held.check()
            assert caught.value.reason is LossReason.EXPIRED


@conforms
async def test_a_body_that_ends_in_time_is_no_loss(face: Face, mortal: ThreadCell) -> None:
    async with face.open(mortal.cell) as client, client.lock("x", ttl=30.0) as held:
        await silence(mortal)
        held.check()


@conforms
async def test_a_body_that_passes_the_deadline_unseen_is_told_at_its_end(
    face: Face, mortal: ThreadCell
) -> None:
    async with face.open(mortal.cell) as client:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock("x", ttl=1.0) as held:
                mortal.silence()
                while held.valid:
                    pass
        assert caught.value.reason is LossReason.EXPIRED


@conforms
async def test_an_error_after_a_loss_has_it_in_its_context(face: Face, name: str) -> None:
    async with face.open() as client, face.open() as other:
        with pytest.raises(KeyError) as caught:
            async with client.lock(name, ttl=9.0) as held:
                try:
                    await lose(other, held)
                finally:
                    raise KeyError("mine")
        losses = [error for error in chain(caught.value) if isinstance(error, LeaseLost)]
        assert [(lost.name, lost.term, lost.reason) for lost in losses] == [
            (name, held.term, LossReason.RELEASED)
        ]


@conforms
async def test_a_loss_that_the_body_tells_of_comes_out_once(face: Face, name: str) -> None:
    async with face.open() as client:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock(name, ttl=9.0) as held:
                try:
                    await lose(client, held)
                finally:
                    held.check()
        assert (caught.value.term, caught.value.reason) == (held.term, LossReason.RELEASED)
        assert [error for error in chain(caught.value) if isinstance(error, LeaseLost)] == [caught.value]


@conforms
async def test_a_loss_ends_the_inner_of_two_blocks_only(face: Face, name: str) -> None:
    async with face.open() as client, client.lock(name + " outer") as outer:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock(name + " inner", ttl=9.0) as inner:
                await lose(client, inner)
        assert caught.value.name == inner.name
        await client.poll(name)
        outer.check()


@conforms
async def test_the_loss_of_the_outer_block_comes_out_of_both(face: Face, name: str) -> None:
    async with face.open() as client:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock(name + " outer", ttl=9.0) as outer:
                async with client.lock(name + " inner") as inner:
                    await lose(client, outer)
        assert caught.value.name == outer.name
        assert not inner.valid
        async with client.lock(inner.name, wait=10.0):
            pass


@conforms
async def test_closing_the_client_within_a_block_is_a_loss(face: Face, name: str) -> None:
    async def work() -> None:
        async with client.lock(name) as held:
            begun.set()
            await held.wait_lost()

    begun = anyio.Event()
    async with anyio.create_task_group() as group:
        async with face.open() as client:
            working = Call(group, work)
            await begun.wait()
        with pytest.raises(LeaseLost) as caught:
            await working.result()
    assert (caught.value.name, caught.value.reason) == (name, LossReason.CLOSED)


# lead


@conforms
async def test_lead_gives_what_its_function_returns(face: Face, name: str) -> None:
    async def work(held: Lease, *args: object) -> tuple[object, ...]:
        held.check()
        return (held.name, *args)

    async with face.open() as client:
        assert await client.lead(name, work, 7, None) == (name, 7, None)
        assert not (await client.poll(name)).term


@conforms
async def test_lead_lets_errors_of_its_function_out(face: Face, name: str) -> None:
    async def work(held: Lease) -> None:
        raise ZeroDivisionError(held.name)

    async with face.open() as client:
        with pytest.raises(ZeroDivisionError) as caught:
            await client.lead(name, work)
        assert caught.value.__context__ is None
        async with client.lock(name, wait=10.0):
            pass


@conforms
async def test_lead_campaigns_again_after_a_loss(face: Face, name: str) -> None:
    terms: list[int] = []

    async def work(held: Lease) -> str:
        terms.append(held.term)
        standing = await other.poll(name)
        assert (standing.label, standing.data, standing.ttl) == ("L", b"D", 9.0)
        if len(terms) == 1:
            await lose(other, held)
        elif len(terms) == 2:
            try:
                await lose(other, held)
            finally:
                held.check()  # says the same
        return f"run {len(terms)}"

    async with face.open() as client, face.open() as other:
        assert await client.lead(name, work, ttl=9.0, label="L", data=b"D") == "run 3"
    assert terms == sorted(set(terms))


@conforms
async def test_lead_lets_an_error_after_a_loss_out(face: Face, name: str) -> None:
    async def work(held: Lease) -> None:
        try:
            await lose(other, held)
        finally:
            raise KeyError("mine")

    async with face.open() as client, face.open() as other:
        with pytest.raises(KeyError) as caught:
            await client.lead(name, work, ttl=9.0)
        assert any(isinstance(error, LeaseLost) for error in chain(caught.value))


@conforms
async def test_lead_takes_no_other_loss_for_its_own(face: Face, name: str) -> None:
    async with face.open() as client:
        other = await client.acquire(name + " other", ttl=9.0)
        await lose(client, other)

        async def work(held: Lease) -> None:
            other.check()

        with pytest.raises(LeaseLost) as caught:
            await client.lead(name, work)
        assert caught.value.name == other.name


@conforms
async def test_lead_ends_with_its_client(face: Face, name: str) -> None:
    async def work(held: Lease) -> None:
        begun.set()
        await held.wait_lost()

    begun = anyio.Event()
    async with anyio.create_task_group() as group:
        async with face.open() as client:
            leading = Call(group, lambda: client.lead(name, work))
            await begun.wait()
        with pytest.raises(ClosedError):
            await leading.result()
