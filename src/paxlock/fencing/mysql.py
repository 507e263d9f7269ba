"""Guards for MySQL and MariaDB, with PyMySQL or mysqlclient. The engine has to be InnoDB.

    mysql.create_table(connection)
    mysql.claim(connection, held)                          # once, when the lease is acquired
    with mysql.begin(connection, held) as cursor:          # for each transaction
        cursor.execute("INSERT INTO report ...")

A holder that is frozen within a transaction keeps the lock of the row. MariaDB ends the transaction when
the holder's lease would have ended, by ``idle_transaction_timeout``, in whole seconds rounded up. MySQL has
no such limit: there the successor's claim waits for innodb_lock_wait_timeout, and fails. Renewals do not
move the limit: between two statements there has to be less time than the lease had left at the guard.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from paxlock.errors import ConfigError
from paxlock.fencing import statements
from paxlock.fencing.statements import MYSQL, Parameters, Row, Steps, pyformat
from paxlock.fencing.token import Token

__all__ = ["admit", "begin", "claim", "create_table", "guard"]

NO_LIMIT = "SET @paxlock_fence = 0 /*M!100300 , SESSION idle_transaction_timeout = DEFAULT */"
SERVER_STATUS_IN_TRANS = 1  # of the client/server protocol; PyMySQL shows it, mysqlclient does not


def create_table(connection: Any) -> None:
    """Make the table paxlock_fence where it is missing."""
    with connection.cursor() as cursor:
        cursor.execute(MYSQL.create)


def claim(connection: Any, held: Token) -> None:
    """Make the term the highest, in a transaction of its own. Raises StaleToken if it is not.

    As every BEGIN in this database, it commits a transaction that is open on the connection.
    """
    with _transaction(connection) as cursor:
        _run(cursor, statements.claim(MYSQL, held))


def guard(connection: Any, held: Token) -> None:
    """Refuse the transaction that is open, unless the term is the highest: raises StaleToken.

    On MariaDB the limit on idle transactions stays set in the session; `begin` takes it back.
    """
    _run_within(connection, statements.guard(MYSQL, held))


def admit(connection: Any, token: Token) -> None:
    """`guard`, for a service that got the token from elsewhere: a term never seen before is claimed."""
    _run_within(connection, statements.admit(MYSQL, token))


@contextmanager
def begin(connection: Any, held: Token) -> Iterator[Any]:
    """A transaction with its guard, as a cursor: committed at the end, rolled back on an error."""
    try:
        with _transaction(connection) as cursor:
            _run(cursor, statements.guard(MYSQL, held))
            yield cursor
    finally:
        # Where the connection is gone, so is the limit; whether the transaction was committed is told above.
        with suppress(Exception), connection.cursor() as cursor:
            cursor.execute(NO_LIMIT)


@contextmanager
def _transaction(connection: Any) -> Iterator[Any]:
    connection.begin()
    try:
        with connection.cursor() as cursor:
            yield cursor
    except BaseException:
        _roll_back(connection)
        raise
    connection.commit()


def _roll_back(connection: Any) -> None:
    with suppress(Exception):  # else the connection is gone, and with it the transaction
        connection.rollback()


def _run_within(connection: Any, steps: Steps) -> None:
    status = getattr(connection, "server_status", SERVER_STATUS_IN_TRANS)
    if connection.get_autocommit() and not status & SERVER_STATUS_IN_TRANS:
        raise ConfigError(
            "no transaction is open: a guard holds only until its transaction ends. Use begin(), or call"
            " connection.begin() first"
        )
    with connection.cursor() as cursor:
        _run(cursor, steps)


def _run(cursor: Any, steps: Steps) -> None:
    def execute(statement: str, parameters: Parameters) -> Row:
        cursor.execute(pyformat(statement), parameters)
        return statements.first_row(cursor.fetchall() if cursor.description else ())

    statements.run(steps, execute)
