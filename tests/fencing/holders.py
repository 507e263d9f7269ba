"""A holder in a process of its own, which can be stopped as a frozen machine is.

It does a step of `steps` up to where its guard has let it in, says ``inside`` and waits; has the effect, and
says what came of it; waits again, and does another step over a new connection.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from paxlock.fencing import StaleToken
from tests.fencing.steps import KINDS
from tests.fencing.tokens import Held

ROOT = Path(__file__).parents[2]
TIME_LIMIT_S = 60.0


class Holder:
    """The process, seen from the test."""

    def __init__(self, kind: str, where: str, held: Held) -> None:
        self._arguments = [kind, where, str(held.term), str(held.ttl)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.communicate()

    def kill(self) -> None:
        """End it, also where it is stopped."""
        self._process.kill()

    def expect(self, line: str) -> None:
        """Wait until it has said this."""
        assert self.hear() == line

    def hear(self) -> str:
        """Wait for its next line."""
        assert self._process.stdout is not None
        said = b""
        while not said.endswith(b"\n"):
            assert select.select([self._process.stdout], [], [], TIME_LIMIT_S)[0], "nothing was said in time"
            byte = os.read(self._process.stdout.fileno(), 1)
            assert byte, f"the holder has ended: {said!r}"
            said += byte
        return said.decode().strip()

    def stop(self) -> None:
        """Freeze it, until `go_on`."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        """Thaw it, where it was stopped, and have it do its next step."""
        self._process.send_signal(signal.SIGCONT)
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()


# Within the process


def main(kind: str, where: str, term: str, ttl: str) -> None:
    """Be the holder."""
    step = KINDS[kind](where)
    for value in ("inside", "again"):

        def pause(value: str = value) -> None:
            if value == "inside":
                print(value, flush=True)
                sys.stdin.readline()

        try:
            step(Held(int(term), ttl=float(ttl)), value, pause)
            print("committed", flush=True)
        except StaleToken as stale:
            print(f"StaleToken {stale.term} {stale.highest}", flush=True)
        except Exception as error:  # noqa: BLE001 - told to the test
            print(type(error).__name__, flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
