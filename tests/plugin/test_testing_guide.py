"""docs/testing.md and the example that it names: what is shown is run, with pytest-trio and without it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

# Here, before any run of pytest within this one: what such a run loads, it unloads, and two copies of a class
# would meet.
from paxlock.testing.virtual_cell import CellSettings, VirtualCell

pytest_plugins = "pytester"

ROOT = Path(__file__).parent.parent.parent
GUIDE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
EXAMPLE = ROOT / "examples" / "testing_your_code"
WITHOUT_PYTEST_TRIO = ["-p", "no:trio"]


def count_tests(source: str) -> int:
    return len(re.findall(r"^(?:async )?def test_", source, re.MULTILINE))


def run(folder: pytest.Pytester, options: list[str]) -> int:
    """How many tests pass; nothing else may happen."""
    result = folder.runpytest_inprocess("-p", "no:cacheprovider", "-W", "error", *options)
    counts = result.parseoutcomes()
    assert set(counts) == {"passed"}
    return counts["passed"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], WITHOUT_PYTEST_TRIO], ids=["pytest-trio", "alone"])
def test_every_block_of_the_guide_passes(folder: pytest.Pytester, options: list[str]) -> None:
    for number, block in enumerate(BLOCKS):
        assert count_tests(block) > 0
        if options and "patient_clock" in block:
            continue  # clocks by fixture are what pytest-trio offers
        (folder.path / f"test_block_{number}.py").write_text(block, encoding="utf-8")
    shown = [path.read_text(encoding="utf-8") for path in folder.path.glob("test_block_*.py")]
    assert run(folder, options) == sum(map(count_tests, shown))


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], WITHOUT_PYTEST_TRIO], ids=["pytest-trio", "alone"])
def test_the_example_passes(folder: pytest.Pytester, options: list[str]) -> None:
    for path in EXAMPLE.glob("*.py"):
        shutil.copy(path, folder.path)
    assert run(folder, options) == count_tests((EXAMPLE / "test_report.py").read_text(encoding="utf-8"))


def test_every_verb_and_setting_is_in_the_guide() -> None:
    inside = {"bind", "granted", "hung_up"}
    verbs = {name for name in vars(VirtualCell) if not name.startswith("_")} - inside
    words = set(re.findall(r"\w+", GUIDE))
    assert verbs | set(CellSettings.__annotations__) <= words
