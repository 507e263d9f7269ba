"""The conjuncts of the invariant (docs/proof.md) that speak of nodes and holders, asked of the shipped code.

What a node keeps by itself is asked of every situation of a node. What it has told is asked of every state:
of what a session keeps of a node's answers, and of the answers that are still under way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from paxlock.core.messages import Accepted, Renewed
from paxlock.simulator.checkers import CheckFailed

if TYPE_CHECKING:
    from tests.exploration.nodes import ExploredNode
    from tests.exploration.tables import Columns, Messages, NodeTable, SessionTable

__all__ = ["CHECKED", "ToldAndKept", "check_node"]

#: The conjuncts, by their names in docs/spec/invariant/conjuncts.py.
CHECKED = (
    "owner-in-record",
    "lease-in-record",
    "number-armed",
    "below-ceiling",
    "lease-kept",
    "sat-out",
    "one-counts",
)
ATTEMPT, TAKEN, VALIDITY = 0, 5, 6  #: what a session keeps of a node: ExploredSession.key


def check_node(node: ExploredNode) -> None:
    """What must hold of a node by itself. Raises CheckFailed."""
    record, acceptor = node.record, node.replica._acceptor
    known = record.name in acceptor.records
    if record.owner is not None and not (known and record.term > 0):
        raise CheckFailed("owner-in-record", "a promise without a record, or in term 0")
    if not acceptor.floor <= acceptor.ceiling or not record.term <= acceptor.ceiling:
        raise CheckFailed("below-ceiling", f"term {record.term}, floor {acceptor.floor} above the ceiling")
    if record.lease is None:
        return
    if not (node.serving and known and record.lease_term <= record.term):
        raise CheckFailed("lease-in-record", f"a lease of term {record.lease_term} in term {record.term}")
    if node.armed is None or record.seq > node.armed[1]:
        raise CheckFailed("number-armed", f"number {record.seq} is stored and has not armed")


class ToldAndKept:
    """Whether nodes keep what they have told, as far as it counts: a candidate that is not over counts it,
    and the moment up to which it does has not come. One question for each column and what counts in it.
    """

    def __init__(
        self, columns: Columns, nodes: NodeTable, sessions: SessionTable, messages: Messages
    ) -> None:
        self._columns, self._nodes, self._sessions, self._messages = columns, nodes, sessions, messages
        self._broken: dict[tuple[int, int, int], str] = {}
        self.live_answers = 0  #: of all columns; none would mean that nothing was checked

    def broken(self, c0: int, c1: int, column: int) -> str:
        """The conjunct that does not hold of this column, with these common parts of the sessions; or ""."""
        counts = self._sessions.counts
        key = counts[c0], counts[c1], column
        found = self._broken.get(key)
        if found is None:
            found = self._broken[key] = self._look(c0, c1, column)
        return found

    def _look(self, c0: int, c1: int, column: int) -> str:
        node = self._columns.parts[column][0]
        live = [set(self._live(column, session, common)) for session, common in enumerate((c0, c1))]
        self.live_answers += sum(map(len, live))
        if live[0] and live[1]:
            return "one-counts: both candidates count on one node"
        serving, holder, armed = self._nodes.keeping[node]
        for session, answers in enumerate(live):
            for attempt, term, number in answers:
                if armed is None or armed[0] != session or 2 * armed[1] < number:
                    name = "lease-kept" if serving else "sat-out"
                    return f"{name}: number {number / 2:g} is counted and has not armed"
                if serving and (holder != (session, attempt) or armed[2] < term):
                    return f"lease-kept: term {term} is counted, and the lease is not held in it"
        return ""

    def _live(self, column: int, session: int, common: int) -> Iterator[tuple[int, int, int]]:
        """The attempt, term and number (doubled) of every answer that counts in this session."""
        attempt, lapsed = self._sessions.alive[common], self._sessions.lapsed[common]
        if not attempt:
            return
        for found, term, number in self._told(column, session):
            if found == attempt and number > 2 * lapsed:
                yield attempt, term, number

    def _told(self, column: int, session: int) -> Iterator[tuple[int, int, int]]:
        _, *views, _ = self._columns.parts[column]
        view = self._sessions.views[views[session]]
        if len(view) > VALIDITY:
            attempt, taken, counted = view[ATTEMPT], view[TAKEN], view[VALIDITY]
            assert isinstance(attempt, int)
            assert isinstance(counted, int)
            if taken is not None:
                assert isinstance(taken, tuple)
                yield attempt, *taken
                yield attempt, taken[0], counted
        for number in self._columns.answers(column, session):
            match self._messages.known[number].message:
                case Accepted(candidate=candidate, term=term, seq=seq):
                    yield candidate.attempt, term, 2 * seq
                case Renewed(seq=seq, held=held):
                    for attempt, term in held:
                        yield attempt, term, 2 * seq
