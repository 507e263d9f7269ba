"""Guards for SQLite, with the standard library's sqlite3.

    sqlite.create_table(connection)
    sqlite.claim(connection, held)                # once, when the lease is acquired
    with sqlite.begin(connection, held):          # for each transaction
        connection.execute("INSERT INTO report ...")

A holder that is frozen within a transaction blocks its successor until it goes on or dies: keep them short.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from paxlock.errors import ConfigError
from paxlock.fencing import statements
from paxlock.fencing.statements import SQLITE, Parameters, Row, Steps
from paxlock.fencing.token import Token

__all__ = ["admit", "begin", "claim", "create_table", "guard"]


def create_table(connection: sqlite3.Connection) -> None:
    """Make the table paxlock_fence where it is missing."""
    connection.execute(SQLITE.create)


def claim(connection: sqlite3.Connection, held: Token) -> None:
    """Make the term the highest, in a transaction of its own. Raises StaleToken if it is not."""
    with _transaction(connection):
        _run(connection, statements.claim(SQLITE, held))


def guard(connection: sqlite3.Connection, held: Token) -> None:
    """Refuse the transaction that is open, unless the term is the highest: raises StaleToken.

    Call it before the first write; it takes the database's write lock, which is kept until the end.
    """
    _must_be_open(connection)
    _run(connection, statements.guard(SQLITE, held))


def admit(connection: sqlite3.Connection, token: Token) -> None:
    """`guard`, for a service that got the token from elsewhere: a term never seen before is claimed."""
    _must_be_open(connection)
    _run(connection, statements.admit(SQLITE, token))


@contextmanager
def begin(connection: sqlite3.Connection, held: Token) -> Iterator[sqlite3.Connection]:
    """A transaction that begins with its guard: committed at the end, rolled back on an error."""
    with _transaction(connection):
        _run(connection, statements.guard(SQLITE, held))
        yield connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # With autocommit=False (Python 3.12) a transaction is always open, and the guard takes the lock. With
    # autocommit=True commit() and rollback() do nothing, while their statements are right.
    always_open = getattr(connection, "autocommit", -1) is False
    if not always_open:
        if connection.in_transaction:
            raise ConfigError("a transaction is open already on this connection: end it first")
        connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        if always_open:
            connection.commit()
        else:
            connection.execute("COMMIT")  # fails where readers do not make way in time: rolled back as well
    except BaseException:
        if always_open:
            connection.rollback()
        elif connection.in_transaction:  # else SQLite has rolled back by itself, for example on a full disk
            connection.execute("ROLLBACK")
        raise


def _must_be_open(connection: sqlite3.Connection) -> None:
    if not connection.in_transaction:
        raise ConfigError(
            "no transaction is open: a guard holds only until its transaction ends. Use begin(), or"
            ' execute("BEGIN IMMEDIATE") first'
        )


def _run(connection: sqlite3.Connection, steps: Steps) -> None:
    def execute(statement: str, parameters: Parameters) -> Row:
        return statements.first_row(connection.execute(statement, parameters).fetchall())

    statements.run(steps, execute)
