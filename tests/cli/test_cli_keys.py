"""``paxlock key``, and HUP: the root key of a cell is changed while it works, with real processes."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import pytest
from paxlock_process import PATIENCE_S, Cell, Process, environment, free_port

import paxlock.blocking
from paxlock.cli import main
from paxlock.client.key_file import LOOK_S
from paxlock.config.keys import format_key, key_id, new_key

# The commands on a file


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    assert main(["init", "-q", str(tmp_path / "cell.toml"), "a=127.0.0.1:7400"]) == 0
    return tmp_path / "cell.key"


def made(path: Path, *, apart_from: set[int]) -> int:
    """Another key in a file; ids are drawn, and must differ here."""
    while (number := key_id(key := new_key())) in apart_from:
        pass
    path.touch(0o600)
    path.write_text(f"# made in spring\n{format_key(key)}\n")
    return number


def ids(key_file: Path, capsys: pytest.CaptureFixture[str]) -> list[int]:
    assert main(["key", "list", "--json", "--key-file", str(key_file)]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [key["seals"] for key in facts["keys"]] == [True] + [False] * (len(facts["keys"]) - 1)
    return [key["id"] for key in facts["keys"]]


def test_a_key_is_added_promoted_and_the_other_one_dropped(
    key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = ["--cell", str(key_file.with_suffix(".toml"))]
    key_file.write_text("# the first\n" + key_file.read_text() + "# nothing below\n")
    key_file.chmod(0o640 if os.geteuid() == 0 else 0o600)
    mode = key_file.stat().st_mode
    (old,) = ids(key_file, capsys)
    new = made(tmp_path / "next.key", apart_from={old})
    assert main(["key", "add", str(tmp_path / "next.key"), *cell]) == 0
    assert f"key {old} seals, {old}, {new} open; have the nodes" in capsys.readouterr().err
    before = key_file.read_text()
    assert main(["key", "add", str(tmp_path / "next.key"), *cell]) == 0
    assert "nothing was to be changed" in capsys.readouterr().err and key_file.read_text() == before
    assert main(["key", "drop", str(old), *cell]) == 64
    assert "promote another one first" in capsys.readouterr().err
    assert main(["key", "promote", str(new), "--json", *cell]) == 0
    assert json.loads(capsys.readouterr().out)["keys"][0] == {"id": new, "seals": True}
    assert main(["key", "list", *cell]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [f"{new:<3}  seals and opens", f"{old:<3}  opens"]
    assert main(["key", "drop", str(old), *cell]) == 0
    assert ids(key_file, capsys) == [new]
    lines = key_file.read_text().splitlines()
    assert lines[0] == "# made in spring" and lines[2:] == ["# nothing below"]
    assert key_file.stat().st_mode == mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell.key", "cell.toml", "next.key"]


def test_key_new_writes_a_key_that_its_owner_can_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "next.key"
    assert main(["key", "new", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out == "" and path.read_text().strip() not in said.err
    assert path.stat().st_mode & 0o777 == 0o600
    assert main(["key", "new", str(path)]) == 78
    assert main(["key", "new"]) == 0
    assert capsys.readouterr().out.startswith("paxlock-key-1:")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["promote", "300"], 64, "300"),
        ([], 64, "new, list, add, promote or drop"),
        (["add", "/no/such/file"], 78, "there is no key file"),
        (["list", "--key-file", "/no/such/file"], 78, "there is no key file"),
    ],
)
def test_what_cannot_be_done_is_said(
    key_file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    monkeypatch.setenv("PAXLOCK_KEY_FILE", str(key_file))
    assert main(["key", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and said in captured.err and captured.err.count("\n") == 1


def test_another_key_that_is_not_there_is_named(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (old,) = ids(key_file, capsys)
    absent = old % 255 + 1
    assert main(["key", "drop", str(absent), "--key-file", str(key_file)]) == 64
    assert f"there is no key {absent} in the key file: it has {old}" in capsys.readouterr().err


def test_without_a_key_file_none_is_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "list"]) == 78
    assert "which key file" in capsys.readouterr().err


def test_the_key_of_a_client_is_no_root_key(
    key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client, cell = str(tmp_path / "app.key"), str(key_file.with_suffix(".toml"))
    assert main(["grant", "-q", "--cell", cell, "--acquire", client]) == 0
    assert main(["key", "list", "--key-file", client]) == 78
    assert "made anew by 'paxlock grant'" in capsys.readouterr().err


# A cell that works


class Town:
    """Three nodes in processes of their own, which share a cell file and a key file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cell_file, self.key_file = folder / "cell.toml", folder / "cell.key"
        nodes = [f"{node}=127.0.0.1:{free_port(socket.SOCK_DGRAM)}" for node in "abc"]
        assert main(["init", "-q", str(self.cell_file), *nodes, "--max-ttl", "10s"]) == 0
        self.cell = Cell({"PAXLOCK_CELL": str(self.cell_file)})
        self.nodes: list[Process] = []

    @contextmanager
    def serving(self, *options: str) -> Iterator[None]:
        with ExitStack() as stack:
            for node in "abc":
                where = ("--node", node, "--data-dir", self.folder / node)
                self.nodes.append(stack.enter_context(self.cell.start("serve", "--create", *where, *options)))
            for process in self.nodes:
                self.said("serves", process)
            yield
            for process in self.nodes:
                process.send_signal(signal.SIGTERM)
            for process in self.nodes:
                assert process.wait() == 0

    @staticmethod
    def said(what: str, process: Process) -> str:
        while what not in (line := process.stderr.line()):
            pass
        return line

    def hup(self, says: str = "has read its keys anew") -> list[str]:
        for process in self.nodes:
            process.send_signal(signal.SIGHUP)
        return [self.said(says, process) for process in self.nodes]

    def key(self, *arguments: str) -> None:
        self.cell.output("key", *arguments)


class Traffic:
    """A client in a thread that locks and unlocks, and one lease that it holds all the time."""

    def __init__(self, cell_file: Path, key_file: Path, name: str) -> None:
        cell = paxlock.Cell.load(cell_file, key_file=key_file)
        self.pairs = 0
        self.trouble: list[BaseException] = []
        self._cell, self._name = cell, name
        self._stop = threading.Event()
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(60.0)
        assert not self._thread.is_alive() and self.trouble == []

    def _run(self) -> None:
        try:
            with (
                paxlock.blocking.open_client(self._cell, label=self._name) as client,
                client.lock(f"{self._name}/held", ttl=3.0, wait=10.0) as held,
            ):
                while not self._stop.is_set():
                    with client.lock(f"{self._name}/pair", ttl=3.0, wait=0):  # waits for nobody
                        pass
                    held.check()
                    with self._moved:
                        self.pairs += 1
                        self._moved.notify_all()
        except BaseException as error:  # noqa: BLE001 - for the test
            self.trouble.append(error)
            with self._moved:
                self._moved.notify_all()

    def more(self, pairs: int = 20) -> None:
        """Wait until so many more calls have succeeded."""
        with self._moved:
            until = self.pairs + pairs
            assert self._moved.wait_for(lambda: self.pairs >= until or self.trouble, 40.0)
        assert self.trouble == []


@pytest.mark.slow
@pytest.mark.processes
def test_a_root_key_is_changed_under_traffic_without_a_restart_and_without_one_failed_call(
    tmp_path: Path,
) -> None:
    town = Town(tmp_path)
    grants = [tmp_path / f"app{number}.key" for number in (1, 2)]
    rights = ("--acquire", "--id", "app")
    with town.serving():
        town.cell.output("grant", grants[0], *rights)
        old = json.loads(town.cell.output("key", "list", "--json"))["keys"][0]["id"]
        next_key = tmp_path / "next.key"
        new = made(next_key, apart_from={old})
        leaked = tmp_path / "leaked.key"
        leaked.write_bytes(town.key_file.read_bytes())
        leaked.chmod(0o600)
        with (
            Traffic(town.cell_file, grants[0], "app") as app,
            Traffic(town.cell_file, town.key_file, "root") as root,
        ):

            def go_on() -> None:
                app.more()
                root.more()

            go_on()
            town.key("add", str(next_key))
            assert f"seals by key {old}, opens by {old}, {new}" in town.hup()[0]
            go_on()
            town.key("promote", str(new))
            assert f"seals by key {new}, opens by {new}, {old}" in town.hup()[0]
            go_on()
            town.cell.output("grant", grants[1], *rights)
            grants[1].replace(grants[0])
            seen_by = time.monotonic() + 2 * LOOK_S
            while time.monotonic() < seen_by:
                go_on()
            town.key("drop", str(old))
            assert f"opens by {new};" in town.hup()[0]
            go_on()
            go_on()
        refused = town.cell.run("acquire", "late", "--wait", "2s", PAXLOCK_KEY_FILE=str(leaked))
        assert refused.returncode == 69
        assert town.cell.run("acquire", "late", "--wait", "2s").returncode == 0


@pytest.mark.slow
@pytest.mark.processes
def test_hup_denies_a_key_and_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    town = Town(tmp_path)
    app = tmp_path / "app.key"
    with town.serving("--log", "text"):
        town.cell.output("grant", app, "--acquire", "--id", "app")
        ours = {"PAXLOCK_KEY_FILE": str(app)}
        town.cell.output("acquire", "one", "--ttl", "2s", **ours)
        text, key = town.cell_file.read_text(), town.key_file.read_text()
        for damaged in (text + "[", text.replace("id =", "id = 1 #", 1)):
            town.cell_file.write_text(damaged)
            assert "ERROR" in town.hup("goes on with the keys that it has")[0]
        town.cell_file.write_text(text)
        town.key_file.write_text("paxlock-key-1:AAAA\n")
        town.hup("goes on with the keys that it has")
        town.key_file.unlink()
        assert "there is no key file" in town.hup("goes on with the keys that it has")[0]
        made(town.key_file, apart_from=set())
        town.key_file.write_text(key)
        town.cell.output("acquire", "two", "--ttl", "2s", **ours)
        town.cell_file.write_text(text + 'denied = ["app"]\n')
        assert "denied app" in town.hup()[0]
        assert "has expired or was revoked" in town.cell.fails(77, "acquire", "three", **ours)
        longer = text.replace('max_ttl = "10s"', 'max_ttl = "20s"')
        town.cell_file.write_text(longer)
        assert "max_ttl counts after a restart" in town.hup("nothing else")[0]
        town.cell_file.write_text(text)
        town.cell.output("acquire", "three", "--ttl", "2s", **ours)


@pytest.mark.slow
@pytest.mark.processes
def test_a_node_whose_terminal_is_gone_stops(tmp_path: Path) -> None:
    """HUP from a terminal that was closed is no wish to read keys."""
    town = Town(tmp_path)
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "paxlock", "serve", "--create", "--node", "a"]
    with subprocess.Popen(
        [*command, "--data-dir", tmp_path / "a"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(town.cell.env),
        preexec_fn=own_terminal,
    ) as node:
        os.close(theirs)
        said = b""
        while b"starts at" not in said:
            said += os.read(terminal, 4096)
        os.close(terminal)  # which sends HUP
        try:
            assert node.wait(PATIENCE_S) == 0
        finally:
            node.kill()


def own_terminal() -> None:
    """In the child: its stdin is the terminal of its session."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
