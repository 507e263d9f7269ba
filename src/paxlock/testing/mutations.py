"""Planted bugs: rules of protocol.md left out on purpose, each of which the simulator must catch.

A mutation replaces a snippet of the source of shipped functions while it is ``planted``. ``search`` finds a
seed that catches it; the seed in the table is where the tests begin to look.
"""

from __future__ import annotations
import __future__

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import attrs

from paxlock.testing.checkers import CheckFailed
from paxlock.testing.scenario import Scenario
from paxlock.testing.simulation import run

__all__ = ["Edit", "Mutation", "caught", "planted", "scenario_of", "search"]

SEARCH_SEEDS = 300


@attrs.frozen
class Edit:
    """In this function of this module, ``old`` (exactly once in its source) becomes ``new``."""

    module: str
    function: str
    old: str
    new: str


@attrs.frozen
class Mutation:
    """One planted bug. ``changes`` are figures of the scenario that make its conditions common."""

    name: str
    breaks: str
    edits: tuple[Edit, ...]
    seed: int = 0
    changes: dict[str, Any] = attrs.field(factory=dict)


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
    owner: Any = importlib.import_module(f"paxlock.core.{module}")
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
    return attrs.evolve(Scenario.drawn(seed), **mutation.changes)


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
