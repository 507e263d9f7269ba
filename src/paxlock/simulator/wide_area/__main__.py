"""``python -m paxlock.simulator.wide_area``: the table of docs/wide_area.md."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from functools import partial

from paxlock.config.cell import GRACE_S
from paxlock.simulator.wide_area.measures import MEASURES, Measured, measure
from paxlock.simulator.wide_area.networks import NETWORKS, QUICK, Net

__all__ = ["main"]

RUNS = 3

_Job = tuple[Net, str]


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 where a bar was missed."""
    parser = argparse.ArgumentParser(
        prog="python -m paxlock.simulator.wide_area", description="Measure networks of every width."
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a few of the networks")
    add("--only", choices=sorted(MEASURES), action="append", help="one measurement; may be repeated")
    add("--net", metavar="TEXT", help='networks whose name has this, such as "20 ms, jitter x3"')
    add("--grace", type=float, default=GRACE_S, metavar="S", help="the cell's grace, in seconds")
    add("--runs", type=int, default=RUNS, metavar="N", help=f"how often each is played ({RUNS})")
    add("--jobs", type=int, default=1, metavar="J", help="processes that share the work")
    options = parser.parse_args(arguments)
    nets = [net for net in (QUICK if options.quick else NETWORKS) if (options.net or "") in str(net)]
    what = [name for name in MEASURES if not options.only or name in options.only]
    jobs: list[_Job] = [(net, name) for net in nets for name in what]
    run = partial(_run, grace_ms=round(options.grace * 1000), runs=max(1, options.runs))
    rows: dict[Net, dict[str, Measured]] = {net: {} for net in nets}
    with multiprocessing.Pool(options.jobs) as pool:
        for (net, name), found in zip(jobs, pool.imap(run, jobs), strict=True):
            rows[net].update(found)
            if name == what[-1]:
                _show(net, rows[net], first=net is nets[0])
    missed = [(net, name) for net in nets for name, found in rows[net].items() if found.within is False]
    print(f"\n{len(missed)} bars missed" if missed else "\nall bars are met")
    return 1 if missed else 0


def _run(job: _Job, grace_ms: int, runs: int) -> dict[str, Measured]:
    net, name = job
    return measure(net, name, grace_ms=grace_ms, runs=runs)


def _show(net: Net, found: dict[str, Measured], *, first: bool) -> None:
    if first:
        heads = ("round trip", "jitter", "loss", *found)
        _row(heads)
        _row(["---"] * len(heads))
    cells = [f"{one.text} **!**" if one.within is False else one.text for one in found.values()]
    _row((net.label, f"x{net.jitter:g}", f"{net.loss:.0%}", *cells))


def _row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
