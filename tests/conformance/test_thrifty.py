"""A quorum is asked first where a program wishes it, in all three faces (protocol.md section 5)."""

from __future__ import annotations

import asyncio
from math import inf
from pathlib import Path

import pytest
import trio

import paxlock
import paxlock.aio
import paxlock.blocking
from paxlock.core.session import thrift
from tests.conformance.faces import Client, Face, conforms
from tests.security.test_node_reload import free_address

PAIRS = 8


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quorum is asked first from the start, however busy this machine is."""
    monkeypatch.setattr(thrift, "LEARNT", 0)
    monkeypatch.setattr(thrift, "NEAR_S", inf)
    monkeypatch.setattr(thrift, "FARTHER", inf)


async def asked_a_quorum(client: Client, name: str) -> int:
    """How many of some acquisitions, one after the other, did."""
    for _ in range(PAIRS):
        async with client.lock(name):
            pass
    return client.statistics().session.messages.get("thrifty", 0)


@conforms
async def test_who_wishes_it_asks_a_quorum_first(face: Face, name: str) -> None:
    async with face.open(thrifty=True) as client:
        assert await asked_a_quorum(client, name) > 0


@conforms
async def test_without_the_wish_all_are_asked(face: Face, name: str) -> None:
    async with face.open() as client:
        assert await asked_a_quorum(client, name) == 0


@pytest.fixture
def config(tmp_path: Path) -> paxlock.NodeConfig:
    path = tmp_path / "cell.toml"
    paxlock.Cell.new({"a": free_address()}, max_ttl=1.0).save(path)
    return paxlock.NodeConfig(path, "a", tmp_path / "a")


@pytest.mark.parametrize("thrifty", [True, False])
async def test_a_node_of_trio_passes_it_on(config: paxlock.NodeConfig, thrifty: bool) -> None:
    with trio.fail_after(30.0):
        async with paxlock.open_node(config, create=True, thrifty=thrifty) as node:
            assert node._session.settings.thrifty is thrifty


@pytest.mark.parametrize("thrifty", [True, False])
def test_a_node_of_asyncio_passes_it_on(config: paxlock.NodeConfig, thrifty: bool) -> None:
    async def main() -> None:
        async with paxlock.aio.open_node(config, create=True, thrifty=thrifty) as node:
            assert node._session.settings.thrifty is thrifty

    asyncio.run(main())


@pytest.mark.parametrize("thrifty", [True, False])
def test_a_blocking_node_passes_it_on(config: paxlock.NodeConfig, thrifty: bool) -> None:
    with paxlock.blocking.open_node(config, create=True, thrifty=thrifty) as node:
        assert node._session()._session.settings.thrifty is thrifty
