"""The examples are what users see first: they run as they stand."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

import pytest

import paxlock
from tests.blocking.cells import thread_cell

EXAMPLES = Path(__file__).parent.parent / "examples"
TIME_LIMIT_S = 60
# Not installed, the package has no entry point by which pytest would find the plugin.
INSTALLED = any(entry.name == "paxlock" for entry in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "paxlock.testing.pytest_plugin")


def run_example(name: str, *arguments: str) -> str:
    """What the example prints; it must end by itself, with exit code 0 and nothing on stderr."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def function_of(name: str, function: str) -> Callable[[str, Sequence[str]], str]:
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast(Callable[[str, Sequence[str]], str], getattr(module, function))


@pytest.mark.processes
def test_the_embedded_election_replaces_a_leader_that_was_killed() -> None:
    printed = run_example("embedded_election.py")
    led = re.findall(r"^([abc]) leads with term (\d+)", printed, re.MULTILINE)
    assert len(led) == 2
    (first, first_term), (second, second_term) = led
    assert first != second
    assert int(first_term) < int(second_term)
    assert re.search(r"\b\d+ ms after the kill", printed)
    assert "stopped the others cleanly" in printed


def test_the_nightly_job_refuses_a_late_write() -> None:
    assert run_example("nightly_job.py").splitlines() == [
        "the first machine wrote with term 1",
        "the second machine wrote with term 2",
        "the late write of the first machine was refused: term 1 is too old",
    ]


def test_the_callback_sees_every_change_in_order() -> None:
    lines = run_example("watch_callbacks.py").splitlines()
    assert [re.sub(r", term \d+$", "", line) for line in lines] == [
        "primary is free",
        "primary is led by athens",
        "primary is free",
        "primary is led by byzantium",
        "primary is free",
    ]
    terms = [int(term) for line in lines for term in re.findall(r"term (\d+)$", line)]
    assert terms == sorted(set(terms))


@pytest.mark.processes
def test_names_live_in_one_of_many_cells(tmp_path: Path) -> None:
    files = [tmp_path / f"shard-{number}.toml" for number in range(2)]
    with thread_cell() as one, thread_cell() as other:
        for file, found in zip(files, (one, other), strict=True):
            found.cell.save(file)
        printed = [run_example("many_cells.py", *map(str, order)) for order in (files, files[::-1])]
    lives = [dict(re.findall(r"^(\S+) lives in (shard-\d): held", text, re.MULTILINE)) for text in printed]
    assert len(lives[0]) == 8 and set(lives[0].values()) == {"shard-0", "shard-1"}
    assert lives[0] == lives[1]  # in whatever order the files are given


def test_each_of_many_cells_has_its_share_of_the_names() -> None:
    shard_of = function_of("many_cells.py", "shard_of")
    shards = [f"shard-{number}" for number in range(16)]
    names = [f"customers/{number}" for number in range(16_000)]
    before = [shard_of(name, shards) for name in names]
    assert all(850 < share < 1_150 for share in Counter(before).values())
    after = [shard_of(name, [*shards, "shard-16"]) for name in names]
    assert {new for old, new in zip(before, after, strict=True) if new != old} == {"shard-16"}


@pytest.mark.slow
def test_the_tests_of_the_report_pass() -> None:
    """As a user runs them: by pytest, in their folder, with the plugin that the package brings."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", "testing_your_code"),
            *(
                "-q",
                "-W",
                "error",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:benchmark",
                "-p",
                "no:asyncio",
                *PLUGIN,
                "testing_your_code",
            ),
        ],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(paxlock.__file__).parent.parent)},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "6 passed" in done.stdout


def test_every_example_is_tested() -> None:
    """Here, or in test_singletons.py; and each has its line in the README of the folder."""
    here = Path(__file__)
    tested = here.read_text(encoding="utf-8")
    tested += here.with_name("test_singletons.py").read_text(encoding="utf-8")
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.iterdir():
        if path.name[0] not in "._" and path.name != "README.md":
            assert path.name in tested and f"`{path.name}`" in listed, path.name
