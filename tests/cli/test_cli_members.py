"""``paxlock member``: the nodes of a cell file, and another address for one of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paxlock import Cell
from paxlock.cli import main


@pytest.fixture
def cell_file(tmp_path: Path) -> str:
    path = tmp_path / "cell.toml"
    Cell.new({"a": "10.0.0.7:7400", "b": "10.0.0.8:7400", "c": "host.example:7400"}).save(path)
    return str(path)


def test_the_nodes_are_listed(cell_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(cell_file).with_suffix(".key").unlink()  # not needed for that
    assert main(["member", "list", "--cell", cell_file]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split() for line in out] == [
        ["NODE", "ADDRESS"],
        ["a", "10.0.0.7:7400"],
        ["b", "10.0.0.8:7400"],
        ["c", "host.example:7400"],
    ]
    assert main(["member", "list", "--json", "--cell", cell_file]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["nodes"][2] == {"id": "c", "address": "host.example:7400"}


def test_a_node_is_moved_in_the_file(cell_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(cell_file)
    path.chmod(0o640)
    before = Cell.load(path)
    assert main(["member", "move", "c", "10.0.0.12:7400", "--cell", cell_file]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "node c has the address 10.0.0.12:7400" in captured.err
    after = Cell.load(path)
    assert after.address_of("c") == "10.0.0.12:7400"
    assert [after.address_of(node) for node in "ab"] == [before.address_of(node) for node in "ab"]
    assert (after.cell_id, after.keys) == (before.cell_id, before.keys)
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(file.name for file in path.parent.iterdir()) == ["cell.key", "cell.toml"]


def test_a_node_that_moves_out_of_reach_is_warned_of(
    cell_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No more than that: the others may be moved next."""
    assert main(["member", "move", "a", "[fd00::7]:7400", "--cell", cell_file]) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("paxlock: WARNING: node a and node b cannot reach each other: b has IPv4")
    assert "node a has the address [fd00::7]:7400" in second


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["move", "d", "10.0.0.9:7400"], 64, "'d' is not a node of this cell"),
        (["move", "a", "nowhere"], 64, "is not an address"),
        (["move", "a", "10.0.0.8:7400"], 64, "every node needs an address of its own"),
        (["move", "a", "HOST.example:7400"], 64, "every node needs an address of its own"),
        (["move", "a", "10.0.0.9:7400", "--cell", "/nowhere/cell.toml"], 78, "there is no cell file"),
    ],
)
def test_what_is_refused_is_one_sentence(
    cell_file: str, arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path(cell_file).read_text()
    given = arguments if "--cell" in arguments else [*arguments, "--cell", cell_file]
    assert main(["member", *given]) == code
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert len(captured.err.splitlines()) <= 2
    assert Path(cell_file).read_text() == before
