"""Check the specification of the protocol, and that it catches every error planted in it.

    python docs/spec/check.py [--quick] [--variant NAME] [--trail] [--list]

Needs `spin` and `gcc`. Prints one line for each variant, and exits with 1 unless every one came out as
expected: the protocol without an error and searched to the end, every planted error with a counterexample.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SEARCHES_AT_ONCE = 2
MAX_DEPTH_STEPS = 100_000
QUICK_MEMORY_MIB = 2_000
FULL_MEMORY_MIB = 5_500
TIME_LIMIT_S = 900
SAFETY = ("-w", "-DSAFETY", "-DNOCLAIM", "-DNOFAIR")
PROPERTY_OF_ASSERTION = (  # a part of the text of an assertion, and the property's name in README.md
    ("token==0)||", "BACKED"),
    ("token==0", "EXCLUSION"),
    ("last_token", "TOKENS"),
    ("told", "ENDED"),
    ("shut", "ONE VALUE"),
    ("forgot", "COVERED"),
)


@dataclass(frozen=True)
class Variant:
    """One search: the options of the model, and whether a counterexample is what we want."""

    name: str
    options: str
    planted: bool = True
    quick: bool = True
    model: str = "paxlock.pml"


@dataclass(frozen=True)
class Result:
    """What `pan` reported, and whether it is what was expected."""

    as_expected: bool
    verdict: str
    states: int
    transitions: int
    depth: int
    memory_mib: float
    seconds: float


def _protocol(name: str, options: str, *, quick: bool = True, model: str = "paxlock.pml") -> Variant:
    return Variant(name, options, planted=False, quick=quick, model=model)


def _planted(name: str, options: str = "") -> Variant:
    return Variant(name, f"-DBUG_{name} {options}".strip())


def _planted_in_time(name: str) -> Variant:
    return Variant(f"TIME_{name}", f"-DBUG_{name}", model="time.pml")


VARIANTS = (
    _protocol("protocol", "-DLOCAL -DCRASH"),
    _protocol("three-terms", "-DLOCAL -DT=3 -DNO_PREPARE"),
    _protocol("three-numbers", "-DLOCAL -DW=3 -DNO_PREPARE"),
    _protocol("standing", "-DLOCAL -DSTANDING -DW=1"),
    _protocol("joining", "-DLOCAL -DJOIN -DNO_PREPARE"),
    _protocol("promise-held-only", "-DLOCAL -DPROBE_PROMISE_HELD -DW=1 -DCRASH"),
    _protocol("time", "", model="time.pml"),
    _protocol("time-short-sit-out", "-DPROBE_SIT_OUT", model="time.pml"),
    _protocol("three-terms-crash", "-DLOCAL -DT=3 -DNO_PREPARE -DCRASH", quick=False),
    _protocol("three-terms-prepare", "-DLOCAL -DT=3", quick=False),
    _protocol("standing-crash", "-DLOCAL -DSTANDING -DW=1 -DCRASH", quick=False),
    _protocol("standing-renewed", "-DLOCAL -DSTANDING", quick=False),
    _protocol("joining-prepare", "-DLOCAL -DJOIN", quick=False),
    _protocol("joining-crash", "-DLOCAL -DJOIN -DCRASH -DNO_PREPARE", quick=False),
    _protocol("time-three-numbers", "-DNUMBERS=3", quick=False, model="time.pml"),
    _planted("S1", "-DSTRICT -DNO_PREPARE"),
    _planted("S2", "-DNO_PREPARE"),
    _planted("S3", "-DNO_PREPARE"),
    _planted("S4", "-DNO_PREPARE"),
    _planted("S5", "-DNO_PREPARE"),
    _planted("S5_LIST", "-DNO_PREPARE"),
    _planted("S6", "-DSTRICT -DNO_PREPARE"),
    _planted("S7", "-DJOIN -DW=1 -DNO_PREPARE"),
    _planted("S10", "-DNO_PREPARE"),
    _planted("S12", "-DCRASH -DW=1 -DNO_PREPARE"),
    _planted("S13", "-DLOCAL"),
    _planted("ACCEPT_HELD", "-DNO_PREPARE"),
    _planted("PROMISE_HELD"),
    _planted("STALE", "-DNO_PREPARE"),
    _planted("EXPIRY", "-DLOCAL"),
    _planted("TOMBSTONE", "-DLOCAL"),
    _planted("REVIVE", "-DT=3 -DW=1 -DNO_PREPARE"),
    _planted("ANSWER_TIME", "-DNO_PREPARE"),
    _planted("FLOOR", "-DCRASH -DNO_PREPARE"),
    _planted("SIT_OUT", "-DCRASH -DNO_PREPARE"),
    _planted("STANDING_ECHO", "-DSTANDING -DNO_PREPARE"),
    _planted("STANDING_KEPT", "-DSTANDING -DLOCAL"),
    _planted_in_time("ANSWER_TIME"),
    _planted_in_time("DRIFT"),
    _planted_in_time("S4"),
    _planted_in_time("SIT_OUT"),
)


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIME_LIMIT_S
    )
    return done.stdout


def _options(variant: Variant) -> list[str]:
    symmetry = ["-DSYMMETRY"] if variant.model == "paxlock.pml" else []
    return [*variant.options.split(), *symmetry]


def _build(variant: Variant, folder: Path) -> None:
    """Make `pan`: breadth first finds the shortest counterexample, depth first needs less memory."""
    source = shutil.copy(HERE / variant.model, folder)
    said = _run(["spin", "-a", *_options(variant), Path(source).name], folder)
    if "Error" in said or not (folder / "pan.c").exists():
        raise RuntimeError(f"spin refused {variant.name}: {said.strip()}")
    memory = QUICK_MEMORY_MIB if variant.quick else FULL_MEMORY_MIB
    how = ["-O1", "-DBFS"] if variant.planted or variant.model == "time.pml" else ["-O3"]
    said = _run(["gcc", *how, *SAFETY, f"-DMEMLIM={memory}", "-o", "pan", "pan.c"], folder)
    if not (folder / "pan").exists():
        raise RuntimeError(f"gcc refused {variant.name}: {said.strip()}")


def _number(pattern: str, report: str) -> float:
    found = re.search(pattern, report, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


def _judge(variant: Variant, report: str, seconds: float) -> Result:
    """A search that was cut off by depth, memory or time has shown nothing."""
    broken = re.search(r"^pan:\d+: (.*) \(at depth \d+\)", report, re.MULTILINE)
    cut_off = re.search(r"max search depth|out of memory|MEMLIM bound|Search not completed", report)
    ended = "errors: 0" in report
    if broken is not None:
        text = broken.group(1)
        verdict = next((name for part, name in PROPERTY_OF_ASSERTION if part in text), text)
    elif ended and cut_off is None:
        verdict = "holds"
    else:
        verdict = f"cut off: {cut_off.group(0)}" if cut_off else "cut off"
    wanted = (
        broken is not None and "assertion violated" in broken.group(1)
        if variant.planted
        else verdict == "holds"
    )
    return Result(
        as_expected=wanted,
        verdict=verdict,
        states=int(_number(r"^\s*(\d+) states, stored", report)),
        transitions=int(_number(r"^\s*([\d.e+]+) transitions", report)),
        depth=int(_number(r"depth reached (\d+)", report)),
        memory_mib=_number(r"^\s*([\d.]+)\s+total actual memory usage", report),
        seconds=seconds,
    )


def search(variant: Variant, folder: Path) -> Result:
    """Build and run one variant in an empty folder."""
    _build(variant, folder)
    begun = time.monotonic()
    try:
        report = _run(["./pan", "-n", "-w23", f"-m{MAX_DEPTH_STEPS}"], folder)
    except subprocess.TimeoutExpired:
        report = ""
    return _judge(variant, report, time.monotonic() - begun)


def told(variant: Variant, folder: Path) -> str:
    """The counterexample that the search in this folder left, one line for each step."""
    said = _run(["spin", "-t", "-T", "-DNAMES=1", *_options(variant), variant.model], folder)
    steps = said.partition("spin: text of failed assertion")[0]
    return "\n".join(f"    {line}" for line in steps.splitlines() if not line.startswith("spin: trail"))


def _row(variant: Variant, result: Result) -> str:
    return (
        f"{variant.name:20} {result.states:>10} {result.transitions:>11} {result.depth:>6} "
        f"{result.memory_mib:>7.0f} {result.seconds:>7.1f}  {result.verdict:10} "
        f"{'ok' if result.as_expected else 'NOT AS EXPECTED'}"
    )


def _one(variant: Variant, with_trail: bool) -> bool:
    with tempfile.TemporaryDirectory(prefix="paxlock-spec-") as name:
        folder = Path(name)
        result = search(variant, folder)
        lines = [_row(variant, result)]
        if with_trail and variant.planted and result.as_expected:
            lines.append(told(variant, folder))
        print("\n".join(lines), flush=True)
    return result.as_expected


def _chosen(arguments: argparse.Namespace) -> list[Variant]:
    if arguments.variant is None:
        return [variant for variant in VARIANTS if variant.quick or not arguments.quick]
    named = [variant for variant in VARIANTS if variant.name == arguments.variant]
    if not named:
        sys.exit(f"There is no variant {arguments.variant}: --list shows them.")
    return named


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Check the specification of the protocol with spin.")
    parser.add_argument("--quick", action="store_true", help="the small bounds only, as in CI")
    parser.add_argument("--variant", metavar="NAME", help="this one only")
    parser.add_argument("--trail", action="store_true", help="tell the counterexamples of planted errors")
    parser.add_argument("--list", action="store_true", help="name the variants and their options")
    arguments = parser.parse_args()
    chosen = _chosen(arguments)
    if arguments.list:
        print("\n".join(f"{variant.name:20} {variant.model:12} {variant.options}" for variant in chosen))
        return
    for tool in ("spin", "gcc"):
        if shutil.which(tool) is None:
            sys.exit(f"Install {tool} first: on Debian, apt-get install spin gcc libc6-dev.")
    print(f"{'variant':20} {'states':>10} {'transitions':>11} {'depth':>6} {'MiB':>7} {'seconds':>7}  result")
    with ThreadPoolExecutor(SEARCHES_AT_ONCE) as pool:
        outcomes = list(pool.map(lambda variant: _one(variant, arguments.trail), chosen))
    failures = outcomes.count(False)
    print(f"{len(outcomes)} variants, {failures} not as expected")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
