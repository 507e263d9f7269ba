"""The guard for SQLite, by sqlite3 and by SQLAlchemy."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from paxlock import ConfigError
from paxlock.fencing import StaleToken, Token, sqlite
from tests.fencing.holders import Holder
from tests.fencing.rules import Rules
from tests.fencing.stopped import Last, blocks_its_successor
from tests.fencing.tokens import Held

WRITE = "INSERT INTO effect VALUES (?)"
VALUES = "SELECT value FROM effect ORDER BY rowid"


class Database(Last):
    """A database file with a connection."""

    kind = "sqlite3"

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.connection = connection
        self.where = str(path)

    def claim(self, held: Token) -> None:
        sqlite.claim(self.connection, held)

    def write(self, held: Token, value: str) -> None:
        with sqlite.begin(self.connection, held) as connection:
            connection.execute(WRITE, (value,))

    def values(self) -> list[str]:
        return [row[0] for row in self.connection.execute(VALUES)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "database"
    with closing(connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE effect (value text)")
        sqlite.create_table(connection)
        sqlite.create_table(connection)  # harmless when repeated
        connection.commit()
    return path


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=0.05)


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(path)) as connection:
        yield connection


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(path)) as connection:
        yield connection


class TestRules(Rules):
    @pytest.fixture(params=["legacy", "rows", "autocommit", "transactional"])
    def storage(self, path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
        settings: dict[str, Any] = {}
        if request.param in ("autocommit", "transactional"):
            new = sys.version_info >= (3, 12)
            settings = {"autocommit": request.param == "autocommit"} if new else {"isolation_level": None}
        connection = sqlite3.connect(path, timeout=0.05, **settings)
        if request.param == "rows":
            connection.row_factory = sqlite3.Row
        with closing(connection):
            yield Database(connection, path)


def test_a_claim_waits_for_what_an_older_guard_is_in(
    connection: sqlite3.Connection, other: sqlite3.Connection
) -> None:
    old = Held(7)
    sqlite.claim(connection, old)
    with sqlite.begin(connection, old):
        connection.execute(WRITE, ("one",))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            sqlite.claim(other, Held(8))
        connection.execute(WRITE, ("two",))  # later writes of one transaction are guarded as the first
    sqlite.claim(other, Held(8))
    with pytest.raises(StaleToken), sqlite.begin(connection, old):
        pytest.fail("a stale holder is in")
    assert not connection.in_transaction


def test_an_old_snapshot_does_not_pass(connection: sqlite3.Connection, other: sqlite3.Connection) -> None:
    sqlite.claim(connection, Held(7))
    connection.execute("BEGIN")
    connection.execute(VALUES).fetchone()  # the snapshot
    sqlite.claim(other, Held(8))
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite.guard(connection, Held(7))
    connection.rollback()


def test_a_guard_needs_a_transaction(connection: sqlite3.Connection) -> None:
    sqlite.claim(connection, Held(7))
    for guard in (sqlite.guard, sqlite.admit):
        with pytest.raises(ConfigError, match="no transaction is open"):
            guard(connection, Held(7))
    connection.execute("BEGIN")
    sqlite.guard(connection, Held(7))
    for claim in (sqlite.claim, lambda *both: sqlite.begin(*both).__enter__()):
        with pytest.raises(ConfigError, match="open already"):
            claim(connection, Held(7))
    assert connection.in_transaction


def test_an_error_rolls_back(path: Path, connection: sqlite3.Connection) -> None:
    sqlite.claim(connection, Held(7))
    with pytest.raises(ZeroDivisionError), sqlite.begin(connection, Held(7)):
        connection.execute(WRITE, (str(1 / 0),))
    assert not connection.in_transaction
    assert Database(connection, path).values() == []


def test_a_commit_that_fails_is_rolled_back(
    connection: sqlite3.Connection, other: sqlite3.Connection
) -> None:
    connection.execute("PRAGMA journal_mode = DELETE")  # in which readers keep a commit waiting
    sqlite.claim(connection, Held(7))
    other.execute("BEGIN")
    other.execute(VALUES).fetchone()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite.claim(connection, Held(8))
    assert not connection.in_transaction
    other.rollback()
    sqlite.claim(connection, Held(8))


def test_a_service_admits_what_it_has_not_seen_before(connection: sqlite3.Connection) -> None:
    for term in (3, 3, 5):
        connection.execute("BEGIN IMMEDIATE")
        sqlite.admit(connection, Held(term))
        connection.commit()
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StaleToken):
        sqlite.admit(connection, Held(4))
    connection.rollback()
    connection.execute("BEGIN IMMEDIATE")
    sqlite.admit(connection, Held(9))
    connection.rollback()  # the effect is not there, and neither is the term
    sqlite.claim(connection, Held(6))


@pytest.mark.processes
def test_a_stopped_holder(path: Path, connection: sqlite3.Connection) -> None:
    blocks_its_successor(Database(connection, path), sqlite3.OperationalError)


@pytest.mark.processes
def test_a_holder_killed_within_its_transaction(path: Path, connection: sqlite3.Connection) -> None:
    sqlite.claim(connection, Held(7))
    with Holder("sqlite3", str(path), Held(7)) as old:
        old.expect("inside")
        old.stop()
    sqlite.claim(connection, Held(8))
    assert Database(connection, path).values() == []
