"""``python -m tests.exploration``: explore a space, or find the planted bugs."""

from __future__ import annotations

import argparse
import sys

from tests.exploration import BOUNDS, explore
from tests.exploration.bounds import LIVES_BOUNDS
from tests.exploration.check import check
from tests.exploration.lives import LivesReport, explore_lives
from tests.exploration.planted import AMONG_CLASSES, FOUND_IN, FOUND_IN_LIVES, find, find_lives
from tests.exploration.search import Report

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Print the figures; 1 where a rule was broken, a space has changed, or a planted bug was not found."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.exploration", description="Explore every order of events in bounds."
    )
    parser.add_argument(
        "--bounds", choices=sorted({*BOUNDS, *LIVES_BOUNDS}), default="small", help="the space to explore"
    )
    parser.add_argument("--minutes", type=float, default=60.0, help="when to stop (60)")
    parser.add_argument("--memory", type=float, default=8192.0, metavar="MIB", help="where to stop (8192)")
    parser.add_argument("--whole", action="store_true", help="every state, also those that count as one")
    parser.add_argument(
        "--check", action="store_true", help="every space that can be exhausted soon, in minutes"
    )
    parser.add_argument("--planted", action="store_true", help="find the planted bugs, each in its bounds")
    parser.add_argument("--trace", action="store_true", help="with --planted: show the way to each")
    options = parser.parse_args(arguments)
    if options.check:
        return 1 if check() else 0
    if options.planted:
        return _find_all(options.minutes, trace=options.trace)
    if options.bounds in LIVES_BOUNDS:
        bounds = LIVES_BOUNDS[options.bounds]
        return _print(explore_lives(bounds, minutes=options.minutes, whole=options.whole))
    report = explore(
        BOUNDS[options.bounds],
        minutes=options.minutes,
        memory_mib=options.memory,
        condensed=not options.whole,
    )
    return _print(report)


def _print(report: Report | LivesReport) -> int:
    print(report)
    for line in report.script:
        print(f"  {line}")
    return 1 if report.violation else 0


def _find_all(minutes: float, *, trace: bool) -> int:
    missed = 0
    for name, bounds in FOUND_IN.items():
        missed += _is_missed(name, bounds, find(name, minutes=minutes), trace=trace)
    for name in AMONG_CLASSES:
        report = find(name, minutes=minutes, condensed=True)
        missed += _is_missed(name, f"classes of {FOUND_IN[name]}", report, trace=False)
    for name, bounds in FOUND_IN_LIVES.items():
        missed += _is_missed(name, bounds, find_lives(name, minutes=minutes), trace=trace)
    return 1 if missed else 0


def _is_missed(name: str, where: str, report: Report | LivesReport, *, trace: bool) -> bool:
    found = f"{report.violation} ({len(report.script)} steps, {report.states} states)"
    print(f"{name} in {where}: {found if report.violation else 'NOT FOUND'}", flush=True)
    for line in report.script if trace else ():
        print(f"  {line}")
    return not report.violation


if __name__ == "__main__":
    sys.exit(main())
