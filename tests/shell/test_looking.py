"""Watching, polling, listing (protocol.md section 6)."""

# A body that is cut off is several statements, and a block within a block is what is tested.
# ruff: noqa: SIM117

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import trio
from cells import NODE_IDS, HandClock, service_of, until_waiting
from trio.testing import MockClock, wait_all_tasks_blocked

from paxlock import Change, Changes, Standing, State, open_client
from paxlock.client import verbs
from paxlock.client.desk import Desk, Receiver
from paxlock.core.messages import NodeMode
from paxlock.testing import open_virtual_cell


async def take(changes: Changes, state: State) -> Change:
    """The next change in this state, in bounded time."""
    with trio.fail_after(30):
        while True:
            change = await changes.receive()
            if change.state is state:
                return change


async def test_the_first_change_is_the_present_state(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client("me") as client, cell.open_client() as other:
        async with other.watch("x") as changes:
            assert await changes.receive() == Change("x", State.FREE, 0, "", b"")
        async with client.lock("x", data=b"here") as held, other.watch("x") as changes:
            assert await changes.receive() == Change("x", State.LED, held.term, "me", b"here")


async def test_the_first_change_without_a_quorum_is_unknown(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        cell.partition("a", "b", "c")
        began = trio.current_time()
        async with client.watch("x") as changes:
            assert (await changes.receive()).state is State.UNKNOWN
            assert trio.current_time() - began < 2.0
            cell.heal("a", "b", "c")
            assert (await take(changes, State.FREE)).name == "x"


async def test_led_free_led_with_rising_terms(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client() as other:
        async with other.watch("x") as changes:
            assert (await changes.receive()).state is State.FREE
            terms = []
            for _ in range(5):
                async with client.lock("x") as held:
                    led = await changes.receive()
                    assert (led.state, led.term) == (State.LED, held.term)
                    terms.append(led.term)
                free = await changes.receive()
                assert (free.state, free.skipped) == (State.FREE, 0)
            assert terms == sorted(set(terms))


async def test_a_slow_reader_gets_the_last_state_and_how_many_it_skipped(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client() as other:
        async with other.watch("x") as changes:
            assert (await changes.receive()).state is State.FREE
            for _ in range(10):
                async with client.lock("x"):
                    await trio.sleep(0.1)
                await trio.sleep(0.1)
            async with client.lock("x", label="last") as held:
                await trio.sleep(0.5)
                change = await changes.receive()
                assert (change.state, change.term, change.label) == (State.LED, held.term, "last")
                assert change.skipped >= 10
                with pytest.raises(trio.WouldBlock):
                    changes.receive_nowait()


async def test_one_task_receives_at_a_time(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, client.watch("x") as changes:
        await changes.receive()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(changes.receive)
            await wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await changes.receive()
            nursery.cancel_scope.cancel()
        # Cancelled, it is not busy any more.
        async with client.lock("x"):
            assert (await take(changes, State.LED)).name == "x"


async def test_a_closed_watch_says_so(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        async with client.watch("x") as changes:
            await changes.receive()
            told: list[str] = []

            async def wait() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await changes.receive()
                told.append("closed")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await wait_all_tasks_blocked()
                changes.close()
            assert told == ["closed"]
        with pytest.raises(trio.ClosedResourceError):
            await changes.receive()
        with pytest.raises(trio.ClosedResourceError):
            changes.receive_nowait()
        assert client.statistics().session.watches == 0


async def test_closing_the_client_closes_its_watches_and_unsubscribes(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        async with cell.open_client() as client:
            changes = client.watch("x")
            await changes.__aenter__()
            await changes.receive()
        with pytest.raises(trio.ClosedResourceError):
            await changes.receive()
        await trio.sleep(0.1)
        for node_id in NODE_IDS:
            assert service_of(cell, node_id).replica.statistics().messages["unwatch"] >= 1


async def test_a_prefix_watches_names_that_come_later(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client() as other:
        async with client.lock("jobs/old"), other.watch("jobs/*") as changes:
            assert (await take(changes, State.LED)).name == "jobs/old"
            async with client.lock("jobs/new"), client.lock("elsewhere"):
                assert (await take(changes, State.LED)).name == "jobs/new"
            assert (await take(changes, State.FREE)).name == "jobs/new"
        with pytest.raises(trio.ClosedResourceError):
            await changes.receive()


async def test_watch_forever_calls_in_order_one_at_a_time(autojump_clock: MockClock) -> None:
    seen: list[tuple[State, int]] = []
    running = 0

    async def on_change(change: Change) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await trio.sleep(0.05)
        seen.append((change.state, change.term))
        running -= 1

    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client() as other:
        async with trio.open_nursery() as nursery:
            await nursery.start(other.watch_forever, "x", on_change)
            await trio.sleep(1.0)
            terms = []
            for _ in range(3):
                async with client.lock("x") as held:
                    terms.append(held.term)
                    await trio.sleep(1.0)
                await trio.sleep(1.0)
            nursery.cancel_scope.cancel()
    expected = [(State.FREE, 0)]
    for term in terms:
        expected += [(State.LED, term), (State.FREE, term)]
    assert seen == expected


async def test_an_error_of_the_callback_comes_out_of_watch_forever(autojump_clock: MockClock) -> None:
    async def on_change(change: Change) -> None:
        raise KeyError(change.name)

    async with open_virtual_cell() as cell, cell.open_client() as client:
        with pytest.raises(KeyError, match="x"):
            await client.watch_forever("x", on_change)
        assert client.statistics().session.watches == 0


async def test_one_node_cut_off_past_the_ttl_makes_no_change(autojump_clock: MockClock) -> None:
    """One node's timer is no fact of the cell (section 6)."""
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client() as other:
        async with client.lock("x", ttl=1.0), other.watch("x") as changes:
            assert (await take(changes, State.LED)).skipped == 0
            for node_id in ("a", "b", "c"):
                cell.partition(node_id)
                await trio.sleep(5.0)
                cell.heal(node_id)
                await trio.sleep(5.0)
            with pytest.raises(trio.WouldBlock):
                changes.receive_nowait()
            assert (await other.poll("x")).state is State.LED


async def test_a_holder_that_vanishes_is_seen_as_free_after_its_ttl(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client() as other:
        async with other.watch("x") as changes:
            (await client.acquire("x", ttl=2.0)).detach()
            led = await take(changes, State.LED)
            began = trio.current_time()
            free = await changes.receive()
            assert (free.state, free.term) == (State.FREE, led.term)
            assert 1.5 < trio.current_time() - began < 2.5


async def test_poll_tells_all_there_is(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client("me") as client, cell.open_client() as other:
        free = await other.poll("x")
        assert free.nodes_up >= 2  # it asks no longer than it must
        assert free == Standing("x", State.FREE, nodes_up=free.nodes_up, nodes_total=3)
        async with client.lock("x", ttl=5.0, data=b"here") as held:
            standing = await other.poll("x")
            assert (standing.state, standing.term, standing.label) == (State.LED, held.term, "me")
            assert (standing.data, standing.ttl, standing.waiters) == (b"here", 5.0, ())
            assert 4.5 < standing.remaining <= 5.0


async def test_poll_without_a_quorum_is_unknown_after_a_second(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        cell.partition("a", "b")
        began = trio.current_time()
        standing = await client.poll("x")
        assert (standing.state, standing.nodes_up, standing.nodes_total) == (State.UNKNOWN, 1, 3)
        assert trio.current_time() - began == pytest.approx(1.0, abs=0.1)


async def test_inspect_tells_who_waits_in_order(autojump_clock: MockClock) -> None:
    async with (
        open_virtual_cell() as cell,
        cell.open_client("holder") as one,
        cell.open_client("first") as two,
        cell.open_client("second") as three,
        one.lock("x"),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(two.acquire, "x")
        await trio.sleep(2.0)
        nursery.start_soon(three.acquire, "x")
        await until_waiting(one, "x", 2)
        standing = await one.inspect("x")
        assert [waiter.label for waiter in standing.waiters] == ["first", "second"]
        assert standing.waiters[0].waiting > 2.0 > standing.waiters[1].waiting
        assert (standing.nodes_up, standing.nodes_total) == (3, 3)
        nursery.cancel_scope.cancel()


async def test_list_gives_names_in_use_in_order(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        assert await client.list() == []
        names = [f"jobs/{number:03}" for number in range(200)]  # more than one datagram of names
        for name in names:
            await client.acquire(name)
        async with client.lock("other"):
            assert [standing.name for standing in await client.list("jobs/")] == names
            found = await client.list()
            assert [standing.name for standing in found] == [*names, "other"]
            assert {standing.state for standing in found} == {State.LED}


async def test_a_list_of_very_many_names_asks_for_a_few_at_a_time(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "POLLS_AHEAD", 8)
    monkeypatch.setattr(verbs, "POLLS_A_STEP", 4)
    most = 0
    poll_all = Desk.poll_all

    def counted(desk: Desk, names: Sequence[str], receivers: Sequence[Receiver]) -> list[int]:
        nonlocal most
        tickets = poll_all(desk, names, receivers)
        most = max(most, len(desk._receivers))
        return tickets

    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client() as other:
        names = [f"jobs/{number:03}" for number in range(100)]
        for name in names:
            await client.acquire(name)
        monkeypatch.setattr(Desk, "poll_all", counted)
        assert [standing.name for standing in await other.list("jobs/")] == names
        assert most == 8
        with trio.CancelScope() as scope:
            scope.cancel()
            await other.list("jobs/")
        assert not other._desk._receivers, "nothing goes on that nobody waits for"


async def test_survey_tells_of_every_node(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        assert [(node.node_id, node.mode) for node in await client.survey()] == [
            (node_id, NodeMode.SERVING) for node_id in ("a", "b", "c")
        ]
        lives = [(node.incarnation, node.outlived) for node in await client.survey()]
        assert lives == [(1, False)] * 3
        await cell.stop_node("c")
        await cell.start_node("c")
        await cell.wait_serving()
        assert [node.incarnation for node in await client.survey()] == [1, 1, 2]
        cell.partition("b")
        assert [(node.node_id, node.mode) for node in await client.survey()] == [
            ("a", NodeMode.SERVING),
            ("b", None),
            ("c", NodeMode.SERVING),
        ]


async def test_statistics_are_frozen_copies(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        before = client.statistics()
        async with client.lock("x"):
            during = client.statistics()
        assert before.session.leases == 0
        assert during.session.leases == 1
        assert during.transport["sent"] > before.transport["sent"]
        assert during.endpoint["passed"] > before.endpoint.get("passed", 0)
        for mapping in (during.session.messages, during.endpoint, during.transport):
            with pytest.raises(TypeError):
                mapping["sent"] = 0  # type: ignore[index]
        with pytest.raises(AttributeError):
            during.session.leases = 0  # type: ignore[misc]


async def test_a_watch_goes_on_after_the_machine_slept(autojump_clock: MockClock) -> None:
    clock = HandClock()
    async with (
        open_virtual_cell() as cell,
        cell.open_client() as client,
        open_client(cell.cell, clock=clock) as sleeper,
    ):
        async with sleeper.watch("x") as changes:
            assert (await changes.receive()).state is State.FREE
            clock.offset += 1000.0
            async with client.lock("x"):
                assert math.isfinite((await take(changes, State.LED)).term)
