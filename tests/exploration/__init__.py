"""Every order of events within bounds, with the shipped core: a bounded exhaustive explorer.

``explore(BOUNDS["small"])`` explores one space; ``python -m tests.exploration --bounds small``
prints its figures, and where a rule is broken the shortest way there. docs/exploration.md says what is
bounded and what is abstracted.
"""

from tests.exploration.automaton import TooLarge
from tests.exploration.bounds import BOUNDS, Bounds
from tests.exploration.search import Exploration, Report

__all__ = ["BOUNDS", "Bounds", "Exploration", "Report", "explore"]


def explore(
    bounds: Bounds, *, minutes: float = 60.0, memory_mib: float = 8192.0, condensed: bool = True
) -> Report:
    """Explore until everything was seen, a rule is broken, or time or memory is over.

    What nothing that follows tells apart is one state, unless ``condensed`` is False, or there is too much of
    it to find out. Then, and where a rule is broken, every state is searched: the way there is the shortest.
    """
    if condensed:
        try:
            report = Exploration(bounds, condensed=True).run(minutes=minutes, memory_mib=memory_mib)
        except TooLarge:
            pass
        else:
            if report.violation:
                whole = Exploration(bounds).run(minutes=minutes, memory_mib=memory_mib)
                return whole if whole.violation else report
            return report
    return Exploration(bounds).run(minutes=minutes, memory_mib=memory_mib)
