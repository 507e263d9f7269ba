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
    WaiterEntry,
    Waiters,
    Waiting,
    Welcome,
)
from paxlock.core.quorum import blocking, majority
from paxlock.core.round_trips import RoundTrips
from paxlock.core.session.events import Answered, Event, HandleOutcome, NamesFound, NodeStanding, Surveyed
from paxlock.core.session.judgement import Judgement, State, in_doubt, judge, reports_free
from paxlock.core.value import value

__all__ = ["ListQuery", "PollQuery", "Query", "QueryTimer", "ReleaseQuery", "RenewQuery", "SurveyQuery"]

PATIENCE_ROUND_TRIPS = 8.0
POLL_PATIENCES_MAX = 4.0  #: a poll that a quorum goes on answering is decided, or unknown, after so many
PAGES_AHEAD = 8


@value
class QueryTimer:
    """A question may want repeating, or its time may be over."""

    ticket: int


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
        return self.began + max(self.patience, PATIENCE_ROUND_TRIPS * self.round_trips.smoothed(0.0))

    def over(self, now: float) -> bool:
        return not self.open or now >= self.until


@attrs.define(eq=False)
class NodeSays:
    """What a node says of a name: whose lease it holds (or nobody's) and in which term, in every answer from
    the one that came when request ``first`` was the last one sent, to the one that answered ``last``.

    Terms only grow: so it was so all the time from when the first of them came to when the last was asked.
    """

    candidate: Candidate | None
    term: int
    life: int  #: the incarnation of the node
    first: int
    last: int


@attrs.define(eq=False, kw_only=True)
class PollQuery(Query):
    """The standing of a name; with ``line``, also who waits for it.

    "Free" needs the same word of the same nodes twice, the second time asked after all of them had said it:
    views taken at different moments may all be true although the name was led throughout, by one quorum and
    then by another (rule L3; protocol.md section 6). So does "led", where nobody knows the lease to be
    chosen: it may have been gone from one node before another took it. Answers count whenever they come, and
    while nodes answer it goes on asking rather than say "unknown".
    """

    name: str
    line: bool = False
    views: dict[str, View] = attrs.field(factory=dict)
    waiters: dict[Candidate, WaiterEntry] = attrs.field(factory=dict)
    _newest: dict[str, int] = attrs.field(factory=dict)  #: which request each view answers
    _heard_at: dict[str, float] = attrs.field(factory=dict)
    _said: dict[str, NodeSays] = attrs.field(factory=dict)
    _again_from: int = 0  #: the first request sent since all were asked again at once
    _recovering: set[str] = attrs.field(factory=set)
    _lines: dict[str, set[Candidate]] = attrs.field(factory=dict)
    _whole_lines: set[str] = attrs.field(factory=set)

    @property
    def owing(self) -> set[str]:
        """All of them once enough have answered: what they said was not enough."""
        return self.open if len(self.views) < blocking(len(self.nodes)) else set(self.nodes)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        asks: list[Message] = [Poll(request, self.name)]
        if self.line and node not in self._whole_lines:
            asks.append(Waiting(request, self.name, len(self._lines.get(node, ()))))
        return asks

    @property
    def until(self) -> float:
        """The time is over once no quorum has been heard for so long; what the network has dropped is asked
        again meanwhile.
        """
        until = super().until
        patience = until - self.began
        times = sorted(self._heard_at.values(), reverse=True)
        quorum = majority(len(self.nodes))
        if len(times) < quorum:
            return until
        return min(times[quorum - 1] + patience, self.began + POLL_PATIENCES_MAX * patience)

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        self._heard_at[node] = now
        if isinstance(message, View):
            newest = message.request >= self._newest.get(node, 0)
            if message.name == self.name and newest:
                self._newest[node] = message.request
                self._note(node, message, lives)
        elif isinstance(message, Waiters):
            self._note_line(node, message)
        elif isinstance(message, Recovering):
            self._recovering.add(node)
        if node in self.views and (not self.line or node in self._whole_lines):
            self.open.discard(node)

    def _note(self, node: str, view: View, lives: Lives) -> None:
        self.heard.add(node)
        self._recovering.discard(node)
        if in_doubt(view):  # it is asked again until it knows
            self.views.pop(node, None)
            self._said.pop(node, None)
            return
        self.views[node], self.lives[node] = view, lives
        if view.holds and view.lease is not None:
            candidate, term = view.lease.candidate, view.lease_term
        elif reports_free(view):
            candidate, term = None, view.term
        else:
            self._said.pop(node, None)
            return
        said, life = self._said.get(node), lives.get(node, 0)
        if said is not None and (said.candidate, said.term, said.life) == (candidate, term, life):
            said.last = view.request
        else:
            self._said[node] = NodeSays(candidate, term, life, self.requests[-1], view.request)

    def _note_line(self, node: str, message: Waiters) -> None:
        for waiter in message.entries:
            known = self.waiters.get(waiter.candidate)
            if known is None or known.waiting_ms < waiter.waiting_ms:
                self.waiters[waiter.candidate] = waiter
        # Counted by candidate: a page that the network repeats is no further page.
        seen = self._lines.setdefault(node, set())
        before = len(seen)
        seen.update(waiter.candidate for waiter in message.entries)
        if not message.entries or len(seen) >= message.total:
            self._whole_lines.add(node)
        else:
            self.next_page = len(seen) > before

    def result(self, now: float) -> Event | None:
        judgement = judge(self._counted(), len(self.nodes))
        if judgement.state is not State.UNKNOWN and not self._confirmed(judgement):
            judgement = Judgement(State.UNKNOWN)
        owing = self.open - self._recovering
        if judgement.state is State.UNKNOWN:
            # Nodes that sit out will not tell in time; whoever serves is asked again.
            owing = set(self.nodes) - self._recovering
            if len(owing) < blocking(len(self.nodes)):
                owing = self.open - self._recovering
        if (judgement.state is State.UNKNOWN or self.line) and owing and now < self.until:
            return None
        line = sorted(self.waiters.values(), key=lambda w: (-w.waiting_ms, w.candidate))
        return Answered(self.ticket, judgement, tuple(line), len(self.heard))

    def _counted(self) -> Mapping[str, View]:
        return still_counted(self.views, {node: self.lives[node] for node in self.views})

    def _confirmed(self, judgement: Judgement) -> bool:
        """Whether somebody knows it, or enough nodes said the same at one moment: when a request was sent, of
        which all of them had said it before, and say it in answer to that one or a later.
        """
        who = judgement.lease.candidate if judgement.lease is not None else None
        if judgement.chosen:
            return True
        enough = blocking(len(self.nodes)) if who is None else majority(len(self.nodes))
        counted = self._counted()
        said = [one for node, one in self._said.items() if one.candidate == who and node in counted]
        if any(sum(one.first < other.last <= one.last for one in said) >= enough for other in said):
            return True
        # Ask again at once, unless that has been done since they said so, or too few have answered it.
        under_way = sum(one.first < self.requests[-1] for one in said) >= enough
        heard = sum(request >= self._again_from for request in self._newest.values())
        if not under_way and heard >= enough:
            self._again_from = self.requests[-1] + 1
            self.once_more = True
        return False


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

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        return [Hello(request)]

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        if isinstance(message, Welcome):
            self.found[node] = message
            self.open.discard(node)

    def result(self, now: float) -> Event | None:
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

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
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

    def answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        if isinstance(message, Released) and message.candidate == self.candidate:
            self.released.add(node)
            self.lives[node] = lives
            self.open.discard(node)

    def result(self, now: float) -> Event | None:
        if self.together(self.released) >= majority(len(self.nodes)):
            return HandleOutcome(self.ticket, done=True, over=False)
        return HandleOutcome(self.ticket, done=False, over=False) if self.over(now) else None
