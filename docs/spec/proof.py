"""Prove that the protocol keeps its invariant, for any number of nodes, candidates, terms and moments.

    python docs/spec/proof.py [--jobs N] [--timeout SECONDS] [--rule NAME]...
    python docs/spec/proof.py --planted [--quick]
    python docs/spec/proof.py --list

Needs z3-solver (``pip install 'paxlock[spec]'``). docs/proof.md tells what is proved. Ends with 1 where something
is not proved, or where an error that was planted is not noticed, or noticed although it is harmless; with 2 where
z3 is missing. What the solver does not decide in its time is UNKNOWN, and counts as not proved.
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
from invariant.obligations import PROVED, RULES, Result, answers, batches

TIMEOUT_S = 60.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Prove the invariant of the protocol, or plant errors in it."
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (2)")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds for one question (60)")
    parser.add_argument("--rule", action="append", default=[], help="only the obligations of this rule")
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
    for found in answers(batches(timeout_s, rules), jobs):
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
        f" {sum(result.seconds for result in everything):.1f} s of solving, {time.monotonic() - begun:.1f} s in all,"
        f" {jobs} at once; slowest: {slowest.rule} / {slowest.conjunct}, {slowest.seconds:.2f} s"
    )
    return not wrong


def main() -> int:
    options = _arguments()
    unknown = set(options.rule) - {rule.name for rule in RULES}
    if unknown:
        print(f"there is no rule {', '.join(sorted(unknown))}: --list names them", file=sys.stderr)
        return 2
    if options.list:
        _list()
        return 0
    return 0 if prove(options.jobs, options.timeout, options.rule) else 1


if __name__ == "__main__":
    sys.exit(main())
