"""Guards for Django. Put "paxlock.fencing.django" into INSTALLED_APPS, and run ``migrate``.

    fencing.django.claim(held)                     # once, when the lease is acquired
    with fencing.django.atomic(held):              # for each transaction
        Report.objects.create(...)

What is particular to a database is told in `paxlock.fencing.postgres`, `mysql` and `sqlite`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from paxlock.errors import ConfigError
from paxlock.fencing import statements
from paxlock.fencing.statements import Parameters, Row, Steps, dialect_of, pyformat
from paxlock.fencing.token import Token

__all__ = ["admit", "atomic", "claim"]


def claim(held: Token, using: str = DEFAULT_DB_ALIAS) -> None:
    """Make the term the highest, in a transaction of its own. Raises StaleToken if it is not."""
    with transaction.atomic(using=using, durable=True):
        _run(using, statements.claim(_dialect(using), held))


@contextmanager
def atomic(held: Token, using: str = DEFAULT_DB_ALIAS) -> Iterator[None]:
    """A transaction that begins with its guard. It is the outermost one: within another ``atomic`` it raises
    RuntimeError, since a snapshot of that could be older than the guard.
    """
    with transaction.atomic(using=using, durable=True):
        _run(using, statements.guard(_dialect(using), held))
        yield


def admit(token: Token, using: str = DEFAULT_DB_ALIAS) -> None:
    """The guard of a service that got the token from elsewhere: a term never seen before is claimed, within
    the ``atomic`` that is open.
    """
    if not connections[using].in_atomic_block:
        raise ConfigError("no transaction is open: call admit() within transaction.atomic()")
    _run(using, statements.admit(_dialect(using), token))


def _dialect(using: str) -> statements.Dialect:
    return dialect_of(connections[using].vendor)


def _run(using: str, steps: Steps) -> None:
    with connections[using].cursor() as cursor:

        def execute(statement: str, parameters: Parameters) -> Row:
            cursor.execute(pyformat(statement), parameters)
            return statements.first_row(cursor.fetchall() if cursor.description else ())

        statements.run(steps, execute)
