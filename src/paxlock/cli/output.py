"""What the commands print: JSON of stable shape, tables for people, and the two streams.

Data goes to stdout, talk to stderr (contract.md section 3). Whatever came from the network is shown without
control characters, so that it cannot steer a terminal.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from paxlock.cli.exits import ExitCode, Failure

if TYPE_CHECKING:
    from paxlock.client.standing import Change, Standing, Waiter

__all__ = [
    "Facts",
    "Voice",
    "change_facts",
    "emit",
    "format_table",
    "name_facts",
    "paint",
    "printable",
    "say",
    "seconds",
    "silence_stdout",
    "standing_facts",
    "to_json",
    "voice",
]

JSON_VERSION = 1

Facts: TypeAlias = dict[str, Any]

_COLOURS = {"led": "32", "serving": "32", "yes": "32", "unknown": "33", "sitting out": "33", "starting": "33"}
_COLOURS |= {"no answer": "31", "no": "31"}


@attrs.define
class Voice:
    """How much is said on stderr: ``quiet`` leaves out all but errors, ``verbose`` adds tracebacks."""

    quiet: bool = False
    verbose: bool = False


voice = Voice()


def emit(text: str) -> None:
    """Write data to stdout, a line or several, at once.

    Raises BrokenPipeError when nobody reads any more, Failure for another reason not to be written.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence_stdout()
        raise Failure(ExitCode.INTERNAL, f"stdout cannot be written: {error.strerror}") from error


def say(text: str, *, even_if_quiet: bool = False) -> None:
    """Write one sentence to stderr. Never raises: talk that nobody hears changes nothing."""
    if sys.stderr is None or (voice.quiet and not even_if_quiet):
        return
    with suppress(OSError, ValueError):
        sys.stderr.write(f"paxlock: {' '.join(printable(line) for line in text.splitlines())}\n")
        sys.stderr.flush()


def silence_stdout() -> None:
    """After a broken pipe: let what is still buffered go nowhere, so that the exit is quiet too."""
    if sys.stdout is None:
        return
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


# --- JSON ------------------------------------------------------------------------------------------------


def to_json(facts: Mapping[str, Any]) -> str:
    """One line of JSON, in ASCII, fields in the order of the contract."""
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=True)


def name_facts(
    name: str,
    state: str,
    *,
    term: int = 0,
    label: str | None = None,
    data: bytes | None = None,
    remaining: float | None = None,
    ttl: float | None = None,
    waiters: Sequence[Waiter] | None = None,
    nodes: tuple[int, int] | None = None,
    handle: str | None = None,
) -> Facts:
    """The JSON object of a name (contract.md section 3); what is not known is left out.

    ``remaining`` and ``ttl`` are seconds; ``nodes`` is (up, total). ``data`` is shown as text if it is
    UTF-8, as ``data_b64`` otherwise.
    """
    facts: Facts = {"v": JSON_VERSION, "name": name, "state": state}
    if term > 0:
        facts["term"] = term
    if label is not None:
        facts["label"] = label
    if data is not None:
        facts |= _data_facts(data)
    if remaining is not None:
        facts["remaining_ms"] = int(max(0.0, remaining) * 1000)
    if ttl is not None:
        facts["ttl_ms"] = round(ttl * 1000)
    if waiters is not None:
        facts["waiters"] = [
            {"label": waiter.label, "waiting_ms": int(waiter.waiting * 1000)} for waiter in waiters
        ]
    if nodes is not None:
        facts["nodes"] = {"up": nodes[0], "total": nodes[1]}
    if handle is not None:
        facts["handle"] = handle
    return facts


def _data_facts(data: bytes) -> Facts:
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data_b64": base64.b64encode(data).decode()}


def standing_facts(standing: Standing, *, waiters: bool = True) -> Facts:
    """The JSON object of a standing; ``waiters`` tells whether the line was asked for."""
    led = standing.state.value == "led"
    return name_facts(
        standing.name,
        standing.state.value,
        term=standing.term,
        label=standing.label if led else None,
        data=standing.data if led else None,
        remaining=standing.remaining if led else None,
        ttl=standing.ttl if led else None,
        waiters=standing.waiters if waiters else None,
        nodes=(standing.nodes_up, standing.nodes_total),
    )


def change_facts(change: Change) -> Facts:
    """The JSON object of a change; ``skipped`` is there if states were replaced before they were seen."""
    led = change.state.value == "led"
    facts = name_facts(
        change.name,
        change.state.value,
        term=change.term,
        label=change.label if led else None,
        data=change.data if led else None,
    )
    if change.skipped:
        facts["skipped"] = change.skipped
    return facts


# --- text for people -------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """The text with everything that is not printable replaced: labels come from other machines."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def seconds(value: float) -> str:
    """A duration for people, ``8.1 s``: for reading, never for parsing."""
    return f"{max(0.0, value):.1f} s"


def paint(word: str, shown: str | None = None) -> str:
    """``shown`` (or the word itself) in the colour of the word, on a terminal where NO_COLOR is not set."""
    shown = word if shown is None else shown
    colour = _COLOURS.get(word)
    if colour is None or not _colours_wanted():
        return shown
    return f"\x1b[{colour}m{shown}\x1b[0m"


def _colours_wanted() -> bool:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout is not None and sys.stdout.isatty()


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, painted: int | None = None) -> str:
    """Columns wide enough for what stands in them; the words of column ``painted`` get their colour."""
    lines = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    shown = []
    for number, line in enumerate(lines):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        if painted is not None and number > 0:
            cells[painted] = paint(line[painted].split(" for ")[0], cells[painted])
        shown.append("  ".join(cells).rstrip())
    return "\n".join(shown)
