"""Which planted bugs an exploration must find, and the smallest bounds in which it does.

The others of the table break what is not explored: giving way, clean stops and joining, the
configuration, watching, and progress. The simulator catches those.
"""

from __future__ import annotations

from tests.exploration import explore
from tests.exploration.bounds import BOUNDS, LIVES_BOUNDS
from tests.exploration.lives import LivesReport, explore_lives
from tests.exploration.search import Report
from tests.planted.mutations import planted
from tests.planted.table import PLANTED_BUGS

__all__ = ["AMONG_CLASSES", "BUGS", "FOUND_IN", "FOUND_IN_LIVES", "find", "find_lives"]

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
    "force-frees-at-once": "forced",
    "releases-without-a-secret": "handles",
    "renews-without-a-secret": "handles-renew",
    "a-wrong-secret-sets-a-tombstone": "handles",
    "a-right-secret-sets-none": "handles",
    "accepted-and-not-kept": "kill",
    "renewed-and-not-kept": "renew-kill",
    "renewals-read-and-not-counted": "renew-kill",
    "tombstones-not-kept": "kill",
    "own-term-not-kept": "terms2-kill",
}


# Finding the classes of the others takes long.
AMONG_CLASSES = tuple(
    name for name, bounds in FOUND_IN.items() if bounds not in ("terms2", "hand-off2", "terms2-kill")
)

FOUND_IN_LIVES: dict[str, str] = {
    "two-lives-never-told-apart": "lives",
    "noted-by-one-too-few": "lives",
    "sits-out-before-it-is-noted": "lives",
    "joins-too-early": "lives-tokens",
    "one-ceiling-is-enough": "lives-tokens",
    "answers-to-an-earlier-life": "lives-late",
    "lives-compared-at-first-only": "lives-renew",
}
BUGS = {mutation.name: mutation for mutation in PLANTED_BUGS}


def find(name: str, *, minutes: float, condensed: bool = False) -> Report:
    """Explore with this bug planted; the report tells the violation and the shortest way to it."""
    with planted(BUGS[name]):
        return explore(BOUNDS[FOUND_IN[name]], minutes=minutes, condensed=condensed)


def find_lives(name: str, *, minutes: float) -> LivesReport:
    """The same with two lives of one node."""
    with planted(BUGS[name]):
        return explore_lives(LIVES_BOUNDS[FOUND_IN_LIVES[name]], minutes=minutes)
