"""Real servers, one of each kind for a test worker, in a folder of their own and on a Unix socket there."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fencing.libraries import REQUIRED, library

START_TIME_LIMIT_S = 120


def program(name: str, package: str, *more: str) -> str:
    """The program's path. Skips the test, or fails it, where it is not installed."""
    found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", *more)))
    if found is None:
        missing = f"{name} is not installed: apt-get install --no-install-recommends {package}"
        if os.environ.get(REQUIRED):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@contextmanager
def folder(owner: str | None) -> Iterator[Path]:
    """A new folder with a short path, for a socket has to fit into 108 bytes."""
    path = Path(tempfile.mkdtemp(prefix="paxlock-", dir="/tmp"))
    try:
        if owner is not None:
            shutil.chown(path, owner, owner)
        yield path
    finally:
        shutil.rmtree(path)


@contextmanager
def serving(
    command: Sequence[str], ready: str, owner: str | None = None, end: signal.Signals = signal.SIGKILL
) -> Iterator[None]:
    """The server runs, from the line that says so until the end of the block."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=owner,
        group=owner,
        cwd="/",
        text=True,
        errors="replace",
    )
    said: list[str] = []
    told = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if ready in line:
                told.set()
        told.set()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        in_time = told.wait(START_TIME_LIMIT_S)
        assert in_time and any(ready in line for line in said), "".join(said)
        yield
    finally:
        process.send_signal(end)  # nothing of what it keeps is wanted any more
        try:
            process.wait(START_TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        listener.join()
        assert process.stdout is not None
        process.stdout.close()


def run(command: Sequence[str], owner: str | None = None) -> None:
    """Run a command that prepares a server; its output is shown where it fails."""
    done = subprocess.run(
        command,
        user=owner,
        group=owner,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=START_TIME_LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Path]:
    """The folder of the socket of a PostgreSQL server: user "paxlock", database "postgres"."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    initdb = program("initdb", "postgresql", *(str(path) for path in versions[-1:]))
    postgres = str(Path(initdb).with_name("postgres"))
    owner = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    with folder(owner) as path:
        data = str(path / "data")
        run(
            [initdb, "--no-sync", "--auth=trust", "--username=paxlock", "--locale=C", "-E", "UTF8", data],
            owner,
        )
        command = [postgres, "-D", data, "-k", str(path), "-c", "listen_addresses=", "-c", "fsync=off"]
        with serving(command, "ready to accept connections", owner, signal.SIGQUIT):
            yield path


@pytest.fixture
def postgres_database(postgres_server: Path) -> Path:
    """The same server, and nothing in its database."""
    where = f"host={postgres_server} user=paxlock dbname=postgres"
    with library("psycopg").connect(where, autocommit=True) as connection:
        connection.execute(f"SET lock_timeout = '{START_TIME_LIMIT_S}s'")
        connection.execute("SET client_min_messages = warning")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return postgres_server


@pytest.fixture
def mariadb_database(mariadb_server: Path) -> Path:
    """The same server, and nothing in its database."""
    connection = library("pymysql").connect(unix_socket=str(mariadb_server), user="root")
    with connection, connection.cursor() as cursor:
        cursor.execute(f"SET SESSION lock_wait_timeout = {START_TIME_LIMIT_S}")
        cursor.execute("DROP DATABASE test")
        cursor.execute("CREATE DATABASE test CHARACTER SET utf8mb4")
    return mariadb_server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[Path]:
    """The socket of a MariaDB server: user "root", database "test"."""
    mariadbd = program("mariadbd", "mariadb-server")
    install = program("mariadb-install-db", "mariadb-server")
    user = "--user=root" if os.geteuid() == 0 else "--skip-name-resolve"
    with folder(None) as path:
        data = f"--datadir={path / 'data'}"
        small = ("--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M")
        run([install, "--no-defaults", data, user, *small, "--auth-root-authentication-method=normal"])
        command = [
            mariadbd,
            "--no-defaults",
            data,
            user,
            f"--socket={path / 'socket'}",
            "--skip-networking",
            f"--pid-file={path / 'pid'}",
            "--innodb-flush-log-at-trx-commit=0",
            *small,
        ]
        with serving(command, "ready for connections"):
            yield path / "socket"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Path]:
    """The socket of a Redis server."""
    server = program("redis-server", "redis-server")
    with folder(None) as path:
        command = [
            server,
            "--port",
            "0",
            "--unixsocket",
            str(path / "socket"),
            "--save",
            "",
            "--dir",
            str(path),
        ]
        with serving(command, "eady to accept connections"):
            yield path / "socket"
