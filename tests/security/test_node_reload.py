"""``node.reload()``: a node within a program takes other keys while it runs, in all three faces."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio

import paxlock
import paxlock.aio
import paxlock.blocking
from paxlock.config.keys import format_key, key_id, new_key

PATIENCE_S = 30.0


def free_address() -> str:
    for _ in range(100):
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"127.0.0.1:{port}"
    raise AssertionError("no port is free")


@pytest.fixture
def cell_file(tmp_path: Path) -> Path:
    path = tmp_path / "cell.toml"
    paxlock.Cell.new({"a": free_address()}, max_ttl=1.0).save(path)
    return path


def config_of(cell_file: Path) -> paxlock.NodeConfig:
    return paxlock.NodeConfig(cell_file, "a", cell_file.parent / "a")


def change(cell_file: Path, *keys: bytes) -> None:
    cell_file.with_suffix(".key").write_text("".join(format_key(key) + "\n" for key in keys))


def spoil(cell_file: Path) -> None:
    cell_file.with_suffix(".key").write_text("nothing\n")


def in_trio(cell_file: Path, step: Callable[[int], None]) -> None:
    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            async with paxlock.open_node(config_of(cell_file)) as node:
                await node.wait_serving()
                for at in range(3):
                    step(at)
                    if at == 2:
                        with pytest.raises(paxlock.ConfigError, match="must be one line"):
                            node.reload()
                    else:
                        node.reload()
                    async with node.lock(f"n{at}", ttl=1.0, wait=PATIENCE_S):
                        pass

    trio.run(main)


def in_asyncio(cell_file: Path, step: Callable[[int], None]) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), paxlock.aio.open_node(config_of(cell_file)) as node:
            await node.wait_serving()
            for at in range(3):
                step(at)
                if at == 2:
                    with pytest.raises(paxlock.ConfigError, match="must be one line"):
                        node.reload()
                else:
                    node.reload()
                async with node.lock(f"n{at}", ttl=1.0, wait=PATIENCE_S):
                    pass

    asyncio.run(main())


def in_blocking_code(cell_file: Path, step: Callable[[int], None]) -> None:
    with paxlock.blocking.open_node(config_of(cell_file)) as node:
        assert node.wait_serving(PATIENCE_S)
        for at in range(3):
            step(at)
            if at == 2:
                with pytest.raises(paxlock.ConfigError, match="must be one line"):
                    node.reload()
            else:
                node.reload()
            with node.lock(f"n{at}", ttl=1.0, wait=PATIENCE_S):
                pass


@pytest.mark.parametrize(
    "face",
    [
        in_trio,
        *(pytest.param(face, marks=pytest.mark.slow) for face in (in_asyncio, in_blocking_code)),
    ],
)
def test_a_node_and_the_client_in_it_go_on_with_the_keys_that_the_file_has(
    cell_file: Path, face: Callable[[Path, Callable[[int], None]], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "paxlock")
    ((number, old),) = paxlock.Cell.load(cell_file).keys
    while key_id(other := new_key()) == number:
        pass

    def step(at: int) -> None:
        if at == 0:
            change(cell_file, other, old)
        elif at == 1:
            change(cell_file, other)
        else:
            spoil(cell_file)

    face(cell_file, step)
    said = [record.getMessage() for record in caplog.records if "read its keys anew" in record.getMessage()]
    assert len(said) == 2


def test_other_keys_may_be_given_as_a_cell(cell_file: Path) -> None:
    """Of a cell that was built in code there is no file to read anew."""
    cell = paxlock.Cell.new({"a": free_address()}, max_ttl=1.0)
    config = paxlock.NodeConfig(cell, "a", cell_file.parent / "a")
    with paxlock.blocking.open_node(config) as node:
        with pytest.raises(paxlock.ConfigError, match="give the cell with its other keys"):
            node.reload()
        with pytest.raises(paxlock.ConfigError, match="another cell"):
            node.reload(cell_file)
        unsealed = attrs.evolve(cell, keys=(), unsealed=True)
        with pytest.raises(paxlock.ConfigError, match="sealed"):
            node.reload(unsealed)
