"""Nodes with host names that come back elsewhere: processes on several addresses of loopback."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from processes import ProcessCell, process_cell

from paxlock import Cell

pytestmark = [
    pytest.mark.slow,
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="only 127.0.0.1 is an address of this host"),
]

MAX_TTL_S = 2.0


class Hosts:
    """The host names of a cell of processes, in a file that they look into."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = folder / "hosts.json"
        monkeypatch.setenv("PAXLOCK_TEST_HOSTS", str(self._path))

    def are_at(self, network: int, **elsewhere: str) -> None:
        """The nodes have addresses in this part of loopback from now on, or ``elsewhere``."""
        book = {f"{node_id}.test": [f"127.0.{network}.{at}"] for at, node_id in enumerate("abc", 1)}
        book |= {f"{node_id}.test": [address] for node_id, address in elsewhere.items()}
        self._path.write_text(json.dumps(book), encoding="utf-8")


def with_names(cell: ProcessCell) -> None:
    """The same cell, with host names in its file."""
    members = {node_id: f"{node_id}.test:{port}" for node_id, port in cell.ports.items()}
    cell.cell = Cell.new(members, max_ttl=MAX_TTL_S)
    cell.path = cell.folder / "named.toml"
    cell.cell.save(cell.path)


def test_all_nodes_come_back_elsewhere_and_nobody_else_is_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = Hosts(tmp_path, monkeypatch)
    hosts.are_at(1)
    with process_cell(tmp_path, max_ttl=MAX_TTL_S, create=False) as cell:
        with_names(cell)
        cell.create()
        client = cell.client("client")
        client.tell("lock", name="x", ttl=MAX_TTL_S)
        held = [client.expect("acquired")["name"]]
        for network in (2, 3):
            for node_id in "abc":
                assert cell.nodes[node_id].stop() == 0
            hosts.are_at(network)
            for node_id in "abc":
                cell.node(node_id)
            for node_id in "abc":
                cell.serves(node_id)
            name = f"y{network}"
            client.tell("lock", name=name, ttl=MAX_TTL_S)
            held.append(client.expect("acquired", name=name)["name"])
        assert held == ["x", "y2", "y3"]


def test_a_node_that_has_lost_its_disk_joins_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = Hosts(tmp_path, monkeypatch)
    hosts.are_at(1)
    with process_cell(tmp_path, max_ttl=MAX_TTL_S, create=False) as cell:
        with_names(cell)
        cell.create()
        client = cell.client("client")
        client.tell("lock", name="x", ttl=MAX_TTL_S)
        client.expect("acquired")
        cell.nodes["c"].kill()
        hosts.are_at(1, c="127.0.9.3")
        cell.node("c", "join", data_dir=tmp_path / "new-disk")
        cell.serves("c")
        # With it, and without one of those that were there all the while.
        cell.nodes["a"].kill()
        client.tell("lock", name="y", ttl=MAX_TTL_S)
        assert client.expect("acquired", name="y")["term"] > 1000
