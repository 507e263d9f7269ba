"""Leases that are revoked and data that are published, in simulated cells (protocol.md section 12)."""

from __future__ import annotations

from typing import Any

import attrs

from paxlock.simulator.scenario import Scenario
from paxlock.simulator.simulation import Simulation

MUCH: dict[str, Any] = {"revokes": 0.6, "publishes": 0.6, "polls": 0.2, "watchers": 2, "hold_for_ever": 0.6}


def test_whoever_is_revoked_lets_go_and_what_was_published_is_shown() -> None:
    forced = published = 0
    for seed in range(1, 7):
        simulation = Simulation(seed, attrs.evolve(Scenario.drawn(seed, 3, near=True), **MUCH))
        simulation.run()
        forced += simulation.administration.forced
        published += simulation.administration.published
    assert forced > 0
    assert published > 10


def test_some_of_the_runs_that_are_drawn_have_both_and_most_have_not() -> None:
    drawn = [Scenario.drawn(seed) for seed in range(200)]
    assert 20 < sum(scenario.revokes > 0 for scenario in drawn) < 100
    assert 20 < sum(scenario.publishes > 0 for scenario in drawn) < 100
