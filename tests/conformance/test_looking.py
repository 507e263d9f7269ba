"""Watches and questions."""

# A block within a block is what is tested.
# ruff: noqa: SIM117

from __future__ import annotations

from typing import Any

import anyio
import pytest

from paxlock import BusyError, Change, ClosedError, ConfigError, NodeMode, State, Statistics
from paxlock.core.journal import Happening
from tests.blocking.cells import ThreadCell
from tests.conformance.faces import PATIENCE_S, Call, Changes, Face, conforms


async def until(changes: Changes, name: str, state: State) -> Change:
    """The next change to this state: a watch may tell of others before."""
    while True:
        change = await changes.receive()
        if (change.name, change.state) == (name, state):
            return change


@conforms
async def test_a_watch_begins_with_the_present_state(face: Face, name: str) -> None:
    async with face.open(label="leader") as one, face.open() as other:
        async with other.watch(name) as changes:
            first = await changes.receive()
            assert (first.name, first.state, first.skipped) == (name, State.FREE, 0)
            async with one.campaign(name, data=b"here") as held:
                led = await until(changes, name, State.LED)
                assert led == Change(name, State.LED, held.term, "leader", b"here", led.skipped)
                async with other.watch(name) as later:
                    assert await later.receive() == Change(name, State.LED, held.term, "leader", b"here")
            await until(changes, name, State.FREE)


@conforms
async def test_a_watch_of_a_prefix(face: Face, name: str) -> None:
    async with face.open() as one, face.open() as other:
        async with one.lock(name + "/a") as first, other.watch(name + "/*") as changes:
            assert (await until(changes, first.name, State.LED)).term == first.term
            async with one.lock(name + "/b") as second, one.lock(name + "elsewhere"):
                assert (await changes.receive()).name == second.name
            await until(changes, second.name, State.FREE)


@conforms
async def test_a_slow_consumer_arrives_at_the_last_state(face: Face, name: str) -> None:
    async with face.open() as one, face.open() as other, other.watch(name) as changes:
        for _ in range(4):
            held = await one.acquire(name)
            await held.release()
        last = await one.acquire(name)
        seen: list[Change] = []
        while not seen or seen[-1].term != last.term:
            seen.append(await changes.receive())
        assert seen[-1].state is State.LED
        assert [change.term for change in seen] == sorted(change.term for change in seen)
        await last.release()


@conforms
async def test_a_watch_is_used_within_its_block_and_entered_once(face: Face, name: str) -> None:
    """Without the block it would wait for ever: nobody has asked for anything."""
    async with face.open() as client:
        watch: Any = client.watch(name)
        with anyio.fail_after(PATIENCE_S), pytest.raises(RuntimeError, match=r"used within a block: .*with"):
            await watch.receive()
        async with watch as changes:
            assert (await changes.receive()).state is State.FREE
            with pytest.raises(RuntimeError, match="entered once: call watch"):
                await watch.__aenter__()


@conforms
async def test_a_watch_ends_with_its_block(face: Face, name: str) -> None:
    async with face.open() as client:
        async with client.watch(name) as changes:
            await changes.receive()
        with pytest.raises(ClosedError):
            await changes.receive()
        changes.close()


@conforms
async def test_a_watch_ends_with_its_client(face: Face, name: str) -> None:
    async with anyio.create_task_group() as group:
        async with face.open() as client:
            watch = client.watch(name)
            changes = await watch.__aenter__()
            await changes.receive()
            waiting = Call(group, changes.receive)
        with pytest.raises(ClosedError):
            await waiting.result()
        with pytest.raises(ClosedError):
            await changes.receive()
        await watch.__aexit__(None, None, None)


@conforms
async def test_one_at_a_time_receives_from_a_watch(face: Face, name: str) -> None:
    async with face.open() as client, client.watch(name) as changes, anyio.create_task_group() as group:
        await changes.receive()
        raised: list[type[Exception]] = []

        async def receive() -> None:
            try:
                await changes.receive()
            except (BusyError, ClosedError) as error:
                raised.append(BusyError if isinstance(error, BusyError) else ClosedError)
            changes.close()  # the one that is busy lets the other go

        calls = [Call(group, receive), Call(group, receive)]
        for call in calls:
            await call.result()
    assert raised == [BusyError, ClosedError]


@conforms
async def test_watch_forever_calls_for_each_change_until_it_raises(face: Face, name: str) -> None:
    seen: list[State] = []

    async def told(change: Change) -> None:
        if change.state not in seen[-1:]:
            seen.append(change.state)
        if seen == [State.FREE]:
            first_seen.set()
        if seen == [State.FREE, State.LED, State.FREE]:
            raise KeyError("enough")
        if change.state is State.LED:
            led.set()

    first_seen, led = anyio.Event(), anyio.Event()
    async with face.open() as client, face.open() as other, anyio.create_task_group() as group:
        watching = Call(group, lambda: other.watch_forever(name, told))
        await first_seen.wait()
        async with client.lock(name):
            await led.wait()
        with pytest.raises(KeyError, match="enough"):
            await watching.result()


@conforms
async def test_watch_forever_ends_with_its_client(face: Face, name: str) -> None:
    async def told(change: Change) -> None:
        begun.set()

    begun = anyio.Event()
    async with anyio.create_task_group() as group:
        async with face.open() as client:
            watching = Call(group, lambda: client.watch_forever(name, told))
            await begun.wait()
        with pytest.raises(ClosedError):
            await watching.result()


# Questions


@conforms
async def test_poll_and_inspect_agree(face: Face, name: str) -> None:
    async with face.open(label="leader") as client:
        for state in (State.FREE, State.LED):
            if state is State.LED:
                held = await client.acquire(name, data=b"D")
            polled, inspected = await client.poll(name), await client.inspect(name)
            assert polled.state is inspected.state is state
            assert (polled.name, polled.label, polled.data) == (name, inspected.label, inspected.data)
            assert polled.term == inspected.term
            assert (inspected.nodes_up, inspected.nodes_total) == (3, 3)
            assert inspected.waiters == ()
        await held.release()


@conforms
async def test_list_gives_the_names_in_use_in_order(face: Face, name: str) -> None:
    async with face.open() as one, face.open() as other:
        async with one.lock(name + "/b", data=b"B"), one.lock(name + "/a"), one.lock(name + "/c"):
            found = await other.list(name + "/")
            assert [standing.name for standing in found] == [name + "/a", name + "/b", name + "/c"]
            assert {standing.state for standing in found} == {State.LED}
            assert found[1].data == b"B"
            assert {standing.name for standing in found} <= {one.name for one in await other.list()}
        assert await other.list(name + "/none") == []


@conforms
async def test_every_node_remembers_what_happened_to_a_name(face: Face, name: str) -> None:
    async with face.open(label="who") as client:
        async with client.lock(name) as held:
            term = held.term
        journals = await client.journal(name)
    assert [journal.answered for journal in journals] == [True] * 3
    told = [[(e.what, e.label) for e in journal.entries] for journal in journals]
    done = [(Happening.ACCEPTED, "who"), (Happening.RELEASED, "who")]
    assert sum(entries[-2:] == done for entries in told) >= 2
    assert max(e.term for journal in journals for e in journal.entries) == term


@conforms
async def test_survey_asks_every_node(face: Face) -> None:
    async with face.open() as client:
        nodes = await client.survey()
    assert {node.mode for node in nodes} == {NodeMode.SERVING}
    assert len(nodes) == 3


@conforms
async def test_every_node_answers_a_ping_and_tells_its_counters(face: Face) -> None:
    async with face.open() as client:
        first, second = await client.ping(), await client.ping(["a"])
        told = await client.counters()
        with pytest.raises(ConfigError, match="no node 'x'"):
            await client.ping(["a", "x"])
    assert all(ping.round_trip is not None for ping in (*first, *second))
    assert [ping.node_id for ping in second] == ["a"]
    assert 0 < first[0].up <= second[0].up
    assert first[0].asked < second[0].asked
    assert [node.answered for node in told] == [True] * 3
    assert all(node.counters["serving"] == 1 and node.counters["messages.ping"] for node in told)
    peers = {name for name in told[0].counters if name.startswith("peer_probes.")}
    # The nodes of a dev cell ask no other how it is.
    assert peers == (
        {"peer_probes.b", "peer_probes.c"} if "cell_serving_nodes" in told[0].counters else set()
    )


@conforms
async def test_questions_to_a_silent_cell(face: Face, mortal: ThreadCell) -> None:
    async with face.open(mortal.cell) as client:
        await anyio.to_thread.run_sync(mortal.silence)
        async with anyio.create_task_group() as group:
            polled, inspected = (
                Call(group, lambda: client.poll("x")),
                Call(group, lambda: client.inspect("x")),
            )
            surveyed = Call(group, client.survey)
            pinged, counted = Call(group, client.ping), Call(group, client.counters)
            assert (await polled.result()).state is State.UNKNOWN
            assert (await inspected.result()).nodes_up == 0
            assert {node.mode for node in await surveyed.result()} == {None}
            assert {node.round_trip for node in await pinged.result()} == {None}
            assert {node.answered for node in await counted.result()} == {False}


@conforms
async def test_statistics_have_three_parts(face: Face, name: str) -> None:
    async with face.open() as client, client.lock(name):
        counters = client.statistics()
        assert isinstance(counters, Statistics)
        assert counters.session.leases == 1
        for part in (counters.session.messages, counters.endpoint, counters.transport):
            assert all(isinstance(count, int) for count in part.values())
            with pytest.raises(TypeError):
                part["leases"] = 0  # type: ignore[index]
