"""What catches a planted bug: the simulator, from the seed in the table on, or the test that it names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import attrs

from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.scenario import Scenario
from paxlock.simulator.simulation import run
from tests.planted.mutations import Mutation, planted

__all__ = [
    "Catch",
    "Trial",
    "catch",
    "caught",
    "failing_test",
    "needs_plugins",
    "scenario_of",
    "search",
    "trial",
]

SEARCH_SEEDS = 300
TESTS_S_MAX = 120.0
SOURCE_TREE = Path(__file__).resolve().parents[2]


def scenario_of(mutation: Mutation, seed: int) -> Scenario:
    """The scenario in which the mutation is looked for with this seed."""
    return attrs.evolve(Scenario.drawn(seed, near=True), **mutation.changes)


def caught(mutation: Mutation, seed: int) -> CheckFailed | None:
    """Play one run with the bug planted; the failure of a checker, if one saw it."""
    with planted(mutation):
        try:
            run(seed, scenario_of(mutation, seed))
        except CheckFailed as failure:
            return failure
    return None


def search(mutation: Mutation, first: int, seeds: int = SEARCH_SEEDS) -> tuple[int, CheckFailed] | None:
    """The first seed from ``first`` on, among so many, that catches the bug."""
    for seed in range(first, first + seeds):
        failure = caught(mutation, seed)
        if failure is not None:
            return seed, failure
    return None


@attrs.frozen
class Catch:
    """What caught a planted bug, "seed 3" or a test, and what it said."""

    by: str
    says: str


def catch(mutation: Mutation) -> Catch | None:
    """Have the checker of this bug catch it; None where it does not see it.

    Raises CheckFailed where the simulator finds the same fault with the run as it is shipped.
    """
    if mutation.test:
        said = failing_test([mutation.test], mutation)
        return Catch(mutation.test, said) if said else None
    found = search(mutation, mutation.seed)
    if found is None:
        return None
    seed, failure = found
    run(seed, scenario_of(mutation, seed))
    return Catch(f"seed {seed}", str(failure))


@attrs.frozen
class Trial:
    """How it went to have one bug caught: what caught it, or why it was not, and how long the processor took.

    Seconds of the processor, of this process and its tests, since other things may run beside it.
    """

    mutation: Mutation
    caught: bool
    says: str
    seconds: float


def trial(mutation: Mutation) -> Trial:
    """Have this bug caught, and whatever goes wrong told."""
    began = _worked()
    try:
        found = catch(mutation)
        says = f"{found.by}: {found.says}" if found else "no checker saw it"
    except (CheckFailed, RuntimeError, ValueError, subprocess.TimeoutExpired) as error:
        found, says = None, f"{type(error).__name__}: {error}"
    return Trial(mutation, found is not None, says, _worked() - began)


def _worked() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def needs_plugins(test: str) -> bool:
    """Whether this test runs in trio's loop, for which pytest wants a plugin."""
    return test.startswith("tests/shell/")


def failing_test(tests: Iterable[str], mutation: Mutation | None = None) -> str:
    """Run these tests of the source tree, with the bug if one is given: what the first to fail says, or "".

    Raises RuntimeError where they cannot be run at all.
    """
    tests = list(tests)
    if not tests:
        return ""  # pytest itself would run all that there are
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
    environ = {**os.environ, "COLUMNS": "240"}
    if any(map(needs_plugins, tests)):
        command.append("-n0")
    else:
        # To load the plugins of pytest takes longer than to run such a test.
        environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        command += ["-c", os.devnull, f"--rootdir={SOURCE_TREE}", "-W", "error"]
    if mutation is not None:
        command += ["-p", "tests.planted.plugin", f"--planted={mutation.name}"]
    paths = [str(SOURCE_TREE / "src"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        command,
        cwd=SOURCE_TREE,
        env={**environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        timeout=TESTS_S_MAX,
        check=False,
    )
    if done.returncode == 0:
        return ""
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    if done.returncode != 1 or not failed:
        raise RuntimeError(f"tests of the source tree cannot be run:\n{done.stdout}{done.stderr}")
    return failed[0].partition(" - ")[2] or failed[0]
