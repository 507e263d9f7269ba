"""Guards for SQLAlchemy 2, on PostgreSQL, MySQL, MariaDB and SQLite.

    fencing.sqlalchemy.table(metadata)                            # for create_all, or for Alembic
    fencing.sqlalchemy.claim(engine, held)                        # once, when the lease is acquired
    with fencing.sqlalchemy.begin(engine, held) as connection:    # for each transaction
        connection.execute(...)

For sessions: ``fencing.sqlalchemy.guard(session_factory, held)`` has the guard run first in every
transaction. `aclaim`, `aadmit` and `abegin` take an AsyncEngine or AsyncConnection. What is particular to a
database is told in `paxlock.fencing.postgres`, `mysql` and `sqlite`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import sqlalchemy
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, async_sessionmaker
from sqlalchemy.orm import Session, SessionTransaction, sessionmaker

from paxlock.errors import ConfigError
from paxlock.fencing import statements
from paxlock.fencing.statements import TABLE, Parameters, Row, Steps, dialect_of
from paxlock.fencing.token import Token

__all__ = ["aadmit", "abegin", "aclaim", "admit", "begin", "claim", "guard", "table"]


def table(metadata: sqlalchemy.MetaData) -> sqlalchemy.Table:
    """The table paxlock_fence within your metadata, so that Alembic and create_all make it."""
    name = mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin")
    cell = mysql.VARCHAR(64, charset="ascii", collation="ascii_bin")
    return sqlalchemy.Table(
        TABLE,
        metadata,
        sqlalchemy.Column("name", sqlalchemy.Text().with_variant(name, "mysql", "mariadb"), primary_key=True),
        sqlalchemy.Column("cell", sqlalchemy.Text().with_variant(cell, "mysql", "mariadb")),
        sqlalchemy.Column("term", sqlalchemy.BigInteger, nullable=False),
    )


def claim(engine: sqlalchemy.Engine, held: Token) -> None:
    """Make the term the highest, in a transaction of its own. Raises StaleToken if it is not."""
    with engine.begin() as connection:
        _run(connection, statements.claim(dialect_of(engine.dialect.name), held))


@contextmanager
def begin(engine: sqlalchemy.Engine, held: Token) -> Iterator[sqlalchemy.Connection]:
    """A transaction that begins with its guard: committed at the end, rolled back on an error."""
    with engine.begin() as connection:
        _guard(connection, held)
        yield connection


def admit(connection: sqlalchemy.Connection, token: Token) -> None:
    """The guard of a service that got the token from elsewhere: a term never seen before is claimed, within
    the transaction of this connection.
    """
    _run(connection, statements.admit(dialect_of(connection.dialect.name), token))


def guard(session_factory: sessionmaker[Any] | async_sessionmaker[Any], held: Token) -> None:
    """Have every transaction of this factory's sessions begin with the guard of this token.

    The factory belongs to the tenure: make another one for the next. Claim first, by the engine.
    """

    def after_begin(session: Session, transaction: SessionTransaction, connection: Any) -> None:
        _guard(connection, held)

    target: Any = session_factory
    if isinstance(session_factory, async_sessionmaker):
        # Events are those of the session within, whose class is then one for this factory alone.
        base = session_factory.kw.get("sync_session_class", session_factory.class_.sync_session_class)
        target = type("GuardedSession", (base,), {})
        session_factory.configure(sync_session_class=target)
    sqlalchemy.event.listen(target, "after_begin", after_begin)


async def aclaim(engine: AsyncEngine, held: Token) -> None:
    """`claim`, awaited."""
    async with engine.begin() as connection:
        await connection.run_sync(_run, statements.claim(dialect_of(engine.dialect.name), held))


@asynccontextmanager
async def abegin(engine: AsyncEngine, held: Token) -> AsyncIterator[AsyncConnection]:
    """`begin`, awaited."""
    async with engine.begin() as connection:
        await connection.run_sync(_guard, held)
        yield connection


async def aadmit(connection: AsyncConnection, token: Token) -> None:
    """`admit`, awaited."""
    await connection.run_sync(admit, token)


def _guard(connection: sqlalchemy.Connection, held: Token) -> None:
    _run(connection, statements.guard(dialect_of(connection.dialect.name), held))


def _run(connection: sqlalchemy.Connection, steps: Steps) -> None:
    # Asks the driver's connection, not the server. Not every dialect can tell.
    driver: Any = connection.connection.dbapi_connection
    with suppress(NotImplementedError):
        if connection.dialect.detect_autocommit_setting(driver):
            raise ConfigError(
                'the isolation level is "AUTOCOMMIT": a guard holds only until its transaction ends'
            )

    def execute(statement: str, parameters: Parameters) -> Row:
        result = connection.execute(sqlalchemy.text(statement), parameters)
        return statements.first_row(result.fetchall() if result.returns_rows else ())

    statements.run(steps, execute)
