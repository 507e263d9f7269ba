"""The deterministic simulator of paxlock: the shipped core in simulated cells, its checkers, planted bugs.

``run(seed)`` plays one run; ``python -m paxlock.testing --seed N --trace`` shows it. Pure: no trio, no
sockets, no real time.
"""

from paxlock.testing.checkers import CheckFailed
from paxlock.testing.scenario import Scenario
from paxlock.testing.simulation import Outcome, Simulation, run

__all__ = ["CheckFailed", "Outcome", "Scenario", "Simulation", "run"]
