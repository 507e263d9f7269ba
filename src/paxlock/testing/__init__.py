"""For tests: a virtual cell for programs that run under a lease, and the simulator that tests paxlock itself.

``open_virtual_cell`` runs a whole cell in virtual time, with the real nodes and clients, and faults at the
call of a verb; ``run_virtual`` does so for tests that are no async functions, the pytest plugin for those
that take its fixture ``paxlock_cell``.

``run(seed)`` plays one run of the simulator: the shipped core in simulated cells, checkers, planted bugs;
``python -m paxlock.testing --seed N --trace`` shows it. It is pure: no trio, no sockets, no real time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paxlock.testing.checkers import CheckFailed
    from paxlock.testing.scenario import Scenario
    from paxlock.testing.simulation import Outcome, Simulation, run
    from paxlock.testing.virtual_cell import (
        Holder,
        Program,
        TimeLimitReached,
        VirtualCell,
        open_virtual_cell,
        run_virtual,
    )

__all__ = [
    "CheckFailed",
    "Holder",
    "Outcome",
    "Program",
    "Scenario",
    "Simulation",
    "TimeLimitReached",
    "VirtualCell",
    "open_virtual_cell",
    "run",
    "run_virtual",
]

# Lazy, because pytest loads the plugin, and so this package, in every run of everybody who has paxlock.
_LAZY = {
    "CheckFailed": "checkers",
    "Holder": "virtual_cell",
    "Outcome": "simulation",
    "Program": "virtual_cell",
    "Scenario": "scenario",
    "Simulation": "simulation",
    "TimeLimitReached": "virtual_cell",
    "VirtualCell": "virtual_cell",
    "open_virtual_cell": "virtual_cell",
    "run": "simulation",
    "run_virtual": "virtual_cell",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'paxlock.testing' has no attribute {name!r}")
    found: object = getattr(import_module(f"paxlock.testing.{_LAZY[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
