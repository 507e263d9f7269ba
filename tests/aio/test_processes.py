"""The asyncio face on real sockets: embedded nodes, signals, forks, and what is not loaded."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from paxlock import Cell, ClosedError, ConfigError, Member, NodeConfig, NodeMode, StoreError
from paxlock.aio import open_client, open_node

PATIENCE_S = 60.0

EMBEDDED = """
import asyncio, sys
from paxlock import NodeConfig
from paxlock.aio import open_node

async def main():
    config = NodeConfig(sys.argv[1], "a", sys.argv[2])
    async with open_node(config, create="create" in sys.argv) as node:
        await node.wait_serving()
        print("serves", flush=True)
        async with node.campaign("primary") as held:
            print("leads", held.term, flush=True)
            await asyncio.sleep(1000)

asyncio.run(main())
"""

HUNG = """
import asyncio, sys, time
from paxlock.aio import open_client

async def main():
    async with open_client(sys.argv[1]) as client, client.lock("x", ttl=0.4, exit_after=0.3):
        print("holds", flush=True)
        time.sleep(1000)

asyncio.run(main())
"""

HUNG_LEADER = """
import asyncio, sys, time
from paxlock.aio import open_client

async def hang(held):
    print("holds", flush=True)
    time.sleep(1000)

async def main():
    async with open_client(sys.argv[1]) as client:
        await client.lead("x", hang, ttl=0.4, exit_after=0.3)

asyncio.run(main())
"""

NO_THREAD = """
import asyncio, sys, threading
from paxlock.aio import open_client

def no_thread(thread):
    raise RuntimeError("can't start new thread")

async def main():
    async with open_client(sys.argv[1]) as client:
        started, threading.Thread.start = threading.Thread.start, no_thread
        try:
            async with client.lock("x", exit_after=1.0):
                print("holds", flush=True)
        except RuntimeError as error:
            print(error, flush=True)
        threading.Thread.start = started
        async with client.lock("x", wait=0, exit_after=1.0) as held:
            print("holds", held.term, flush=True)

asyncio.run(main())
"""

FORKING = """
import asyncio, os, sys
from paxlock import ClosedError
from paxlock.aio import open_client

async def main():
    async with open_client(sys.argv[1]) as client, client.lock("x") as held:
        child = os.fork()
        if child == 0:
            try:
                held.check()
            except ClosedError:
                os._exit(7)
            os._exit(1)
        status = await asyncio.to_thread(os.waitpid, child, 0)
        held.check()
        print("child", os.waitstatus_to_exitcode(status[1]), "trio" in sys.modules, flush=True)

asyncio.run(main())
"""


IMPORTING = """
import asyncio, sys
import {face}
from paxlock import Cell, NotAcquired

cell = Cell.new({{"a": "127.0.0.1:7400"}})
loaded = set(sys.modules)

async def in_asyncio():
    async with {face}.open_client(cell) as client:
        try:
            await client.acquire("x", wait=0)
        except NotAcquired:
            pass

def in_a_thread():
    with {face}.open_client(cell) as client:
        try:
            client.acquire("x", wait=0)
        except NotAcquired:
            pass

asyncio.run(in_asyncio()) if "aio" in "{face}" else in_a_thread()
late = [name for name in sys.modules if name not in loaded]
heavy = ("paxlock", "cryptography", "cbor2", "attr")
print([name for name in late if name.partition(".")[0] in heavy], "trio" in sys.modules)
"""


def free_port() -> int:
    """A UDP port of loopback that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def cell_of(names: str, folder: Path) -> Cell:
    cell = Cell.new([Member(name, f"127.0.0.1:{free_port()}") for name in names], max_ttl=10.0)
    cell.save(folder / "cell.toml")
    return cell


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_three_nodes_of_one_program(tmp_path: Path) -> None:
    async def main() -> None:
        cell = cell_of("abc", tmp_path)
        async with AsyncExitStack() as stack:
            configs = [NodeConfig(cell, name, tmp_path / name) for name in "abc"]
            nodes = [await stack.enter_async_context(open_node(each, create=True)) for each in configs]
            async with asyncio.timeout(PATIENCE_S):
                for node in nodes:
                    await node.wait_serving()
            assert [node.mode for node in nodes] == [NodeMode.SERVING] * 3
            async with nodes[0].lock("x") as held:
                assert (await nodes[1].poll("x")).term == held.term
            assert nodes[2].node_id == "c"
            assert nodes[2].node_statistics().names >= 0
        with pytest.raises(ClosedError):
            await nodes[0].poll("x")
        for node in nodes:
            with pytest.raises(ClosedError, match="is stopped"):
                node.mode  # noqa: B018 - it raises

    asyncio.run(main())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_sigterm_ends_the_block_and_stops_the_node_cleanly(tmp_path: Path) -> None:
    cell_of("a", tmp_path)
    terms, waited = [], []
    for create in ("create", ""):  # the second start need not sit out: the first has ended cleanly
        with start(EMBEDDED, tmp_path / "cell.toml", tmp_path / "data", create) as process:
            assert line_of(process) == "serves"
            began = time.monotonic()
            words = line_of(process).split()
            waited.append(time.monotonic() - began)
            assert words[0] == "leads"
            terms.append(int(words[1]))
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 143
            assert process.stderr is not None
            assert process.stderr.read() == ""
    assert terms[0] < terms[1]
    assert waited[1] < 5.0, "the lease was released, and did not run out"


def test_what_a_node_cannot_start_with_comes_out(tmp_path: Path) -> None:
    async def main() -> None:
        cell = cell_of("a", tmp_path)
        (tmp_path / "file").touch()
        with pytest.raises(StoreError):
            async with open_node(NodeConfig(cell, "a", tmp_path / "file")):
                pass
        host, _, port = cell.members[0].address.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((host, int(port)))
            with pytest.raises(ConfigError, match="in use"):
                async with open_node(NodeConfig(cell, "a", tmp_path / "new"), create=True):
                    pass

    asyncio.run(main())


def test_a_node_that_fails_later_ends_the_block(tmp_path: Path) -> None:
    async def main() -> None:
        cell = cell_of("a", tmp_path)
        with pytest.raises(StoreError, match="the disk is gone"):
            async with open_node(NodeConfig(cell, "a", tmp_path / "a"), create=True) as node:
                told = node._thread._failed
                assert told is not None
                await node.acquire("x")
                threading.Thread(target=told, args=(StoreError("the disk is gone"),)).start()
                await asyncio.sleep(PATIENCE_S)

    asyncio.run(main())


@pytest.mark.parametrize("program", [HUNG, HUNG_LEADER], ids=["lock", "lead"])
def test_a_loop_that_hangs_ends_its_process_where_that_was_asked_for(program: str, tmp_path: Path) -> None:
    async def main() -> None:
        cell = cell_of("a", tmp_path)
        async with open_node(NodeConfig(cell, "a", tmp_path / "a"), create=True):
            with start(program, tmp_path / "cell.toml") as process:
                assert await asyncio.to_thread(line_of, process) == "holds"
                assert await asyncio.to_thread(process.wait, PATIENCE_S) == 79
                assert process.stderr is not None
                assert "the lease of 'x' is over" in process.stderr.read()

    asyncio.run(main())


def test_a_lease_whose_last_resort_cannot_be_started_is_released(tmp_path: Path) -> None:
    """The process, its user or its container has as many threads as it may."""

    async def main() -> None:
        cell = cell_of("a", tmp_path)
        async with open_node(NodeConfig(cell, "a", tmp_path / "a"), create=True):
            with start(NO_THREAD, tmp_path / "cell.toml") as process:
                assert await asyncio.to_thread(line_of, process) == "can't start new thread"
                assert await asyncio.to_thread(line_of, process) == "holds 2"
                assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0

    asyncio.run(main())


def test_the_child_of_a_fork_holds_nothing_and_trio_is_not_loaded(tmp_path: Path) -> None:
    async def main() -> None:
        cell = cell_of("a", tmp_path)
        async with open_node(NodeConfig(cell, "a", tmp_path / "a"), create=True):
            with start(FORKING, tmp_path / "cell.toml") as process:
                assert await asyncio.to_thread(line_of, process) == "child 7 False"
                assert await asyncio.to_thread(process.wait, PATIENCE_S) == 0

    asyncio.run(main())


@pytest.mark.parametrize("face", ["paxlock.aio", "paxlock.blocking"])
def test_all_that_a_client_needs_is_loaded_before_the_loop_runs(face: str) -> None:
    with start(IMPORTING.format(face=face)) as process:
        assert line_of(process) == "[] False"
        assert process.wait(PATIENCE_S) == 0


def test_a_client_by_seeds_only(tmp_path: Path) -> None:
    async def main() -> None:
        cell = cell_of("a", tmp_path)
        key = cell.keys[0][1]
        async with (
            open_node(NodeConfig(cell, "a", tmp_path / "a"), create=True),
            open_client([cell.members[0].address], key=key) as client,
            client.lock("x") as held,
        ):
            assert held.term >= 1

    asyncio.run(main())
