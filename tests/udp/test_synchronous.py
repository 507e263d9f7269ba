"""A node in synchronous mode whose machine crashes: a process that is killed, and started again in a time
namespace of its own, where the boot clock is another one (protocol.md section 7).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import free_ports

from paxlock import Cell, State
from paxlock.blocking import Client, open_client

PATIENCE_S = 60.0
TTL_S = 20.0
MAX_TTL_S = 30.0


def boot_clocks_differ() -> bool:
    """Whether this user may begin a time namespace here."""
    try:
        done = subprocess.run(
            ["unshare", "--time", "--boottime", "1", "true"], capture_output=True, check=False
        )
    except OSError:
        return False
    return done.returncode == 0


pytestmark = [
    pytest.mark.processes,
    pytest.mark.slow,
    pytest.mark.skipif(not boot_clocks_differ(), reason="no time namespaces here"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    cell = Cell.new({"a": f"127.0.0.1:{free_ports(1)[0]}"}, max_ttl=MAX_TTL_S)
    cell.save(tmp_path / "cell.toml")
    return tmp_path / "cell.toml"


@contextmanager
def node(path: Path, durability: str, *, boot: int, start: str = "auto") -> Iterator[str]:
    """The only node of a cell on this boot, killed at the end; gives the first thing that it says it does."""
    process = subprocess.Popen(
        [
            *("unshare", "--time", "--boottime", str(boot)),
            *(sys.executable, "-m", "paxlock", "serve", "--cell", str(path), "--node", "a"),
            *("--data-dir", str(path.parent / "data"), "--durability", durability),
            *("--start", start, "--log", "text"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        yield next(line for line in process.stderr if "node a serves" in line or "sits out" in line)
    finally:
        process.kill()
        process.communicate()


def standing(client: Client, name: str) -> tuple[State, int]:
    """What the node says, once it answers."""
    end = time.monotonic() + PATIENCE_S
    while (found := client.poll(name)).state is State.UNKNOWN:
        assert time.monotonic() < end, "it does not answer"
    return found.state, found.term


def test_a_lease_outlives_a_crash_of_the_machine_and_nobody_sits_out(path: Path) -> None:
    with node(path, "sync", boot=1_000, start="create"), open_client(path) as client:
        held = client.acquire("kept", ttl=TTL_S)
        held.detach()
        with client.lock("released", ttl=TTL_S) as released:
            pass
    with node(path, "sync", boot=50) as said, open_client(path) as client:
        assert "node a serves" in said
        assert standing(client, "kept") == (State.LED, held.term)
        with client.lock("released", ttl=TTL_S) as again:
            assert again.term > released.term
        client.release_handle(held.handle)
        with client.lock("kept", ttl=TTL_S) as later:
            assert later.term > held.term


def test_what_was_not_synced_is_not_believed_after_a_crash_of_the_machine(path: Path) -> None:
    with node(path, "record", boot=1_000, start="create"), open_client(path) as client:
        client.acquire("kept", ttl=TTL_S).detach()
    with node(path, "record", boot=1_000) as said:
        assert "node a serves" in said
    with node(path, "sync", boot=50) as said:
        assert "sits out" in said
