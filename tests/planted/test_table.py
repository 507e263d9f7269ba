"""The table of planted bugs: it fits the code and the protocol, and a sample of it is caught.

``python -m tests.planted`` has all of them caught: that takes minutes, and is a step of ``.ci/run``.
"""

from __future__ import annotations

import re

import attrs
import pytest

from paxlock.core.node.acceptor import Acceptor
from paxlock.simulator.scenario import Scenario
from tests.planted.__main__ import main
from tests.planted.catching import SOURCE_TREE, catch, failing_test
from tests.planted.mutations import Edit, Mutation, planted
from tests.planted.table import PLANTED_BUGS

PROTOCOL = SOURCE_TREE / "docs" / "protocol.md"
BUGS = {mutation.name: mutation for mutation in PLANTED_BUGS}
RULES_MARKED = 18
BLIND = "tests/paper/test_section_2_acceptor.py::test_a_name_not_remembered_starts_closed_at_the_floor"

# Quick ones of each module of the table: of those that the simulator catches, and of those that a test does.
SAMPLE = [
    "release-of-another",
    "deadline-moved-back",
    "floor-forgotten",
    "sits-out-without-the-drift",
    "hearsay-shown",
    "free-after-one-round",
    "two-lives-never-told-apart",
    "noted-by-who-joins",
    "messages-counted",
    "goes-on-after-release",
    "gives-up-at-the-first-refusal",
    "sealed-in-the-child",
    "force-frees-at-once",
    "older-data-overwrite-newer",
    "promoted-alone",
    "clock-read-before-the-datagrams",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_a_planted_bug_is_caught(name: str) -> None:
    found = catch(BUGS[name])
    assert found is not None, f"no checker saw: {BUGS[name].breaks}"
    assert found.says


@pytest.mark.parametrize("mutation", PLANTED_BUGS, ids=lambda mutation: str(mutation.name))
def test_every_snippet_is_in_the_code_once(mutation: Mutation) -> None:
    with planted(mutation):
        pass


@pytest.mark.parametrize("mutation", PLANTED_BUGS, ids=lambda mutation: str(mutation.name))
def test_every_figure_is_one_of_a_scenario(mutation: Mutation) -> None:
    assert mutation.changes.keys() <= {figure.name for figure in attrs.fields(Scenario)}


def test_every_marked_rule_of_the_protocol_has_a_planted_bug() -> None:
    marked = set(re.findall(r"\[([SL]\d+)[\]:]", PROTOCOL.read_text(encoding="utf-8")))
    assert len(marked) == RULES_MARKED
    assert marked <= {mutation.rule for mutation in PLANTED_BUGS}


def test_every_planted_bug_has_a_name_of_its_own() -> None:
    assert len(BUGS) == len(PLANTED_BUGS)


@pytest.mark.slow
def test_the_command_shows_what_catches_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deadline-moved-back"]) == 0
    shown = capsys.readouterr().out
    assert "deadline-moved-back  (S6: " in shown
    assert "test_s6_the_deadline_never_moves_back_for_the_same_candidate: " in shown
    assert shown.endswith("\n1 of 1 caught\n")


@pytest.mark.slow
def test_the_command_fails_where_a_bug_is_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = BUGS["deadline-moved-back"]
    unseen = attrs.evolve(seen, test=BLIND)
    gone = Mutation("gone", "S0: nothing", (Edit("quorum", "majority", "no such line", ""),))
    monkeypatch.setattr("tests.planted.__main__.PLANTED_BUGS", (seen, unseen, gone))
    assert main(["--jobs", "2"]) == 1
    shown = capsys.readouterr().out
    assert "s, NOT CAUGHT, no checker saw it" in shown
    assert "s, NOT CAUGHT, ValueError: mutation 'gone': 'no such line' occurs 0 times" in shown
    assert shown.endswith("\n1 of 3 caught\n")


def test_the_command_fails_where_a_test_of_the_table_fails_without_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tests.planted.__main__.failing_test", lambda tests: "assert 1 == 2")
    assert main(["deadline-moved-back"]) == 1
    assert capsys.readouterr().out == "a test of the table fails without any bug: assert 1 == 2\n"


def test_a_test_that_does_not_see_the_bug_catches_nothing() -> None:
    assert failing_test([BLIND], BUGS["deadline-moved-back"]) == ""


def test_no_tests_are_no_failure() -> None:
    assert failing_test([]) == ""


def test_tests_that_cannot_be_run_are_an_error_and_no_catch() -> None:
    with pytest.raises(RuntimeError, match="cannot be run"):
        failing_test(["tests/paper/test_section_2_acceptor.py::test_no_such"], BUGS["deadline-moved-back"])


def test_the_shipped_code_is_restored() -> None:
    shipped = Acceptor.__dict__["prepare"]
    with planted(BUGS["promises-while-held"]):
        assert Acceptor.__dict__["prepare"] is not shipped
    assert Acceptor.__dict__["prepare"] is shipped


def test_a_snippet_that_is_gone_is_an_error_and_changes_nothing() -> None:
    shipped = Acceptor.__dict__["prepare"]
    edits = (
        Edit("node.acceptor", "Acceptor.prepare", "candidate = message.candidate", "candidate = None"),
        Edit("node.acceptor", "Acceptor.accept", "no such line", "pass"),
    )
    with pytest.raises(ValueError, match="'no such line' occurs 0 times"), planted(Mutation("x", "y", edits)):
        pass
    assert Acceptor.__dict__["prepare"] is shipped


@pytest.mark.parametrize(
    ("module", "function"), [("quorum", "Gone.majority"), ("quorum", "gone"), ("gone", "majority")]
)
def test_a_function_that_is_gone_is_an_error(module: str, function: str) -> None:
    mutation = Mutation("x", "y", (Edit(module, function, "", ""),))
    with (
        pytest.raises(ValueError, match=f"there is no {function} in paxlock.core.{module}"),
        planted(mutation),
    ):
        pass
