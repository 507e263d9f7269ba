"""``paxlock init``: the cell file and the key of a new cell (contract.md section 1)."""

from __future__ import annotations

from pathlib import Path

import click

from paxlock.cli.exits import ExitCode, epilog
from paxlock.cli.options import DURATION, json_option, talk_options
from paxlock.cli.output import JSON_VERSION, emit, say, to_json
from paxlock.cli.runtime import typed_values
from paxlock.config.cell import Cell, check_address, check_node_id
from paxlock.core.messages import Member
from paxlock.errors import ConfigError
from paxlock.host.families import apart

__all__ = ["init_command"]


def _read_members(nodes: tuple[str, ...]) -> list[Member]:
    members = []
    for text in nodes:
        node_id, equals, address = text.partition("=")
        if not equals:
            raise click.UsageError(f"{text!r} is not ID=ADDRESS: write a node like a=10.0.0.7:7400")
        members.append(Member(check_node_id(node_id), check_address(address)))
    return members


def _check_reach(cell: Cell) -> None:
    """Raise ConfigError where a node would refuse to start, as it cannot reach another one."""
    addresses = {member.node_id: member.address for member in cell.members}
    for node_id in addresses:
        if trouble := apart(addresses, node_id):
            raise ConfigError(trouble)


@click.command("init", epilog=epilog(0, 64, 77, 78, durations=True))
@click.argument("cell_file", metavar="CELLFILE", type=click.Path(dir_okay=False, readable=False))
@click.argument("nodes", metavar="ID=ADDRESS...", nargs=-1, required=True)
@click.option(
    "--max-ttl",
    type=DURATION,
    default="30s",
    show_default=True,
    help="The longest ttl allowed, and how long a node without a memory sits out.",
)
@click.option(
    "--drift",
    type=float,
    default=0.01,
    show_default=True,
    help="How wrong the rate of a clock may be: 0.01 is 1 %.",
)
@click.option(
    "--grace",
    type=DURATION,
    help="What a round trip is taken for until it is measured [default: 200ms, or max_ttl / 4].",
)
@json_option
@talk_options
def init_command(
    cell_file: str, nodes: tuple[str, ...], max_ttl: float, drift: float, grace: float | None, as_json: bool
) -> int:
    """Make the cell file and the key of a new cell.

    A cell has 1, 3, 5 or 7 nodes. The key is written beside the cell file (cell.toml, cell.key), readable by
    its owner only; every node and every client needs both files. Nothing is ever overwritten.
    """
    path = Path(cell_file)
    if path.name in ("", "-") or path.suffix == ".key" or "=" in path.name:
        raise click.UsageError(f"{cell_file!r} is no name for a cell file: give one like cell.toml")
    with typed_values():
        cell = Cell.new(_read_members(nodes), max_ttl=max_ttl, drift=drift, grace=grace)
        _check_reach(cell)
    cell.save(path)
    key_path = path.with_suffix(".key")
    if as_json:
        facts = {
            "v": JSON_VERSION,
            "cell_id": cell.cell_id.hex(),
            "cell_file": str(path),
            "key_file": str(key_path),
        }
        emit(to_json(facts))
    say(
        f"wrote {path} and {key_path}: copy both to every node, and to clients that may do all (others "
        f"get a key from 'paxlock grant'), keep the key secret, and start each node with "
        f"'paxlock serve --cell {path} --node ID --data-dir FOLDER'"
    )
    return ExitCode.DONE
