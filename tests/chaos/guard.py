"""What the locks protect: a file that takes writes with fencing tokens, and refuses those of former holders.

The guard listens on a datagram socket of the file system and writes one line for everything that arrives. It
also knows who wrote last, which is how the nemesis finds the holders.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path

__all__ = ["Guard"]

MESSAGE_MAX_BYTES = 1024
STOP = b""


class Guard:
    """Takes writes ``{name, term, writer, at}`` in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self.address = folder / "guard"
        self.path = folder / "guarded.jsonl"
        self.accepted = 0
        self.refused = 0
        self._highest: dict[str, int] = {}
        self._latest: dict[str, tuple[str, float]] = {}
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.address))
        self._thread = threading.Thread(target=self._run, name="guard", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Take what has come so far, and stop. Closing again does nothing."""
        if self._thread.is_alive():
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.sendto(STOP, str(self.address))
            self._thread.join()
        self._socket.close()
        self.address.unlink(missing_ok=True)

    def latest(self) -> dict[str, tuple[str, float]]:
        """For every name: who wrote last, and the true time at which the write arrived."""
        return dict(self._latest)

    def _run(self) -> None:
        with self.path.open("a") as file:
            while True:
                message = self._socket.recv(MESSAGE_MAX_BYTES)
                if message == STOP:
                    return
                write = json.loads(message)
                write["arrived"] = time.clock_gettime(time.CLOCK_BOOTTIME)
                write["accepted"] = self._take(write["name"], write["term"])
                if write["accepted"]:
                    self._latest[write["name"]] = (write["writer"], write["arrived"])
                file.write(json.dumps(write) + "\n")
                file.flush()

    def _take(self, name: str, term: int) -> bool:
        """The rule of fencing: nothing below the highest token that was ever seen."""
        if term < self._highest.get(name, 0):
            self.refused += 1
            return False
        self._highest[name] = term
        self.accepted += 1
        return True
