"""What a session says of itself and this node cannot know: hearsay (protocol.md section 6).

A session tells that its lease was chosen. A node that holds this lease, in that term or a higher one, knows
as much as it needs to; any other node has only the word of the session, which may be a lie. It asks the other
nodes before it shows anything.

    claimed --a quorum holds the lease in one term--------------------------------> chosen
            --this node comes to hold it itself-----------------------------------> chosen
            --N - quorum + 1 nodes have not reached that term, asked after the claim--> refuted
            --nothing of this, asked so many times--------------------------------> forgotten

While a claim with a higher token than the lease that is held here is open, this node speaks neither for what
it holds nor against it: the claim may be true, and then what it holds is no part of a tenure any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Commit, View
from paxlock.core.node.record import Record
from paxlock.core.quorum import blocking, majority

__all__ = ["CLAIMS_MAX", "DOUBTS_MAX", "Hearsay"]

DOUBT_FIRST_S = 0.05  #: nearly always what is missing here, an Accept or a Release, comes before
DOUBT_MAX_S = 4.0
DOUBT_ROUNDS = 6  #: so often the others are asked of what would only be shown in addition
DOUBTS_MAX = 4096  #: names
CLAIMS_MAX = 8  #: for each name: more are not taken, and are told again if they are true
LIARS_MAX = 1024


@attrs.define(eq=False)
class Claim:
    """A session says that its candidate was chosen in this term. Only views that answer a later question than
    ``after`` speak against it. ``lock`` is what a handle of its lease must open.
    """

    term: int
    token: int
    after: int
    lock: bytes


@attrs.define(eq=False)
class Doubt:
    """The open claims of one name, by candidate, and what the other nodes say."""

    claims: dict[Candidate, Claim] = attrs.field(factory=dict)
    views: dict[str, View] = attrs.field(factory=dict)
    asked: int = 0  #: the request of the last round
    rounds: int = 0
    wait: float = DOUBT_FIRST_S


class Hearsay:
    """The open claims of all names. ``chosen`` is called with what turns out to be true."""

    def __init__(self, nodes: int, chosen: Callable[[Commit, float], None]) -> None:
        self._nodes = nodes
        self._chosen = chosen
        self._doubts: dict[str, Doubt] = {}
        self._named: dict[str, tuple[Lease, int, bytes]] = {}
        self._liars: dict[bytes, None] = {}
        self._asked = 0

    def __contains__(self, name: object) -> bool:
        return name in self._doubts

    def claim(self, message: Commit, record: Record | None) -> bool:
        """Note what a session claims of itself; True where the name was not in doubt before."""
        name, candidate = message.name, message.lease.candidate
        if candidate.session in self._liars or self._nodes == 1:
            return False
        if record is not None and record.end_of(candidate, message.lock) is not None:
            return False
        self._name(message)
        if record is not None and _reached(record) > message.term:
            return False  # history
        found = self._doubts.get(name)
        known = found.claims.get(candidate) if found is not None else None
        if known is not None and known.term >= message.term and known.token >= message.lease.token:
            return False
        if found is None:
            if len(self._doubts) >= DOUBTS_MAX:
                return False
            self._doubts[name] = doubt = Doubt()
        elif known is None and len(found.claims) >= CLAIMS_MAX:
            return False
        else:
            doubt = found
        doubt.claims[candidate] = Claim(message.term, message.lease.token, self._asked, message.lock)
        return found is None

    def named(self, name: str) -> tuple[Lease, int] | None:
        """The lease of the newest claim, without its token, and its term. A view that names it supports
        nobody, but does not count as one that denies this candidate either.
        """
        named = self._named.get(name)
        return named[:2] if named is not None else None

    def lock_told(self, name: str, candidate: Candidate) -> bytes:
        """What a handle of this candidate must open, as its session says; empty where it has not."""
        doubt, named = self._doubts.get(name), self._named.get(name)
        claim = doubt.claims.get(candidate) if doubt is not None else None
        if claim is not None:
            return claim.lock
        return named[2] if named is not None and named[0].candidate == candidate else b""

    def _name(self, message: Commit) -> None:
        known = self._named.pop(message.name, None)
        if known is None or known[1] <= message.term:
            known = message.lease.with_token(0), message.term, message.lock
        self._named[message.name] = known
        if len(self._named) > DOUBTS_MAX:
            del self._named[next(iter(self._named))]

    def unname(self, name: str, candidate: Candidate) -> None:
        """This candidate is over, or never was."""
        known = self._named.get(name)
        if known is not None and known[0].candidate == candidate:
            del self._named[name]

    def forget(self, name: str) -> None:
        """This node remembers nothing of the name."""
        self._doubts.pop(name, None)
        self._named.pop(name, None)

    def outranks(self, name: str, candidate: Candidate, term: int) -> bool:
        """Whether somebody claims a later tenure than that of this candidate, held in this term."""
        doubt = self._doubts.get(name)
        if doubt is None:
            return False
        return any(claim.token > term and other != candidate for other, claim in doubt.claims.items())

    def confirmed_by(self, record: Record, now: float) -> None:
        """This node holds a lease: what was claimed of it before, as where a Commit overtakes its Accept."""
        self._named.pop(record.name, None)
        doubt, lease = self._doubts.get(record.name), record.lease
        claim = doubt.claims.get(lease.candidate) if doubt is not None and lease is not None else None
        if doubt is None or lease is None or claim is None:
            return
        told = first_hand(Commit(record.name, claim.term, lease.with_token(claim.token)), record)
        if told is not None:
            self._settle(record.name, doubt, [lease.candidate])
            self._chosen(told, now)

    # Asking the others

    def number(self) -> int:
        """The number of the next question to the other nodes, whatever it is about."""
        self._asked += 1
        return self._asked

    def question(self, name: str) -> int:
        """The request of the next round of questions; 0 where there is nothing to ask any more."""
        doubt = self._doubts.get(name)
        if doubt is None:
            return 0
        doubt.asked = self.number()
        doubt.rounds += 1
        doubt.wait = min(doubt.wait * 2.0, DOUBT_MAX_S)
        return doubt.asked

    def pause(self, name: str) -> float:
        """How long until the next round."""
        doubt = self._doubts.get(name)
        return doubt.wait if doubt is not None else DOUBT_FIRST_S

    def weary(self, name: str, record: Record | None) -> None:
        """Drop claims that no round has confirmed, except those that put in doubt what is held here."""
        doubt = self._doubts.get(name)
        if doubt is None or doubt.rounds < DOUBT_ROUNDS:
            return
        held = record.lease_term if record is not None and record.lease is not None else None
        self._settle(
            name,
            doubt,
            [who for who, claim in doubt.claims.items() if held is None or claim.token <= held],
        )

    def answered(self, node: str, view: View, record: Record | None, now: float) -> bool:
        """Another node has answered; True where a claim was settled by it."""
        doubt = self._doubts.get(view.name)
        if doubt is None or not 0 < view.request <= doubt.asked:
            return False
        known = doubt.views.get(node)
        if known is None or known.request <= view.request:
            doubt.views[node] = view
        views = list(doubt.views.values())
        true = next((who for who in doubt.claims if self._quorum(who, views, record) is not None), None)
        if true is not None:
            commit = self._quorum(true, views, record)
            assert commit is not None
            commit = attrs.evolve(commit, lock=doubt.claims[true].lock)
            self._settle(view.name, doubt, [true])
            self._chosen(commit, now)
            return True
        refuted = [who for who, claim in doubt.claims.items() if self._is_refuted(claim, views, record)]
        for candidate in refuted:
            self.unname(view.name, candidate)
            self._liars[candidate.session] = None
            if len(self._liars) > LIARS_MAX:
                del self._liars[next(iter(self._liars))]
        self._settle(view.name, doubt, refuted)
        return bool(refuted)

    def _quorum(self, candidate: Candidate, views: list[View], record: Record | None) -> Commit | None:
        """The Commit of a candidate whose lease a quorum holds in one term."""
        found: dict[int, list[Lease]] = {}
        for view in views:
            if view.holds and view.lease is not None and view.lease.candidate == candidate:
                found.setdefault(view.lease_term, []).append(view.lease)
        if record is not None and record.lease is not None and record.holds(candidate):
            found.setdefault(record.lease_term, []).append(record.lease)
        for term, leases in found.items():
            if len(leases) >= majority(self._nodes):
                name = views[0].name
                return Commit(name, term, max(leases, key=lambda lease: lease.token))
        return None

    def _is_refuted(self, claim: Claim, views: list[View], record: Record | None) -> bool:
        """Whether N - quorum + 1 nodes have not reached the claim's term. An acceptor that accepts in a term
        has reached it, and terms only grow: so no quorum has accepted in it.
        """
        below = sum(view.term < claim.term for view in views if view.request > claim.after)
        below += (_reached(record) if record is not None else 0) < claim.term
        return below >= blocking(self._nodes)

    def _settle(self, name: str, doubt: Doubt, candidates: Iterable[Candidate]) -> None:
        for candidate in candidates:
            del doubt.claims[candidate]
        if not doubt.claims:
            self._doubts.pop(name, None)


def _reached(record: Record) -> int:
    """The highest term in which this node may have accepted."""
    return record.term if record.lease is not None or record.owner is None else record.term - 1


def first_hand(message: Commit, record: Record | None) -> Commit | None:
    """What of a Commit this node can know to be no more than what it has accepted itself, or None: that its
    candidate was chosen in a term in which this node holds the lease, or had its token by then.
    """
    if record is None or not record.holds(message.lease.candidate):
        return None
    if message.term <= record.lease_term:
        return message
    if 0 < message.lease.token <= record.lease_term:
        return attrs.evolve(message, term=record.lease_term)
    return None
