"""A program that is a node of its cell, and holds a lease with a last will, is killed: its node with it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import paxlock.blocking
from paxlock import Cell, NodeConfig, NodeMode
from paxlock.blocking import Client
from tests.blocking.cells import Script, scripts, until
from tests.wills.processes import TTL_S, alive, guardian_of, in_line

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(
        sys.platform != "linux" or not hasattr(os, "pidfd_open"), reason="no last wills without pidfd"
    ),
]

EMBEDDED = str(Path(__file__).parent / "programs" / "embedded.py")
SOON_S = TTL_S / 3  #: on a busy machine; the lease itself would stay for longer than this


def free_addresses() -> dict[str, str]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(3)]
        for sock in found:
            sock.bind(("127.0.0.1", 0))
        ports = [sock.getsockname()[1] for sock in found]
    return {node: f"127.0.0.1:{port}" for node, port in zip("abc", ports, strict=True)}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Of a cell of which two nodes are here; the third is the program's."""
    cell = Cell.new(free_addresses(), max_ttl=TTL_S)
    cell.save(tmp_path / "cell.toml")
    with ExitStack() as stack:
        for node_id in "bc":
            config = NodeConfig(cell, node_id, tmp_path / node_id)
            stack.enter_context(paxlock.blocking.open_node(config, create=True))
        yield stack.enter_context(paxlock.blocking.open_client(cell))


@pytest.mark.parametrize(
    "face",
    ["trio", *(pytest.param(face, marks=pytest.mark.slow) for face in ("asyncio", "blocking"))],
)
def test_the_next_in_line_holds_at_once_by_the_other_nodes(face: str, client: Client, tmp_path: Path) -> None:
    with scripts() as run:

        def start() -> Script:
            return run(EMBEDDED, face, str(tmp_path / "cell.toml"), "a", str(tmp_path / "a"), "job", "waits")

        program = start()
        term = int(program.line().removeprefix("held "))
        with in_line(client, "job") as waiter:
            guardian = guardian_of(program.process.pid)
            killed_at = time.monotonic()
            program.process.kill()
            assert waiter.done() - killed_at < SOON_S
            assert waiter.term > term
        until(lambda: not alive(guardian), "the guardian ends")
        # Started anew on the same boot, its node knows the lease of before, and nobody has to wait for it.
        program.process.wait()
        again = start()
        word, later = again.line().split()
        assert word == "held" and int(later) > waiter.term
        assert [node.mode for node in client.survey()] == [NodeMode.SERVING] * 3


@pytest.mark.parametrize(
    "face",
    ["trio", *(pytest.param(face, marks=pytest.mark.slow) for face in ("asyncio", "blocking"))],
)
def test_one_that_dies_in_the_moment_in_which_it_holds_has_a_will(
    face: str, client: Client, tmp_path: Path
) -> None:
    with scripts() as run:
        program = run(EMBEDDED, face, str(tmp_path / "cell.toml"), "a", str(tmp_path / "a"), "job", "dies")
        term = int(program.line().removeprefix("held "))
        assert program.end()[0] == -signal.SIGKILL
        died_at = time.monotonic()
        with client.lock("job", ttl=TTL_S) as held:
            assert time.monotonic() - died_at < SOON_S
            assert held.term > term
