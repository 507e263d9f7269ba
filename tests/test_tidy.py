"""The house is tidy: nothing is there for tests only, no name twice, nothing too long, a word on everything.

Read from the syntax trees of what ships. Each check is tested with a violation of its own.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import paxlock
import paxlock.aio
import paxlock.blocking
import paxlock.fencing
import paxlock.simulator
import paxlock.testing

ROOT = Path(paxlock.__file__).parent
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

# What is too long today, in lines: it may only become shorter, and goes from here once it is not too long.
OVERSIZED: dict[str, int] = {}

# What nothing in the package uses, besides the public API, and who does.
USED_FROM_OUTSIDE = {
    "paxlock.fencing.django.apps.FencingConfig": "Django",
    "paxlock.fencing.django.migrations.0001_initial.Migration": "Django",
    "paxlock.fencing.django.models.Fence": "Django",
    "paxlock.opentelemetry.instrument": "programs that export by OpenTelemetry",
    "paxlock.testing.pytest_plugin.pytest_configure": "pytest",
    "paxlock.testing.pytest_plugin.pytest_itemcollected": "pytest",
}

# The names that each face of the package (client, aio, blocking) may have for a class of its own.
FACES = {"Changes", "Client", "HeldLease", "LeaseBlock", "Node", "Reply"}

Sources = dict[str, ast.Module]
Function = ast.FunctionDef | ast.AsyncFunctionDef

# A function with another decorator than these is registered somewhere by it.
REGISTERS_NOTHING = {
    "asynccontextmanager",
    "cache",
    "contextmanager",
    "define",
    "final",
    "frozen",
    "lru_cache",
    "overload",
    "runtime_checkable",
    "unique",
}


@cache
def shipped() -> Sources:
    """Every module of the wheel, by its name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def source(**modules: str) -> Sources:
    """Modules that are planted for a test; ``_`` in a name is a dot."""
    return {name.replace("_", "."): ast.parse(text) for name, text in modules.items()}


def defined(module: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """The public functions, classes and constants of a module."""
    for node in module.body:
        names: list[str] = []
        if isinstance(node, Function | ast.ClassDef):
            names = [node.name]
        elif isinstance(node, ast.Assign):
            names = [
                each.id for target in node.targets for each in ast.walk(target) if isinstance(each, ast.Name)
            ]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names = [node.target.id]
        for name in names:
            if not name.startswith("_"):
                yield name, node


def registers(node: ast.stmt) -> bool:
    """Whether a decorator hands this function to somebody, such as a command."""
    if not isinstance(node, Function):
        return False
    for decorator in node.decorator_list:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(called).rpartition(".")[2] not in REGISTERS_NOTHING:
            return True
    return False


def uses(sources: Sources) -> set[tuple[str, str]]:
    """(module, name) of everything that some module uses: what it imports, and names of its own.

    A module does not use what it only exports again, nor a definition itself.
    """
    found = set()
    for importer, tree in sources.items():
        modules: dict[str, str] = {}
        imported: dict[str, tuple[str, str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    called = alias.asname or alias.name
                    if f"{node.module}.{alias.name}" in sources:
                        modules[called] = f"{node.module}.{alias.name}"
                    else:
                        imported[called] = (node.module, alias.name)
        for top in tree.body:
            own = {top.name} if isinstance(top, Function | ast.ClassDef) else set()
            for node in ast.walk(top):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in own:
                    found.add(imported.get(node.id, (importer, node.id)))
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    module = modules.get(node.value.id)
                    found |= {(module, node.attr)} if module else set()
    return found


def unused(sources: Sources) -> list[str]:
    """What is defined in some module and used by none."""
    used = uses(sources)
    return [
        f"{module}.{name}"
        for module, tree in sources.items()
        for name, node in defined(tree)
        if (module, name) not in used and not registers(node)
    ]


def class_names_twice(sources: Sources) -> list[str]:
    """The names that more than one class has."""
    names = Counter(
        node.name for tree in sources.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    return sorted(name for name, count in names.items() if count > 1)


def too_long(sources: Sources) -> dict[str, int]:
    """Modules and functions that are above their bounds, and how many lines they have.

    Lines of a module by its last statement: what a comment at its end is worth is nothing.
    """
    found = {}
    for module, tree in sources.items():
        lines = tree.body[-1].end_lineno if tree.body else 0
        if lines and lines > MODULE_LINES_MAX:
            found[module] = lines
        for path, node in functions(tree, module):
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                found[path] = lines
    return found


def wrong_sizes(found: dict[str, int], known: dict[str, int]) -> list[str]:
    """What is too long and not known to be, or has grown, or is known and not too long any more."""
    return [
        *(f"{what} has {lines} lines" for what, lines in found.items() if lines > known.get(what, 0)),
        *(f"{what} is not too long any more: take it from OVERSIZED" for what in known if what not in found),
    ]


def without_a_sentence(sources: Sources) -> list[str]:
    """Public classes and functions of modules that do not say what they are."""
    return [
        f"{module}.{name}"
        for module, tree in sources.items()
        for name, node in defined(tree)
        if isinstance(node, Function | ast.ClassDef) and not ast.get_docstring(node)
    ]


def functions(tree: ast.AST, path: str) -> Iterator[tuple[str, Function]]:
    """Every function and method, by its path."""
    for node in ast.iter_child_nodes(tree):
        inside = f"{path}.{node.name}" if isinstance(node, Function | ast.ClassDef) else path
        if isinstance(node, Function):
            yield inside, node
        yield from functions(node, inside)


# What ships


def test_nothing_is_there_for_tests_only() -> None:
    found = set(unused(shipped())) - USED_FROM_OUTSIDE.keys()
    assert sorted(found - public()) == []


def test_what_others_use_is_there_and_not_used_here() -> None:
    assert USED_FROM_OUTSIDE.keys() <= set(unused(shipped()))


def test_no_class_name_is_there_twice() -> None:
    assert set(class_names_twice(shipped())) <= FACES


def test_nothing_else_lies_in_the_top_folder() -> None:
    top = Path(__file__).parents[1]
    files = {path.name for path in top.iterdir() if path.is_file() and path.name[0] != "."}
    assert files == {"CHANGELOG.md", "LICENSE", "README.md", "mkdocs.yml", "pyproject.toml"}


def test_nothing_is_too_long() -> None:
    assert wrong_sizes(too_long(shipped()), OVERSIZED) == []


def test_everything_public_says_what_it_is() -> None:
    assert without_a_sentence(shipped()) == []


FACE_PACKAGES = (paxlock.aio, paxlock.blocking)


def public() -> set[str]:
    """What programs, their tests, and those who simulate import."""
    return {
        f"{getattr(package, name).__module__}.{name}"
        for package in (
            paxlock,
            paxlock.aio,
            paxlock.blocking,
            paxlock.fencing,
            paxlock.testing,
            paxlock.simulator,
        )
        for name in package.__all__
        if hasattr(getattr(package, name), "__module__")
    } | guards()


def guards() -> set[str]:
    """What the guards of `paxlock.fencing` offer, also those for libraries that are not installed here."""
    return {
        f"paxlock.fencing.{guard}.{name}"
        for guard in paxlock.fencing.GUARDS
        for node in shipped()[f"paxlock.fencing.{guard}"].body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for name in ast.literal_eval(node.value)
    }


# What is planted


def test_what_nobody_uses_is_found() -> None:
    sources = source(
        p_a="def used(): return own\ndef unused(): unused()\nown = LIMIT = 1\n_P = 2\nclass C: ...",
        p_b="from p.a import used, C\nused()\n__all__ = ['C']",
    )
    assert unused(sources) == ["p.a.unused", "p.a.LIMIT", "p.a.C"]


def test_names_are_told_apart_by_their_modules() -> None:
    sources = source(
        p_a="def one(): ...\ndef two(): ...", p_b="def one(): ...", p_c="from p import a\na.two()\na.one"
    )
    assert unused(sources) == ["p.b.one"]


def test_another_name_and_an_import_in_a_function_are_uses() -> None:
    sources = source(p_a="def one(): ...", p_b="def _f():\n    from p.a import one as other\n    other()")
    assert unused(sources) == []


def test_a_command_is_used_by_its_group_and_a_cached_function_is_not() -> None:
    sources = source(
        p_a="@group.command('x')\ndef one(): ...\n@cache\ndef two(): ...\n@lru_cache(1)\ndef three(): ..."
    )
    assert unused(sources) == ["p.a.two", "p.a.three"]


def test_a_class_name_that_is_there_twice_is_found() -> None:
    sources = source(p_a="class A: ...\nclass B: ...", p_b="def f():\n    class A: ...")
    assert class_names_twice(sources) == ["A"]


def test_what_is_too_long_is_found() -> None:
    long = "def f():\n" + "    pass\n" * (FUNCTION_LINES_MAX - 1)
    assert too_long(source(p_a=long)) == {}
    inside = "class A:\n  async def f():\n" + "    pass\n" * FUNCTION_LINES_MAX
    assert too_long(source(p_a=inside)) == {"p.a.A.f": FUNCTION_LINES_MAX + 1}
    assert too_long(source(p_a="x = 1\n" * MODULE_LINES_MAX, p_b="")) == {}
    assert too_long(source(p_a="x = 1\n" * (MODULE_LINES_MAX + 1))) == {"p.a": MODULE_LINES_MAX + 1}


def test_what_is_too_long_may_only_become_shorter() -> None:
    assert wrong_sizes({"a": 510, "b": 600}, {"a": 520, "b": 600}) == []
    assert wrong_sizes({"a": 530}, {"a": 520}) == ["a has 530 lines"]
    assert wrong_sizes({"a": 510}, {}) == ["a has 510 lines"]
    assert wrong_sizes({}, {"a": 520}) == ["a is not too long any more: take it from OVERSIZED"]


def test_what_says_nothing_is_found() -> None:
    sources = source(p_a="class A: ...\ndef f(): ...\ndef _g(): ...\ndef h():\n    'What it is.'\nX = 1")
    assert without_a_sentence(sources) == ["p.a.A", "p.a.f"]
