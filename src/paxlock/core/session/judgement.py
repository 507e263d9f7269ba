"""From the views of single nodes to a statement about the cell (protocol.md section 6).

One node's timer is no fact of the cell: what a name's standing is follows only from enough views together.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import View
from paxlock.core.quorum import blocking, majority
from paxlock.core.value import value

__all__ = ["Judgement", "State", "in_doubt", "judge", "knows", "over", "reports_free"]


class State(enum.Enum):
    """What a name is, as far as anybody outside the holder can tell."""

    LED = "led"
    FREE = "free"
    UNKNOWN = "unknown"


@value
class Judgement:
    """The standing of a name. ``term`` is the fencing token of the tenure that is led; 0 otherwise.

    ``chosen``, of one that is led: some node knows it, or knows the token. Otherwise a quorum shows the lease
    in one term, each node at a moment of its own: whether they held it together is still to be asked
    (section 6).
    """

    state: State
    term: int = 0
    lease: Lease | None = None
    remaining: float = 0.0
    chosen: bool = False


def knows(view: View, candidate: Candidate) -> bool:
    """Whether the node holds this candidate's lease, or knows it chosen and not released."""
    if view.lease is None or view.lease.candidate != candidate or view.released:
        return False
    return view.holds or view.chosen


def edition_of(view: View) -> int:
    """Which data the node shows of the lease: the higher, the newer (section 12)."""
    return view.lease.edition if view.lease is not None else 0


def _has_moved_on(view: View) -> bool:
    """Whether the node holds nothing and has closed a higher term than that of what it knows to be chosen."""
    return not view.holds and view.term > view.lease_term


def _speaks_of(view: View, candidate: Candidate) -> bool:
    """Whether the node holds this candidate's lease, or knows it chosen, or has only heard of it."""
    return view.lease is not None and view.lease.candidate == candidate and not view.released


def in_doubt(view: View) -> bool:
    """Whether the node holds a lease and does not say whose: somebody claims to have become the holder since,
    and it does not know yet (section 6). It speaks for nobody, and against nobody.
    """
    return view.holds and view.lease is None


def reports_free(view: View) -> bool:
    """Whether the node neither holds a lease nor knows of one chosen that may go on."""
    return not view.holds and (not view.chosen or view.released or _has_moved_on(view))


def judge(views: Mapping[str, View], nodes: int) -> Judgement:
    """Led if a quorum holds the same candidate's lease, or if one node knows the Commit and N - quorum + 1 do
    not deny it, and the term is certain; free if N - quorum + 1 report neither; else unknown.
    """
    candidates = {
        view.lease.candidate for view in views.values() if view.lease is not None and not view.released
    }
    best: Judgement | None = None
    for candidate in candidates:
        speaking = [v for v in views.values() if knows(v, candidate) and not _has_moved_on(v)]
        holding = [view for view in speaking if view.holds]
        known = any(view.chosen for view in speaking)
        if len(holding) < majority(nodes) and not (known and len(speaking) >= blocking(nodes)):
            continue
        term = _term(speaking, holding, nodes)
        if not term or _overtaken(views, candidate, term):
            continue
        if best is None or term > best.term:
            best = _led(speaking, holding, term, nodes)
    if best is not None:
        return best
    neither = sum(map(reports_free, views.values()))
    return Judgement(State.FREE if neither >= blocking(nodes) else State.UNKNOWN)


def _term(speaking: list[View], holding: list[View], nodes: int) -> int:
    """The fencing token, as far as these views tell it; 0 where they do not (section 6).

    A view of a node that has heard the holder carries the token. If no view does: the highest term known to
    be chosen, unless some view shows a higher one (the candidate may have moved on from a choice that it
    never learned of); else the one term in which a quorum holds the lease; else 0. Such a term is never below
    the token of whoever held the name by then.
    """
    tokens = [view.lease.token for view in speaking if view.lease is not None and view.lease.token]
    if tokens:
        return max(tokens)
    shown = _term_of_a_quorum(holding, nodes)
    chosen = max((view.lease_term for view in speaking if view.chosen), default=0)
    if chosen > shown and all(view.lease_term <= chosen for view in speaking):
        return chosen
    return shown


def _term_of_a_quorum(holding: list[View], nodes: int) -> int:
    """The one term in which a quorum holds the lease, or 0: standing accepts may be of different terms."""
    terms = [view.lease_term for view in holding]
    return next((term for term in terms if terms.count(term) >= majority(nodes)), 0)


def _overtaken(views: Mapping[str, View], candidate: Candidate, term: int) -> bool:
    """Whether somebody else has become the holder since: tokens grow, and there is one holder at a time."""
    leases = (view.lease for view in views.values() if view.lease is not None)
    return any(lease.candidate != candidate and lease.token > term for lease in leases)


def _led(speaking: list[View], holding: list[View], term: int, nodes: int) -> Judgement:
    newest = max(speaking, key=lambda view: (edition_of(view), view.chosen, view.lease_term))
    left = sorted((view.remaining_ms / 1000.0 for view in holding), reverse=True)
    quorum = majority(nodes)
    remaining = left[quorum - 1] if len(left) >= quorum else 0.0
    chosen = quorum == 1 or any(  # where one node is a quorum, all was held at one moment
        (view.chosen and view.lease_term >= term) or (view.lease is not None and view.lease.token)
        for view in speaking
    )
    return Judgement(State.LED, term, newest.lease, remaining, chosen)


def over(views: Mapping[str, View], nodes: int, candidate: Candidate, term: int) -> bool:
    """Whether the tenure of this candidate has ended: a Release was seen, or N - quorum + 1 nodes do not
    hold its lease and stand at its term or above (section 6).
    """
    if any(v.released and v.lease is not None and v.lease.candidate == candidate for v in views.values()):
        return True
    gone = [
        view
        for view in views.values()
        if view.term >= term and not _speaks_of(view, candidate) and not in_doubt(view)
    ]
    return len(gone) >= blocking(nodes)
