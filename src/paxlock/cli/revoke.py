"""``paxlock revoke`` and ``transfer``: an operator ends the tenure of somebody else, or hands a name over
(contract.md section 3, protocol.md section 12).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from paxlock.cli.exits import ExitCode, Failure, epilog
from paxlock.cli.options import DURATION, LABEL, NAME, CellOptions, client_options, json_option, whole_number
from paxlock.cli.output import emit, name_facts, say, seconds, to_json
from paxlock.cli.runtime import connect, run_async, typed_values
from paxlock.cli.waiting import why_no_quorum
from paxlock.client.client import Client
from paxlock.client.standing import State
from paxlock.core.lease import TERM_MAX
from paxlock.errors import NotAcquired, NotAllowed, Reason

__all__ = ["revoke_command", "transfer_command"]

WAIT = "10s"
TERM = whole_number("term", 1, TERM_MAX, "a term: give the number that `paxlock status NAME` shows")
wait_option = click.option(
    "--wait",
    type=DURATION,
    default=WAIT,
    show_default=True,
    help="How long to wait at most, for a quorum and for the holder to let go.",
)


@asynccontextmanager
async def _told(client: Client, name: str, done: str, advice: str) -> AsyncIterator[None]:
    """Say what was not done where no quorum answered, or where the holder has not let go."""
    try:
        with typed_values():
            yield
    except NotAcquired as error:
        if error.reason is Reason.NO_QUORUM:
            sentence = f"{name!r} was not {done}: {await why_no_quorum(client)}"
            raise Failure(ExitCode.NO_QUORUM, sentence) from error
        holder = f", held by {error.holder!r}," if error.holder else ""
        raise Failure(
            ExitCode.HELD, f"{name!r}{holder} was not {done} in time: {error.detail}{advice}"
        ) from error


async def _over_already(client: Client, name: str, term: int) -> str:
    """That there is nothing to end, in a sentence; ``""`` where there may be. Only words hang on it."""
    try:
        standing = await client.poll(name)
    except NotAllowed:
        return ""  # that it may not administer either is for the verb to say
    if standing.state is State.FREE:
        return f"nobody holds {name!r}: there was nothing to end"
    if standing.state is State.LED and standing.term > term:
        return f"term {term} of {name!r} is over already: it is led in term {standing.term}"
    return ""


@click.command(
    "revoke",
    epilog=epilog(
        "0 done, or nobody holds that term any more",
        64,
        69,
        "75 its holder has not let go",
        77,
        78,
        durations=True,
    ),
)
@click.argument("name", type=NAME)
@click.argument("term", type=TERM)
@click.option("--polite", is_flag=True, help="Ask the holder to let go.")
@click.option(
    "--force",
    is_flag=True,
    help="Refuse its renewals too: it holds until its deadline, a ttl at most, and nobody else does.",
)
@wait_option
@json_option
@client_options
def revoke_command(
    options: CellOptions, name: str, term: int, polite: bool, force: bool, wait: float, as_json: bool
) -> int:
    """End the tenure of somebody else.

    The grant is named by its term, which 'paxlock status NAME' shows; one that is over already is fine, and
    so is a name that nobody holds: it says so.
    The holder is told at once: a block's body is cancelled, the command of 'paxlock run' gets TERM. The
    next in line gets the name when its program, or that command, has ended. Needs a key that may
    administer the name.
    """
    if polite and force:
        raise click.UsageError("give --polite or --force, not both")
    if not (polite or force):
        raise click.UsageError("say how: --polite, or --force")
    settings = options.settings()

    async def revoke() -> int:
        async with (
            connect(settings, wait=wait) as client,
            _told(client, name, "revoked", "; --force ends its renewals"),
        ):
            over = await _over_already(client, name, term)
            left = await client.revoke(name, term, force=force, wait=wait)
            over = "" if left else over  # it may have been acquired meanwhile
        if as_json:
            facts = name_facts(name, "led" if left else "unknown", term=term, remaining=left)
            emit(to_json(facts | {"revoked": not over}))
        after = f"; its lease is held for {seconds(left)} more at most" if left else ", and it is over"
        say(over or f"revoked {name!r} of term {term}{after}")
        return ExitCode.DONE

    return run_async(revoke)


@click.command(
    "transfer",
    epilog=epilog("0 handed over", "64 bad usage, or nobody to hand over to", 69, 75, 77, 78, durations=True),
)
@click.argument("name", type=NAME)
@click.option("--to", "to", type=LABEL, required=True, help="The label of one who waits for the name.")
@wait_option
@json_option
@client_options
def transfer_command(options: CellOptions, name: str, to: str, wait: float, as_json: bool) -> int:
    """Hand a name over to one who waits for it.

    The holder is asked to let go, as by 'paxlock revoke --polite'; the one with this label, of several the
    one who has waited for longest, gets the name before all others in line. 'paxlock status NAME' shows
    who waits. Needs a key that may administer the name.
    """
    settings = options.settings()

    async def transfer() -> int:
        async with (
            connect(settings, wait=wait) as client,
            _told(client, name, f"handed over to {to!r}", ""),
        ):
            term = await client.transfer(name, to=to, wait=wait)
        if as_json:
            emit(to_json(name_facts(name, "led", term=term, label=to)))
        say(f"handed {name!r} over to {to!r}, with term {term}")
        return ExitCode.DONE

    return run_async(transfer)
