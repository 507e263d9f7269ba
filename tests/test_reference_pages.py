"""docs/reference: what it names is there, and every public name has its entry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from inspect import ismodule
from pathlib import Path

import pytest

import paxlock
import paxlock.aio
import paxlock.blocking
from tests.conformance.test_signatures import OF_LEASES, VERBS

PAGES = Path(__file__).parent.parent / "docs" / "reference"
ENTRY = re.compile(r"^::: ([\w.]+)\n((?: {4}.*\n)*)", re.MULTILINE)


def entries(page: str) -> Iterator[tuple[str, str, list[str]]]:
    """(module, name in it or nothing, members) of each entry."""
    for path, options in ENTRY.findall((PAGES / page).read_text(encoding="utf-8")):
        module, _, name = path.rpartition(".")
        members = re.search(r"members: \[(.*)\]", options)
        listed = [member for member in (members[1].split(", ") if members else []) if member]
        if path.startswith("paxlock.fencing."):
            module, name = path, ""
        yield module, name, listed


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.glob("*.md")))
def test_what_a_page_names_is_there(page: str) -> None:
    found = list(entries(page))
    assert found
    for module, name, members in found:
        assert find_spec(module) is not None
        try:
            thing = getattr(import_module(module), name) if name else import_module(module)
        except ModuleNotFoundError as missing:
            if module.startswith("paxlock.fencing.") and not (missing.name or "").startswith("paxlock"):
                continue  # the library of a guard, which is an extra
            raise
        assert all(hasattr(thing, member) for member in members)


@pytest.mark.parametrize(
    ("face", "page"), [(paxlock, "paxlock.md"), (paxlock.aio, "aio.md"), (paxlock.blocking, "blocking.md")]
)
def test_every_public_name_has_its_entry(face: object, page: str) -> None:
    assert ismodule(face)
    shown = {name for file in {page, "errors.md"} for _, name, _ in entries(file)}
    assert set(face.__all__) <= shown


@pytest.mark.parametrize("page", ["paxlock.md", "aio.md", "blocking.md"])
def test_every_verb_has_its_entry(page: str) -> None:
    shown = {name: set(members) for _, name, members in entries(page) if members}
    assert {*VERBS, "revoke", "transfer"} <= shown["Client"]
    assert {*OF_LEASES, "publish"} <= shown["HeldLease"]
    assert {"node_id", "mode", "wait_serving", "reload", "node_statistics"} <= shown["Node"]
