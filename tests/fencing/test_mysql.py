"""The guard for MySQL and MariaDB, by PyMySQL, against a real MariaDB."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paxlock import ConfigError
from paxlock.fencing import StaleToken, Token, mysql
from tests.fencing.libraries import library
from tests.fencing.rules import Rules
from tests.fencing.stopped import Last, ended_by_the_server
from tests.fencing.tokens import Held

pymysql = library("pymysql")

pytestmark = [pytest.mark.servers, pytest.mark.processes]

WRITE = "INSERT INTO effect (value) VALUES (%s)"
TIME_LIMIT_S = 30.0

Connect = Callable[..., Any]


@pytest.fixture
def socket(mariadb_database: Path) -> str:
    """A database with the tables."""
    where = str(mariadb_database)
    connection = pymysql.connect(unix_socket=where, user="root", database="test", autocommit=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE effect (id int AUTO_INCREMENT PRIMARY KEY, value text)")
        mysql.create_table(connection)
    return where


@pytest.fixture
def connect(socket: str) -> Iterator[Connect]:
    made = []

    def connect(**settings: Any) -> Any:
        made.append(pymysql.connect(unix_socket=socket, user="root", database="test", **settings))
        return made[-1]

    yield connect
    for connection in made:
        if connection.open:
            connection.close()


class Database(Last):
    """One connection."""

    kind = "pymysql"

    def __init__(self, connection: Any, where: str) -> None:
        self.connection = connection
        self.where = where

    def claim(self, held: Token) -> None:
        mysql.claim(self.connection, held)

    def write(self, held: Token, value: str) -> None:
        with mysql.begin(self.connection, held) as cursor:
            cursor.execute(WRITE, (value,))

    def values(self) -> list[str]:
        with self.connection.cursor(pymysql.cursors.Cursor) as cursor:
            cursor.execute("SELECT value FROM effect ORDER BY id")
            found = [row[0] for row in cursor.fetchall()]
        self.connection.commit()
        return found


class TestRules(Rules):
    @pytest.fixture(params=["usual", "autocommit", "found rows", "dictionaries"])
    def storage(self, connect: Connect, socket: str, request: pytest.FixtureRequest) -> Database:
        settings: dict[str, Any] = {
            "usual": {},
            "autocommit": {"autocommit": True},
            # As Django and SQLAlchemy set it: counts of affected rows mean something else then.
            "found rows": {"client_flag": pymysql.constants.CLIENT.FOUND_ROWS},
            "dictionaries": {"cursorclass": pymysql.cursors.DictCursor},
        }
        return Database(connect(**settings[request.param]), socket)


def test_names_that_differ_in_trailing_spaces_do_not_meet(connect: Connect) -> None:
    connection = connect()
    mysql.claim(connection, Held(7))
    with pytest.raises(ConfigError, match="was not claimed"):
        mysql.claim(connection, Held(9, "primary "))
    mysql.claim(connection, Held(7))


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_a_claim_waits_for_what_an_older_guard_is_in(connect: Connect, level: str) -> None:
    old, beside, new = (
        connect(init_command=f"SET SESSION TRANSACTION ISOLATION LEVEL {level}") for _ in range(3)
    )
    mysql.claim(old, Held(7))
    with new.cursor() as cursor:
        cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
    with mysql.begin(old, Held(7)) as within:
        within.execute(WRITE, ("one",))
        with mysql.begin(beside, Held(7)) as other:  # one holder's transactions run beside each other
            other.execute(WRITE, ("beside",))
        with pytest.raises(pymysql.err.OperationalError, match="Lock wait timeout"):
            mysql.claim(new, Held(8))
        within.execute(WRITE, ("two",))
    mysql.claim(new, Held(8))
    with pytest.raises(StaleToken), mysql.begin(old, Held(7)):
        pytest.fail("a stale holder is in")


def test_an_old_snapshot_does_not_pass(connect: Connect) -> None:
    old, new = connect(), connect()
    mysql.claim(old, Held(7))
    old.begin()
    with old.cursor() as cursor:
        cursor.execute("SELECT term FROM paxlock_fence")  # the snapshot
        mysql.claim(new, Held(8))
        cursor.execute("SELECT term FROM paxlock_fence")
        assert cursor.fetchone() == (7,)  # what a plain read would have compared with
        with pytest.raises(StaleToken):
            mysql.guard(old, Held(7))
    old.rollback()


def test_two_claims_at_once_end_in_no_deadlock(connect: Connect) -> None:
    failures: list[BaseException] = []
    together = threading.Barrier(2)

    def claim(connection: Any, terms: list[int]) -> None:
        for term in terms:
            together.wait(TIME_LIMIT_S)
            try:
                mysql.claim(connection, Held(term, f"name {term // 4}"))
            except StaleToken:
                pass
            except Exception as error:  # noqa: BLE001 - for the assertion below
                failures.append(error)

    threads = [
        threading.Thread(target=claim, args=(connect(), list(range(first, 100, 2)))) for first in (4, 5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIME_LIMIT_S)
    assert failures == []


def test_a_guard_needs_a_transaction(connect: Connect) -> None:
    connection = connect(autocommit=True)
    mysql.claim(connection, Held(7))
    for guard in (mysql.guard, mysql.admit):
        with pytest.raises(ConfigError, match="no transaction is open"):
            guard(connection, Held(7))
    connection.begin()
    mysql.guard(connection, Held(7))
    connection.rollback()
    mysql.guard(connect(), Held(7))  # begins with the guard's own statement


def test_a_service_admits_what_it_has_not_seen_before(connect: Connect) -> None:
    connection = connect()
    for term in (3, 3, 5):
        mysql.admit(connection, Held(term))
        connection.commit()
    with pytest.raises(StaleToken):
        mysql.admit(connection, Held(4))
    mysql.admit(connection, Held(9))
    connection.rollback()  # the effect is not there, and neither is the term
    mysql.claim(connection, Held(6))


def test_the_limit_is_taken_back(connect: Connect) -> None:
    connection = connect()
    mysql.claim(connection, Held(7))
    with mysql.begin(connection, Held(7, ttl=8.5)) as cursor:
        cursor.execute("SELECT @@idle_transaction_timeout")
        assert cursor.fetchone() == (9,)
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@idle_transaction_timeout")
        assert cursor.fetchone() == (0,)


def test_the_server_ends_the_transaction_of_a_stopped_holder(socket: str, connect: Connect) -> None:
    ended_by_the_server(Database(connect(), socket))
