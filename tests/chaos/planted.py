"""Runs a module with planted bugs: ``python -m tests.chaos.planted MUTATION,MUTATION MODULE ARGUMENT...``."""

from __future__ import annotations

import runpy
import sys
from contextlib import ExitStack

from tests.planted.mutations import planted
from tests.planted.table import PLANTED_BUGS

if __name__ == "__main__":
    names, module = sys.argv[1].split(","), sys.argv[2]
    sys.argv[1:3] = []
    with ExitStack() as bugs:
        table = {mutation.name: mutation for mutation in PLANTED_BUGS}
        for name in names:
            bugs.enter_context(planted(table[name]))
        runpy.run_module(module, run_name="__main__", alter_sys=True)
