"""Keys with rights, from ``paxlock grant`` to exit code 77, with real processes."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from paxlock_process import Cell, dev_cell

import paxlock


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with dev_cell() as (cell, _):
        yield cell


def granted(cell: Cell, path: Path, *arguments: str) -> Path:
    cell.output("grant", path, *arguments)
    return path


@pytest.mark.slow
def test_a_key_does_what_it_was_granted_and_nothing_else(cell: Cell, tmp_path: Path) -> None:
    key = granted(
        cell, tmp_path / "app.key", "--name", "jobs/*", "--acquire", "--ttl-max", "5s", "--id", "app"
    )
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    app = {"PAXLOCK_KEY_FILE": str(key)}
    handle = cell.output("acquire", "jobs/1", "--ttl", "5s", "--try", **app)
    cell.output("renew", handle, **app)
    cell.output("release", handle, **app)
    refused = cell.fails(77, "acquire", "other", "--ttl", "5s", "--try", **app)
    assert "'app' does not allow to acquire 'other': it is for 'jobs/*'" in refused
    assert "does not allow to observe 'jobs/1'" in cell.fails(77, "watch", "jobs/1", "--once", **app)
    assert "does not allow to observe all names: it is for 'jobs/*'" in cell.fails(77, "ls", **app)
    assert "to observe all names that begin with 'jobs/'" in cell.fails(77, "ls", "jobs/", **app)
    assert "a ttl above 5s" in cell.fails(77, "acquire", "jobs/1", "--ttl", "6s", "--try", **app)
    foreign = cell.output("acquire", "jobs/2", "--ttl", "10s", "--try")
    assert "administer 'jobs/2'" in cell.fails(77, "release", foreign, **app)


@pytest.mark.slow
def test_a_key_in_the_environment_finds_the_cell_by_addresses_alone(cell: Cell, tmp_path: Path) -> None:
    key = json.loads(cell.output("grant", "--observe", "--acquire", "--json"))["key"]
    addresses = ",".join(member.address for member in paxlock.Cell.load(cell.env["PAXLOCK_CELL"]).members)
    bare = Cell({"PAXLOCK_NODES": addresses, "PAXLOCK_KEY": key})
    bare.output("acquire", "by-address", "--try")
    assert json.loads(bare.output("status", "by-address", "--json"))["state"] == "led"


@pytest.mark.slow
def test_a_key_that_has_expired_is_told_so(cell: Cell, tmp_path: Path) -> None:
    key = granted(cell, tmp_path / "old.key", "--acquire", "--expires", "1ms")
    said = cell.fails(77, "acquire", "late", "--wait", "10s", PAXLOCK_KEY_FILE=str(key))
    assert "has expired or was revoked" in said


@pytest.mark.slow
def test_what_a_client_key_cannot_do_is_said(cell: Cell, tmp_path: Path) -> None:
    key = granted(cell, tmp_path / "app.key", "--administer")
    app = {"PAXLOCK_KEY_FILE": str(key)}
    assert "the cell's own key" in cell.fails(78, "grant", "--acquire", **app)
    assert "a node needs the cell's own key" in cell.fails(
        78, "serve", "--node", "a", "--data-dir", tmp_path, **app
    )
    assert "say what the key is for" in cell.fails(64, "grant")
    assert "never overwritten" in cell.fails(78, "grant", key, "--acquire")
