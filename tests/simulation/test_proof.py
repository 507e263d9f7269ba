"""The proof (docs/spec/proof.py): a part of it is run, and its page names what there is."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest

from paxlock.core.messages import Accepted
from paxlock.core.node.acceptor import Acceptor
from paxlock.simulator.checkers import CheckFailed
from tests.exploration import BOUNDS, explore
from tests.exploration.invariant import CHECKED, check_node
from tests.exploration.nodes import ExploredNode

SPEC = Path(__file__).parents[2] / "docs" / "spec"
PAGE = (SPEC.parent / "proof.md").read_text(encoding="utf-8")


@pytest.fixture
def invariant(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package beside the command, which needs the solver."""
    pytest.importorskip("z3")
    monkeypatch.syspath_prepend(str(SPEC))
    return importlib.import_module("invariant.obligations")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SPEC / "proof.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def table(title: str) -> list[list[str]]:
    """The rows of the table of the page whose first heading is this."""
    _, _, rest = PAGE.partition(f"\n| {title} |")
    rows, _, _ = rest.partition("\n\n")
    return [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows.splitlines()[2:]]


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def found(package: str, name: str) -> bool:
    """Whether a dotted name below the package is there: modules first, then what is in them."""
    *_, last = parts = name.split(".")
    at: Any = importlib.import_module(package)
    for part in parts:
        try:
            at = importlib.import_module(f"{at.__name__}.{part}")
        except (ImportError, AttributeError):
            if attrs.has(at) and part in attrs.fields_dict(at):
                return part == last
            if not hasattr(at, part):
                return False
            at = getattr(at, part)
    return True


def test_what_the_page_names_in_the_code_is_there() -> None:
    rows = table("rule") + table("guards")
    assert len(rows) > 40
    for _, core, exploration in rows:
        for name in named(core):
            assert found("paxlock.core", name), name
        for name in named(exploration):
            assert found("tests.exploration", name), name
    assert not found("paxlock.core", "node.acceptor.Acceptor.nothing")


def test_every_rule_guard_and_conjunct_is_on_the_page(invariant: ModuleType) -> None:
    conjuncts = importlib.import_module("invariant.conjuncts").CONJUNCTS
    planted = importlib.import_module("invariant.planted")
    assert [row[0] for row in table("rule")] == [rule.name for rule in invariant.RULES]
    guards = {guard for rule in invariant.RULES for guard in invariant.guards(rule)}
    on_page = [guard for row in table("guards") for guard in named(row[0])]
    assert sorted(on_page) == sorted(guards)
    assert [named(row[0])[0] for row in table("conjunct")] == [conjunct.name for conjunct in conjuncts]
    assert {named(row[0])[0] for row in table("guard that safety does not need")} == {
        guard for _, guard in planted.HARMLESS
    }
    assert set(CHECKED) <= {conjunct.name for conjunct in conjuncts}
    every = {(rule.name, guard) for rule in invariant.RULES for guard in invariant.guards(rule)}
    assert planted.NOTICED_BY.keys() | planted.HARMLESS.keys() == every
    names = {conjunct.name for conjunct in conjuncts}
    assert planted.NEEDED_BY.keys() | planted.NOT_NEEDED.keys() == names


def test_a_node_that_breaks_a_conjunct_is_found_out() -> None:
    node = ExploredNode.fresh(BOUNDS["small"])
    check_node(node)
    node.replica._acceptor.floor = node.replica._acceptor.ceiling + 1
    with pytest.raises(CheckFailed, match="below-ceiling"):
        check_node(node)


def test_an_answer_that_tells_too_much_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that has let the lease go answers all the same."""
    accept = Acceptor.accept

    def forgets(self: Acceptor, message: Any, now: float) -> Any:
        answer = accept(self, message, now)
        if isinstance(answer, Accepted):
            self._close(self.records[message.name], now)
        return answer

    monkeypatch.setattr(Acceptor, "accept", forgets)
    monkeypatch.setattr(ExploredNode, "_check_held", lambda *_, **__: None)
    assert explore(BOUNDS["small"], minutes=1.0).violation.startswith("lease-kept: ")


@pytest.mark.slow
def test_a_part_of_the_proof_is_run() -> None:
    pytest.importorskip("z3")
    done = run("--jobs", "1", "--rule", "accept", "--rule", "release")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "54 questions, 54 proved, 0 not" in done.stdout


@pytest.mark.slow
def test_a_question_that_is_not_decided_in_time_is_not_proved() -> None:
    pytest.importorskip("z3")
    done = run("--jobs", "1", "--rule", "first validity", "--timeout", "0.001")
    assert done.returncode == 1
    assert "UNKNOWN" in done.stdout


@pytest.mark.slow
def test_a_guard_that_is_taken_out_is_told_in_sentences() -> None:
    pytest.importorskip("z3")
    done = run("--jobs", "1", "--planted", "--quick", "--rule", "Release is sent")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "step: the Release of" in done.stdout
    assert "not so after it (release-is-last)" in done.stdout
    assert "1 errors: 1 noticed" in done.stdout


@pytest.mark.slow
def test_a_wrong_protocol_leads_to_two_holders_and_the_right_one_does_not(invariant: ModuleType) -> None:
    search = importlib.import_module("invariant.search")
    wrong = next(wrong for wrong in search.WRONG if wrong.guard == "accept-while-held")
    found = search.search(wrong)
    assert found.claim == "one valid holder"
    assert len([line for line in found.lines if " accepts " in line]) == 4
    assert search.search(wrong, guarded=True).lines == ()


@pytest.mark.slow
def test_what_is_planted_must_be_in_the_tables(
    invariant: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = importlib.import_module("invariant.planted")
    key = "Release is sent", "releases-before-it-is-over"
    assert planted.find(planted.Task(*key)).as_expected
    monkeypatch.setitem(planted.NOTICED_BY, key, "lease-kept")
    assert not planted.find(planted.Task(*key)).as_expected
    harmless = "forgetting", "forgets-a-promise"
    assert planted.find(planted.Task(*harmless)).as_expected
    monkeypatch.delitem(planted.HARMLESS, harmless)
    assert not planted.find(planted.Task(*harmless)).as_expected


def test_an_unknown_rule_is_told_of() -> None:
    pytest.importorskip("z3")
    done = run("--rule", "acept")
    assert done.returncode == 2
    assert done.stderr == "there is no rule acept: --list names them\n"
