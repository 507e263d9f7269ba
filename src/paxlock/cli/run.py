"""``paxlock run``: a command that lives only while the lease does (contract.md section 3)."""

from __future__ import annotations

import os

import click

from paxlock.cli.exits import Failure, epilog, explain, unwrap
from paxlock.cli.gc_pauses import load
from paxlock.cli.options import (
    DURATION,
    NAME,
    CellOptions,
    acquire_options,
    client_options,
    patience,
    whole_number,
)
from paxlock.errors import NotAcquired, Reason

__all__ = ["run_command"]

EXIT_CODE_MAX = 255


class CommandBehindDashes(click.Command):
    """Options of the command that stands behind ``--``, without the ``--``, are a common slip."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        dashed = "--" in args
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if dashed:
                raise
            sentence = (
                f"no such option: {error.option_name}; if it is the command's, put -- before the command"
            )
            raise click.UsageError(sentence, ctx) from error


@click.command(
    "run",
    cls=CommandBehindDashes,
    epilog=epilog(
        "that of COMMAND or 128 + its signal", 64, 69, 75, 77, 78, 79, 126, 127, 130, durations=True
    ),
)
@click.argument("name", type=NAME)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@acquire_options
@click.option(
    "--kill-after",
    type=DURATION,
    help="The time between TERM and KILL when the lease is lost [default: 2s, at most a fifth of the ttl].",
)
@click.option(
    "--at-least",
    type=DURATION,
    default="0",
    help="Keep the name so long, also if the command ends earlier: then nobody runs it a second time. "
    "A smaller ttl is raised to it.",
)
@click.option(
    "--foreground",
    is_flag=True,
    help="Keep the terminal: the command can read from it, and gets Ctrl-C and Ctrl-Z from it.",
)
@click.option(
    "-E",
    "--conflict-exit-code",
    "held_code",
    type=whole_number("code", 0, EXIT_CODE_MAX, f"an exit code: give a number from 0 to {EXIT_CODE_MAX}"),
    metavar="CODE",
    help="End with this code instead of 75 when somebody else has the name.",
)
@client_options
def run_command(
    options: CellOptions,
    name: str,
    command: tuple[str, ...],
    ttl: float | None,
    wait: float | None,
    try_once: bool,
    label: str | None,
    data: bytes,
    kill_after: float | None,
    at_least: float,
    foreground: bool,
    held_code: int | None,
) -> int:
    """Run a command while holding a lease.

    The command gets PAXLOCK_NAME, PAXLOCK_TERM (the fencing token), PAXLOCK_CELL_ID and PAXLOCK_HANDLE. If
    the lease cannot be renewed in time it gets TERM and then KILL, before anybody else can hold the name,
    even if this process is itself killed, stopped or cut off; the exit code is 79 then, else the command's
    own. INT, TERM, HUP, QUIT, USR1 and USR2 are passed on to the command, and no KILL follows them: while the
    lease is renewed, the command ends when it likes.
    """
    load("paxlock.cli.runner")
    from paxlock.cli.runner import (
        Order,
        run_order,
    )  # here, because it takes time to load: --help does without

    order = Order(
        settings=options.settings(),
        name=name,
        ttl=ttl,
        wait=patience(wait, try_once),
        label=label,
        data=data,
        kill_after=kill_after,
        at_least=at_least,
        foreground=foreground,
        argv=command,
        environment=dict(os.environ) | options.environment(),
    )
    try:
        return run_order(order)
    except (NotAcquired, ExceptionGroup) as error:
        refused = unwrap(error)
        if held_code is None or not isinstance(refused, NotAcquired) or refused.reason is Reason.NO_QUORUM:
            raise
        raise Failure(held_code, explain(refused)[1]) from error
