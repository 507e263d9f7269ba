"""Tokens, the environment, and the package as a whole."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from typing import Any

import pytest

import paxlock
from paxlock import ConfigError, fencing
from paxlock.fencing import FencingToken, StaleToken, Token, from_environment
from paxlock.fencing.token import check
from paxlock.testing import open_virtual_cell
from tests.fencing.tokens import CELL, Held

HEAVY = ("trio", "sqlalchemy", "django", "redis", "boto3", "psycopg", "asyncpg", "pymysql", "httpx")


def test_the_environment_of_paxlock_run() -> None:
    names = {"PAXLOCK_NAME": "primary", "PAXLOCK_TERM": "9007199254740993"}
    assert from_environment(names) == FencingToken("primary", 2**53 + 1, "")
    token = from_environment(names | {"PAXLOCK_CELL_ID": CELL})
    assert (token.cell, token.remaining()) == (CELL, math.inf)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "PAXLOCK_NAME is not set: start this program with `paxlock run`"),
        ({"PAXLOCK_NAME": "primary"}, "PAXLOCK_TERM is not set"),
        ({"PAXLOCK_NAME": "primary", "PAXLOCK_TERM": "07"}, "'07' is not a term"),
        ({"PAXLOCK_NAME": "primary", "PAXLOCK_TERM": "\N{SUPERSCRIPT TWO}"}, "is not a term"),
        ({"PAXLOCK_NAME": "primary", "PAXLOCK_TERM": "9" * 5000}, "is not a term"),
        ({"PAXLOCK_NAME": "primary", "PAXLOCK_TERM": str(2**62)}, "a term is a whole number"),
        ({"PAXLOCK_NAME": "n" * 256, "PAXLOCK_TERM": "7"}, "1 to 255 bytes"),
        ({"PAXLOCK_NAME": "n", "PAXLOCK_TERM": "7", "PAXLOCK_CELL_ID": "\n"}, "a cell id has"),
    ],
)
def test_what_the_environment_cannot_say(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_environment(environment)


@pytest.mark.parametrize("term", [0, -1, True, 7.0, "7", 2**62])
def test_what_is_no_term(term: Any) -> None:
    with pytest.raises(ConfigError, match="a term is a whole number"):
        check(Held(term))


def test_a_stale_token_keeps_what_it_says_across_processes() -> None:
    error = StaleToken("primary", 7, 9)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (StaleToken, str(error), vars(error))
    assert str(error) == "term 7 of 'primary' is stale: a holder with term 9 has been seen"
    assert paxlock.StaleToken is StaleToken
    assert isinstance(error, paxlock.PaxlockError)


async def test_a_held_lease_is_a_token(autojump_clock: object) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client, client.lock("primary") as held:
        token: Token = held
        check(token)
        assert held.cell == cell.cell.cell_id.hex()


def test_the_package_loads_nothing_until_it_is_asked() -> None:
    program = (
        "import sys; from paxlock.fencing import files, http, postgres, mysql, sqlite;"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match=r"module 'paxlock\.fencing' has no attribute 'nothing'"):
        _ = fencing.nothing
