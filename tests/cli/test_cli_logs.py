"""What `paxlock serve` tells its operator, by real processes: each change once."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from paxlock_process import Cell, Process, free_port

IDS = ("a", "b", "c")

Facts = dict[str, Any]


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    """The cell file of three nodes, of which none runs."""
    path = tmp_path / "cell.toml"
    cell = Cell({"PAXLOCK_CELL": str(path)})
    ports = [free_port(socket.SOCK_DGRAM) for _ in IDS]
    addresses = [f"{node}=127.0.0.1:{port}" for node, port in zip(IDS, ports, strict=True)]
    assert cell.run("init", path, *addresses).returncode == 0
    return cell


def start(cell: Cell, node: str, *arguments: str) -> Process:
    folder = Path(cell.env["PAXLOCK_CELL"]).parent / node
    first = [] if folder.exists() else ["--start", "create"]
    return cell.start("serve", "--node", node, "--data-dir", folder, *first, *arguments)


class Log:
    """The JSON lines of one node, as far as they were read."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.lines: list[Facts] = []

    def until(self, wanted: Callable[[Facts], bool]) -> Facts:
        """Read on until a line is wanted."""
        while True:
            found: Facts = json.loads(self._process.stderr.line())
            self.lines.append(found)
            if wanted(found):
                return found

    def event(self, event: str) -> Facts:
        return self.until(lambda line: bool(line["event"] == event))

    def rest(self) -> None:
        self.lines += [json.loads(line) for line in self._process.stderr.rest().splitlines()]

    def events(self, *events: str) -> list[str]:
        return [line["event"] for line in self.lines if line["event"] in events]


def stop(process: Process) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0


@pytest.mark.slow
def test_quorum_and_peers_are_told_when_they_go_and_when_they_come_back(cell: Cell) -> None:
    with start(cell, "a") as a, ExitStack() as others:
        log = Log(a)
        assert log.event("start")["incarnation"] == 1
        b, c = (others.enter_context(start(cell, node)) for node in ("b", "c"))
        log.event("quorum")
        assert log.events("serving") == ["serving"]
        cell.output("acquire", "job", "--ttl", "20s")
        stop(b)
        assert log.event("peer_down")["peer"] == "b"
        stop(c)
        lost = log.event("quorum_lost")
        assert (lost["level"], lost["serving"], lost["needed"], lost["node"]) == ("error", 1, 2, "a")
        others.enter_context(start(cell, "b"))
        regained = log.event("quorum_regained")
        assert regained["seconds"] > 0 and regained["level"] == "warning"
        stop(a)
        log.rest()
        assert log.lines[-1]["event"] == "stop" and log.lines[-1]["leases"] == 1
        told = log.events("quorum", "quorum_lost", "quorum_regained", "peer_down")
        assert told == ["quorum", "peer_down", "peer_down", "quorum_lost", "quorum_regained"]


@pytest.mark.slow
def test_a_foreign_key_is_told_once_however_often_it_comes(cell: Cell, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    foreign = other / "other.toml"
    assert cell.run("init", foreign, "x=127.0.0.1:7400").returncode == 0
    with start(cell, "a") as a:
        log = Log(a)
        log.event("start")
        for _ in range(3):
            found = cell.run("status", "--key-file", foreign.with_suffix(".key"))
            assert found.returncode == 69
        stop(a)
        log.rest()
    keys = [line for line in log.lines if line["event"] == "dropped_key"]
    assert len(keys) == 1
    assert keys[0]["address"] == "127.0.0.1" and "same key file" in keys[0]["message"]


def test_text_on_demand_and_only_what_is_asked_for(cell: Cell) -> None:
    with start(cell, "a", "--log", "text") as a:
        words = a.stderr.line().split(" ")
        assert words[1:3] == ["INFO", "[a]"]
        stop(a)
    with start(cell, "b", "--log-level", "error") as b:
        cell.run("status")
        stop(b)
        assert b.stderr.rest() == ""


def test_a_log_that_nobody_reads_does_not_hold_up_the_end_of_a_node(cell: Cell) -> None:
    with start(cell, "a", "--log-level", "debug") as a:
        assert json.loads(a.stderr.line())["event"] == "start"
        stop(a)


def test_a_data_folder_that_is_deleted_is_told_and_its_stop_is_not_clean(cell: Cell, tmp_path: Path) -> None:
    with ExitStack() as stack:
        a, b, _ = (stack.enter_context(start(cell, node)) for node in IDS)
        log, other = Log(a), Log(b)
        log.event("serving")
        other.event("serving")
        shutil.rmtree(tmp_path / "a")
        told = log.event("data_folder")
        assert (
            told["level"] == "warning" and f"the data folder {tmp_path / 'a'} was deleted" in told["message"]
        )
        shown = cell.run("status").stdout
        assert "a complains: its data folder was deleted or moved" in shown and "quorum: yes" in shown
        a.send_signal(signal.SIGTERM)
        assert a.wait() == 70
        *lines, last = a.stderr.rest().splitlines()
        assert last == f"paxlock: {tmp_path / 'a' / 'snapshot'} cannot be written: No such file or directory"
        stops = [json.loads(line) for line in lines if json.loads(line)["event"] == "stop"]
        assert [line["clean"] for line in stops] == [False]
        assert "its memory could not be written" in stops[0]["message"]
        assert [json.loads(line)["event"] for line in lines].count("data_folder") == 0  # once
        stop(b)
        assert other.event("stop")["clean"] is True
