"""Holders with a last will as processes of their own, their guardians, and who waits for what they hold."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paxlock.blocking import Client
from tests.blocking.cells import PATIENCE_S, Script, until

__all__ = ["FACES", "HOLDER", "TTL_S", "Waiter", "alive", "guardians_of", "in_line"]

FACES = ("trio", "asyncio", "blocking")
HOLDER = str(Path(__file__).parent / "programs" / "holder.py")
TTL_S = 10.0  #: of the holder


def guardians_of(holder: int) -> list[int]:
    """Those that run the guardian's script and hold a pidfd of this process; the one that starts it too."""
    watched = f"\nPid:\t{holder}\n"
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and "last_will.py" in read(entry / "cmdline")
        and any(watched in read(info) for info in files_in(entry / "fdinfo"))
    ]


def read(path: Path) -> str:
    """What is there, "" if it has gone meanwhile."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def files_in(folder: Path) -> list[Path]:
    """What is in a folder, nothing if it has gone meanwhile."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def guardian_of(holder: int) -> int:
    """The guardian of this process, once it is up and not its child any more."""
    found: list[int] = []

    def is_up() -> bool:
        found[:] = [pid for pid in guardians_of(holder) if parent_of(pid) != holder]
        return len(found) == 1

    until(is_up, "the guardian is up")
    return found[0]


def parent_of(pid: int) -> int:
    """The process whose child this is; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def alive(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Waiter:
    """A thread that waits for a name, and notes when it holds it."""

    def __init__(self, client: Client, name: str) -> None:
        self.held_at: float | None = None
        self.term = 0
        self._client, self._name = client, name
        self._thread = threading.Thread(target=self._wait, daemon=True)
        self._thread.start()

    def _wait(self) -> None:
        with self._client.lock(self._name, ttl=TTL_S) as held:
            self.held_at, self.term = time.monotonic(), held.term

    def done(self) -> float:
        """When it held the name."""
        self._thread.join(PATIENCE_S)
        assert self.held_at is not None, "nobody let go"
        return self.held_at


@contextmanager
def in_line(client: Client, name: str) -> Iterator[Waiter]:
    """Somebody waits for the name."""
    waiter = Waiter(client, name)
    until(lambda: bool(client.inspect(name).waiters), "it is in line")
    yield waiter


Run = Callable[..., Script]
