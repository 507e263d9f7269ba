"""Golden scripts: a text of comments, commands, and what each of them prints.

    # A comment teaches.
    $ command
        what it prints, indented

A comment and a blank line may stand anywhere; what is indented belongs to the command above it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

import attrs

__all__ = ["ScriptError", "Step", "difference", "play", "steps"]

PROMPT = "$ "
INDENT = "    "

Run = Callable[[str], list[str]]


class ScriptError(Exception):
    """A script cannot be read or played; it names the line."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(f"line {line}: {text}")
        self.line = line


@attrs.frozen
class Step:
    """One command, the number of its line, and what it is expected to print."""

    line: int
    command: str
    expected: tuple[str, ...]


def steps(text: str) -> list[Step]:
    """The commands of a script, in order."""
    found: list[Step] = []
    open_step = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(PROMPT):
            found.append(Step(number, line.removeprefix(PROMPT).strip(), ()))
            open_step = True
        elif line.startswith(INDENT):
            if not open_step:
                raise ScriptError(number, "output that belongs to no command")
            found[-1] = attrs.evolve(found[-1], expected=(*found[-1].expected, line.removeprefix(INDENT)))
        elif not line or line.startswith("#"):
            open_step = False
        else:
            raise ScriptError(number, f"neither a command, nor output, nor a comment: {line!r}")
    return found


def play(text: str, run: Run) -> str:
    """The same script with what the commands print now; ``run`` raises ValueError for what it cannot do."""
    printed: dict[int, list[str]] = {}
    for step in steps(text):
        try:
            printed[step.line] = run(step.command)
        except ValueError as error:
            raise ScriptError(step.line, str(error)) from error
    lines: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(INDENT):
            continue
        lines.append(line)
        lines.extend(f"{INDENT}{output}".rstrip() for output in printed.get(number, ()))
    return "\n".join(lines) + "\n"


def difference(name: str, expected: str, found: str) -> str:
    """What is other than expected, as a diff with the command above it; empty where nothing is."""
    lines = difflib.unified_diff(
        expected.splitlines(), found.splitlines(), f"{name} (expected)", f"{name} (printed)", "", "", 3, ""
    )
    return "\n".join(lines)
