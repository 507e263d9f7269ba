"""Every order of events within bounds, with the shipped core: a bounded exhaustive explorer.

``explore(BOUNDS["small"])`` explores one space; ``python -m paxlock.testing.exploration --bounds small``
prints its figures, and where a rule is broken the shortest way there. docs/exploration.md says what is
bounded and what is abstracted.
"""

from paxlock.testing.exploration.bounds import BOUNDS, Bounds
from paxlock.testing.exploration.search import Exploration, Report

__all__ = ["BOUNDS", "Bounds", "Exploration", "Report", "explore"]


def explore(bounds: Bounds, *, minutes: float = 60.0, memory_mib: float = 8192.0) -> Report:
    """Explore until everything was seen, a rule is broken, or time or memory is over."""
    return Exploration(bounds).run(minutes=minutes, memory_mib=memory_mib)
