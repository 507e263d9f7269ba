"""``python -m tests.fuzz``: fuzz every target for its share of the time; docs/fuzzing.md.

Ends with 1 where an input broke something: it is kept in tests/fuzz/crashes, and the command that shows it
again is printed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from random import Random

import attrs

from .engine import Crash, Target, Tracer, explore, minimise, replay
from .hostile import METER
from .store import read_corpus, save_crash, write_corpus
from .targets import TARGETS

HANG_S = 20
MEMORY_MAX_MB = 1_024
GUIDED = importlib.util.find_spec("atheris") is not None


@attrs.frozen
class Outcome:
    """One target's share of a run."""

    executions: int
    seconds: float
    inputs: list[bytes]
    peak_mb: float
    worst_cpu_ms: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], help="all, unless some are named")
    parser.add_argument("--seconds", type=float, default=0.0, help="for all targets together")
    parser.add_argument("--minutes", type=float, default=0.0, help="the same, added to the seconds")
    parser.add_argument("--keep", action="store_true", help="write what was found into the kept corpus")
    parser.add_argument("--plain", action="store_true", help="do without atheris")
    parser.add_argument("--seed", type=int, help="of the plain loop and libFuzzer; else random")
    parser.add_argument(
        "--show", type=Path, metavar="FILE", help="run one input of one target, and nothing else"
    )
    options = parser.parse_args(arguments)
    targets = [TARGETS[name] for name in options.targets or TARGETS]
    if options.show is not None:
        return _show(targets, options.show)
    seconds = (options.seconds + 60.0 * options.minutes) / len(targets)
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(3)) + 1
    guided = GUIDED and not options.plain
    print(f"{'libFuzzer' if guided else 'the plain loop'}, seed {seed}, {seconds:.1f} s for each target")
    return max([_one(target, seconds, seed, guided=guided, keep=options.keep) for target in targets])


def _one(target: Target, seconds: float, seed: int, *, guided: bool, keep: bool) -> int:
    kept = sorted({*read_corpus(target.name), *target.seeds()})
    try:
        replay(target, kept)  # what is done once in a process shall not count as found
        before = replay(target, kept)
        outcome = (_guided if guided else _plain)(target, kept, seconds, seed)
        inputs = minimise(target, [*kept, *outcome.inputs])
        after = replay(target, inputs, METER.begin(Tracer()))
    except Crash as crash:
        return _crashed(target, crash)
    if keep:
        write_corpus(target.name, inputs)
    new = len(set(inputs) - set(kept))
    speed = outcome.executions / outcome.seconds
    print(
        f"{target.name:>9}: {outcome.executions:>9,} executions, {speed:>8,.0f}/s, "
        f"edges {len(before.edges):,} -> {len(after.edges):,}, "
        f"corpus {len(kept)} -> {len(inputs)} ({new} new), "
        f"worst datagram {METER.worst_lines:,} lines, {outcome.worst_cpu_ms:.1f} ms CPU, "
        f"peak {outcome.peak_mb:.0f} MB",
        flush=True,
    )
    return 0


def _plain(target: Target, kept: list[bytes], seconds: float, seed: int) -> Outcome:
    METER.begin(None)
    start = time.monotonic()
    found = explore(target, kept, rng=Random(seed), seconds=seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Outcome(found.executions, time.monotonic() - start, found.corpus, peak, METER.worst_cpu_ns / 1e6)


def _guided(target: Target, kept: list[bytes], seconds: float, seed: int) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="paxlock-fuzz-") as name:
        work = Path(name)
        corpus = work / "corpus"
        corpus.mkdir()
        for number, data in enumerate(kept):
            (corpus / f"kept-{number}").write_bytes(data)
        command = [sys.executable, "-m", "tests.fuzz.guided", target.name, name]
        command += [f"-seed={seed}", f"-max_total_time={max(1, round(seconds))}", f"-timeout={HANG_S}"]
        command += [f"-rss_limit_mb={MEMORY_MAX_MB}", f"-artifact_prefix={work}/", "-print_final_stats=1"]
        start = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        taken = time.monotonic() - start
        for broken in work.glob("[clto]*-*"):
            raise Crash(broken.read_bytes()) from _Reported(done.stdout + done.stderr)
        if done.returncode:
            raise SystemExit(f"libFuzzer failed:\n{done.stdout}{done.stderr}")
        numbers = dict(re.findall(r"stat::(\w+):\s+(\d+)", done.stderr))
        cpu = work / "cpu"
        return Outcome(
            executions=int(numbers["number_of_executed_units"]),
            seconds=taken,
            inputs=[path.read_bytes() for path in corpus.iterdir()],
            peak_mb=float(numbers["peak_rss_mb"]),
            worst_cpu_ms=int(cpu.read_text()) / 1e6 if cpu.exists() else 0.0,
        )


class _Reported(Exception):
    """What libFuzzer printed."""


def _crashed(target: Target, crash: Crash) -> int:
    path = save_crash(target.name, crash.data)
    cause = crash.__cause__
    if isinstance(cause, _Reported):
        print(cause)
    elif cause is not None:
        traceback.print_exception(cause)
    print(f"{target.name}: an input of {len(crash.data)} bytes broke it. See it again with")
    print(f"    python -m tests.fuzz {target.name} --show {os.path.relpath(path)}", flush=True)
    return 1


def _show(targets: Sequence[Target], path: Path) -> int:
    if len(targets) != 1:
        raise SystemExit("--show needs exactly one target")
    try:
        replay(targets[0], [path.read_bytes()])
    except Crash as crash:
        if crash.__cause__ is not None:
            traceback.print_exception(crash.__cause__)
        return 1
    print("nothing is broken")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
