"""`paxlock serve --http` by real processes, with clients that are slow, greedy or do not speak HTTP."""

from __future__ import annotations

import json
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest
from paxlock_process import SOURCE, Cell, Process, environment, free_port

from paxlock.cli.http import CONNECTIONS_MAX, HEADER_MAX_BYTES

DOCS = Path(__file__).parents[2] / "docs"
NAME = re.compile(r"\bpaxlock_[a-z_]+\b")


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Cell:
    folder = tmp_path_factory.mktemp("http")
    cell = Cell({"PAXLOCK_CELL": str(folder / "cell.toml"), "PAXLOCK_NODE": "a"})
    address = f"a=127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    assert cell.run("init", folder / "cell.toml", "--max-ttl", "2s", address).returncode == 0
    return cell


@pytest.fixture(scope="module")
def port() -> int:
    return free_port(socket.SOCK_STREAM)


@pytest.fixture(scope="module")
def node(cell: Cell, port: int) -> Iterator[Process]:
    """A cell of one node that serves; in memory, so that it sits out first."""
    with cell.start("serve", "--durability", "memory", "--http", f"127.0.0.1:{port}") as node:
        while (event := json.loads(node.stderr.line())["event"]) != "sitting_out":
            assert event in ("start", "joining")
        status, content = get(port, "/ready")
        assert (status, json.loads(content)["state"]) == (503, "sitting out")
        assert get(port, "/health")[0] == 200
        while json.loads(node.stderr.line())["event"] != "serving":
            pass
        yield node
        node.send_signal(signal.SIGTERM)
        assert node.wait() == 0


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def talk(port: int, request: bytes) -> bytes:
    """All that comes back until the other side has closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(request)
        answer = b""
        try:
            while more := sock.recv(65_536):
                answer += more
        except ConnectionResetError:
            pass
        return answer


def documented() -> set[str]:
    rows = (DOCS / "metrics.md").read_text().splitlines()
    return {match[1] for row in rows if (match := re.match(r"\| `(paxlock_[a-z_]+)` \|", row))}


def test_pages(node: Process, port: int) -> None:
    assert get(port, "/ready") == (200, '{"ready": true, "state": "serving"}\n')
    status, text = get(port, "/metrics?x=y")
    assert status == 200 and 'paxlock_node_serving{node="a"} 1.0' in text
    assert 'paxlock_node_dropped_total{node="a",reason="key"} 0.0' in text
    assert get(port, "/metrics", "HEAD") == (200, "")
    assert get(port, "/")[0] == 404
    assert get(port, "/metrics", "DELETE")[0] == 405


def test_every_metric_of_a_node_is_documented(node: Process, port: int) -> None:
    text = get(port, "/metrics")[1]
    found = {NAME.match(line.split("# TYPE ")[1])[0] for line in text.splitlines() if "# TYPE" in line}  # type: ignore[index]
    assert found <= documented()
    of_nodes = {name for name in documented() if not name.startswith("paxlock_client")}
    assert of_nodes - found == set()


@pytest.mark.parametrize("file", ["alerts.yml", "dashboard.json"])
def test_alerts_and_dashboard_name_nothing_else(file: str) -> None:
    text = (DOCS / "operations" / file).read_text()
    if file == "dashboard.json":
        panels = json.loads(text)["panels"]
        text = "\n".join(target["expr"] for panel in panels for target in panel["targets"])
    found = set(NAME.findall(text))
    assert len(found) > 5 and found <= documented()


@pytest.mark.slow
def test_a_data_folder_that_is_gone_is_told_until_it_is_back(tmp_path: Path) -> None:
    """The node is alive and serves all the same: no probe is to end it."""
    folder, elsewhere, port = tmp_path / "a", tmp_path / "moved", free_port(socket.SOCK_STREAM)
    cell = Cell({"PAXLOCK_CELL": str(tmp_path / "cell.toml"), "PAXLOCK_NODE": "a"})
    cell.output("init", tmp_path / "cell.toml", f"a=127.0.0.1:{free_port(socket.SOCK_DGRAM)}")
    with cell.start("serve", "--data-dir", folder, "--create", "--http", f"127.0.0.1:{port}") as node:
        while json.loads(node.stderr.line())["event"] != "serving":
            pass
        assert get(port, "/ready") == (200, '{"ready": true, "state": "serving"}\n')
        folder.rename(elsewhere)
        while json.loads(node.stderr.line())["event"] != "data_folder":
            pass
        gone = '{"ready": true, "state": "serving", "data_folder_gone": true}\n'
        assert get(port, "/ready") == (200, gone)
        assert get(port, "/health") == (200, "the process turns, but its data folder was deleted or moved\n")
        assert 'paxlock_node_data_folder_gone{node="a"} 1.0' in get(port, "/metrics")[1]
        counters = json.loads(cell.output("stats", "--json"))["nodes"][0]["counters"]
        assert counters["data_folder_gone"] == 1
        elsewhere.rename(folder)
        deadline = time.monotonic() + 40
        while get(port, "/ready")[1] == gone:
            assert time.monotonic() < deadline
            time.sleep(0.1)  # poll: that it is back is told by nothing else
        assert get(port, "/health") == (200, "the process turns\n")
        node.send_signal(signal.SIGTERM)
        assert node.wait() == 0


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no way to fill the disk of one process")
def test_a_state_file_that_was_given_up_is_told_until_the_end_of_the_run(tmp_path: Path) -> None:
    """The node is alive and serves all the same: no probe is to end it."""
    port = free_port(socket.SOCK_STREAM)
    cell = Cell({"PAXLOCK_CELL": str(tmp_path / "cell.toml"), "PAXLOCK_NODE": "a"})
    cell.output("init", tmp_path / "cell.toml", f"a=127.0.0.1:{free_port(socket.SOCK_DGRAM)}")
    with cell.start("serve", "--data-dir", tmp_path / "a", "--create", "--http", f"127.0.0.1:{port}") as node:
        while json.loads(node.stderr.line())["event"] != "serving":
            pass
        assert get(port, "/ready") == (200, '{"ready": true, "state": "serving"}\n')
        assert 'paxlock_node_state_not_kept{node="a"} 0.0' in get(port, "/metrics")[1]
        of_files = resource.prlimit(node.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (1, of_files[1]))  # as on a full disk
        cell.output("acquire", "job", "--ttl", "1s")
        while json.loads(node.stderr.line())["event"] != "state_file":
            pass
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, of_files)
        assert get(port, "/ready") == (200, '{"ready": true, "state": "serving", "state_not_kept": true}\n')
        assert get(port, "/health") == (200, "the process turns, but its state file is not kept\n")
        counters = json.loads(cell.output("stats", "--json"))["nodes"][0]["counters"]
        assert counters["state_not_kept"] == 1
        deadline = time.monotonic() + 40
        while "complaint" not in (member := json.loads(cell.output("status", "--json"))["members"][0]):
            assert time.monotonic() < deadline
            time.sleep(0.2)  # poll: the node looks every 5 s
        assert member["complaint"] == "its state file is not kept: if killed, it sits out"
        assert 'paxlock_node_state_not_kept{node="a"} 1.0' in get(port, "/metrics")[1]
        node.send_signal(signal.SIGTERM)
        assert node.wait() == 0


def test_what_is_no_http_is_refused_and_the_node_goes_on(node: Process, port: int) -> None:
    assert b" 400 " in talk(port, b"\x00\x01\x02 not HTTP\r\n\r\n").partition(b"\r\n")[0]
    long = talk(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nA: " + b"b" * (2 * HEADER_MAX_BYTES))
    assert b" 431 " in long.partition(b"\r\n")[0]
    body = talk(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
    assert b" 413 " in body.partition(b"\r\n")[0]
    two = talk(port, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.0\r\n\r\n")
    assert two.count(b"200") == 2
    assert get(port, "/ready")[0] == 200


@pytest.mark.slow
def test_greedy_and_slow_clients_do_not_stop_the_node(node: Process, port: int, cell: Cell) -> None:
    with ExitStack() as stack:
        for _ in range(2 * CONNECTIONS_MAX):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            sock.settimeout(0.0)
        # All places are taken by clients that say nothing; the node itself does not notice.
        assert cell.output("acquire", "job", "--ttl", "1s")
        deadline = time.monotonic() + 40
        while True:  # their time is over after 10 s, whatever they do
            try:
                assert get(port, "/ready")[0] == 200
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)  # poll: there is nothing to wait for but an answer


def test_an_address_that_cannot_be_listened_on(node: Process, cell: Cell, port: int, tmp_path: Path) -> None:
    sentence = cell.fails(78, "serve", "--durability", "memory", "--http", f"127.0.0.1:{port}")
    assert "--http" in sentence and "in use" in sentence
    cell.fails(64, "serve", "--durability", "memory", "--http", "nowhere")


@pytest.mark.parametrize("module", ["h11", "prometheus_client"])
def test_without_the_extra_a_sentence_says_what_to_install(cell: Cell, module: str) -> None:
    program = f"import sys; sys.modules[{module!r}] = None; from paxlock.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", "--durability", "memory", "--http", "127.0.0.1:1"],
        env=environment(cell.env) | {"PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 78
    assert "paxlock[http]" in done.stderr and "Traceback" not in done.stderr
