"""`paxlock doctor` on real cells."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from paxlock_process import Cell, dev_cell, free_port

from tests.chaos.cluster import libfaketime


@pytest.mark.slow
def test_a_cell_is_examined(tmp_path: Path) -> None:
    with dev_cell() as (cell, _):
        done = cell.run("doctor", "--for", "500ms", "--json", "--data-dir", tmp_path)
        facts = json.loads(done.stdout)
        assert done.returncode == (0 if facts["fine"] else 1)  # a loaded machine is worth a finding
        assert [node["state"] for node in facts["nodes"]] == ["serving"] * 3
        for node in facts["nodes"]:
            least, median, most = node["round_trip_ms"]
            assert 0 < least <= median <= most
            assert (node["pings"] > 5 and node["answered"] > 0) or facts["findings"]
            assert node["loss"] == round(1 - node["answered"] / node["pings"], 3)
            assert abs(node["clock_rate"] - 1.0) <= node["clock_error"] + 0.001
        assert facts["pause_ms"] >= 0 and facts["fsync_ms"] > 0
        assert facts["worst_takeover_ms"] > facts["ttl_ms"] == 10_000
        assert list(tmp_path.iterdir()) == []
        text = cell.run("doctor", "--for", "100ms").stdout
        assert "whoever waits leads at most" in text
        said = "a ttl of 10h is above the cell's max_ttl of 30s: give --ttl 30s, or less"
        assert cell.fails(64, "doctor", "--ttl", "10h") == said
        assert "cannot be written" in cell.fails(78, "doctor", "--data-dir", tmp_path / "none")
        members = json.loads(cell.output("status", "--json"))["members"]
        assert all(member["round_trip_ms"] > 0 for member in members)
        assert all(member["pings"] >= 1 and 0.0 <= member["loss"] <= 1.0 for member in members)


@pytest.mark.slow
def test_a_node_whose_clock_runs_wrong_is_found(tmp_path: Path) -> None:
    library = libfaketime()
    if library is None:
        pytest.skip("libfaketime is not installed (Debian: apt-get install faketime)")
    file = tmp_path / "cell.toml"
    cell = Cell({"PAXLOCK_CELL": str(file)})
    addresses = [f"{node}=127.0.0.1:{free_port(socket.SOCK_DGRAM)}" for node in "abc"]
    assert cell.run("init", file, *addresses).returncode == 0
    wrong = {"LD_PRELOAD": library, "FAKETIME": "+0 x1.05"}
    with ExitStack() as stack:
        for node in "abc":
            env = wrong if node == "b" else {}
            serve = ("serve", "--create", "--node", node, "--data-dir", tmp_path / node)
            started = stack.enter_context(cell.start(*serve, **env))
        while f"node {node} serves" not in started.stderr.line():
            pass
        done = cell.run("doctor", "--for", "2s", "--json")
        facts = json.loads(done.stdout)
        assert done.returncode == 1
        rates = {node["id"]: node["clock_rate"] for node in facts["nodes"]}
        assert 1.04 < rates["b"] < 1.06 and 0.99 < rates["a"] < 1.01
        (finding,) = [finding for finding in facts["findings"] if finding["about"] == "clock"]
        assert finding["problem"] and "the clock of node b runs" in finding["sentence"]


def test_a_cell_that_does_not_answer(tmp_path: Path) -> None:
    cell = Cell({"PAXLOCK_CELL": str(tmp_path / "cell.toml")})
    address = f"a=127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    assert cell.run("init", tmp_path / "cell.toml", address).returncode == 0
    done = cell.run("doctor", "--for", "100ms", "--json")
    assert done.returncode == 69
    facts = json.loads(done.stdout)
    assert facts["fine"] is False
    assert [finding["about"] for finding in facts["findings"]][:2] == ["quorum", "node a"]
