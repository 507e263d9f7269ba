"""Polls and lists where answers take long, and no two of them equally long."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from paxlock import State
from paxlock.testing import open_virtual_cell

# How long a datagram takes, at least and at most: round trips of up to 300 ms, and of three times that.
NETWORKS = [(0.025, 0.075), (0.05, 0.15), (0.15, 0.15), (0.15, 0.45)]
POLLS = 40


@pytest.mark.parametrize("latency", NETWORKS)
@pytest.mark.parametrize("loss", [0.0, 0.1])
async def test_a_poll_of_a_free_name_is_never_unknown_while_nodes_answer(
    latency: tuple[float, float], loss: float, autojump_clock: MockClock
) -> None:
    async with open_virtual_cell(latency=latency, seed=7) as cell, cell.open_client() as client:
        cell.loss = loss
        for number in range(POLLS):
            standing = await client.poll(f"free-{number}")
            assert (standing.state, number) == (State.FREE, number)
            assert standing.nodes_up >= 2


async def test_a_poll_with_one_node_down_is_not_unknown(autojump_clock: MockClock) -> None:
    async with open_virtual_cell(latency=(0.15, 0.45)) as cell, cell.open_client() as client:
        await cell.kill_node("b")
        for number in range(POLLS):
            assert (await client.poll(f"free-{number}")).state is State.FREE


async def test_a_poll_without_a_quorum_ends(autojump_clock: MockClock) -> None:
    async with open_virtual_cell(latency=(0.05, 0.15)) as cell, cell.open_client() as client:
        await client.poll("x")
        cell.partition("a", "b")
        began = trio.current_time()
        standing = await client.poll("x")
        assert standing.state is State.UNKNOWN
        assert standing.nodes_up == 1
        assert trio.current_time() - began < 3.0


@pytest.mark.slow
async def test_a_list_of_three_hundred_names_ends_where_answers_take_long(autojump_clock: MockClock) -> None:
    async with open_virtual_cell(latency=0.075) as cell, cell.open_client() as client:
        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(client.acquire, f"name-{number:03}")
        began = trio.current_time()
        standings = await client.list("name-")
        assert [standing.name for standing in standings] == [f"name-{n:03}" for n in range(300)]
        assert {standing.state for standing in standings} == {State.LED}
        assert trio.current_time() - began < 3.0
        pages = client.statistics().session.messages["names"]
        assert pages <= 3 * 4, "each page is told once by each node"
