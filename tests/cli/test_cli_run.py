"""``paxlock run`` over a real cell: exit codes, signals, and a command that never outlives its lease."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from paxlock_process import Cell, Lifeline, dev_cell

from paxlock.client.handle import parse_handle

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="strays are found through /proc and prctl"),
]

HOLD = 'exec 9>"$LIFE"; echo up >&9; exec sleep 600'
STUBBORN = "exec 9>\"$LIFE\"; trap 'echo told >&9' TERM; echo up >&9; sleep 600; sleep 600"
LISTEN = "trap 'echo heard; exit 7' USR1; echo up; while :; do sleep 0.05; done"


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with dev_cell() as (cell, _):
        yield cell


@pytest.fixture
def life(tmp_path: Path) -> Iterator[Lifeline]:
    lifeline = Lifeline(tmp_path / "life")
    yield lifeline
    lifeline.close()


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143)])
def test_the_exit_code_is_the_commands_own(cell: Cell, script: str, code: int) -> None:
    done = cell.run("run", "codes", "--", "sh", "-c", script)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_a_command_that_is_not_there_or_not_runnable(cell: Cell, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    assert "not found" in cell.fails(127, "run", "codes", "--", "no-such-command")
    assert "cannot be run" in cell.fails(126, "run", "codes", "--", plain)
    assert cell.run("status", "--check", "codes").returncode == 1


def test_the_command_has_its_own_streams_and_knows_its_lease(cell: Cell) -> None:
    names = ("NAME", "TERM", "HANDLE", "CELL", "CELL_ID")
    script = f"cat; echo {' '.join(f'$PAXLOCK_{name}' for name in names)}; echo talk >&2"
    path = cell.env["PAXLOCK_CELL"]
    bare = Cell({})
    done = bare.run("run", "--cell", path, "streams", "--", "sh", "-c", script, text="typed\n")
    assert done.stderr == "talk\n"
    typed, facts = done.stdout.splitlines()
    assert typed == "typed"
    name, term, handle, found, cell_id = facts.split()
    assert (name, found) == ("streams", path)
    grant = parse_handle(handle)
    assert (grant.name, str(grant.term), grant.cell_id.hex()) == (name, term, cell_id)


def test_of_three_hosts_that_try_at_the_same_time_exactly_one_runs_the_command(
    cell: Cell, tmp_path: Path
) -> None:
    """As cron does it: ``-E 0``, so that those who have nothing to do do not fail."""
    done = tmp_path / "done"
    script = f"echo runs; until [ -e {done} ]; do sleep 0.05; done; exit 5"
    order = ("run", "nightly", "--try", "-E", "0", "--", "sh", "-c", script)
    with ExitStack() as stack:
        hosts = [stack.enter_context(cell.start(*order)) for _ in range(3)]
        running = [host for host in hosts if not host.stdout.empty()]
        idle = [host for host in hosts if host not in running]
        assert len(running) == 1
        assert [host.wait() for host in idle] == [0, 0]
        assert all("held by" in host.stderr.rest() for host in idle)
        done.touch()
        assert running[0].wait() == 5


# --- at least --------------------------------------------------------------------------------------------


def test_of_three_hosts_that_come_one_after_the_other_exactly_one_runs_a_short_command(
    cell: Cell, tmp_path: Path
) -> None:
    """As cron does it on hosts whose clocks differ: the first has long ended when the second comes."""
    ran = tmp_path / "ran"
    order = ("run", "slot", "--try", "-E", "0", "--at-least", "25s", "--", "sh", "-c", f"echo ran >> {ran}")
    for _ in range(3):
        done = cell.run(*order)
        assert done.returncode == 0
    assert ran.read_text() == "ran\n"
    assert "held by" in done.stderr


def test_of_three_hosts_that_come_at_the_same_time_exactly_one_runs_a_short_command(cell: Cell) -> None:
    order = ("run", "slot-2", "--try", "-E", "0", "--at-least", "25s", "--", "echo", "ran")
    with ExitStack() as stack:
        hosts = [stack.enter_context(cell.start(*order)) for _ in range(3)]
        assert sorted(host.stdout.rest() for host in hosts) == ["", "", "ran\n"]
        assert [host.wait() for host in hosts] == [0, 0, 0]


@pytest.mark.slow
def test_the_name_is_free_again_after_that_time_and_not_before(cell: Cell) -> None:
    began = time.monotonic()
    done = cell.run("run", "kept", "--ttl", "1s", "--at-least", "3s", "--", "sh", "-c", "exit 5")
    assert (done.returncode, done.stderr) == (5, "")
    assert json.loads(cell.output("acquire", "kept", "--json"))["term"] > 1
    assert time.monotonic() - began >= 3.0


@pytest.mark.slow
def test_a_command_that_takes_a_while_does_not_prolong_that_time(cell: Cell) -> None:
    """Else the next slot would be missed: a renewal without need lasts a whole ttl from then."""
    done = cell.run("run", "soon", "--ttl", "2s", "--at-least", "8s", "--", "sleep", "4")
    assert done.returncode == 0
    left = json.loads(cell.output("status", "soon", "--json"))["remaining_ms"]
    assert 0 < left < 6_500  # with the reserve for clocks 4.9 s at most; after such a renewal 8.9 s


def test_a_ttl_above_that_time_is_kept_and_needs_no_renewal(cell: Cell) -> None:
    assert cell.run("run", "long-ttl", "--ttl", "20s", "--at-least", "1s", "--", "true").returncode == 0
    facts = json.loads(cell.output("status", "long-ttl", "--json"))
    assert (facts["state"], facts["ttl_ms"]) == ("led", 20_000)


def test_after_that_time_the_lease_is_released_as_ever(cell: Cell) -> None:
    done = cell.run("run", "longer", "--at-least", "200ms", "--", "sleep", "0.5")
    assert done.returncode == 0
    assert cell.run("status", "--check", "-q", "longer").returncode == 1


def test_a_lease_that_cannot_be_renewed_at_the_end_is_told() -> None:
    with dev_cell("--nodes", "1") as (cell, nodes):
        script = f"kill -STOP {nodes.pid}; exit 4"
        done = cell.run("run", "alone", "--at-least", "30s", "--", "sh", "-c", script)
        nodes.send_signal(signal.SIGCONT)
        assert done.returncode == 4
        assert "could not be renewed when the command had ended" in done.stderr


def test_a_command_that_was_not_run_keeps_nobody_away(cell: Cell) -> None:
    assert "not found" in cell.fails(127, "run", "nothing", "--at-least", "20s", "--", "no-such-command")
    assert cell.run("status", "--check", "-q", "nothing").returncode == 1


def test_no_lease_can_be_kept_for_longer_than_max_ttl(cell: Cell) -> None:
    said = cell.fails(64, "run", "too-long", "--at-least", "55s", "--", "true")
    assert "--at-least must not be above the cell's max_ttl of 30s, but it is 55s" in said


def test_held_by_somebody_else_is_75_or_what_was_asked_for(cell: Cell) -> None:
    cell.output("acquire", "taken", "--label", "host:1", "--ttl", "30s")
    assert "'host:1'" in cell.fails(75, "run", "taken", "--try", "--", "true")
    assert "'host:1'" in cell.fails(9, "run", "-q", "taken", "--wait", "2s", "-E", "9", "--", "true")


def test_a_kill_time_that_the_ttl_has_no_room_for_is_bad_usage(cell: Cell) -> None:
    cell.fails(64, "run", "room", "--ttl", "1s", "--kill-after", "1s", "--", "true")


def test_signals_are_passed_on(cell: Cell) -> None:
    with cell.start("run", "signals", "--", "sh", "-c", LISTEN) as run:
        assert run.stdout.line() == "up"
        assert cell.run("status", "--check", "-q", "signals").returncode == 0
        run.send_signal(signal.SIGUSR1)
        assert run.wait() == 7
        assert run.stdout.rest() == "heard\n"
    assert cell.run("status", "--check", "-q", "signals").returncode == 1


def test_term_ends_the_command_and_the_lease_is_released(cell: Cell, life: Lifeline) -> None:
    with cell.start("run", "term", "--", "sh", "-c", HOLD, LIFE=str(life.path)) as run:
        assert life.line() == "up"
        run.send_signal(signal.SIGTERM)
        assert run.wait() == 143
        life.all_dead()
    assert cell.run("status", "--check", "-q", "term").returncode == 1


def test_a_signal_ends_the_waiting(cell: Cell) -> None:
    name = "waiting"
    handle = cell.output("acquire", name, "--ttl", "30s")
    with cell.start("run", "-q", name, "--label", "in line", "--", "true") as run:
        cell.wait_in_line(name)
        assert "1. in line for" in cell.output("status", name)
        run.send_signal(signal.SIGTERM)
        assert run.wait() == 143
        assert run.stderr.rest() == f"paxlock: interrupted while waiting for {name!r}\n"
    cell.output("release", handle)
    assert cell.run("status", "--check", "-q", name).returncode == 1


def test_what_the_command_leaves_behind_is_ended_and_told(cell: Cell) -> None:
    script = "sleep 600 > /dev/null 2>&1 & echo $!; exit 3"
    done = cell.run("run", "left", "--", "sh", "-c", script)
    assert done.returncode == 3
    assert done.stderr == (
        "paxlock: the command has ended; 1 process that it had started was still there, "
        f"and ended with it: pid {done.stdout}"
    )
    assert cell.run("run", "-q", "left", "--", "sh", "-c", script).stderr == ""


def test_the_command_dies_in_time_when_run_is_killed(cell: Cell, life: Lifeline) -> None:
    with cell.start("run", "killed", "--ttl", "2s", "--", "sh", "-c", STUBBORN, LIFE=str(life.path)) as run:
        assert life.line() == "up"
        run.send_signal(signal.SIGKILL)
        cell.output("acquire", "killed")
        assert life.is_dead()  # before anybody else could hold the name


def test_the_command_dies_in_time_when_run_is_stopped(cell: Cell, life: Lifeline) -> None:
    with cell.start("run", "halted", "--ttl", "2s", "--", "sh", "-c", STUBBORN, LIFE=str(life.path)) as run:
        assert life.line() == "up"
        run.send_signal(signal.SIGSTOP)
        cell.output("acquire", "halted")
        assert life.is_dead()  # before anybody else could hold the name
        run.send_signal(signal.SIGCONT)
        assert run.wait() == 79
        assert "was lost" in run.stderr.rest()


@pytest.mark.slow
def test_the_command_dies_in_time_when_every_node_is_gone(life: Lifeline) -> None:
    with (
        dev_cell("--nodes", "1") as (cell, nodes),
        cell.start("run", "cut", "--ttl", "2s", "--", "sh", "-c", STUBBORN, LIFE=str(life.path)) as run,
    ):
        assert life.line() == "up"
        nodes.send_signal(signal.SIGTERM)
        assert life.line() == "told"
        life.all_dead()
        assert run.wait() == 79
        assert run.stderr.rest().splitlines()[-1].startswith("paxlock: the lease of 'cut'")


def test_the_command_is_ended_when_its_lease_is_released_by_the_handle(cell: Cell) -> None:
    script = '"$PYTHON" -m paxlock release "$PAXLOCK_HANDLE"; exec sleep 600'
    done = cell.run("run", "given-up", "--ttl", "3s", "--", "sh", "-c", script, PYTHON=sys.executable)
    assert done.returncode == 79
    assert "'given-up'" in done.stderr.splitlines()[-1]
    assert "lost: released" in done.stderr.splitlines()[-1]


def test_renewals_carry_the_command_past_its_ttl(cell: Cell) -> None:
    assert cell.run("run", "long", "--ttl", "2s", "--", "sh", "-c", "sleep 2.5; exit 5").returncode == 5
