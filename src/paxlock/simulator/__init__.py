"""The simulator: whole cells of the shipped core in simulated time, from a seed, with checkers.

``run(seed)`` plays one run; ``python -m paxlock.simulator --seed N --trace`` shows it. It is pure: no trio,
no sockets, no real time. docs/simulation.md says what is played and what is checked.
"""

from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.scenario import Scenario
from paxlock.simulator.simulation import Outcome, Simulation, run

__all__ = ["CheckFailed", "Outcome", "Scenario", "Simulation", "run"]
