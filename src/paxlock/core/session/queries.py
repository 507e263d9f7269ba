"""Questions that a client asks all nodes at once: which names are in use, how the nodes are, and the verbs on
a detached lease (protocol.md sections 3 and 6); poll is in polls.py. They are repeated with growing, jittered
intervals until they are answered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from typing import Any

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.lives import UNKNOWN, Lives, outlived
from paxlock.core.messages import (
    Forbidden,
    Hello,
    List,
    Member,
    Message,
    Names,
    Release,
    Released,
    Renew,
    Renewed,
    View,
    Welcome,
)
from paxlock.core.quorum import blocking, majority
from paxlock.core.round_trips import RoundTrips
from paxlock.core.session.events import Event, HandleOutcome, NamesFound, NodeStanding, Surveyed
from paxlock.core.session.pacing import RETRY_MAX_S
from paxlock.core.session.shared import Shared
from paxlock.core.session.turns import Turns

__all__ = [
    "QUERY_PATIENCE_S",
    "ListQuery",
    "Queries",
    "Query",
    "ReleaseQuery",
    "RenewQuery",
    "SurveyQuery",
]

QUERY_PATIENCE_S = 1.0  #: unless somebody says otherwise
PATIENCE_ROUND_TRIPS = 8.0
REPETITIONS_WITHIN_PATIENCE = 4.0  #: at least, however many were in vain
PAGES_AHEAD = 8
REQUESTS_PER_QUESTION = 64  #: of so many repetitions the answers count


@attrs.define(eq=False, kw_only=True)
class Query(ABC):
    """One question; ``open`` are the nodes that still owe an answer."""

    ticket: int
    nodes: tuple[str, ...]
    began: float
    patience: float  #: seconds; more where round trips are long
    round_trips: RoundTrips
    retry: float
    open: set[str] = attrs.field(init=False)
    heard: set[str] = attrs.field(init=False, factory=set)
    requests: list[int] = attrs.field(init=False, factory=list)
    #: Who is to hear what follows, where that is another part of the session and not its program.
    heeds: Callable[[Event], None] | None = None
    next_page: bool = attrs.field(init=False, default=False)  #: more of this node's answer is wanted at once
    once_more: bool = attrs.field(init=False, default=False)  #: all nodes are to be asked again, at once
    lives: dict[str, Lives] = attrs.field(
        init=False, factory=dict
    )  #: with which each counted answer was given

    def __attrs_post_init__(self) -> None:
        self.open = set(self.nodes)

    @property
    def owing(self) -> set[str]:
        """The nodes that are to be asked when the question is repeated."""
        return self.open

    @abstractmethod
    def ask(self, node: str, request: int, now: float) -> list[Message]:
        """What to send to a node that still owes an answer."""

    @abstractmethod
    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        """Take an answer of one node, in a datagram that says ``lives``. What is counted is kept with it."""

    def together(self, nodes: Collection[str]) -> int:
        """How many of these nodes' answers count together (rule S15)."""
        gone = outlived(self.lives)
        return sum(node not in gone for node in nodes)

    @abstractmethod
    def result(self, now: float) -> Event | None:
        """What follows, if it is decided, or if the time is over."""

    @property
    def until(self) -> float:
        """When the time is over, by what is known of the round trips."""
        return self.began + max(self.patience, PATIENCE_ROUND_TRIPS * self.round_trips.expected)

    def over(self, now: float) -> bool:
        return not self.open or now >= self.until


@attrs.define(eq=False, kw_only=True)
class ListQuery(Query):
    """The names in use that begin with a prefix: what N - quorum + 1 nodes report together.

    Each node tells them in pages, several of them for one question. Its patience lasts while pages come.
    """

    prefix: str
    names: set[str] = attrs.field(factory=set)
    _after: dict[str, str] = attrs.field(factory=dict)  #: up to where the names of each node are known
    _pages: dict[str, dict[str, Names]] = attrs.field(
        factory=dict
    )  #: of each node, those that came too early
    _left: dict[str, int] = attrs.field(factory=dict)  #: how many pages each node was asked for and owes

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        self._left[node] = PAGES_AHEAD
        return [List(request, self.prefix, self._after.get(node, ""), PAGES_AHEAD)]

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        if isinstance(message, Names):
            self._take(node, message, now, lives)

    def _take(self, node: str, message: Names, now: float, lives: Lives) -> None:
        self.names.update(message.names)
        pages, after = self._pages.setdefault(node, {}), self._after.get(node, "")
        last = max(message.names, default="")
        if message.after < after or (message.more and last <= message.after):
            return  # known already, or no page of a list that is in order
        if len(pages) < 2 * PAGES_AHEAD or message.after == after:
            pages[message.after] = message
        while (page := pages.pop(after, None)) is not None:
            self.began = now  # there may be many pages: each has time of its own
            if not page.more:
                self.heard.add(node)
                self.lives[node] = lives
                self.open.discard(node)
                pages.clear()
                return
            after = self._after[node] = max(page.names)
            self._left[node] -= 1
            self.next_page = self._left[node] <= 0

    def result(self, now: float) -> Event | None:
        # What a quorum holds, one of N - quorum + 1 nodes holds.
        if self.together(self.heard) < blocking(len(self.nodes)) and not self.over(now):
            return None
        return NamesFound(self.ticket, tuple(sorted(self.names)), len(self.heard))


@attrs.define(eq=False, kw_only=True)
class SurveyQuery(Query):
    """How is every node?"""

    members: tuple[Member, ...]
    found: dict[str, Welcome] = attrs.field(factory=dict)
    _asked: dict[tuple[str, int], float] = attrs.field(factory=dict)
    _took: dict[str, float] = attrs.field(factory=dict)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        self._asked[node, request] = now
        return [Hello(request)]

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        if isinstance(message, Welcome):
            self.found[node] = message
            self.lives[node] = lives
            asked = self._asked.get((node, message.request))
            if asked is not None:
                self._took.setdefault(node, now - asked)
            self.open.discard(node)

    def result(self, now: float) -> Event | None:
        if not self.over(now):
            return None
        rows = []
        gone = outlived(self.lives)
        for member in self.members:
            hello = self.found.get(member.node_id)
            mode = hello.mode if hello is not None else None
            sits_out = hello.remaining_ms / 1000.0 if hello is not None else 0.0
            complaint = hello.complaint if hello is not None else ""
            rows.append(
                NodeStanding(
                    *(member.node_id, member.address, mode, sits_out, complaint),
                    round_trip=self._took.get(member.node_id),
                    incarnation=self.lives.get(member.node_id, UNKNOWN).get(member.node_id, 0),
                    outlived=member.node_id in gone,
                )
            )
        return Surveyed(self.ticket, tuple(rows))


@attrs.define(eq=False, kw_only=True)
class RenewQuery(Query):
    """Renew a detached lease under this session as the sender: once, by a quorum (section 3)."""

    candidate: Candidate
    term: int
    secret: bytes = attrs.field(repr=False)
    sender: bytes
    number: Callable[[float], int]
    held: set[str] = attrs.field(factory=set)
    missing: set[str] = attrs.field(factory=set)
    refused: set[str] = attrs.field(factory=set)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        session, attempt = self.candidate
        return [Renew(request, session, self.number(now), (attempt,), (self.secret,))]

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        if isinstance(message, Forbidden):
            self.lives[node] = lives
            self.refused.add(node)
            self.open.discard(node)
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

    def result(self, now: float) -> Event | None:
        if self.together(self.held) >= majority(len(self.nodes)):
            return HandleOutcome(self.ticket, done=True, over=False)
        if self.together(self.missing) >= blocking(len(self.nodes)):
            return HandleOutcome(self.ticket, done=False, over=True)
        if self.together(self.refused) >= blocking(len(self.nodes)):
            return HandleOutcome(self.ticket, done=False, over=False, refused=True)
        return HandleOutcome(self.ticket, done=False, over=False) if self.over(now) else None


@attrs.define(eq=False, kw_only=True)
class ReleaseQuery(Query):
    """Release a detached lease: done once a quorum has answered."""

    name: str
    candidate: Candidate
    term: int
    secret: bytes = attrs.field(repr=False)
    released: set[str] = attrs.field(factory=set)
    refused: set[str] = attrs.field(factory=set)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        return [Release(request, self.name, self.candidate, self.term, self.secret)]

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        if isinstance(message, Released) and message.candidate == self.candidate:
            self.released.add(node)
        elif isinstance(message, Forbidden):
            self.refused.add(node)
        else:
            return
        self.lives[node] = lives
        self.open.discard(node)

    def result(self, now: float) -> Event | None:
        if self.together(self.released) >= majority(len(self.nodes)):
            return HandleOutcome(self.ticket, done=True, over=False)
        if self.together(self.refused) >= blocking(len(self.nodes)):
            return HandleOutcome(self.ticket, done=False, over=False, refused=True)
        return HandleOutcome(self.ticket, done=False, over=False) if self.over(now) else None


class Queries:
    """The open questions of one session, and the requests by which they were asked."""

    def __init__(self, shared: Shared) -> None:
        self._nodes = shared.nodes
        self._quorum = shared.quorum
        self._out = shared.out
        self._pacing = shared.pacing
        self._timers = shared.timers
        self.heard: dict[str, float] = {}  #: when each node has answered a question last
        self._open: dict[int, Query] = {}
        self._asked: dict[int, int] = {}  #: by request, the ticket of its question
        self._turns = Turns(self._begin_turns, pacing=self._pacing, timers=self._timers, quorum=self._quorum)

    def fields(self, now: float, patience: float) -> dict[str, Any]:
        """What every kind of question is made with."""
        return {
            "ticket": self._out.ticket(),
            "nodes": self._nodes,
            "began": now,
            "patience": patience,
            "round_trips": self._pacing.round_trips,
            "retry": self._pacing.retry_first(),
        }

    def ask(self, query: Query, now: float) -> int:
        """Ask this question now; gives its ticket."""
        self._open[query.ticket] = query
        self._repeat(query, now)
        return query.ticket

    def ask_in_turn(self, query: Query, now: float, *, brief: bool) -> int:
        """Ask this question when its turn has come."""
        if self._turns.ask(query.ticket, now, rank=query.ticket, brief=brief):
            return self.ask(query, now)
        self._open[query.ticket] = query
        self._timers.add(query.until, self._due, query.ticket)
        return query.ticket

    def goes_on(self, ticket: int) -> bool:
        """Whether this question has no answer yet."""
        return ticket in self._open

    def forget(self, ticket: int, now: float) -> None:
        """Nobody wants the answer to this question any more: it is not repeated."""
        query = self._open.pop(ticket, None)
        if query is not None:
            for request in query.requests:
                del self._asked[request]
            self._timers.cancel(self._due, ticket)
            self._turns.done(ticket, now)

    def _due(self, ticket: int, now: float) -> None:
        """A question may want repeating, or its time may be over."""
        query = self._open.get(ticket)
        if query is not None and not self._waits_for_its_turn(query, now):
            self._turns.late(ticket, now)
            self._repeat(query, now)

    def _begin_turns(self, now: float) -> None:
        for ticket in self._turns.begin(now):
            query = self._open[ticket]
            query.began = now
            self._repeat(query, now)

    def _waits_for_its_turn(self, query: Query, now: float) -> bool:
        """A question that was not asked yet has its patience while others are answered."""
        if not self._turns.waits(query.ticket):
            return False
        query.began = max(query.began, self._pacing.heard_by(self._quorum))
        if now >= query.until:
            return False
        self._timers.add(query.until, self._due, query.ticket)
        return True

    def _repeat(self, query: Query, now: float) -> None:
        if self._has_result(query, now):
            return
        request = self._request(query, now)
        for node in sorted(query.owing):
            for message in query.ask(node, request, now):
                self._out.send(node, message)
        self._timers.add(min(query.until, now + self._pacing.jitter(query.retry)), self._due, query.ticket)
        longest = min(RETRY_MAX_S, query.patience / REPETITIONS_WITHIN_PATIENCE)
        query.retry = min(query.retry * 2.0, max(longest, query.round_trips.timeout(0.0)))

    def _request(self, query: Query, now: float) -> int:
        """A number for what is asked now: its answer tells how long a round trip takes."""
        request = self._out.request()
        self._asked[request] = query.ticket
        query.requests.append(request)
        query.once_more = False
        self._pacing.asked(request, now)
        if len(query.requests) > REQUESTS_PER_QUESTION:
            del self._asked[query.requests.pop(0)]
        return request

    def _has_result(self, query: Query, now: float) -> bool:
        result = query.result(now)
        if result is None:
            return False
        self._turns.done(query.ticket, now, answered=True)
        self.forget(query.ticket, now)
        tell = query.heeds or self._out.publish
        tell(result)
        return True

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> bool:
        """Take the answer to a question, which its request number tells; False if it answers none."""
        if not self._asked:
            return False
        request = getattr(message, "request", 0)
        query = self._open.get(self._asked.get(request, 0))
        if query is None:
            return False
        self.heard[node] = now
        if isinstance(message, View):
            self._pacing.heard[node] = now
            self._pacing.answered(node, request, now)
        query.next_page = False
        query.answered(node, message, now, lives)
        if self._has_result(query, now):
            return True
        if query.once_more:
            query.retry = self._pacing.retry_first()
            self._repeat(query, now)
        elif query.next_page and node in query.open:
            # A part of a longer answer: ask for what follows at once.
            for ask in query.ask(node, self._request(query, now), now):
                self._out.send(node, ask)
            query.retry = self._pacing.retry_first()
        return True
