"""Changing a key file of a cell: which root keys there are, and which of them seals (contract.md section 1).

The first key of the file seals, all open. Comments stay with the key below them. The file is replaced in one
step, so whoever reads it meanwhile sees the old keys or the new ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import attrs

from paxlock.config.cell_file import KEYS_MAX, StrPath, parse_keys, read_text
from paxlock.config.keys import CLIENT_PREFIX, key_id, parse_key
from paxlock.config.replacing import replace_text
from paxlock.errors import ConfigError

__all__ = ["KeyLine", "added", "change_keys", "dropped", "key_lines", "promoted"]


@attrs.frozen
class KeyLine:
    """One root key of a key file, its id, and the comments above it."""

    number: int
    line: str = attrs.field(repr=False)
    above: tuple[str, ...] = ()


def key_lines(path: StrPath) -> list[KeyLine]:
    """The root keys of a key file, in order: the first seals. Raises ConfigError."""
    return _split(read_text(path, "key file", private=True), path)[0]


def _split(text: str, path: StrPath) -> tuple[list[KeyLine], list[str]]:
    """The keys, and what stands behind the last one."""
    parse_keys(text, f"key file {path}")
    found: list[KeyLine] = []
    above: list[str] = []
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):
            above.append(line)
        elif line.startswith(CLIENT_PREFIX):
            raise ConfigError(f"{path} has the key of a client: it is made anew by 'paxlock grant'")
        else:
            found.append(KeyLine(key_id(parse_key(line)), line, tuple(above)))
            above = []
    return found, above


def added(keys: list[KeyLine], more: list[KeyLine]) -> list[KeyLine]:
    """With these keys behind the others: they open, and do not seal. Those that are there already stay."""
    known = {key.line for key in keys}
    fresh = [key for key in more if key.line not in known]
    clash = {key.number for key in keys} & {key.number for key in fresh}
    if clash:
        raise ConfigError(
            f"the id {min(clash)} is that of another key already, by chance: make one more with 'paxlock "
            "key new', and take that"
        )
    if len(keys) + len(fresh) > KEYS_MAX:
        raise ConfigError(f"a key file holds at most {KEYS_MAX} keys: drop those that are not used any more")
    return keys + fresh


def promoted(keys: list[KeyLine], number: int) -> list[KeyLine]:
    """With this key as the one that seals."""
    found = _find(keys, number)
    return [found, *(key for key in keys if key is not found)]


def dropped(keys: list[KeyLine], number: int) -> list[KeyLine]:
    """Without this key, which must not be the one that seals."""
    found = _find(keys, number)
    if found is keys[0]:
        raise ConfigError(
            f"key {number} is the one that seals: promote another one first, everywhere, and drop it then"
        )
    return [key for key in keys if key is not found]


def _find(keys: list[KeyLine], number: int) -> KeyLine:
    for key in keys:
        if key.number == number:
            return key
    known = ", ".join(str(key.number) for key in keys)
    raise ConfigError(f"there is no key {number} in the key file: it has {known}")


def change_keys(path: StrPath, change: Callable[[list[KeyLine]], list[KeyLine]]) -> list[KeyLine]:
    """Change the keys of a file, which keeps its mode and its user. Gives the keys it has then; where nothing
    changes, nothing is written. Raises ConfigError.
    """
    real = Path(os.path.realpath(path))
    keys, end = _split(read_text(real, "key file", private=True), path)
    changed = change(keys)
    if changed != keys:
        lines = [line for key in changed for line in (*key.above, key.line)] + end
        try:
            replace_text(real, "".join(line + "\n" for line in lines))
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from error
    return changed
