"""The guard for Django, on SQLite and on real servers."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paxlock import ConfigError, fencing
from paxlock.fencing import StaleToken, Token
from tests.fencing.libraries import library
from tests.fencing.rules import Rules, each
from tests.fencing.stopped import Last, blocks_its_successor, ended_by_the_server
from tests.fencing.tokens import CELL, Held

django = library("django")
db = library("django.db")
conf = library("django.conf")
management = library("django.core.management")

WRITE = "INSERT INTO effect (value) VALUES (%s)"
VALUES = "SELECT value FROM effect ORDER BY id"
_numbers = itertools.count()

servers = [pytest.mark.servers, pytest.mark.processes]


def settings_of(vendor: str, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """An empty database."""
    if vendor == "sqlite3":
        return {"NAME": str(tmp_path / "database"), "OPTIONS": {"timeout": 0.05}}
    if vendor == "postgresql":
        server = request.getfixturevalue("postgres_database")
        return {"NAME": "postgres", "USER": "paxlock", "HOST": str(server)}
    library("pymysql").install_as_MySQLdb()
    server = request.getfixturevalue("mariadb_database")
    return {"NAME": "test", "USER": "root", "HOST": str(server)}


@pytest.fixture(
    params=[
        "sqlite3",
        pytest.param("postgresql", marks=servers),
        pytest.param("mysql", marks=servers),
    ]
)
def using(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The alias of a database with the migrated table."""
    if not conf.settings.configured:
        conf.settings.configure(
            INSTALLED_APPS=["paxlock.fencing.django"], DATABASES={}, USE_TZ=True, SECRET_KEY="tests"
        )
        django.setup()
    alias = f"alias{next(_numbers)}"
    engine = f"django.db.backends.{request.param}"
    database = {"ENGINE": engine, **settings_of(request.param, request, tmp_path)}
    db.connections.settings[alias] = db.connections.configure_settings({"default": {}, alias: database})[
        alias
    ]
    management.call_command("migrate", database=alias, verbosity=0)
    counter = {
        "sqlite": "integer PRIMARY KEY",
        "postgresql": "serial PRIMARY KEY",
        "mysql": "int AUTO_INCREMENT PRIMARY KEY",
    }[db.connections[alias].vendor]
    with db.connections[alias].cursor() as cursor:
        cursor.execute(f"CREATE TABLE effect (id {counter}, value varchar(255))")
    yield alias
    db.connections[alias].close()
    del db.connections[alias], db.connections.settings[alias]


class Database(Last):
    """A database by its alias."""

    kind = "django"

    def __init__(self, using: str) -> None:
        self.using = using
        settings = db.connections.settings[using]
        wanted = ("ENGINE", "NAME", "USER", "HOST", "OPTIONS")
        self.where = json.dumps({part: settings[part] for part in wanted})

    def claim(self, held: Token) -> None:
        fencing.django.claim(held, using=self.using)

    def write(self, held: Token, value: str) -> None:
        with fencing.django.atomic(held, using=self.using), db.connections[self.using].cursor() as cursor:
            cursor.execute(WRITE, [value])

    def values(self) -> list[str]:
        with db.connections[self.using].cursor() as cursor:
            cursor.execute(VALUES)
            return [row[0] for row in cursor.fetchall()]


class TestRules(Rules):
    @pytest.fixture
    def storage(self, using: str) -> Database:
        return Database(using)

    @pytest.mark.processes
    def test_a_stopped_holder(self, storage: Database) -> None:
        if db.connections[storage.using].vendor == "sqlite":
            blocks_its_successor(storage, db.OperationalError)
        else:
            ended_by_the_server(storage)


def test_it_is_the_outermost_transaction(using: str) -> None:
    fencing.django.claim(Held(7), using=using)
    with db.transaction.atomic(using=using):
        for enter in each(
            lambda: fencing.django.atomic(Held(7), using=using).__enter__(),
            lambda: fencing.django.claim(Held(7), using=using),
        ):
            with pytest.raises(RuntimeError, match="durable"):
                enter()


def test_a_service_admits_what_it_has_not_seen_before(using: str) -> None:
    with pytest.raises(ConfigError, match=r"within transaction\.atomic"):
        fencing.django.admit(Held(3), using=using)
    for term in (3, 3, 5):
        with db.transaction.atomic(using=using):
            fencing.django.admit(Held(term), using=using)
    with pytest.raises(StaleToken), db.transaction.atomic(using=using):
        fencing.django.admit(Held(4), using=using)


def test_the_model_shows_the_terms_and_has_all_its_migrations(using: str) -> None:
    from paxlock.fencing.django.models import Fence

    fencing.django.claim(Held(7), using=using)
    found = Fence.objects.using(using).get(name="primary")
    assert (found.cell, found.term, str(found)) == (CELL, 7, "primary: term 7")
    said = io.StringIO()
    management.call_command("makemigrations", "paxlock", "--check", "--dry-run", stdout=said)
    assert "No changes" in said.getvalue()
