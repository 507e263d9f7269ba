"""Every planted bug is caught by a checker, and the same run without it is clean."""

from __future__ import annotations

import pytest

from paxlock.core.acceptor import Acceptor
from paxlock.testing import run
from paxlock.testing.mutations import Edit, Mutation, planted, scenario_of, search
from paxlock.testing.planted_bugs import PLANTED_BUGS

RULES = {"S1", "S2", "S3", "S4", "S5", "S7", "S10", "S12", "S13", "S14", "L1", "L2", "L6", "L8"}


@pytest.mark.parametrize("mutation", PLANTED_BUGS, ids=lambda mutation: str(mutation.name))
def test_a_planted_bug_is_caught(mutation: Mutation) -> None:
    found = search(mutation, mutation.seed)
    assert found is not None, f"no checker saw: {mutation.breaks}"
    seed, failure = found
    assert f"seed {seed}" in str(failure)
    run(seed, scenario_of(mutation, seed))  # clean without the bug


def test_every_rule_with_a_run_of_its_own_is_planted() -> None:
    assert {mutation.breaks.split(":")[0] for mutation in PLANTED_BUGS} >= RULES
    assert len({mutation.name for mutation in PLANTED_BUGS}) == len(PLANTED_BUGS)


def test_the_shipped_code_is_restored() -> None:
    shipped = Acceptor.__dict__["prepare"]
    mutation = next(m for m in PLANTED_BUGS if m.name == "promises-while-held")
    with planted(mutation):
        assert Acceptor.__dict__["prepare"] is not shipped
    assert Acceptor.__dict__["prepare"] is shipped


def test_a_snippet_that_is_gone_is_an_error_and_changes_nothing() -> None:
    shipped = Acceptor.__dict__["prepare"]
    edits = (
        Edit("acceptor", "Acceptor.prepare", "candidate = message.candidate", "candidate = None"),
        Edit("acceptor", "Acceptor.accept", "no such line", "pass"),
    )
    with pytest.raises(ValueError, match="'no such line' occurs 0 times"), planted(Mutation("x", "y", edits)):
        pass
    assert Acceptor.__dict__["prepare"] is shipped
