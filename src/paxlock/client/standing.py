"""What a program sees of names that it does not hold, as values."""

from __future__ import annotations

import attrs

from paxlock.core.session.judgement import State

__all__ = ["Change", "Standing", "State", "Waiter"]


@attrs.frozen
class Waiter:
    """Somebody in line: label, and for how many seconds already."""

    label: str
    waiting: float


@attrs.frozen
class Standing:
    """A quorum's answer: history when it arrives. Nobody may act on FREE except by acquiring.

    ``term`` is the fencing token of the tenure that is led, ``remaining`` and ``ttl`` are seconds.
    ``nodes_up`` is how many nodes had answered when a quorum agreed: of ``poll``, often 2 of 3 in a cell that
    is well. How many there are is what ``survey`` tells; ``inspect`` waits for all.
    """

    name: str
    state: State
    term: int = 0
    label: str = ""
    data: bytes = b""
    remaining: float = 0.0
    ttl: float = 0.0
    waiters: tuple[Waiter, ...] = ()
    nodes_up: int = 0
    nodes_total: int = 0


@attrs.frozen
class Change:
    """A new state of a watched name, or other data of the same tenure: then ``term`` is the same. ``skipped``
    states were replaced before anybody took them.
    """

    name: str
    state: State
    term: int
    label: str
    data: bytes
    skipped: int = 0
