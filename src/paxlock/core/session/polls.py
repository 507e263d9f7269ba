"""The question what a name is, led, free or unknown: decided by what nodes said at one moment (protocol.md
section 6).
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from paxlock.core.lease import Candidate
from paxlock.core.lives import Lives, still_counted
from paxlock.core.messages import Message, Poll, Recovering, View, WaiterEntry, Waiters, Waiting
from paxlock.core.quorum import blocking, majority
from paxlock.core.session.events import Answered, Event
from paxlock.core.session.judgement import Judgement, State, in_doubt, judge, reports_free
from paxlock.core.session.queries import Query

__all__ = ["PollQuery"]

POLL_PATIENCES_MAX = 4.0  #: a poll that a quorum goes on answering is decided, or unknown, after so many


@attrs.define(eq=False)
class NodeSays:
    """What a node has said of a name in all its answers of some time: (candidate, lease term) if it holds a
    lease; (None, its term) if it reports the name free.

    The first of these answers came while request ``first`` was the newest one; the last of them answered
    request ``last``. Terms only grow: so it was true all the time from when the first one came until ``last``
    was sent.
    """

    candidate: Candidate | None
    term: int
    life: int  #: the incarnation of the node
    first: int
    last: int


@attrs.define(eq=False, kw_only=True)
class PollQuery(Query):
    """The standing of a name; with ``line``, also who waits for it.

    The same nodes must report "free" twice, the second time in answer to a request that was sent after all of
    them had reported it. Views of different moments may all be true although the name was led throughout, by
    one quorum and then by another (rule L3; protocol.md section 6). So it is with "led" if no node knows the
    lease to be chosen: one node may have lost it before another took it. Answers count whenever they come.
    While a quorum answers, the poll goes on asking rather than say "unknown".
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
        """All nodes, once enough have answered: what they said did not decide it."""
        return self.open if len(self.views) < blocking(len(self.nodes)) else set(self.nodes)

    def ask(self, node: str, request: int, now: float) -> list[Message]:
        asks: list[Message] = [Poll(request, self.name)]
        if self.line and node not in self._whole_lines:
            asks.append(Waiting(request, self.name, len(self._lines.get(node, ()))))
        return asks

    @property
    def until(self) -> float:
        """The time is over once no quorum has answered for the length of the patience. Meanwhile what the
        network has dropped is asked again.
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
            # Nodes that sit out will not answer in time; those that serve are asked again.
            owing = set(self.nodes) - self._recovering
            if len(owing) < blocking(len(self.nodes)):
                owing = self.open - self._recovering
        undecided = judgement.state is State.UNKNOWN or self.line or self._may_tell_more(judgement)
        if undecided and owing and now < self.until:
            return None
        line = sorted(self.waiters.values(), key=lambda w: (-w.waiting_ms, w.candidate))
        return Answered(self.ticket, judgement, tuple(line), len(self.heard))

    def _may_tell_more(self, judgement: Judgement) -> bool:
        """Whether it is led, but fewer nodes than a quorum show that they hold the lease, so that for how
        long is not known: the others are waited for until they have been asked once more.
        """
        if judgement.lease is None or len(self.requests) > 1:
            return False
        candidate = judgement.lease.candidate
        views = self._counted().values()
        holding = sum(v.holds and v.lease is not None and v.lease.candidate == candidate for v in views)
        return holding < majority(len(self.nodes))

    def _counted(self) -> Mapping[str, View]:
        return still_counted(self.views, {node: self.lives[node] for node in self.views})

    def _confirmed(self, judgement: Judgement) -> bool:
        """Whether a node knows that the lease is chosen, or enough nodes agreed at one moment: when a request
        was sent such that all of them had said so before, and say so in answer to that or a later request.
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
