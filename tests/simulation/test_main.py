"""``python -m paxlock.simulator``: what it shows, how it ends, what it says to arguments without sense."""

from __future__ import annotations

import shlex

import pytest

from paxlock.simulator import Outcome, Simulation
from paxlock.simulator.__main__ import main
from tests.planted.mutations import planted
from tests.planted.table import PLANTED_BUGS

BUGGY = next(mutation for mutation in PLANTED_BUGS if mutation.name == "promises-while-held")


def test_one_run_is_played_and_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("Scenario(")
    assert shown[1].endswith(" faults")
    assert shown[2].startswith("Outcome(seed=3, ")


def test_figures_and_faults_are_the_callers(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--seed",
        "5",
        "--nodes",
        "5",
        "--set",
        "loss=0.25",
        "--set",
        "clients=2",
        "--faults",
        "none",
    ]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "Scenario(nodes=5, clients=2," in shown
    assert " loss=0.25," in shown
    assert "\n0 faults\n" in shown


def test_a_trace_is_shown_for_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3", "--trace", "--name", "name 0"]) == 0
    shown = capsys.readouterr().out
    assert "holds 'name 0', token" in shown
    assert "cell heals" in shown
    assert "why it ended" in shown
    assert "name 1" not in shown


def test_a_range_of_seeds_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0-2"]) == 0
    assert capsys.readouterr().out.startswith("3 seeds in ")


def test_processes_share_the_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0-5"]) == 0
    alone = capsys.readouterr().out
    assert main(["--seeds", "0-5", "--jobs", "2"]) == 0
    together = capsys.readouterr().out
    assert alone.startswith("6 seeds in ")
    assert together.startswith("6 seeds in ")
    assert alone.split("seeds/s")[1] == together.split("seeds/s")[1]


def test_no_seed_is_begun_when_the_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0-9999", "--minutes", "0.000001"]) == 0
    assert "the time was over after 1 of 10000 seeds" in capsys.readouterr().out


@pytest.mark.slow
def test_failures_are_shown_with_a_smaller_run_that_replays(capsys: pytest.CaptureFixture[str]) -> None:
    seeds = f"{BUGGY.seed}-{BUGGY.seed + 9}"
    with planted(BUGGY):
        assert main(["--seeds", seeds]) == 1
        shown = capsys.readouterr().out
        command = shown.rsplit("  replay: ", 1)[1].splitlines()[0]
        assert main(shlex.split(command)[3:]) == 1
    check = shown.rsplit("\nFAILED  ", 1)[1].splitlines()[0]
    assert f"FAILED  {check}" in capsys.readouterr().out
    assert "  parameters: Scenario(" in shown
    assert "the smallest run found that fails so, with " in shown


def test_a_failure_is_left_as_it_is_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    with planted(BUGGY):
        codes = {main(["--seed", str(seed), "--no-shrink"]) for seed in range(BUGGY.seed, BUGGY.seed + 5)}
    shown = capsys.readouterr().out
    assert 1 in codes
    assert "\nFAILED  " in shown
    assert "the smallest run" not in shown


def test_an_error_of_the_code_itself_is_shown_with_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Simulation) -> Outcome:
        raise KeyError("no such record")

    monkeypatch.setattr(Simulation, "run", broken)
    assert main(["--seed", "3", "--no-shrink"]) == 1
    shown = capsys.readouterr().out
    assert "Traceback" in shown
    assert "FAILED  KeyError\n  'no such record'" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("", "one of the arguments --seed --seeds is required"),
        ("--seed 1 --seeds 1-2", "not allowed with argument"),
        ("--seeds many", "give a range such as 0-499, not 'many'"),
        ("--seeds 5-1", "give a range such as 0-499, not '5-1'"),
        ("--seeds 0-3 --trace", "--faults, --trace and --name are about one run: give it by --seed"),
        ("--seeds 0-3 --faults 1", "are about one run"),
        ("--seed 3 --faults 1,x", "give the numbers of faults such as 0,3,7, or none, not '1,x'"),
        ("--seed 3 --faults=-1", "give the numbers of faults such as 0,3,7, or none, not '-1'"),
        ("--seed 3 --faults 9999", "faults, numbered from 0: give --faults among them"),
        ("--seed 3 --set los=0", "a scenario has no 'los'; is it 'loss'?"),
        ("--seed 3 --set max_ttl_ms=10", "no run can be made of these figures"),
        ("--seeds 0-3 --jobs 0", "give a number above 0, not '0'"),
        ("--seeds 0-3 --jobs two", "give a number above 0, not 'two'"),
        ("--seeds 0-3 --minutes nan", "give a number above 0, not 'nan'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(shlex.split(arguments))
    assert left.value.code == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]
