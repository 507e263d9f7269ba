"""``paxlock grant``: the key of a client, with what it may do (contract.md section 3)."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import click

from paxlock.cli.exits import ExitCode, epilog
from paxlock.cli.options import (
    DURATION,
    NEW_FILE,
    PATTERN,
    cell_option,
    json_option,
    key_file_option,
    talk_options,
)
from paxlock.cli.output import JSON_VERSION, emit, say, to_json
from paxlock.config.cell import Cell, client_settings
from paxlock.config.cell_file import write_new
from paxlock.config.keys import client_key, format_client_key
from paxlock.core.rights import ROOT, Rights, Verb
from paxlock.errors import ConfigError
from paxlock.wire.grants import grant_of

__all__ = ["grant_command"]

KEY_NAME_BYTES = 4
KEY_NAME_MAX = 32


def _read_id(text: str | None) -> str:
    """The id by which this key can be denied: visible characters, which need no quotes anywhere."""
    if text is None:
        return secrets.token_hex(KEY_NAME_BYTES)
    if not (text.isascii() and text.replace("-", "").replace("_", "").replace(".", "").isalnum()):
        raise click.UsageError("--id is made of letters, digits, '-', '_' and '.'")
    if len(text) > KEY_NAME_MAX:
        raise click.UsageError(f"--id has at most {KEY_NAME_MAX} characters")
    return text


def _grantor(cell: str | None, key_file: str | None) -> Cell:
    """The cell, with its own key."""
    found = client_settings(cell, None, key_file).cell
    if found is None:
        raise ConfigError("which cell? give --cell or PAXLOCK_CELL, the cell file that 'paxlock init' makes")
    if found.grant or not found.keys:
        raise ConfigError("keys of clients are made from the cell's own key: give --key-file")
    return found


def _rights(
    key: str,
    verbs: int,
    names: tuple[str, ...],
    ttl_max: float | None,
    expires: float | None,
    generation: int,
) -> Rights:
    if not verbs:
        raise click.UsageError("say what the key is for: --acquire, --observe, --administer, or several")
    return Rights(
        key=key,
        verbs=verbs,
        patterns=names or ("*",),
        ttl_max_ms=round(ttl_max * 1000) if ttl_max is not None else 0,
        expires=int(time.time() + expires) if expires is not None else 0,
        generation=generation,
        owns=ROOT.owns,
    )


def _text(rights: Rights, line: str) -> str:
    verbs = " and ".join((verb.name or "").lower() for verb in Verb if verb & rights.verbs)
    lines = [
        f"# The key {rights.key!r} of a client of paxlock: to {verbs} {' '.join(rights.patterns)}",
        f"# longest ttl: {rights.ttl_max_ms / 1000:g} s"
        if rights.ttl_max_ms
        else "# longest ttl: the cell's",
        time.strftime("# good until %Y-%m-%d %H:%M:%S UTC", time.gmtime(rights.expires))
        if rights.expires
        else "# good until it is denied, or its generation is over",
        line,
    ]
    return "\n".join(lines) + "\n"


@click.command("grant", epilog=epilog(0, 64, 77, 78, durations=True))
@click.argument("file", metavar="[FILE]", required=False, type=NEW_FILE)
@cell_option
@key_file_option
@click.option(
    "--name",
    "names",
    metavar="PATTERN",
    multiple=True,
    type=PATTERN,
    help="A name, or 'jobs/*' [default: all].",
)
@click.option("--acquire", is_flag=True, help="Acquire, renew and release.")
@click.option("--observe", is_flag=True, help="Status, watch, ls.")
@click.option("--administer", is_flag=True, help="Both, and the leases of other keys.")
@click.option("--ttl-max", type=DURATION, help="The longest ttl [default: the cell's max_ttl].")
@click.option("--expires", type=DURATION, help="The key is good for so long [default: for ever].")
@click.option("--id", "key", metavar="ID", help="By which the key can be denied [default: a random one].")
@json_option
@talk_options
def grant_command(
    file: Path | None,
    cell: str | None,
    key_file: str | None,
    names: tuple[str, ...],
    acquire: bool,
    observe: bool,
    administer: bool,
    ttl_max: float | None,
    expires: float | None,
    key: str | None,
    as_json: bool,
) -> int:
    """Make the key of a client from the cell's own key.

    It is written to FILE, readable by its owner only; without FILE, or with '-', to stdout. The client takes
    it in place of the cell's key: --key-file, PAXLOCK_KEY_FILE, PAXLOCK_KEY. Nodes need not be told of it. A
    key is taken back by its id in 'denied' of the nodes' cell file, and all older ones by a higher
    'generation' there.
    """
    root = _grantor(cell, key_file)
    verbs = Verb.ACQUIRE * acquire | Verb.OBSERVE * observe | Verb.ADMINISTER * administer
    rights = _rights(_read_id(key), verbs, names, ttl_max, expires, root.generation)
    try:
        grant = grant_of(rights)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    number, secret = root.keys[0]
    text = _text(rights, format_client_key(number, grant, client_key(secret, grant)))
    if file is not None:
        write_new(file, text, 0o600)
        say(f"wrote {file}, the key {rights.key!r}: give it to the client in place of the cell's key")
    facts = {"v": JSON_VERSION, "id": rights.key, "expires": rights.expires or None}
    if as_json:
        emit(
            to_json(facts | ({"key_file": str(file)} if file is not None else {"key": text.splitlines()[-1]}))
        )
    elif file is None:
        emit(text.rstrip("\n"))
    return ExitCode.DONE
