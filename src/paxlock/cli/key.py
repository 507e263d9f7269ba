"""``paxlock key``: the root keys of a cell, and which of them seals (docs/keys.md)."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from paxlock.cli.exits import ExitCode, epilog
from paxlock.cli.options import (
    NEW_FILE,
    cell_option,
    json_option,
    key_file_option,
    talk_options,
    whole_number,
)
from paxlock.cli.output import JSON_VERSION, emit, format_table, say, to_json
from paxlock.cli.runtime import typed_values
from paxlock.config.cell import client_settings
from paxlock.config.cell_file import write_new
from paxlock.config.key_file import KeyLine, added, change_keys, dropped, key_lines, promoted
from paxlock.config.keys import format_key, key_id, new_key
from paxlock.errors import ConfigError

__all__ = ["key_command"]

AND_THEN = "have the nodes read it anew: systemctl reload, or kill -HUP"
KEY_ID = whole_number("id", 1, 255, "the id of a key: give the number that `paxlock key list` shows")


def _key_file(cell: str | None, key_file: str | None) -> Path:
    """The file that is meant: the one given, or that of the cell file."""
    given = key_file or os.environ.get("PAXLOCK_KEY_FILE")
    if given:
        return Path(given)
    cell = cell or os.environ.get("PAXLOCK_CELL")
    if not cell:
        raise ConfigError("which key file? give --key-file, or --cell for the one of a cell file")
    found = client_settings(cell, environ={}).cell
    source = found.source if found is not None else None
    if source is None or source.key_file is None:
        raise ConfigError(f"the cell file {cell} names no key file: give --key-file")
    return source.key_file


def _show(keys: list[KeyLine]) -> None:
    rows = [(str(key.number), "seals and opens" if at == 0 else "opens") for at, key in enumerate(keys)]
    emit(format_table(("KEY", "USE"), rows))


def _facts(path: Path, keys: list[KeyLine]) -> str:
    found = [{"id": key.number, "seals": at == 0} for at, key in enumerate(keys)]
    return to_json({"v": JSON_VERSION, "key_file": str(path), "keys": found})


def _change(path: Path, change: Callable[[list[KeyLine]], list[KeyLine]], as_json: bool) -> int:
    before = key_lines(path)
    with typed_values():
        change(before)  # what was typed may not fit the file
    keys = change_keys(path, change)
    if as_json:
        emit(_facts(path, keys))
    seals = f"key {keys[0].number} seals, {', '.join(str(key.number) for key in keys)} open"
    say(f"{path}: {seals}" + (f"; {AND_THEN}" if keys != before else "; nothing was to be changed"))
    return ExitCode.DONE


@click.group("key", invoke_without_command=True, epilog=epilog(0, 64, 77, 78))
@click.pass_context
def key_command(context: click.Context) -> None:
    """Make the root keys of a cell, and change them while it runs.

    A key file holds several root keys: the first seals, all open. So a cell is taken from one key to another
    in steps, each on every node before the next: add, promote, drop; after each step the nodes read the file
    anew at HUP. The id of a key is a number from 1 to 255, which each datagram shows.
    """
    if context.invoked_subcommand is None:
        raise click.UsageError("say what is to be done: new, list, add, promote or drop")


@key_command.command("new", epilog=epilog(0, 64, 77, 78))
@click.argument("file", metavar="[FILE]", required=False, type=NEW_FILE)
@json_option
@talk_options
def new_command(file: Path | None, as_json: bool) -> int:
    """Make a root key.

    It is written to FILE, readable by its owner only; without FILE, or with '-', to stdout.
    """
    key = new_key()
    number, line = key_id(key), format_key(key)
    if file is not None:
        write_new(file, line + "\n", 0o600)
        say(f"wrote {file}, with key {number}: bring it to all nodes, and there run 'paxlock key add'")
    if as_json:
        where = {"key_file": str(file)} if file is not None else {"key": line}
        emit(to_json({"v": JSON_VERSION, "id": number} | where))
    elif file is None:
        emit(line)
    return ExitCode.DONE


@key_command.command(
    "list", short_help="Show the ids of the keys, and which seals.", epilog=epilog(0, 64, 77, 78)
)
@cell_option
@key_file_option
@json_option
@talk_options
def list_command(cell: str | None, key_file: str | None, as_json: bool) -> int:
    """Show the ids of the keys in a key file, and which of them seals."""
    path = _key_file(cell, key_file)
    keys = key_lines(path)
    if as_json:
        emit(_facts(path, keys))
    else:
        _show(keys)
    return ExitCode.DONE


@key_command.command(
    "add", short_help="Add a key: it opens, and does not seal yet.", epilog=epilog(0, 64, 77, 78)
)
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, readable=False, path_type=Path))
@cell_option
@key_file_option
@json_option
@talk_options
def add_command(file: Path, cell: str | None, key_file: str | None, as_json: bool) -> int:
    """Add the key in FILE, which 'paxlock key new' has made: it opens, and does not seal yet."""
    return _change(_key_file(cell, key_file), partial(added, more=key_lines(file)), as_json)


@key_command.command("promote", epilog=epilog(0, 64, 77, 78))
@click.argument("number", metavar="ID", type=KEY_ID)
@cell_option
@key_file_option
@json_option
@talk_options
def promote_command(number: int, cell: str | None, key_file: str | None, as_json: bool) -> int:
    """Seal by the key with this id. First every node must open by it."""
    return _change(_key_file(cell, key_file), partial(promoted, number=number), as_json)


@key_command.command(
    "drop", short_help="Take a key out: what it seals is refused.", epilog=epilog(0, 64, 77, 78)
)
@click.argument("number", metavar="ID", type=KEY_ID)
@cell_option
@key_file_option
@json_option
@talk_options
def drop_command(number: int, cell: str | None, key_file: str | None, as_json: bool) -> int:
    """Take the key with this id out: what it seals, and the keys of clients made from it, are refused."""
    return _change(_key_file(cell, key_file), partial(dropped, number=number), as_json)
