"""A holder in a process of its own, which can be stopped as a frozen machine is.

It begins a transaction with the guard, writes, says ``inside`` and waits; commits, and says what came of it;
waits again, and writes once more over a new connection.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Self

from paxlock.fencing import StaleToken, Token
from tests.fencing.tokens import Held

ROOT = Path(__file__).parents[2]
TIME_LIMIT_S = 60.0
INSERT = "INSERT INTO effect (value) VALUES (%s)"

# Gives a transaction with its guard, and a function that writes within.
Kind = Callable[[str, Token], AbstractContextManager[Callable[[str], Any]]]


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
        self._process.kill()
        self._process.communicate()

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


@contextmanager
def with_sqlite(where: str, held: Token) -> Iterator[Callable[[str], Any]]:
    import sqlite3

    from paxlock.fencing import sqlite

    connection = sqlite3.connect(where)
    with sqlite.begin(connection, held):
        yield lambda value: connection.execute(INSERT.replace("%s", "?"), (value,))
    connection.close()


@contextmanager
def with_postgres(where: str, held: Token) -> Iterator[Callable[[str], Any]]:
    import psycopg

    from paxlock.fencing import postgres

    connection = psycopg.connect(where, autocommit=True)
    with postgres.begin(connection, held):
        yield lambda value: connection.execute(INSERT, (value,))
    connection.close()


@contextmanager
def with_mysql(where: str, held: Token) -> Iterator[Callable[[str], Any]]:
    import pymysql

    from paxlock.fencing import mysql

    connection = pymysql.connect(unix_socket=where, user="root", database="test")
    with mysql.begin(connection, held) as cursor:
        yield lambda value: cursor.execute(INSERT, (value,))
    connection.close()


@contextmanager
def with_redis(where: str, held: Token) -> Iterator[Callable[[str], Any]]:
    import redis

    from paxlock.fencing.redis import RedisGuard

    client = redis.Redis(unix_socket_path=where)
    guard = RedisGuard(client, held)
    later: list[str] = []
    yield later.append  # there are no transactions: the write is the commit
    guard.set("effect", later[0])
    client.close()


@contextmanager
def with_files(where: str, held: Token) -> Iterator[Callable[[str], Any]]:
    from paxlock.fencing import files

    with files.begin(f"{where}/fence", held):
        yield lambda value: (Path(where) / "effect").write_text(value, encoding="utf-8")


KINDS: dict[str, Kind] = {
    "sqlite": with_sqlite,
    "postgres": with_postgres,
    "mysql": with_mysql,
    "redis": with_redis,
    "files": with_files,
}


def main(kind: str, where: str, term: str, ttl: str) -> None:
    """Be the holder."""
    for value in ("inside", "again"):
        held = Held(int(term), ttl=float(ttl))
        try:
            with KINDS[kind](where, held) as write:
                write(value)
                if value == "inside":
                    print("inside", flush=True)
                    sys.stdin.readline()
            print("committed", flush=True)
        except StaleToken as stale:
            print(f"StaleToken {stale.term} {stale.highest}", flush=True)
        except Exception as error:  # noqa: BLE001 - told to the test
            print(type(error).__name__, flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
