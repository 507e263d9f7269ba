"""Tenures that others end or hand over, and data that change within a tenure, in every face."""

# What cancels a body may be any of several statements in it.

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.to_thread
import pytest

from paxlock import ClosedError, ConfigError, LeaseLost, LossReason, NotAcquired, Reason, State
from paxlock.host.clock import BootClock
from tests.blocking.cells import ThreadCell
from tests.conformance.faces import Call, Client, Face, Lease, conforms


async def until_waiting(client: Client, name: str, *labels: str) -> None:
    """Until these, and nobody else, stand in line."""
    while sorted(w.label for w in (await client.inspect(name)).waiters) != sorted(labels):
        pass  # each look takes a round trip


# Revoking


@conforms
async def test_a_holder_that_is_asked_lets_go_and_the_next_one_has_the_name(face: Face, name: str) -> None:
    async def work() -> None:
        async with client.lock(name, ttl=30.0) as held:
            terms.append(held.term)
            begun.set()
            await held.wait_lost()
            assert not held.valid
            await anyio.sleep(3600.0)  # a body that is cancelled; of threads, one that looks

    async def work_in_a_thread() -> None:
        async with client.lock(name, ttl=30.0) as held:
            terms.append(held.term)
            begun.set()
            assert await held.wait_lost() is LossReason.REVOKED
            assert not held.valid

    terms: list[int] = []
    begun = anyio.Event()
    async with face.open() as client, face.open() as other, anyio.create_task_group() as group:
        working = Call(group, work_in_a_thread if face.kind == "blocking" else work)
        await begun.wait()
        next_one = Call(group, lambda: other.acquire(name, label="next"))
        await until_waiting(other, name, "next")
        assert await other.revoke(name, terms[0]) == 0.0
        with pytest.raises(LeaseLost) as caught:
            await working.result()
        assert (caught.value.reason, caught.value.term) == (LossReason.REVOKED, terms[0])
        held: Lease = await next_one.result()
        assert held.term > terms[0]
        assert await other.revoke(name, terms[0]) == 0.0  # over already
        held.check()
        await held.release()


@pytest.mark.slow
@conforms
async def test_a_holder_that_does_not_let_go_keeps_the_name(face: Face, name: str) -> None:
    async with face.open() as client, face.open() as other:
        held = await client.acquire(name, ttl=30.0, label="busy")
        with pytest.raises(NotAcquired) as caught:
            await other.revoke(name, held.term, wait=0.5)
        assert (caught.value.reason, caught.value.holder) == (Reason.HELD, "busy")
        assert str(caught.value) == (
            f"{name!r} was not revoked: held by 'busy' (its holder was asked, and has not let go)"
        )
        assert await held.wait_lost() is LossReason.REVOKED
        with pytest.raises(LeaseLost):
            held.check()
        standing = await other.poll(name)
        assert (standing.state, standing.term) == (State.LED, held.term)
        await held.release()
        async with other.lock(name, wait=10.0):
            pass


@pytest.mark.slow
@conforms
async def test_a_holder_that_takes_its_time_to_let_go_keeps_others_out(face: Face, name: str) -> None:
    async with face.open() as client, face.open() as other, anyio.create_task_group() as group:
        held = await client.acquire(name, ttl=1.0)
        known = held.deadline
        asked = Call(group, lambda: other.revoke(name, held.term))
        await held.wait_lost()
        while BootClock().now() < known + 1.5 * held.ttl:  # it has something left to do
            assert (await other.poll(name)).term == held.term
        assert held.deadline - known < held.ttl  # the program's own deadline stands
        with pytest.raises(NotAcquired):
            await other.acquire(name, wait=0.0)
        await held.release()
        assert await asked.result() == 0.0


@pytest.mark.slow
@conforms
async def test_a_holder_that_is_ended_by_force_keeps_others_out_until_its_deadline(
    face: Face, name: str
) -> None:
    async with face.open() as client, face.open() as other:
        held = await client.acquire(name, ttl=2.0)
        left = await other.revoke(name, held.term, force=True)
        assert 0.0 < left <= 2.0
        assert await held.wait_lost() is LossReason.REVOKED
        with pytest.raises(NotAcquired):
            await other.acquire(name, wait=0.0)
        # Its program does not let go: it is over at its deadline, and never before that.
        async with other.lock(name, wait=30.0) as later:
            assert later.term > held.term
            assert BootClock().now() >= held.deadline
        with pytest.raises(LeaseLost) as caught:
            held.check()
        assert caught.value.reason is LossReason.REVOKED


@conforms
async def test_what_was_detached_cannot_be_renewed_once_it_was_ended_by_force(face: Face, name: str) -> None:
    async with face.open() as client, face.open() as other:
        held = await client.acquire(name, ttl=20.0)
        handle, term = held.handle, held.term
        held.detach()
        assert await other.revoke(name, term, force=True) > 0.0
        with pytest.raises(LeaseLost):
            await other.renew_handle(handle)
        await other.release_handle(handle)  # nobody works under it: that is for who has the handle to know
        async with other.lock(name, wait=10.0):
            pass


@conforms
async def test_a_lease_that_is_wanted_for_longer_is_given_back_where_it_is_revoked(
    face: Face, name: str
) -> None:
    async with face.open() as client, face.open() as other:
        held = await client.acquire(name, at_least=25.0)
        await held.release()
        assert (await other.poll(name)).term == held.term
        assert await other.revoke(name, held.term) == 0.0
        async with other.lock(name, wait=10.0):
            pass


@conforms
async def test_another_term_is_not_revoked(face: Face, name: str) -> None:
    async with face.open() as client:
        assert await client.revoke(name, 7) == 0.0  # nobody has it
        await (await client.acquire(name)).release()  # so that there is a term before the next
        async with client.lock(name, label="me") as held:
            with pytest.raises(ConfigError, match=f"is led in term {held.term}, by 'me', and not in term"):
                await client.revoke(name, held.term + 1)
            assert await client.revoke(name, held.term - 1, force=True) == 0.0
            held.check()
        with pytest.raises(ConfigError):
            await client.revoke("", 1)


@conforms
async def test_what_is_no_term_is_refused(face: Face, name: str) -> None:
    bad: tuple[Any, ...] = (1.5, "1", None, b"1")
    async with face.open() as client, client.lock(name) as held:
        for term in bad:
            with pytest.raises(TypeError, match="a term is a whole number"):
                await client.revoke(name, term)
        for number in (0, -1, 2**62):
            with pytest.raises(ConfigError, match="a term is a number from 1 on"):
                await client.revoke(name, number)
        held.check()


@conforms
async def test_what_was_not_done_without_a_quorum_is_named(face: Face, mortal: ThreadCell) -> None:
    async with face.open(mortal.cell) as client, face.open(mortal.cell) as other:
        held = await client.acquire("x", ttl=30.0)
        handle = held.handle
        await anyio.to_thread.run_sync(mortal.silence)
        tried: dict[str, Callable[[], Awaitable[object]]] = {
            "revoked": lambda: other.revoke("x", held.term, wait=0.1),
            "handed over": lambda: other.transfer("x", to="y", wait=0.1),
            "renewed": lambda: other.renew_handle(handle, wait=0.1),
            "released": lambda: other.release_handle(handle, wait=0.1),
        }
        async with anyio.create_task_group() as group:
            calls = {what: Call(group, call) for what, call in tried.items()}
            for what, call in calls.items():
                with pytest.raises(NotAcquired, match=f"'x' was not {what}: no quorum") as caught:
                    await call.result()
                assert caught.value.what == what


@conforms
async def test_lead_goes_on_after_a_revocation_in_a_later_term(face: Face, name: str) -> None:
    terms: list[int] = []
    begun = anyio.Event()

    async def work(held: Lease) -> str:
        terms.append(held.term)
        begun.set()
        if len(terms) == 1:
            await held.wait_lost()
        return "done"

    async with face.open() as client, face.open() as other, anyio.create_task_group() as group:
        leading = Call(group, lambda: client.lead(name, work))
        await begun.wait()
        assert await other.revoke(name, terms[0]) == 0.0
        assert await leading.result() == "done"
    assert len(terms) == 2 and terms[0] < terms[1]


# A hand-over


@conforms
async def test_a_hand_over_goes_to_who_was_named_before_those_who_wait_for_longer(
    face: Face, name: str
) -> None:
    async def work(client: Client, label: str) -> int:
        held = await client.acquire(name, ttl=30.0, label=label)
        begun[label].set()
        await held.wait_lost()
        await held.release()
        return held.term

    begun = {label: anyio.Event() for label in ("one", "two", "three")}
    async with (
        face.open() as client,
        face.open() as other,
        face.open() as third,
        face.open() as operator,
        anyio.create_task_group() as group,
    ):
        one = Call(group, lambda: work(client, "one"))
        await begun["one"].wait()
        two = Call(group, lambda: work(other, "two"))
        await until_waiting(operator, name, "two")
        three = Call(group, lambda: work(third, "three"))
        await until_waiting(operator, name, "two", "three")
        term = await operator.transfer(name, to="three")
        standing = await operator.poll(name)
        assert (standing.label, standing.term) == ("three", term)
        await operator.revoke(name, term)
        await begun["two"].wait()
        await operator.revoke(name, (await operator.poll(name)).term)
        assert await one.result() < await three.result() == term < await two.result()


@conforms
async def test_a_hand_over_wants_somebody_who_waits(face: Face, name: str) -> None:
    async with face.open() as client:
        with pytest.raises(ConfigError, match="there is nothing to hand over"):
            await client.transfer(name, to="x")
        async with client.lock(name) as held:
            with pytest.raises(ConfigError, match=r"label 'x' waits for .*: in line is nobody"):
                await client.transfer(name, to="x")
            held.check()


# Other data


@conforms
async def test_other_data_are_shown_with_the_same_term(face: Face, name: str) -> None:
    async with face.open() as client, face.open() as other, other.watch(name) as changes:
        async with client.lock(name, data=b"first") as held:
            while (change := await changes.receive()).state is not State.LED:
                pass
            assert (change.term, change.data) == (held.term, b"first")
            for data in (b"second", b"", bytes(512)):
                await held.publish(data)
                standing = await other.poll(name)
                assert (standing.state, standing.term, standing.data) == (State.LED, held.term, data)
                while (change := await changes.receive()).data != data:
                    assert change.term == held.term
                assert (change.state, change.term) == (State.LED, held.term)
            with pytest.raises(ConfigError, match="512"):
                await held.publish(bytes(513))
            held.check()
        while (change := await changes.receive()).state is not State.FREE:
            assert change.term == held.term
        with pytest.raises(ClosedError):
            await held.publish(b"late")
        async with client.lock(name, data=b"next") as held:
            standing = await other.poll(name)
            assert (standing.term, standing.data) == (held.term, b"next")


@conforms
async def test_of_data_published_at_one_moment_the_last_stay(face: Face, name: str) -> None:
    async with face.open() as client, face.open() as other, client.lock(name) as held:
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(held.publish, b"%d" % number)
        await held.publish(b"last")
        assert (await other.poll(name)).data == b"last"


@conforms
async def test_nothing_is_published_once_the_lease_was_revoked(face: Face, name: str) -> None:
    async with face.open() as client, face.open() as other:
        held = await client.acquire(name, ttl=30.0)
        await other.revoke(name, held.term, force=True)
        await held.wait_lost()
        with pytest.raises(LeaseLost):
            await held.publish(b"x")
        await held.release()
