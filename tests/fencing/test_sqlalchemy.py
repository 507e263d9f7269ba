"""The guard for SQLAlchemy: on SQLite, and on real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paxlock import ConfigError
from paxlock.fencing import StaleToken, Token
from tests.fencing.libraries import library
from tests.fencing.rules import Rules
from tests.fencing.stopped import Last, Recorded, blocks_its_successor, ended_by_the_server
from tests.fencing.tokens import Held

sqlalchemy = library("sqlalchemy")
orm = library("sqlalchemy.orm")
aio = library("sqlalchemy.ext.asyncio")

from paxlock.fencing import sqlalchemy as fencing  # noqa: E402

METADATA = sqlalchemy.MetaData()
FENCE = fencing.table(METADATA)
EFFECT = sqlalchemy.Table(
    "effect",
    METADATA,
    sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column("value", sqlalchemy.String(255)),
)
VALUES = sqlalchemy.select(EFFECT.c.value).order_by(EFFECT.c.id)

servers = [pytest.mark.servers, pytest.mark.processes]
BLOCKING = [
    "sqlite",
    pytest.param("postgresql+psycopg", marks=servers),
    pytest.param("mariadb+pymysql", marks=servers),
]
AWAITED = [
    "sqlite+aiosqlite",
    pytest.param("postgresql+psycopg", marks=servers),
    pytest.param("postgresql+asyncpg", marks=servers),
]


def url_of(driver: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if driver.startswith("sqlite"):
        return f"{driver}:///{tmp_path / 'database'}?timeout=0.05"
    if driver.startswith("postgresql"):
        return f"{driver}://paxlock@/postgres?host={request.getfixturevalue('postgres_database')}"
    server = request.getfixturevalue("mariadb_database")
    return f"{driver}://root@localhost/test?unix_socket={server}&charset=utf8mb4"


class Engine(Last):
    """A database by an engine."""

    kind = "sqlalchemy"

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.where = engine.url.render_as_string(hide_password=False)

    def claim(self, held: Token) -> None:
        fencing.claim(self.engine, held)

    def write(self, held: Token, value: str) -> None:
        with fencing.begin(self.engine, held) as connection:
            connection.execute(EFFECT.insert(), {"value": value})

    def values(self) -> list[str]:
        with self.engine.connect() as connection:
            return list(connection.execute(VALUES).scalars())


class Sessions(Engine):
    """A database by sessions: one factory for each tenure."""

    kind = "sqlalchemy sessions"

    def write(self, held: Token, value: str) -> None:
        factory = orm.sessionmaker(self.engine)
        fencing.guard(factory, held)
        with factory.begin() as session:
            session.execute(EFFECT.insert(), {"value": value})


class AsyncEngine(Last):
    """A database by an engine that is awaited."""

    kind = "sqlalchemy, awaited"

    def __init__(self, where: str) -> None:
        self.where = where

    def run(self, action: Callable[[Any], Any]) -> Any:
        async def connected() -> Any:
            engine = aio.create_async_engine(self.where)
            try:
                return await action(engine)
            finally:
                await engine.dispose()

        return asyncio.run(connected())

    def claim(self, held: Token) -> None:
        self.run(lambda engine: fencing.aclaim(engine, held))

    def write(self, held: Token, value: str) -> None:
        async def write(engine: Any) -> None:
            async with fencing.abegin(engine, held) as connection:
                await connection.execute(EFFECT.insert(), {"value": value})

        self.run(write)

    def values(self) -> list[str]:
        async def read(engine: Any) -> list[str]:
            async with engine.connect() as connection:
                return list((await connection.execute(VALUES)).scalars())

        found: list[str] = self.run(read)
        return found


class AsyncSessions(AsyncEngine):
    """A database by sessions that are awaited."""

    kind = "sqlalchemy sessions, awaited"

    def write(self, held: Token, value: str) -> None:
        async def write(engine: Any) -> None:
            factory, free = aio.async_sessionmaker(engine), aio.async_sessionmaker(engine)
            fencing.guard(factory, held)
            async with factory.begin() as session:
                await session.execute(EFFECT.insert(), {"value": value})
            fencing.guard(factory, Held(held.term, held.name, cell="of nobody"))
            with pytest.raises(ConfigError):
                async with factory.begin() as session:
                    await session.execute(VALUES)
            async with free.begin() as session:  # the guard is for its own factory alone
                await session.execute(VALUES)

        self.run(write)


@pytest.fixture(params=BLOCKING)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    engine = sqlalchemy.create_engine(url_of(request.param, request, tmp_path))
    METADATA.create_all(engine)
    yield engine
    engine.dispose()


class Guarded(Rules):
    @pytest.mark.processes
    def test_a_stopped_holder(self, storage: Recorded) -> None:
        if storage.where.startswith("sqlite"):
            blocks_its_successor(storage, sqlalchemy.exc.OperationalError)
        else:
            ended_by_the_server(storage)


class TestEngine(Guarded):
    @pytest.fixture
    def storage(self, engine: Any) -> Engine:
        return Engine(engine)


class TestSessions(Guarded):
    @pytest.fixture
    def storage(self, engine: Any) -> Engine:
        return Sessions(engine)


class Awaited(Guarded):
    of: type[AsyncEngine] = AsyncEngine

    @pytest.fixture(params=AWAITED)
    def storage(self, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncEngine:
        library("aiosqlite")
        storage = self.of(url_of(request.param, request, tmp_path))

        async def create(engine: Any) -> None:
            async with engine.begin() as connection:
                await connection.run_sync(METADATA.create_all)

        storage.run(create)
        return storage


class TestAsyncEngine(Awaited):
    pass


class TestAsyncSessions(Awaited):
    of = AsyncSessions


def test_every_transaction_of_a_guarded_session_is_guarded(engine: Any) -> None:
    factory = orm.sessionmaker(engine)
    fencing.guard(factory, Held(7))
    fencing.claim(engine, Held(7))
    with factory() as session:
        for value in ("one", "two"):
            session.execute(EFFECT.insert(), {"value": value})
            session.commit()
        fencing.claim(engine, Held(8))
        with pytest.raises(StaleToken):
            session.execute(EFFECT.insert(), {"value": "stale"})
        session.rollback()
    assert Engine(engine).values() == ["one", "two"]


def test_an_engine_without_transactions_is_refused(engine: Any) -> None:
    free = engine.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(ConfigError, match="AUTOCOMMIT"):
        fencing.claim(free, Held(7))
    fencing.claim(engine, Held(7))
    with pytest.raises(ConfigError, match="AUTOCOMMIT"):
        fencing.begin(free, Held(7)).__enter__()


def test_a_service_admits_what_it_has_not_seen_before(engine: Any) -> None:
    for term in (3, 3, 5):
        with engine.begin() as connection:
            fencing.admit(connection, Held(term))
    with pytest.raises(StaleToken), engine.begin() as connection:
        fencing.admit(connection, Held(4))


def test_another_database_is_told(tmp_path: Path) -> None:
    class Unknown:
        class dialect:  # noqa: N801 - the attribute of an engine
            name = "oracle"

    with pytest.raises(ConfigError, match="'oracle': there are postgresql"):
        fencing.admit(Unknown(), Held(7))  # type: ignore[arg-type]
