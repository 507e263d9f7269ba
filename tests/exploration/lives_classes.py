"""Situations of one machine that nothing which can follow tells apart, as one class.

The machine is a session, or the node that joins. All situations are found beforehand that it can come to,
whatever arrives in whatever order: more than the cell can bring about, never less. Partition refinement then
makes one of those that show the same, and come to the same by the same. docs/exploration.md has the argument.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Generic, NamedTuple, TypeAlias, TypeVar, cast

from tests.exploration.lives_cell import FIRST_TERM, NODES, Client, LivesCell, Vote, granted
from tests.exploration.lives_joining import Answer

__all__ = ["Class", "Classes", "exchanged", "joining_classes", "session_classes"]

T = TypeVar("T")
M = TypeVar("M", bound=Vote | Answer)
LATER, SENDS = "time goes on", "sends"
Label: TypeAlias = str | Vote | Answer  #: what happens: LATER, SENDS, or a message that arrives
Shown: TypeAlias = tuple[int, bool]
Change: TypeAlias = tuple[bool, int]  #: whether it is the first validity, and what the machine comes to
EXCHANGED = {"a": "c", "b": "b", "c": "a"}


class Move(NamedTuple, Generic[T]):
    """What may happen to a machine, and what becomes of it then. ``grants``: it is the first validity."""

    label: Label
    now: int
    to: T
    grants: bool = False


class Class(NamedTuple, Generic[T]):
    """A class. It goes by its first member."""

    first: T
    twin: T  #: the first member of the class in which it would be with the nodes a and c exchanged
    matter: frozenset[Label]  #: what arrives and changes something, now or later
    lives: bool  #: whether it shows True, now or later: of a session, that it is valid
    grants: bool  #: whether the first validity may be yet to come


def exchanged(message: M) -> M:
    """The same message with the nodes a and c exchanged."""
    return cast(M, message._replace(node=EXCHANGED[message.node]))


class Classes(Generic[T]):
    """The classes of one machine. ``moves`` gives all that may happen to it at a moment, and what becomes of
    it; ``shows`` what the rest of the cell sees of it. A situation belongs to its moment.
    """

    def __init__(
        self, first: T, moves: Callable[[int, T], Iterator[Move[T]]], shows: Callable[[int, T], Shown]
    ) -> None:
        self.situations: list[tuple[int, T]] = [(0, first)]
        self.edges: list[dict[Label, Change]] = []
        self._numbers = {self.situations[0]: 0}
        for now, situation in self.situations:  # grows meanwhile
            found = {
                move.label: (move.grants, self._number(move.now, move.to)) for move in moves(now, situation)
            }
            self.edges.append(found)
        self.shown = [(now, shows(now, situation)) for now, situation in self.situations]
        self.block = self._refined()
        members: dict[int, int] = {}
        for number, block in enumerate(self.block):
            members.setdefault(block, number)
        self.first = [members[block] for block in range(len(members))]
        self.changes = [self._changes(number, self.block) for number in self.first]
        twins = self._find_twins()
        self.symmetric = twins is not None  #: whether the nodes a and c are treated alike
        self._classes = [self._class(block, (twins or {}).get(block, block)) for block in range(len(members))]

    def __len__(self) -> int:
        return len(self._classes)

    def of(self, now: int, situation: T) -> Class[T]:
        """The class of a situation."""
        return self._classes[self.block[self._numbers[now, situation]]]

    def _number(self, now: int, situation: T) -> int:
        number = self._numbers.setdefault((now, situation), len(self.situations))
        if number == len(self.situations):
            self.situations.append((now, situation))
        return number

    def _refined(self) -> list[int]:
        """The coarsest blocks of which every situation shows the same, and comes to the same blocks by the
        same.
        """
        numbers: dict[Hashable, int] = {}
        block = [numbers.setdefault(shown, len(numbers)) for shown in self.shown]
        count = 0
        while count != len(numbers):
            count, numbers = len(numbers), {}
            keys = (
                (block[number], frozenset(self._changes(number, block).items()))
                for number in range(len(block))
            )
            block = [numbers.setdefault(key, len(numbers)) for key in keys]
        return block

    def _changes(self, number: int, block: list[int]) -> dict[Label, Change]:
        """What happens to a situation, without the messages that leave it in its block."""
        return {
            label: (grants, block[to])
            for label, (grants, to) in self.edges[number].items()
            if grants or isinstance(label, str) or block[to] != block[number]
        }

    def _find_twins(self) -> dict[int, int] | None:
        """For every class what it would be with a and c exchanged; None where they are not treated alike."""
        twins, found = {self.block[0]: self.block[0]}, [self.block[0]]
        for one in found:  # grows meanwhile
            mine = self.changes[one]
            its = {_exchanged(label): change for label, change in self.changes[twins[one]].items()}
            if mine.keys() != its.keys() or self._shows(one) != self._shows(twins[one]):
                return None
            for label, (grants, to) in mine.items():
                if to not in twins:
                    found.append(to)
                if (grants, twins.setdefault(to, its[label][1])) != its[label]:
                    return None
        return twins

    def _shows(self, block: int) -> tuple[int, Shown]:
        return self.shown[self.first[block]]

    def _class(self, block: int, twin: int) -> Class[T]:
        later, seen = [block], {block}
        for one in later:  # grows meanwhile
            for _, to in self.changes[one].values():
                if to not in seen:
                    seen.add(to)
                    later.append(to)
        return Class(
            self.situations[self.first[block]][1],
            self.situations[self.first[twin]][1],
            frozenset(label for one in later for label in self.changes[one]),
            any(self.shown[self.first[one]][1][1] for one in later),
            any(grants for one in later for grants, _ in self.changes[one].values()),
        )


def _exchanged(label: Label) -> Label:
    return label if isinstance(label, str) else exchanged(label)


def session_classes(cell: LivesCell, which: int) -> Classes[Client]:
    """A session shows how many numbers it has sent, and whether it is valid."""
    votes = [
        Vote(node, number, noted)
        for node in NODES
        for number in range(1, cell.bounds.renews + 2)
        for noted in ((False, True) if node != "b" else (which == 1,))
    ]

    def moves(now: int, client: Client) -> Iterator[Move[Client]]:
        if now < cell.bounds.until:
            yield Move(LATER, now + 1, cell.later(client, now + 1))
        sent = cell.sends(which, client, now)
        if sent is not None:
            yield Move(SENDS, now, sent)
        for vote in votes:
            new = cell.counts(which, client, vote, now) if vote.number <= len(client.sent) else None
            if new is not None:
                yield Move(vote, now, new, granted(client, new, now))

    return Classes(Client(), moves, lambda now, client: (len(client.sent), client.deadline > now))


def joining_classes(cell: LivesCell) -> Classes[int]:
    """A node that joins shows its phase, 0 once it serves, and then whether it lets session 2 in."""
    joining, bounds = cell.joining, cell.bounds

    def moves(now: int, situation: int) -> Iterator[Move[int]]:
        if now < bounds.until:
            yield Move(LATER, now + 1, joining.after(situation, now + 1))
        serves, _, phase = joining.progress[situation]
        for number, life in () if serves else cell.greetings(phase):
            ceilings = (0, bounds.term, FIRST_TERM) if cell.reads and number > 1 else (0,)
            for node in "ac" if number <= phase else ():
                for ceiling in ceilings:
                    answer = Answer(node, number, life, ceiling)
                    yield Move(answer, now, joining.after(situation, now, answer))

    def shows(_: int, situation: int) -> Shown:
        serves, floor, phase = joining.progress[situation]
        return (0, floor < bounds.term) if serves else (phase, False)

    return Classes(0, moves, shows)
