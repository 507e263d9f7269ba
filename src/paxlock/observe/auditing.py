"""Did two grants of one name overlap, by what the nodes remember? Judged from the journals of all nodes.

A node that accepts a lease promises to hold it until its deadline, or until it is released. Two quorums share
a node, so two grants at one time show at one node at least: it accepted another candidate before its promise
to the first was over. That is told by the node's own clock and in its own order; clocks of different nodes
are never compared. Only where the node that two quorums share has forgotten, because it was restarted or the
journal is full, nothing shows: a candidate that no quorum remembers to have accepted is counted, not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from attrs import evolve, frozen

from paxlock.core.journal import Happening
from paxlock.core.lease import Candidate
from paxlock.core.quorum import majority
from paxlock.core.session.events import NodeJournal

__all__ = ["Audit", "Grant", "Overlap", "audit"]

HELD = (Happening.ACCEPTED, Happening.RESTORED)


@frozen
class Promised:
    """What one node has promised to one candidate: to hold its lease from the moment ``began`` to ``until``,
    both in seconds before the asking.
    """

    node_id: str
    candidate: Candidate
    term: int
    label: str
    began: float
    until: float


@frozen
class Grant:
    """One candidate that a quorum has accepted: ``began`` and ``ended`` are seconds before the asking, 0
    where it is held.
    """

    candidate: Candidate
    term: int
    label: str
    began: float
    ended: float


@frozen
class Overlap:
    """A node accepted the ``second`` so many ``seconds`` before its promise to the ``first`` was over."""

    first: Promised
    second: Promised
    seconds: float


@frozen
class Audit:
    """The grants that a quorum remembers, oldest first, how many candidates are not judged, and what
    overlapped.
    """

    grants: tuple[Grant, ...]
    not_judged: int
    overlaps: tuple[Overlap, ...]


def _promises(journal: NodeJournal) -> list[Promised]:
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
            found.append(Promised(journal.node_id, candidate, entry.term, entry.label, ago, until))
        elif at is None:
            continue
        elif entry.what is Happening.RENEWED:
            found[at] = evolve(found[at], until=min(found[at].until, until))
        elif entry.what is Happening.RELEASED:
            found[at] = evolve(found[at], until=max(found[at].until, ago))
    return found


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
        newest = max(mine, key=lambda each: each.term)
        grants.append(Grant(candidate, newest.term, newest.label, began, max(0.0, ended)))
    return sorted(grants, key=lambda grant: -grant.began), not_judged


def _broken(mine: Sequence[Promised], error: float) -> list[Overlap]:
    """Where one node has accepted another candidate while it had promised to hold the lease of the first."""
    return [
        Overlap(first, second, second.began - first.until)
        for first, second in combinations(mine, 2)
        if second.candidate != first.candidate and second.began - first.until > error
    ]


def audit(journals: Sequence[NodeJournal]) -> Audit:
    """Judge the journals of one name, of all nodes of the cell. What overlaps by less than the time that is
    not known of a journal's pages, twice its ``error``, is not told.
    """
    promises = [_promises(journal) for journal in journals]
    grants, not_judged = _grants([each for mine in promises for each in mine], majority(len(journals)))
    overlaps = [
        overlap
        for journal, mine in zip(journals, promises, strict=True)
        for overlap in _broken(mine, 2.0 * journal.error)
    ]
    return Audit(tuple(grants), not_judged, tuple(overlaps))
