"""``python -m tests.planted``: have planted bugs caught, all of them or those whose names are given."""

from __future__ import annotations

import argparse
import sys
import time
from multiprocessing import get_context

from tests.planted.mutations import Catch, Mutation, catch, failing_test, needs_plugins
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
        for mutation, found, seconds in pool.imap_unordered(_caught, bugs):
            missed += found is None
            how = f"{found.by}: {found.says}" if found is not None else "NOT CAUGHT"
            print(f"{mutation.name}  ({mutation.breaks})\n    {seconds:.1f} s, {how}", flush=True)
    print(f"{len(bugs) - missed} of {len(bugs)} caught")
    return 1 if missed else 0


def _caught(mutation: Mutation) -> tuple[Mutation, Catch | None, float]:
    began = time.perf_counter()
    found = catch(mutation)
    return mutation, found, time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
