"""A client's machine: candidates, watches and questions, for all its names (protocol.md sections 3 to 6).

Here is the surface that shell and simulator drive, and who gets what comes in: campaigns.py, queries.py or
watches.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from paxlock.core.configuration import Configuration
from paxlock.core.effects import NOTHING, Effects
from paxlock.core.handles import secret_of
from paxlock.core.journal import Recalled
from paxlock.core.lease import Candidate, Timing
from paxlock.core.lives import UNKNOWN, Lives, outlived
from paxlock.core.messages import (
    Accepted,
    Forbidden,
    Hello,
    Message,
    Names,
    NodeMode,
    Peer,
    Promise,
    Recovering,
    Refused,
    Released,
    Renewed,
    View,
    Waiters,
    WatchEvent,
    Watching,
    Welcome,
)
from paxlock.core.quorum import blocking
from paxlock.core.reasons import Barrier
from paxlock.core.rights import ROOT, Rights
from paxlock.core.round_trips import RoundTrips
from paxlock.core.seeing import Counted, Pong
from paxlock.core.session.attempt import Campaign
from paxlock.core.session.campaigns import Campaigns
from paxlock.core.session.events import Event, KeyRefused, Left, Mismatch, OverQuota
from paxlock.core.session.outbox import Outbox, SessionSettings
from paxlock.core.session.pacing import HEARD_OF_LATE_S, Pacing
from paxlock.core.session.polls import PollQuery
from paxlock.core.session.queries import (
    QUERY_PATIENCE_S,
    ListQuery,
    Queries,
    ReleaseQuery,
    RenewQuery,
    SurveyQuery,
)
from paxlock.core.session.recalls import RecallQuery
from paxlock.core.session.releases import RELEASE_PATIENCE_S
from paxlock.core.session.seeing import CountQuery, PingQuery
from paxlock.core.session.sequence import SequenceNumbers
from paxlock.core.session.shared import Shared
from paxlock.core.session.steering import RevokeQuery
from paxlock.core.session.watches import Watches
from paxlock.core.statistics import SessionStatistics, counted
from paxlock.core.steering import LetGo, Published, RevokeAnswer
from paxlock.core.timers import Timers

__all__ = ["Session", "SessionSettings"]

# What a node says only while it serves.
_SERVING = frozenset({Promise, Accepted, Refused, Renewed, Released, RevokeAnswer, Published})

# What answers a request; what is pushed has request 0.
_ANSWERS = frozenset({Promise, Accepted, Refused, Renewed, Released, Recovering, Forbidden, Welcome})

FIRST_ROUND_TRIP_GRACES = 1.5
HELLO_FIRST_S = 0.25
HELLO_MAX_S = 5.0
TIMINGS_REMEMBERED = 64


class Session:
    """One running client. Driven through ``receive``, ``tick``, ``deadline`` and ``take_effects``."""

    def __init__(
        self, settings: SessionSettings, *, session: bytes, secret: bytes, now: float, rng: Random
    ) -> None:
        """``session`` and ``secret``: 16 bytes each that nobody can guess, drawn for this session alone. The
        one is told to others, the other to nobody.
        """
        self.settings = settings
        self.session = session
        self.counters: Counter[str] = Counter()
        self._nodes = settings.nodes
        self._timers = Timers()
        self._out = Outbox()
        grace = settings.configuration.grace
        trips = RoundTrips(settings.nodes, first_max=FIRST_ROUND_TRIP_GRACES * grace)
        self._pacing = Pacing(grace, rng, trips)
        self._numbers = SequenceNumbers(settings.configuration.max_ttl)
        self._shared = Shared(
            session=session,
            secret=secret,
            nodes=settings.nodes,
            out=self._out,
            pacing=self._pacing,
            numbers=self._numbers,
            timers=self._timers,
            counters=self.counters,
        )
        self._shared.thrift.switched_on = settings.thrifty
        self._campaigns = Campaigns(self._shared)
        self._timings: dict[tuple[float, float, float], Timing] = {}
        self._last_renewals: set[int] = set()
        self._queries = Queries(self._shared)
        self._watches = Watches(self._shared, self._queries)
        self._unwelcomed = set(self._nodes)
        self._told_of_quota = False
        self._barred_by: dict[str, Lives] = {}  #: the nodes that do not take our key as a whole
        self._hello_retry = HELLO_FIRST_S
        self._greet(now)

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
        at_least: float = 0.0,
    ) -> int:
        """Want a name; gives a ticket. Granted or Failed follows.

        ``wait``: None for ever, 0 for one try that never waits for a holder to let go, else seconds. Raises
        ConfigError where the ttl does not nest. ``at_least``: see ``keep``.
        """
        timing = self.timing(ttl, kill_after, at_least)
        who = self.settings.label if label is None else label
        return self._campaigns.campaign(name, timing, now=now, wait=wait, label=who, data=data)

    def timing(self, ttl: float, kill_after: float = 0.0, at_least: float = 0.0) -> Timing:
        """The durations of such a lease. Raises ConfigError where they do not nest."""
        timing = self._timings.get((ttl, kill_after, at_least))
        if timing is None:
            own = self.settings.configuration
            timing = Timing.for_ttl(ttl, max_ttl=own.max_ttl, drift=own.drift, kill_after=kill_after)
            if at_least:
                timing = timing.keeping(at_least, max_ttl=own.max_ttl, drift=own.drift, grace=own.grace)
            if len(self._timings) < TIMINGS_REMEMBERED:
                self._timings[ttl, kill_after, at_least] = timing
        return timing

    # The other verbs on campaigns are explained in Campaigns. They are here all the same: a machine has one
    # surface, and whoever drives it (the desk, the simulator, the exploration) knows none of its parts.

    def release(self, ticket: int, now: float, *, patience: float = RELEASE_PATIENCE_S) -> None:
        self._campaigns.release(ticket, now, patience)

    def detach(self, ticket: int, now: float) -> None:
        self._campaigns.detach(ticket, now)

    def keep(self, ticket: int, now: float) -> bool:
        return self._campaigns.keep(ticket, now)

    def leave_kept(self, now: float, *, patience: float) -> list[Left]:
        """This process goes: leases are left behind, to run out, where the time is not over for which they
        were wanted. Those that would run out earlier are renewed once more: HandleOutcome follows for each
        that is given back.
        """
        left = []
        for tenure in self._campaigns.leave_kept(now):
            missing = tenure.keep_until - tenure.validity.until()
            if missing > 0.0:
                candidate, secret = tenure.candidate, self.secret_of(tenure.candidate)
                ticket = self.renew_detached(candidate, tenure.term, secret, now, patience=patience)
                self._last_renewals.add(ticket)
                left.append(Left(ticket, tenure.name, missing))
        return left

    def publish(self, ticket: int, data: bytes, now: float) -> int | None:
        """Other data for a held lease: a ticket, DataPublished follows; None where it is held no more."""
        return self._campaigns.publish(ticket, data, now)

    def gave_away(self, name: str) -> bool:
        return self._campaigns.gave_away(name)

    def campaign_of(self, ticket: int) -> Campaign | None:
        return self._campaigns.campaign_of(ticket)

    @property
    def releasing(self) -> int:
        """How many last words have not been heard by a quorum yet."""
        if not self._last_renewals:
            return self._campaigns.releasing
        self._last_renewals = {ticket for ticket in self._last_renewals if self._queries.goes_on(ticket)}
        return self._campaigns.releasing + len(self._last_renewals)

    def clock_jumped(self, now: float) -> None:
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
        query = PollQuery(**self._queries.fields(now, patience), name=name, line=line)
        return self._queries.ask_in_turn(query, now, brief=not one_of_many)

    def names(self, prefix: str, now: float, *, patience: float = QUERY_PATIENCE_S) -> int:
        """Which names are in use? NamesFound follows. The patience is for each page of them."""
        query = ListQuery(**self._queries.fields(now, patience), prefix=prefix)
        return self._queries.ask(query, now)

    def survey(self, now: float, *, patience: float = QUERY_PATIENCE_S) -> int:
        """How are the nodes? Surveyed follows."""
        query = SurveyQuery(
            **self._queries.fields(now, patience), members=self.settings.configuration.members
        )
        return self._queries.ask(query, now)

    def journal(self, name: str, now: float, *, patience: float = QUERY_PATIENCE_S) -> int:
        """What has happened to this name at each node? JournalRead follows. The patience is for each page."""
        return self._queries.ask(RecallQuery(**self._queries.fields(now, patience), name=name), now)

    def ping(self, nodes: Sequence[str], now: float, *, patience: float = QUERY_PATIENCE_S) -> int:
        """Does one small datagram to each of these nodes get there and back? Pinged follows."""
        fields = self._queries.fields(now, patience) | {"nodes": tuple(nodes)}
        return self._queries.ask(PingQuery(**fields, strangers=self._unwelcomed), now)

    def count(self, now: float, *, patience: float = QUERY_PATIENCE_S) -> int:
        """What has each node counted? CountersRead follows. The patience is for each page."""
        return self._queries.ask(CountQuery(**self._queries.fields(now, patience)), now)

    def secret_of(self, candidate: Candidate) -> bytes:
        """What the handle of this candidate, one of this session, shows to others."""
        return secret_of(self._shared.secret, candidate.attempt)

    def renew_detached(
        self, candidate: Candidate, term: int, secret: bytes, now: float, *, patience: float
    ) -> int:
        """Renew the detached lease of a handle once; HandleOutcome follows."""
        query = RenewQuery(
            **self._queries.fields(now, patience),
            candidate=candidate,
            term=term,
            secret=secret,
            sender=self.session,
            number=self._numbers.next,
        )
        return self._queries.ask(query, now)

    def release_detached(
        self, name: str, candidate: Candidate, term: int, secret: bytes, now: float, *, patience: float
    ) -> int:
        """Release the lease of a handle, whoever holds it; HandleOutcome follows. Nodes ask no secret
        for what is this session's own: whoever passes such a handle on has compared it (`Desk.grant`).
        """
        self._campaigns.released_by_handle(name, candidate, now)
        fields = self._queries.fields(now, patience)
        query = ReleaseQuery(**fields, name=name, candidate=candidate, term=term, secret=secret)
        return self._queries.ask(query, now)

    def revoke(
        self,
        name: str,
        candidate: Candidate,
        term: int,
        now: float,
        *,
        force: bool,
        successor: Candidate | None = None,
        patience: float = QUERY_PATIENCE_S,
    ) -> int:
        """Ask the holder of exactly this grant to let go, or end it by force; HandleOutcome follows when a
        quorum has taken that (section 12).
        """
        fields = self._queries.fields(now, patience)
        wanted = (name, candidate, term, force, successor)
        return self._queries.ask(RevokeQuery(**fields, wanted=wanted), now)

    def forget(self, ticket: int, now: float) -> None:
        """Nobody wants the answer to this question any more: it is not repeated."""
        self._queries.forget(ticket, now)

    def watch(self, pattern: str, prefix: bool, now: float) -> int:
        """Watch a name, or all names with a prefix. Changed follows, now and at every change."""
        return self._watches.watch(pattern, prefix, now)

    def unwatch(self, ticket: int) -> None:
        """Nobody wants to know of changes any more."""
        self._watches.unwatch(ticket)

    # The seam

    def receive(
        self, message: Message, peer: Peer, now: float, lives: Lives = UNKNOWN, rights: Rights = ROOT
    ) -> None:
        """Take one message of one node, whose seal and address have been checked. ``lives`` is what its
        datagram says of this node and of the others: votes are counted with it (rule S15). A node needs
        no ``rights``.
        """
        if self._timers.pending(now):
            self._timers.run(now)
        if peer not in self._nodes or not isinstance(peer, str):
            self.counters["stranger"] += 1
            return
        kind = type(message)
        self.counters[kind.__name__] += 1
        if kind in _SERVING:
            self._shared.recovering.pop(peer, None)
            self._barred_by.pop(peer, None)
        if kind in _ANSWERS:
            self._shared.exchanges.answered(peer, message.request, now)  # type: ignore[union-attr]  # each has one
        match message:
            case Promise():
                self._campaigns.candidates.promised(peer, message, now)
            case Accepted():
                self._campaigns.accepted(peer, message, now, lives)
            case Refused():
                self._campaigns.refused(peer, message, now)
            case Renewed():
                self._campaigns.candidates.renewed(peer, message, now, lives)
                self._answered(peer, message, now, lives)
            case Released():
                self._campaigns.released(peer, message, now)
                self._answered(peer, message, now, lives)
            case RevokeAnswer():
                self._answered(peer, message, now, lives)
            case LetGo():
                self._campaigns.asked_to_let_go(message, now)
            case Published():
                self._campaigns.candidates.publications.published(peer, message, lives)
            case Recovering():
                self._campaigns.candidates.sits_out(peer, message.remaining_ms / 1000.0, now)
                self._unwelcomed.add(peer)  # it has started anew, perhaps with another configuration
                self._timers.add(now + self._hello_retry, self._greet)
                self._answered(peer, message, now, lives)
            case Forbidden():
                self.counters[f"not_allowed_{message.barrier.name.lower()}"] += 1
                self._not_allowed(peer, message, now, lives)
            case WatchEvent():
                self._watches.event(peer, message, now, lives)
            case Watching():
                self._watches.stands(peer, message, now, lives)
            case Welcome():
                self._welcome(peer, message, now, lives)
            case View() | Waiters() | Names() | Recalled() | Pong() | Counted():
                self._answered(peer, message, now, lives)
            case _:
                self.counters["unexpected"] += 1

    def tick(self, now: float) -> None:
        """Do what has come due."""
        self._timers.run(now)

    def deadline(self) -> float:
        """When ``tick`` is wanted, on the clock of ``now``; infinity if never."""
        return self._timers.deadline()

    def take_effects(self) -> Effects:
        """What is to be sent and published now."""
        self._watches.acknowledge()
        sends, published = self._out.take_sends(), self._out.take_published()
        if not sends and not published:
            return NOTHING
        return Effects(None, tuple(sends), tuple(published))

    def take_published(self) -> Sequence[Event]:
        """What is to be told, ahead of what is to be sent: whoever is told may have more to send, and what is
        over at once is released without a Commit.
        """
        return self._out.take_published()

    def hold_commits(self, hold: bool) -> None:
        """While a shell holds them, Commits stay back when the rest is sent: for threads that were told of
        their grants and may be done at once. A Commit may be late by any time, as every message may.
        """
        self._out.commits_wait = hold

    def shortfall(self, now: float) -> str:
        """What keeps the nodes from being a quorum, by who has answered questions lately; ``""`` where a
        quorum has.
        """
        return self._shared.shortfall(self._queries.heard, HEARD_OF_LATE_S, now)

    def statistics(self) -> SessionStatistics:
        """Frozen counters."""
        return SessionStatistics(
            **self._campaigns.sizes(),
            watches=len(self._watches),
            recovering_nodes=len(self._shared.recovering),
            messages=counted(self.counters),
        )

    # Within

    def _answered(self, node: str, message: Message, now: float, lives: Lives) -> None:
        """The answer to a question, or to what a watch has asked for again."""
        if not self._queries.answered(node, message, now, lives) and isinstance(message, View):
            self._watches.checked(node, message, now, lives)

    def _greet(self, now: float) -> None:
        """Say Hello, until every node has told its configuration."""
        for node in sorted(self._unwelcomed):
            request = self._out.request()
            self._pacing.asked(request, now)
            self._shared.exchanges.sent(node, request, now)
            self._out.send(node, Hello(request))
        if self._unwelcomed:
            self._timers.add(now + self._pacing.jitter(self._hello_retry), self._greet)
            self._hello_retry = min(self._hello_retry * 2.0, HELLO_MAX_S)

    def _welcome(self, node: str, message: Welcome, now: float, lives: Lives) -> None:
        """A node tells the configuration it decides in: it must be ours (rule S14)."""
        self._unwelcomed.discard(node)
        self._pacing.answered(node, message.request, now)
        self._campaigns.candidates.learn_floor(message.floor)
        if message.mode is NodeMode.SERVING:
            self._shared.recovering.pop(node, None)
        if message.node_id != node or Configuration.told(message) != self.settings.configuration:
            self._out.publish(
                Mismatch(
                    f"node {node!r} runs with another configuration than this client: "
                    "give the same cell file to every node and client"
                )
            )
        self._answered(node, message, now, lives)

    def _not_allowed(self, node: str, message: Forbidden, now: float, lives: Lives) -> None:
        """A node does not take this request, and perhaps not our key at all. Once so many say the latter
        that the others are no quorum, nothing of what this session wants can be had.
        """
        if message.barrier is Barrier.QUOTA and not self._told_of_quota:
            self._told_of_quota = True
            self._out.publish(OverQuota())
        if message.barrier is Barrier.SECRET:
            self._answered(node, message, now, lives)
        if message.barrier is not Barrier.KEY:
            return
        self._barred_by[node] = lives
        gone = outlived(self._barred_by)
        if sum(node not in gone for node in self._barred_by) >= blocking(len(self._nodes)):
            self._barred_by.clear()
            self._out.publish(KeyRefused())
