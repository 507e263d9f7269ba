"""``paxlock revoke`` and ``transfer`` over a real cell."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paxlock_process import Cell, dev_cell

pytestmark = pytest.mark.processes

ORDERLY = "trap 'echo told; exit 5' TERM; echo $PAXLOCK_TERM; while :; do sleep 0.05; done"


@pytest.fixture(scope="module")
def cell() -> Iterator[Cell]:
    with dev_cell() as (cell, _):
        yield cell


def term_of(cell: Cell, name: str) -> str:
    return str(json.loads(cell.output("status", name, "--json"))["term"])


@pytest.mark.skipif(sys.platform != "linux", reason="the command is supervised through prctl")
def test_a_command_is_ended_and_the_next_one_runs(cell: Cell) -> None:
    with cell.start("run", "job", "--ttl", "20s", "--", "sh", "-c", ORDERLY) as first:
        term = first.stdout.line()
        with cell.start("run", "job", "--label", "next", "--", "sh", "-c", "echo mine") as second:
            cell.wait_in_line("job")
            assert "and it is over" in cell.run("revoke", "job", term, "--polite").stderr
            assert first.wait() == 79
            assert first.stdout.rest() == "told\n"
            assert first.stderr.rest().endswith(
                f"paxlock: the lease of 'job' (term {term}) was lost: revoked; the command was ended\n"
            )
            assert second.wait() == 0
            assert second.stdout.rest() == "mine\n"
    assert cell.run("revoke", "job", term, "--force", "-q").returncode == 0


@pytest.mark.slow
def test_what_nobody_listens_for_is_ended_by_force(cell: Cell) -> None:
    handle = cell.output("acquire", "left", "--ttl", "25s", "--label", "who", "--try")
    term = term_of(cell, "left")
    said = cell.fails(75, "revoke", "left", term, "--polite", "--wait", "500ms")
    assert said == (
        "'left', held by 'who', was not revoked in time: its holder was asked, and has not let go; "
        "--force ends its renewals"
    )
    cell.output("renew", handle)
    facts = json.loads(cell.output("revoke", "left", term, "--force", "--json"))
    assert (facts["state"], facts["term"]) == ("led", int(term))
    assert 0 < facts["remaining_ms"] <= 25_000
    assert "is over: acquire it anew" in cell.fails(79, "renew", handle)
    cell.fails(75, "acquire", "left", "--try")  # it keeps others out until its deadline
    cell.output("revoke", "left", term, "--force")  # again
    cell.output("release", handle)
    assert json.loads(cell.output("revoke", "left", term, "--polite", "--json"))["remaining_ms"] == 0


def test_another_term_is_refused(cell: Cell) -> None:
    handle = cell.output("acquire", "other", "--ttl", "20s", "--label", "who", "--try")
    term = int(term_of(cell, "other"))
    said = cell.fails(64, "revoke", "other", str(term + 1), "--force")
    assert f"'other' is led in term {term}, by 'who', and not in term {term + 1}" in said
    assert "say how: --polite, or --force" in cell.fails(64, "revoke", "other", str(term))
    cell.output("release", handle)


def test_where_there_is_nothing_to_end_it_says_so_and_that_is_no_error(cell: Cell) -> None:
    """So that a script may repeat it, and who has mistyped the name is told."""
    done = cell.run("revoke", "liev", "12", "--force")
    assert (done.returncode, done.stderr) == (0, "paxlock: nobody holds 'liev': there was nothing to end\n")
    assert json.loads(cell.output("revoke", "liev", "12", "--polite", "--json"))["revoked"] is False
    cell.output("release", cell.output("acquire", "live"))
    cell.output("acquire", "live")
    term = int(term_of(cell, "live"))
    done = cell.run("revoke", "live", str(term - 1), "--force")
    assert done.returncode == 0
    assert done.stderr == f"paxlock: term {term - 1} of 'live' is over already: it is led in term {term}\n"
    assert json.loads(cell.output("revoke", "live", str(term), "--force", "--json"))["revoked"] is True


@pytest.mark.slow
def test_a_name_is_handed_over_to_who_waits_with_a_label(cell: Cell) -> None:
    elect = ("elect", "throne", "--ttl", "20s", "--once", "--label")
    with cell.start(*elect, "one") as one:
        term = one.stdout.line().removeprefix("led ")
        assert "label 'three' waits" in cell.fails(64, "transfer", "throne", "--to", "three")
        with cell.start(*elect, "two") as two:
            cell.wait_in_line("throne")
            with cell.start(*elect, "three") as three:
                cell.wait_in_line("throne", 2)
                facts = json.loads(cell.output("transfer", "throne", "--to", "three", "--json"))
                assert one.stdout.rest() == f"lost {term}\n"
                assert one.wait() == 79
                assert three.stdout.line() == f"led {facts['term']}"
                assert (facts["label"], facts["term"] > int(term)) == ("three", True)
                cell.output("revoke", "throne", str(facts["term"]), "--polite")
                assert three.wait() == 79
            assert int(two.stdout.line().removeprefix("led ")) > facts["term"]


@pytest.mark.slow
def test_who_may_not_administer_may_not_revoke(cell: Cell, tmp_path: Path) -> None:
    key = tmp_path / "app.key"
    cell.output("grant", key, "--acquire", "--observe", "--name", "jobs/*")
    app = {"PAXLOCK_KEY_FILE": str(key)}
    handle = cell.output("acquire", "jobs/1", "--ttl", "20s", "--try", **app)
    term = term_of(cell, "jobs/1")
    for verb in (("revoke", "jobs/1", term, "--polite"), ("revoke", "jobs/1", term, "--force")):
        assert "does not allow to administer 'jobs/1'" in cell.fails(77, *verb, **app)
    assert "does not allow to administer" in cell.fails(77, "transfer", "jobs/1", "--to", "x", **app)
    admin = tmp_path / "admin.key"
    cell.output("grant", admin, "--administer", "--name", "jobs/*")
    cell.output("revoke", "jobs/1", term, "--force", PAXLOCK_KEY_FILE=str(admin))
    cell.fails(79, "renew", handle, **app)
