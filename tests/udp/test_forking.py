"""A process that forks: its child releases nothing, renews nothing, writes nothing, and disturbs nobody."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import Event, ProcessCell, Program, process_cell

from paxlock.store.format import decode_record

pytestmark = [pytest.mark.processes, pytest.mark.slow]

ENDS = {"_exit": 0, "exit": 7, "raise": 1, "return": 0, "go on": 1}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessCell]:
    """One cell for all whose nodes are left in peace: each test has a name of its own."""
    with process_cell(tmp_path_factory.mktemp("served")) as cell:
        yield cell


def start(cell: ProcessCell, name: str, how: str, *node: str) -> Program:
    return cell.program("fork_program.py", str(cell.path), name, how, *node)


def of_node(cell: ProcessCell, node_id: str) -> tuple[str, str]:
    return node_id, str(cell.data_dir(node_id))


def counters(node: Program) -> dict[str, int]:
    """What a node counts of its datagrams."""
    node.tell()
    found: dict[str, int] = node.expect("counters")["endpoint"]
    return found


@contextmanager
def outliving(parent: Program) -> Iterator[None]:
    """The child is up, and its parent is killed: within the block the child is alone."""
    found: dict[str, Event] = {}
    while len(found) < 2:
        event = parent.expect("forked", "child")
        found[event["event"]] = event
    child = os.pidfd_open(found["forked"]["child"])
    try:
        parent.kill()
        yield
    finally:
        signal.pidfd_send_signal(child, signal.SIGKILL)
        os.close(child)


def hears_of_nothing(program: Program) -> None:
    """Whoever waits in line has not got the name."""
    assert program.told("acquired") == []


@pytest.mark.parametrize("how", [*ENDS, "c exit", "c go on"])
def test_the_child_of_a_holder_costs_it_nothing(served: ProcessCell, how: str) -> None:
    with served.guests() as cell:
        parent = start(cell, how, how)
        term = parent.expect("acquired")["term"]
        successor = cell.client("successor")
        successor.expect("open")
        successor.tell("lock", name=how, ttl=1.0)
        parent.expect("child")
        ended = parent.expect("child ended")
        assert ended["status"] == ENDS[how.removeprefix("c ")]
        for _ in range(4):  # more than a ttl
            parent.expect("extended")
        hears_of_nothing(successor)
        parent.tell()
        parent.expect("left")
        assert successor.expect("acquired")["term"] > term
        for node in cell.nodes.values():
            # A number that was used twice is one that the window has seen.
            assert counters(node).get("dropped_replay", 0) == 0
        mine = parent.seen[0]["process"]
        assert {event["process"] for event in parent.told("extended")} == {mine}


def test_the_child_that_goes_on_is_told_why_and_has_a_loop_of_its_own(served: ProcessCell) -> None:
    with served.guests() as cell:
        parent = start(cell, "told why", "go on")
        parent.expect("acquired")
        told = parent.expect("child")
        assert (told["acquire"], told["valid"], told["statistics"]) == ("closed", "closed", "closed")
        parent.expect("thread")
        parent.expect("child ended")
        others = [event for event in parent.seen if event["event"] == "the other task ends"]
        assert [("fork" in event["error"], event["process"]) for event in others] == [(True, told["process"])]


def test_a_child_that_outlives_its_parent_renews_nothing(served: ProcessCell) -> None:
    with served.guests() as cell:
        parent = start(cell, "outlived", "live on")
        with outliving(parent):
            successor = cell.client("successor")
            successor.tell("lock", name="outlived", ttl=1.0)
            assert successor.expect("acquired")["term"] > parent.told("acquired")[0]["term"]


@pytest.mark.parametrize("how", ["_exit", "return", "go on", "c exit"])
def test_the_child_of_a_node_writes_nothing_and_leaves_it_awake(tmp_path: Path, how: str) -> None:
    with process_cell(tmp_path, create=False) as cell:
        parent = start(cell, "x", how, *of_node(cell, "a"))
        for node_id in ("b", "c"):
            cell.node(node_id, "create")
        for node_id in ("b", "c"):
            cell.serves(node_id)
        parent.expect("child")
        ended = parent.expect("child ended")
        assert ended["status"] == ENDS[how.removeprefix("c ")]
        folder = cell.data_dir("a")
        assert not (folder / "snapshot").exists()
        assert not decode_record((folder / "record.json").read_bytes()).clean
        # Node c dies: from here on every quorum has node a, which must hear what comes, at once.
        cell.nodes["c"].kill()
        traffic = cell.client("traffic")
        traffic.tell("traffic", name="y", count=40, ttl=1.0)
        traffic.expect("traffic done")
        for _ in range(4):
            parent.expect("extended")
        parent.kill()
        again = cell.node("a")
        said = again.expect("report")["text"]
        assert said == "node a serves", "the state file is the parent's alone, and whole"


def test_the_folder_of_a_killed_node_is_not_locked_by_its_child(tmp_path: Path) -> None:
    with process_cell(tmp_path, create=False) as cell:
        parent = start(cell, "x", "live on", *of_node(cell, "a"))
        for node_id in ("b", "c"):
            cell.node(node_id, "create")
        with outliving(parent):
            assert cell.node("a").expect("report")["text"] == "node a serves"


@pytest.mark.parametrize("embedded", [False, True], ids=["client", "node"])
def test_workers_of_a_master_that_holds_have_clients_of_their_own(tmp_path: Path, embedded: bool) -> None:
    with process_cell(tmp_path, create=not embedded) as cell:
        if embedded:
            for node_id in ("b", "c"):
                cell.node(node_id, "create")
        node = of_node(cell, "a") if embedded else ()
        master = cell.program("prefork_program.py", str(cell.path), "x", *node)
        term = master.expect("acquired")["term"]
        assert master.expect("workers ended")["statuses"] == [3, 3, 3, 0]
        workers = {event["number"]: (event["state"], event["term"]) for event in master.told("worker")}
        assert workers == dict.fromkeys(range(4), ("LED", term))
        for _ in range(4):
            master.expect("extended")
        assert not master.told("the lease of the master lives in a worker")
        if embedded:
            assert not decode_record((cell.data_dir("a") / "record.json").read_bytes()).clean
        master.tell()
        master.expect("left")
        assert master.process.wait(30) == 0
        if embedded:
            assert decode_record((cell.data_dir("a") / "record.json").read_bytes()).clean
