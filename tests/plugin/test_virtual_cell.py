"""The virtual cell: every verb, and what the program under test sees of it."""

# A block within a block is what is tested, and so are bodies that are cut off.
# ruff: noqa: SIM117, PT012

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from paxlock import (
    Client,
    ConfigError,
    HeldLease,
    InternalError,
    LeaseLost,
    LossReason,
    NodeConfig,
    NodeMode,
    NotAcquired,
    Reason,
    State,
    open_client,
    open_node,
    serve_node,
)
from paxlock.testing import Holder, TimeLimitReached, VirtualCell, open_virtual_cell, run_virtual

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def hold(cell: VirtualCell, name: str, label: str) -> None:
    """A program: it leads until it is told otherwise."""

    async def work(held: HeldLease) -> None:
        await trio.sleep_forever()

    async with open_client(cell.cell, label=label) as client:
        await client.lead(name, work, ttl=10.0)


# Opening


async def test_code_that_opens_its_own_client_gets_there(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_virtual_cell() as cell:
        cell.cell.save(tmp_path / "cell.toml")
        seeds = [cell.cell.address_of("b")]
        for where, key in ((cell.cell, None), (tmp_path / "cell.toml", None), (seeds, cell.cell.keys[0][1])):
            async with open_client(where, key=key, label="mine") as client:
                async with client.lock("x") as held:
                    assert cell.holder("x") == Holder("x", held.term, "mine", held)
        assert cell.holder("x") is None
        assert cell.terms("x") == [1, 2, 3]


async def test_outside_of_the_block_the_environment_is_the_real_one(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as first, open_virtual_cell(nodes=1) as second:
        async with first.open_client("one") as one, second.open_client("two") as two:
            await one.acquire("x")
            await two.acquire("x")
        assert (first.terms("x"), second.terms("x")) == ([1], [1])
        gone = first.cell
    async with open_client(gone) as client:
        assert "EPERM" not in client.statistics().transport
        assert type(client) is Client


@pytest.mark.parametrize("nodes", [1, 5, 7])
async def test_cells_of_every_size(autojump_clock: MockClock, nodes: int) -> None:
    async with open_virtual_cell(nodes, max_ttl=5.0) as cell, cell.open_client() as client:
        assert [standing.mode for standing in await client.survey()] == [NodeMode.SERVING] * nodes
        assert cell.cell.max_ttl == 5.0


async def test_settings_that_cannot_be(autojump_clock: MockClock) -> None:
    for settings, sentence in (
        ({"nodes": 4}, "1, 3, 5 or 7 nodes"),
        ({"max_ttl": 0.0}, "max_ttl must be"),
        ({"latency": -1.0}, "latency is a number"),
        ({"latency": (2.0, 1.0)}, "latency is a number"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            async with open_virtual_cell(**settings):
                pytest.fail("opened")


def test_a_clock_that_does_not_fit_is_refused_with_a_sentence() -> None:
    async def main() -> None:
        async with open_virtual_cell():
            pytest.fail("opened")

    with pytest.raises(RuntimeError, match=r"run_virtual.*paxlock_cell"):
        trio.run(main)
    with pytest.raises(RuntimeError, match="autojump_clock"):
        trio.run(main, clock=MockClock())


def test_run_virtual_gives_the_value_and_raises_the_error_bare() -> None:
    async def add(cell: VirtualCell, one: int, two: int) -> int:
        assert len(cell.cell.node_ids) == 5
        await trio.sleep(50.0)
        return one + two

    async def fail(cell: VirtualCell) -> None:
        async with cell.open_client() as client, client.lock("x"):
            raise KeyError("mine")

    assert run_virtual(add, 1, 2, nodes=5) == 3
    with pytest.raises(KeyError):
        run_virtual(fail)


def test_a_test_that_would_never_end_is_ended() -> None:
    async def wait(cell: VirtualCell) -> None:
        async with cell.open_client() as client, client.lock("x") as held:
            await held.wait_lost()

    with pytest.raises(TimeLimitReached, match="60 s of virtual time"):
        run_virtual(wait, time_limit=60.0)


def test_without_a_limit_of_its_own_it_is_ended_after_two_hours() -> None:
    async def hang(cell: VirtualCell) -> None:
        await trio.sleep_forever()

    with pytest.raises(TimeLimitReached, match="7200 s of virtual time"):
        run_virtual(hang)


async def test_a_bug_in_a_node_comes_out(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("planted")

    with pytest.raises(InternalError):
        async with open_virtual_cell() as cell, cell.open_client() as client:
            monkeypatch.setattr(cell.nodes.lives["a"].service.replica, "receive", broken)
            await client.acquire("x")
            await trio.sleep_forever()


# Leases


@pytest.mark.parametrize("reason", list(LossReason))
async def test_lose_is_a_loss_at_this_moment(autojump_clock: MockClock, reason: LossReason) -> None:
    stopped_at: list[float] = []

    async def work(client: Client) -> None:
        with pytest.raises(LeaseLost) as caught:
            async with client.lock("x", ttl=10.0) as held:
                try:
                    await trio.sleep_forever()
                finally:
                    stopped_at.append(trio.current_time())
                    assert not held.valid
                    with pytest.raises(LeaseLost):
                        held.check()
        assert caught.value.reason is reason

    async with open_virtual_cell() as cell, cell.open_client() as client, cell.open_client() as other:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, client)
            await cell.wait_holder("x")
            await cell.advance(3.0)
            await cell.lose("x", reason)
            assert stopped_at == [trio.current_time()]
            assert cell.holder("x") is None
            async with other.lock("x", wait=0.1) as held:
                assert cell.terms("x")[1:] == [held.term]


async def test_lose_of_a_lease_without_a_block(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        held = await client.acquire("x")
        await cell.lose(held)
        assert await held.wait_lost() is LossReason.EXPIRED
        assert (await client.poll("x")).state is State.FREE
        with pytest.raises(ValueError, match="nobody holds 'x'"):
            await cell.lose("x")


async def test_lose_makes_lead_campaign_again(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, trio.open_nursery() as nursery:
        nursery.start_soon(hold, cell, "x", "one")
        first = await cell.wait_holder("x")
        await cell.lose(first)
        second = await cell.wait_holder("x", after=first)
        assert cell.terms("x") == [first.term, second.term]
        assert first.term < second.term
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seize", [False, True])
async def test_a_rival_takes_its_turn_or_the_name(autojump_clock: MockClock, seize: bool) -> None:
    async with open_virtual_cell() as cell, trio.open_nursery() as nursery:
        nursery.start_soon(hold, cell, "x", "one")
        first = await cell.wait_holder("x")
        if seize:
            async with cell.rival("x", seize=True) as held:
                assert first.term < held.term
                assert cell.holder("x") == Holder("x", held.term, "rival", held)
                await cell.advance(60.0)
                assert held.valid
            assert (await cell.wait_holder("x", after=held)).label == "one"
        else:
            with trio.move_on_after(60.0) as scope:
                async with cell.rival("x"):
                    pytest.fail("the name was held")
            assert scope.cancelled_caught
            assert first.held.valid
        nursery.cancel_scope.cancel()


# Time


async def test_the_clock_drives_leases_and_deadlines_alike(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        async with client.lock("x", ttl=30.0) as held:
            began = trio.current_time()
            await cell.advance(600.0)
            assert trio.current_time() == pytest.approx(began + 600.0)
            assert 0.0 < held.remaining() <= 30.0
        with pytest.raises(LeaseLost):
            async with client.lock("x", ttl=30.0):
                cell.partition(client)
                began = trio.current_time()
                await trio.sleep_forever()
        assert 15.0 < trio.current_time() - began < 30.0


# The network


async def test_a_client_that_is_cut_off_loses_its_lease_before_it_is_given_again(
    autojump_clock: MockClock,
) -> None:
    async with open_virtual_cell() as cell, cell.open_client("one") as one, cell.open_client("two") as two:
        held = await one.acquire("x", ttl=5.0)
        cell.partition("one")
        async with two.lock("x"):
            assert not held.valid
            assert (await two.poll("x")).state is State.LED
            assert (await one.poll("x")).state is State.UNKNOWN
            cell.heal()
            assert (await one.poll("x")).state is State.LED


async def test_cut_off_from_a_minority_changes_nothing(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        held = await client.acquire("x", ttl=5.0)
        cell.partition(client, away_from="b")
        await cell.advance(60.0)
        assert held.valid
        assert (await client.inspect("x")).nodes_up == 2
        cell.partition(client, away_from=["a"])
        assert await held.wait_lost() is LossReason.EXPIRED
        cell.heal(client)
        assert (await client.inspect("x")).nodes_up == 3


@pytest.mark.parametrize("way", ["out", "in"])
async def test_one_way_is_enough_to_lose_a_lease(autojump_clock: MockClock, way: str) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        held = await client.acquire("x", ttl=5.0)
        cell.partition(held, way=way)  # type: ignore[arg-type]
        await held.wait_lost()
        assert ("renew" in cell.nodes.lives["a"].service.replica.statistics().messages) is (way == "in")


async def test_a_group_that_is_cut_off_stays_together(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client("in") as inside, cell.open_client() as outside:
        cell.partition("in", "a", "b")
        async with inside.lock("x", wait=5.0):
            with pytest.raises(NotAcquired) as caught:
                await outside.acquire("x", wait=5.0)
            assert caught.value.reason is Reason.NO_QUORUM
            async with cell.open_client("late") as late:
                assert (await late.poll("x")).state is State.UNKNOWN
                cell.heal("a", "b")
                assert (await late.poll("x")).state is State.LED


async def test_loss_repetition_and_delay(autojump_clock: MockClock) -> None:
    async with open_virtual_cell(seed=7, latency=(0.001, 0.05)) as cell, cell.open_client() as client:
        cell.loss, cell.duplication = 0.2, 0.2
        for _ in range(5):
            async with client.lock("x", wait=20.0) as held:
                held.check()
        assert cell.terms("x") == sorted(set(cell.terms("x")))
        assert client.statistics().transport["lost"] > 0
        assert (cell.loss, cell.duplication, cell.latency) == (0.2, 0.2, (0.001, 0.05))
        cell.loss, cell.latency = 0.0, 1.0
        began = trio.current_time()
        await client.poll("x")
        assert trio.current_time() - began >= 0.99
        for name, value in (("loss", 1.5), ("duplication", -0.1), ("latency", -1.0)):
            with pytest.raises(ConfigError, match=name):
                setattr(cell, name, value)


async def test_every_link_may_have_a_latency_of_its_own(autojump_clock: MockClock) -> None:
    """Who is far from a node of its region hears a quorum when the second of the three has answered."""
    asked: set[tuple[str, str]] = set()

    def latency(source: str, target: str) -> float:
        asked.add((source, target))
        pair = {source, target}
        return 0.001 if pair == {"near", "a"} else 0.3 if "c" in pair else 0.05

    async with open_virtual_cell(latency=latency, grace=0.02) as cell:
        assert cell.cell.grace == 0.02
        assert cell.latency is latency
        async with cell.open_client("near") as client:
            await cell.advance(2.0)
            began = trio.current_time()
            held = await client.acquire("x")
            assert trio.current_time() - began == pytest.approx(0.1, abs=0.01)
            await held.release()
        assert {("near", "a"), ("a", "near"), ("a", "b"), ("c", "near")} <= asked
        cell.latency = 0.001
        assert cell.latency == (0.001, 0.001)


async def test_verbs_for_nobody_say_who_is_there(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client("one") as one:
        cell.program("p")
        async with cell.open_client() as gone:
            pass
        for verb in (cell.partition, cell.pause, cell.resume, cell.kill):
            for who in ("two", gone):
                with pytest.raises(ValueError, match="is nobody here: there are 'one', 'p', 'a', 'b', 'c'"):
                    verb(who)
        with pytest.raises(ValueError, match="who is to be cut off"):
            cell.partition()
        with pytest.raises(ValueError, match="way must be"):
            cell.partition(one, way="up")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="'z' is not a node of this cell"):
            cell.partition(one, away_from="z")
        with pytest.raises(ValueError, match="await kill_node"):
            cell.kill("a")
        async with open_virtual_cell() as other:
            held = await one.acquire("x")
            with pytest.raises(ValueError, match="was not granted in this virtual cell"):
                await other.lose(held)


# Processes that stop


async def test_a_paused_process_believes_in_its_lease_until_it_goes_on(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client("one") as one, cell.open_client() as two:
        going = trio.Event()
        reasons: list[LossReason] = []

        async def work() -> None:
            with pytest.raises(LeaseLost) as caught:
                async with one.lock("x", ttl=5.0) as held:
                    await going.wait()
                    held.check()  # it was stopped just before
                    cell.resume("one")
                    with pytest.raises(LeaseLost):
                        held.check()
                    await trio.sleep_forever()
            reasons.append(caught.value.reason)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            first = await cell.wait_holder("x")
            cell.pause("one")
            cell.pause("one")
            async with two.lock("x") as held:
                assert held.term > first.term
                assert cell.holder("x") == Holder("x", held.term, two.label, held)  # type: ignore[attr-defined]
                await cell.advance(100.0)
                assert not reasons
                going.set()
                await cell.advance(0.1)
                assert reasons == [LossReason.EXPIRED]


async def test_a_short_pause_costs_nothing(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        async with client.lock("x", ttl=10.0) as held:
            for _ in range(5):
                cell.pause(held)
                await cell.advance(4.0)
                cell.resume(held)
                await cell.advance(2.0)
            held.check()


async def test_a_release_is_not_waited_for_while_paused(autojump_clock: MockClock) -> None:
    """Neither one that begins then, nor one that had begun: the machine tells nothing."""
    ended: list[str] = []

    async def release(held: HeldLease) -> None:
        await held.release()
        ended.append(held.name)

    async with open_virtual_cell() as cell, cell.open_client() as client:
        first, second = await client.acquire("first"), await client.acquire("second")
        async with trio.open_nursery() as nursery:
            cell.partition(client)
            nursery.start_soon(release, first)
            await cell.advance(0.01)
            cell.pause(client)
            nursery.start_soon(release, second)
            await cell.advance(0.1)
            while_paused = set(ended)
            cell.resume(client)
            cell.heal()
        assert while_paused == {"first", "second"}


async def test_leaving_while_paused(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as other:
        async with cell.open_client() as client:
            await client.acquire("x", ttl=30.0)
            cell.pause(client)
            await cell.advance(10.0)
        async with other.lock("x", wait=1.0):
            pass


async def test_a_program_is_killed_and_its_lease_stays_until_its_ttl(autojump_clock: MockClock) -> None:
    ended: list[str] = []

    async def program(cell: VirtualCell) -> None:
        try:
            async with open_client(cell.cell) as client, client.lock("x", ttl=10.0):
                await trio.sleep_forever()
        finally:
            ended.append("one")

    async with open_virtual_cell() as cell, trio.open_nursery() as nursery:
        one = cell.program("one")
        nursery.start_soon(one.run, program, cell)
        first = await cell.wait_holder("x")
        assert first.label == "one"
        killed_at = trio.current_time()
        cell.kill(first)
        await cell.advance(5.0)
        assert ended == ["one"]
        assert "killed" in repr(one)
        async with cell.rival("x"):
            assert 9.0 < trio.current_time() - killed_at < 10.5
        with pytest.raises(ValueError, match="make another one"):
            await one.run(program, cell)


async def test_a_program_gives_its_value_and_its_errors(autojump_clock: MockClock) -> None:
    async def divide(one: int, two: int) -> float:
        await trio.sleep(1.0)
        return one / two

    async with open_virtual_cell() as cell:
        assert await cell.program("p").run(divide, 1, 2) == 0.5
        with pytest.raises(ZeroDivisionError):
            await cell.program("q").run(divide, 1, 0)
        killed = cell.program("r")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(killed.run, divide, 1, 0)
            await wait_all_tasks_blocked()
            cell.kill(killed)


async def test_a_client_of_no_program_that_is_killed_is_closed(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell:
        async with cell.open_client() as client, cell.open_client() as other:
            held = await client.acquire("x", ttl=10.0)
            cell.kill(client)
            assert await held.wait_lost() is LossReason.CLOSED
            with pytest.raises(trio.ClosedResourceError):
                await client.poll("x")
            assert (await other.poll("x")).state is State.LED
            await cell.advance(11.0)
            assert (await other.poll("x")).state is State.FREE


# Nodes


async def test_a_minority_of_nodes_may_stop_be_killed_and_come_back(autojump_clock: MockClock) -> None:
    async with open_virtual_cell(max_ttl=10.0) as cell, cell.open_client() as client:
        async with client.lock("x", ttl=5.0) as held:
            await cell.stop_node("a")
            with pytest.raises(ValueError, match="start_node"):
                await cell.stop_node("a")
            await cell.advance(20.0)
            began = trio.current_time()
            await cell.start_node("a")
            await cell.wait_serving()
            assert trio.current_time() - began < 0.1
            await cell.kill_node("b")
            await cell.start_node("b")
            await cell.wait_serving("b")
            assert 10.0 < trio.current_time() - began < 10.5  # it has sat out
            with pytest.raises(ValueError, match="runs already"):
                await cell.start_node("b")
            await cell.stop_node("c")
            await cell.start_node("c", join=True)
            await cell.wait_serving("c")
            held.check()
            with pytest.raises(ConfigError, match="is not a node of this cell"):
                await cell.kill_node("z")
        assert "nodes a, b, c" in repr(cell)


async def test_a_majority_of_nodes_is_needed(autojump_clock: MockClock) -> None:
    async with open_virtual_cell(max_ttl=5.0) as cell, cell.open_client() as client:
        held = await client.acquire("x", ttl=5.0)
        await cell.kill_node("a")
        await cell.kill_node("b")
        assert await held.wait_lost() is LossReason.EXPIRED
        await cell.start_node("a")
        async with client.lock("x", ttl=5.0, wait=10.0) as again:
            assert again.term > held.term


async def test_a_paused_node_answers_nothing_and_comes_back(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        cell.pause("a")
        assert (await client.inspect("x")).nodes_up == 2
        cell.resume("a")
        assert (await client.inspect("x")).nodes_up == 3
        cell.pause("a")
        await cell.stop_node("a")


async def test_programs_with_nodes_of_their_own(autojump_clock: MockClock, tmp_path: Path) -> None:
    """Embedded election: each program is a node; a killed one starts again on its folder, and sits out."""

    async def program(cell: VirtualCell, node_id: str, *, create: bool) -> None:
        config = NodeConfig(cell.cell, node_id, tmp_path / node_id)
        async with open_node(config, create=create) as node:
            await node.wait_serving()
            serving[node_id] = trio.current_time()
            await node.lead("primary", work, ttl=5.0)

    async def work(held: HeldLease) -> None:
        await trio.sleep_forever()

    serving: dict[str, float] = {}
    async with open_virtual_cell(max_ttl=10.0, embedded=True) as cell, trio.open_nursery() as nursery:
        for node_id in cell.cell.node_ids:
            start = partial(program, cell, node_id, create=True)
            nursery.start_soon(cell.program(f"program {node_id}").run, start)
        first = await cell.wait_holder("primary")
        node_id = first.label.removeprefix("program ")
        cell.kill(first)
        second = await cell.wait_holder("primary", after=first)
        assert second.label != first.label
        began = trio.current_time()
        nursery.start_soon(partial(program, cell, node_id, create=False))
        await cell.advance(15.0)
        assert 10.0 < serving[node_id] - began < 10.5
        cell.partition(second)
        third = await cell.wait_holder("primary", after=second)
        assert third.term > second.term
        nursery.cancel_scope.cancel()
    assert not any((tmp_path / node_id).exists() for node_id in cell.cell.node_ids)


async def test_served_nodes_and_their_folders(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with open_virtual_cell(nodes=1, max_ttl=5.0, embedded=True) as cell:
        config = NodeConfig(cell.cell, "a", tmp_path)
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_node, config, create=True))
            async with cell.open_client() as client, client.lock("x", ttl=5.0):
                pass
            nursery.cancel_scope.cancel()
        with pytest.raises(ConfigError, match="has a record"):
            await serve_node(config, create=True)
        memory = NodeConfig(cell.cell, "a", durability="memory")
        async with open_node(memory, label="me") as node:
            assert node.mode is NodeMode.RECOVERING
            await node.wait_serving()
