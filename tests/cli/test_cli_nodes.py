"""``paxlock init`` and ``paxlock serve``: a cell from nothing, restarts, and refusals that say what to do."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest
from paxlock_process import Cell

from paxlock.cli import main

pytestmark = pytest.mark.processes


def free_address() -> str:
    """A loopback address that nobody uses at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def single(tmp_path: Path) -> Cell:
    """A cell of one node, made by ``init`` and not yet started."""
    path = tmp_path / "cell.toml"
    assert main(["init", "-q", str(path), f"a={free_address()}", "--max-ttl", "2s"]) == 0
    return Cell({"PAXLOCK_CELL": str(path), "PAXLOCK_NODE": "a", "PAXLOCK_DATA_DIR": str(tmp_path / "data")})


def test_init_writes_the_cell_and_a_key_that_is_its_owners_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, key = tmp_path / "cell.toml", tmp_path / "cell.key"
    assert main(["init", str(path), "a=10.0.0.7:7400", "b=host:7400", "c=10.0.0.9:7400"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert str(path) in captured.err
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text().strip() not in captured.err
    assert main(["init", "--json", "-q", str(tmp_path / "other.toml"), "a=10.0.0.7:7400"]) == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert list(facts) == ["v", "cell_id", "cell_file", "key_file"]
    assert facts["cell_id"] not in path.read_text()
    assert captured.err == ""


def test_init_never_overwrites(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, key = tmp_path / "cell.toml", tmp_path / "cell.key"
    assert main(["init", "-q", str(path), "a=127.0.0.1:7400"]) == 0
    before = (path.read_bytes(), key.read_bytes())
    assert main(["init", str(path), "b=127.0.0.1:7400"]) == 78
    assert "never overwritten" in capsys.readouterr().err
    assert (path.read_bytes(), key.read_bytes()) == before
    path.unlink()
    assert main(["init", str(path), "b=127.0.0.1:7400"]) == 78
    assert "never overwritten" in capsys.readouterr().err
    assert not path.exists()
    assert key.read_bytes() == before[1]


@pytest.mark.slow
def test_a_node_starts_by_itself(single: Cell) -> None:
    """Twice by the same command: first it sits out, since nobody can tell that the cell is new."""
    for said in ("sits out", "serves"):
        with single.start("serve") as node:
            while said not in node.stderr.line():
                pass
            while said == "sits out" and "serves" not in node.stderr.line():
                pass
            node.send_signal(signal.SIGTERM)
            assert node.wait() == 0


@pytest.mark.slow
def test_serve_from_the_first_start_to_the_next(single: Cell) -> None:
    with single.start("serve", "--create") as node:
        while "serves" not in node.stderr.line():
            pass
        assert json.loads(single.output("status", "--json"))["quorum"] is True
        handle = single.output("acquire", "job", "--ttl", "2s")
        assert "in use" in single.fails(
            78, "serve", "--create", PAXLOCK_DATA_DIR=f"{single.env['PAXLOCK_DATA_DIR']}-other"
        )
        node.send_signal(signal.SIGTERM)
        assert node.wait() == 0
        assert node.stdout.rest() == ""
    assert single.run("status").returncode == 69
    assert "--create" in single.fails(78, "serve", "--create")
    with single.start("serve") as node:
        while "serves" not in node.stderr.line():
            pass
        assert single.run("release", handle).returncode == 0
        node.send_signal(signal.SIGINT)
        assert node.wait() == 0


def test_a_node_of_another_name_is_refused(single: Cell) -> None:
    assert "its nodes are a" in single.fails(78, "serve", "--node", "z", "--create")


def test_a_data_folder_that_cannot_be_used(single: Cell, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    single.fails(78, "serve", "--create", "--data-dir", plain)
    said = single.fails(78, "serve", "--create", "--data-dir", "/proc/no/folder")
    assert "cannot be made" in said and "--create" not in said


def test_a_key_that_others_may_read_is_refused(single: Cell) -> None:
    Path(single.env["PAXLOCK_CELL"]).with_suffix(".key").chmod(0o644)
    assert "chmod 600" in single.fails(78, "status")
