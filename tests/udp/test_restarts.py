"""Nodes killed, stopped cleanly and started anew (protocol.md section 7): processes with disks."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path

import pytest
from processes import ProcessCell, Program, boot_time, process_cell

pytestmark = [pytest.mark.processes, pytest.mark.slow]

MAX_TTL_S = 2.0
LONG_TTL_S = 4.0  #: a lease that a loaded machine does not lose by standing still for a second or two
SITS_OUT = 1.01 / 0.99


def restart_after_crash(cell: ProcessCell, node_id: str, max_ttl: float) -> None:
    """The machine crashes; start on the same folder, wait until it serves: it must sit out and say so."""
    cell.machine_crashes(node_id)
    began = boot_time()
    node = cell.node(node_id)
    assert f"sits out {max_ttl * SITS_OUT:.1f} s" in node.expect("report")["text"]
    cell.serves(node_id)
    assert boot_time() - began >= max_ttl * SITS_OUT - 0.01


def renewed(holder: Program) -> float:
    """Wait for the next renewal of its lease: until when that lets it count on it."""
    event = holder.expect("extended", "lost")
    assert event["event"] == "extended", event
    deadline: float = event["deadline"]
    return deadline


def until_it_holds(node: Program, name: str, holder: Program) -> None:
    """Wait until this node holds the lease (again): looked at whenever the holder's is renewed."""
    node.tell()
    while name not in node.expect("counters")["holds"]:
        renewed(holder)
        node.tell()


def polled(client: Program, name: str) -> tuple[str, int]:
    """What a poll tells; asked again where a loaded machine was too slow for an answer."""
    while True:
        client.tell("poll", name=name)
        found = client.expect("polled")
        if found["state"] != "UNKNOWN":
            return found["state"], found["term"]


def test_after_a_crash_of_all_machines_terms_never_go_back(tmp_path: Path) -> None:
    with process_cell(tmp_path, max_ttl=MAX_TTL_S) as cell:
        client = cell.client("client")
        terms = []
        for _ in range(3):
            client.tell("lock", name="x", ttl=1.0)
            terms.append(client.expect("acquired")["term"])
            client.tell("leave", name="x")
            client.expect("left")
        cell.machine_crashes(*"abc")
        began = boot_time()
        for node_id in "abc":
            assert "sits out" in cell.node(node_id).expect("report")["text"]
        client.tell("lock", name="x", ttl=1.0)
        acquired = client.expect("acquired")
        assert acquired["at"] - began >= MAX_TTL_S * SITS_OUT - 0.01
        terms.append(acquired["term"])
        assert terms == sorted(set(terms))


@pytest.mark.slow
def test_long_tenure_over_nodes_that_lose_their_memory_one_after_the_other(tmp_path: Path) -> None:
    """Rule L3: after two such nodes out of three nothing is left of the first quorum."""
    with process_cell(tmp_path, max_ttl=LONG_TTL_S) as cell:
        holder, other = cell.client("holder"), cell.client("other")
        holder.tell("lock", name="x", ttl=LONG_TTL_S)
        term = holder.expect("acquired")["term"]
        for node_id in "ab":
            restart_after_crash(cell, node_id, LONG_TTL_S)
            until_it_holds(cell.nodes[node_id], "x", holder)
        assert polled(other, "x") == ("LED", term)
        # The two that had forgotten hold the lease again: they carry it without the third.
        killed = cell.nodes["c"].kill()
        while renewed(holder) < killed + 1.5 * LONG_TTL_S:
            pass
        assert holder.told("lost") == []
        holder.tell("leave", name="x")
        holder.expect("left")


def test_nodes_killed_one_after_the_other_serve_again_at_once(tmp_path: Path) -> None:
    """On the same boot a killed process costs nothing: the holder does not notice, and nobody sits out."""
    with process_cell(tmp_path, max_ttl=20.0) as cell:
        holder, other = cell.client("holder"), cell.client("other")
        holder.tell("lock", name="x", ttl=6.0)
        term = holder.expect("acquired")["term"]
        for node_id in "abc":
            renewed(holder)
            cell.nodes[node_id].kill()
            began = boot_time()
            node = cell.node(node_id)
            assert node.expect("report")["text"] == f"node {node_id} serves"
            assert boot_time() - began < 20.0
            node.tell()
            assert node.expect("counters")["holds"] == ["x"]
            assert polled(other, "x") == ("LED", term)
        assert holder.told("lost") == []


def test_all_nodes_killed_at_once_keep_every_lease(tmp_path: Path) -> None:
    with process_cell(tmp_path, max_ttl=60.0) as cell:
        holder, other = cell.client("holder"), cell.client("other")
        terms = []
        for _ in range(3):
            other.tell("lock", name="y", ttl=1.0)
            terms.append(other.expect("acquired")["term"])
            other.tell("leave", name="y")
            other.expect("left")
        holder.tell("lock", name="x", ttl=30.0)
        term = holder.expect("acquired")["term"]
        for node_id in "abc":
            cell.nodes[node_id].signal(signal.SIGKILL)
        for node_id in "abc":
            cell.nodes[node_id].kill()
        for node_id in "abc":
            cell.node(node_id)
        for node_id in "abc":
            cell.serves(node_id)
        other.tell("lock", name="x", ttl=1.0, wait=1.0)
        assert other.expect("acquired", "not acquired")["event"] == "not acquired"
        assert polled(other, "x") == ("LED", term)
        other.tell("lock", name="y", ttl=1.0)
        terms.append(other.expect("acquired")["term"])
        assert terms == sorted(set(terms))
        renewed(holder)
        holder.tell("leave", name="x")
        holder.expect("left")
        other.tell("lock", name="x", ttl=1.0)
        assert other.expect("acquired")["term"] > term


@pytest.mark.parametrize("damage", ["torn", "flipped", "copied", "older"])
def test_a_state_file_that_is_not_whole_counts_for_nothing(tmp_path: Path, damage: str) -> None:
    with process_cell(tmp_path, max_ttl=MAX_TTL_S) as cell:
        state = cell.data_dir("c") / "state"
        older = state.read_bytes()
        client = cell.client("client")
        client.tell("lock", name="x", ttl=1.0)
        client.expect("acquired")
        client.tell("leave", name="x")
        client.expect("left")
        until = boot_time() + 20.0
        while state.read_bytes() == older:
            assert boot_time() < until
        cell.nodes["c"].kill()
        content = bytearray(state.read_bytes())
        if damage == "torn":
            del content[-1:]
        elif damage == "flipped":
            content[len(content) // 2] ^= 4
        elif damage == "older":
            content = bytearray(older)
        if damage in {"copied", "older"}:
            state.rename(state.with_name("moved away"))
        state.write_bytes(content)
        assert f"sits out {MAX_TTL_S * SITS_OUT:.1f} s" in cell.node("c").expect("report")["text"]


def test_clean_restarts_one_after_the_other_do_not_disturb_the_holder(tmp_path: Path) -> None:
    with process_cell(tmp_path, max_ttl=MAX_TTL_S) as cell:
        holder, other = cell.client("holder"), cell.client("other")
        holder.tell("lock", name="x", ttl=MAX_TTL_S)
        term = holder.expect("acquired")["term"]
        for node_id in "abc":
            assert cell.nodes[node_id].stop() == 0
            node = cell.node(node_id)
            assert node.expect("report")["text"] == f"node {node_id} serves"  # at once
            assert polled(other, "x") == ("LED", term)
            holder.expect("extended")
        assert holder.told("lost") == []


def test_a_clean_restart_of_the_whole_cell_keeps_leases_with_the_time_left(tmp_path: Path) -> None:
    with process_cell(tmp_path, max_ttl=20.0) as cell:
        holder, other = cell.client("holder"), cell.client("other")
        holder.tell("lock", name="x", ttl=20.0)
        term = holder.expect("acquired")["term"]
        other.tell("lock", name="x", ttl=1.0, wait=2.0)
        for node_id in "abc":
            assert cell.nodes[node_id].stop() == 0
        for node_id in "abc":
            cell.node(node_id)
        for node_id in "abc":
            cell.serves(node_id)
        assert other.expect("acquired", "not acquired")["event"] == "not acquired"
        other.tell("poll", name="x")
        polled = other.expect("polled")
        assert (polled["state"], polled["term"]) == ("LED", term)
        assert polled["remaining"] <= 20.0
        holder.tell("leave", name="x")
        holder.expect("left")
        other.tell("lock", name="x", ttl=1.0)
        assert other.expect("acquired")["term"] > term


def test_an_emptied_folder_cannot_be_created_again_but_joined(tmp_path: Path) -> None:
    with process_cell(tmp_path, max_ttl=MAX_TTL_S) as cell:
        cell.nodes["c"].kill()
        shutil.rmtree(cell.data_dir("c"))
        refused = cell.node("c", "create").expect("refused")
        assert "has seen this node" in refused["text"]
        assert "--join" in refused["text"]
        shutil.rmtree(cell.data_dir("c"))
        node = cell.node("c", "join")
        cell.serves("c")
        waits, sits_out, _ = (report["text"] for report in node.told("report"))
        assert "have noted that it joins" in waits
        assert "sits out" in sits_out
        # It counts as one of the cell again.
        cell.nodes["a"].kill()
        client = cell.client("client")
        client.tell("lock", name="x", ttl=1.0)
        client.expect("acquired")


def refused(program: Program) -> str:
    """The sentence with which a start was refused; the process has ended with status 1."""
    text: str = program.expect("refused")["text"]
    assert program.process.wait(10) == 1
    return text


def test_starts_that_must_be_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with process_cell(tmp_path, max_ttl=MAX_TTL_S, create=False) as cell:
        running = cell.node("a", "create")
        assert "waits for the other nodes" in running.expect("report")["text"]
        # Side by side: each has a port of its own.
        second, folder = cell.node("a"), cell.node("b", data_dir=cell.data_dir("a"))
        assert "the port is in use" in refused(second)
        assert "already in use by another process" in refused(folder)
        running.tell()
        running.expect("counters")  # undisturbed
        running.kill()

        assert "belongs to node 'a'" in refused(cell.node("b", data_dir=cell.data_dir("a")))

        record = cell.data_dir("a") / "record.json"
        torn = record.read_bytes()[:-20]
        record.write_bytes(torn)
        damaged, below = cell.node("a"), cell.node("b", data_dir=file)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as squatter:
            # Also from one that would share its port with others.
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatter.bind(("127.0.0.1", cell.ports["c"]))
            assert "the port is in use" in refused(cell.node("c", "create"))
        text = refused(damaged)
        assert "record.json" in text and "--join" in text
        assert record.read_bytes() == torn
        assert "is not a folder" in refused(below)
