"""``paxlock dev``: a whole cell in one process, for trying things out (contract.md section 1)."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import click
import trio

from paxlock.cli.exits import ExitCode, epilog
from paxlock.cli.options import talk_options
from paxlock.cli.output import emit, say, voice
from paxlock.cli.runtime import run_async
from paxlock.node.dev_cell import open_dev_cell

__all__ = ["dev_command"]


@click.command("dev", epilog=epilog("0 stopped", 64))
@click.option(
    "--nodes",
    type=click.Choice(["1", "3", "5", "7"]),
    default="3",
    show_default=True,
    help="How many nodes.",
)
@talk_options
def dev_command(nodes: str) -> int:
    """Run a whole cell for trying things out.

    The nodes live in this process, in memory, on free loopback ports. The first line on stdout sets
    PAXLOCK_CELL in a shell; the cell ends with this command, on INT or TERM.
    """

    async def serve() -> int:
        with tempfile.TemporaryDirectory(prefix="paxlock-") as folder:  # here: a signal leaves none behind
            path = Path(folder) / "cell.toml"
            async with open_dev_cell(nodes=int(nodes), report=say if voice.verbose else None) as cell:
                cell.save(path)
                emit(f"export PAXLOCK_CELL={shlex.quote(str(path))}")
                addresses = ", ".join(member.address for member in cell.members)
                say(f"a cell serves on {addresses} until Ctrl-C; paste the line above into another terminal")
                await trio.sleep_forever()
        return ExitCode.DONE

    return run_async(serve, stopped=ExitCode.DONE)
