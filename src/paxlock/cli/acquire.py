"""``paxlock acquire``, ``renew``, ``release``: leases that outlive the process, by their handles."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import click

from paxlock.cli.exits import ExitCode, Failure, epilog
from paxlock.cli.options import (
    DURATION,
    NAME,
    CellOptions,
    Checked,
    acquire_options,
    client_options,
    json_option,
    patience,
)
from paxlock.cli.output import emit, name_facts, say, seconds, to_json
from paxlock.cli.runtime import connect, run_async, typed_values
from paxlock.cli.waiting import acquire_patiently, why_no_quorum
from paxlock.client.client import Client
from paxlock.client.handle import Handle, parse_handle
from paxlock.errors import ConfigError, LeaseLost, NotAcquired
from paxlock.host.labels import default_label

__all__ = ["acquire_command", "release_command", "renew_command"]

HANDLE_LINE_MAX = 4096
HANDLE_WAIT = "10s"  # a grant whose nodes cannot be reached for long is over by itself


@click.command("acquire", epilog=epilog("0 acquired", 64, 69, 75, 77, 78, 130, durations=True))
@click.argument("name", type=NAME)
@acquire_options
@json_option
@client_options
def acquire_command(
    options: CellOptions,
    name: str,
    ttl: float | None,
    wait: float | None,
    try_once: bool,
    label: str | None,
    data: bytes,
    as_json: bool,
) -> int:
    """Acquire a lease and print its handle.

    The lease outlives this command until its ttl; 'paxlock renew HANDLE' prolongs it, 'paxlock release
    HANDLE' ends it. The handle is a capability: keep it as you would a key.
    """
    limit = patience(wait, try_once)
    settings = options.settings()
    who = default_label() if label is None else label
    if sys.stdout is None:
        raise Failure(ExitCode.USAGE, "stdout is closed, but the handle has to be printed there")

    async def acquire() -> int:
        async with connect(settings, wait=limit) as client:
            held = await acquire_patiently(
                client, name, f"still waiting for {name!r}", ttl=ttl, wait=limit, label=who, data=data
            )
            try:
                left = held.remaining()
                facts = name_facts(
                    name,
                    "led",
                    term=held.term,
                    label=who,
                    data=data,
                    remaining=left,
                    ttl=held.ttl,
                    handle=held.handle,
                )
                emit(to_json(facts) if as_json else held.handle)
            except BaseException:
                await held.release()  # nobody has the handle
                raise
            held.detach()
        say(f"acquired {name!r} with term {held.term}, valid for {seconds(left)}; the handle is on stdout")
        return ExitCode.DONE

    return run_async(acquire)


@asynccontextmanager
async def _told(client: Client, done: str, grant: Handle) -> AsyncIterator[None]:
    """Say what was not done where no quorum answered, or where the grant is over."""
    try:
        yield
    except LeaseLost as error:
        sentence = f"the lease of {grant.name!r} with term {grant.term} is over: acquire it anew"
        raise Failure(ExitCode.LEASE_LOST, sentence) from error
    except NotAcquired as error:
        sentence = f"{grant.name!r} was not {done}: {await why_no_quorum(client)}"
        raise Failure(ExitCode.NO_QUORUM, sentence) from error


def _read_word(text: str) -> str:
    """The handle, or that on the first line of stdin for ``-``: there no list of processes shows it."""
    if text != "-" or sys.stdin is None:
        return text
    line = sys.stdin.readline(HANDLE_LINE_MAX).strip()
    if not line:
        raise ConfigError("there is no handle on stdin: the command before it has printed none")
    return line


def _read_handle(text: str) -> Handle:
    with typed_values():
        return parse_handle(text)


def _of_a_handle(function: Callable[..., int]) -> Callable[..., int]:
    """``HANDLE``, and ``--wait`` of a command that asks a quorum about it."""
    function = click.option(
        "--wait",
        type=DURATION,
        default=HANDLE_WAIT,
        show_default=True,
        help="How long to wait for a quorum at most.",
    )(function)
    return click.argument("handle", metavar="HANDLE", type=Checked("handle", _read_word))(function)


@click.command("renew", epilog=epilog("0 renewed", 64, 69, 77, 78, "79 the grant is over", durations=True))
@_of_a_handle
@json_option
@client_options
def renew_command(options: CellOptions, handle: str, wait: float, as_json: bool) -> int:
    """Renew the lease that a handle names.

    Exactly that grant is renewed, for its own ttl; exit code 79 if it is over. '-' reads the handle
    from stdin.
    """
    grant = _read_handle(handle)
    settings = options.settings()

    async def renew() -> int:
        async with connect(settings, wait=wait) as client, _told(client, "renewed", grant):
            with typed_values():
                left = await client.renew_handle(handle, wait=wait)
        if as_json:
            emit(to_json(name_facts(grant.name, "led", term=grant.term, remaining=left)))
        say(f"renewed {grant.name!r} with term {grant.term}, valid for {seconds(left)}")
        return ExitCode.DONE

    return run_async(renew)


@click.command("release", epilog=epilog("0 released, or over already", 64, 69, 77, 78, durations=True))
@_of_a_handle
@json_option
@client_options
def release_command(options: CellOptions, handle: str, wait: float, as_json: bool) -> int:
    """Release the lease that a handle names.

    Exactly that grant is released, never a newer one; a grant that is over already is fine. '-' reads the
    handle from stdin.
    """
    grant = _read_handle(handle)
    settings = options.settings()

    async def release() -> int:
        async with connect(settings, wait=wait) as client, _told(client, "released", grant):
            with typed_values():
                await client.release_handle(handle, wait=wait)
        if as_json:  # who has the name now is not known here
            emit(to_json(name_facts(grant.name, "unknown", term=grant.term)))
        say(f"released {grant.name!r} with term {grant.term}")
        return ExitCode.DONE

    return run_async(release)
