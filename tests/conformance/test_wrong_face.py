"""Each opener, used where another one is meant: one sentence that names the right one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import paxlock
import paxlock.aio
import paxlock.blocking
from paxlock import Cell, NodeConfig

CELL = Cell.new({"a": "127.0.0.1:7400"})

IS_FOR_TRIO = (
    r"paxlock\.{0} is for async with in trio: "
    r"use in asyncio paxlock\.aio\.{0}, in blocking code paxlock\.blocking\.{0}$"
)
IS_FOR_ASYNCIO = (
    r"paxlock\.aio\.{0} is for async with in asyncio: "
    r"use in trio paxlock\.{0}, in blocking code paxlock\.blocking\.{0}$"
)
IS_FOR_THREADS = (
    r"paxlock\.blocking\.{0} is for a plain with: use in trio paxlock\.{0}, in asyncio paxlock\.aio\.{0}$"
)

Opener = Callable[[], Any]


def openers(module: Any, folder: Path) -> list[tuple[str, Opener]]:
    config = NodeConfig(CELL, "a", folder / "a")
    return [
        ("open_client", lambda: module.open_client(CELL)),
        ("open_node", lambda: module.open_node(config, create=True)),
    ]


def in_asyncio(async_fn: Callable[[Opener], Awaitable[None]], opener: Opener) -> None:
    async def main() -> None:
        await async_fn(opener)

    asyncio.run(main())


async def entered(opener: Opener) -> None:
    async with opener():
        pytest.fail("it was entered")


def plainly_entered(opener: Opener) -> None:
    with opener():
        pytest.fail("it was entered")


def test_the_one_of_trio(tmp_path: Path) -> None:
    for word, opener in openers(paxlock, tmp_path):
        with pytest.raises(RuntimeError, match=IS_FOR_TRIO.format(word)):
            in_asyncio(entered, opener)
        with pytest.raises(TypeError, match=IS_FOR_TRIO.format(word)):
            plainly_entered(opener)
    assert not (tmp_path / "a").exists()


def test_the_one_of_asyncio(tmp_path: Path) -> None:
    for word, opener in openers(paxlock.aio, tmp_path):
        with pytest.raises(RuntimeError, match=IS_FOR_ASYNCIO.format(word)):
            trio.run(entered, opener)
        with pytest.raises(TypeError, match=IS_FOR_ASYNCIO.format(word)):
            plainly_entered(opener)
    assert not (tmp_path / "a").exists()


def test_the_one_of_blocking_code() -> None:
    def opener() -> paxlock.blocking.Client:
        return paxlock.blocking.open_client(CELL)

    with pytest.raises(TypeError, match=IS_FOR_THREADS.format("open_client")):
        trio.run(entered, opener)
    with pytest.raises(TypeError, match=IS_FOR_THREADS.format("open_client")):
        in_asyncio(entered, opener)
    assert paxlock.blocking.Node._opener == "open_node"


def test_a_client_that_was_not_entered_says_what_it_is() -> None:
    for module in (paxlock, paxlock.aio):
        client: Any = module.open_client(CELL)
        with pytest.raises(AttributeError, match=r"'Unopened.*' object has no attribute 'lock'"):
            client.lock("x")


def test_a_node_is_not_opened_by_a_path_as_a_client_is() -> None:
    needs = r"a node needs a NodeConfig\(cell, node_id, data_dir\), not 'cell\.toml'"
    path: Any = "cell.toml"
    with pytest.raises(TypeError, match=needs):
        trio.run(entered, lambda: paxlock.open_node(path))
    with pytest.raises(TypeError, match=needs):
        trio.run(paxlock.serve_node, path)
    with pytest.raises(TypeError, match=needs):
        in_asyncio(entered, lambda: paxlock.aio.open_node(path))
    with pytest.raises(TypeError, match=needs):
        paxlock.blocking.open_node(path)
