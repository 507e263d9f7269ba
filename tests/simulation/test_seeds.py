"""Whole cells in simulation: no seed may break a rule (protocol.md sections 2 to 7).

PAXLOCK_SEEDS sets how many seeds are played; a failure names its seed, which
``python -m paxlock.testing --seed N --trace`` replays.
"""

from __future__ import annotations

import os

import attrs
import pytest

from paxlock.testing import CheckFailed, Scenario, Simulation, run
from paxlock.testing.__main__ import main

SEEDS = int(os.environ.get("PAXLOCK_SEEDS", "500"))
CHUNK = 50


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_breaks_a_rule(first: int) -> None:
    broken = []
    tenures = 0
    for seed in range(first, min(first + CHUNK, SEEDS)):
        try:
            tenures += run(seed).tenures
        except CheckFailed as failure:
            broken.append(str(failure))
    assert not broken, "\n".join(broken)
    assert tenures > CHUNK  # the runs did something


@pytest.mark.parametrize("nodes", [1, 3, 5, 7])
def test_every_size_of_cell(nodes: int) -> None:
    for seed in range(5):
        assert run(seed, Scenario.drawn(seed, nodes)).tenures > 0


def test_the_seed_decides_everything() -> None:
    first, second = Simulation(7, trace=True), Simulation(7, trace=True)
    assert first.run() == second.run()
    assert first.timeline == second.timeline
    assert first.timeline
    assert first.timeline != Simulation(8, trace=True).timeline


def test_a_healthy_cell_hands_over_at_once() -> None:
    """Without loss, crashes and pauses nobody waits for long between two holders."""
    scenario = Scenario(faulty_for=0.5, clients=4, once=0.0, detached=0.0, hold_for_ever=0.0, hold_max=0.02)
    for seed in range(5):
        outcome = run(seed, attrs.evolve(scenario, nodes=(1, 3, 5)[seed % 3]))
        assert outcome.tenures > 5
        assert outcome.longest_gap < 0.2


def test_replaying_one_seed_shows_a_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3", "--trace"]) == 0
    shown = capsys.readouterr().out
    assert "Outcome(seed=3" in shown
    assert "Granted" in shown
    assert "everything heals" in shown


def test_a_range_of_seeds_is_summed_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "0-2", "--nodes", "3"]) == 0
    assert capsys.readouterr().out.startswith("3 seeds in ")


def test_a_bad_range_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--seeds", "many"])
    assert "give a range such as 0-499, not 'many'" in capsys.readouterr().err
