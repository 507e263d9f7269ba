"""The commands over a real cell: handles, questions, watches, elections."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from paxlock_process import PATIENCE_S, Cell, Process, default_signals, dev_cell, environment, full_pipe

from paxlock.client.handle import format_handle, parse_handle
from paxlock.config import cell as config
from paxlock.wire.codec import pack

pytestmark = pytest.mark.processes

ALL_KEYS = ["v", "name", "state", "term", "label", "data", "remaining_ms", "ttl_ms", "waiters", "nodes"]


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with dev_cell() as (cell, _):
        yield cell


def make_cell(path: Path) -> None:
    """Write the files of a cell that nobody serves."""
    config.Cell.new({"a": "127.0.0.1:7400"}).save(path)


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory, cell: Cell) -> Cell:
    """The cell with another key: no node answers a stranger."""
    folder = tmp_path_factory.mktemp("silent")
    path = Path(cell.env["PAXLOCK_CELL"])
    (folder / "cell.toml").write_text(path.read_text())
    make_cell(folder / "other.toml")
    (folder / "other.key").rename(folder / "cell.key")
    return Cell({"PAXLOCK_CELL": str(folder / "cell.toml")})


# --- handles ---------------------------------------------------------------------------------------------


def test_the_life_of_a_handle(cell: Cell) -> None:
    done = cell.run("acquire", "life", "--label", "host:1")
    assert done.returncode == 0
    handle = done.stdout.removesuffix("\n")
    assert handle.startswith("pl1.")
    assert handle.replace("-", "").replace("_", "").replace(".", "").isalnum()
    assert done.stderr.count("\n") == 1 and handle not in done.stderr
    assert "'host:1'" in cell.fails(75, "acquire", "life", "--try")
    assert cell.run("renew", handle).stdout == ""
    renewed = json.loads(cell.output("renew", "--json", handle))
    assert list(renewed) == ["v", "name", "state", "term", "remaining_ms"]
    assert 0 < renewed["remaining_ms"] <= 10_000
    assert cell.output("release", handle) == ""
    released = json.loads(cell.output("release", handle, "--json"))
    assert released == {"v": 1, "name": "life", "state": "unknown", "term": renewed["term"]}
    assert "is over" in cell.fails(79, "renew", handle)
    assert json.loads(cell.output("acquire", "--json", "life"))["term"] > renewed["term"]


def test_a_handle_is_read_from_stdin(cell: Cell) -> None:
    handle = cell.output("acquire", "piped-handle")
    assert cell.run("renew", "-", text=f"{handle}\n").returncode == 0
    assert cell.run("release", "-", text=handle).returncode == 0
    assert "is over" in cell.run("renew", "-", text=handle).stderr
    assert "there is no handle on stdin" in cell.fails(64, "renew", "-")


def test_two_spellings_of_a_letter_are_one_name(cell: Cell) -> None:
    handle = cell.output("acquire", "cafe\u0301", "--label", "host:1")
    assert "'host:1'" in cell.fails(75, "acquire", "caf\u00e9", "--try")
    assert cell.output("watch", "--once", "cafe\u0301*").startswith("caf\u00e9 led")
    assert cell.output("ls", "cafe\u0301", "--jsonl").startswith('{"v":1,"name":"caf\\u00e9"')
    cell.output("release", handle)


def test_acquire_json_adds_the_handle_and_q_says_nothing(cell: Cell) -> None:
    done = cell.run("acquire", "-q", "--json", "quiet", "--data", "hello", "--ttl", "5s")
    assert done.stderr == ""
    facts = json.loads(done.stdout)
    assert list(facts) == [*ALL_KEYS[:-2], "handle"]
    assert (facts["data"], facts["ttl_ms"], facts["state"]) == ("hello", 5000, "led")
    assert cell.output("release", facts["handle"]) == ""


def test_a_ttl_above_that_of_the_cell_is_bad_usage(cell: Cell) -> None:
    assert "max_ttl" in cell.fails(64, "acquire", "long", "--ttl", "1h")


def test_a_handle_that_was_made_up_is_not_allowed_and_an_old_one_is_bad_usage(cell: Cell) -> None:
    handle = cell.output("acquire", "guarded", "--ttl", "20s")
    grant = parse_handle(handle)
    made_up = format_handle(attrs.evolve(grant, secret=bytes(16)))
    without = pack([grant.cell_id, grant.name, *grant.candidate, grant.term])
    old = "pl1." + base64.urlsafe_b64encode(without).decode().rstrip("=")
    for verb in ("renew", "release"):
        said = cell.fails(77, verb, made_up)
        assert "does not open the lease of 'guarded'" in said and made_up[12:] not in said
        assert "older version" in cell.fails(64, verb, old)
    assert json.loads(cell.output("status", "guarded", "--json"))["state"] == "led"
    cell.output("release", handle)


def test_a_handle_whose_cell_is_another_is_bad_usage(cell: Cell, tmp_path: Path) -> None:
    make_cell(tmp_path / "cell.toml")
    handle = cell.output("acquire", "elsewhere")
    for verb in ("renew", "release"):
        assert "another cell" in cell.fails(64, verb, handle, PAXLOCK_CELL=str(tmp_path / "cell.toml"))


def test_interrupted_while_waiting_nothing_is_left_behind(cell: Cell) -> None:
    name = "interrupted"
    handle = cell.output("acquire", name)
    with cell.start("acquire", "-q", name) as waiting:
        cell.wait_in_line(name)
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait() == 130
        assert waiting.stdout.rest() == ""
        assert waiting.stderr.rest() == "paxlock: interrupted\n"
    cell.output("release", handle)
    assert cell.run("status", "--check", name).returncode == 1


# --- questions -------------------------------------------------------------------------------------------


def test_the_status_of_a_name(cell: Cell) -> None:
    handle = cell.output("acquire", "asked", "--data", "hello", "--label", "host:1", "--ttl", "20s")
    facts = json.loads(cell.output("status", "--json", "asked"))
    assert list(facts) == ALL_KEYS
    assert facts["label"] == "host:1"
    assert facts["nodes"] == {"up": 3, "total": 3}
    shown = cell.output("status", "asked")
    assert shown.startswith(f"asked  led  term {facts['term']}  by host:1")
    assert handle not in shown
    assert cell.run("status", "asked", "--check").returncode == 0
    cell.output("release", handle)
    free = cell.run("status", "asked", "--check", "-q")
    assert (free.returncode, free.stdout, free.stderr) == (1, "", "")


def test_data_that_is_not_utf_8(cell: Cell) -> None:
    cell.output("acquire", "binary", "--data", b"\xff\xfe")
    facts = json.loads(cell.output("status", "binary", "--json"))
    assert facts["data_b64"] == "//4="


def test_the_status_of_the_nodes(cell: Cell) -> None:
    facts = json.loads(cell.output("status", "--json"))
    assert facts["quorum"] is True
    assert [member["state"] for member in facts["members"]] == ["serving"] * 3
    assert cell.output("status").endswith("quorum: yes (3 of 3 serve, 2 needed)")


def test_ls(cell: Cell) -> None:
    cell.output("acquire", "ls/b", "--label", "bee")
    cell.output("acquire", "ls/a")
    assert [line.split()[0] for line in cell.output("ls", "ls/*").split("\n")] == ["NAME", "ls/a", "ls/b"]
    names = json.loads(cell.output("ls", "ls/", "--json"))["names"]
    assert [(each["name"], each["state"]) for each in names] == [("ls/a", "led"), ("ls/b", "led")]
    assert json.loads(cell.output("ls", "ls/b", "--jsonl"))["label"] == "bee"
    assert [each["nodes"] for each in names] == [{"up": 3, "total": 3}] * 2
    nothing = cell.run("ls", "nothing/here")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert nothing.stderr == "paxlock: no name that begins with 'nothing/here' is in use\n"
    assert cell.run("ls", "-q", "nothing/here").stderr == ""
    assert cell.run("ls", "--jsonl", "nothing/here").stderr == ""


def test_addresses_and_the_key_are_enough(cell: Cell) -> None:
    address = json.loads(cell.output("status", "--json"))["members"][1]["address"]
    key = Path(cell.env["PAXLOCK_CELL"]).with_suffix(".key")
    seeds = Cell({"PAXLOCK_NODES": address, "PAXLOCK_KEY_FILE": str(key)})
    assert json.loads(seeds.output("status", "--json"))["nodes"] == {"up": 3, "total": 3}


@pytest.mark.slow
def test_without_an_answer_it_is_69_and_the_key_is_suspected(cell: Cell, silent: Cell) -> None:
    handle = cell.output("acquire", "unanswered")
    with (
        silent.start("acquire", "unanswered", "--try") as acquire,
        silent.start("renew", handle, "--wait", "500ms") as renew,
        silent.start("status") as status,
        silent.start("status", "unanswered", "--check", "-q") as check,
    ):
        for process in (acquire, renew):
            assert process.wait() == 69
            sentence = process.stderr.rest()
            assert "is this the cell's key" in sentence
            assert sentence.count("\n") == 1
        assert status.wait() == 69
        assert status.stdout.rest().endswith("quorum: no (0 of 3 serve, 2 needed)\n")
        assert check.wait() == 2


def test_seeds_that_do_not_answer_are_given_up_in_time(silent: Cell) -> None:
    key = Path(silent.env["PAXLOCK_CELL"]).with_suffix(".key")
    seeds = Cell({"PAXLOCK_NODES": "127.0.0.1:9", "PAXLOCK_KEY_FILE": str(key)})
    assert "no node answered" in seeds.fails(69, "acquire", "job", "--try")


# --- watches ---------------------------------------------------------------------------------------------


def test_watch_sees_led_and_free(cell: Cell) -> None:
    with cell.start("watch", "--jsonl", "watched") as watch:
        assert json.loads(watch.stdout.line())["state"] == "free"
        facts = json.loads(cell.output("acquire", "watched", "--json", "--label", "host:1"))
        led = json.loads(watch.stdout.line())
        assert led == {
            "v": 1,
            "name": "watched",
            "state": "led",
            "term": facts["term"],
            "label": "host:1",
            "data": "",
        }
        cell.output("release", facts["handle"])
        assert json.loads(watch.stdout.line())["state"] == "free"
        watch.send_signal(signal.SIGINT)
        assert watch.wait() == 130


def test_watch_of_a_prefix_until_led(cell: Cell) -> None:
    with cell.start("watch", "--until", "led", "shelf/*") as watch:
        term = json.loads(cell.output("acquire", "--json", "shelf/one", "--label", "host:1"))["term"]
        assert watch.wait() == 0
        assert watch.stdout.rest().splitlines()[-1] == f"shelf/one led {term} host:1"


@pytest.mark.parametrize("pattern", ["nothing/*", "nothing/was-*"])
def test_watch_once_ends_where_no_name_matches(cell: Cell, pattern: str) -> None:
    cell.output("release", cell.output("acquire", "nothing/was-here"))
    done = cell.run("watch", pattern, "--once")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"paxlock: no name that is led matches {pattern!r}\n"
    cell.output("acquire", "seen/1", "--ttl", "20s")
    done = cell.run("watch", pattern, "seen/*", "--once")
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["seen/1", "led"])


def test_watch_once_shows_every_name(cell: Cell) -> None:
    lines = cell.output("watch", "--once", "once-a", "once-b").split("\n")
    assert sorted(lines) == ["once-a free", "once-b free"]


def test_watch_exec_runs_in_order_with_the_change_in_environment_and_on_stdin(
    cell: Cell, tmp_path: Path
) -> None:
    script = tmp_path / "hook"
    script.write_text('#!/bin/sh\necho "$PAXLOCK_STATE $PAXLOCK_NAME" >> "$LOG"\ncat >> "$LOG"\necho heard\n')
    script.chmod(0o755)
    log = tmp_path / "log"
    handle = cell.output("acquire", "hooked", "--data", "x y")
    with cell.start(
        "watch", "-q", "--until", "free", "--exec", f"'{script}' more words", "hooked", LOG=str(log)
    ) as watch:
        assert watch.stdout.line().startswith("hooked led")
        assert watch.stderr.line() == "heard"
        cell.output("release", handle)
        assert watch.wait() == 0
        assert "heard" not in watch.stdout.rest()
    lines = log.read_text().splitlines()
    assert [lines[0], lines[2]] == ["led hooked", "free hooked"]
    assert json.loads(lines[1])["data"] == "x y"
    assert json.loads(lines[3])["state"] == "free"


def test_a_reader_that_goes_ends_the_watch_quietly(cell: Cell) -> None:
    with cell.start("watch", "-q", "piped") as watch:
        assert watch.stdout.line() == "piped free"
        watch.close_stdout()
        cell.output("acquire", "piped")
        assert watch.wait() == 141
        assert watch.stderr.rest() == ""


# --- elections -------------------------------------------------------------------------------------------


def led(process: Process) -> int:
    """Wait until this process leads, and return its term."""
    word, term = process.stdout.line().split()
    assert word == "led"
    return int(term)


def test_a_leader_that_is_killed_is_followed_by_the_other_with_a_higher_term(cell: Cell) -> None:
    elect = ("elect", "throne", "--ttl", "2s", "--data", "10.0.0.7:8080")
    with cell.start(*elect) as first:
        term = led(first)
        with cell.start(*elect) as second:
            cell.wait_in_line("throne")
            first.send_signal(signal.SIGKILL)
            later = led(second)
            assert later > term
            second.send_signal(signal.SIGTERM)
            assert second.stdout.line() == f"lost {later}"
            assert second.wait() == 0
    assert cell.run("status", "--check", "throne").returncode == 1


def test_a_leader_that_was_stopped_learns_that_it_lost(cell: Cell) -> None:
    with cell.start("elect", "stopped", "--ttl", "2s", "--once", "--json") as first:
        facts = json.loads(first.stdout.line())
        assert facts["state"] == "led"
        with cell.start("elect", "stopped", "--ttl", "2s") as second:
            cell.wait_in_line("stopped")
            first.send_signal(signal.SIGSTOP)
            assert led(second) > facts["term"]
            first.send_signal(signal.SIGCONT)
            lost = json.loads(first.stdout.line())
            assert lost == {"v": 1, "name": "stopped", "state": "unknown", "term": facts["term"]}
            assert first.wait() == 79


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_leader_whose_reader_has_stopped_leads_on_and_hears_signals(
    cell: Cell, tmp_path: Path, signum: signal.Signals
) -> None:
    """It stood still in its first line: no renewal, no hook, and nothing but KILL ended it."""
    name, marks = f"unread-{signum}", tmp_path / "marks"
    hook = f"sh -c 'echo $PAXLOCK_STATE >> {marks}'"
    with full_pipe() as full:
        leader = subprocess.Popen(
            [sys.executable, "-m", "paxlock", "elect", name, "--ttl", "1s", "--exec", hook],
            stdout=full,
            env=environment(cell.env),
            preexec_fn=default_signals,
        )
        try:
            until = time.monotonic() + PATIENCE_S
            while not marks.exists():
                assert time.monotonic() < until
                time.sleep(0.05)  # poll: there is nothing that could be read
            term = json.loads(cell.output("status", name, "--json"))["term"]
            time.sleep(2.0)  # two ttls
            assert json.loads(cell.output("status", name, "--json"))["term"] == term
            leader.send_signal(signum)
            assert leader.wait(PATIENCE_S) == 0
        finally:
            leader.kill()
            leader.wait()
    assert marks.read_text() == "led\nunknown\n"
    assert cell.run("status", "--check", name).returncode == 1


def test_a_leader_whose_reader_has_gone_resigns(cell: Cell, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    with cell.start("elect", "unheard", "--exec", f"sh -c 'echo $PAXLOCK_STATE >> {marks}'") as leader:
        leader.close_stdout()
        assert leader.wait() == 141
    assert marks.read_text() in ("led\nunknown\n", "unknown\n")
    assert cell.run("status", "--check", "unheard").returncode == 1


def test_the_command_of_a_leader_that_resigns_ends_before_the_lease_is_released(
    cell: Cell, tmp_path: Path
) -> None:
    script = tmp_path / "hook"
    script.write_text(
        '#!/bin/sh\necho "$PAXLOCK_STATE ${#PAXLOCK_CELL_ID}"\n'
        'test "$PAXLOCK_STATE" = led && exit\n"$PYTHON" -m paxlock status --check -q stage\necho "check $?"\n'
    )
    script.chmod(0o755)
    with cell.start("elect", "stage", "--exec", str(script), PYTHON=sys.executable) as leader:
        term = led(leader)
        assert leader.stderr.line() == "led 32"  # the state, and the id of the cell in hex
        leader.send_signal(signal.SIGINT)
        assert leader.wait() == 0
        assert leader.stdout.rest() == f"lost {term}\n"
        assert leader.stderr.rest() == "unknown 32\ncheck 0\n"
    assert cell.run("status", "--check", "stage").returncode == 1
