"""Guards for files on one machine, or on a shared file system on which flock works.

    files.claim("/srv/report.fence", held)                                    # once
    files.replace("/srv/report.txt", body, held, fence="/srv/report.fence")   # for each write

Writing beside and renaming makes a change whole, but is no guard: a stale holder's rename wins if it is
last. So the term is compared and the file is renamed under one flock. A holder that is frozen right there
blocks its successor until it goes on or dies: nothing slow is done under the lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paxlock.errors import ConfigError
from paxlock.fencing.token import Token, cell_of, check, judge, parse_term, unclaimed

__all__ = ["begin", "claim", "replace"]


def claim(fence: str | os.PathLike[str], held: Token) -> None:
    """Make the term the highest. Raises StaleToken if it is not."""
    path = Path(fence)
    with _locked(path):
        check(held)
        if not _passes(path, held):
            stored = {"name": held.name, "cell": cell_of(held), "term": str(held.term)}
            temporary = _written(path, json.dumps(stored).encode())
            _rename(temporary, path)


@contextmanager
def begin(fence: str | os.PathLike[str], held: Token) -> Iterator[None]:
    """A block that runs only if the term is the highest, while nobody else can claim: keep it short."""
    path = Path(fence)
    with _locked(path):
        check(held)
        if not _passes(path, held):
            raise unclaimed(held, str(path))
        yield


def replace(
    target: str | os.PathLike[str], content: bytes, held: Token, *, fence: str | os.PathLike[str]
) -> None:
    """Replace the file as a whole, if the term is the highest. It is on disk when this returns."""
    path = Path(target)
    temporary = _written(path, content)
    try:
        with begin(fence, held):
            _rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _locked(fence: Path) -> Iterator[None]:
    # The lock has a file of its own, which stays: the fence itself is replaced as a whole.
    lock = os.open(f"{fence}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _passes(fence: Path, held: Token) -> bool:
    """Whether this very term is stored. False: an older one, or none. Raises for what may not pass."""
    try:
        stored = json.loads(fence.read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        stored = None
    if not isinstance(stored, dict) or {type(part) for part in stored.values()} != {str}:
        raise ConfigError(f"{fence} is not a fence of paxlock: give another path, or restore the file")
    if stored.get("name") != held.name:
        raise ConfigError(f"{fence} is the fence of {stored.get('name')!r}, not of {held.name!r}")
    return judge(held, stored.get("cell"), parse_term(stored.get("term", "")), str(fence))


def _written(target: Path, content: bytes) -> Path:
    """A file beside the target with this content, on disk, with the target's mode."""
    try:
        mode = target.stat().st_mode & 0o7777
    except FileNotFoundError:
        mode = 0o644
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)


def _rename(temporary: Path, target: Path) -> None:
    temporary.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
