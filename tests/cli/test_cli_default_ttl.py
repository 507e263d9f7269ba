"""The ttl of a command that names none: 10 s, or what its cell and its key allow at most."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from paxlock_process import Cell, free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    """One node, with a max_ttl of 4 s."""
    file = tmp_path / "cell.toml"
    cell = Cell({"PAXLOCK_CELL": str(file)})
    address = f"a=127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    assert cell.run("init", "--max-ttl", "4s", file, address).returncode == 0
    with cell.start("serve", "--create", "--node", "a", "--data-dir", tmp_path / "a") as node:
        while "node a serves" not in node.stderr.line():
            pass
        yield cell


def test_a_cell_with_a_short_max_ttl(cell: Cell, tmp_path: Path) -> None:
    assert json.loads(cell.output("acquire", "one", "--json"))["ttl_ms"] == 4000
    assert "max_ttl of 4 s" in cell.fails(64, "acquire", "other", "--ttl", "10s")
    assert cell.output("run", "two", "--", "sh", "-c", "echo $PAXLOCK_TERM").isdigit()
    with cell.start("elect", "three", "--jsonl") as elector:
        assert json.loads(elector.stdout.line())["ttl_ms"] == 4000
        elector.send_signal(signal.SIGTERM)
        assert elector.wait() == 0
    assert json.loads(cell.run("doctor", "--for", "100ms", "--json").stdout)["ttl_ms"] == 4000
    key = tmp_path / "app.key"
    cell.output("grant", key, "--acquire", "--ttl-max", "2s")
    app = {"PAXLOCK_KEY_FILE": str(key)}
    assert json.loads(cell.output("acquire", "four", "--json", **app))["ttl_ms"] == 2000
