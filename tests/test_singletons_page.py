"""docs/singletons.md shows lines of the examples, as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "singletons.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n# (examples/\S+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize(("path", "block"), BLOCKS, ids=[path for path, _ in BLOCKS])
def test_each_line_is_in_the_example_in_this_order(path: str, block: str) -> None:
    left = (ROOT / path).read_text(encoding="utf-8").splitlines()
    for line in block.splitlines():
        assert line in left, line
        left = left[left.index(line) + 1 :]


@pytest.mark.parametrize("command", re.findall(r"```text\n(?:0 3 \* \* \*  )?(paxlock run .*)\n```", PAGE))
def test_each_command_is_told_by_an_example(command: str) -> None:
    files = [*ROOT.glob("examples/*.py"), *ROOT.glob("examples/django_cron/*.py")]
    assert any(command in file.read_text(encoding="utf-8") for file in files)


def test_the_page_shows_some_of_each() -> None:
    assert len(BLOCKS) >= 5
