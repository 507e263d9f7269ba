"""docs/design.md is true: the picture of the house, the table of rules, and the maps of the rooms."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import attrs
import pytest

import paxlock
from tests.planted.table import PLANTED_BUGS
from tests.test_layers import BESIDE, LEVELS

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
SOURCE = Path(paxlock.__file__).parent
DESIGN = (DOCS / "design.md").read_text(encoding="utf-8")
PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")


@attrs.frozen
class Row:
    """One rule: (module, what of it or nothing) for each place, the test, and the planted bug."""

    rule: str
    places: tuple[tuple[str, str], ...]
    test: str
    bug: str


def rows() -> list[Row]:
    found = []
    for line in DESIGN.splitlines():
        if re.match(r"\| [SL]\d+ \|", line):
            rule, _, code, test, bug = (cell.strip() for cell in line.strip("|").split("|"))
            places = []
            for place in re.findall(r"`([^`]+)`", code):
                module, _, names = place.partition(": ")
                places += [(module, name) for name in names.split(", ")]
            found.append(Row(rule, tuple(places), test.strip("`"), bug.strip("`")))
    return found


ROWS = rows()


def find(module: str, path: str) -> object:
    """What the path names in this module of paxlock; a place where it is now, if it has moved."""
    found: object = importlib.import_module(f"paxlock.{module}")
    for name in filter(None, path.split(".")):
        where = [str(p.relative_to(SOURCE)) for p in SOURCE.rglob("*.py") if defines(p, path)]
        assert hasattr(found, name), f"paxlock.{module} has no {path}; there is one in {where}"
        found = getattr(found, name)
    return found


def defines(path: Path, dotted: str) -> bool:
    last = dotted.rpartition(".")[2]
    return re.search(rf"(def|class) {last}\b", path.read_text(encoding="utf-8")) is not None


def test_every_marked_rule_has_its_row() -> None:
    marked = re.findall(r"\[([SL]\d+)[\]:]", PROTOCOL)
    assert sorted(row.rule for row in ROWS) == sorted(set(marked))


def test_a_test_with_a_mark_in_its_name_is_of_a_rule_and_each_rule_has_one() -> None:
    """``test_s5_...`` is of the rule S5; of a section is what its file says (paper/test_section_5_...)."""
    sources = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    marks = {mark.upper() for source in sources for mark in re.findall(r"def test_([sl]\d+)_", source)}
    assert marks == {row.rule for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.rule))
def test_what_a_row_names_is_there(row: Row) -> None:
    for module, path in row.places:
        find(module, path)
    file, _, test = row.test.partition("::")
    assert f"def {test}(" in (TESTS / file).read_text(encoding="utf-8")
    assert row.rule == test.split("_")[1].upper()
    assert row.rule in {bug.rule for bug in PLANTED_BUGS if bug.name == row.bug}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.rule))
def test_one_of_the_files_of_a_rule_tells_of_it(row: Row) -> None:
    sources = [inspect.getsource(importlib.import_module(f"paxlock.{module}")) for module, _ in row.places]
    assert any(re.search(rf"\b{row.rule}\b", source) for source in sources)


def test_the_picture_shows_each_package_where_the_layers_have_it() -> None:
    picture = DESIGN[DESIGN.index("```text") :].partition("```\n")[0]
    shown: dict[str, int] = {}
    for level, packages in re.findall(r"^(\d+) +(\S+(?:, \S+)*)  ", picture, re.MULTILINE):
        shown |= {"" if name == "paxlock" else name: int(level) for name in packages.split(", ")}
    assert shown == {name: level for name, level in LEVELS.items() if name != "__main__"}
    for name in BESIDE:
        assert re.search(rf"^   {name} ", picture, re.MULTILINE)


@pytest.mark.parametrize("room", ["core", "wire"])
def test_the_map_of_a_room_has_every_file_of_it(room: str) -> None:
    here, files = "", set()
    for line in (importlib.import_module(f"paxlock.{room}").__doc__ or "").splitlines():
        heading = re.search(r"\((core/\w+)\):$", line)
        here = f"{heading[1].partition('/')[2]}/" if heading else here
        entry = re.match(r"    (\w+\.py) ", line)
        if entry:
            files.add(f"{here}{entry[1]}")
    there = {str(path.relative_to(SOURCE / room)) for path in (SOURCE / room).rglob("*.py")}
    assert files == {path for path in there if not path.endswith("__init__.py")}


@pytest.mark.parametrize("path", re.findall(r"`(?:paxlock/)?((?:\w+/)+\w+\.py)`", DESIGN))
def test_every_file_that_is_named_exists(path: str) -> None:
    assert (SOURCE / path).exists() or (TESTS.parent / path).exists()


def test_each_of_the_ten_questions_has_an_answer_that_is_there() -> None:
    answers = re.findall(r"^\| .+\? \| (.+) \|$", DESIGN, re.MULTILINE)
    assert len(answers) == 10
    for answer in answers:
        places = re.findall(r"`([\w.]+): ([\w.]+)`", answer)
        scripts = re.findall(r"`(tests/\S+)`", answer)
        assert places or scripts
        assert all((TESTS.parent / script).exists() for script in scripts)
        for module, name in places:
            find(module, name)


def test_what_has_moved_is_told_with_where_it_is_now() -> None:
    with pytest.raises(AssertionError, match=r"no Proposer\.took; there is one in"):
        find("core.lease", "Proposer.took")
