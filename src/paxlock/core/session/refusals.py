"""Who stands in a candidate's way: the refusals of its present phase (protocol.md section 5, rule L2).

A node that refuses says why, and which other candidate it holds, is promised to, or has first in line: the
occupant. What follows from all refusals together:

    what the nodes name                                    what follows
    ----------------------------------------------------   -------------------------------------------------
    one occupant, HELD, at a quorum, one of these nodes    it is the holder: tries are told so, others wait
      by the holder's own word
    one occupant at a quorum, whoever has told             no split: wait for it
    several occupants, none of them at a quorum            split votes: one of them must withdraw
    one holder at a quorum, while this candidate has       the minority is useless: it is given back (rule L3)
      taken a minority
    a holder whose node now supports this candidate        that holder has released: refusals that name it
                                                             are stale, and are dropped

Whoever withdraws sends Release, and comes back later as another candidate of the same age.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from paxlock.core.lease import Candidate
from paxlock.core.messages import Occupancy, Occupant, RefusalReason, Refused
from paxlock.core.session.pacing import LONG_AGO, NEVER
from paxlock.core.value import value

__all__ = ["Refusal", "Refusals"]


@value
class Refusal:
    """A node's no, and when it was heard; ``again`` where it named the same occupant the time before, and
    ``named_since`` then, or for all that is known for ever; ``place``: how many stand before this candidate
    there; ``runs_out``: until when it counts where it names nobody.
    """

    reason: RefusalReason
    occupant: Occupant | None
    heard_at: float
    again: bool = False
    place: int = 0
    named_since: float = LONG_AGO
    runs_out: float = NEVER


class _Rival(NamedTuple):
    """What one node said of another candidate: its age by now, and the longer one of the two windows."""

    age: float
    window: float
    confirmed: bool


class Refusals(dict[str, Refusal]):
    """The refusals of one candidate's present phase, by node."""

    __slots__ = ("_candidate", "_quorum")

    def __init__(self, candidate: Candidate, quorum: int) -> None:
        super().__init__()
        self._candidate = candidate
        self._quorum = quorum

    def note(self, node: str, message: Refused, now: float) -> None:
        """A node has refused."""
        before, occupant = self.get(node), message.occupant
        named = before.occupant if before is not None else None
        again = named is not None and occupant is not None and named.candidate == occupant.candidate
        # The first no of a phase tells nothing of what the node had said before: perhaps the same.
        named_since = LONG_AGO if before is None else before.named_since if again else now
        self[node] = Refusal(message.reason, occupant, now, again, message.place, named_since)

    def forget(self, node: str, now: float, until: float) -> None:
        """This node sits out: it knows no more whom it has named. What others say of a holder stays, and
        while that one holds it has until then to come back to this node (rule L3).
        """
        no = self.get(node)
        if no is not None and no.occupant is not None:
            self[node] = Refusal(no.reason, None, now, runs_out=until)

    def drop_departed(self, refusal: Refusal) -> bool:
        """A node that had refused because of a holder now supports this candidate: so that holder has
        released. Drop the refusals of other nodes that name it, which are stale; True if there were any.
        """
        occupant = refusal.occupant
        if occupant is None or occupant.occupancy is not Occupancy.HELD:
            return False
        stale = [
            node
            for node, other in self.items()
            if other.occupant is not None and other.occupant.candidate == occupant.candidate
        ]
        for node in stale:
            del self[node]
        return bool(stale)

    def occupants(self) -> Iterator[Occupant]:
        """Every occupant, as often as nodes name it."""
        return (refusal.occupant for refusal in self.values() if refusal.occupant is not None)

    def place(self) -> int:
        """How many stand before this candidate, or fewer, by the word of a quorum; 0 without one."""
        places = sorted(refusal.place for refusal in self.values())
        return places[self._quorum - 1] if len(places) >= self._quorum else 0

    def _holders(self) -> Iterator[tuple[str, Refusal, Occupant]]:
        """The refusals by nodes that hold a lease, with its candidate."""
        for node, refusal in self.items():
            occupant = refusal.occupant
            if occupant is not None and occupant.occupancy is Occupancy.HELD:
                yield node, refusal, occupant

    def holder(self, since: float = LONG_AGO) -> Occupant | None:
        """The holder of the name, if it is known: the candidate that a quorum names as holding, in answers
        heard from ``since`` on, if at least one of these nodes has it by the holder's own word (section 5).

        A lease that a quorum took, each node at its own moment, may still come to nothing. So may a lease
        that was chosen, while its candidate does not know.
        """
        named: dict[Candidate, list[Occupant]] = {}
        for _, refusal, occupant in self._holders():
            if refusal.heard_at >= since:
                named.setdefault(occupant.candidate, []).append(occupant)
        for occupants in named.values():
            if len(occupants) >= self._quorum and any(occupant.confirmed for occupant in occupants):
                return occupants[0]
        return None

    def where_held_at_quorum(self) -> list[str]:
        """The nodes that hold the lease of one candidate, if they are a quorum; otherwise none."""
        held: dict[Candidate, list[str]] = {}
        for node, _, occupant in self._holders():
            held.setdefault(occupant.candidate, []).append(node)
        return next((nodes for nodes in held.values() if len(nodes) >= self._quorum), [])

    def standing(self, now: float) -> set[str]:
        """The nodes whose no has not run out: whom they named may still hold, or be promised, there."""
        return {
            node
            for node, no in self.items()
            if now < (no.runs_out if no.occupant is None else no.heard_at + no.occupant.remaining_ms / 1000.0)
        }

    def where_held(self, now: float, since: float) -> list[str]:
        """The same; where no quorum is known to hold it, because some are silent, the nodes that name one
        holder of whom one of them knows by its own word, heard from ``since`` on, while its lease has not run
        out there. What a node said that is silent now is no reason to leave others alone.
        """
        nodes = self.where_held_at_quorum()
        if nodes:
            return nodes
        named: dict[Candidate, list[str]] = {}
        known: set[Candidate] = set()
        for node, refusal, occupant in self._holders():
            named.setdefault(occupant.candidate, []).append(node)
            left = refusal.heard_at + occupant.remaining_ms / 1000.0 - now
            if occupant.confirmed and left > 0.0 and refusal.heard_at >= since:
                known.add(occupant.candidate)
        return [node for candidate, nodes in named.items() if candidate in known for node in nodes]

    def before_they_named(self, nodes: list[str]) -> set[str]:
        """The nodes that said no before any of these ``nodes`` had changed to the holder that they name now:
        they spoke of an earlier one, and may hold the lease of this one as well.
        """
        first = min(self[node].named_since for node in nodes)
        return {node for node, no in self.items() if no.heard_at < first}

    def lively_holder_since(self, since: float) -> bool:
        """Whether one candidate holds, by refusals heard after ``since``, with more than half of its ttl
        left: it is alive, and renews. By a quorum's word, or by its own, told by one node.
        """
        lively = [
            occupant
            for _, refusal, occupant in self._holders()
            if refusal.heard_at > since and occupant.remaining_ms * 2 > occupant.ttl_ms
        ]
        named = Counter(occupant.candidate for occupant in lively)
        return any(nodes >= self._quorum for nodes in named.values()) or any(o.confirmed for o in lively)

    def must_withdraw(
        self,
        *,
        age: float,
        window: float,
        now: float,
        preparing: bool,
        patient_until: float | None,
        took: bool,
    ) -> bool:
        """Whether votes are split and this candidate, of this ``age``, is one that must give way (rule L2).

        A name may change hands faster than answers come: then nodes that answered at different moments name
        different holders. That is no split. A split lasts until somebody gives way, so in phase 1 it counts
        only once a node has named the same occupant in two answers.

        The age of another candidate arrives late, so it seems younger than it is, by up to half a window.
        Therefore the two tests overlap: "it is older", and "it is about as old, and its id is smaller". Of
        two candidates that see each other, both may withdraw, but never neither. Both use the longer one of
        their two windows, because one may be farther away than the other. A candidate that has said itself
        that it holds does not withdraw any more, so everybody gives way to it, older or not.

        One that has taken nothing but promises, as far as is known and may be (``took``), does not stand in
        the way of a holder: it waits for it, and the promises lapse.

        ``patient_until`` is of a candidate that tries once: it has no place in line to lose. It gives way at
        the first look, to every smaller candidate, and from that time on to anybody.
        """
        rivals = self._rivals(window, now)
        if any(len(said) >= self._quorum for said in rivals.values()):
            return False
        if patient_until is not None:
            if rivals and now >= patient_until:
                return True
        elif preparing and not any(no.again for no in self.values()):
            return False
        harmless = not took and patient_until is None
        return any(
            rival.confirmed
            or rival.age > age + rival.window / 2.0
            or (
                candidate < self._candidate and (patient_until is not None or rival.age >= age - rival.window)
            )
            for candidate, said in rivals.items()
            for rival in said
            if not (rival.confirmed and harmless)
        )

    def _rivals(self, window: float, now: float) -> dict[Candidate, list[_Rival]]:
        """What the nodes say of candidates of other sessions. The earlier attempts of this session are on
        their way out: they stand in nobody's way.
        """
        rivals: dict[Candidate, list[_Rival]] = {}
        for refusal in self.values():
            occupant = refusal.occupant
            if occupant is not None and occupant.candidate.session != self._candidate.session:
                age = occupant.age_ms / 1000.0 + (now - refusal.heard_at)
                rival = _Rival(age, max(window, occupant.window_ms / 1000.0), occupant.confirmed)
                rivals.setdefault(occupant.candidate, []).append(rival)
        return rivals
