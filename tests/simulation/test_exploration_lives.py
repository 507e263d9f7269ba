"""Two lives of one node: what the explorer of them finds and prints, and that its normal forms hide nothing.

``python -m tests.exploration --check`` exhausts every space, and compares those of which every state can
soon be searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import attrs
import pytest

from paxlock.simulator.checkers import CheckFailed
from tests.exploration.__main__ import main
from tests.exploration.bounds import LIVES_BOUNDS, LivesBounds
from tests.exploration.check import normal_forms_hide
from tests.exploration.lives import LivesExploration, LivesReport, explore_lives
from tests.exploration.lives_cell import Held, LivesCell, State, Vote
from tests.exploration.lives_classes import Classes, Move, joining_classes, session_classes
from tests.exploration.lives_normal import NormalForm
from tests.exploration.planted import BUGS, FOUND_IN_LIVES, find_lives
from tests.planted.mutations import planted

SHORT = LivesBounds("short", ttl=1, until=0, term=3)
RENEWS = "lives-renew"  #: takes seconds


def test_the_command_line_prints_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bounds", "lives"]) == 0
    assert "lives: 843 states" in capsys.readouterr().out
    assert main(["--bounds", "lives", "--whole", "--minutes", "0.001"]) == 0
    assert "not exhausted" in capsys.readouterr().out


def test_an_exploration_that_runs_out_of_time_says_so() -> None:
    report = explore_lives(SHORT, minutes=0.0)
    assert not report.exhausted and "not exhausted" in str(report)


def test_a_violation_is_shown() -> None:
    assert "VIOLATION: I2: as if" in str(LivesReport(SHORT, violation="I2: as if"))


@pytest.mark.parametrize("name", [name for name, bounds in FOUND_IN_LIVES.items() if bounds != RENEWS])
def test_a_planted_bug_is_found(name: str) -> None:
    assert find_lives(name, minutes=1.0).violation


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, bounds in FOUND_IN_LIVES.items() if bounds == RENEWS])
def test_a_planted_bug_is_found_where_a_holder_renews(name: str) -> None:
    assert find_lives(name, minutes=1.0).violation


def test_the_way_between_normal_forms_is_told_as_it_happens_to_one_cell() -> None:
    script = find_lives("answers-to-an-earlier-life", minutes=1.0).script
    assert script.count("time goes on") == 1
    assert {line[0] for line in script if line.endswith("notes the new life")} == {"a", "c"}
    assert "session 2 sends Accept in term 1" in script, "what a normal form lets happen at once is told"
    assert script[-1] == "I2"


# Normal forms


@pytest.mark.parametrize("term", [1, 3])
def test_normal_forms_hide_nothing(term: int) -> None:
    """``--check`` compares whole spaces."""
    assert normal_forms_hide(attrs.evolve(SHORT, term=term, both=term == 3)) == ""


@pytest.mark.slow
@pytest.mark.parametrize(("late", "renews"), [(True, 0), (False, 1)])
def test_normal_forms_hide_nothing_of_what_is_late_or_renewed(late: bool, renews: int) -> None:
    assert normal_forms_hide(attrs.evolve(SHORT, term=1 if late else 3, late=late, renews=renews)) == ""


def _forgets_leases(form: NormalForm, held: Held) -> Held:
    return Held(term=held.term)


def _takes_both_for_noted(form: NormalForm, state: State) -> State:
    return form_of(form, state._replace(noted=(True, True)))


def _loses_votes(form: NormalForm, state: State) -> State:
    return form_of(form, state)._replace(votes=(frozenset(), frozenset()))


form_of = NormalForm.of


@pytest.mark.parametrize(
    ("method", "wrong"), [("_held", _forgets_leases), ("of", _takes_both_for_noted), ("of", _loses_votes)]
)
def test_a_wrong_normal_form_is_found_out(
    monkeypatch: pytest.MonkeyPatch, method: str, wrong: Callable[..., object]
) -> None:
    monkeypatch.setattr(NormalForm, method, wrong)
    assert normal_forms_hide(SHORT) != ""


def test_a_rule_that_only_a_wrong_normal_form_breaks_has_no_way_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(NormalForm, "_held", _forgets_leases)
    report = explore_lives(SHORT)
    assert report.violation
    assert report.script[-1] == "nothing like it happens to one cell: a normal form is wrong"


def test_bugs_are_missed_where_it_is_given_up_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NormalForm, "matters", lambda form, state: state.token == 0)
    report = find_lives("noted-by-one-too-few", minutes=1.0)
    assert report.exhausted and not report.violation


@pytest.mark.slow
def test_no_rule_is_broken_where_none_is_said_to_matter() -> None:
    """In every state, also those that follow upon a broken rule."""
    with planted(BUGS["two-lives-never-told-apart"]):
        cell = LivesCell(LIVES_BOUNDS["lives"])
        form, found, broken = NormalForm(cell), [State()], 0
        met = set(found)
        for state in found:  # grows meanwhile
            try:
                for _, new in cell.steps(state):
                    new = cell.without_old_votes(new)
                    if new not in met:
                        met.add(new)
                        found.append(new)
            except CheckFailed:
                broken += 1
                assert form.matters(state)
    assert broken > 5


def test_states_that_stay_apart_are_no_reduction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NormalForm, "of", lambda form, state: state)
    assert normal_forms_hide(SHORT) == "no states are one"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lives-late", RENEWS])
def test_what_random_walks_meet_has_its_like_among_the_normal_forms(name: str) -> None:
    """Where it takes long to search every state, or cannot be done."""
    cell, rng = LivesCell(LIVES_BOUNDS[name]), Random(1)
    form = NormalForm(cell)
    reduced = LivesExploration(cell, form)
    assert reduced.run(minutes=5.0).exhausted
    met: set[State] = set()
    for _ in range(1000):
        state = State()
        for _ in range(60):
            steps = [cell.without_old_votes(new) for _, new in cell.steps(state) if form.matters(new)]
            if not steps:
                break
            state = rng.choice([new for new in steps if new not in met] or steps)
            met.add(state)
    assert len(met) > 7_500
    assert reduced.missed(met) is None


@pytest.mark.parametrize("name", LIVES_BOUNDS)
def test_what_happens_to_a_situation_happens_to_what_stands_for_it(name: str) -> None:
    cell = LivesCell(LIVES_BOUNDS[name])
    found: list[Classes[object]] = [session_classes(cell, 0), session_classes(cell, 1), joining_classes(cell)]  # type: ignore[list-item]
    for classes in found:
        assert classes.symmetric
        assert len(classes) < len(classes.situations)
        for number, block in enumerate(classes.block):
            edges = {
                label: (grants, classes.block[to]) for label, (grants, to) in classes.edges[number].items()
            }
            changes = classes.changes[block]
            assert edges.items() >= changes.items()
            assert all(edges[label] == (False, block) for label in edges.keys() - changes.keys())
            assert classes.shown[number] == classes.shown[classes.first[block]]


@pytest.mark.parametrize(("heeded", "symmetric"), [("abc", True), ("b", True), ("ab", False)])
def test_a_machine_that_prefers_a_node_is_not_symmetric(heeded: str, symmetric: bool) -> None:
    def moves(now: int, heard: int) -> Iterator[Move[int]]:
        for node in heeded:
            yield Move(Vote(node, 1, False), now, min(heard + 1, 2))

    assert Classes(0, moves, lambda _, heard: (heard, False)).symmetric is symmetric
