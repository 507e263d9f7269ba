"""``python -m paxlock.simulator``: play and replay runs of the simulator (no test runner needed)."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from math import inf
from typing import Any

import attrs

from paxlock.simulator.scenario import Scenario
from paxlock.simulator.shrinking import Case, check_of, figure, played, shrink
from paxlock.simulator.simulation import Outcome
from paxlock.simulator.timeline import rendered

__all__ = ["main"]

FAILURES_SHOWN = 20
FAILURES_SHRUNK = 3  #: the first of each check that failed, so many checks at most


def main(arguments: list[str] | None = None) -> int:
    """Play one run or many; 1 where a rule was broken. Exits with 2 for arguments that make no sense."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.seed is None and (options.faults is not None or options.trace or options.name):
        parser.error("--faults, --trace and --name are about one run: give it by --seed")
    case_of = partial(_case, nodes=options.nodes, figures=dict(options.set), kept=options.faults)
    case = case_of(options.seeds[0] if options.seed is None else options.seed)
    try:
        case.simulation()
    except IndexError:
        drawn = len(attrs.evolve(case, kept=None).faults)
        parser.error(
            f"the run of seed {case.seed} has {drawn} faults, numbered from 0: give --faults among them"
        )
    except ValueError as error:
        parser.error(f"no run can be made of these figures: {error}")
    if options.seed is None:
        return _sweep(options.seeds, case_of, options.jobs, options.minutes * 60.0, shrinks=options.shrinks)
    print(case.scenario)
    print(f"{len(case.faults)} faults")
    # A run whose faults were chosen has been made smaller already.
    return _replay(
        case, options.name, trace=options.trace, shrinks=options.shrinks and options.faults is None
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m paxlock.simulator",
        description="Play runs of the simulator, and replay those that fail.",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seed", type=int, metavar="N", help="one run")
    which.add_argument("--seeds", metavar="A-B", type=_range, help="all runs from A to B")
    add = parser.add_argument
    add("--nodes", type=int, choices=(1, 3, 5, 7), help="the size of the cell")
    add(
        "--set",
        metavar="KEY=VALUE",
        type=_figure,
        action="append",
        default=[],
        help="one figure of the scenario",
    )
    add(
        "--faults", metavar="0,3,7", type=_numbers, help="only these of the faults drawn for the run, or none"
    )
    add("--trace", action="store_true", help="show what happens, with true times")
    add("--name", help="of the trace, only what concerns this name")
    add("--jobs", metavar="J", type=_positive(int), default=1, help="processes that share the seeds")
    add("--minutes", metavar="M", type=_positive(float), default=inf, help="of processor time, for all seeds")
    add("--no-shrink", dest="shrinks", action="store_false", help="show failures as they are")
    return parser


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        seeds = range(int(first), int(last) + 1)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise argparse.ArgumentTypeError(f"give a range such as 0-499, not {text!r}")
    return seeds


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(number) for number in text.split(",")) if text != "none" else ()
    except ValueError:
        numbers = (-1,)
    if any(number < 0 for number in numbers):
        raise argparse.ArgumentTypeError(f"give the numbers of faults such as 0,3,7, or none, not {text!r}")
    return numbers


def _figure(text: str) -> tuple[str, Any]:
    try:
        return figure(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _positive(kind: type[int | float]) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            number = kind(text)
        except ValueError:
            number = kind(0)
        if not 0 < number < inf:
            raise argparse.ArgumentTypeError(f"give a number above 0, not {text!r}")
        return number

    return read


def _case(seed: int, nodes: int | None, figures: dict[str, Any], kept: tuple[int, ...] | None) -> Case:
    return Case(seed, attrs.evolve(Scenario.drawn(seed, nodes), **figures), kept, nodes)


# One run


def _replay(case: Case, name: str | None, *, trace: bool, shrinks: bool) -> int:
    simulation = case.simulation(trace=trace)
    result = played(simulation)
    for line in rendered(simulation.timeline or [], name) if trace else ():
        print(line)
    if isinstance(result, Outcome):
        print(result)
        return 0
    traceback.print_exception(result, file=sys.stdout)
    _show(_Failure(case, check_of(result), str(result)), shrinks=shrinks)
    return 1


@attrs.frozen
class _Failure:
    case: Case
    check: str
    sentence: str


def _show(failure: _Failure, *, shrinks: bool) -> None:
    """What failed, in which run, and the smallest run found that fails in the same way."""
    print(f"\nFAILED  {failure.check}\n  {failure.sentence}")
    print(f"  parameters: {failure.case.scenario}")
    print(f"  replay: {failure.case}")
    if shrinks:
        smaller = shrink(failure.case, lambda other: check_of(other) == failure.check)
        print(f"  the smallest run found that fails so, with {len(smaller.faults)} faults:")
        for fault in smaller.faults:
            print(f"    {fault}")
        print(f"  replay: {smaller}")


# Many runs


@attrs.define
class _Tally:
    """What many runs came to."""

    seeds: int = 0
    seconds: float = 0.0
    events: int = 0
    tenures: int = 0
    gap: tuple[float, int] = (0.0, -1)
    failures: list[_Failure] = attrs.field(factory=list)

    def add(self, case: Case, result: Outcome | Exception) -> None:
        self.seeds += 1
        if isinstance(result, Outcome):
            self.events += result.events
            self.tenures += result.tenures
            self.gap = max(self.gap, (result.longest_gap, case.seed))
        else:
            self.failures.append(_Failure(case, check_of(result), str(result)))

    def merge(self, other: _Tally) -> None:
        self.seeds += other.seeds
        self.seconds += other.seconds
        self.events += other.events
        self.tenures += other.tenures
        self.gap = max(self.gap, other.gap)
        self.failures += other.failures

    def __str__(self) -> str:
        speed = self.seeds / max(self.seconds, 1e-6)
        checks = dict(Counter(failure.check for failure in self.failures))
        return (
            f"{self.seeds} seeds in {self.seconds:.1f} s of processor time: {speed:.0f} seeds/s, "
            f"{self.events} events, {self.tenures} tenures, "
            f"longest gap {self.gap[0]:.3f} s (seed {self.gap[1]}), "
            f"{len(self.failures)} failures {checks or ''}"
        )


def _tally(seeds: Iterable[int], case_of: Callable[[int], Case], seconds_max: float) -> _Tally:
    """Play these seeds, as many as there is processor time for."""
    tally, began = _Tally(), time.process_time()
    for seed in seeds:
        if tally.seconds >= seconds_max:
            break
        case = case_of(seed)
        tally.add(case, played(case.simulation()))
        tally.seconds = time.process_time() - began
    return tally


def _sweep(
    seeds: range, case_of: Callable[[int], Case], jobs: int, seconds_max: float, *, shrinks: bool
) -> int:
    tally = _Tally()
    share = partial(_tally, case_of=case_of, seconds_max=seconds_max / jobs)
    if jobs == 1:
        tally.merge(share(seeds))
    else:
        with multiprocessing.Pool(jobs) as pool:
            for part in pool.imap(share, [seeds[at::jobs] for at in range(jobs)]):
                tally.merge(part)
    failures = sorted(tally.failures, key=lambda failure: failure.case.seed)
    first: dict[str, _Failure] = {}
    for failure in failures:
        first.setdefault(failure.check, failure)
    for failure in failures[:FAILURES_SHOWN]:
        print(f"FAILED  {failure.sentence}")
    for failure in list(first.values())[:FAILURES_SHRUNK]:
        _show(failure, shrinks=shrinks)
    if tally.seeds < len(seeds):
        print(f"the time was over after {tally.seeds} of {len(seeds)} seeds")
    print(tally)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
