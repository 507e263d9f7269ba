"""What every guard is given: a name, a term, and how long the lease has left."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Protocol

import attrs

from paxlock.errors import ConfigError, LeaseLost, LossReason, StaleToken

__all__ = ["FencingToken", "Token", "from_environment"]

NAME_MAX_BYTES = 255
CELL_MAX_CHARACTERS = 64
TERM_MAX = (1 << 62) - 1


class Token(Protocol):
    """Anything that tells of a lease: a HeldLease, or a `FencingToken`.

    It may have a ``cell`` as well: the id of the cell that granted the lease. Terms of two cells say nothing
    about each other, so a guard refuses a change of it. A token without one belongs to the cell "".
    """

    @property
    def name(self) -> str:
        """What is held."""

    @property
    def term(self) -> int:
        """The fencing token: greater than that of every holder before."""

    def remaining(self) -> float:
        """Seconds until the lease would be lost; 0 where it is over."""


@attrs.frozen
class FencingToken:
    """A token that came from elsewhere: from the environment, or over the network.

    Nothing is known here of the lease's deadline, so `remaining` is infinite: guards compare terms, and set
    no time limits.
    """

    name: str
    term: int
    cell: str = ""

    def __attrs_post_init__(self) -> None:
        check(self)

    def remaining(self) -> float:
        """Infinite: whoever holds the lease knows its deadline, this token does not."""
        return math.inf


def from_environment(environment: Mapping[str, str] = os.environ) -> FencingToken:
    """The token that ``paxlock run`` gave its command: PAXLOCK_NAME, PAXLOCK_TERM, and PAXLOCK_CELL_ID.

    Its `remaining` is infinite. The deadline moves with every renewal, which the command does not see;
    ``paxlock run`` ends the command before the deadline. Raises ConfigError where a variable is missing or
    malformed.
    """
    name, term = environment.get("PAXLOCK_NAME", ""), environment.get("PAXLOCK_TERM", "")
    if not name or not term:
        missing = "PAXLOCK_TERM" if name else "PAXLOCK_NAME"
        raise ConfigError(f"{missing} is not set: start this program with `paxlock run`")
    return FencingToken(name, parse_term(term), environment.get("PAXLOCK_CELL_ID", ""))


def parse_term(text: str) -> int:
    """A term from its decimal digits. Raises ConfigError for anything else, also for a leading zero."""
    if not text.isascii() or not text.isdigit() or len(text) > len(str(TERM_MAX)) or text[0] == "0":
        raise ConfigError(f"{text[:40]!r} is not a term: give the decimal number of the lease, unchanged")
    return int(text)


def cell_of(token: Token) -> str:
    """The id of the token's cell, or "" where it has none."""
    cell = getattr(token, "cell", "")
    assert isinstance(cell, str)
    return cell


def check(token: Token) -> None:
    """Raise ConfigError where this is no token, and LeaseLost where its lease is over by its own clock."""
    name, term, cell = token.name, token.term, cell_of(token)
    if not 1 <= len(name.encode()) <= NAME_MAX_BYTES:
        raise ConfigError(f"a name has 1 to {NAME_MAX_BYTES} bytes of UTF-8, not {len(name.encode())}")
    if type(term) is not int or not 1 <= term <= TERM_MAX:
        raise ConfigError(f"a term is a whole number from 1 to 2^62 - 1, not {term!r}")
    if len(cell) > CELL_MAX_CHARACTERS or not cell.isascii() or not cell.isprintable():
        raise ConfigError(f"a cell id has at most {CELL_MAX_CHARACTERS} ASCII characters, not {cell[:80]!r}")
    if token.remaining() <= 0:
        raise LeaseLost(name, term, LossReason.EXPIRED)


def judge(token: Token, cell: object, highest: int, where: str) -> bool:
    """Compare with what a guard has stored. True: this very term; False: an older one, so claim first.

    Raises StaleToken for a newer one. The term alone may not decide: ConfigError for another cell.
    """
    if cell != cell_of(token):
        raise ConfigError(
            f"{token.name!r} in {where} was fenced by cell {cell!r}, but this lease is of cell"
            f" {cell_of(token)!r}: make sure that nothing of the old cell runs any more, then delete the"
            f" entry of {token.name!r} there"
        )
    if token.term < highest:
        raise StaleToken(token.name, token.term, highest)
    return token.term == highest


def unclaimed(token: Token, where: str) -> ConfigError:
    """The error for a guard without a claim before it."""
    return ConfigError(
        f"term {token.term} of {token.name!r} was not claimed in {where}: call claim() once when the lease is"
        " acquired, before the first guard"
    )
