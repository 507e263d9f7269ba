"""Prove that the protocol keeps its invariant, for any number of nodes, candidates, terms and moments.

    python docs/spec/proof.py [--jobs N] [--timeout SECONDS] [--rule NAME]...
    python docs/spec/proof.py --planted [--quick]
    python docs/spec/proof.py --search
    python docs/spec/proof.py --list

Needs z3-solver (``pip install 'paxlock[spec]'``). docs/proof.md tells what is proved. Ends with 1 where
something is not proved, or an error that was planted has not shown what it was expected to show. What the
solver does not decide in its time is UNKNOWN, and counts as not proved.
"""

from __future__ import annotations

import argparse
import sys
import time

try:
    import z3  # noqa: F401  (what follows needs it)
except ImportError:
    sys.exit("proof.py needs the solver z3: pip install 'paxlock[spec]', or pip install z3-solver")

from invariant.conjuncts import CLAIMS, CONJUNCTS
from invariant.counterexamples import searcher
from invariant.obligations import PROVED, RULES, Result, answer, batches, spread
from invariant.planted import find, tasks
from invariant.search import WRONG, Found, Wrong, search

TIMEOUT_S = 60.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Prove the invariant of the protocol, or plant errors in it."
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (2)")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds for one question (60)")
    parser.add_argument("--rule", action="append", default=[], help="only the obligations of this rule")
    parser.add_argument(
        "--planted", action="store_true", help="take out every guard and conjunct, one at a time"
    )
    parser.add_argument(
        "--quick", action="store_true", help="with --planted: without the proofs that the rest is harmless"
    )
    parser.add_argument("--search", action="store_true", help="wrong protocols, and the way of each")
    parser.add_argument("--list", action="store_true", help="the rules and conjuncts, in words")
    return parser.parse_args()


def _list() -> None:
    print("rules:")
    for rule in RULES:
        print(f"  {rule.name} (section {rule.section}): {rule.sentence}")
    print("\nthe invariant:")
    for conjunct in CONJUNCTS:
        print(f"  {conjunct.name}: {conjunct.words}\n      because {conjunct.why}")
    print("\nwhat follows from it:")
    for claim in CLAIMS:
        print(f"  {claim.name}: {claim.words}")


def prove(jobs: int, timeout_s: float, rules: list[str]) -> bool:
    """Print the table of obligations; whether all of them are proved."""
    print(f"{'':<34} {'questions':>9} {'proved':>7} {'seconds':>8}  slowest")
    begun = time.monotonic()
    everything: list[Result] = []
    for found in spread(answer, batches(timeout_s, rules), jobs):
        everything += found
        slowest = max(found, key=lambda result: result.seconds)
        proved = sum(result.outcome == PROVED for result in found)
        spent = sum(result.seconds for result in found)
        print(
            f"{found[0].rule:<34} {len(found):>9} {proved:>7} {spent:>8.2f}"
            f"  {slowest.conjunct}, {slowest.seconds:.2f} s",
            flush=True,
        )
    wrong = [result for result in everything if result.outcome != PROVED]
    for result in wrong:
        print(f"\n{result.rule}, {result.conjunct}: {result.outcome}\n{result.told}")
    slowest = max(everything, key=lambda result: result.seconds)
    print(
        f"\n{len(everything)} questions, {len(everything) - len(wrong)} proved, {len(wrong)} not;"
        f" {sum(result.seconds for result in everything):.1f} s of solving,"
        f" {time.monotonic() - begun:.1f} s in all,"
        f" {jobs} at once; slowest: {slowest.rule} / {slowest.conjunct}, {slowest.seconds:.2f} s"
    )
    return not wrong


def plant(jobs: int, timeout_s: float, rules: list[str], *, quick: bool) -> bool:
    """Print what came of every error; whether all came out as the tables in planted.py say."""
    work = [task for task in tasks(quick=quick, timeout_s=timeout_s) if not rules or task.rule in rules]
    begun = time.monotonic()
    impossible = [rule.name for rule in RULES if not searcher().possible(rule.name)]
    for name in impossible:
        print(f"{name}: WRONG: there is no such step, and so everything is proved of it")
    noticed = unnoticed = wrong = 0
    for finding in spread(find, work, jobs):
        said = (
            f"breaks {', '.join(finding.noticed_by)}" if finding.noticed_by else f"harmless: {finding.note}"
        )
        print(f"{finding.task.name}: {'' if finding.as_expected else 'WRONG: '}{said}")
        if finding.told:
            print(finding.told, end="\n\n", flush=True)
        wrong += not finding.as_expected
        noticed += bool(finding.noticed_by)
        unnoticed += not finding.noticed_by
    print(
        f"{len(work)} errors: {noticed} noticed, {unnoticed} harmless and proved to be so;"
        f" {wrong + len(impossible)} not as expected; {len(RULES)} rules, each of them with a step;"
        f" {time.monotonic() - begun:.1f} s, {jobs} at once"
    )
    return not wrong and not impossible


def both(wrong: Wrong) -> tuple[Found, Found]:
    """The way in the wrong protocol, and what the right one has of it."""
    return search(wrong), search(wrong, guarded=True)


def seek(jobs: int) -> bool:
    """Print the way that each wrong protocol leads; whether all do, and the right one leads none of them."""
    missed = 0
    begun = time.monotonic()
    for found, right in spread(both, WRONG, jobs):
        good = bool(found.lines) and not right.lines
        missed += not good
        verdict = f"not so: {found.claim}" if found.lines else "WRONG: no way was found"
        if right.lines:
            verdict = "WRONG: the right protocol goes this way too"
        took = f"{found.seconds:.1f} s; with the guard, in {right.seconds:.1f} s, none"
        print(f"{found.wrong.name}: {verdict} ({took})")
        print("\n".join(f"  {line}" for line in found.lines), end="\n\n", flush=True)
    seconds = time.monotonic() - begun
    print(f"{len(WRONG)} wrong protocols, {missed} not as expected; {seconds:.1f} s, {jobs} at once")
    return not missed


def main() -> int:
    options = _arguments()
    unknown = set(options.rule) - {rule.name for rule in RULES}
    if unknown:
        print(f"there is no rule {', '.join(sorted(unknown))}: --list names them", file=sys.stderr)
        return 2
    if options.list:
        _list()
        return 0
    if options.search:
        return 0 if seek(options.jobs) else 1
    if options.planted:
        return 0 if plant(options.jobs, options.timeout, options.rule, quick=options.quick) else 1
    return 0 if prove(options.jobs, options.timeout, options.rule) else 1


if __name__ == "__main__":
    sys.exit(main())
