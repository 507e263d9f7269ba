"""``python -m tests.planted``: have planted bugs caught, all of them or those whose names are given."""

from __future__ import annotations

import argparse
import sys
from multiprocessing import get_context

from tests.planted.catching import failing_test, needs_plugins, trial
from tests.planted.table import PLANTED_BUGS

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Print what catches each bug; 1 where one is missed, or a test of the table fails without any bug."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of bugs; all without one")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes that share the bugs")
    options = parser.parse_args(arguments)
    known = {mutation.name: mutation for mutation in PLANTED_BUGS}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no planted bug is called {unknown[0]!r}")
    bugs = [known[name] for name in options.names] or list(PLANTED_BUGS)
    tests = {mutation.test for mutation in bugs if mutation.test}
    for with_plugins in (False, True):
        broken = failing_test({test for test in tests if needs_plugins(test) is with_plugins})
        if broken:
            print(f"a test of the table fails without any bug: {broken}")
            return 1
    missed = 0
    with get_context("spawn").Pool(options.jobs) as pool:
        # From a module that a process of the pool can import: this one is __main__ there.
        for tried in pool.imap_unordered(trial, bugs):
            missed += not tried.caught
            how = tried.says if tried.caught else f"NOT CAUGHT, {tried.says}"
            print(f"{tried.mutation.name}  ({tried.mutation.breaks})")
            print(f"    {tried.seconds:.1f} s, {how}", flush=True)
    print(f"{len(bugs) - missed} of {len(bugs)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
