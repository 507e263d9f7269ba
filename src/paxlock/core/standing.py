"""From the views of single nodes to a statement about the cell (protocol.md section 6).

One node's timer is no fact of the cell: what a name's standing is follows only from enough views together.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import View
from paxlock.core.quorum import blocking, majority

__all__ = ["Judgement", "State", "judge", "over", "speaks_for_nobody", "token_of"]


class State(enum.Enum):
    """What a name is, as far as anybody outside the holder can tell."""

    LED = "led"
    FREE = "free"
    UNKNOWN = "unknown"


@attrs.frozen
class Judgement:
    """The standing of a name. ``term`` is the fencing token of the tenure that is led; 0 otherwise."""

    state: State
    term: int = 0
    lease: Lease | None = None
    remaining: float = 0.0


def token_of(view: View) -> int:
    """The fencing token of the tenure in this view: it travels in the lease once it is known."""
    if view.lease is None:
        return 0
    return view.lease.token or view.lease_term


def _speaks_for(view: View, candidate: Candidate) -> bool:
    """Whether the node holds this candidate's lease, or knows it chosen and not released."""
    if view.lease is None or view.lease.candidate != candidate or view.released:
        return False
    return view.holds or view.chosen


def speaks_for_nobody(view: View) -> bool:
    """Whether the node neither holds a lease nor knows one chosen and not released."""
    return not view.holds and (not view.chosen or view.released)


def judge(views: Mapping[str, View], nodes: int) -> Judgement:
    """Led if a quorum holds the same candidate's lease, in one term where nobody knows it to be chosen, or if
    one node knows the Commit and N - quorum + 1 do not deny it; free if N - quorum + 1 report neither; else
    unknown.
    """
    candidates = {
        view.lease.candidate for view in views.values() if view.lease is not None and not view.released
    }
    best: Judgement | None = None
    for candidate in candidates:
        speaking = [view for view in views.values() if _speaks_for(view, candidate)]
        holding = [view for view in speaking if view.holds]
        known = any(view.chosen for view in speaking)
        term = _term_of_a_quorum(holding, nodes)
        held = len(holding) >= majority(nodes) and (
            known or term or any(v.lease is not None and v.lease.token for v in holding)
        )
        if not held and not (known and len(speaking) >= blocking(nodes)):
            continue
        found = _led(speaking, holding, term, nodes)
        if best is None or found.term > best.term:
            best = found
    if best is not None:
        return best
    neither = sum(map(speaks_for_nobody, views.values()))
    return Judgement(State.FREE if neither >= blocking(nodes) else State.UNKNOWN)


def _term_of_a_quorum(holding: list[View], nodes: int) -> int:
    """The one term in which a quorum holds the lease, or 0: standing accepts may be of different terms."""
    terms = [view.lease_term for view in holding]
    return next((term for term in terms if terms.count(term) >= majority(nodes)), 0)


def _led(speaking: list[View], holding: list[View], term: int, nodes: int) -> Judgement:
    newest = max(speaking, key=lambda view: (view.chosen, view.lease_term))
    tokens = [view.lease.token for view in speaking if view.lease is not None and view.lease.token]
    chosen = [view.lease_term for view in speaking if view.chosen]
    term = max(tokens) if tokens else min(chosen, default=term)
    left = sorted((view.remaining_ms / 1000.0 for view in holding), reverse=True)
    quorum = majority(nodes)
    remaining = left[quorum - 1] if len(left) >= quorum else 0.0
    return Judgement(State.LED, term, newest.lease, remaining)


def over(views: Mapping[str, View], nodes: int, candidate: Candidate, term: int) -> bool:
    """Whether the tenure of this candidate has ended: a Release was seen, or N - quorum + 1 nodes do not
    hold its lease and stand at its term or above (section 6).
    """
    if any(v.released and v.lease is not None and v.lease.candidate == candidate for v in views.values()):
        return True
    gone = [view for view in views.values() if view.term >= term and not _speaks_for(view, candidate)]
    return len(gone) >= blocking(nodes)
