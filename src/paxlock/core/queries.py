"""Questions a client puts to all nodes at once: poll, list, who waits, how are you, and the verbs on a
detached lease (protocol.md sections 3 and 6). Repeated with growing, jittered intervals until answered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.lives import Lives, outlived, still_counted
from paxlock.core.messages import (
    Hello,
    List,
    Member,
    Message,
    Names,
    Poll,
    Recovering,
    Release,
    Released,
    Renew,
    Renewed,
    View,
    Waiter,
    Waiters,
    Waiting,
    Welcome,
)
from paxlock.core.notices import Answered, HandleOutcome, NamesFound, NodeStanding, Notice, Surveyed
from paxlock.core.quorum import blocking, majority
from paxlock.core.standing import Judgement, State, in_doubt, judge, speaks_for_nobody
from paxlock.core.value import value

__all__ = ["ListQuery", "PollQuery", "Query", "QueryTimer", "ReleaseQuery", "RenewQuery", "SurveyQuery"]

_Word = tuple[Candidate | None, int]


@value
class QueryTimer:
    """A question may want repeating, or its time may be over."""

    ticket: int


@attrs.define(eq=False, kw_only=True)
class Query(ABC):
    """One question; ``open`` are the nodes that still owe an answer."""

    ticket: int
    nodes: tuple[str, ...]
    until: float
    retry: float
    open: set[str] = attrs.field(init=False)
    heard: set[str] = attrs.field(init=False, factory=set)
    requests: list[int] = attrs.field(init=False, factory=list)
    next_page: bool = attrs.field(init=False, default=False)  #: the last answer was a page not seen before
    once_more: bool = attrs.field(init=False, default=False)  #: all nodes are to be asked again, at once
    lives: dict[str, Lives] = attrs.field(
        init=False, factory=dict
    )  #: with which each counted answer was given

    def __attrs_post_init__(self) -> None:
        self.open = set(self.nodes)

    @abstractmethod
    def ask(self, node: str, request: int, now: float) -> list[Message]:
        """What to send to a node that still owes an answer."""

    @abstractmethod
    def answered(self, node: str, message: Message, lives: Lives) -> None:
        """Take an answer of one node, in a datagram that says ``lives``. What is counted is kept with it."""

    def together(self, nodes: Collection[str]) -> int:
        """How many of these nodes' answers count together (rule S15)."""
        gone = outlived(self.lives)
        return sum(node not in gone for node in nodes)

    @abstractmethod
    def result(self, now: float) -> Notice | None:
        """What follows, if it is decided, or if the time is over."""

    def over(self, now: float) -> bool:
        return not self.open or now >= self.until


@attrs.define(eq=False, kw_only=True)
class PollQuery(Query):
    """The standing of a name; with ``line``, also who waits for it.

    "Free" needs the same word of the same nodes twice, the second time asked after all of them had said it:
    views taken at different moments may all be true although the name was led throughout, by one quorum and
    then by another (rule L3; protocol.md section 6). So does "led", where nobody knows the lease to be
    chosen: it may have been gone from one node before another took it.
    """

    name: str
    line: bool = False
    views: dict[str, View] = attrs.field(factory=dict)
    waiters: dict[Candidate, Waiter] = attrs.field(factory=dict)
    _lines: dict[str, set[Candidate]] = attrs.field(factory=dict)
    _whole_lines: set[str] = attrs.field(factory=set)
    _words: dict[str, _Word] = attrs.field(factory=dict)  #: what each node said in the round before
    _round_from: int = 0  #: the first request of this round; what answers earlier ones is too old

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        asks: list[Message] = []
        if node not in self.views:
            asks.append(Poll(request, self.name))
        if self.line and node not in self._whole_lines:
            asks.append(Waiting(request, self.name, len(self._lines.get(node, ()))))
        return asks

    def answered(self, node: str, message: Message, lives: Lives) -> None:
        if isinstance(message, View):
            if message.request >= self._round_from:
                self.heard.add(node)
                if not in_doubt(message):  # it is asked again until it knows
                    self.views[node], self.lives[node] = message, lives
        elif isinstance(message, Waiters):
            for waiter in message.entries:
                known = self.waiters.get(waiter.candidate)
                if known is None or known.waiting_ms < waiter.waiting_ms:
                    self.waiters[waiter.candidate] = waiter
            # Counted by candidate: a page that the network repeats is no further page.
            seen = self._lines.setdefault(node, set())
            before = len(seen)
            seen.update(waiter.candidate for waiter in message.entries)
            self.next_page = len(seen) > before
            if not message.entries or len(seen) >= message.total:
                self._whole_lines.add(node)
        elif isinstance(message, Recovering):
            self.open.discard(node)
        if node in self.views and (not self.line or node in self._whole_lines):
            self.open.discard(node)

    def result(self, now: float) -> Notice | None:
        judgement = judge(self._counted(), len(self.nodes))
        if judgement.state is not State.UNKNOWN and not self._confirmed(judgement):
            if now < self.until:
                self._begin_round()
                return None
            judgement = Judgement(State.UNKNOWN)
        decided = judgement.state is not State.UNKNOWN and not self.line
        if not decided and not self.over(now):
            return None
        line = sorted(self.waiters.values(), key=lambda w: (-w.waiting_ms, w.candidate))
        return Answered(self.ticket, judgement, tuple(line), len(self.heard))

    def _counted(self) -> Mapping[str, View]:
        return still_counted(self.views, {node: self.lives[node] for node in self.views})

    def _confirmed(self, judgement: Judgement) -> bool:
        """Whether enough nodes have said the same in two rounds, with no term between; or somebody knows."""
        nodes = len(self.nodes)
        who = judgement.lease.candidate if judgement.lease is not None else None
        if judgement.chosen:
            return True
        enough = blocking(nodes) if who is None else majority(nodes)
        twice = [word for node, word in _said(self._counted()).items() if self._words.get(node) == word]
        return sum(candidate == who for candidate, _ in twice) >= enough

    def _begin_round(self) -> None:
        self._words = _said(self._counted())
        self._round_from = self.requests[-1] + 1
        self.views.clear()
        self.open = set(self.nodes)
        self.once_more = True


def _said(views: Mapping[str, View]) -> dict[str, _Word]:
    """Whose lease a node holds, and in which term; of those that neither hold one nor know of one that goes
    on, nobody, and the term they stand at.
    """
    said: dict[str, _Word] = {}
    for node, view in views.items():
        if view.holds and view.lease is not None:
            said[node] = (view.lease.candidate, view.lease_term)
        elif speaks_for_nobody(view):
            said[node] = (None, view.term)
    return said


@attrs.define(eq=False, kw_only=True)
class ListQuery(Query):
    """The names in use that begin with a prefix: what N - quorum + 1 nodes report together."""

    prefix: str
    names: set[str] = attrs.field(factory=set)
    _after: dict[str, str] = attrs.field(factory=dict)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        return [List(request, self.prefix, self._after.get(node, ""))]

    def answered(self, node: str, message: Message, lives: Lives) -> None:
        if isinstance(message, Names):
            self.names.update(message.names)
            after = self._after.get(node, "")
            self.next_page = message.more and max(message.names, default="") > after
            if self.next_page:
                self._after[node] = max(message.names)
            elif not message.more:
                self.heard.add(node)
                self.lives[node] = lives
                self.open.discard(node)
        elif isinstance(message, Recovering):
            self.open.discard(node)

    def result(self, now: float) -> Notice | None:
        # What a quorum holds, one of N - quorum + 1 nodes holds.
        if self.together(self.heard) < blocking(len(self.nodes)) and not self.over(now):
            return None
        return NamesFound(self.ticket, tuple(sorted(self.names)), len(self.heard))


@attrs.define(eq=False, kw_only=True)
class SurveyQuery(Query):
    """How is every node?"""

    members: tuple[Member, ...]
    found: dict[str, Welcome] = attrs.field(factory=dict)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        return [Hello(request)]

    def answered(self, node: str, message: Message, lives: Lives) -> None:
        if isinstance(message, Welcome):
            self.found[node] = message
            self.open.discard(node)

    def result(self, now: float) -> Notice | None:
        if not self.over(now):
            return None
        rows = []
        for member in self.members:
            hello = self.found.get(member.node_id)
            mode = hello.mode if hello is not None else None
            sits_out = hello.remaining_ms / 1000.0 if hello is not None else 0.0
            complaint = hello.complaint if hello is not None else ""
            rows.append(NodeStanding(member.node_id, member.address, mode, sits_out, complaint))
        return Surveyed(self.ticket, tuple(rows))


@attrs.define(eq=False, kw_only=True)
class RenewQuery(Query):
    """Renew a detached lease under this session as the sender: once, by a quorum (section 3)."""

    candidate: Candidate
    term: int
    sender: bytes
    number: Callable[[float], int]
    held: set[str] = attrs.field(factory=set)
    missing: set[str] = attrs.field(factory=set)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        return [Renew(request, self.candidate.session, self.number(now), (self.candidate.attempt,))]

    def answered(self, node: str, message: Message, lives: Lives) -> None:
        if not isinstance(message, Renewed) or message.sender != self.sender:
            return
        if message.session != self.candidate.session:
            return
        self.lives[node] = lives
        terms = [term for attempt, term in message.held if attempt == self.candidate.attempt]
        if terms and terms[0] >= self.term:
            self.held.add(node)
            self.open.discard(node)
        elif terms or self.candidate.attempt in message.not_held:
            self.missing.add(node)
            self.open.discard(node)

    def result(self, now: float) -> Notice | None:
        if self.together(self.held) >= majority(len(self.nodes)):
            return HandleOutcome(self.ticket, done=True, over=False)
        if self.together(self.missing) >= blocking(len(self.nodes)):
            return HandleOutcome(self.ticket, done=False, over=True)
        return HandleOutcome(self.ticket, done=False, over=False) if self.over(now) else None


@attrs.define(eq=False, kw_only=True)
class ReleaseQuery(Query):
    """Release a detached lease: done once a quorum has answered."""

    name: str
    candidate: Candidate
    term: int
    released: set[str] = attrs.field(factory=set)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        return [Release(request, self.name, self.candidate, self.term)]

    def answered(self, node: str, message: Message, lives: Lives) -> None:
        if isinstance(message, Released) and message.candidate == self.candidate:
            self.released.add(node)
            self.lives[node] = lives
            self.open.discard(node)

    def result(self, now: float) -> Notice | None:
        if self.together(self.released) >= majority(len(self.nodes)):
            return HandleOutcome(self.ticket, done=True, over=False)
        return HandleOutcome(self.ticket, done=False, over=False) if self.over(now) else None
