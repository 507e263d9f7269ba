"""Did two grants of one name overlap, by what the nodes remember? Judged from their merged journals.

A node that accepts a lease promises to hold it until its deadline, or until it is released. Two things are
looked for. On one node, by its own clock and in its own order: another candidate was accepted before that
promise had run out. Between nodes, with their clocks compared by the round trips of the asking and the
drift that the cell allows: the time for which a quorum had promised to hold one lease, and that of another.
A grant of which no quorum remembers the acceptance (a node was restarted, or has forgotten it) is not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from attrs import frozen

from paxlock.core.journal import Happening
from paxlock.core.lease import Candidate
from paxlock.core.quorum import majority
from paxlock.core.session.events import NodeJournal

__all__ = ["Audit", "Grant", "Overlap", "audit"]

HELD = (Happening.ACCEPTED, Happening.RESTORED)


@frozen
class Promised:
    """What one node has promised to one candidate: to hold its lease from the moment ``began`` to ``until``,
    both in seconds before the asking; ``error`` is what is not known of them.
    """

    node_id: str
    candidate: Candidate
    term: int
    label: str
    began: float
    until: float
    released: bool
    error: float


@frozen
class Grant:
    """One candidate that a quorum has accepted: ``began`` and ``ended`` are seconds before the asking."""

    candidate: Candidate
    term: int
    label: str
    began: float
    ended: float
    error: float


@frozen
class Overlap:
    """Two grants at one time: for so many ``seconds``, by what one node says (``node_id``) or by all."""

    first: Grant
    second: Grant
    seconds: float
    node_id: str | None


@frozen
class Audit:
    """The grants that a quorum remembers, oldest first, those that are not judged, and what overlapped."""

    grants: tuple[Grant, ...]
    not_judged: int
    overlaps: tuple[Overlap, ...]


def _promises(journal: NodeJournal, drift: float) -> list[Promised]:
    """What this node has promised, in its own order; a candidate that was accepted again comes again."""
    found: list[Promised] = []
    newest: dict[Candidate, int] = {}
    for entry in journal.entries:
        candidate = entry.candidate
        if candidate is None:
            continue
        ago = entry.age_ms / 1000.0
        until = ago - entry.held_ms / 1000.0
        at = newest.get(candidate)
        if entry.what in HELD:
            newest[candidate] = len(found)
            error = 2.0 * journal.error + ago * drift
            found.append(
                Promised(journal.node_id, candidate, entry.term, entry.label, ago, until, False, error)
            )
        elif at is None:
            continue
        elif entry.what is Happening.RENEWED:
            found[at] = _until(found[at], min(found[at].until, until), released=found[at].released)
        elif entry.what is Happening.RELEASED:
            found[at] = _until(found[at], max(found[at].until, ago), released=True)
    return found


def _until(promised: Promised, until: float, *, released: bool) -> Promised:
    p = promised
    return Promised(p.node_id, p.candidate, p.term, p.label, p.began, until, released, p.error)


def _grants(promises: Sequence[Promised], quorum: int) -> tuple[list[Grant], int]:
    by_candidate: dict[Candidate, dict[str, Promised]] = {}
    for promised in promises:
        by_candidate.setdefault(promised.candidate, {})[promised.node_id] = promised  # its newest
    grants, not_judged = list[Grant](), 0
    for candidate, by_node in by_candidate.items():
        mine = list(by_node.values())
        if len(mine) < quorum:
            not_judged += 1
            continue
        began = sorted((each.began for each in mine), reverse=True)[quorum - 1]
        ended = sorted(each.until for each in mine)[quorum - 1]
        releases = [each.until for each in mine if each.released]
        ended = max(ended, *releases) if releases else ended  # its own last word
        newest = max(mine, key=lambda each: each.term)
        error = max(each.error for each in mine)
        grants.append(Grant(candidate, newest.term, newest.label, began, max(0.0, ended), error))
    return sorted(grants, key=lambda grant: -grant.began), not_judged


def _broken(mine: Sequence[Promised], error: float) -> list[tuple[Candidate, Candidate, float]]:
    """Where one node has accepted another candidate while it had promised to hold the lease of the first."""
    return [
        (first.candidate, second.candidate, second.began - first.until)
        for first, second in combinations(mine, 2)
        if second.candidate != first.candidate and second.began - first.until > error
    ]


def audit(journals: Sequence[NodeJournal], drift: float) -> Audit:
    """Judge the journals of one name, of all nodes of the cell. ``drift`` is a fraction, that of the cell."""
    promises = {journal.node_id: _promises(journal, drift) for journal in journals}
    together = [promised for mine in promises.values() for promised in mine]
    grants, not_judged = _grants(together, majority(len(journals)))
    known = {grant.candidate: grant for grant in grants}
    overlaps: list[Overlap] = []
    for journal in journals:
        for first, second, seconds in _broken(promises[journal.node_id], 2.0 * journal.error):
            if first in known and second in known:
                overlaps.append(Overlap(known[first], known[second], seconds, journal.node_id))
    for one, other in combinations(grants, 2):
        seconds = min(one.began, other.began) - max(one.ended, other.ended)
        told = any({o.first, o.second} == {one, other} for o in overlaps)
        if seconds > one.error + other.error and not told:
            overlaps.append(Overlap(one, other, seconds, None))
    return Audit(tuple(grants), not_judged, tuple(overlaps))
