"""``paxlock member``: the nodes of a cell, and another address for one of them (docs/operations.md)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from paxlock.cli.exits import ExitCode, epilog
from paxlock.cli.options import Checked, cell_option, json_option, talk_options
from paxlock.cli.output import JSON_VERSION, emit, format_table, say, to_json
from paxlock.cli.runtime import typed_values
from paxlock.config.cell_file import parse_cell_file, read_text
from paxlock.config.moving import moved
from paxlock.config.replacing import replace_text
from paxlock.config.syntax import check_address
from paxlock.errors import ConfigError
from paxlock.host.families import apart

__all__ = ["member_command"]


def _cell_file(cell: str | None) -> Path:
    found = cell or os.environ.get("PAXLOCK_CELL")
    if not found:
        raise ConfigError("which cell? give --cell or PAXLOCK_CELL, the cell file that 'paxlock init' makes")
    return Path(found)


def _facts(nodes: dict[str, str]) -> str:
    found = [{"id": node_id, "address": address} for node_id, address in nodes.items()]
    return to_json({"v": JSON_VERSION, "nodes": found})


@click.group("member", invoke_without_command=True, epilog=epilog(0, 64, 77, 78))
@click.pass_context
def member_command(context: click.Context) -> None:
    """Show the nodes of a cell, and move one.

    Which ones there are is settled when the cell is made. Where they are may change.
    """
    if context.invoked_subcommand is None:
        raise click.UsageError("say what is to be done: list or move")


@member_command.command("list", epilog=epilog(0, 64, 77, 78))
@cell_option
@json_option
@talk_options
def list_command(cell: str | None, as_json: bool) -> int:
    """List the nodes of a cell, and their addresses in the cell file.

    How they are is told by 'paxlock status'.
    """
    nodes = _nodes(_cell_file(cell))
    emit(_facts(nodes) if as_json else format_table(("NODE", "ADDRESS"), list(nodes.items())))
    return ExitCode.DONE


@member_command.command("move", epilog=epilog(0, 64, 77, 78))
@click.argument("node_id", metavar="ID")
@click.argument("address", metavar="ADDRESS", type=Checked("address", check_address))
@cell_option
@json_option
@talk_options
def move_command(node_id: str, address: str, cell: str | None, as_json: bool) -> int:
    """Write another address of a node into the cell file.

    Nothing else in the file changes, and nothing is sent. The file must be the same on every node and every
    client, and counts at their next start.
    """
    path = _cell_file(cell)
    text, _ = _read(path)
    with typed_values():
        changed = moved(text, node_id, address)
    if changed != text:
        try:
            replace_text(Path(os.path.realpath(path)), changed)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
    nodes = _nodes(path)
    if as_json:
        emit(_facts(nodes))
    if trouble := apart(nodes, node_id):
        say(f"WARNING: {trouble}")  # the others may be moved next
    say(
        f"node {node_id} has the address {address} in {path}: give this file to every node and every client; "
        "it counts at their next start"
    )
    return ExitCode.DONE


def _nodes(path: Path) -> dict[str, str]:
    """As the file says: its key is not needed."""
    _, table = _read(path)
    return {node["id"]: node["address"] for node in table["nodes"]}


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    text = read_text(path, "cell file")
    try:
        return text, parse_cell_file(text)
    except ConfigError as error:
        raise ConfigError(f"cell file {path}: {error}") from error
