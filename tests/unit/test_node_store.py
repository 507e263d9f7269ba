"""What a node does with its folder before it starts (protocol.md section 7)."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from trio.testing import MockClock

from paxlock.config.cell import Cell, NodeConfig
from paxlock.core.durable import Durability, Membership, NodeRecord
from paxlock.node import server as service
from paxlock.runtime.environment import open_store
from paxlock.store.folder import MemoryStore, Store

CELL = Cell.new({"a": "127.0.0.1:7400"})
RECORD = NodeRecord(
    cell_id=CELL.cell_id,
    epoch=1,
    node_id="a",
    incarnation=3,
    ceiling=2000,
    durability=Durability.RECORD,
    membership=Membership.MEMBER,
    max_ttl_ms=30_000,
    clean=True,
)


@pytest.mark.parametrize("clean", [True, False])
def test_a_run_in_memory_outdates_a_clean_stop(tmp_path: Path, clean: bool) -> None:
    store = Store.open(tmp_path, create_folder=False)
    store.write_record(attrs.evolve(RECORD, clean=clean))
    store.close()
    opened = open_store(NodeConfig(CELL, "a", tmp_path, "memory"))
    assert isinstance(opened, MemoryStore)
    store = Store.open(tmp_path, create_folder=False)
    assert store.read_record() == attrs.evolve(RECORD, clean=False)
    store.close()


def test_memory_mode_needs_and_makes_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    opened = open_store(NodeConfig(CELL, "a", folder, "memory"))
    assert isinstance(opened, MemoryStore)
    assert not folder.exists()


async def test_runs_without_a_past_never_share_a_second(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """The second is their incarnation: by it late datagrams of an earlier run are told from those of this."""
    began = 1_000.25
    monkeypatch.setattr("time.time", lambda: began + autojump_clock.current_time())
    assert await service._incarnation_second() == 1_001
    assert await service._incarnation_second() == 1_002
