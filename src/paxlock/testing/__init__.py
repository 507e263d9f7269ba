"""For tests of programs that run under a lease: a virtual cell.

``open_virtual_cell`` runs a whole cell in virtual time, with the real nodes and clients, and faults at the
call of a verb; ``run_virtual`` does so for tests that are no async functions, the pytest plugin for those
that take its fixture ``paxlock_cell``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paxlock.testing.running import run_virtual
    from paxlock.testing.virtual_cell import (
        Holder,
        Program,
        TimeLimitReached,
        VirtualCell,
        open_virtual_cell,
    )

__all__ = [
    "Holder",
    "Program",
    "TimeLimitReached",
    "VirtualCell",
    "open_virtual_cell",
    "run_virtual",
]

_WHERE = {"run_virtual": "paxlock.testing.running"}


def __getattr__(name: str) -> object:
    # Lazy, because pytest loads the plugin, and so this package, in every run of everybody who has paxlock.
    if name not in __all__:
        raise AttributeError(f"module 'paxlock.testing' has no attribute {name!r}")
    found: object = getattr(import_module(_WHERE.get(name, "paxlock.testing.virtual_cell")), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
