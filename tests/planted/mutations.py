"""Planted bugs: rules of protocol.md left out on purpose, each of which a checker must catch.

A mutation replaces a snippet of the source of shipped functions while it is ``planted``. The simulator looks
for a seed that catches it, from the seed in the table on; what it cannot see, a named test must. As a plugin
this module plants a bug in a run of pytest:

    python -m pytest -n0 -p tests.planted.mutations --planted=NAME tests/paper
"""

from __future__ import annotations
import __future__

import importlib
import inspect
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any

import attrs

from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.scenario import Scenario
from paxlock.simulator.simulation import run

if TYPE_CHECKING:
    import pytest

__all__ = [
    "Catch",
    "Edit",
    "Mutation",
    "catch",
    "caught",
    "failing_test",
    "needs_plugins",
    "planted",
    "scenario_of",
    "search",
]

SEARCH_SEEDS = 300
TESTS_S_MAX = 120.0
SOURCE_TREE = Path(__file__).resolve().parents[2]


@attrs.frozen
class Edit:
    """In this function of this module, ``old`` (exactly once in its source) becomes ``new``.

    The module is one of the core; one of the shell is given by its whole name.
    """

    module: str
    function: str
    old: str
    new: str


@attrs.frozen
class Mutation:
    """One planted bug. ``breaks`` begins with the rule that is left out.

    The simulator catches it: from ``seed`` on, with the figures of the scenario in ``changes``, which make
    its conditions common. Where a ``test`` is named, by its node id, that one does.
    """

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    seed: int = 0
    changes: dict[str, Any] = attrs.field(factory=dict)
    test: str = ""

    @property
    def rule(self) -> str:
        return self.breaks.split(":")[0]


@attrs.frozen
class Catch:
    """What caught a planted bug, "seed 3" or a test, and what it said."""

    by: str
    says: str


@contextmanager
def planted(mutation: Mutation) -> Iterator[None]:
    """The shipped code with this bug in it; restored afterwards.

    Raises ValueError where a snippet does not occur exactly once: then the code has changed, and the
    mutation must follow it.
    """
    undo: list[tuple[Any, str, Any]] = []
    functions: dict[tuple[str, str], list[Edit]] = {}
    for edit in mutation.edits:
        functions.setdefault((edit.module, edit.function), []).append(edit)
    try:
        for (module, function), edits in functions.items():
            owner, name = _find(module, function)
            shipped = inspect.getattr_static(owner, name)
            undo.append((owner, name, shipped))
            setattr(owner, name, _mutated(shipped, edits, mutation.name))
        yield
    finally:
        for owner, name, shipped in reversed(undo):
            setattr(owner, name, shipped)


def _find(module: str, function: str) -> tuple[Any, str]:
    owner: Any = importlib.import_module(
        module if module.startswith("paxlock.") else f"paxlock.core.{module}"
    )
    *path, name = function.split(".")
    for part in path:
        owner = getattr(owner, part)
    return owner, name


def _mutated(shipped: Any, edits: list[Edit], mutation: str) -> Any:
    function: FunctionType = shipped
    if isinstance(shipped, property):
        assert isinstance(shipped.fget, FunctionType)
        function = shipped.fget
    elif isinstance(shipped, classmethod):
        assert isinstance(shipped.__func__, FunctionType)
        function = shipped.__func__
    source = textwrap.dedent(inspect.getsource(function))
    for edit in edits:
        found = source.count(edit.old)
        if found != 1:
            raise ValueError(f"mutation {mutation!r}: {edit.old!r} occurs {found} times in {edit.function}")
        source = source.replace(edit.old, edit.new)
    flags = __future__.annotations.compiler_flag
    code = compile(source, f"<{mutation}>", "exec", flags=flags, dont_inherit=True)
    namespace: dict[str, Any] = {}
    exec(code, function.__globals__, namespace)
    return namespace[function.__name__]


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


# Tests, and pytest with a bug planted


def needs_plugins(test: str) -> bool:
    """Whether this test runs in trio's loop, for which pytest wants a plugin."""
    return test.startswith("tests/shell/")


def failing_test(tests: Iterable[str], mutation: Mutation | None = None) -> str:
    """Run these tests of the source tree, with the bug if one is given: what the first to fail says, or "".

    Raises RuntimeError where they cannot be run at all.
    """
    tests = list(tests)
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
    environ = {**os.environ, "COLUMNS": "240"}
    if any(map(needs_plugins, tests)):
        command.append("-n0")
    else:
        # To load the plugins of pytest takes longer than to run such a test.
        environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        command += ["-c", os.devnull, f"--rootdir={SOURCE_TREE}", "-W", "error"]
    if mutation is not None:
        command += ["-p", __name__, f"--planted={mutation.name}"]
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
    return failed[0].partition(" - ")[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of the plugin."""
    parser.addoption("--planted", metavar="NAME", help="run the tests with this bug of the table planted")


def pytest_configure(config: pytest.Config) -> None:
    """Plant the bug before any test is imported."""
    name = config.getoption("--planted")
    if name is None:
        return
    from tests.planted.table import PLANTED_BUGS

    stack = ExitStack()
    stack.enter_context(planted({mutation.name: mutation for mutation in PLANTED_BUGS}[name]))
    config.add_cleanup(stack.close)
