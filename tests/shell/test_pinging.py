"""What pings tell of a network that loses datagrams, in virtual time."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from paxlock.cli.pinging import answered, ping_for
from paxlock.testing import open_virtual_cell


async def test_what_is_lost_shows_and_holds_up_nothing(autojump_clock: MockClock) -> None:
    async with open_virtual_cell(seed=3) as cell, cell.open_client() as client:
        await client.survey()
        whole = await ping_for(client, 1.0, every=0.01)
        assert whole.keys() == {"a", "b", "c"}
        assert all(answered(sent) == len(sent) >= 100 for sent in whole.values())
        cell.loss = 0.3
        began = trio.current_time()
        lossy = await ping_for(client, 2.0, every=0.01)
        assert trio.current_time() - began < 3.5
        for sent in lossy.values():
            assert 200 <= len(sent) <= 201
            assert 0.4 < answered(sent) / len(sent) < 0.6  # 0.7 of 0.7, there and back
            asked = [ping.asked for ping in sent if ping.round_trip is not None]
            assert asked == sorted(asked)
        cell.loss = 0.0
        only = await ping_for(client, 0.0, every=0.01, nodes=["b"])
        assert {node: answered(sent) for node, sent in only.items()} == {"b": 1}


async def test_a_dead_node_loses_all_and_its_clock_is_not_known(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        await client.survey()
        await cell.kill_node("c")
        sent = await ping_for(client, 0.5, every=0.05)
        assert {node: answered(pings) / len(pings) for node, pings in sent.items()} == {
            "a": 1,
            "b": 1,
            "c": 0,
        }
        assert all(len(pings) >= 10 for pings in sent.values())
