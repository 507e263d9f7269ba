"""A failing run is made smaller, fails as before, and its command replays it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import attrs
import pytest

from paxlock.core.durable import Durability
from paxlock.simulator import CheckFailed, Outcome, Scenario
from paxlock.simulator.__main__ import main
from paxlock.simulator.minimising import minimised
from paxlock.simulator.shrinking import Case, check_of, figure, played, shrink
from tests.planted.catching import scenario_of, search
from tests.planted.mutations import Mutation, planted
from tests.planted.table import PLANTED_BUGS

BUGS = {mutation.name: mutation for mutation in PLANTED_BUGS}


@pytest.fixture(params=["promises-while-held", "released-while-valid", "goes-on-after-release"])
def bug(request: pytest.FixtureRequest) -> Mutation:
    return BUGS[request.param]


@pytest.fixture
def failing(bug: Mutation) -> Iterator[tuple[Case, str]]:
    """A case that fails as long as the bug is planted, and in which check."""
    found = search(bug, bug.seed)
    assert found is not None
    seed, failure = found
    with planted(bug):
        yield Case(seed, scenario_of(bug, seed)), failure.check


def size(case: Case) -> tuple[float, ...]:
    scenario = case.scenario
    calm = sum(bool(getattr(scenario, rate)) for rate in ("loss", "repeated", "late", "cancelled", "polls"))
    return (len(case.faults), scenario.clients, scenario.names, scenario.nodes, scenario.faulty_for, calm)


def test_a_shrunk_case_is_smaller_and_fails_as_before(failing: tuple[Case, str]) -> None:
    case, check = failing
    smaller = shrink(case, lambda failure: check_of(failure) == check)
    result = played(smaller.simulation())
    assert isinstance(result, CheckFailed)
    assert result.check == check
    assert size(smaller) != size(case)
    assert all(less <= more for less, more in zip(size(smaller), size(case), strict=True))
    assert set(smaller.faults) <= set(case.faults)


@pytest.mark.slow
def test_the_command_of_a_shrunk_case_replays_it(
    failing: tuple[Case, str], capsys: pytest.CaptureFixture[str]
) -> None:
    case, check = failing
    smaller = shrink(case, lambda failure: check_of(failure) == check)
    expected = played(smaller.simulation())
    words = shlex.split(smaller.command())
    assert words[:3] == ["python", "-m", "paxlock.simulator"]
    assert main(words[3:]) == 1
    shown = capsys.readouterr().out
    assert f"FAILED  {check}" in shown
    assert str(expected) in shown
    assert f"replay: {smaller.command()}" in shown


def test_no_run_is_played_beyond_the_bound() -> None:
    case = Case(0, Scenario.drawn(0))
    played_runs = []

    def same_failure(failure: Exception) -> bool:
        played_runs.append(failure)
        return True

    with planted(BUGS["promises-while-held"]):
        shrink(case, same_failure, runs_max=3)
        assert len(played_runs) <= 3
        assert shrink(case, same_failure, seconds_max=-1.0).faults == case.faults
    assert len(played_runs) <= 3


def test_an_error_of_the_code_itself_is_named_by_its_class() -> None:
    assert check_of(KeyError("a")) == "KeyError"
    assert check_of(CheckFailed("S2", "…")) == "S2"


def test_a_run_without_faults_has_none() -> None:
    case = Case(1, Scenario.drawn(1), kept=())
    assert case.faults == ()
    assert "--faults none" in case.command()
    assert isinstance(played(case.simulation()), Outcome)


def test_a_command_names_only_what_is_not_drawn() -> None:
    scenario = Scenario.drawn(3, 5)
    changed = attrs.evolve(scenario, loss=0.125, durability=Durability.MEMORY, sealed=False, nodes=3)
    assert (
        Case(3, scenario, drawn_nodes=5).command() == "python -m paxlock.simulator --seed 3 --nodes 5 --trace"
    )
    assert Case(3, changed, kept=(0, 2), drawn_nodes=5).command() == (
        "python -m paxlock.simulator --seed 3 --nodes 5 --set nodes=3 --set durability=memory "
        "--set loss=0.125 --set sealed=False --faults 0,2 --trace"
    )


def test_every_figure_is_read_as_it_is_written() -> None:
    for seed in range(20):
        scenario = Scenario.drawn(seed)
        read = dict(
            figure(f"{name}={value.value if isinstance(value, Durability) else value}")
            for name, value in attrs.asdict(scenario, recurse=False).items()
        )
        assert Scenario(**read) == scenario


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("los=0", "a scenario has no 'los'; is it 'loss'?"),
        ("xyzzy", "a scenario has no 'xyzzy'"),
        ("loss=", "loss is a number, 0 or more, not ''"),
        ("loss=-1", "loss is a number, 0 or more, not '-1'"),
        ("loss=nan", "loss is a number, 0 or more, not 'nan'"),
        ("clients=1.5", "clients is a whole number, 0 or more, not '1.5'"),
        ("nodes=2", "nodes is one of 1, 3, 5, 7, not '2'"),
        ("durability=disk", "durability is one of record, sync, memory, not 'disk'"),
        ("sealed=maybe", "sealed is one of True, False, not 'maybe'"),
    ],
)
def test_a_figure_that_makes_no_sense_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        figure(text)


# Delta debugging


def test_only_what_matters_is_left() -> None:
    tried: list[int] = []

    def fails(items: list[int]) -> bool:
        tried.append(len(items))
        return {17, 600, 601} <= set(items)

    assert minimised(range(1000), fails) == [17, 600, 601]
    assert len(tried) < 150


def test_nothing_is_left_of_what_fails_anyway() -> None:
    assert minimised([1, 2, 3], lambda _: True) == []
    assert minimised([], lambda _: True) == []


def test_what_matters_only_together_is_kept() -> None:
    assert minimised(range(8), lambda items: len(items) >= 5) == [3, 4, 5, 6, 7]
