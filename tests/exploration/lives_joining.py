"""The node that joins in the place of its old life: the shipped `Recovery`, run once in every situation.

A situation is all that the machine keeps. Its disk is as fast as the node is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

import attrs

from paxlock.core.durable import Durability, Membership, NodeRecord
from paxlock.core.messages import Greeted, NodeMode
from paxlock.core.node.recovery import Recovery

__all__ = ["NEW_LIFE", "OLD_LIFE", "Answer", "Joining", "Progress"]

OLD_LIFE, NEW_LIFE = 1, 2
RUNS = {OLD_LIFE: b"\x01" * 16, NEW_LIFE: b"\x02" * 16}


class Answer(NamedTuple):
    """The answer to a greeting: of which node, to which phase and life, with which ceiling."""

    node: str
    phase: int
    life: int
    ceiling: int


class Progress(NamedTuple):
    """Of a joining node: whether it serves, with which floor, and the phase of its greetings."""

    serves: bool
    floor: int
    phase: int


class Joining:
    """The situations of the joining node, by number; it has begun at the first moment with number 0."""

    def __init__(self, ttl: int) -> None:
        self._ttl = ttl
        self.progress: list[Progress] = []
        self._machines: list[Recovery] = []
        self._numbers: dict[object, int] = {}
        self._after: dict[tuple[int, int, Answer | None], int] = {}
        record = NodeRecord(
            bytes(16), 1, "b", NEW_LIFE, 0, Durability.RECORD, Membership.JOINING, 1000 * ttl, clean=False
        )
        found = Recovery(record, RUNS[NEW_LIFE], 0, ("a", "c"), float(ttl), 1000 * ttl, 0.0, 0.0)
        found.begin(0.0)
        self._number(found)

    def after(self, number: int, now: int, answer: Answer | None = None) -> int:
        """What becomes of the situation when this is heard, or when the time is ``now``."""
        key = number, now, answer
        known = self._after.get(key)
        if known is None:
            known = self._after[key] = number if self.progress[number].serves else self._run(*key)
        return known

    def _run(self, number: int, now: int, answer: Answer | None) -> int:
        found = copy.deepcopy(self._machines[number])
        _settle(found, now)
        if answer is not None:
            node, phase, life, ceiling = answer
            state = (1, RUNS[NEW_LIFE], ceiling, NodeMode.SERVING, True, False, 1000 * self._ttl, 0, 0, ())
            found.answered(node, Greeted(phase, life, RUNS[life], life, RUNS[life], *state), float(now))
            _settle(found, now)
        return self._number(found)

    def _number(self, found: Recovery) -> int:
        phase = found.joining.phase if found.joining is not None else 1
        progress = Progress(found.mode is NodeMode.SERVING, found.floor, phase)
        number = self._numbers.setdefault(progress if progress.serves else _kept(found), len(self._machines))
        if number == len(self._machines):
            self._machines.append(found)
            self.progress.append(progress)
        return number


def _settle(found: Recovery, now: int) -> None:
    found.advance(now)
    found.saved = found.record
    found.advance(now)


def _kept(value: object) -> object:
    """All that is kept in a value, to compare with others of its kind."""
    kind: type = type(value)
    if attrs.has(kind):
        return tuple(_kept(getattr(value, field.name)) for field in attrs.fields(kind))
    if isinstance(value, Mapping):
        return tuple((key, _kept(value[key])) for key in sorted(value))
    if isinstance(value, set | frozenset):
        return tuple(sorted(value))
    return tuple(map(_kept, value)) if isinstance(value, tuple | list) else value
