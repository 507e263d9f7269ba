"""Guards that refuse a stale holder where the effect is.

A lease tells one program that it may work. Nothing but a guard stops the holder before it, which was frozen
in the middle of its work and goes on: the guard stands where the effect is, in the database or in the file,
and refuses a term that is lower than the highest it has seen (docs/fencing.md).

Each kind of storage has a module here, loaded when it is used: `postgres`, `mysql`, `sqlite`, `sqlalchemy`,
`django`, `redis`, `s3`, `http` and `files`. They share their words: ``claim`` once when the lease is
acquired, ``guard`` in every transaction, ``begin`` for a transaction with its guard, and StaleToken for
what is refused. What is awaited has an ``a`` before its name. `Token` is what they take: a HeldLease, or
anything like it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from paxlock.errors import StaleToken
from paxlock.fencing.token import FencingToken, Token, from_environment

if TYPE_CHECKING:
    from paxlock.fencing import django as django
    from paxlock.fencing import files as files
    from paxlock.fencing import http as http
    from paxlock.fencing import mysql as mysql
    from paxlock.fencing import postgres as postgres
    from paxlock.fencing import redis as redis
    from paxlock.fencing import s3 as s3
    from paxlock.fencing import sqlalchemy as sqlalchemy
    from paxlock.fencing import sqlite as sqlite

__all__ = ["FencingToken", "StaleToken", "Token", "from_environment"]

#: The modules, each loaded when it is used.
GUARDS = {"django", "files", "http", "mysql", "postgres", "redis", "s3", "sqlalchemy", "sqlite"}


def __getattr__(name: str) -> object:
    if name not in GUARDS:
        raise AttributeError(f"module 'paxlock.fencing' has no attribute {name!r}")
    return import_module(f"paxlock.fencing.{name}")
