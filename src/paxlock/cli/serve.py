"""``paxlock serve``: one node of a cell, until it is told to stop."""

from __future__ import annotations

import click

from paxlock.cli.exits import ExitCode, epilog
from paxlock.cli.gc_pauses import short_pauses
from paxlock.cli.options import Checked, cell_option, key_file_option, talk_options
from paxlock.cli.output import say
from paxlock.cli.runtime import run_async, typed_values
from paxlock.config.cell import check_address, check_node_id, node_settings
from paxlock.config.starts import StartWord, start_word
from paxlock.node.server import serve_node

__all__ = ["serve_command"]

ADDRESS = Checked("address", check_address)
NODE_ID = Checked("node id", check_node_id)


@click.command("serve", epilog=epilog("0 stopped", 64, 77, 78))
@cell_option
@click.option(
    "--node", "node_id", metavar="ID", type=NODE_ID, help="Which node of the cell this is [PAXLOCK_NODE]."
)
@click.option("--data-dir", metavar="FOLDER", help="Where this node keeps its record [PAXLOCK_DATA_DIR].")
@key_file_option
@click.option(
    "--start",
    metavar="WORD",
    type=click.Choice([word.value for word in StartWord]),
    default=StartWord.AUTO.value,
    show_default=True,
    help="What is known of the cell: auto finds out by itself, create says that it is new, join that this "
    "node's memory is lost.",
)
@click.option("--create", is_flag=True, help="Short for --start create.")
@click.option("--join", is_flag=True, help="Short for --start join.")
@click.option(
    "--durability",
    type=click.Choice(["record", "memory"]),
    default="record",
    show_default=True,
    help="What is on disk; memory needs no folder.",
)
@click.option("--listen", type=ADDRESS, help="Bind this address instead of the node's own.")
@talk_options
def serve_command(
    cell: str | None,
    node_id: str | None,
    data_dir: str | None,
    key_file: str | None,
    start: str,
    create: bool,
    join: bool,
    durability: str,
    listen: str | None,
) -> int:
    """Run one node of a cell.

    Stops cleanly on TERM and INT: the leases that it knows survive a quick restart.
    """
    with typed_values():
        word = start_word(start, create=create, join=join)
    config = node_settings(cell, node_id, data_dir, key_file=key_file, durability=durability, listen=listen)

    async def serve() -> int:
        await serve_node(config, start=word, report=say)
        return ExitCode.DONE

    with short_pauses():
        return run_async(serve, stopped=ExitCode.DONE)
