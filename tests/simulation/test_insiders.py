"""Clients that make up handles, in simulated cells (protocol.md section 3, "Handles")."""

from __future__ import annotations

import attrs

from paxlock.simulator.scenario import Scenario
from paxlock.simulator.simulation import Simulation


def test_nothing_is_renewed_or_released_by_a_handle_that_was_made_up() -> None:
    refused = 0
    for seed in range(1, 7):
        scenario = attrs.evolve(
            Scenario.drawn(seed, 3, near=True), insiders=80.0, hold_for_ever=0.5, released_elsewhere=0.2
        )
        simulation = Simulation(seed, scenario)
        simulation.run()
        refused += simulation.insiders.refused
    assert refused > 20


def test_some_of_the_runs_that_are_drawn_have_insiders_and_most_have_not() -> None:
    drawn = [Scenario.drawn(seed) for seed in range(200)]
    assert 20 < sum(scenario.insiders > 0 for scenario in drawn) < 100
