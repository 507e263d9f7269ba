"""Who waits for long is told on stderr what for, and again when that changes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from paxlock_process import Cell, dev_cell

from paxlock.cli import waiting
from paxlock.cli.output import voice
from paxlock.cli.waiting import tell_why
from paxlock.config import cell as config

pytestmark = pytest.mark.slow

NOBODY = "no node answered: are they running, and is this the cell's key?"


@pytest.fixture(autouse=True)
def neither_quiet_nor_verbose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever command lines in this process asked for before."""
    monkeypatch.setattr(voice, "quiet", False)
    monkeypatch.setattr(voice, "verbose", False)


@pytest.fixture
def nobody(tmp_path: Path) -> Cell:
    """A cell whose node never answers."""
    config.Cell.new({"a": "127.0.0.1:9"}).save(tmp_path / "cell.toml")
    return Cell({"PAXLOCK_CELL": str(tmp_path / "cell.toml")})


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with dev_cell() as (cell, _):
        yield cell


# --- over processes --------------------------------------------------------------------------------------


@pytest.mark.processes
def test_without_an_answer_every_command_that_waits_says_so(nobody: Cell) -> None:
    with (
        nobody.start("run", "job", "--", "true") as run,
        nobody.start("acquire", "job") as acquire,
        nobody.start("elect", "job") as elect,
        nobody.start("watch", "job") as watch,
    ):
        assert run.stderr.line() == f"paxlock: waiting for 'job': {NOBODY}"
        assert acquire.stderr.line() == f"paxlock: still waiting for 'job': {NOBODY}"
        assert elect.stderr.line() == f"paxlock: still waiting to lead 'job': {NOBODY}"
        assert watch.stderr.line() == "paxlock: watching 'job'; Ctrl-C ends it"
        assert watch.stderr.line() == f"paxlock: still waiting for an answer: {NOBODY}"


@pytest.mark.processes
def test_without_a_cell_file_the_missing_answer_is_told_as_well(nobody: Cell) -> None:
    key = Path(nobody.env["PAXLOCK_CELL"]).with_suffix(".key")
    seeds = Cell({"PAXLOCK_NODES": "127.0.0.1:9", "PAXLOCK_KEY_FILE": str(key)})
    with seeds.start("acquire", "job") as acquire:
        assert acquire.stderr.line() == (
            "paxlock: still waiting: no node answered: are they running, and is this the cell's key?"
        )


@pytest.mark.processes
def test_the_holder_is_named_but_not_to_the_quiet(cell: Cell) -> None:
    first = cell.output("acquire", "job", "--label", "host:1", "--ttl", "30s")
    with (
        cell.start("elect", "job", "--label", "host:2") as second,
        cell.start("run", "job", "--", "true") as run,
    ):
        assert run.stderr.line() == "paxlock: waiting for 'job': held by 'host:1'"
        assert second.stderr.line() == "paxlock: still waiting to lead 'job': held by 'host:1'"
        with cell.start("acquire", "job", "-q") as quiet:
            cell.wait_in_line("job", 3)
            cell.output("release", first)
            assert second.stdout.line().startswith("led")
            second.send_signal(signal.SIGTERM)
            assert quiet.wait() == 0
            assert quiet.stderr.rest() == ""


# --- the sentences ---------------------------------------------------------------------------------------


async def tell(findings: list[str], over: str = "") -> None:
    """Tell of findings, one look after the other; without one the client is closed."""

    async def look() -> str:
        if not findings:
            raise trio.ClosedResourceError
        return findings.pop(0)

    await tell_why(look, "waiting", over=over)


async def test_only_what_has_changed_is_told(
    capsys: pytest.CaptureFixture[str], autojump_clock: trio.testing.MockClock
) -> None:
    began = trio.current_time()
    await tell(["held by 'a'", "held by 'a'", "", "held by 'a'", "no quorum", "held by 'a'"])
    assert capsys.readouterr().err.splitlines() == [
        "paxlock: waiting: held by 'a'",
        "paxlock: waiting: no quorum",
        "paxlock: waiting: held by 'a'",
    ]
    assert trio.current_time() - began == 5.0 + 6 * waiting.LOOK_EVERY_S
    await tell(["no quorum", "", "", "no quorum"], over="a quorum answers again")
    assert capsys.readouterr().err.splitlines() == [
        "paxlock: waiting: no quorum",
        "paxlock: a quorum answers again",
        "paxlock: waiting: no quorum",
    ]


async def test_nothing_is_told_to_the_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice, "quiet", True)
    await tell(["held by 'a'"])
    assert capsys.readouterr().err == ""
