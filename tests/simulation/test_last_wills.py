"""Last wills in whole cells: holders that are killed, forked, stopped, made daemons (protocol.md section 11).

Every run is checked as any other: no will may end a tenure on which somebody counts.
"""

from __future__ import annotations

import attrs
import pytest

from paxlock.simulator import Scenario, Simulation
from paxlock.simulator.moments import What
from paxlock.simulator.plan import FaultKind
from paxlock.simulator.timeline import rendered

HELD_LONG = Scenario(
    faulty_for=1.0,
    clients=4,
    once=0.0,
    limited=0.0,
    hold_max=0.5,
    hold_for_ever=0.6,
    max_ttl_ms=700,
    ttl_min_ms=600,
    client_crashes=5.0,
)
SEEDS = range(4)


def played(seed: int, scenario: Scenario) -> Simulation:
    simulation = Simulation(seed, scenario, trace=True)
    simulation.run()
    return simulation


def faults(simulation: Simulation) -> list[str]:
    return [moment.text for moment in simulation.timeline or () if moment.what is What.FAULT]


def sends_wills(simulation: Simulation) -> bool:
    return any(moment.what is What.WILL_SENT for moment in simulation.timeline or ())


def served_while_things_went_wrong(scenario: Scenario) -> int:
    return sum(
        moment.what is What.GRANTED and moment.true < scenario.faulty_for
        for seed in SEEDS
        for moment in played(seed, scenario).timeline or ()
    )


@pytest.mark.slow
def test_whoever_waits_for_killed_holders_waits_less() -> None:
    without = served_while_things_went_wrong(HELD_LONG)
    assert served_while_things_went_wrong(attrs.evolve(HELD_LONG, wills=1.0)) > 1.3 * without


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "figures"),
    [
        (FaultKind.FORK, {"forks": 6.0}),
        (FaultKind.DAEMON, {"daemons": 4.0}),
        (FaultKind.CLIENT_PAUSE, {"client_pauses": 6.0}),
        (FaultKind.CRASH, {"crashes": 4.0}),
    ],
    ids=lambda value: value.value if isinstance(value, FaultKind) else "",
)
def test_wills_go_together_with_other_faults(kind: FaultKind, figures: dict[str, float]) -> None:
    """Handles too: what is detached is in no will."""
    scenario = attrs.evolve(HELD_LONG, wills=1.0, detached=0.3, **figures)  # type: ignore[arg-type]
    runs = [played(seed, scenario) for seed in SEEDS]
    found = [text for run in runs for text in faults(run)]
    assert any(map(sends_wills, runs))
    assert any(text.partition(": ")[2].startswith(kind.value) for text in found)


def test_a_daemon_says_nothing_while_it_lives() -> None:
    scenario = attrs.evolve(HELD_LONG, wills=1.0, daemons=10.0, client_crashes=0.0)
    runs = [played(seed, scenario) for seed in range(2)]
    assert any(FaultKind.DAEMON.value in text for run in runs for text in faults(run))
    assert not any(map(sends_wills, runs))


def test_the_timeline_tells_of_deposits_and_of_wills_that_are_sent() -> None:
    simulation = played(0, attrs.evolve(HELD_LONG, wills=1.0))
    lines = list(rendered(simulation.timeline or []))
    assert any(line.endswith("deposits with its guardian: 1 datagram for a") for line in lines)
    assert any("is dead, and its guardian sends its last will: " in line for line in lines)


def test_some_runs_of_every_seed_range_have_wills() -> None:
    drawn = [Scenario.drawn(seed) for seed in range(60)]
    assert any(scenario.wills and scenario.daemons for scenario in drawn)
    assert not any(Scenario.drawn(seed, near=True).wills for seed in range(60))
