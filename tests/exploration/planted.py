"""Which planted bugs an exploration must find, and the smallest bounds in which it does.

The others of the table break what is not explored: giving way, clean stops and joining, the
configuration, watching, and progress. The simulator catches those.
"""

from __future__ import annotations

from tests.exploration.bounds import BOUNDS
from tests.exploration.search import Exploration, Report
from tests.planted.mutations import planted
from tests.planted.table import PLANTED_BUGS

__all__ = ["FOUND_IN", "find"]

FOUND_IN: dict[str, str] = {
    "promises-while-held": "terms2",
    "accepts-while-held": "terms2",
    "release-of-another": "small",
    "released-while-valid": "renew",
    "mixed-terms": "hand-off",
    "counted-from-the-last-sending": "renew",
    "counted-from-the-answer": "small",
    "re-armed-by-an-old-number": "renew",
    "listed-without-re-arming": "renew",
    "messages-counted": "small",
    "commit-taken-for-accept": "commit",
    "no-tombstone": "small",
    "no-sitting-out": "crash",
    "floor-forgotten": "crash",
    "term-left-open": "small",
    "revived": "renew",
    "drift-left-out": "small",
    "newer-number-echoed": "standing2",
    "counted-from-the-arrival": "hand-off2",
    "old-refresh-accepted": "hand-off",
    "left-standing-in-line": "hand-off",
}


def find(name: str, *, minutes: float) -> Report:
    """Explore with this bug planted; the report tells the violation and the shortest way to it."""
    mutation = next(mutation for mutation in PLANTED_BUGS if mutation.name == name)
    with planted(mutation):
        return Exploration(BOUNDS[FOUND_IN[name]]).run(minutes=minutes)
