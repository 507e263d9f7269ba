"""Options that several commands share, and the types of what is typed (contract.md section 3).

Bad input is found here, while the command line is read, and so ends with the exit code of bad usage.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from paxlock.cli import output
from paxlock.cli.gc_pauses import load
from paxlock.config.durations import parse_duration
from paxlock.config.syntax import check_data, check_label, check_name, check_reachable
from paxlock.errors import ConfigError

if TYPE_CHECKING:
    from paxlock.config.cell import ClientSettings

    ParamType = click.ParamType[Any]
else:
    ParamType = click.ParamType  # not generic before click 8.4

__all__ = [
    "DATA",
    "DURATION",
    "LABEL",
    "NAME",
    "NEW_FILE",
    "PATTERN",
    "PREFIX",
    "CellOptions",
    "Checked",
    "acquire_options",
    "cell_option",
    "client_options",
    "json_option",
    "key_file_option",
    "patience",
    "talk_options",
    "whole_number",
]

DEFAULT_TTL = "[default: 10s, at most the cell's max_ttl]"  #: as the help tells it
DIGITS_MAX = 20

AnyCallable = TypeVar("AnyCallable", bound=Callable[..., Any])


class Checked(ParamType):
    """A parameter read by a function that raises ConfigError where it is malformed."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ConfigError as error:
            self.fail(str(error), param, ctx)


def _read_pattern(pattern: str) -> str:
    """A name, or a prefix and a star; the star alone stands for every name."""
    prefix = pattern.removesuffix("*")
    return (check_name(prefix) if pattern != "*" else "") + pattern[len(prefix) :]


def _read_prefix(prefix: str) -> str:
    """What names begin with; a star at its end is allowed, and left out here."""
    prefix = prefix.removesuffix("*")
    if prefix:
        check_name(prefix.replace("*", "-"))  # within a name it is a letter like any other
    return prefix


def _read_addresses(addresses: str) -> str:
    for address in addresses.split(","):
        if address.strip():
            check_reachable(address.strip())
    return addresses


class NewFile(click.Path):
    """A file that is to be written, or None for ``-``: stdout."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return None if value == "-" else super().convert(value, param, ctx)


def whole_number(name: str, least: int, most: int, advice: str) -> Checked:
    """A parameter that is a whole number of this range; ``advice`` says which, as the end of a sentence."""

    def read(text: str) -> int:
        # Digits alone: int() takes signs, spaces, underscores and digits of other scripts as well.
        if text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX and least <= int(text) <= most:
            return int(text)
        raise ConfigError(f"{text!r} is not {advice}")

    return Checked(name, read)


DURATION = Checked("duration", parse_duration)
NAME = Checked("name", check_name)
PATTERN = Checked("name", _read_pattern)
PREFIX = Checked("prefix", _read_prefix)
ADDRESSES = Checked("addresses", _read_addresses)
LABEL = Checked("label", check_label)
DATA = Checked("text", lambda text: check_data(os.fsencode(text)))
NEW_FILE = NewFile(dir_okay=False, readable=False, path_type=Path)  #: None is stdout


def _set_quiet(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    output.voice.quiet |= value


def _set_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    output.voice.verbose |= value


def talk_options(function: AnyCallable) -> AnyCallable:
    """``-q`` and ``-v``, before the command or behind it."""
    quiet = click.option(
        "-q",
        "--quiet",
        is_flag=True,
        expose_value=False,
        callback=_set_quiet,
        help="Say nothing on stderr but errors.",
    )
    verbose = click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_set_verbose,
        help="Show tracebacks of unexpected errors.",
    )
    return quiet(verbose(function))


@attrs.frozen
class CellOptions:
    """Where the cell is, as it was typed; the environment fills in what was not."""

    cell: str | None = None
    nodes: str | None = None
    key_file: str | None = None

    def settings(self) -> ClientSettings:
        """The settings of a client (contract.md section 1). Raises ConfigError."""
        load("tomllib")  # for a cell file
        from paxlock.config.cell import client_settings

        return client_settings(self.cell, self.nodes, self.key_file)

    def environment(self) -> dict[str, str]:
        """What a command started from here needs in its environment to find the same cell."""
        found: dict[str, str] = {}
        if self.cell:
            found["PAXLOCK_CELL"] = str(Path(self.cell).absolute())
        if self.nodes:
            found["PAXLOCK_NODES"] = self.nodes
        if self.key_file:
            found["PAXLOCK_KEY_FILE"] = str(Path(self.key_file).absolute())
        return found


cell_option = click.option("--cell", metavar="FILE", help="The cell file [PAXLOCK_CELL].")
key_file_option = click.option("--key-file", metavar="FILE", help="The cell's key [PAXLOCK_KEY_FILE].")
client_key_option = click.option(
    "--key-file",
    metavar="FILE",
    help="The cell's key, or a client's [PAXLOCK_KEY_FILE; the key itself: PAXLOCK_KEY].",
)


def client_options(function: Callable[..., int]) -> Callable[..., int]:
    """``--cell``, ``--nodes``, ``--key-file``, ``-q``, ``-v``; the first three come as one CellOptions."""

    @cell_option
    @click.option(
        "--nodes",
        metavar="ADDRESS,...",
        type=ADDRESSES,
        help="Addresses of nodes to ask first [PAXLOCK_NODES].",
    )
    @client_key_option
    @talk_options
    @functools.wraps(function)
    def gathered(cell: str | None, nodes: str | None, key_file: str | None, **rest: Any) -> int:
        return function(CellOptions(cell, nodes, key_file), **rest)

    return gathered


def acquire_options(function: AnyCallable) -> AnyCallable:
    """``--ttl``, ``--wait``, ``--try``, ``--label`` and ``--data`` of an acquisition."""
    for option in (
        click.option("--data", type=DATA, default="", help="Up to 512 bytes for all to see."),
        click.option("--label", type=LABEL, help="Who is this, for people; up to 64 bytes."),
        click.option(
            "--try", "try_once", is_flag=True, help="Do not wait for a holder: the same as --wait 0."
        ),
        click.option("--wait", type=DURATION, help="How long to wait at most [default: for ever]."),
        click.option(
            "--ttl",
            type=DURATION,
            help=f"How long the lease lives without renewal {DEFAULT_TTL}.",
        ),
    ):
        function = option(function)
    return function


def patience(wait: float | None, try_once: bool) -> float | None:
    """The waiting time in seconds from ``--wait`` and ``--try``: None is for ever. Raises UsageError."""
    if try_once and wait is not None:
        raise click.UsageError("give --wait or --try, not both: --try is the same as --wait 0")
    return 0.0 if try_once else wait


def json_option(function: AnyCallable) -> AnyCallable:
    """``--json``: one object on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)
