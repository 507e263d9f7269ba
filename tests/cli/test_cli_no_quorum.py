"""What a command says where no quorum serves: who has answered, and what keeps the others from serving."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from paxlock_process import Cell, free_port

from paxlock.cli.exits import NO_ANSWER
from paxlock.cli.waiting import no_quorum
from paxlock.core.messages import NodeMode
from paxlock.core.session.events import NodeStanding

SERVING, SITS_OUT, STARTING = NodeMode.SERVING, NodeMode.RECOVERING, NodeMode.STARTING


def node(
    node_id: str, mode: NodeMode | None, sits_out: float = 0.0, *, outlived: bool = False
) -> NodeStanding:
    return NodeStanding(node_id, "10.0.0.7:7400", mode, sits_out, outlived=outlived)


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("a", SERVING), node("b", SERVING), node("c", None)], ""),
        ([node("a", None), node("b", None), node("c", None)], NO_ANSWER),
        ([node("a", SERVING), node("b", None), node("c", None)], "1 of 3 nodes answered, 2 needed"),
        (
            [node("a", SITS_OUT, 11.2), node("b", SITS_OUT, 11.7), node("c", SITS_OUT, 12.0)],
            "3 of 3 nodes answered, and none serves yet: sitting out, 11.7 s left",
        ),
        (
            [node("a", SERVING), node("b", SITS_OUT, 4.0), node("c", SITS_OUT, 3.0)],
            "3 of 3 nodes answered, and only 1 of them serves, 2 needed: sitting out, 3.0 s left",
        ),
        (
            [node("a", STARTING), node("b", STARTING), node("c", None)],
            "2 of 3 nodes answered, and none serves yet",
        ),
        (
            [node("a", SERVING), node("b", SERVING, outlived=True), node("c", None)],
            "2 of 3 nodes answered, and only 1 of them serves, 2 needed",
        ),
        ([node("a", SITS_OUT, 2.0)], "1 of 1 node answered, and none serves yet: sitting out, 2.0 s left"),
    ],
)
def test_what_keeps_nodes_from_being_a_quorum(nodes: list[NodeStanding], said: str) -> None:
    assert no_quorum(nodes) == said


def test_who_is_told_again_at_every_change_is_not_told_the_seconds() -> None:
    nodes = [node(node_id, SITS_OUT, 11.7) for node_id in "abc"]
    assert no_quorum(nodes, countdown=False) == "3 of 3 nodes answered, and none serves yet: sitting out"


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    """A new cell of three nodes, none started."""
    path = tmp_path / "cell.toml"
    cell = Cell({"PAXLOCK_CELL": str(path)})
    addresses = [f"{node_id}=127.0.0.1:{free_port(socket.SOCK_DGRAM)}" for node_id in "abc"]
    assert cell.run("init", path, *addresses, "--max-ttl", "10m").returncode == 0
    return cell


@pytest.mark.slow
@pytest.mark.processes
def test_nobody_is_asked_about_the_key_while_nodes_sit_out(cell: Cell, tmp_path: Path) -> None:
    def serve(node_id: str) -> tuple[str, ...]:
        return "serve", "--node", node_id, "--data-dir", str(tmp_path / node_id)

    why = "3 of 3 nodes answered, and none serves yet: sitting out, "
    with cell.start(*serve("a")) as a, cell.start(*serve("b")) as b, cell.start(*serve("c")) as c:
        for process in (a, b, c):
            while "sits out" not in process.stderr.line():
                pass
        asked = [
            ("acquire", "job", "--try"),
            ("ls",),
            ("audit",),
            ("revoke", "job", "1", "--force", "--wait", "1s"),
        ]
        for command in asked:
            assert why in cell.fails(69, *command)
        for shown in (("status", "job"), ("explain", "job")):
            done = cell.run(*shown)
            assert done.returncode == 69
            assert why in done.stderr and "key" not in done.stderr
            assert "nodes    0 of 3 could tell" in done.stdout


@pytest.mark.slow
@pytest.mark.processes
def test_one_node_of_three_is_counted(cell: Cell, tmp_path: Path) -> None:
    why = "1 of 3 nodes answered, 2 needed"
    with cell.start("serve", "--node", "a", "--data-dir", str(tmp_path / "a")) as a:
        while "no memory" not in a.stderr.line():
            pass
        for command in (("audit",), ("ls",), ("acquire", "job", "--try")):
            assert why in cell.fails(69, *command)
        for shown in (("status", "job"), ("stats",), ("explain", "job")):
            done = cell.run(*shown)
            assert done.returncode == 69 and why in done.stderr


@pytest.mark.processes
def test_who_has_given_no_key_is_not_asked_whether_it_is_the_right_one() -> None:
    keyless = Cell({"PAXLOCK_NODES": f"127.0.0.1:{free_port(socket.SOCK_DGRAM)}"})
    said = keyless.fails(69, "acquire", "job", "--try")
    assert "no key was given" in said.lower() and "is this the cell's key" not in said
