"""Programs of threads that are interrupted, end, or fork."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from paxlock import Cell, ClosedError, ConfigError, Member, NodeConfig, NodeMode, State, StoreError
from paxlock.blocking import Client, open_node
from paxlock.store.format import decode_record
from tests.blocking.cells import Script, until

pytestmark = pytest.mark.processes

Run = Callable[..., Script]


def test_ctrl_c_while_it_waits_leaves_nothing_behind(path: str, client: Client, run: Run) -> None:
    with client.lock("c1"):
        script = run("holder.py", path, "c1", "ctrl_c_in_acquire")
        assert script.line() == "waits"
        until(lambda: bool(client.inspect("c1").waiters), "it is in line")
        script.process.send_signal(signal.SIGINT)
        assert script.line() == "interrupted led"
        until(lambda: not client.inspect("c1").waiters, "it has left the line")
    assert script.end() == (3, "", "")


def test_ctrl_c_in_a_block_releases(path: str, run: Run) -> None:
    script = run("holder.py", path, "c2", "ctrl_c_in_a_block")
    assert script.line().startswith("held")
    script.process.send_signal(signal.SIGINT)
    assert script.end() == (0, "interrupted free", "")


@pytest.mark.parametrize("how", ["ends_with_a_lease", "ends_while_a_daemon_waits"])
def test_the_end_of_the_interpreter_releases(path: str, client: Client, run: Run, how: str) -> None:
    script = run("holder.py", path, how, how)
    term = int(script.line().split()[1])
    assert script.end() == (0, "", "")
    assert client.poll(how).state is State.FREE  # well below the ttl of 30 s
    assert client.acquire(how, wait=5.0).term > term


@pytest.mark.parametrize("how", ["ends_while_a_thread_works", "ends_while_an_executor_works"])
def test_threads_that_go_on_work_to_their_end(path: str, client: Client, run: Run, how: str) -> None:
    code, out, err = run("holder.py", path, how, how).end()
    assert (code, err) == (0, "")
    assert out.startswith("worked")
    assert client.poll(how).state is State.FREE


def test_a_client_that_begins_when_the_interpreter_ends_leaves_nothing(path: str, run: Run) -> None:
    code, out, err = run("holder.py", path, "late", "begins_too_late").end()
    assert (code, err) == (0, "")
    assert out in ("holds True", "refused True")


def test_a_client_without_a_block_begins_anew_in_the_child(path: str, client: Client, run: Run) -> None:
    script = run("holder.py", path, "f1", "forks")
    code, out, err = script.end()
    assert out.splitlines() == [
        "child watches nothing",
        "child closed False",
        "child sees led",
        "child holds True",
        "parent held True 0",
    ], err
    assert (code, err) == (0, "")
    assert client.poll("f1").state is State.FREE


def test_a_client_with_a_block_is_dead_in_the_child(path: str, run: Run) -> None:
    code, out, err = run("holder.py", path, "f2", "forks_in_a_block").end()
    assert out.splitlines() == ["child True"] * 3 + ["parent held True 0"], err
    assert (code, err) == (0, "")


def test_multiprocessing_by_fork(path: str, run: Run) -> None:
    code, out, err = run("holder.py", path, "f3", "multiprocesses").end()
    assert (code, out.splitlines(), err) == (0, ["child holds True", "parent 0 free"], "")


def test_sigterm_stops_an_embedded_node_cleanly(tmp_path: Path, run: Run) -> None:
    cell = Cell.new([Member("a", f"127.0.0.1:{free_port()}")], max_ttl=2.0)
    cell.save(tmp_path / "cell.toml")
    arguments = ("embedded.py", str(tmp_path / "cell.toml"), "a", str(tmp_path / "data"))
    terms = []
    for start in (["create"], []):  # the second start need not sit out: the first has ended cleanly
        script = run(*arguments, *start)
        assert script.line() == "a SERVING True"
        terms.append(int(script.line().split()[1]))
        script.process.send_signal(signal.SIGTERM)
        assert script.end() == (143, "", "")
        assert decode_record((tmp_path / "data" / "record.json").read_bytes()).clean
    assert terms[1] > terms[0]


def test_the_child_of_an_embedded_node_leaves_it_alone(tmp_path: Path, run: Run) -> None:
    cell = Cell.new([Member("a", f"127.0.0.1:{free_port()}")], max_ttl=2.0)
    cell.save(tmp_path / "cell.toml")
    script = run("embedded.py", str(tmp_path / "cell.toml"), "a", str(tmp_path / "data"), "create", "fork")
    found = [script.line() for _ in range(5)]
    assert found[1].startswith("leads")
    assert found[2:] == ["child was told 4", "child 5", "parent True SERVING"]
    assert not decode_record((tmp_path / "data" / "record.json").read_bytes()).clean
    script.process.send_signal(signal.SIGTERM)
    assert script.end() == (143, "", "")


def test_what_a_node_cannot_start_with_is_raised_at_once(tmp_path: Path) -> None:
    cell = Cell.new([Member("a", f"127.0.0.1:{free_port()}")], max_ttl=2.0)
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        open_node(NodeConfig(cell, "a", tmp_path / "file"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        host, _, port = cell.members[0].address.rpartition(":")
        sock.bind((host, int(port)))
        with pytest.raises(ConfigError, match="in use"):
            open_node(NodeConfig(cell, "a", tmp_path / "new"), create=True)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_three_nodes_of_one_program(tmp_path: Path) -> None:
    cell = Cell.new([Member(name, f"127.0.0.1:{free_port()}") for name in "abc"], max_ttl=2.0)
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(open_node(NodeConfig(cell, name, tmp_path / name), create=True))
            for name in "abc"
        ]
        for node in nodes:
            assert node.wait_serving(60.0)
        assert [node.mode for node in nodes] == [NodeMode.SERVING] * 3
        with nodes[0].lock("x", ttl=1.0) as held:
            assert nodes[1].poll("x").term == held.term
        assert nodes[2].node_statistics().names >= 0
    with pytest.raises(ClosedError):
        nodes[0].wait_serving()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def free_port() -> int:
    """A UDP port of loopback that was free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
