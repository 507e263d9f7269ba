"""Every golden script prints what it says; and the runner itself is tested."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from textwrap import dedent

import pytest

from tests.interaction.commands import Commands
from tests.interaction.script import ScriptError, difference, play, steps

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
PROTOCOL = (DOCS / "protocol.md").read_text(encoding="utf-8")
TOUR = (DOCS / "how_it_works.md").read_text(encoding="utf-8")
SCRIPTS = sorted(HERE.glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.stem))
def test_a_script_prints_what_it_says(path: Path, request: pytest.FixtureRequest) -> None:
    expected = path.read_text(encoding="utf-8")
    printed = play(expected, Commands().run)
    if request.config.getoption("--rewrite", default=False):
        path.write_text(printed, encoding="utf-8")
        return
    found = difference(path.name, expected, printed)
    assert not found, f"not as expected (after a look at it: pytest tests/interaction --rewrite)\n{found}"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.stem))
def test_a_script_begins_with_what_it_teaches(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("$ "))
    assert first >= 5
    assert all(line.startswith("#") or not line for line in lines[:first])
    assert max(map(len, lines)) <= 120


# What the pages show of them

QUOTED = re.compile(r"\(\.\./tests/interaction/(\w+\.txt)\)[^`]*```text\n(.*?)```", re.DOTALL)


def quotes(page: str) -> list[tuple[str, list[str]]]:
    """(script, lines) of every block of text that follows the name of a script."""
    return [(name, dedent(block).splitlines()) for name, block in QUOTED.findall(page)]


def is_part_of(lines: list[str], script: list[str]) -> bool:
    """Whether the lines stand in the script in this order; only an ellipsis leaves something out."""
    at = 0
    for between, group in groupby(lines, key=lambda line: line == "…"):
        part = list(group)
        if between:
            continue
        places = [i for i in range(at, len(script)) if script[i : i + len(part)] == part]
        if not places:
            return False
        at = places[0] + len(part)
    return True


@pytest.mark.parametrize("page", [PROTOCOL, TOUR], ids=["protocol", "how_it_works"])
def test_what_a_page_shows_of_a_script_is_in_it(page: str) -> None:
    for name, lines in quotes(page):
        script = (HERE / name).read_text(encoding="utf-8").splitlines()
        assert is_part_of(lines, script), f"no longer in {name}:\n" + "\n".join(lines)


def test_the_protocol_shows_each_script_and_every_block_names_its_script() -> None:
    assert {name for name, _ in quotes(PROTOCOL)} == {path.name for path in SCRIPTS}
    assert len(quotes(PROTOCOL)) == PROTOCOL.count("```text")


def test_every_command_of_the_tour_is_from_a_script() -> None:
    assert TOUR.count("```text\n$ ") == len([lines for _, lines in quotes(TOUR) if lines[0].startswith("$ ")])


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["b", "c"], True),
        (["a", "…", "d"], True),
        (["a", "d"], False),
        (["d", "…", "c"], False),
        (["b", "…", "e"], False),
        (["c", "d", "e"], False),
        (["b", "d"], True),
    ],
)
def test_only_what_stands_there_in_this_order_is_part_of_a_script(lines: list[str], found: bool) -> None:
    assert is_part_of(lines, ["a", "b", "c", "d", "b", "d"]) is found


# The runner

SMALL = """\
# A name that nobody holds.
$ cell a b c
$ client athens

$ campaign athens
    athens -> a b c  StandingPrepare at_least=1 age=0 s #1 waits
$ deliver to=a
    athens -> a  StandingPrepare at_least=1 age=0 s #1 waits
      a -> athens  Accepted term=1 #1
"""


def test_a_script_that_is_right_is_left_as_it_is() -> None:
    assert play(SMALL, Commands().run) == SMALL


def test_a_wrong_expectation_is_told_as_a_diff() -> None:
    wrong = SMALL.replace("Accepted term=1", "Accepted term=2")
    found = difference("small.txt", wrong, play(wrong, Commands().run))
    assert found.splitlines()[:2] == ["--- small.txt (expected)", "+++ small.txt (printed)"]
    assert "-      a -> athens  Accepted term=2 #1" in found
    assert "+      a -> athens  Accepted term=1 #1" in found
    assert " $ deliver to=a" in found


def test_output_that_is_missing_or_left_over_is_a_difference_and_is_rewritten() -> None:
    lines = SMALL.splitlines(keepends=True)
    missing = "".join(lines[:-1])
    left_over = SMALL.replace("$ client athens\n", "$ client athens\n    hello\n")
    for wrong in (missing, left_over):
        printed = play(wrong, Commands().run)
        assert difference("small.txt", wrong, printed)
        assert printed == SMALL


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("# one\n$ cell a b c\n$ elect athens\n", "line 3: unknown command 'elect'"),
        ("$ campaign athens\n", "line 1: a script begins with a cell"),
        ("$ cell a b c\n$ campaign zeno\n", "line 2: there is no 'zeno' here"),
        ("$ cell a b c\n\n\n$ deliver from=zeno\n", "line 4: no such message is on its way"),
        ("$ cell a b c\n$ run 1 slowly=2\n", "line 2: run takes no slowly"),
        ("$ cell a b c\n$ deliver all\n", "line 2: no such message is on its way"),
        ("$ cell a b c\n$ client x\n$ watch x\n$ deliver all\n", "line 4: deliver takes no 'all'"),
        ("$ cell a b c\n$ wait long\n", "line 2: could not convert"),
        ("$ cell a b c\n$ restart a\n", "line 2: node 'a' is running"),
        ("# one\n    output\n", "line 2: output that belongs to no command"),
        ("cell a b c\n", "line 1: neither a command, nor output, nor a comment"),
    ],
)
def test_what_cannot_be_played_is_an_error_that_names_the_line(text: str, says: str) -> None:
    with pytest.raises(ScriptError, match=says):
        play(text, Commands().run)


def test_a_command_has_its_line_and_its_output() -> None:
    found = [(step.line, step.command, len(step.expected)) for step in steps(SMALL)]
    assert found == [
        (2, "cell a b c", 0),
        (3, "client athens", 0),
        (5, "campaign athens", 1),
        (7, "deliver to=a", 2),
    ]


def test_of_repetitions_the_newest_may_be_delivered_alone() -> None:
    commands = Commands()
    for command in ("cell a b c", "client athens", "campaign athens", "wait 0.04"):
        commands.run(command)
    found = commands.run("deliver newest from=athens to=a")
    assert len([line for line in found if line.startswith("athens -> a")]) == 1
    assert "#1 " not in found[0]
    with pytest.raises(ValueError, match="no such message"):
        commands.run("deliver from=athens to=a")
