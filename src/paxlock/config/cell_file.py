"""Reading and writing the cell file and its key file (contract.md section 1)."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from paxlock.config.durations import abbreviate, parse_duration
from paxlock.config.keys import CLIENT_PREFIX, key_id, parse_client_key, parse_key
from paxlock.errors import ConfigError

__all__ = [
    "Keys",
    "StrPath",
    "duration_of",
    "format_moment",
    "given_keys",
    "identified",
    "key_given",
    "moment_of",
    "parse_cell_file",
    "parse_keys",
    "read_key_file",
    "read_text",
    "toml_string",
    "write_new",
]

KEYS_MAX = 8
BYTE_ORDER_MARK = "\ufeff"  #: of some editors
FILE_MAX_BYTES = 65_536
INTEGER_MAX_BITS = 64  #: as TOML has them

StrPath: TypeAlias = str | os.PathLike[str]
Keys: TypeAlias = tuple[tuple[tuple[int, bytes], ...], bytes]  #: (key id, key)..., and a client's grant


def identified(keys: Iterable[bytes]) -> tuple[tuple[int, bytes], ...]:
    """Each key with the id by which datagrams name it, as (key id, key)."""

    return tuple((key_id(key), key) for key in keys)


def given_keys(key_file: StrPath | None, key: str | None) -> Keys:
    """The keys that were given apart from the cell file: in a file, or as its text. Raises ConfigError."""
    if key_file is not None:
        return read_key_file(key_file)
    return parse_keys(key, "key given by key= or PAXLOCK_KEY") if key is not None else ((), b"")


def key_given(key_file: StrPath | None, environ: Mapping[str, str]) -> tuple[StrPath | None, str | None]:
    """The key file that was given, or a key in the environment: a flag wins, then the file."""
    key_file = key_file or environ.get("PAXLOCK_KEY_FILE") or None
    return key_file, None if key_file is not None else environ.get("PAXLOCK_KEY") or None


def read_key_file(path: StrPath) -> tuple[tuple[tuple[int, bytes], ...], bytes]:
    """Read the key file of a cell, or that of a client: the keys as (key id, key),
    and the client's grant, empty for a cell's keys. Raises ConfigError.
    """
    return parse_keys(read_text(path, "key file", private=True), f"key file {path}")


def parse_keys(text: str, where: str) -> tuple[tuple[tuple[int, bytes], ...], bytes]:
    """The keys in a text: see `read_key_file`. ``where`` it comes from, for people."""
    lines = _key_lines(text)
    if len(lines) == 1 and lines[0].startswith(CLIENT_PREFIX):
        try:
            number, grant, key = parse_client_key(lines[0])
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
        return ((number, key),), grant
    return _root_keys(lines, where), b""


def _key_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _root_keys(lines: list[str], where: str) -> tuple[tuple[int, bytes], ...]:
    if any(line.startswith(CLIENT_PREFIX) for line in lines):
        raise ConfigError(
            f"the {where} has the key of a client: a node needs the cell's own, and a client's file "
            f"has one line"
        )
    if not 1 <= len(lines) <= KEYS_MAX:
        raise ConfigError(f"the {where} must hold 1 to {KEYS_MAX} keys, one a line, not {len(lines)}")
    try:
        keys = tuple(parse_key(line) for line in lines)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    pairs = identified(keys)
    if len(dict(pairs)) < len(pairs):
        raise ConfigError(f"two keys in the {where} are the same or share a key id: replace one of them")
    return pairs


def _open_without_waiting(path: str, flags: int) -> int:
    """So that a pipe in the place of a file is refused after it was opened, instead of blocking."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check_private(what: str, path: StrPath, status: os.stat_result, handle: int) -> None:
    """Nobody may read it but its owner, or root and a group, as with mounted secrets, or all who can see a
    read-only file system of root's; and nobody else may write it (contract.md section 1).
    """
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"the {what} {path} belongs to another user: run chown, or start this as that user")
    of_root = status.st_uid == 0 and not mode & 0o022
    read_only = bool(os.fstatvfs(handle).f_flag & os.ST_RDONLY)
    if mode & 0o077 and not (of_root and (read_only or not mode & 0o007)):
        raise ConfigError(f"the {what} {path} must be readable by its owner only: run chmod 600 {path}")


def read_text(path: StrPath, what: str, *, private: bool = False) -> str:
    """Read a small UTF-8 file; with ``private``, refuse one that others may use too. Raises ConfigError."""
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"the {what} {path} is not a regular file")
            if private:
                _check_private(what, path, status, file.fileno())
            content = file.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {what} {path}: check the path, or make one with 'paxlock init'"
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"the {what} {str(path)!r} cannot be read: {reason}") from error
    if len(content) > FILE_MAX_BYTES:
        raise ConfigError(f"the {what} {path} is above {FILE_MAX_BYTES} bytes: this cannot be the right file")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"the {what} {path} is not UTF-8 text") from error
    if text.startswith(BYTE_ORDER_MARK):
        raise ConfigError(f"the {what} {path} begins with a byte order mark: save it as UTF-8 without one")
    return text


def write_new(path: Path, text: str, mode: int) -> None:
    """Write a file that must not exist yet; what a failed attempt made is removed again."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists and is never overwritten: move it away, or choose another"
        ) from None
    except FileNotFoundError as error:
        raise ConfigError(f"{path} cannot be written: make the folder {path.parent} first") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{str(path)!r} cannot be written: {why}") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
    except (OSError, ValueError) as error:
        path.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error}") from error


_Kinds: TypeAlias = dict[str, tuple[type, ...]]
_FILE_KEYS: _Kinds = {"cell": (dict,)}
_NODE_KEYS: _Kinds = {"id": (str,), "address": (str,)}
_CELL_KEYS: _Kinds = {
    "id": (str,),
    "epoch": (int,),
    "created": (datetime,),
    "max_ttl": (str,),
    "sit_out": (str,),
    "drift": (float, int),
    "grace": (str,),
    "key_file": (str,),
    "insecure": (bool,),
    "generation": (int,),
    "denied": (list,),
    "nodes": (list,),
}
_DENIED = "a list of ids of keys"
_REQUIRED = ("cell", "id", "epoch", "nodes", "address")
_KIND_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "a list of {id = ..., address = ...}",
    dict: "a table",
    datetime: "a time like 2026-01-31T12:00:00Z",
}


def _checked_table(table: object, kinds: _Kinds, where: str) -> dict[str, Any]:
    """Check that a table of the cell file has the keys it must have, no unknown ones, and the right types."""
    if type(table) is not dict:
        raise ConfigError(f"{where} must be a table, not {abbreviate(table)}")
    for key in table:
        if key not in kinds:
            import difflib

            near = difflib.get_close_matches(key, kinds, n=1, cutoff=0.0)
            raise ConfigError(f"unknown key {abbreviate(key)} in {where}; did you mean {near[0]!r}?")
    for key, value in table.items():
        if type(value) is int and value.bit_length() > INTEGER_MAX_BITS:
            raise ConfigError(f"{key} in {where} has too many digits: {abbreviate(value)}")
    for key, allowed in kinds.items():
        if key in table and type(table[key]) not in allowed:
            kind = _DENIED if key == "denied" else _KIND_NAMES[allowed[0]]
            raise ConfigError(f"{key} in {where} must be {kind}, not {abbreviate(table[key])}")
        if key not in table and key in _REQUIRED:
            raise ConfigError(f"{key} is missing in {where}")
    return table


def parse_cell_file(text: str) -> dict[str, Any]:
    """Parse the text of a cell file and return its table ``cell``, with the type of every value checked.

    The entries of ``nodes`` are tables with the texts ``id`` and ``address``. Raises ConfigError naming the
    key at fault; unknown keys are refused.
    """
    import tomllib

    try:
        file = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # plain ValueError: a number with too many digits
        raise ConfigError(f"this is not TOML: {error}") from error
    table = _checked_table(_checked_table(file, _FILE_KEYS, "the file")["cell"], _CELL_KEYS, "[cell]")
    if re.fullmatch(r"[0-9a-fA-F]{32}", table["id"]) is None:
        raise ConfigError(f"id in [cell] must be 32 hexadecimal digits, not {abbreviate(table['id'])}")
    for denied in table.get("denied", ()):
        if type(denied) is not str:
            raise ConfigError(f"denied in [cell] must be {_DENIED}, not of {abbreviate(denied)}")
    for node in table["nodes"]:
        _checked_table(node, _NODE_KEYS, "an entry of nodes")
    return table


def duration_of(table: dict[str, Any], key: str, default: float) -> float:
    """The duration under ``key`` in seconds, or the default; ConfigError naming the key."""
    try:
        return parse_duration(table[key]) if key in table else default
    except ConfigError as error:
        raise ConfigError(f"{key} in [cell]: {error}") from error


def moment_of(table: dict[str, Any], key: str) -> int:
    """The unix second under ``key``, 0 where there is none; a time without an offset is UTC."""
    found = table.get(key)
    if found is None:
        return 0
    try:
        return max(0, int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()))
    except (OverflowError, ValueError) as error:
        raise ConfigError(f"{key} in [cell]: {error}") from error


def format_moment(unix: int) -> str:
    """A unix second as TOML writes it, in UTC."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def toml_string(text: str) -> str:
    """The text as a basic string of TOML, in quotes."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
