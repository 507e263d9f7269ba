"""Imports go down only, the core is pure, and one module alone knows CBOR: read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import paxlock

ROOT = Path(paxlock.__file__).parent

# From the bottom to the top. What is not named here is a part of the trio shell, like client and node.
GROUND = ("store", "config", "durations", "cellfile", "storeformat", "names", "clock")
LEVELS = {"errors": 0, "forks": 0, "core": 1, "wire": 2} | dict.fromkeys(GROUND, 2)
SHELL = 3
LEVELS |= {"blocking": 4, "aio": 5, "": 5, "cli": 6, "__main__": 7}

PURE = {
    "__future__",
    "attrs",
    "abc",
    "bisect",
    "collections",
    "collections.abc",
    "enum",
    "heapq",
    "itertools",
    "math",
    "operator",
    "random",
    "typing",
}
# Loaded only when a key is wanted, because it loads cryptography.
LAZY = {("config", "wire.keyring"), ("cellfile", "wire.keyring")}


@attrs.frozen
class Import:
    """One import: by which module, of which, at module level or in a function, and which names."""

    importer: str
    module: str
    line: int
    lazy: bool
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.importer or '__init__'}, line {self.line}: {self.module}"


def imports_of(importer: str, source: str) -> Iterator[Import]:
    """Every import in the source, wherever it stands; those for type checkers only are left out."""
    pending: list[tuple[ast.AST, bool]] = [(ast.parse(source), False)]
    while pending:
        node, lazy = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, node.lineno, lazy, ())
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            module = "." * node.level + (node.module or "")
            if module in ("paxlock", "paxlock.cli"):
                # ``from paxlock import config`` is an import of the module, or of a public name.
                for name in names:
                    found = (ROOT / module.partition("paxlock.")[2] / name).with_suffix(".py").exists()
                    yield Import(importer, f"{module}.{name}" if found else module, node.lineno, lazy, names)
            else:
                yield Import(importer, module, node.lineno, lazy, names)
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        pending.extend((child, inside) for child in ast.iter_child_nodes(node))


def top(module: str) -> str:
    return module.partition(".")[0]


def level(module: str) -> int:
    return LEVELS.get(top(module), SHELL)


def upward(found: Import) -> bool:
    """Whether this import goes up, or across where nothing may cross."""
    if found.module.startswith("."):
        return True  # relative: not the style of the house, and not understood here
    if top(found.module) != "paxlock":
        return False
    source, target = found.importer, found.module.partition("paxlock")[2].lstrip(".")
    if top(source) == "testing":
        return top(target) == "cli"
    if top(target) == "testing":
        return True
    if (source, target) in LAZY:
        return not found.lazy
    if level(source) == level(target) == 2 and "wire" in (top(source), top(target)):
        return top(source) != top(target)
    return level(target) > level(source)


def impure(found: Import) -> bool:
    """Whether a module of the core reaches for the world."""
    if top(found.importer) != "core" or top(found.module) == "paxlock":
        return False
    if found.module == "random":
        return found.names != ("Random",)  # the type of an argument; the module's own functions are global
    return found.module not in PURE


def every_import() -> list[Import]:
    found: list[Import] = []
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found.extend(imports_of(name, path.read_text(encoding="utf-8")))
    return found


def test_imports_go_down_only() -> None:
    assert [str(found) for found in every_import() if upward(found)] == []


def test_the_core_is_pure() -> None:
    found = every_import()
    assert [str(one) for one in found if impure(one)] == []
    assert {one.importer for one in found if top(one.importer) == "core"} >= {"core.acceptor", "core.session"}


def test_the_core_reads_no_clock_and_no_global_randomness() -> None:
    for path in sorted((ROOT / "core").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("open", "print", "input", "Random", "__import__"), path.name


def test_only_the_codec_knows_cbor() -> None:
    assert {one.importer for one in every_import() if top(one.module) == "cbor2"} == {"wire.codec"}


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("core.acceptor", "from paxlock.wire.codec import encode"),
        ("core.acceptor", "import paxlock.client"),
        ("core.acceptor", "def f():\n    from paxlock import config"),
        ("core.acceptor", "from paxlock import Change"),
        ("errors", "from paxlock.core.lease import Lease"),
        ("wire.codec", "from paxlock.config import Cell"),
        ("store", "from paxlock.wire.codec import pack"),
        ("config", "from paxlock.wire.keyring import key_id"),
        ("config", "def f():\n    from paxlock.wire.codec import pack"),
        ("config", "import paxlock.node"),
        ("wire.endpoint", "async def f():\n    import paxlock.client"),
        ("client", "from paxlock.blocking import open_client"),
        ("blocking", "from paxlock import aio"),
        ("client", "from paxlock.cli.run import main"),
        ("node", "from paxlock.testing import simulation"),
        ("testing.plugin", "from paxlock.cli import main"),
        ("core.queue", "from .lease import Candidate"),
        ("core.queue", "class A:\n    if True:\n        import paxlock.store"),
    ],
)
def test_a_planted_upward_import_is_caught(importer: str, source: str) -> None:
    assert [upward(found) for found in imports_of(importer, source)] == [True]


@pytest.mark.parametrize(
    "source",
    [
        "import trio",
        "import time",
        "import os.path",
        "import logging",
        "import random",
        "from random import random",
        "from random import Random, choice",
        "from socket import socket",
        "def f():\n    import secrets",
        "from collections import abc, deque\nimport datetime",
    ],
)
def test_a_planted_impurity_is_caught(source: str) -> None:
    assert any(impure(found) for found in imports_of("core.acceptor", source))


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("core.acceptor", "from paxlock.core.lease import Lease\nfrom random import Random\nimport heapq"),
        ("core.acceptor", "if TYPE_CHECKING:\n    import trio"),
        ("core.lease", "from paxlock.errors import ConfigError"),
        ("config", "def f():\n    from paxlock.wire.keyring import key_id"),
        ("cli.run", "from paxlock.client import open_client\nfrom paxlock.cli import child\nimport os"),
        ("blocking", "from paxlock.client import open_client\nimport threading"),
        ("testing.simulation", "from paxlock.core.replica import Replica\nimport paxlock.node"),
    ],
)
def test_what_is_allowed_is_not_caught(importer: str, source: str) -> None:
    assert not any(upward(found) or impure(found) for found in imports_of(importer, source))
