"""A client's machine: candidates, watches and questions, for all its names (protocol.md sections 3 to 6).

The candidate's side is in campaigns.py; here is the surface that shell and simulator drive, what comes in,
and the questions and watches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from paxlock.core.effects import NOTHING, Effects
from paxlock.core.lease import Candidate, Timing
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import (
    Accepted,
    Message,
    Names,
    NodeMode,
    Peer,
    Poll,
    Promise,
    Recovering,
    Refused,
    Released,
    Renewed,
    Unwatch,
    View,
    Waiters,
    WatchEvent,
    Watching,
    Welcome,
)
from paxlock.core.quorum import majority
from paxlock.core.round_trips import RoundTrips
from paxlock.core.session.attempt import Campaign
from paxlock.core.session.campaigns import Campaigns
from paxlock.core.session.events import Event, Mismatch
from paxlock.core.session.greetings import Greetings, HelloTimer
from paxlock.core.session.outbox import Outbox, SessionSettings
from paxlock.core.session.pacing import RETRY_MAX_S, Pacing
from paxlock.core.session.queries import (
    ListQuery,
    PollQuery,
    Query,
    QueryTimer,
    ReleaseQuery,
    RenewQuery,
    SurveyQuery,
)
from paxlock.core.session.releases import RELEASE_PATIENCE_S
from paxlock.core.session.sequence import SequenceNumbers
from paxlock.core.session.shared import Shared
from paxlock.core.session.turns import Turns, TurnTimer
from paxlock.core.session.watches import LOOK_PAUSE_S, LookTimer, SeenEvents, Watcher, WatchTimer
from paxlock.core.timers import Timers

__all__ = ["Session", "SessionSettings"]

# What a node says only while it serves.
_SERVING = (Promise, Accepted, Refused, Renewed, Released)

QUERY_PATIENCE_S = 1.0
FIRST_ROUND_TRIP_GRACES = 1.5
REQUESTS_PER_QUESTION = 64
REPETITIONS_WITHIN_PATIENCE = 4.0  #: at least, however many were in vain
TIMINGS_REMEMBERED = 64


class Session:
    """One running client. Driven through ``receive``, ``tick``, ``deadline`` and ``take_effects``."""

    def __init__(self, settings: SessionSettings, *, session: bytes, now: float, rng: Random) -> None:
        self.settings = settings
        self.session = session
        self.counters: Counter[str] = Counter()
        self._nodes = settings.nodes
        self._timers = Timers()
        self._out = Outbox()
        trips = RoundTrips(settings.nodes, first_max=FIRST_ROUND_TRIP_GRACES * settings.grace)
        self._pacing = Pacing(settings.grace, rng, trips)
        self._numbers = SequenceNumbers(settings.max_ttl_ms / 1000.0)
        self._shared = Shared(
            session=session,
            nodes=settings.nodes,
            out=self._out,
            pacing=self._pacing,
            numbers=self._numbers,
            timers=self._timers,
            counters=self.counters,
        )
        self._campaigns = Campaigns(self._shared)
        self._timings: dict[tuple[float, float], Timing] = {}
        self._queries: dict[int, Query] = {}
        self._asked: dict[int, int] = {}
        self._polls = Turns(
            "poll", pacing=self._pacing, timers=self._timers, quorum=majority(len(self._nodes))
        )
        self._watchers: dict[int, Watcher] = {}
        self._seen = SeenEvents()
        self._greetings = Greetings(self._nodes, self._out, self._pacing, self._timers)
        self._greetings.greet(now)

    # Local verbs: campaigns

    def campaign(
        self,
        name: str,
        *,
        ttl: float,
        now: float,
        wait: float | None = None,
        label: str | None = None,
        data: bytes = b"",
        kill_after: float = 0.0,
    ) -> int:
        """Want a name; gives a ticket. Granted or Failed follows.

        ``wait``: None for ever, 0 for one try that never waits for a holder to let go, else seconds. Raises
        ConfigError where the ttl does not nest.
        """
        timing = self._timings.get((ttl, kill_after))
        if timing is None:
            max_ttl = self.settings.max_ttl_ms / 1000.0
            timing = Timing.for_ttl(ttl, max_ttl=max_ttl, drift=self.settings.drift, kill_after=kill_after)
            if len(self._timings) < TIMINGS_REMEMBERED:
                self._timings[ttl, kill_after] = timing
        who = self.settings.label if label is None else label
        return self._campaigns.campaign(name, timing, now=now, wait=wait, label=who, data=data)

    def release(self, ticket: int, now: float, *, patience: float = RELEASE_PATIENCE_S) -> None:
        """End a campaign, whatever has become of it: waiting, or held. Ended follows, within ``patience``."""
        self._campaigns.release(ticket, now, patience)

    def detach(self, ticket: int, now: float) -> None:
        """Let go of a held lease without releasing it: it lives until its ttl, for whoever has the handle.

        Barred follows for whoever else of this session waits for the name, now or later.
        """
        self._campaigns.detach(ticket, now)

    def gave_away(self, name: str) -> bool:
        """Whether a lease of this name was detached: this session may not campaign for it any more."""
        return self._campaigns.gave_away(name)

    def campaign_of(self, ticket: int) -> Campaign | None:
        """The campaign of a ticket, waiting or held; None once it is over."""
        return self._campaigns.campaign_of(ticket)

    @property
    def releasing(self) -> int:
        """How many Releases have not been heard by a quorum yet."""
        return self._campaigns.releasing

    def clock_jumped(self, now: float) -> None:
        """The machine slept, or its clock was moved: what has lapsed meanwhile is lost at once."""
        self._campaigns.clock_jumped(now)

    # Local verbs: questions and watches

    def poll(
        self,
        name: str,
        now: float,
        *,
        line: bool = False,
        one_of_many: bool = False,
        patience: float = QUERY_PATIENCE_S,
    ) -> int:
        """What is this name? Answered follows. Those that are each ``one_of_many`` let others pass."""
        query = PollQuery(**self._query(now, patience), name=name, line=line)
        if self._polls.ask(query.ticket, now, rank=query.ticket, brief=not one_of_many):
            return self._ask(query, now)
        self._queries[query.ticket] = query
        self._timers.add(query.until, QueryTimer(query.ticket))
        return query.ticket

    def names(self, prefix: str, now: float, *, patience: float = QUERY_PATIENCE_S) -> int:
        """Which names are in use? NamesFound follows. The patience is for each page of them."""
        return self._ask(ListQuery(**self._query(now, patience), prefix=prefix), now)

    def survey(self, now: float, *, patience: float = QUERY_PATIENCE_S) -> int:
        """How are the nodes? Surveyed follows."""
        return self._ask(SurveyQuery(**self._query(now, patience), members=self.settings.members), now)

    def renew_detached(self, candidate: Candidate, term: int, now: float, *, patience: float) -> int:
        """Renew the detached lease of a handle once; HandleOutcome follows."""
        query = RenewQuery(
            **self._query(now, patience),
            candidate=candidate,
            term=term,
            sender=self.session,
            number=self._numbers.next,
        )
        return self._ask(query, now)

    def release_detached(
        self, name: str, candidate: Candidate, term: int, now: float, *, patience: float
    ) -> int:
        """Release the lease of a handle, whoever holds it; HandleOutcome follows."""
        self._campaigns.released_by_handle(name, candidate, now)
        return self._ask(
            ReleaseQuery(**self._query(now, patience), name=name, candidate=candidate, term=term), now
        )

    def forget(self, ticket: int, now: float) -> None:
        """Nobody wants the answer to this question any more: it is not repeated."""
        query = self._queries.pop(ticket, None)
        if query is not None:
            for request in query.requests:
                del self._asked[request]
            self._timers.cancel(QueryTimer(ticket))
            self._polls.done(ticket, now)

    def watch(self, pattern: str, prefix: bool, now: float) -> int:
        """Watch a name, or all names with a prefix. Changed follows, now and at every change."""
        ticket = self._out.ticket()
        self._watchers[ticket] = Watcher(ticket, pattern, prefix, self._nodes, now)
        self._refresh_watch(ticket, now)
        return ticket

    def unwatch(self, ticket: int) -> None:
        watcher = self._watchers.pop(ticket, None)
        if watcher is not None:
            self._forget_checks(watcher)
            for node in self._nodes:
                self._out.send(node, Unwatch(self._out.request(), ticket))

    # The seam

    def receive(self, message: Message, peer: Peer, now: float, lives: Lives = UNKNOWN) -> None:
        """Take one message of one node, whose seal and address have been checked. ``lives`` is what its
        datagram says of this node and of the others: votes are counted with it (rule S15).
        """
        if self._timers.pending(now):
            self._run_out(now)
        if peer not in self._nodes or not isinstance(peer, str):
            self.counters["stranger"] += 1
            return
        self.counters[type(message).__name__] += 1
        if self._shared.recovering and isinstance(message, _SERVING):
            self._shared.recovering.pop(peer, None)
        match message:
            case Promise():
                self._campaigns.candidates.promised(peer, message, now)
            case Accepted():
                self._campaigns.accepted(peer, message, now, lives)
            case Refused():
                self._campaigns.refused(peer, message, now)
            case Renewed():
                self._campaigns.renewed(peer, message, now, lives)
                self._answered(peer, message, now, lives)
            case Released():
                self._campaigns.released(peer, message, now)
                self._answered(peer, message, now, lives)
            case Recovering():
                self._shared.recovering[peer] = now + message.remaining_ms / 1000.0
                self._greetings.started_anew(peer, now)
                self._answered(peer, message, now, lives)
            case WatchEvent():
                self._event(peer, message, now, lives)
            case Watching():
                self._watching(peer, message, now)
            case Welcome():
                self._welcome(peer, message, now, lives)
            case View() | Waiters() | Names():
                self._answered(peer, message, now, lives)
            case _:
                self.counters["unexpected"] += 1

    def tick(self, now: float) -> None:
        """Do what has come due."""
        self._run_out(now)

    def deadline(self) -> float:
        """When ``tick`` is wanted, on the clock of ``now``; infinity if never."""
        return self._timers.deadline()

    def take_effects(self) -> Effects:
        """What is to be sent and published now."""
        if self._seen:
            self._seen.tell(self._out)
        sends, published = self._out.take_sends(), self._out.take_published()
        if not sends and not published:
            return NOTHING
        return Effects(None, tuple(sends), tuple(published))

    def take_published(self) -> Sequence[Event]:
        """What is to be told, ahead of what is to be sent: whoever is told may have more to send, and what is
        over at once is released without a Commit.
        """
        return self._out.take_published()

    def statistics(self) -> Mapping[str, int]:
        """Counts of messages by kind, and how much is held, wanted, being released; a copy."""
        return {
            **self.counters,
            **self._campaigns.sizes(),
            "watches": len(self._watchers),
            "recovering_nodes": len(self._shared.recovering),
        }

    # Questions, watches, greetings

    def _query(self, now: float, patience: float) -> dict[str, Any]:
        return {
            "ticket": self._out.ticket(),
            "nodes": self._nodes,
            "began": now,
            "patience": patience,
            "round_trips": self._pacing.round_trips,
            "retry": self._pacing.retry_first(),
        }

    def _ask(self, query: Query, now: float) -> int:
        self._queries[query.ticket] = query
        self._query_due(query, now)
        return query.ticket

    def _query_due(self, query: Query, now: float) -> None:
        if self._query_result(query, now):
            return
        request = self._request(query, now)
        for node in sorted(query.owing):
            for message in query.ask(node, request, now):
                self._out.send(node, message)
        self._timers.add(min(query.until, now + self._pacing.jitter(query.retry)), QueryTimer(query.ticket))
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

    def _waits_for_its_turn(self, query: Query, now: float) -> bool:
        """A question that was not asked yet has its patience while others are answered."""
        if not self._polls.waits(query.ticket):
            return False
        query.began = max(query.began, self._pacing.heard_by(majority(len(self._nodes))))
        if now >= query.until:
            return False
        self._timers.add(query.until, QueryTimer(query.ticket))
        return True

    def _query_result(self, query: Query, now: float) -> bool:
        result = query.result(now)
        if result is None:
            return False
        self._out.publish(result)
        self._polls.done(query.ticket, now, answered=True)
        self.forget(query.ticket, now)
        return True

    def _answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        """An answer that may belong to a question: its request number tells."""
        if not self._asked:
            return
        request = getattr(message, "request", 0)
        query = self._queries.get(self._asked.get(request, 0))
        if query is None:
            if isinstance(message, View):
                self._checked(node, message, now, lives)
            return
        if isinstance(message, View):
            self._pacing.heard[node] = now
            self._pacing.answered(node, request, now)
        query.next_page = False
        query.answered(node, message, now, lives)
        if self._query_result(query, now):
            return
        if query.once_more:
            query.retry = self._pacing.retry_first()
            self._query_due(query, now)
        elif query.next_page and node in query.open:
            # A part of a longer answer: ask for what follows at once.
            for ask in query.ask(node, self._request(query, now), now):
                self._out.send(node, ask)
            query.retry = self._pacing.retry_first()

    def _refresh_watch(self, ticket: int, now: float) -> None:
        watcher = self._watchers.get(ticket)
        if watcher is None:
            return
        watcher.look_around(now)
        self._look_on(ticket, now)
        message = watcher.subscription(self._out.request())
        for node in self._nodes:
            self._out.send(node, message)
        self._forget_checks(watcher)
        for name, nodes in watcher.doubtful(now).items():
            poll = Poll(self._out.request(), name)
            self._asked[poll.request] = ticket
            watcher.check(poll.request, name)
            for node in nodes:
                self._out.send(node, poll)
        self._timers.add(now + watcher.next_refresh(), WatchTimer(ticket))

    def _look_on(self, ticket: int, now: float) -> None:
        """Look at some of many names, and at the others after what else there is to do."""
        watcher = self._watchers.get(ticket)
        if watcher is None:
            return
        for changed in watcher.look_on(now):
            self._out.publish(changed)
        if watcher.to_look_at:
            self._timers.add(now + LOOK_PAUSE_S, LookTimer(ticket))

    def _forget_checks(self, watcher: Watcher) -> None:
        for request in watcher.checks:
            del self._asked[request]
        watcher.checks.clear()

    def _checked(self, node: str, message: View, now: float, lives: Lives) -> None:
        """A node answers what a watcher asked for again."""
        watcher = self._watchers.get(self._asked.get(message.request, 0))
        if watcher is None or not watcher.checked(node, message, lives):
            return
        changed = watcher.look(message.name, now)
        if changed is not None:
            self._out.publish(changed)

    def _watching(self, node: str, message: Watching, now: float) -> None:
        watcher = self._watchers.get(message.watch)
        if watcher is not None:
            watcher.stands(node, now)

    def _event(self, node: str, message: WatchEvent, now: float, lives: Lives) -> None:
        watcher = self._watchers.get(message.watch)
        if watcher is None:
            self._out.send(node, Unwatch(self._out.request(), message.watch))
            return
        seen = watcher.event(node, message, now, lives)
        if seen is None:
            return
        self._seen.note(node, seen)
        changed = watcher.look(message.view.name, now)
        if changed is not None:
            self._out.publish(changed)

    def _welcome(self, node: str, message: Welcome, now: float, lives: Lives) -> None:
        """A node tells the configuration it decides in: it must be ours (rule S14)."""
        self._greetings.welcomed(node)
        self._pacing.answered(node, message.request, now)
        self._campaigns.candidates.learn_floor(message.floor)
        if message.mode is NodeMode.SERVING:
            self._shared.recovering.pop(node, None)
        mine = self.settings
        theirs = (message.members, message.max_ttl_ms, message.drift_ppm, message.grace_ms)
        if message.node_id != node or theirs != (
            mine.members,
            mine.max_ttl_ms,
            mine.drift_ppm,
            mine.grace_ms,
        ):
            self._out.publish(
                Mismatch(
                    f"node {node!r} runs with another configuration than this client: "
                    "give the same cell file to every node and client"
                )
            )
        self._answered(node, message, now, lives)

    # Within

    def _run_out(self, now: float) -> None:
        for key in self._timers.due(now):
            match key:
                case QueryTimer(ticket):
                    query = self._queries.get(ticket)
                    if query is not None and not self._waits_for_its_turn(query, now):
                        self._polls.late(ticket, now)
                        self._query_due(query, now)
                case TurnTimer("poll"):
                    for ticket in self._polls.begin(now):
                        query = self._queries[ticket]
                        query.began = now
                        self._query_due(query, now)
                case HelloTimer():
                    self._greetings.greet(now)
                case LookTimer(ticket):
                    self._look_on(ticket, now)
                case WatchTimer(ticket):
                    self._refresh_watch(ticket, now)
                case _:
                    known = self._campaigns.due(key, now)
                    assert known, key
