"""The guard for PostgreSQL, by psycopg, asyncpg, SQLAlchemy and Django's cursor, against a real server."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paxlock import ConfigError
from paxlock.fencing import StaleToken, Token, postgres
from tests.fencing.holders import Holder
from tests.fencing.libraries import library
from tests.fencing.rules import Rules
from tests.fencing.steps import connect_asyncpg
from tests.fencing.stopped import Last, Recorded, ended_by_the_server
from tests.fencing.tokens import Held

psycopg = library("psycopg")

pytestmark = [pytest.mark.servers, pytest.mark.processes]

WRITE = "INSERT INTO effect (value) VALUES (%s)"
VALUES = "SELECT value FROM effect ORDER BY id"
TIME_LIMIT_S = 30.0

Connect = Callable[..., Any]


@pytest.fixture
def where(postgres_database: Path) -> str:
    """A database with the tables, as libpq has it."""
    where = f"host={postgres_database} user=paxlock dbname=postgres"
    with psycopg.connect(where) as connection:
        connection.execute("CREATE TABLE effect (id serial PRIMARY KEY, value text)")
        postgres.create_table(connection)
        postgres.create_table(connection)
    return where


@pytest.fixture
def connect(where: str) -> Iterator[Connect]:
    made = []

    def connect(**settings: Any) -> Any:
        made.append(psycopg.connect(where, **{"autocommit": True, **settings}))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


class Psycopg(Last):
    """One connection of psycopg."""

    kind = "psycopg"

    def __init__(self, connection: Any, where: str) -> None:
        self.connection = connection
        self.where = where

    def claim(self, held: Token) -> None:
        postgres.claim(self.connection, held)
        self.connection.commit()

    def write(self, held: Token, value: str) -> None:
        with postgres.begin(self.connection, held) as connection:
            connection.execute(WRITE, (value,))

    def values(self) -> list[str]:
        with self.connection.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
            rows = cursor.execute(VALUES).fetchall()
        self.connection.commit()
        return [row[0] for row in rows]


class AsyncPsycopg(Last):
    """Connections of psycopg that are awaited, one for each call."""

    kind = "psycopg, awaited"

    def __init__(self, where: str) -> None:
        self.where = where

    def run(self, action: Callable[[Any], Any]) -> Any:
        async def connected() -> Any:
            async with await psycopg.AsyncConnection.connect(self.where, autocommit=True) as connection:
                return await action(connection)

        return asyncio.run(connected())

    def claim(self, held: Token) -> None:
        self.run(lambda connection: postgres.aclaim(connection, held))

    def write(self, held: Token, value: str) -> None:
        async def write(connection: Any) -> None:
            async with postgres.abegin(connection, held):
                await connection.execute(WRITE, (value,))

        self.run(write)

    def values(self) -> list[str]:
        async def read(connection: Any) -> Any:
            cursor = await connection.execute(VALUES)
            return await cursor.fetchall()

        return [row[0] for row in self.run(read)]


class Asyncpg(AsyncPsycopg):
    """The same with asyncpg."""

    kind = "asyncpg"

    def run(self, action: Callable[[Any], Any]) -> Any:
        library("asyncpg")

        async def connected() -> Any:
            connection = await connect_asyncpg(self.where)
            try:
                return await action(connection)
            finally:
                await connection.close()

        return asyncio.run(connected())

    def write(self, held: Token, value: str) -> None:
        async def write(connection: Any) -> None:
            with pytest.raises(ConfigError, match="no transaction is open"):
                await postgres.aguard(connection, held)
            async with connection.transaction():
                await postgres.aguard(connection, held)
                await connection.execute(WRITE.replace("%s", "$1"), value)

        self.run(write)

    def values(self) -> list[str]:
        return [row[0] for row in self.run(lambda connection: connection.fetch(VALUES))]


class TestPsycopg(Rules):
    @pytest.fixture(params=["autocommit", "transactions", "dictionaries"])
    def storage(self, connect: Connect, where: str, request: pytest.FixtureRequest) -> Psycopg:
        rows = psycopg.rows.dict_row if request.param == "dictionaries" else psycopg.rows.tuple_row
        return Psycopg(connect(autocommit=request.param == "autocommit", row_factory=rows), where)


class TestAsyncPsycopg(Rules):
    @pytest.fixture
    def storage(self, where: str) -> AsyncPsycopg:
        return AsyncPsycopg(where)


class TestAsyncpg(Rules):
    @pytest.fixture
    def storage(self, where: str) -> Asyncpg:
        return Asyncpg(where)


def values(connection: Any) -> list[str]:
    return [row[0] for row in connection.execute(VALUES)]


def until_blocked(connect: Connect) -> None:
    """Wait until some transaction waits for a lock."""
    connection = connect()
    until = time.monotonic() + TIME_LIMIT_S
    while not connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
        assert time.monotonic() < until, "nobody waits for a lock"


def test_a_claim_waits_for_what_an_older_guard_is_in(connect: Connect) -> None:
    old, beside, new = connect(), connect(), connect()
    postgres.claim(old, Held(7))
    new.execute("SET lock_timeout = '100ms'")
    with postgres.begin(old, Held(7)):
        old.execute(WRITE, ("one",))
        with postgres.begin(beside, Held(7)):  # one holder's transactions run beside each other
            beside.execute(WRITE, ("beside",))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            postgres.claim(new, Held(8))
        old.execute(WRITE, ("two",))  # later writes of one transaction are guarded as the first
    postgres.claim(new, Held(8))
    with pytest.raises(StaleToken), postgres.begin(old, Held(7)):
        pytest.fail("a stale holder is in")


def test_a_guard_waits_for_a_claim_that_is_not_committed(connect: Connect) -> None:
    old, new = connect(), connect()
    postgres.claim(old, Held(7))
    caught: list[BaseException] = []

    def write() -> None:
        try:
            with postgres.begin(old, Held(7)):
                old.execute(WRITE, ("stale",))
        except StaleToken as error:
            caught.append(error)

    writer = threading.Thread(target=write)
    with new.transaction():
        postgres.claim(new, Held(8))
        writer.start()
        until_blocked(connect)
    writer.join(TIME_LIMIT_S)
    assert [str(error) for error in caught] == [str(StaleToken("primary", 7, 8))]
    assert values(new) == []


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_an_old_snapshot_does_not_pass(connect: Connect, level: str) -> None:
    old, new = connect(), connect()
    postgres.claim(old, Held(7))
    old.execute(f"BEGIN ISOLATION LEVEL {level}")
    old.execute(VALUES)  # the snapshot
    postgres.claim(new, Held(8))
    with pytest.raises(psycopg.errors.SerializationFailure):
        postgres.guard(old, Held(7))
    old.execute("ROLLBACK")
    old.execute(f"BEGIN ISOLATION LEVEL {level}")
    with pytest.raises(StaleToken):
        postgres.guard(old, Held(7))
    old.execute("ROLLBACK")


def test_a_guard_needs_a_transaction(connect: Connect) -> None:
    connection = connect()
    postgres.claim(connection, Held(7))
    for guard in (postgres.guard, postgres.admit):
        with pytest.raises(ConfigError, match="no transaction is open"):
            guard(connection, Held(7))
    with connection.transaction(), connection.cursor() as cursor:
        postgres.guard(cursor, Held(7))
    with connect(autocommit=False) as fresh:  # begins with the guard's own statement
        postgres.guard(fresh, Held(7))
        fresh.execute(WRITE, ("within",))


def test_a_service_admits_what_it_has_not_seen_before(connect: Connect) -> None:
    connection = connect()
    for term in (3, 3, 5):
        with connection.transaction():
            postgres.admit(connection, Held(term))
    with pytest.raises(StaleToken), connection.transaction():
        postgres.admit(connection, Held(4))
    with connection.transaction(force_rollback=True):
        postgres.admit(connection, Held(9))
    postgres.claim(connection, Held(6))  # 9 was rolled back together with its effect


def test_two_requests_with_a_new_token_do_not_block_each_other_for_ever(connect: Connect) -> None:
    one, two = connect(), connect()
    postgres.claim(one, Held(3))
    done = threading.Event()

    def request() -> None:
        with two.transaction():
            postgres.admit(two, Held(4))
            two.execute(WRITE, ("two",))
        done.set()

    second = threading.Thread(target=request)
    with one.transaction():
        postgres.admit(one, Held(4))
        second.start()
        until_blocked(connect)
        one.execute(WRITE, ("one",))
    assert done.wait(TIME_LIMIT_S)
    second.join()
    assert values(one) == ["one", "two"]


def test_the_limits_end_with_the_transaction(connect: Connect) -> None:
    connection = connect()
    show = "SHOW idle_in_transaction_session_timeout"
    postgres.claim(connection, Held(7))
    with postgres.begin(connection, Held(7, ttl=9.0)):
        shown = connection.execute(show).fetchone()[0]
        assert shown.endswith("ms") and 0 < int(shown.removesuffix("ms")) <= 9000
    assert connection.execute(show).fetchone()[0] == "0"
    with postgres.begin(connection, Held(7, ttl=math.inf)):
        assert connection.execute(show).fetchone()[0] == "0"
    with postgres.begin(connection, Held(7, ttl=1e12)):  # more than the setting can hold
        assert connection.execute(show).fetchone()[0] != "0"


@pytest.mark.parametrize("kind", ["psycopg", "psycopg, awaited", "asyncpg"])
def test_the_server_ends_the_transaction_of_a_stopped_holder(where: str, connect: Connect, kind: str) -> None:
    storages: list[Recorded] = [Psycopg(connect(), where), AsyncPsycopg(where), Asyncpg(where)]
    ended_by_the_server({storage.kind: storage for storage in storages}[kind])


def test_without_a_deadline_a_stopped_holder_blocks_its_successor(where: str, connect: Connect) -> None:
    # What the limit cures. The token of `paxlock run` is such a one: there the holder is killed instead.
    new = connect()
    postgres.claim(new, Held(7))
    new.execute("SET lock_timeout = '300ms'")
    with Holder("psycopg", where, Held(7, ttl=math.inf)) as old:
        old.expect("inside")
        old.stop()
        with pytest.raises(psycopg.errors.LockNotAvailable):
            postgres.claim(new, Held(8))
    new.execute("SET lock_timeout = 0")
    postgres.claim(new, Held(8))
    assert values(new) == []


def test_a_plain_read_would_not_have_seen_it(connect: Connect) -> None:
    # Mistake 1, to show that it is real: between a plain read and the commit the claim comes through.
    old, new = connect(), connect()
    postgres.claim(old, Held(7))
    with old.transaction():
        assert old.execute("SELECT term FROM paxlock_fence").fetchone() == (7,)
        postgres.claim(new, Held(8))
        old.execute(WRITE, ("stale",))
    assert values(new) == ["stale"]
