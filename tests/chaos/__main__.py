"""``python -m tests.chaos``: see docs/chaos.md."""

from __future__ import annotations

import argparse
import secrets
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from .cluster import Layout
from .nemesis import FaultKind
from .report import Report
from .runner import run

SEED_BITS = 31
PLANTED_S = 2.0
PLANTED = {
    "nodes that promise and accept what is held": Layout(
        node_plants=("promises-while-held", "accepts-while-held"), skewed=False
    ),
    "nodes that let go of whom an operator has ended by force": Layout(
        node_plants=("force-frees-at-once",), skewed=False, revokes=0.5
    ),
    "clients that go on when their lease is over": Layout(heedless=True, skewed=False),
}


def say(text: str) -> None:
    print(text, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Chaos with real processes.")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help="how long faults are done (default: 10)")
    budget.add_argument("--seconds", type=float, help="the same, in seconds")
    parser.add_argument("--nodes", type=int, choices=(3, 5), default=3)
    parser.add_argument(
        "--clients", type=int, default=5, help="besides the one that always asks (default: 5)"
    )
    parser.add_argument("--seed", type=int, help="of the faults (default: another one each time)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--no-skew", action="store_true", help="all clocks run alike")
    parser.add_argument(
        "--planted", action="store_true", help="plant bugs: 0 only if every one of them is found"
    )
    return parser.parse_args()


def planted(seed: int) -> int:
    """Nodes and then clients with a bug; each must be found by what it leads to."""
    missed = 0
    for what, layout in PLANTED.items():
        report, folder = run(layout, seed=seed, seconds=PLANTED_S, say=say, kinds=(FaultKind.SLOW,))
        shutil.rmtree(folder, ignore_errors=True)
        missed += not report.violations
        found = report.violations[0].splitlines()[0] if report.violations else "NOT FOUND"
        say(f"planted: {what}: {found}")
    return 1 if missed else 0


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    told = arguments()
    seed = secrets.randbits(SEED_BITS) if told.seed is None else told.seed
    # Whatever ends the controller in good order ends its processes too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        if told.planted:
            return planted(seed)
        layout = Layout(nodes=told.nodes, clients=told.clients, skewed=not told.no_skew)
        seconds = told.seconds if told.seconds is not None else 60.0 * (told.minutes or 10.0)
        began = time.monotonic()
        report, folder = run(layout, seed=seed, seconds=seconds, say=say)
        return _told(report, folder, told.json, time.monotonic() - began)
    except KeyboardInterrupt:
        say("interrupted: all processes were ended")
        return 128 + signal.SIGINT


def _told(report: Report, folder: Path, file: Path | None, took: float) -> int:
    say(report.to_text())
    if file is not None:
        file.write_text(report.to_json())
    if report.violations:
        say(f"FAILED with seed {report.seed}: everything that was noted is in {folder}")
        return 1
    say(f"no violations in {took:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
