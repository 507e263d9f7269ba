"""The statements of each database, apart from any driver.

One table for all names; `claim` writes the term there once, when the lease is acquired, and `guard` locks the
row in every transaction that writes, until it ends:

- A claim waits for the transactions that older guards are in. After it, an older guard finds a newer term.
- A guard reads with a lock, so it sees the newest row, never a snapshot. Transactions of one holder do not
  wait for each other (in SQLite, where there is one writer at a time, they do).
- No judgement rests on counts of affected rows, which mean something else in each driver: the row is read
  after it was written, under its lock, and compared here.

Each step yields statements and is sent the first row of the answer, so one text serves all drivers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Generator, Mapping
from functools import cache

import attrs

from paxlock.errors import ConfigError
from paxlock.fencing.token import Token, cell_of, check, judge, unclaimed

__all__ = [
    "MYSQL",
    "POSTGRES",
    "SQLITE",
    "Dialect",
    "Steps",
    "admit",
    "claim",
    "dialect_of",
    "dollars",
    "first_row",
    "guard",
    "pyformat",
    "run",
    "run_async",
]

TABLE = "paxlock_fence"

Parameters = dict[str, str | int]
Row = tuple[object, ...] | None
Steps = Generator[tuple[str, Parameters], Row, None]

_NAMED = re.compile(r"(?<!:):(\w+)")
_MOST_MS = 2**31 - 1


@attrs.frozen
class Dialect:
    """How one database raises the term, reads it under a shared lock, and limits a transaction's time."""

    create: str
    #: Write the term, unless the row has a higher one or is of another cell.
    write: str
    #: Before the read, where a read cannot lock.
    lock: str | None
    read: str
    limit: str | None


POSTGRES = Dialect(
    create=f"CREATE TABLE IF NOT EXISTS {TABLE} (name text PRIMARY KEY, cell text, term bigint NOT NULL)",
    write=f"INSERT INTO {TABLE} AS f (name, cell, term) VALUES (:name, :cell, :term)"
    " ON CONFLICT (name) DO UPDATE SET term = excluded.term"
    " WHERE f.term <= excluded.term AND f.cell = excluded.cell",
    lock=None,
    read=f"SELECT cell, term FROM {TABLE} WHERE name = :name FOR SHARE",
    # SET LOCAL, but with a parameter. The server itself ends the transaction of a holder that is paused.
    limit="SELECT set_config('idle_in_transaction_session_timeout', :ms, true),"
    " CASE WHEN CAST(current_setting('server_version_num') AS integer) >= 170000"
    " THEN set_config('transaction_timeout', :ms, true) END",
)

MYSQL = Dialect(
    create=f"CREATE TABLE IF NOT EXISTS {TABLE} ("
    "name varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY,"
    " cell varchar(64) CHARACTER SET ascii COLLATE ascii_bin, term bigint NOT NULL)",
    # One statement: INSERT IGNORE and a locking read after it could end in a deadlock of two claims.
    write=f"INSERT INTO {TABLE} (name, cell, term) VALUES (:name, :cell, :term)"
    " ON DUPLICATE KEY UPDATE term = IF(cell = :cell AND term < :term"
    " AND CAST(name AS BINARY) = CAST(:name AS BINARY), :term, term)",
    lock=None,
    # Trailing spaces do not count in comparisons of text here: names that differ in them are kept apart.
    read=f"SELECT cell, term FROM {TABLE} WHERE name = :name"
    " AND CAST(name AS BINARY) = CAST(:name AS BINARY) LOCK IN SHARE MODE",
    # For MariaDB; MySQL has no such limit, and takes this for a comment.
    limit="SET @paxlock_fence = 0 /*M!100300 , SESSION idle_transaction_timeout = :s */",
)

SQLITE = Dialect(
    create=f"CREATE TABLE IF NOT EXISTS {TABLE} (name text PRIMARY KEY, cell text, term bigint NOT NULL)",
    write=POSTGRES.write,
    lock=f"UPDATE {TABLE} SET term = term WHERE name = :name",
    read=f"SELECT cell, term FROM {TABLE} WHERE name = :name",
    limit=None,
)

_BY_NAME = {"postgresql": POSTGRES, "mysql": MYSQL, "mariadb": MYSQL, "sqlite": SQLITE}


def dialect_of(name: str) -> Dialect:
    """The dialect by the name that SQLAlchemy and Django give it."""
    if name not in _BY_NAME:
        raise ConfigError(f"no guard is known for the database {name!r}: there are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def claim(dialect: Dialect, token: Token) -> Steps:
    """Make the token the highest. Raises StaleToken if it is not."""
    check(token)
    parameters: Parameters = {"name": token.name, "cell": cell_of(token), "term": token.term}
    yield dialect.write, parameters
    if not (yield from _read(dialect, token)):
        raise unclaimed(token, TABLE)


def guard(dialect: Dialect, token: Token) -> Steps:
    """Let the transaction go on only if the token is the highest, and stays so until the transaction ends."""
    check(token)
    remaining = token.remaining()
    if dialect.limit is not None and remaining < math.inf:
        # At least one unit: 0 would mean no limit.
        ms, s = max(1, min(int(remaining * 1000), _MOST_MS)), max(1, math.ceil(min(remaining, 1e6)))
        yield dialect.limit, {"ms": str(ms), "s": s}
    if not (yield from _read(dialect, token)):
        raise unclaimed(token, TABLE)


def admit(dialect: Dialect, token: Token) -> Steps:
    """For who serves holders: `guard`, after a claim within the same transaction where the token is new."""
    check(token)
    # A shared lock that is raised to an exclusive one ends in a deadlock of two requests: a read without a
    # lock chooses which of the two to take, and judges nothing.
    row = None
    if dialect.lock is None:
        row = yield f"SELECT cell, term FROM {TABLE} WHERE name = :name", {"name": token.name}
    yield from guard(dialect, token) if row is not None and row[1] == token.term else claim(dialect, token)


def _read(dialect: Dialect, token: Token) -> Generator[tuple[str, Parameters], Row, bool]:
    if dialect.lock is not None:
        yield dialect.lock, {"name": token.name}
    row = yield dialect.read, {"name": token.name}
    if row is None:
        return False
    cell, term = row
    assert isinstance(term, int)
    # Some drivers of MySQL take text of a binary collation for bytes.
    return judge(token, cell.decode() if isinstance(cell, bytes) else cell, term, TABLE)


# How drivers take the statements


@cache
def pyformat(statement: str) -> str:
    """``:name`` as ``%(name)s``, for psycopg, PyMySQL, mysqlclient and Django."""
    return _NAMED.sub(r"%(\1)s", statement)


def dollars(statement: str, parameters: Parameters) -> tuple[str, list[str | int]]:
    """``:name`` as ``$1``, and the values in this order, for asyncpg."""
    names = list(dict.fromkeys(_NAMED.findall(statement)))
    return _NAMED.sub(lambda match: f"${names.index(match[1]) + 1}", statement), [
        parameters[name] for name in names
    ]


def first_row(rows: object) -> Row:
    """The first of the rows that a driver fetched, whatever it makes rows of."""
    assert isinstance(rows, list | tuple)
    if not rows:
        return None
    return tuple(rows[0].values()) if isinstance(rows[0], Mapping) else tuple(rows[0])


def run(steps: Steps, execute: Callable[[str, Parameters], Row]) -> None:
    """Carry out the steps one after another."""
    row = None
    while True:
        try:
            statement, parameters = steps.send(row)
        except StopIteration:
            return
        row = execute(statement, parameters)


async def run_async(steps: Steps, execute: Callable[[str, Parameters], Awaitable[Row]]) -> None:
    """`run`, for drivers that are awaited."""
    row = None
    while True:
        try:
            statement, parameters = steps.send(row)
        except StopIteration:
            return
        row = await execute(statement, parameters)
