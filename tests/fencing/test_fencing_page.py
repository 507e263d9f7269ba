"""docs/fencing.md: its example for SQLite runs, and what it names is there."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import re
from pathlib import Path

import pytest

from paxlock.fencing import statements
from tests.fencing.libraries import library

PAGE = (Path(__file__).parents[2] / "docs" / "fencing.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LIBRARIES = {"django": "django", "redis": "redis", "s3": "boto3", "sqlalchemy": "sqlalchemy"}


def test_the_example_for_sqlite_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed, names = io.StringIO(), dict[str, object]()
    with contextlib.redirect_stdout(printed):
        exec(compile(BLOCKS[0], "docs/fencing.md", "exec"), names)
    database = names["database"]
    rows = database.execute("SELECT body FROM report").fetchall()  # type: ignore[attr-defined]
    database.close()  # type: ignore[attr-defined]
    assert rows == [("by the first machine",)]
    assert printed.getvalue() == (
        "refused: term 7 of 'nightly-report' is stale: a holder with term 8 has been seen\n"
    )


@pytest.mark.parametrize("block", BLOCKS)
def test_what_a_block_names_is_there(block: str) -> None:
    tree = ast.parse(block)
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "paxlock.fencing"
        for alias in node.names
    }
    used = {
        ast.unparse(node).removeprefix("fencing.")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node).partition(".")[0] in {"fencing", *imported}
        and isinstance(node.ctx, ast.Load)
    }
    for name in used:
        module, _, attribute = name.partition(".")
        if attribute:
            if module in LIBRARIES:
                library(LIBRARIES[module])
            assert attribute in importlib.import_module(f"paxlock.fencing.{module}").__all__


def test_the_table_is_the_one_that_is_made() -> None:
    shown = re.search(r"```sql\nCREATE TABLE (.*)\n```", PAGE)
    assert shown is not None
    for dialect in (statements.POSTGRES, statements.SQLITE):
        assert dialect.create == f"CREATE TABLE IF NOT EXISTS {shown[1]}"
