"""Who stands in line, and which names are in use: a page at a time (protocol.md sections 5 and 6)."""

from __future__ import annotations

from paxlock.core.lease import Candidate
from paxlock.core.value import value

__all__ = ["List", "Names", "WaiterEntry", "Waiters", "Waiting"]


@value
class WaiterEntry:
    """One entry of the line, for people to look at."""

    candidate: Candidate
    label: str
    waiting_ms: int


@value
class Waiting:
    """Who stands in line for the name, from position ``start``?"""

    request: int
    name: str
    start: int


@value
class List:
    """Which names with this prefix are in use, after the name ``after``? In so many pages at most."""

    request: int
    prefix: str
    after: str
    pages: int


@value
class Waiters:
    """One page of the line of a name, and how long the line is."""

    request: int
    name: str
    total: int
    entries: tuple[WaiterEntry, ...]


@value
class Names:
    """A page of the names in use here, in order, after the name ``after``; ``more`` where others follow."""

    request: int
    after: str
    names: tuple[str, ...]
    more: bool
