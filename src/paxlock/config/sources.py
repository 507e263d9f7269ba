"""Where the keys of a cell were read from, so that they can be read anew while a node or client runs."""

from __future__ import annotations

from pathlib import Path

import attrs

from paxlock.config.cell_file import Keys, StrPath, given_keys

__all__ = ["Source", "signature"]


def _to_path(path: StrPath | None) -> Path | None:
    return None if path is None else Path(path).absolute()


@attrs.frozen
class Source:
    """The files that a cell was read from, and the text of its key where that was given as a text.

    ``key_given``: the key file, or the text, was given in the place of the one that the cell file names.
    Paths are absolute: a process may change its folder later on.
    """

    cell_file: Path | None = attrs.field(default=None, converter=_to_path)
    key_file: Path | None = attrs.field(default=None, converter=_to_path)
    key: str | None = attrs.field(default=None, repr=False)
    key_given: bool = False

    def keys(self) -> Keys:
        """The keys as they are there now. Raises ConfigError."""
        return given_keys(self.key_file, self.key)


def signature(path: Path) -> tuple[int, ...] | None:
    """What changes whenever a file is replaced, written, or made readable; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
