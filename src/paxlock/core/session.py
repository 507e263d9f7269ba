"""A client's machine: proposer, lease manager, watches and questions, for all its names
(protocol.md sections 3, 5 and 6).

A session has at most one live attempt per name; further wishes of the same process line up here (L7).
An attempt that is over first stops counting anything as valid, and only then sends Release.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Any

import attrs

from paxlock.core.campaign import Attempt, AttemptTimer, Ending, EndingTimer, LocalName, Wish, WishTimer
from paxlock.core.effects import NOTHING, Effects
from paxlock.core.lease import Candidate, Lease, Timing, Validity
from paxlock.core.lease_manager import LapseTimer, LeaseManager, Numbers, RenewTimer, Tenure
from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Event,
    Hello,
    Member,
    Message,
    Names,
    NodeMode,
    Peer,
    Prepare,
    Promise,
    Recovering,
    RefusalReason,
    Refused,
    Release,
    Released,
    Renewed,
    Unwatch,
    View,
    Waiters,
    Watching,
    Welcome,
)
from paxlock.core.notices import Ended, Extended, Failed, Granted, Lost, Mismatch, Notice
from paxlock.core.proposer import Phase, Proposer
from paxlock.core.queries import (
    ListQuery,
    PollQuery,
    Query,
    QueryTimer,
    ReleaseQuery,
    RenewQuery,
    SurveyQuery,
)
from paxlock.core.quorum import blocking, majority
from paxlock.core.timers import Timers
from paxlock.core.watcher import Watcher, WatchTimer
from paxlock.errors import LossReason, Reason

__all__ = ["Session", "SessionSettings"]

NEVER = float("inf")
RETRY_FIRST_GRACES = 0.4
RETRY_MAX_S = 0.5
PATIENCE_GRACES = 6.0
RELEASE_PATIENCE_S = 2.0
ONE_ATTEMPT_S = 1.0
QUERY_PATIENCE_S = 1.0


@attrs.frozen
class SessionSettings:
    """The configuration that a session counts votes in."""

    members: tuple[Member, ...]
    max_ttl_ms: int
    drift_ppm: int
    grace_ms: int
    label: str = ""

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(member.node_id for member in self.members)

    @property
    def drift(self) -> float:
        return self.drift_ppm / 1e6

    @property
    def grace(self) -> float:
        return self.grace_ms / 1000.0


class Session:
    """One running client. Driven through ``receive``, ``tick``, ``deadline`` and ``take_effects``."""

    def __init__(self, settings: SessionSettings, *, session: bytes, now: float, rng: Random) -> None:
        self.settings = settings
        self.session = session
        self.counters: Counter[str] = Counter()
        self._nodes = settings.nodes
        self._quorum = majority(len(self._nodes))
        self._rng = rng
        self._timers = Timers()
        self._sends: list[tuple[Peer, Message]] = []
        self._published: list[Notice] = []
        self._last_attempt = 0
        self._last_request = 0
        self._last_ticket = 0
        self._floor = 0
        self._numbers = Numbers(settings.max_ttl_ms / 1000.0)
        self._leases = LeaseManager(
            session=session,
            nodes=self._nodes,
            timers=self._timers,
            numbers=self._numbers,
            send=self._send,
            next_request=self._request,
        )
        self._names: dict[str, LocalName] = {}
        self._wishes: dict[int, Wish] = {}
        self._attempts: dict[int, Attempt] = {}
        self._endings: dict[int, Ending] = {}
        self._detached: set[int] = set()
        self._recovering: dict[str, float] = {}
        self._queries: dict[int, Query] = {}
        self._asked: dict[int, int] = {}
        self._watchers: dict[int, Watcher] = {}
        for node in self._nodes:
            self._send(node, Hello(self._request()))

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

        ``wait``: None for ever, 0 for one attempt that never queues, else seconds. Raises ConfigError
        where the ttl does not nest.
        """
        settings = self.settings
        timing = Timing.for_ttl(
            ttl, max_ttl=settings.max_ttl_ms / 1000.0, drift=settings.drift, kill_after=kill_after
        )
        once = wait is not None and wait <= 0
        until = NEVER if wait is None else now + (ONE_ATTEMPT_S if once else wait)
        wish = Wish(
            ticket=self._ticket(),
            name=name,
            timing=timing,
            label=settings.label if label is None else label,
            data=data,
            since=now,
            until=until,
            once=once,
        )
        local = self._names.setdefault(name, LocalName(name))
        if once and local.attempt is not None:
            self._published.append(Failed(wish.ticket, Reason.HELD, local.attempt.wish.label, ""))
            return wish.ticket
        self._wishes[wish.ticket] = wish
        local.wishes.append(wish)
        self._timers.add(wish.until, WishTimer(wish.ticket))
        self._next_wish(local, now)
        return wish.ticket

    def release(self, ticket: int, now: float) -> None:
        """End a wish, whatever has become of it: waiting, or held. Ended follows."""
        wish = self._wishes.pop(ticket, None)
        if wish is None:
            return
        local = self._names[wish.name]
        attempt = local.attempt
        if attempt is not None and attempt.wish is wish:
            self._end(attempt, now, ticket=ticket)
            self._next_wish(local, now)
        elif wish in local.wishes:
            local.wishes.remove(wish)
            self._published.append(Ended(ticket, heard=True))
            self._forget_if_idle(local)

    def detach(self, ticket: int) -> None:
        """Let go of a held lease without releasing it: it lives until its ttl, for whoever has the handle."""
        wish = self._wishes.pop(ticket, None)
        if wish is None:
            return
        local = self._names[wish.name]
        attempt = local.attempt
        if attempt is not None and attempt.wish is wish:
            self._leases.remove(attempt.number)
            self._detached.add(attempt.number)
            del self._attempts[attempt.number]
            local.attempt = None
            self._forget_if_idle(local)

    def wish(self, ticket: int) -> Wish | None:
        """The wish of a ticket, waiting or held; None once it is over."""
        return self._wishes.get(ticket)

    @property
    def releasing(self) -> bool:
        """Whether some Release has not been heard by a quorum yet."""
        return any(not ending.told for ending in self._endings.values())

    def clock_jumped(self, now: float) -> None:
        """The machine slept, or its clock was moved: what has lapsed meanwhile is lost at once."""
        for tenure in list(self._leases.tenures.values()):
            if tenure.lapsed(now):
                self._lose(tenure, LossReason.CLOCK_JUMPED, now)

    # Local verbs: questions and watches

    def poll(self, name: str, now: float, *, line: bool = False, patience: float = QUERY_PATIENCE_S) -> int:
        """What is this name? Answered follows."""
        return self._ask(PollQuery(**self._query(now, patience), name=name, line=line), now)

    def names(self, prefix: str, now: float, *, patience: float = QUERY_PATIENCE_S) -> int:
        """Which names are in use? NamesFound follows."""
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
        """Release the detached lease of a handle; HandleOutcome follows."""
        return self._ask(
            ReleaseQuery(**self._query(now, patience), name=name, candidate=candidate, term=term), now
        )

    def watch(self, pattern: str, prefix: bool, now: float) -> int:
        """Watch a name, or all names with a prefix. Changed follows, now and at every change."""
        ticket = self._ticket()
        self._watchers[ticket] = Watcher(ticket, pattern, prefix, self._nodes, now)
        self._refresh_watch(ticket, now)
        return ticket

    def unwatch(self, ticket: int) -> None:
        if self._watchers.pop(ticket, None) is not None:
            for node in self._nodes:
                self._send(node, Unwatch(self._request(), ticket))

    # The seam

    def receive(self, message: Message, peer: Peer, now: float) -> None:
        """Take one message of one node, whose seal and address have been checked."""
        self._run_out(now)
        if peer not in self._nodes or not isinstance(peer, str):
            self.counters["stranger"] += 1
            return
        self.counters[type(message).__name__] += 1
        match message:
            case Promise():
                self._promised(peer, message, now)
            case Accepted():
                self._accepted(peer, message, now)
            case Refused():
                self._refused(peer, message, now)
            case Renewed():
                self._renewed(peer, message, now)
            case Released():
                self._released(peer, message, now)
            case Recovering():
                self._recovering[peer] = now + message.remaining_ms / 1000.0
                self._answered(peer, message, now)
            case Event():
                self._event(peer, message, now)
            case Watching():
                self._watching(peer, message, now)
            case Welcome():
                self._welcome(peer, message, now)
            case View() | Waiters() | Names():
                self._answered(peer, message, now)
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
        if not self._sends and not self._published:
            return NOTHING
        effects = Effects(None, tuple(self._sends), tuple(self._published))
        self._sends.clear()
        self._published.clear()
        return effects

    def statistics(self) -> Mapping[str, int]:
        """Counts of messages by kind, and how much is held, wanted, ending; a copy."""
        return {
            **self.counters,
            "leases": len(self._leases.tenures),
            "wishes": len(self._wishes),
            "endings": len(self._endings),
            "watches": len(self._watchers),
            "recovering_nodes": len(self._recovering),
        }

    # Attempts

    def _next_wish(self, local: LocalName, now: float) -> None:
        if local.attempt is not None:
            return
        if not local.wishes:
            self._forget_if_idle(local)
            return
        self._new_attempt(local, local.wishes.popleft(), now)

    def _new_attempt(self, local: LocalName, wish: Wish, now: float, *, after: Attempt | None = None) -> None:
        """A new candidate for the wish; ``after`` one that gave way, not at once, and with its age."""
        self._last_attempt += 1
        candidate = Candidate(self.session, self._last_attempt)
        lease = Lease(candidate, round(wish.timing.ttl * 1000), wish.label, wish.data)
        proposer = Proposer(candidate, self._nodes)
        attempt = Attempt(wish, lease, proposer, self._retry_first(), self._retry_first())
        self._attempts[attempt.number] = attempt
        local.attempt = attempt
        if after is None:
            self._prepare(attempt, now)
            return
        attempt.heard = after.heard
        attempt.backoff = min(after.backoff * 2.0, RETRY_MAX_S)
        proposer.highest = after.proposer.highest
        self._timers.add(now + self._rng.uniform(0.5, 1.0) * attempt.backoff, AttemptTimer(attempt.number))

    def _prepare(self, attempt: Attempt, now: float) -> None:
        """Phase 1, in a higher term than any heard of (section 3, step 1)."""
        proposer = attempt.proposer
        proposer.prepare(1 + max(proposer.highest, self._floor), self._request(), now)
        self._send_prepares(attempt, now)
        self._timers.add(now + self._jitter(attempt.retry), AttemptTimer(attempt.number))

    def _send_prepares(self, attempt: Attempt, now: float) -> None:
        proposer, wish = attempt.proposer, attempt.wish
        waits = not wish.once and attempt.number not in self._leases.tenures
        message = Prepare(
            request=proposer.request,
            name=wish.name,
            at_least=proposer.at_least,
            candidate=proposer.candidate,
            age_ms=int(wish.age(now) * 1000),
            refresh_ms=max(1, round(attempt.refresh * 1000)) if waits else 0,
            label=wish.label,
        )
        attempt.stated = attempt.refresh
        for node in self._nodes:
            self._send(node, message)

    def _accept(self, attempt: Attempt, now: float) -> None:
        """Phase 2, to all nodes, also to those that promised less (section 3, step 2)."""
        attempt.proposer.accept(self._request(), now)
        attempt.sent.clear()
        attempt.retry = self._retry_first()
        self._send_accepts(attempt, self._nodes, now)
        self._set_timer(attempt, now + self._jitter(attempt.retry))

    def _send_accepts(self, attempt: Attempt, nodes: tuple[str, ...] | list[str], now: float) -> None:
        """Each sending carries a new number, so that it counts from its own time (rule S4)."""
        if not nodes:
            return
        proposer, wish = attempt.proposer, attempt.wish
        message = Accept(
            request=proposer.request,
            name=wish.name,
            term=proposer.term,
            lease=attempt.lease,
            seq=self._numbers.next(now),
            age_ms=int(wish.age(now) * 1000),
        )
        for node in nodes:
            self._send(node, message)

    def _attempt_due(self, attempt: Attempt, now: float) -> None:
        proposer = attempt.proposer
        if attempt.number in self._leases.tenures:
            self._tenure_due(attempt, now)
            return
        if proposer.phase is Phase.BACKING_OFF:
            self._prepare(attempt, now)
            return
        silent = self._silent(proposer, now)
        if proposer.failed(silent):
            if self._give_way(attempt, now):
                return
            if proposer.phase is Phase.ACCEPTING:
                self._failed(attempt, now)
                return
        if proposer.phase is Phase.PREPARING:
            self._send_prepares(attempt, now)
            waiting = len(proposer.refusals) >= blocking(len(self._nodes)) and not attempt.wish.once
            attempt.retry = attempt.settle_refresh() if waiting else min(attempt.retry * 2.0, attempt.refresh)
        else:
            self._send_accepts(attempt, proposer.unanswered(), now)
            attempt.retry = min(attempt.retry * 2.0, RETRY_MAX_S)
        self._timers.add(now + self._jitter(attempt.retry), AttemptTimer(attempt.number))

    def _silent(self, proposer: Proposer, now: float) -> frozenset[str]:
        """Nodes that are sitting out, or have not answered this phase for so long that they count as no."""
        if now >= proposer.started + PATIENCE_GRACES * self.settings.grace:
            return frozenset(self._nodes)
        return frozenset(node for node, until in self._recovering.items() if now < until)

    def _failed(self, attempt: Attempt, now: float) -> None:
        """The term is not tried again: a higher one, or the line (section 3, step 4)."""
        attempt.proposer.phase = Phase.BACKING_OFF
        attempt.retry = self._retry_first()
        self._set_timer(attempt, now + self._rng.uniform(0.25, 1.0) * attempt.backoff)
        attempt.backoff = min(attempt.backoff * 2.0, RETRY_MAX_S)

    def _give_way(self, attempt: Attempt, now: float) -> bool:
        """Withdraw in favour of an older candidate where votes are split (rule L2)."""
        wish, grace = attempt.wish, self.settings.grace
        if wish.once or not attempt.proposer.must_withdraw(age=wish.age(now), grace=grace, now=now):
            return False
        self.counters["withdrawn"] += 1
        self._end(attempt, now)
        self._new_attempt(self._names[wish.name], wish, now, after=attempt)
        return True

    def _end(self, attempt: Attempt, now: float, *, ticket: int = 0) -> None:
        """This candidate is over: it stops counting as valid, and only then says so (rules S2, L1).

        With a ticket, Ended is published when a quorum has heard it.
        """
        self._leases.remove(attempt.number)
        del self._attempts[attempt.number]
        self._timers.cancel(AttemptTimer(attempt.number))
        wish = attempt.wish
        local = self._names[wish.name]
        local.attempt = None
        ending = Ending(
            ticket=ticket,
            name=wish.name,
            candidate=attempt.candidate,
            term=attempt.last_term,
            open=set(self._nodes),
            until=now + min(RELEASE_PATIENCE_S, wish.timing.ttl),
            retry=self._retry_first(),
        )
        self._endings[attempt.number] = ending
        self._send_releases(ending, now)

    def _send_releases(self, ending: Ending, now: float) -> None:
        message = Release(self._request(), ending.name, ending.candidate, ending.term)
        for node in sorted(ending.open):
            self._send(node, message)
        self._timers.add(now + self._jitter(ending.retry), EndingTimer(ending.candidate.attempt))
        ending.retry = min(ending.retry * 2.0, RETRY_MAX_S)

    def _ending_due(self, ending: Ending, now: float) -> None:
        if now >= ending.until:
            self._ending_over(ending, heard=False)
            del self._endings[ending.candidate.attempt]
        else:
            self._send_releases(ending, now)

    def _ending_over(self, ending: Ending, *, heard: bool) -> None:
        if not ending.told and ending.ticket:
            self._published.append(Ended(ending.ticket, heard))
        ending.told = True

    def _give_up(self, wish: Wish, now: float) -> None:
        """The time given is over, or one attempt was enough."""
        local = self._names[wish.name]
        attempt = local.attempt
        del self._wishes[wish.ticket]
        if attempt is not None and attempt.wish is wish:
            reason, holder, detail = attempt.why_not(self._quorum, now)
            self._end(attempt, now)
        else:
            local.wishes.remove(wish)
            reason, holder, detail = Reason.HELD, attempt.wish.label if attempt is not None else None, ""
        self._published.append(Failed(wish.ticket, reason, holder, detail))
        self._next_wish(local, now)

    # Answers to attempts

    def _attempt_of(self, node: str, name: str, candidate: Candidate, term: int) -> Attempt | None:
        """The live attempt that is meant; one that is over is answered with Release (rule L1)."""
        if candidate.session != self.session:
            self.counters["stranger"] += 1
            return None
        attempt = self._attempts.get(candidate.attempt)
        if attempt is None and candidate.attempt not in self._detached:
            self._send(node, Release(self._request(), name, candidate, term))
        return attempt

    def _promised(self, node: str, message: Promise, now: float) -> None:
        self._learn_floor(message.floor)
        attempt = self._attempt_of(node, message.name, message.candidate, message.term)
        if attempt is None:
            return
        attempt.heard[node] = now
        if attempt.proposer.promised(node, message.request, message.term):
            self._accept(attempt, now)
        elif message.request == 0 and attempt.proposer.phase is Phase.PREPARING:
            # Pushed by one node: the pushes of the others may be lost, so ask them soon.
            attempt.retry = self._retry_first()
            self._timers.add(now + self._jitter(attempt.retry), AttemptTimer(attempt.number))

    def _accepted(self, node: str, message: Accepted, now: float) -> None:
        attempt = self._attempt_of(node, message.name, message.candidate, message.term)
        if attempt is None:
            return
        attempt.heard[node] = now
        tenure = self._leases.tenures.get(attempt.number)
        sent_at = self._numbers.sent_at(message.seq)
        if tenure is not None and message.term >= tenure.token and tenure.acknowledged(node, sent_at):
            self._published.append(Extended(tenure.ticket, tenure.deadline))
        proposer = attempt.proposer
        if tenure is None and message.term == proposer.term and proposer.phase is Phase.ACCEPTING:
            attempt.sent[node] = max(sent_at, attempt.sent.get(node, sent_at))
        if proposer.took(node, message.term):
            if tenure is None:
                self._chosen(attempt, now)
            else:
                tenure.term = proposer.term
                self._commit(attempt)

    def _chosen(self, attempt: Attempt, now: float) -> None:
        """A quorum accepted in ONE term: that term is the fencing token (rule S3)."""
        wish, proposer = attempt.wish, attempt.proposer
        validity = Validity(len(self._nodes), wish.timing.span)
        for node in proposer.accepted.yes:
            validity.acknowledge(node, attempt.sent[node])
        deadline = validity.until() - wish.timing.margin
        if deadline <= now:
            # Chosen, but too late to be of use: a lease that has lapsed is over for ever.
            self._end(attempt, now)
            self._new_attempt(self._names[wish.name], wish, now)
            return
        attempt.lease = attrs.evolve(attempt.lease, token=proposer.term)
        tenure = Tenure(wish.ticket, wish.name, attempt.lease, wish.timing, validity, proposer.term, deadline)
        self._leases.add(tenure, now)
        self._timers.cancel(WishTimer(wish.ticket))
        self._commit(attempt)
        self._set_timer(attempt, now + self._jitter(PATIENCE_GRACES * self.settings.grace))
        self._published.append(Granted(wish.ticket, attempt.candidate, proposer.term, deadline))

    def _commit(self, attempt: Attempt) -> None:
        message = Commit(attempt.wish.name, attempt.proposer.term, attempt.lease)
        for node in self._nodes:
            self._send(node, message)

    def _refused(self, node: str, message: Refused, now: float) -> None:
        self._learn_floor(message.floor)
        self._release_own(node, message)
        attempt = self._attempts.get(message.candidate.attempt)
        if attempt is None or message.candidate != attempt.candidate:
            return
        attempt.heard[node] = now
        proposer = attempt.proposer
        proposer.refused(node, message, now)
        tenure = self._leases.tenures.get(attempt.number)
        if tenure is not None:
            self._refused_to_holder(attempt, tenure, message, now)
            return
        if message.reason in (RefusalReason.ENDED, RefusalReason.TTL, RefusalReason.TERM):
            self.counters[f"refused: {message.reason.name.lower()}"] += 1
        if not proposer.failed(self._silent(proposer, now)):
            return
        if attempt.wish.once and message.reason in (RefusalReason.HELD, RefusalReason.QUEUED):
            self._give_up(attempt.wish, now)
        elif not self._give_way(attempt, now):
            if proposer.phase is Phase.ACCEPTING:
                self._failed(attempt, now)
            elif proposer.phase is Phase.PREPARING:
                soon = min(attempt.retry * 2.0, RETRY_MAX_S)
                attempt.retry = soon if attempt.wish.once else attempt.settle_refresh()
                self._set_timer(attempt, now + self._jitter(attempt.retry))

    def _release_own(self, node: str, message: Refused) -> None:
        """Where an attempt of ours that is over still stands in the way, it is released again."""
        occupant = message.occupant
        if occupant is None or occupant.candidate.session != self.session:
            return
        number = occupant.candidate.attempt
        if number not in self._attempts and number not in self._detached:
            self._send(node, Release(self._request(), message.name, occupant.candidate, message.term))

    # Tenures

    def _renewed(self, node: str, message: Renewed, now: float) -> None:
        self._answered(node, message, now)
        moved, missing = self._leases.renewed(node, message, now)
        self._published.extend(Extended(tenure.ticket, tenure.deadline) for tenure in moved)
        for tenure in missing:
            attempt = self._attempts[tenure.candidate.attempt]
            if attempt.proposer.phase is Phase.CHOSEN and tenure.may_repair(node, now):
                self._send_accepts(attempt, [node], now)

    def _refused_to_holder(self, attempt: Attempt, tenure: Tenure, message: Refused, now: float) -> None:
        """A node will not take the lease in its term: try a higher one as the same candidate (rule L3)."""
        if message.reason is RefusalReason.ENDED:
            self._lose(tenure, LossReason.RELEASED, now)
        elif attempt.proposer.phase is not Phase.CHOSEN:
            if attempt.proposer.failed(self._silent(attempt.proposer, now)):
                attempt.proposer.stay(tenure.term)
        elif message.reason is RefusalReason.STALE and message.term >= tenure.term and tenure.may_raise(now):
            self.counters["raised"] += 1
            attempt.retry = self._retry_first()
            self._prepare(attempt, now)

    def _tenure_due(self, attempt: Attempt, now: float) -> None:
        """A valid holder repeats Accept to nodes that lack it, and what it does to reach a higher term."""
        proposer = attempt.proposer
        if proposer.phase is Phase.CHOSEN:
            if attempt.repairs_left:
                attempt.repairs_left -= 1
                self._send_accepts(attempt, proposer.unanswered(), now)
            return
        if now >= proposer.started + PATIENCE_GRACES * self.settings.grace:
            tenure = self._leases.tenures[attempt.number]
            proposer.stay(tenure.term)  # the higher term has failed; the next one not before ttl / 8
            return
        if proposer.phase is Phase.PREPARING:
            self._send_prepares(attempt, now)
        else:
            self._send_accepts(attempt, proposer.unanswered(), now)
        attempt.retry = min(attempt.retry * 2.0, RETRY_MAX_S)
        self._timers.add(now + self._jitter(attempt.retry), AttemptTimer(attempt.number))

    def _lose(self, tenure: Tenure, reason: LossReason, now: float) -> None:
        """The lease is over for ever; the program is told, and the nodes."""
        attempt = self._attempts[tenure.candidate.attempt]
        self._wishes.pop(tenure.ticket, None)
        self._end(attempt, now)
        self._published.append(Lost(tenure.ticket, reason))
        self._next_wish(self._names[tenure.name], now)

    def _released(self, node: str, message: Released, now: float) -> None:
        self._learn_floor(message.floor)
        self._answered(node, message, now)
        ending = self._endings.get(message.candidate.attempt)
        if ending is None or message.candidate != ending.candidate:
            return
        ending.open.discard(node)
        if len(self._nodes) - len(ending.open) >= self._quorum:
            self._ending_over(ending, heard=True)
        if not ending.open:
            del self._endings[ending.candidate.attempt]
            self._timers.cancel(EndingTimer(ending.candidate.attempt))

    # Questions, watches, greetings

    def _query(self, now: float, patience: float) -> dict[str, Any]:
        return {
            "ticket": self._ticket(),
            "nodes": self._nodes,
            "until": now + patience,
            "retry": self._retry_first(),
        }

    def _ask(self, query: Query, now: float) -> int:
        self._queries[query.ticket] = query
        self._query_due(query, now)
        return query.ticket

    def _query_due(self, query: Query, now: float) -> None:
        if self._query_result(query, now):
            return
        request = self._request()
        self._asked[request] = query.ticket
        query.requests.append(request)
        for node in sorted(query.open):
            for message in query.ask(node, request, now):
                self._send(node, message)
        self._timers.add(min(query.until, now + self._jitter(query.retry)), QueryTimer(query.ticket))
        query.retry = min(query.retry * 2.0, RETRY_MAX_S)

    def _query_result(self, query: Query, now: float) -> bool:
        result = query.result(now)
        if result is None:
            return False
        self._published.append(result)
        del self._queries[query.ticket]
        for request in query.requests:
            del self._asked[request]
        self._timers.cancel(QueryTimer(query.ticket))
        return True

    def _answered(self, node: str, message: Message, now: float) -> None:
        """An answer that may belong to a question: its request number tells."""
        query = self._queries.get(self._asked.get(getattr(message, "request", 0), 0))
        if query is None:
            return
        before = len(query.open)
        query.answered(node, message, now)
        if not self._query_result(query, now) and len(query.open) == before and node in query.open:
            # A page of a longer answer: ask for the next one at once.
            for ask in query.ask(node, query.requests[-1], now):
                self._send(node, ask)

    def _refresh_watch(self, ticket: int, now: float) -> None:
        watcher = self._watchers.get(ticket)
        if watcher is None:
            return
        self._published.extend(watcher.look_at_all(now))
        message = watcher.subscription(self._request())
        for node in self._nodes:
            self._send(node, message)
        self._timers.add(now + watcher.next_refresh(), WatchTimer(ticket))

    def _watching(self, node: str, message: Watching, now: float) -> None:
        watcher = self._watchers.get(message.watch)
        if watcher is not None:
            watcher.stands(node, now)

    def _event(self, node: str, message: Event, now: float) -> None:
        watcher = self._watchers.get(message.watch)
        if watcher is None:
            self._send(node, Unwatch(self._request(), message.watch))
            return
        seen = watcher.event(node, message, now)
        if seen is None:
            return
        self._send(node, seen)
        changed = watcher.look(message.view.name, now)
        if changed is not None:
            self._published.append(changed)

    def _welcome(self, node: str, message: Welcome, now: float) -> None:
        """A node tells the configuration it decides in: it must be ours (rule S14)."""
        self._learn_floor(message.floor)
        if message.mode is NodeMode.SERVING:
            self._recovering.pop(node, None)
        mine = self.settings
        theirs = (message.members, message.max_ttl_ms, message.drift_ppm, message.grace_ms)
        if message.node_id != node or theirs != (
            mine.members,
            mine.max_ttl_ms,
            mine.drift_ppm,
            mine.grace_ms,
        ):
            self._published.append(
                Mismatch(
                    f"node {node!r} runs with another configuration than this client: "
                    "give the same cell file to every node and client"
                )
            )
        self._answered(node, message, now)

    # Within

    def _run_out(self, now: float) -> None:
        for key in self._timers.due(now):
            match key:
                case LapseTimer(number):
                    tenure = self._leases.lapse(number, now)
                    if tenure is not None:
                        self._lose(tenure, LossReason.EXPIRED, now)
                case AttemptTimer(number):
                    if number in self._attempts:
                        self._attempt_due(self._attempts[number], now)
                case RenewTimer(ttl_ms):
                    self._leases.renew(ttl_ms, now)
                case EndingTimer(number):
                    if number in self._endings:
                        self._ending_due(self._endings[number], now)
                case WishTimer(ticket):
                    if ticket in self._wishes:
                        self._give_up(self._wishes[ticket], now)
                case QueryTimer(ticket):
                    if ticket in self._queries:
                        self._query_due(self._queries[ticket], now)
                case WatchTimer(ticket):
                    self._refresh_watch(ticket, now)
                case _:
                    raise AssertionError(key)

    def _send(self, node: str, message: Message) -> None:
        self._sends.append((node, message))

    def _set_timer(self, attempt: Attempt, when: float) -> None:
        self._timers.cancel(AttemptTimer(attempt.number))
        self._timers.add(when, AttemptTimer(attempt.number))

    def _retry_first(self) -> float:
        return RETRY_FIRST_GRACES * self.settings.grace

    def _jitter(self, interval: float) -> float:
        """Never later than the interval: a place in line lapses by what was stated."""
        return interval * self._rng.uniform(0.75, 1.0)

    def _learn_floor(self, floor: int) -> None:
        self._floor = max(self._floor, floor)

    def _request(self) -> int:
        self._last_request += 1
        return self._last_request

    def _ticket(self) -> int:
        self._last_ticket += 1
        return self._last_ticket

    def _forget_if_idle(self, local: LocalName) -> None:
        if local.attempt is None and not local.wishes:
            self._names.pop(local.name, None)
