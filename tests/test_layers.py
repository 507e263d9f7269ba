"""Imports go down only, the core is pure, and one module alone knows CBOR: read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs
import pytest

import paxlock

ROOT = Path(paxlock.__file__).parent

# From the bottom to the top, by package. Of two packages on one level neither imports the other.
LEVELS = {
    "errors": 0,
    "forks": 0,
    "limits": 0,
    "text": 0,
    "core": 1,
    "fencing": 1,
    "core.node": 2,
    "core.session": 2,
    "config": 3,
    "observe": 3,
    "store": 3,
    "wire": 4,
    "host": 5,
    "runtime": 6,
    "client": 7,
    "node": 8,
    "metrics": 9,
    "opentelemetry": 10,
    "aio": 9,
    "blocking": 9,
    "": 10,
    "cli": 11,
    "__main__": 12,
}
# What is for tests, and what it may not import. Nothing that ships imports it.
BESIDE = {"simulator": {"testing", "runtime", "client", "node", "cli"}, "testing": {"simulator", "cli"}}
WITH_TRIO = {"runtime", "client", "node", "cli", "testing"}

PURE = {
    "__future__",
    "attrs",
    "abc",
    "bisect",
    "collections",
    "collections.abc",
    "enum",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "operator",
    "random",
    "types",
    "typing",
    "zlib",
}
# Of the packages below, all that these two may import.
ONLY = {("wire", "config"): {"config.keys"}, ("wire", "store"): set[str]()}


@attrs.frozen
class Import:
    """One import: by which module, of which, in which line, and which names."""

    importer: str
    module: str
    line: int
    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.importer or '__init__'}, line {self.line}: {self.module}"


def is_package(module: str) -> bool:
    return module.partition(".")[0] == "paxlock" and (ROOT.parent / module.replace(".", "/")).is_dir()


def is_module(module: str) -> bool:
    return is_package(module) or (ROOT.parent / module.replace(".", "/")).with_suffix(".py").exists()


def imports_of(importer: str, source: str) -> Iterator[Import]:
    """Every import in the source, wherever it stands; those for type checkers only are left out."""
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(importer, alias.name, node.lineno, ())
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            module = "." * node.level + (node.module or "")
            if is_package(module):
                # ``from paxlock import config`` is an import of the module, or of a public name.
                for name in names:
                    found = f"{module}.{name}" if is_module(f"{module}.{name}") else module
                    yield Import(importer, found, node.lineno, names)
            else:
                yield Import(importer, module, node.lineno, names)
        pending.extend(ast.iter_child_nodes(node))


def package(module: str) -> str:
    """The package of a module of paxlock, by its name within paxlock."""
    parts = module.split(".")
    return ".".join(parts[:2]) if ".".join(parts[:2]) in LEVELS else parts[0]


def within(module: str) -> str:
    """The name of a module of paxlock within paxlock."""
    return module.partition("paxlock")[2].lstrip(".")


def upward(found: Import) -> bool:
    """Whether this import goes up, or across where nothing may cross."""
    if found.module.startswith("."):
        return True  # relative: not the style of the house, and not understood here
    if found.module.partition(".")[0] != "paxlock":
        return False
    module = within(found.module)
    source, target = package(found.importer), package(module)
    if source == target:
        return False
    if source in BESIDE:
        return target in BESIDE[source]
    if target in BESIDE:
        return True
    if (source, target) in ONLY:
        return module not in ONLY[source, target]
    return LEVELS[target] >= LEVELS[source]


def impure(found: Import) -> bool:
    """Whether a module of the core reaches for the world."""
    if found.importer.partition(".")[0] != "core" or found.module.partition(".")[0] == "paxlock":
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


def circles(imports: Iterable[tuple[str, str]]) -> list[str]:
    """The modules that import themselves by way of others: what is left when all that imports nothing of the
    rest is taken away, again and again, and then all that nothing of the rest imports.
    """
    pairs = {(importer, module) for importer, module in imports if importer != module}
    before = -1
    while len(pairs) != before:
        before = len(pairs)
        importing, imported = {one for one, _ in pairs}, {module for _, module in pairs}
        pairs = {pair for pair in pairs if pair[0] in imported and pair[1] in importing}
    return sorted({importer for importer, _ in pairs})


def test_no_module_imports_itself_by_way_of_others() -> None:
    found = ((one.importer, within(one.module)) for one in every_import() if one.module.startswith("paxlock"))
    assert circles(found) == []


def test_a_planted_circle_is_caught() -> None:
    assert circles([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "d")]) == ["b", "c"]
    assert circles([("a", "b"), ("b", "c"), ("a", "c"), ("a", "a")]) == []


def test_every_package_has_its_place() -> None:
    assert {package(found.importer) for found in every_import()} <= {*LEVELS, *BESIDE}


def test_the_core_is_pure() -> None:
    found = every_import()
    assert [str(one) for one in found if impure(one)] == []
    assert {one.importer for one in found} >= {"core.node.acceptor", "core.session.session"}


def test_the_core_reads_no_clock_and_no_global_randomness() -> None:
    for path in sorted((ROOT / "core").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("open", "print", "input", "Random", "__import__"), path.name


def test_trio_is_imported_by_shells_only() -> None:
    importers = {package(one.importer) for one in every_import() if one.module.partition(".")[0] == "trio"}
    assert importers <= WITH_TRIO


def test_the_blocking_face_loads_no_event_loop() -> None:
    loops = {"trio", "asyncio", "anyio"}
    found = [one for one in every_import() if package(one.importer) in ("blocking", "host")]
    assert {one.importer for one in found} >= {"blocking.engine", "host.turn"}
    assert [str(one) for one in found if one.module.partition(".")[0] in loops] == []


def test_only_the_codec_and_the_state_file_know_cbor() -> None:
    found = {one.importer for one in every_import() if one.module == "cbor2"}
    assert found == {"wire.codec", "store.state_file"}


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        ("core.node.acceptor", "from paxlock.wire.codec import encode"),
        ("core.node.acceptor", "import paxlock.client.client"),
        ("core.node.acceptor", "def f():\n    from paxlock import config"),
        ("core.node.acceptor", "from paxlock import Change"),
        ("core.node.acceptor", "from paxlock.core.session.attempt import Attempt"),
        ("core.session.session", "from paxlock.core.node import record"),
        ("core.messages", "from paxlock.core import node"),
        ("core.messages", "from paxlock.core.session.events import Granted"),
        ("errors", "from paxlock.core.lease import Lease"),
        ("wire.codec", "from paxlock.config.cell import Cell"),
        ("store.folder", "from paxlock.wire.codec import pack"),
        ("config.cell", "from paxlock.wire.keyring import key_id"),
        ("config.cell", "def f():\n    from paxlock.wire.codec import pack"),
        ("config.cell", "import paxlock.node.embedded"),
        ("wire.endpoint", "async def f():\n    import paxlock.client.client"),
        ("client.client", "from paxlock.node import embedded"),
        ("client.client", "from paxlock.cli.run import main"),
        ("node.server", "from paxlock.simulator import simulation"),
        ("testing.pytest_plugin", "from paxlock.cli import main"),
        ("simulator.nodes", "from paxlock.runtime import driver"),
        ("core.node.line", "from .lease import Candidate"),
        ("core.node.line", "class A:\n    if True:\n        import paxlock.store.folder"),
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
    assert any(impure(found) for found in imports_of("core.node.acceptor", source))


@pytest.mark.parametrize(
    ("importer", "source"),
    [
        (
            "core.node.acceptor",
            "from paxlock.core.lease import Lease\nfrom random import Random\nimport heapq",
        ),
        ("core.node.acceptor", "if TYPE_CHECKING:\n    import trio"),
        ("core.lease", "from paxlock.errors import ConfigError"),
        ("wire.keyring", "from paxlock.config.keys import key_id"),
        (
            "cli.run",
            "from paxlock.client.client import open_client\nfrom paxlock.cli import child\nimport os",
        ),
        ("node.embedded", "from paxlock.client.client import open_client\nimport threading"),
        ("testing.virtual_cell", "from paxlock.core.lease import Lease\nimport paxlock.node.embedded"),
    ],
)
def test_what_is_allowed_is_not_caught(importer: str, source: str) -> None:
    assert not any(upward(found) or impure(found) for found in imports_of(importer, source))
