"""What a holder does with each library: one guarded write, with a pause between the guard and its effect.

A kind is made ready once, and then does a step for each token: the lease's clock does not run while libraries
are imported.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from paxlock.fencing import Token

INSERT = "INSERT INTO effect (value) VALUES (%s)"
BUCKET, KEY = "bucket", "report/manifest.json"

Pause = Callable[[], None]
Step = Callable[[Token, str, Pause], None]


def with_sqlite(where: str) -> Step:
    import sqlite3

    from paxlock.fencing import sqlite

    def step(held: Token, value: str, pause: Pause) -> None:
        with closing(sqlite3.connect(where)) as connection, sqlite.begin(connection, held):
            connection.execute(INSERT.replace("%s", "?"), (value,))
            pause()

    return step


def with_psycopg(where: str) -> Step:
    import psycopg

    from paxlock.fencing import postgres

    def step(held: Token, value: str, pause: Pause) -> None:
        with (
            closing(psycopg.connect(where, autocommit=True)) as connection,
            postgres.begin(connection, held),
        ):
            connection.execute(INSERT, (value,))
            pause()

    return step


def with_async_psycopg(where: str) -> Step:
    import psycopg

    from paxlock.fencing import postgres

    async def within(held: Token, value: str, pause: Pause) -> None:
        connection = await psycopg.AsyncConnection.connect(where, autocommit=True)
        try:
            async with postgres.abegin(connection, held):
                await connection.execute(INSERT, (value,))
                pause()
        finally:
            await connection.close()

    return lambda *arguments: asyncio.run(within(*arguments))


async def connect_asyncpg(where: str) -> Any:
    """A connection to where libpq would have one."""
    import asyncpg

    settings = dict(part.split("=") for part in where.split())
    return await asyncpg.connect(
        host=settings["host"], user=settings["user"], database=settings["dbname"], ssl=False
    )


def with_asyncpg(where: str) -> Step:
    import asyncpg  # noqa: F401 - here, while the clock does not run

    from paxlock.fencing import postgres

    async def within(held: Token, value: str, pause: Pause) -> None:
        connection = await connect_asyncpg(where)
        try:
            async with postgres.abegin(connection, held):
                await connection.execute(INSERT.replace("%s", "$1"), value)
                pause()
        finally:
            await connection.close()

    return lambda *arguments: asyncio.run(within(*arguments))


def with_pymysql(where: str) -> Step:
    import pymysql

    from paxlock.fencing import mysql

    def step(held: Token, value: str, pause: Pause) -> None:
        connection = pymysql.connect(unix_socket=where, user="root", database="test")
        try:
            with mysql.begin(connection, held) as cursor:
                cursor.execute(INSERT, (value,))
                pause()
        finally:
            if connection.open:  # not where the server has ended it
                connection.close()

    return step


def with_sqlalchemy(where: str) -> Step:
    import sqlalchemy

    from paxlock import fencing

    insert = sqlalchemy.text(INSERT.replace("%s", ":value"))
    engine = sqlalchemy.create_engine(where, poolclass=sqlalchemy.NullPool)

    def step(held: Token, value: str, pause: Pause) -> None:
        with fencing.sqlalchemy.begin(engine, held) as connection:
            connection.execute(insert, {"value": value})
            pause()

    return step


def with_sqlalchemy_sessions(where: str) -> Step:
    import sqlalchemy
    from sqlalchemy import orm

    from paxlock import fencing

    insert = sqlalchemy.text(INSERT.replace("%s", ":value"))
    engine = sqlalchemy.create_engine(where, poolclass=sqlalchemy.NullPool)

    def step(held: Token, value: str, pause: Pause) -> None:
        factory = orm.sessionmaker(engine)
        fencing.sqlalchemy.guard(factory, held)
        with factory.begin() as session:
            session.execute(insert, {"value": value})
            pause()

    return step


def with_async_sqlalchemy(where: str) -> Step:
    import sqlalchemy
    from sqlalchemy.ext.asyncio import create_async_engine

    from paxlock import fencing

    insert = sqlalchemy.text(INSERT.replace("%s", ":value"))
    engine = create_async_engine(where, poolclass=sqlalchemy.NullPool)

    async def within(held: Token, value: str, pause: Pause) -> None:
        async with fencing.sqlalchemy.abegin(engine, held) as connection:
            await connection.execute(insert, {"value": value})
            pause()

    return lambda *arguments: asyncio.run(within(*arguments))


def with_async_sqlalchemy_sessions(where: str) -> Step:
    import sqlalchemy
    from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

    from paxlock import fencing

    insert = sqlalchemy.text(INSERT.replace("%s", ":value"))
    engine = create_async_engine(where, poolclass=sqlalchemy.NullPool)

    async def within(held: Token, value: str, pause: Pause) -> None:
        factory = async_sessionmaker(engine)
        fencing.sqlalchemy.guard(factory, held)
        async with factory.begin() as session:
            await session.execute(insert, {"value": value})
            pause()

    return lambda *arguments: asyncio.run(within(*arguments))


def with_django(where: str) -> Step:
    import django
    from django import conf, db

    database = json.loads(where)
    if database["ENGINE"].endswith("mysql"):
        import pymysql

        pymysql.install_as_MySQLdb()
    conf.settings.configure(
        INSTALLED_APPS=["paxlock.fencing.django"],
        DATABASES={"default": database},
        USE_TZ=True,
        SECRET_KEY="tests",
    )
    django.setup()

    from paxlock import fencing

    def step(held: Token, value: str, pause: Pause) -> None:
        try:
            with fencing.django.atomic(held), db.connection.cursor() as cursor:
                cursor.execute(INSERT, [value])
                pause()
        finally:
            db.connection.close()

    return step


def with_redis(where: str) -> Step:
    import redis

    from paxlock.fencing.redis import RedisGuard

    def step(held: Token, value: str, pause: Pause) -> None:
        with redis.Redis(unix_socket_path=where) as client:
            guard = RedisGuard(client, held)
            pause()  # there are no transactions: the write is the commit
            guard.set("effect", value)

    return step


def with_async_redis(where: str) -> Step:
    from redis.asyncio import Redis

    from paxlock.fencing.redis import AsyncRedisGuard

    async def within(held: Token, value: str, pause: Pause) -> None:
        async with Redis(unix_socket_path=where) as client:
            guard = AsyncRedisGuard(client, held)
            pause()
            await guard.set("effect", value)

    return lambda *arguments: asyncio.run(within(*arguments))


def with_s3(where: str) -> Step:
    import boto3

    client = boto3.client("s3", region_name="us-east-1", endpoint_url=where)
    return lambda *arguments: write_report(client, *arguments)


def write_report(client: Any, held: Token, value: str, pause: Pause) -> None:
    """A body in the folder of its term, and the manifest that names it."""
    from paxlock.fencing.s3 import ManifestGuard

    guard = ManifestGuard(client, BUCKET, KEY, held)
    key = f"report/{guard.folder}/body"
    client.put_object(Bucket=BUCKET, Key=key, Body=value.encode())

    def change(data: object) -> dict[str, str]:
        pause()  # the term was compared, and the write is not sent yet
        return {"current": key}

    guard.update(change)


def with_http(where: str) -> Step:
    import httpx

    from paxlock.fencing.http import FIELD, SendToken, raise_if_stale

    def step(held: Token, value: str, pause: Pause) -> None:
        def sending(request: httpx.Request) -> None:
            assert FIELD in request.headers  # the lease's clock was looked at, and nothing is sent yet
            pause()

        hooks = {"request": [sending]}
        with httpx.Client(auth=SendToken(held), event_hooks=hooks, trust_env=False) as client:
            answer = client.put(f"{where}/{value}")
        raise_if_stale(answer)
        answer.raise_for_status()

    return step


def with_files(where: str) -> Step:
    from paxlock.fencing import files

    def step(held: Token, value: str, pause: Pause) -> None:
        with files.begin(f"{where}/fence", held):
            (Path(where) / "effect").write_text(value, encoding="utf-8")
            pause()

    return step


KINDS: dict[str, Callable[[str], Step]] = {
    "sqlite3": with_sqlite,
    "psycopg": with_psycopg,
    "psycopg, awaited": with_async_psycopg,
    "asyncpg": with_asyncpg,
    "pymysql": with_pymysql,
    "sqlalchemy": with_sqlalchemy,
    "sqlalchemy sessions": with_sqlalchemy_sessions,
    "sqlalchemy, awaited": with_async_sqlalchemy,
    "sqlalchemy sessions, awaited": with_async_sqlalchemy_sessions,
    "django": with_django,
    "redis": with_redis,
    "redis, awaited": with_async_redis,
    "s3": with_s3,
    "http": with_http,
    "files": with_files,
}
