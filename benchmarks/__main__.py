"""Measure paxlock beside its peers: docs/benchmarks.md.

python -m benchmarks [--quick] [--scenarios A,B] [--peers paxlock,etcd] [--rounds N]
                     [--seconds S] [--json FILE] [--report FILE] [--plots FOLDER] [--from FILE]
                     [--work-dir FOLDER] [--python FILE]
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NoReturn

import attrs

import paxlock
from benchmarks import plots
from benchmarks.bench import QUICK, Bench, Effort
from benchmarks.figures import Figures
from benchmarks.interpreter import run_with, without_option
from benchmarks.machine import description
from benchmarks.peers.base import Peer
from benchmarks.processes import Failed, compile_package
from benchmarks.reading import read_report
from benchmarks.registry import OURS, PEERS
from benchmarks.report import report
from benchmarks.results import Results
from benchmarks.scenarios.base import Scenario
from benchmarks.scenarios.contended import CONTENDED
from benchmarks.scenarios.crashes import DEAD_HOLDER, DEAD_SERVER
from benchmarks.scenarios.crowds import CROWDS
from benchmarks.scenarios.held import HELD
from benchmarks.scenarios.pairs import PAIRS, WORKERS
from benchmarks.scenarios.starts import PROJECT, STARTS
from benchmarks.scenarios.watches import WATCHES
from benchmarks.scenarios.wide import WIDE

SCENARIOS = (
    PAIRS,
    WORKERS,
    CONTENDED,
    DEAD_HOLDER,
    DEAD_SERVER,
    HELD,
    WATCHES,
    STARTS,
    WIDE,
    CROWDS,
    PROJECT,
)
QUICK_SCENARIOS = "A,C,G,H,P"
ERRORS = (Failed, OSError, subprocess.SubprocessError, ValueError, LookupError)
OURS_FAILED = 70


@attrs.frozen
class Plan:
    """What is to be measured."""

    scenarios: tuple[Scenario, ...]
    peers: tuple[Peer, ...]
    effort: Effort


def main() -> int:
    arguments = parser().parse_args()
    if arguments.python is not None:
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=arguments.work_dir) as folder:
            return run_with(arguments.python, Path(folder), without_option(sys.argv[1:]))
    if arguments.from_file is not None:
        results = kept(arguments.from_file, reports=arguments.report is not None)
    else:
        plan = plan_of(arguments)
        results = Results(description(), {}, {})
        peers = present(plan.peers, results)
        begin = time.monotonic()
        compile_package(Path(paxlock.__file__).parent)
        signal.signal(signal.SIGTERM, _end)
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=arguments.work_dir) as folder:
            run(attrs.evolve(plan, peers=peers), results, Path(folder), arguments.json)
        say(f"measured in {time.monotonic() - begin:.0f} s")
    text = report(results, SCENARIOS)
    print(text)
    pictures = {}
    if arguments.plots is not None:
        # Of the figures as the report shows them: so pictures can be drawn again from a report alone.
        pictures = plots.draw(read_report(text, SCENARIOS), SCENARIOS, arguments.plots)
    if arguments.report is not None:
        folder = arguments.report.parent
        folder.mkdir(parents=True, exist_ok=True)
        shown = {key: os.path.relpath(path, folder) for key, path in pictures.items()}
        arguments.report.write_text(report(results, SCENARIOS, shown), encoding="utf-8")
    ours_failed = any(not figures for of in results.rounds.values() for figures in of.get(OURS, []))
    return OURS_FAILED if ours_failed else 0


def kept(path: Path, *, reports: bool) -> Results:
    """What a file holds: all figures (JSON), or the medians that a report shows. Raises SystemExit where a
    report would be made of a report.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".md":
        return Results.from_json(text)
    if reports:
        raise SystemExit("--report needs every figure: give the --json file to --from")
    return read_report(text, SCENARIOS)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure paxlock beside its peers, on this machine.",
        allow_abbrev=False,
    )
    made.add_argument("--scenarios", metavar="A,B", help="only these")
    made.add_argument("--peers", metavar="paxlock,etcd", help=f"only these of {', '.join(PEERS)}")
    made.add_argument("--rounds", type=int, metavar="N", help="how often everything is measured (3)")
    made.add_argument("--seconds", type=float, metavar="S", help="how long A and B measure at a time (2)")
    made.add_argument("--quick", action="store_true", help="paxlock and the floor alone, in a few seconds")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round")
    made.add_argument("--report", type=Path, metavar="FILE", help="write the Markdown there as well")
    made.add_argument("--plots", type=Path, metavar="FOLDER", help="draw one picture per scenario (SVG)")
    made.add_argument(
        "--from",
        dest="from_file",
        type=Path,
        metavar="FILE",
        help="measure nothing: report this --json file, or draw this report (.md)",
    )
    made.add_argument(
        "--work-dir",
        type=Path,
        metavar="FOLDER",
        help="where servers keep their data: on the disk that counts",
    )
    made.add_argument(
        "--python", type=Path, metavar="FILE", help="measure with this interpreter: one built with PGO, say"
    )
    return made


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Raises SystemExit for words that mean nothing."""
    effort = QUICK if arguments.quick else Effort()
    if arguments.rounds is not None:
        effort = attrs.evolve(effort, rounds=arguments.rounds)
    if arguments.seconds is not None:
        effort = attrs.evolve(effort, seconds=arguments.seconds)
    if not effort.seconds > 0:
        raise SystemExit("--seconds must be more than 0")
    if effort.rounds < 1:
        raise SystemExit("--rounds must be at least 1")
    by_key = {scenario.key: scenario for scenario in SCENARIOS}
    keys = chosen(arguments.scenarios or (QUICK_SCENARIOS if arguments.quick else ""), by_key, "scenario")
    names = chosen(arguments.peers or (OURS if arguments.quick else ""), PEERS, "peer")
    return Plan(tuple(by_key[key] for key in keys), tuple(PEERS[name] for name in names), effort)


def chosen(words: str, known: Collection[str], what: str) -> list[str]:
    """Those of the known words that were asked for, in their own order; all where none was."""
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    for word in wanted:
        if word not in known:
            raise SystemExit(f"no {what} {word!r}: there are {', '.join(known)}")
    return [word for word in known if not wanted or word in wanted]


def present(peers: Sequence[Peer], results: Results) -> tuple[Peer, ...]:
    """Those that can be measured; the others are left out, with what they miss."""
    found = []
    for peer in peers:
        missing = peer.missing()
        if missing:
            sentence = f"{peer.title}: install {', '.join(missing)} to measure it"
            say(f"left out: {sentence}")
            results.left_out.append(sentence)
            continue
        results.versions[peer.name] = peer.versions()
        results.settings[peer.name] = peer.settings
        found.append(peer)
    return tuple(found)


def _end(_number: int, _frame: object) -> NoReturn:
    """Leave by an exception, so that whatever was started is ended."""
    raise SystemExit(128 + signal.SIGTERM)


def run(plan: Plan, results: Results, folder: Path, json_file: Path | None = None) -> None:
    """Scenario by scenario, round by round, peer by peer. The file is written anew after each round."""
    with Bench(folder, plan.effort) as bench:
        for scenario in plan.scenarios:
            for number in range(1, plan.effort.rounds + 1):
                if scenario.measure is None and number > 1:
                    break
                bench.round = number
                say(f"{scenario.key}. {scenario.title}: round {number} of {plan.effort.rounds}")
                for name, measure in scenario.others:
                    once(results, scenario, name, lambda m=measure: m(bench))  # type: ignore[misc]
                for peer in plan.peers if scenario.measure is not None else ():
                    if scenario.key in peer.scenarios:
                        measure_peer = scenario.measure
                        once(results, scenario, peer.name, lambda p=peer, m=measure_peer: m(bench, p))  # type: ignore[misc]
                if json_file is not None:
                    json_file.write_text(results.to_json(), encoding="utf-8")


def once(results: Results, scenario: Scenario, name: str, measure: Callable[[], Figures]) -> None:
    """One round of one participant. What fails is told and leaves a hole; the rest goes on."""
    begin = time.monotonic()
    try:
        figures = measure()
    except ERRORS as error:
        figures = {}
        sentence = f"{name} failed in {scenario.key}: {type(error).__name__}: {error}"
        results.left_out.append(sentence)
        say(sentence)
    results.add(scenario.key, name, figures)
    say(f"   {name}: {time.monotonic() - begin:.1f} s")


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except Failed as error:
        raise SystemExit(str(error)) from None
