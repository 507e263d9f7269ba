"""Every planted bug is caught by its checker, and without the bug that checker has nothing to say."""

from __future__ import annotations

import re

import pytest

from paxlock.core.node.acceptor import Acceptor
from tests.planted.mutations import SOURCE_TREE, Edit, Mutation, catch, failing_test, needs_plugins, planted
from tests.planted.table import PLANTED_BUGS

PROTOCOL = SOURCE_TREE / "docs" / "protocol.md"
BUGS = {mutation.name: mutation for mutation in PLANTED_BUGS}
RULES_MARKED = 18


@pytest.mark.parametrize("mutation", PLANTED_BUGS, ids=lambda mutation: str(mutation.name))
def test_a_planted_bug_is_caught(mutation: Mutation) -> None:
    found = catch(mutation)
    assert found is not None, f"no checker saw: {mutation.breaks}"
    assert found.says


@pytest.mark.parametrize("with_plugins", [False, True])
def test_the_tests_that_catch_bugs_pass_without_them(with_plugins: bool) -> None:
    tests = {mutation.test for mutation in PLANTED_BUGS if mutation.test}
    assert failing_test({test for test in tests if needs_plugins(test) is with_plugins}) == ""


def test_every_marked_rule_of_the_protocol_has_a_planted_bug() -> None:
    marked = set(re.findall(r"\[([SL]\d+)[\]:]", PROTOCOL.read_text(encoding="utf-8")))
    assert len(marked) == RULES_MARKED
    assert marked <= {mutation.rule for mutation in PLANTED_BUGS}


def test_every_planted_bug_has_a_name_of_its_own() -> None:
    assert len(BUGS) == len(PLANTED_BUGS)


def test_a_test_that_does_not_see_the_bug_catches_nothing() -> None:
    blind = "tests/paper/test_section_2_acceptor.py::test_s2_a_name_not_remembered_starts_closed_at_the_floor"
    assert failing_test([blind], BUGS["deadline-moved-back"]) == ""


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
