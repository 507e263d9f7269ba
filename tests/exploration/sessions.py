"""A session as the explorer drives it: the shipped Session, and a key for each situation.

Two situations with one key behave alike from then on, so that the machine is run only once for each. A key
leaves out what only tells how long something has lasted: the explorer decides when something runs out.
"""

# The key is made of what no message shows.

from __future__ import annotations

import enum
from collections.abc import Collection

import attrs

from paxlock.core.configuration import Configuration
from paxlock.core.lease import Timing
from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Message,
    Prepare,
    Release,
    Renew,
    Renewed,
    StandingPrepare,
)
from paxlock.core.session.attempt import Attempt, Campaign, NameState
from paxlock.core.session.candidates import Candidates
from paxlock.core.session.outbox import SessionSettings
from paxlock.core.session.proposer import Phase, Proposer
from paxlock.core.session.session import Session
from paxlock.core.session.tenures import Tenure
from paxlock.core.session.thrift import Thrift
from paxlock.simulator.checkers import CheckFailed
from tests.exploration.bounds import Bounds
from tests.exploration.cell import (
    DRIFT,
    GRACE_MS,
    MEMBERS,
    NAME,
    NODES,
    SECRET,
    SESSIONS,
    STEP_S,
    TTL_S,
    OutOfBounds,
    Steady,
    Unmeasured,
)

__all__ = ["ExploredSession", "SessionEvent"]

SPACING_S = 1e-2  #: after the first sending; after every further one a tenth of that
PATIENCE_S = 0.061  #: above 6 windows: after them a phase has failed (section 5)
SPAN_S = TTL_S * (1.0 - DRIFT) / (1.0 + DRIFT)  #: by section 3, not by what the code makes of it

View = tuple[object, ...]


class PlainAttempt(Attempt):
    """Every Prepare is a plain one, and never queues."""

    __slots__ = ()

    def send_prepare(self, now: float, *, waits: bool, to: Collection[str] | None = None) -> None:
        super().send_prepare(now, waits=False, to=to)


class PlainCandidates(Candidates):
    """Every attempt is a plain one."""

    def _make(self, local: NameState, campaign: Campaign, after: Attempt | None, fresh: bool) -> Attempt:
        attempt = super()._make(local, campaign, after, fresh)
        attempt.__class__ = PlainAttempt
        return attempt


class Reckless(Thrift):
    """Whether a quorum is asked first is no choice of the session."""

    __slots__ = ()

    def choose(self, name: str, now: float) -> tuple[str, ...]:
        return self.quorum_of(name)


class SessionEvent(enum.Enum):
    """What happens in a session besides messages."""

    LAPSES = "what it sent first counts no longer: its span is over"
    AGES = "what it sent first is older than a quarter of the ttl"
    LOSES_PATIENCE = "refreshes, loses patience with this phase, or has backed off long enough"
    REPEATS = "repeats what was not answered, under a new number"
    ENDS = "ends its candidate: cancelled, or at the end of its use"
    RENEWS = "renews"
    CAMPAIGNS = "campaigns again"


@attrs.define(eq=False)
class ExploredSession:
    """A session with its candidate: the shipped Session, and what the explorer remembers of it.

    ``times`` are the moments at which numbers were sent; the first ``lapsed`` of them count no longer, and
    the first ``aged`` are too old for a standing accept to make a lease valid.
    Outside, a number is called by its moment, from 1 on: nodes see one number of each at most.
    """

    session: Session
    identity: int
    bounds: Bounds
    now: float = 0.0
    ticket: int = 0
    times: list[float] = attrs.field(factory=list)
    lapsed: int = 0
    aged: int = 0
    numbers: list[int] = attrs.field(factory=list)  #: one of each moment: all were sent at one time
    token: int = 0  #: of the newest tenure
    granted: int = 0  #: the newest attempt that was ever valid
    over: int = 0  #: attempts up to this one have sent Release, or were valid and are so no longer

    @classmethod
    def fresh(cls, identity: int, bounds: Bounds) -> tuple[ExploredSession, list[tuple[str, Message]]]:
        configuration = Configuration(MEMBERS, round(TTL_S * 1000), round(DRIFT * 1e6), GRACE_MS)
        settings = SessionSettings(configuration, thrifty=bounds.thrifty)
        session = Session(settings, session=SESSIONS[identity], secret=SECRET, now=0.0, rng=Steady())
        made = cls(session, identity, bounds)
        session._pacing.round_trips = Unmeasured(NODES)
        session._shared.thrift.__class__ = Reckless
        if not bounds.standing:
            session._campaigns.candidates.__class__ = PlainCandidates
        session._out._last_request = 0
        return made, made.happens(SessionEvent.CAMPAIGNS)

    @property
    def attempt(self) -> Attempt | None:
        local = self.session._campaigns._names.get(NAME)
        return None if local is None else local.attempt

    @property
    def tenure(self) -> Tenure | None:
        attempt = self.attempt
        return None if attempt is None else self.session._campaigns.candidates.tenures.of(attempt.number)

    @property
    def alive(self) -> int:
        """The attempt that is not over, or 0."""
        attempt = self.attempt
        return attempt.number if attempt is not None and attempt.number > self.over else 0

    @property
    def valid(self) -> bool:
        tenure = self.tenure
        return tenure is not None and self.now < tenure.deadline

    def key(self) -> tuple[tuple[object, ...], dict[str, View]]:
        """What is common to all nodes, and what is kept of each."""
        campaigns, attempt, tenure = self.session._campaigns, self.attempt, self.tenure
        made, floor = campaigns.candidates._last_attempt, campaigns.candidates._floor
        common: tuple[object, ...] = (len(self.times), self.lapsed, self.aged, self.token, made)
        if attempt is None:
            # Over for good: of all the rest nothing will ever be asked.
            rest = (self.granted, self.over, floor) if made < self.bounds.attempts else ()
            return common + rest, dict.fromkeys(NODES, (made,))
        common += (self.granted, self.over, floor)
        proposer = attempt.proposer
        common += (
            attempt.pace.eager, proposer.phase.name, proposer.request, proposer.at_least, proposer.term,
            proposer.used, proposer.highest, attempt.last_term, min(len(proposer.taken), len(NODES)),
            tenure.looks_left if tenure is not None and self.bounds.renews else 1,
            tenure is not None and (tenure.token, tenure.term, self._moment(tenure.deadline - SPAN_S)),
            tenure is not None and tenure.revoked,
        )  # fmt: skip
        held = tenure.validity.sent if tenure is not None else {}
        return common, {
            node: (
                made,
                proposer.request,
                tenure is not None and tenure.token,
                self._promised(proposer, node),
                node in proposer.refusals,
                self._taken(proposer, node),
                self._moment(held.get(node)),
                node in attempt.spared,
            )
            for node in NODES
        }

    def _promised(self, proposer: Proposer, node: str) -> int:
        """The term promised, while it may be used: in phase 1, or as the highest that Release must name."""
        term = proposer.promises.get(node, 0)
        return term if proposer.phase is Phase.PREPARING or term > proposer.used else 0

    def _taken(self, proposer: Proposer, node: str) -> tuple[int, int] | None:
        """In which term the lease is held there, and by which sending: a holder counts by its validity."""
        took = proposer.taken.get(node)
        if took is None:
            return None
        counts = self.tenure is None or proposer.phase is Phase.PREPARING
        return took.term, self._moment(took.sent_at) if counts else 0

    def _moment(self, time: float | None) -> int:
        """Which sending this was, doubled; odd where it lies after one."""
        if time is None:
            return 0
        before = sum(1 for sent in self.times if sent <= time + STEP_S / 10)
        exact = before > 0 and abs(self.times[before - 1] - time) < STEP_S / 10
        if exact and before <= self.lapsed:
            return 1  # it counts no longer: which one it was means nothing
        return 2 * before if exact else 2 * before + 1

    def events(self) -> list[SessionEvent]:
        found = [SessionEvent.LAPSES] if self.lapsed < len(self.times) else []
        attempt = self.attempt
        if attempt is None:
            if self.session._campaigns.candidates._last_attempt < self.bounds.attempts:
                found.append(SessionEvent.CAMPAIGNS)
            return found
        found.append(SessionEvent.ENDS)
        if self._reads_age and self.aged < len(self.times):
            found.append(SessionEvent.AGES)
        if self.tenure is None or attempt.proposer.phase is not Phase.CHOSEN:
            found.append(SessionEvent.LOSES_PATIENCE)
        if self.bounds.resends and attempt.proposer.phase in (Phase.ACCEPTING, Phase.CHOSEN):
            found.append(SessionEvent.REPEATS)
        if self.bounds.renews and self.tenure is not None:
            found.append(SessionEvent.RENEWS)
        return found

    @property
    def _reads_age(self) -> bool:
        """Whether it matters how old a number is that a standing accept names."""
        attempt = self.attempt
        return self.bounds.standing and attempt is not None and self.tenure is None

    def _set_age(self) -> None:
        """Let count as fresh what was sent after those that have aged."""
        attempt = self.attempt
        if attempt is not None and self._reads_age:
            oldest = self.times[self.aged] if self.aged < len(self.times) else self.now
            fresh = self.now - oldest + STEP_S / 4
            attempt.campaign.timing = attrs.evolve(attempt.campaign.timing, fresh=fresh)

    def happens(self, event: SessionEvent) -> list[tuple[str, Message]]:
        """Let the event happen; gives what is sent, and to which node."""
        campaigns, attempt = self.session._campaigns, self.attempt
        was_valid = self.valid
        self.now += STEP_S
        self._set_age()
        match event:
            case SessionEvent.LAPSES:
                over = self.times[self.lapsed] + SPAN_S
                assert over > self.now, "a path outlasts a span"
                self.now = over + STEP_S / 2
                self.lapsed += 1
                self.aged = max(self.aged, self.lapsed) if self._reads_age else self.aged
                self.session.tick(self.now)
            case SessionEvent.AGES:
                self.aged += 1
            case SessionEvent.CAMPAIGNS:
                timing = Timing.for_ttl(TTL_S, max_ttl=TTL_S, drift=DRIFT)
                # Without a margin the code is held to the exact moment; it may renew whenever it likes.
                timing = attrs.evolve(timing, margin=0.0, renew=STEP_S / 2)
                self.ticket = campaigns.campaign(NAME, timing, now=self.now, wait=None, label="", data=b"")
            case SessionEvent.ENDS:
                campaigns.release(self.ticket, self.now)
            case SessionEvent.RENEWS:
                campaigns.candidates._renewals.due(round(TTL_S * 1000), 0, self.now)
            case SessionEvent.REPEATS | SessionEvent.LOSES_PATIENCE:
                assert attempt is not None
                if event is SessionEvent.LOSES_PATIENCE:
                    attempt.proposer.started = self.now - PATIENCE_S
                campaigns.candidates.due(attempt.number, self.now)
        return self._sent(was_valid)

    def takes(self, message: Message, node: str) -> list[tuple[str, Message]]:
        """Deliver an answer of a node; gives what is sent, and to which node."""
        was_valid = self.valid
        self.now += STEP_S
        self._set_age()
        if isinstance(message, Accepted | Renewed):
            if message.seq > len(self.numbers):
                raise OutOfBounds  # nobody can have sent this yet
            message = attrs.evolve(message, seq=self.numbers[message.seq - 1])
        self.session.receive(message, node, self.now)
        return self._sent(was_valid)

    def _sent(self, was_valid: bool) -> list[tuple[str, Message]]:
        sends = [
            (str(node), self._normal(message))
            for node, message in self.session.take_effects().sends
            if isinstance(message, Prepare | Accept | Renew | Release)
            or (isinstance(message, Commit) and self.bounds.commits)
        ]
        if self.times and self.times[-1] == self.now:
            # So that one sending counts no longer before the next, whatever is sent in between.
            self.now += SPACING_S * 0.1 ** len(self.times)
        self._leave_timers_to_the_explorer()
        if self.bounds.standing and not self._reads_age:
            self.aged = len(self.times)
        self._check(was_valid, [message for _, message in sends])
        if len(self.times) > self.bounds.sendings:
            raise OutOfBounds
        if self.session._campaigns.candidates._last_attempt > self.bounds.attempts:
            raise OutOfBounds
        attempt = self.attempt
        if attempt is not None and attempt.proposer.at_least > self.bounds.max_term:
            raise OutOfBounds
        if attempt is not None and attempt.proposer.request > self.bounds.phases:
            raise OutOfBounds
        return sends

    def _normal(self, message: Message) -> Message:
        """Without ages and windows, with moments for numbers; requests count the phases of a candidate."""
        match message:
            case StandingPrepare():
                return attrs.evolve(message, age_ms=0, window_ms=0, seq=self._number(message.seq))
            case Prepare():
                return attrs.evolve(message, age_ms=0, window_ms=0)
            case Accept():
                return attrs.evolve(message, age_ms=0, window_ms=0, seq=self._number(message.seq))
            case Renew():
                return attrs.evolve(message, request=0, seq=self._number(message.seq))
            case Release():
                return attrs.evolve(message, request=0)
            case _:
                return message

    def _number(self, number: int) -> int:
        sent_at = self.session._numbers._sent[number]
        if not self.times or sent_at > self.times[-1]:
            self.times.append(sent_at)
            self.numbers.append(number)
        return len(self.times)

    def _leave_timers_to_the_explorer(self) -> None:
        """Only the lapse is kept: it lies exactly where the clock jumps."""
        timers, look = self.session._timers, self.session._campaigns.candidates.tenures.look
        for key in [key for key in timers._at if key[0] != look]:
            timers.cancel(*key)
        timers._heap = [entry for entry in timers._heap if timers._at.get(entry[2]) == entry[0]]
        campaigns, attempt, tenure = self.session._campaigns, self.attempt, self.tenure
        campaigns.candidates.releases.clear()  # a Release once sent may be delivered at any time, and again
        self.session._out._last_request = 0 if attempt is None else attempt.proposer.request
        if attempt is not None:
            attempt.proposer.started = self.now
        if tenure is not None:
            tenure.next_raise = 0.0
            tenure.next_repair.clear()

    def _check(self, was_valid: bool, sends: list[Message]) -> None:
        """S2: Release is a candidate's last word, never sent while it is valid; what is over stays over."""
        tenure = self.tenure
        released = max((m.candidate.attempt for m in sends if isinstance(m, Release)), default=0)
        if self.valid and tenure is not None:
            number = tenure.candidate.attempt
            if number <= max(self.over, released):
                raise CheckFailed("over", "a candidate is valid after its end or its Release (S2)")
            if not was_valid:
                self.granted = number
                self.token = tenure.token
        elif was_valid:
            self.over = max(self.over, self.granted)
        for message in sends:
            match message:
                case Prepare(candidate=candidate):
                    number = candidate.attempt
                case Accept(lease=lease):
                    number = lease.candidate.attempt
                case Renew(attempts=attempts):
                    number = max(attempts)
                case _:
                    continue
            if number <= max(self.over, released):
                raise CheckFailed("over", f"{type(message).__name__} of a candidate after its Release (S2)")
        self.over = max(self.over, released)
