"""The names of the package: complete, documented, and loaded only when used."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import FunctionType

import pytest

import paxlock

HEAVY = ("trio", "cryptography", "cbor2")


def run(program: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_all_is_sorted_and_complete() -> None:
    assert paxlock.__all__ == sorted(paxlock.__all__)
    assert len(set(paxlock.__all__)) == len(paxlock.__all__)
    assert set(paxlock._LAZY) <= set(paxlock.__all__)
    assert set(paxlock.__all__) <= set(dir(paxlock))


@pytest.mark.parametrize("name", paxlock.__all__)
def test_every_name_can_be_imported_and_is_documented(name: str) -> None:
    found = getattr(paxlock, name)
    assert found.__name__ == name
    assert inspect.getdoc(found)


@pytest.mark.parametrize(
    "name", [name for name in paxlock.__all__ if inspect.isclass(getattr(paxlock, name))]
)
def test_every_public_method_is_documented(name: str) -> None:
    found = getattr(paxlock, name)
    missing = []
    for attribute, value in inspect.getmembers_static(found):
        function = getattr(value, "__func__", value)
        ours = isinstance(function, FunctionType) and function.__module__.startswith("paxlock")
        if ours and not attribute.startswith("_") and not inspect.getdoc(function):
            missing.append(attribute)
    assert missing == []


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'paxlock' has no attribute 'nothing'"):
        getattr(paxlock, "nothing")  # noqa: B009 - the name is not known to the type checker


def test_star_import_gives_exactly_the_public_names() -> None:
    assert run("from paxlock import *; print(sorted(n for n in dir() if n[:2] != '__'))") == str(
        sorted(paxlock.__all__)
    )


@pytest.mark.parametrize("then", ["paxlock.__version__", "paxlock.LeaseLost", "dir(paxlock)"])
def test_importing_loads_nothing_heavy(then: str) -> None:
    program = f"import sys, paxlock; {then}; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(program) == "[]"


def test_a_lazy_name_loads_what_it_needs() -> None:
    program = "import sys, paxlock; paxlock.open_client; print('trio' in sys.modules)"
    assert run(program) == "True"
