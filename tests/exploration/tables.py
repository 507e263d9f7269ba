"""Every distinct situation of one machine, as a small integer, and what follows from it.

The shipped code runs once for each (situation, event) and is remembered. A situation keeps one machine that
was in it, pickled; the search knows only numbers.

A node's *column* is the node, what either session keeps of it, and the messages sent to it and by it. The
state of the cell is what is common to all nodes in either session, and three columns: their order means
nothing, so that states that differ by the names of the nodes are one.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.messages import Accept, Commit, Message, Refused, Renew, Renewed, StandingPrepare
from paxlock.simulator.checkers import CheckFailed
from tests.exploration.bounds import Bounds
from tests.exploration.cell import NODES, SESSIONS, OutOfBounds, lock
from tests.exploration.nodes import ExploredNode, NodeEvent
from tests.exploration.sessions import ExploredSession, SessionEvent

if TYPE_CHECKING:
    from tests.exploration.reduction import Reduction

__all__ = ["FAILED", "Columns", "Messages", "NodeTable", "Outcome", "SessionTable", "StepFailed"]

FAILED = -1  #: in place of a column: this step breaks a rule


class StepFailed(Exception):
    """A rule was broken in this step of a session; the search adds the way there."""

    def __init__(self, failure: CheckFailed, event: SessionEvent | int) -> None:
        super().__init__(str(failure))
        self.event = event


def _swapped(message: Message) -> Message:
    """The same message of the other session's candidate."""

    def other(session: bytes) -> bytes:
        return SESSIONS[1 - SESSIONS.index(session)]

    def renamed(part: Any) -> Any:
        """With the candidate of the other session: every part given here names one."""
        candidate = Candidate(other(part.candidate.session), part.candidate.attempt)
        return attrs.evolve(part, candidate=candidate)

    match message:
        case Accept(lease=lease):
            lease = renamed(lease)
            return attrs.evolve(message, lease=lease, lock=lock(lease.candidate))
        case Commit(lease=lease):
            lease = renamed(lease)
            return attrs.evolve(message, lease=lease, lock=lock(lease.candidate))
        case StandingPrepare():
            standing: StandingPrepare = renamed(message)
            return attrs.evolve(standing, lock=lock(standing.candidate))
        case Renew(session=session):
            return attrs.evolve(message, session=other(session))
        case Renewed(sender=sender, session=session):
            return attrs.evolve(message, sender=other(sender), session=other(session))
        case Refused(occupant=occupant) if occupant is not None:
            message = attrs.evolve(message, occupant=renamed(occupant))
    swapped: Message = renamed(message)
    return swapped


@attrs.frozen
class Sent:
    """A message between one session and some node; which node is told by the column that it is in."""

    message: Message
    session: int
    to_node: bool


class Messages:
    """Every message met so far: a bit each, so that what was sent to and by a node is one integer.

    A message and its twin of the other session come in pairs.
    """

    def __init__(self) -> None:
        self.known: list[Sent] = []
        self._numbers: dict[Sent, int] = {}

    def number(self, message: Message, session: int, *, to_node: bool) -> int:
        sent = Sent(message, session, to_node)
        number = self._numbers.get(sent)
        if number is None:
            twin = Sent(_swapped(message), 1 - session, to_node)
            pair = (sent, twin) if session == 0 else (twin, sent)
            for one in pair:
                self._numbers[one] = len(self.known)
                self.known.append(one)
            number = self._numbers[sent]
        return number

    def swapped(self, mask: int) -> int:
        found = 0
        for number in bits(mask):
            found |= 1 << (number ^ 1)
        return found


def bits(mask: int) -> Iterable[int]:
    """The numbers of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


Keeping: TypeAlias = tuple[bool, tuple[int, int] | None, tuple[int, int, int] | None]
#: whether a node serves, who holds there, and what has armed it: session, number and term of the lease


class NodeTable:
    """The situations of a node. With each one comes its twin, the sessions exchanged."""

    def __init__(self, bounds: Bounds, messages: Messages) -> None:
        self.runs = 0
        self._messages = messages
        self._numbers: dict[tuple[object, ...], int] = {}
        self._machines: list[bytes] = []
        self.keys: list[tuple[object, ...]] = []
        self.holder: list[tuple[int, int] | None] = []  #: (session, term of the lease)
        self.guard: list[tuple[int, int] | None] = []
        self.keeping: list[Keeping] = []
        self.events: list[list[NodeEvent]] = []
        self.twin: list[int] = []
        self._after: dict[tuple[int, NodeEvent | int], tuple[int, int] | None] = {}
        self._add(ExploredNode.fresh(bounds))
        self.twin.append(0)

    def _add(self, machine: ExploredNode) -> int:
        key = machine.key()
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._machines)
            self._machines.append(pickle.dumps(machine, pickle.HIGHEST_PROTOCOL))
            self.keys.append(key)
            self.holder.append(machine.keeps)
            self.keeping.append((machine.serving, machine.holder, machine.armed))
            self.guard.append(machine.armed and machine.armed[:2])
            self.events.append(machine.events())
        return number

    def after(self, number: int, event: NodeEvent | int) -> tuple[int, int] | None:
        """The situation after an event (a message by its number) and what is sent, as bits; None where
        this leaves the bounds. Raises CheckFailed.
        """
        if (number, event) not in self._after:
            twin, mirrored = self.twin[number], event ^ 1 if isinstance(event, int) else event
            found, other = self._run(number, event), self._run(twin, mirrored)
            self._after[number, event], self._after[twin, mirrored] = found, other
            if found is not None and other is not None:
                self._pair(found[0], other[0])
        return self._after[number, event]

    def _pair(self, one: int, other: int) -> None:
        while len(self.twin) < len(self._machines):
            self.twin.append(-1)
        assert self.twin[one] in (-1, other), "a node treats the sessions differently"
        self.twin[one], self.twin[other] = other, one

    def _run(self, number: int, event: NodeEvent | int) -> tuple[int, int] | None:
        self.runs += 1
        machine: ExploredNode = pickle.loads(self._machines[number])
        try:
            if isinstance(event, int):
                known = self._messages.known[event]
                sent = machine.takes(known.message, known.session)
            else:
                sent = machine.happens(event)
        except OutOfBounds:
            return None
        mask = 0
        for session, message in sent:
            mask |= 1 << self._messages.number(message, session, to_node=False)
        return self._add(machine), mask


@attrs.frozen
class Outcome:
    """What an event in a session comes to: the new common part, and for each node the view and the bits of
    what was sent to it. ``mine`` is for the node that the answer came from; ``others``, by the view that was
    kept of them, is empty where nothing changes for them.
    """

    number: int
    event: SessionEvent | int
    common: int
    mine: tuple[int, int] | None
    others: dict[int, tuple[int, int]]

    @property
    def effect(self) -> tuple[object, ...]:
        return self.common, self.mine, tuple(sorted(self.others.items()))


class SessionTable:
    """The situations of a session. One table serves both: they differ in nothing but their names."""

    def __init__(self, bounds: Bounds, messages: Messages, identity: int) -> None:
        self.runs = 0
        self.outcomes = 0
        self.identity = identity
        self._messages = messages
        self._commons: dict[tuple[object, ...], int] = {}
        self._views: dict[tuple[object, ...], int] = {}
        self._machines: dict[tuple[int, tuple[int, ...]], tuple[bytes, list[str]]] = {}
        self.situations: list[tuple[int, tuple[int, ...]]] = []
        self.changes: set[tuple[int, int]] = set()  #: of one node's view
        self.commons: list[tuple[object, ...]] = []
        self.views: list[tuple[object, ...]] = []
        self.valid: list[int] = []  #: the token of the lease that is valid, or 0
        self.token: list[int] = []
        self.lapsed: list[int] = []
        self.alive: list[int] = []  #: the attempt that is not over, or 0
        self.counts: list[int] = []  #: the same number where the same attempt is alive and as much has lapsed
        self._counts: dict[tuple[int, int], int] = {}
        self._taken: dict[tuple[int, tuple[int, ...], int, int], Outcome | StepFailed | None] = {}
        self._events: dict[tuple[int, tuple[int, ...]], list[Outcome] | StepFailed] = {}
        machine, sends = ExploredSession.fresh(identity, bounds)
        self.first = self.situation(machine)
        self.first_sent = self._masks(sends)  #: to each node

    def situation(self, machine: ExploredSession) -> tuple[int, dict[str, int]]:
        """The situation of this machine: what is common, and the view of each node. It is kept if new."""
        key, views = machine.key()
        key = (machine.valid, *key)
        common = self._commons.setdefault(key, len(self._commons))
        if common == len(self.commons):
            self.commons.append(key)
            self.valid.append(machine.token if machine.valid else 0)
            self.token.append(machine.token)
            self.lapsed.append(machine.lapsed)
            self.alive.append(machine.alive)
            counts = machine.alive, machine.lapsed
            self.counts.append(self._counts.setdefault(counts, len(self._counts)))
        numbers: dict[str, int] = {}
        for node, view in views.items():
            numbers[node] = self._views.setdefault(view, len(self._views))
            if numbers[node] == len(self.views):
                self.views.append(view)
        order = sorted(NODES, key=numbers.__getitem__)
        situation = (common, tuple(numbers[node] for node in order))
        if situation not in self._machines:
            self.situations.append(situation)
            self._machines[situation] = pickle.dumps(machine, pickle.HIGHEST_PROTOCOL), order
        return common, numbers

    def _masks(self, sends: list[tuple[str, Message]]) -> dict[str, int]:
        masks = dict.fromkeys(NODES, 0)
        for node, message in sends:
            masks[node] |= 1 << self._messages.number(message, self.identity, to_node=True)
        return masks

    def taken(self, common: int, views: tuple[int, ...], view: int, message: int) -> Outcome | None:
        """An answer comes from a node of which this view is kept; None where it changes nothing. Raises
        StepFailed.
        """
        key = (common, views, view, message)
        if key not in self._taken:
            self._taken[key] = self._take(*key)
        found = self._taken[key]
        if isinstance(found, StepFailed):
            raise found
        return found

    def _take(
        self, common: int, views: tuple[int, ...], view: int, message: int
    ) -> Outcome | StepFailed | None:
        pickled, order = self._machines[common, views]
        machine: ExploredSession = pickle.loads(pickled)
        node = order[views.index(view)]
        self.runs += 1
        try:
            sends = machine.takes(self._messages.known[message].message, node)
        except OutOfBounds:
            return None
        except CheckFailed as failure:
            return StepFailed(failure, message)
        return self._outcome(message, machine, sends, (common, views), node)

    def events(self, common: int, *unordered: int) -> list[Outcome]:
        """What may happen in this session besides messages, with these views of the nodes. Raises
        StepFailed, every time that it is asked.
        """
        found = self._events.get((common, unordered))
        if found is None:
            views = tuple(sorted(unordered))
            found = self._events.get((common, views)) or self._happening(common, views)
            self._events[common, views] = self._events[common, unordered] = found
        if isinstance(found, StepFailed):
            raise found
        return found

    def _happening(self, common: int, views: tuple[int, ...]) -> list[Outcome] | StepFailed:
        pickled, _ = self._machines[common, views]
        first: ExploredSession = pickle.loads(pickled)
        found: list[Outcome] = []
        for event in first.events():
            machine: ExploredSession = pickle.loads(pickled)
            self.runs += 1
            try:
                sends = machine.happens(event)
            except OutOfBounds:
                continue
            except CheckFailed as failure:
                return StepFailed(failure, event)
            outcome = self._outcome(event, machine, sends, (common, views), None)
            if outcome is not None:
                found.append(outcome)
        return found

    def known_events(self) -> Iterable[tuple[tuple[int, tuple[int, ...]], list[Outcome] | StepFailed]]:
        """Of every situation what may happen besides messages, as far as it was asked for."""
        return ((key, found) for key, found in self._events.items() if key[1] == tuple(sorted(key[1])))

    def known_answers(
        self,
    ) -> Iterable[tuple[tuple[int, tuple[int, ...], int, int], Outcome | StepFailed | None]]:
        """Of every situation what an answer does there, as far as it was asked for."""
        return self._taken.items()

    def _outcome(
        self,
        event: SessionEvent | int,
        machine: ExploredSession,
        sends: list[tuple[str, Message]],
        before: tuple[int, tuple[int, ...]],
        sender: str | None,
    ) -> Outcome | None:
        common, numbers = self.situation(machine)
        masks = self._masks(sends)
        old = dict(zip(self._machines[before][1], before[1], strict=True))
        mine = (numbers[sender], masks[sender]) if sender is not None else None
        others: dict[int, tuple[int, int]] = {}
        self.changes.update((old[node], numbers[node]) for node in NODES)
        for node in NODES:
            if node != sender:
                change = (numbers[node], masks[node])
                assert others.setdefault(old[node], change) == change, "a session treats nodes differently"
        if all(view == change[0] and not change[1] for view, change in others.items()):
            others = {}
        if common == before[0] and not others and (mine is None or mine == (old[sender or ""], 0)):
            return None
        self.outcomes += 1
        return Outcome(self.outcomes, event, common, mine, others)


Steps: TypeAlias = tuple[list[tuple[NodeEvent | int, int]], list[tuple[NodeEvent, int, int, int]]]


class Columns:
    """Nodes with all that is kept and under way about them, and what may happen at one."""

    def __init__(self, nodes: NodeTable, messages: Messages) -> None:
        self._nodes = nodes
        self._messages = messages
        self.reduction: Reduction | None = None
        self._raw: dict[tuple[int, int, int, int], int] = {}
        self._numbers: dict[tuple[int, int, int, int], int] = {}
        self.parts: list[tuple[int, int, int, int]] = []  #: node, view of either session, messages
        self.views: tuple[list[int], list[int]] = ([], [])
        self.steps: list[Steps | None] = []
        self.holder: list[tuple[int, int] | None] = []
        self._twins: list[int] = []
        self._answers: list[tuple[list[int], list[int]] | None] = []
        self._changed: dict[tuple[int, int, int, int], int] = {}
        self.failures: dict[tuple[int, object], CheckFailed] = {}

    def __len__(self) -> int:
        return len(self.parts)

    def number(self, node: int, view0: int, view1: int, mask: int) -> int:
        raw = (node, view0, view1, mask)
        known = self._raw.get(raw)
        if known is None:
            known = self._raw[raw] = self._number(*raw)
        return known

    def _number(self, node: int, view0: int, view1: int, mask: int) -> int:
        if self.reduction is not None:
            mask = self.reduction.kept(node, view0, view1, mask)
        parts = (node, view0, view1, mask)
        number = self._numbers.setdefault(parts, len(self.parts))
        if number == len(self.parts):
            self.parts.append(parts)
            self.steps.append(None)
            self.views[0].append(view0)
            self.views[1].append(view1)
            self.holder.append(self._nodes.holder[node])
            self._twins.append(-1)
            self._answers.append(None)
        return number

    def changed(self, column: int, session: int, view: int, mask: int) -> int:
        """The column after a session has changed its view of the node and sent it something."""
        key = (column, session, view, mask)
        found = self._changed.get(key)
        if found is None:
            node, view0, view1, messages = self.parts[column]
            if session == 0:
                view0 = view
            else:
                view1 = view
            found = self._changed[key] = self.number(node, view0, view1, messages | mask)
        return found

    def answered(self, column: int, session: int, message: int, view: int, mask: int) -> int | None:
        """The same, by an answer of the node."""
        return self.changed(column, session, view, mask)

    def twin(self, column: int) -> int:
        """The column with the sessions exchanged."""
        found = self._twins[column]
        if found < 0:
            node, view0, view1, mask = self.parts[column]
            found = self.number(self._nodes.twin[node], view1, view0, self._messages.swapped(mask))
            self._twins[column], self._twins[found] = found, column
        return found

    def answers(self, column: int, session: int) -> list[int]:
        """The answers of this node to this session."""
        found = self._answers[column]
        if found is None:
            found = ([], [])
            for number in bits(self.parts[column][3]):
                sent = self._messages.known[number]
                if not sent.to_node:
                    found[sent.session].append(number)
            self._answers[column] = found
        return found[session]

    def look(self, column: int) -> Steps:
        """What may happen at this node: (event, column after it), and what may happen only once a number of
        a session has lapsed there: (event, session, number, column after it).
        """
        node, view0, view1, mask = self.parts[column]
        free: list[tuple[NodeEvent | int, int]] = []
        guarded: list[tuple[NodeEvent, int, int, int]] = []
        events: list[NodeEvent | int] = [
            number for number in bits(mask) if self._messages.known[number].to_node
        ]
        events.extend(self._nodes.events[node])
        for event in events:
            try:
                after = self._nodes.after(node, event)
            except CheckFailed as failure:
                self.failures[column, event] = failure
                after = node, 0
            if after is None:
                continue
            new = self.number(after[0], view0, view1, mask | after[1])
            if (column, event) in self.failures:
                new = FAILED
            guard = self._nodes.guard[node]
            if new == column:
                continue
            if event in (NodeEvent.EXPIRES, NodeEvent.SERVES) and guard is not None:
                assert isinstance(event, NodeEvent)
                guarded.append((event, *guard, new))
            else:
                free.append((event, new))
        self.steps[column] = free, guarded
        return free, guarded
