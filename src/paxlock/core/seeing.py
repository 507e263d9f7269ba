"""What a node tells those who look after it: its counters, and its clock (protocol.md section 6)."""

from __future__ import annotations

from typing import TypeAlias

from paxlock.core.value import value

__all__ = ["Count", "Counted", "Ping", "Pong", "Seeing"]


@value
class Ping:
    """One small question, never repeated: does it get there, and does its answer?"""

    request: int


@value
class Pong:
    """The answer: for how long this node has run, by its own clock."""

    request: int
    up_ms: int


@value
class Count:
    """What have you counted, after the counter of this name?"""

    request: int
    after: str


@value
class Counted:
    """A page of counters, pairs of (name, number), by name; ``more`` where others follow."""

    request: int
    after: str
    more: bool
    counters: tuple[tuple[str, int], ...]


Seeing: TypeAlias = Ping | Pong | Count | Counted
