"""Planted bugs: rules of protocol.md left out on purpose, each of which a checker must catch.

A mutation replaces a snippet of the source of shipped functions while it is ``planted``. What catches it is
in catching.py, and which there are in table.py.
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

__all__ = ["Edit", "Mutation", "planted"]


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


@contextmanager
def planted(mutation: Mutation) -> Iterator[None]:
    """The shipped code with this bug in it; restored afterwards.

    Raises ValueError where a function is gone, or a snippet does not occur exactly once: then the code has
    changed, and the mutation must follow it.
    """
    undo: list[tuple[Any, str, Any]] = []
    functions: dict[tuple[str, str], list[Edit]] = {}
    for edit in mutation.edits:
        functions.setdefault((edit.module, edit.function), []).append(edit)
    try:
        for (module, function), edits in functions.items():
            owner, name, shipped = _find(module, function, mutation.name)
            undo.append((owner, name, shipped))
            setattr(owner, name, _mutated(shipped, edits, mutation.name))
        yield
    finally:
        for owner, name, shipped in reversed(undo):
            setattr(owner, name, shipped)


def _find(module: str, function: str, mutation: str) -> tuple[Any, str, Any]:
    full = module if module.startswith("paxlock.") else f"paxlock.core.{module}"
    *path, name = function.split(".")
    try:
        owner: Any = importlib.import_module(full)
        for part in path:
            owner = getattr(owner, part)
        return owner, name, inspect.getattr_static(owner, name)
    except (ModuleNotFoundError, AttributeError) as gone:
        raise ValueError(f"mutation {mutation!r}: there is no {function} in {full}") from gone


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
