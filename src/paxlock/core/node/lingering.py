"""Leases that this node knows to be chosen and does not hold itself (protocol.md section 6).

No deadline of this node tells when such a lease is over, and its Release may never come: the holder may have
died. So the other nodes are asked about it once its ttl has passed.

    told ---- a ttl later ----> asked ---- N - quorum + 1 nodes twice hold none of it ----> over
      ^                          | ^  |
      '-- a quorum holds it -----'  '-' neither: asked again

One answer of each node is not enough: they are of different moments, and a tenure may move from node to node
meanwhile (L3). Two answers of a node within half a ttl are: an acceptor holds a lease for longer than that.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import attrs

from paxlock.core.lease import Candidate, Lease
from paxlock.core.lives import Lives, outlived
from paxlock.core.messages import View
from paxlock.core.node.record import NEVER
from paxlock.core.quorum import blocking, majority

__all__ = ["Finding", "Lingering"]

ASK_FIRST_S = 0.1
ASK_MAX_S = 4.0


class Finding(enum.Enum):
    """What follows from an answer."""

    NOTHING = enum.auto()
    ASK_AGAIN = enum.auto()  #: at once
    OVER = enum.auto()


@attrs.define(eq=False)
class Check:
    """One lease, when to ask about it next, and the answers of this round. ``denied`` are those that held
    none of it in the round before, which began at ``denied_at``.
    """

    lease: Lease
    due: float
    request: int = 0  #: of this round; 0 while nobody is asked
    asked_at: float = 0.0
    wait: float = ASK_FIRST_S
    hurried: bool = False  #: this round was asked for by the answers of the one before
    views: dict[str, View] = attrs.field(factory=dict)
    lives: dict[str, Lives] = attrs.field(factory=dict)  #: with which each view was given
    denying: set[str] = attrs.field(factory=set)
    denied: set[str] = attrs.field(factory=set)
    denied_at: float = 0.0

    def rests(self, until: float) -> None:
        """It goes on: nobody is asked until then."""
        self.due, self.request, self.wait, self.hurried = until, 0, ASK_FIRST_S, False
        self.views.clear()
        self.lives.clear()
        self.denying, self.denied = set(), set()

    def begin_round(self, request: int, now: float, hurried: bool) -> None:
        """The other nodes are asked now, after all the answers of the round before."""
        self.denied, self.denied_at, self.denying = self.denying, self.asked_at, set()
        self.request, self.asked_at, self.hurried = request, now, hurried
        self.views.clear()
        self.lives.clear()
        self.due = now + self.wait
        self.wait = min(self.wait * 2.0, ASK_MAX_S)


class Lingering:
    """The ``checks`` of all names: nearly always there are none, and nothing is spent on names in use.
    ``number`` gives each round of questions the next number of this node's.
    """

    def __init__(self, node_id: str, nodes: int, number: Callable[[], int]) -> None:
        self._node_id = node_id
        self._nodes = nodes
        self._number = number
        self.checks: dict[str, Check] = {}

    def __len__(self) -> int:
        return len(self.checks)

    def note(self, name: str, lease: Lease, now: float) -> None:
        """This lease is known to be chosen, and none is held here."""
        known = self.checks.get(name)
        if known is None or known.lease.candidate != lease.candidate:
            self.checks[name] = Check(lease, now + lease.ttl)

    def told(self, name: str, candidate: Candidate, now: float) -> None:
        """Another node has told again that this candidate's lease is chosen."""
        check = self.checks.get(name)
        if check is not None and check.lease.candidate == candidate:
            check.rests(now + check.lease.ttl)

    def drop(self, name: str) -> None:
        """It is held here, or over, or forgotten."""
        self.checks.pop(name, None)

    def due(self, name: str) -> float:
        """When the other nodes are to be asked; infinity if never."""
        check = self.checks.get(name)
        return check.due if check is not None else NEVER

    def question(self, name: str, now: float, hurried: bool = False) -> int:
        """The request of the next round, if it is time for one; otherwise 0."""
        check = self.checks.get(name)
        if check is None or (now < check.due and not hurried):
            return 0
        check.begin_round(self._number(), now, hurried)
        return check.request

    def answered(self, node: str, view: View, lives: Lives, own: Lives, now: float) -> Finding:
        """Another node has answered; ``own`` are the lives with which this node's word counts (S15)."""
        check = self.checks.get(view.name)
        if check is None or not check.request or view.request != check.request:
            return Finding.NOTHING
        check.views[node], check.lives[node] = view, lives
        gone = outlived({**check.lives, self._node_id: own})
        counted = {other: said for other, said in check.views.items() if other not in gone}
        holding = {other for other, said in counted.items() if _holds(said, check.lease.candidate)}
        if len(holding) >= majority(self._nodes):
            check.rests(now + check.lease.ttl)
            return Finding.NOTHING
        in_doubt = {other for other, said in counted.items() if said.holds and said.lease is None}
        check.denying = counted.keys() - holding - in_doubt
        if self._node_id not in gone:
            check.denying.add(self._node_id)
        twice = check.denying & check.denied if now - check.denied_at <= check.lease.ttl / 2.0 else set()
        if len(twice) >= blocking(self._nodes):
            return Finding.OVER
        if len(check.denying) >= blocking(self._nodes) and not check.hurried:
            return Finding.ASK_AGAIN
        return Finding.NOTHING


def _holds(view: View, candidate: Candidate) -> bool:
    return view.holds and view.lease is not None and view.lease.candidate == candidate
