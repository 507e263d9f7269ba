"""`paxlock stats` on real cells."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from paxlock_process import Cell, dev_cell, free_port

pytestmark = pytest.mark.processes


@pytest.mark.slow
def test_the_counters_of_all_nodes_stand_side_by_side() -> None:
    with dev_cell() as (cell, _):
        cell.output("acquire", "job", "--label", "athens")
        lines = [line.split() for line in cell.output("stats").splitlines()]
        assert lines[0] == ["COUNTER", "a", "b", "c"]
        table = {line[0]: line[1:] for line in lines[1:]}
        assert table["serving"] == ["1"] * 3
        assert all(float(number) > 0 for number in table["up_ms"])
        assert "floods" not in table
        facts = json.loads(cell.output("stats", "--json"))
        assert [node["id"] for node in facts["nodes"]] == ["a", "b", "c"]
        for node in facts["nodes"]:
            counters = node["counters"]
            assert node["answered"] and counters["floods"] == 0 and counters["up_ms"] > 0
            assert counters["messages.count"] > 0
        assert sum(node["counters"]["names"] for node in facts["nodes"]) >= 2
        told = cell.output("stats", "--json")
        assert "athens" not in told and "job" not in told


@pytest.mark.slow
def test_a_node_that_sits_out_answers_too_and_goes_on(tmp_path: Path) -> None:
    """A first start without a word: there is nobody to ask, and nothing is served."""
    address = f"a=127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    other = f"b=127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    third = f"c=127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    file = tmp_path / "cell.toml"
    cell = Cell({"PAXLOCK_CELL": str(file)})
    assert cell.run("init", file, address, other, third).returncode == 0
    with cell.start("serve", "--node", "a", "--data-dir", tmp_path / "a") as node:
        while "no memory" not in node.stderr.line():
            pass
        done = cell.run("stats", "--json")
        assert done.returncode == 69
        a, b, _ = json.loads(done.stdout)["nodes"]
        assert a["answered"] and a["counters"]["starting"] == 1 and a["counters"]["peer_answers.b"] == 0
        assert not b["answered"] and "counters" not in b
        text = cell.run("stats")
        assert "node b did not answer" in text.stdout
        members = json.loads(cell.run("status", "--json").stdout)["members"]
        assert members[0]["state"] == "starting"


def test_a_cell_that_does_not_answer(tmp_path: Path) -> None:
    cell = Cell({"PAXLOCK_CELL": str(tmp_path / "cell.toml")})
    address = f"a=127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    assert cell.run("init", tmp_path / "cell.toml", address).returncode == 0
    done = cell.run("stats")
    assert done.returncode == 69 and "no node answered" in done.stderr
    assert done.stdout.splitlines() == ["COUNTER  a", "node a did not answer"]
