"""``paxlock serve --by-clock``: of five nodes three have lost their disks, and one of these is gone."""

from __future__ import annotations

import json
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from paxlock_process import Cell, Process, free_port

from paxlock.cli import main

pytestmark = [pytest.mark.processes, pytest.mark.slow]

LOST = "abc"
GONE = "c"


class Nodes:
    """A cell of five nodes, each a process of its own with a data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / "cell.toml"
        nodes = [f"{node}=127.0.0.1:{free_port(socket.SOCK_DGRAM)}" for node in "abcde"]
        assert main(["init", "-q", str(path), *nodes, "--max-ttl", "1s"]) == 0
        self.cell = Cell({"PAXLOCK_CELL": str(path)})

    def start(self, node: str, *options: str) -> Process:
        data = str(self.folder / node)
        return self.cell.start("serve", "--node", node, "--data-dir", data, "--log", "text", *options)

    def lose_disk(self, node: str, process: Process) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        shutil.rmtree(self.folder / node)

    def term(self) -> int:
        """Of a short tenure of a name."""
        told = json.loads(self.cell.output("acquire", "job", "--ttl", "300ms", "--wait", "20s", "--json"))
        term = told["term"]
        assert isinstance(term, int)
        return term


@contextmanager
def stopped_at_the_end(*processes: Process) -> Iterator[None]:
    with ExitStack() as stack:
        for process in processes:
            stack.enter_context(process)
        yield


def says(process: Process, what: str) -> str:
    while what not in (line := process.stderr.line()):
        pass
    return line


def test_the_others_serve_without_a_word_of_who_is_gone_and_tokens_grow(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    running = {node: nodes.start(node, "--create") for node in "abcde"}
    with stopped_at_the_end(*running.values()):
        for process in running.values():
            says(process, "serves")
        term = nodes.term()
        for node in LOST:
            nodes.lose_disk(node, running[node])
        with nodes.start("b") as b:
            with nodes.start("a") as a:
                assert f"waits for node {GONE} to note" in says(a, "waits for node")
                a.send_signal(signal.SIGTERM)
                assert a.wait() == 0
            with nodes.start("a", "--by-clock") as a:
                assert f"without a word of node {GONE}" in says(a, "without a word")
                says(b, "node b serves")  # with a there are three others that serve
                assert nodes.term() > term
                a.send_signal(signal.SIGTERM)
                assert a.wait() == 0
            with nodes.start("a", "--by-clock") as a:  # with its record that is an ordinary start
                assert "sits out" not in says(a, "serves")


def test_one_word_at_a_time(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    said = nodes.cell.fails(
        64, "serve", "--node", "a", "--data-dir", str(tmp_path / "a"), "--by-clock", "--join"
    )
    assert "by-clock" in said and "not two" in said
