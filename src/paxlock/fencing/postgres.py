"""Guards for PostgreSQL, with psycopg 3 or asyncpg.

    postgres.create_table(connection)
    postgres.claim(connection, held)               # once, when the lease is acquired
    with postgres.begin(connection, held):         # for each transaction
        connection.execute("INSERT INTO report ...")

`aclaim`, `aguard`, `aadmit` and `abegin` are the same for connections of asyncpg and psycopg.AsyncConnection.

A holder that is frozen within a transaction keeps the lock of the row. The guard has the server end that
transaction when the lease would have ended, by ``idle_in_transaction_session_timeout`` (and from version 17
on ``transaction_timeout``), so that the successor's claim waits no longer than that. Renewals do not move
these limits: the transaction has to be shorter than what the lease had left at the guard.

Under REPEATABLE READ and above a guard may also fail with SQLSTATE 40001, "could not serialize access": a
claim has come since the transaction's snapshot. Try again, as with every such failure: a stale holder is
told so then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from paxlock.errors import ConfigError
from paxlock.fencing import statements
from paxlock.fencing.statements import POSTGRES, Parameters, Row, Steps, dollars, pyformat
from paxlock.fencing.token import Token

__all__ = [
    "aadmit",
    "abegin",
    "aclaim",
    "acreate_table",
    "admit",
    "aguard",
    "begin",
    "claim",
    "create_table",
    "guard",
]


def create_table(connection: Any) -> None:
    """Make the table paxlock_fence where it is missing."""
    with connection.transaction():
        connection.execute(POSTGRES.create)


def claim(connection: Any, held: Token) -> None:
    """Make the term the highest. Raises StaleToken if it is not.

    In a transaction of its own; where one is open on the connection, the claim is in force when that commits.
    """
    with connection.transaction():
        _run(connection, statements.claim(POSTGRES, held))


def guard(connection: Any, held: Token) -> None:
    """Refuse the transaction that is open, unless the term is the highest: raises StaleToken.

    The connection may be given by its cursor.
    """
    _run(_open(connection), statements.guard(POSTGRES, held))


def admit(connection: Any, token: Token) -> None:
    """`guard`, for a service that got the token from elsewhere: a term never seen before is claimed."""
    _run(_open(connection), statements.admit(POSTGRES, token))


@contextmanager
def begin(connection: Any, held: Token) -> Iterator[Any]:
    """A transaction that begins with its guard: committed at the end, rolled back on an error."""
    with connection.transaction():
        _run(connection, statements.guard(POSTGRES, held))
        yield connection


async def acreate_table(connection: Any) -> None:
    """`create_table`, awaited."""
    await connection.execute(POSTGRES.create)


async def aclaim(connection: Any, held: Token) -> None:
    """`claim`, awaited."""
    async with connection.transaction():
        await _run_async(connection, statements.claim(POSTGRES, held))


async def aguard(connection: Any, held: Token) -> None:
    """`guard`, awaited."""
    await _run_async(_open(connection), statements.guard(POSTGRES, held))


async def aadmit(connection: Any, token: Token) -> None:
    """`admit`, awaited."""
    await _run_async(_open(connection), statements.admit(POSTGRES, token))


@asynccontextmanager
async def abegin(connection: Any, held: Token) -> AsyncIterator[Any]:
    """`begin`, awaited."""
    async with connection.transaction():
        await _run_async(connection, statements.guard(POSTGRES, held))
        yield connection


def _is_asyncpg(connection: Any) -> bool:
    return hasattr(connection, "fetchrow")


def _open(given: Any) -> Any:
    """The connection, if it has a transaction for the guard to hold in, or begins one with the next
    statement.
    """
    if _is_asyncpg(given):
        connection, is_open = given, given.is_in_transaction()
    else:
        connection = getattr(given, "connection", given)
        is_open = not connection.autocommit or connection.info.transaction_status != 0
    if not is_open:
        raise ConfigError(
            "no transaction is open: a guard holds only until its transaction ends. Use begin(), or call it"
            " within connection.transaction()"
        )
    return connection


def _tuples() -> Any:
    from psycopg.rows import tuple_row  # here: whoever has asyncpg need not have psycopg

    return tuple_row


def _run(connection: Any, steps: Steps) -> None:
    def execute(statement: str, parameters: Parameters) -> Row:
        cursor = connection.cursor(row_factory=_tuples())
        cursor.execute(pyformat(statement), parameters)
        return statements.first_row(cursor.fetchall() if cursor.description else ())

    statements.run(steps, execute)


async def _run_async(connection: Any, steps: Steps) -> None:
    async def execute(statement: str, parameters: Parameters) -> Row:
        if _is_asyncpg(connection):
            text, values = dollars(statement, parameters)
            return statements.first_row(await connection.fetch(text, *values))
        cursor = connection.cursor(row_factory=_tuples())
        await cursor.execute(pyformat(statement), parameters)
        return statements.first_row(await cursor.fetchall() if cursor.description else ())

    await statements.run_async(steps, execute)
