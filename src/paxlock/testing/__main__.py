"""``python -m paxlock.testing``: replay runs of the simulator (no installation of a test runner needed)."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from paxlock.testing.checkers import CheckFailed
from paxlock.testing.mutations import search
from paxlock.testing.planted_bugs import PLANTED_BUGS
from paxlock.testing.scenario import Scenario
from paxlock.testing.simulation import Simulation

__all__ = ["main"]

FAILURES_SHOWN = 20


def main(arguments: list[str] | None = None) -> int:
    """Replay one seed or a range; 1 where a rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m paxlock.testing", description="Replay simulated runs.")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, help="one run")
    which.add_argument("--seeds", metavar="A-B", type=_range, help="all runs from A to B")
    which.add_argument("--planted", action="store_true", help="look for seeds that catch the planted bugs")
    parser.add_argument("--nodes", type=int, choices=(1, 3, 5, 7), help="the size of the cell")
    parser.add_argument("--trace", action="store_true", help="show what happens, with true times")
    options = parser.parse_args(arguments)
    if options.planted:
        return _catch_all()
    if options.seed is not None:
        return _replay(options.seed, options.nodes, trace=options.trace)
    return _sweep(options.seeds, options.nodes)


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        return range(int(first), int(last) + 1)
    except ValueError:
        raise argparse.ArgumentTypeError(f"give a range such as 0-499, not {text!r}") from None


def _replay(seed: int, nodes: int | None, *, trace: bool) -> int:
    simulation = Simulation(seed, Scenario.drawn(seed, nodes), trace=trace)
    print(simulation.scenario)
    failed = ""
    try:
        print(simulation.run())
    except CheckFailed as failure:
        failed = str(failure)
    finally:
        for line in simulation.timeline or ():
            print(line)
    if failed:
        print(f"FAILED  {failed}")
    return 1 if failed else 0


def _sweep(seeds: range, nodes: int | None) -> int:
    began = time.process_time()
    failures: list[str] = []
    kinds: Counter[str] = Counter()
    events = tenures = 0
    gap = (0.0, -1)
    for seed in seeds:
        try:
            outcome = Simulation(seed, Scenario.drawn(seed, nodes)).run()
        except CheckFailed as failure:
            failures.append(str(failure))
            kinds[failure.check] += 1
            continue
        events += outcome.events
        tenures += outcome.tenures
        gap = max(gap, (outcome.longest_gap, seed))
    took = time.process_time() - began
    for line in failures[:FAILURES_SHOWN]:
        print(f"FAILED  {line}")
    print(
        f"{len(seeds)} seeds in {took:.1f} s of processor time: {len(seeds) / took:.0f} seeds/s, "
        f"{events} events, {tenures} tenures, longest gap {gap[0]:.3f} s (seed {gap[1]}), "
        f"{len(failures)} failures {dict(kinds) or ''}"
    )
    return 1 if failures else 0


def _catch_all() -> int:
    """Search for every planted bug from its seed on; to be run when the core has changed its ways."""
    missed = 0
    for mutation in PLANTED_BUGS:
        found = search(mutation, mutation.seed)
        missed += found is None
        print(f"{mutation.name}: " + (f"seed {found[0]}: {found[1]}" if found else "NOT CAUGHT"), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
