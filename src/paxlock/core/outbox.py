"""What the parts of a session share: its configuration, and where they put what is to be sent and told."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import attrs

from paxlock.core.messages import Commit, Member, Message, Peer
from paxlock.core.notices import Notice
from paxlock.core.round_trips import RoundTrips
from paxlock.core.value import value

__all__ = ["Outbox", "SessionSettings"]

RETRY_FIRST_GRACES = 0.4
RETRY_FIRST_MAX_GRACES = 4.0
RETRY_ROUND_TRIPS = 2.0
ROUND_TRIP_WEIGHT = 0.125
ROUND_TRIP_MAX_S = 0.125  #: what a single answer counts at most
RETRY_MAX_S = 0.5
HEARD_OF_LATE_S = 2.0
SILENT_RETRY_GRACES = 6.4
SILENT_RETRY_SHARE = 0.125
SILENT_RETRY_EACH_S = 0.001
ASKED_MAX = 1024  #: questions whose sending is remembered


@value
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


@attrs.define(eq=False)
class Outbox:
    """Messages and notices in their order, and the numbers that a session gives out."""

    grace: float
    rng: Random
    round_trips: RoundTrips
    heard: dict[str, float] = attrs.field(factory=dict)  #: when each node last said what serving nodes say
    sends: list[tuple[Peer, Message]] = attrs.field(factory=list)
    published: list[Notice] = attrs.field(factory=list)
    _commits: dict[int, list[tuple[Peer, Message]]] = attrs.field(factory=dict)
    _asked: dict[int, float] = attrs.field(factory=dict)
    _longest: float = 0.0
    _usual: float = 0.0
    _last_request: int = 0
    _last_ticket: int = 0

    def send(self, node: str, message: Message) -> None:
        self.sends.append((node, message))

    def send_all(self, nodes: Iterable[str], message: Message) -> None:
        """The same to several nodes, one after the other: it is encoded once."""
        self.sends.extend([(node, message) for node in nodes])

    def commit(self, attempt: int, nodes: Iterable[str], message: Commit) -> None:
        """A Commit for what this attempt holds: it leaves last, unless the attempt is over before that."""
        self._commits.setdefault(attempt, []).extend([(node, message) for node in nodes])

    def over(self, attempt: int) -> None:
        """The attempt is over: its Release will say all that a Commit of the same turn could."""
        self._commits.pop(attempt, None)

    def take_sends(self) -> list[tuple[Peer, Message]]:
        """Everything that is to be sent, in its order."""
        sends, self.sends = self.sends, []
        for commits in self._commits.values():
            sends.extend(commits)
        self._commits.clear()
        return sends

    def take_published(self) -> list[Notice]:
        """Everything that is to be told, in its order."""
        published, self.published = self.published, []
        return published

    def publish(self, notice: Notice) -> None:
        self.published.append(notice)

    def request(self) -> int:
        """A new request number, by which an answer finds its question."""
        self._last_request += 1
        return self._last_request

    def ticket(self) -> int:
        """A new ticket, by which the shell finds what it asked for."""
        self._last_ticket += 1
        return self._last_ticket

    def heard_after(self, node: str, took: float) -> None:
        """An answer of this node took this long. The longest rises at once and falls slowly, the usual
        moves slowly.
        """
        self.round_trips.measured(node, took)
        self._longest = max(took, self._longest + ROUND_TRIP_WEIGHT * (took - self._longest))
        self._usual += ROUND_TRIP_WEIGHT * (min(took, ROUND_TRIP_MAX_S) - self._usual)

    def asked(self, request: int, now: float) -> None:
        """This question leaves now, for the first and last time."""
        self._asked[request] = now
        if len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]

    def answered(self, node: str, request: int, now: float) -> None:
        """A node has answered it."""
        asked_at = self._asked.get(request)
        if asked_at is not None:
            self.heard_after(node, now - asked_at)

    def heard_by(self, quorum: int) -> float:
        """Since when a quorum has been heard: the time at which the last one of it was; -inf if never."""
        times = sorted(self.heard.values(), reverse=True)
        return times[quorum - 1] if len(times) >= quorum else float("-inf")

    def retry_first(self) -> float:
        """The first repetition: the grace is four round trips or more, unless the cell is busy.

        A busy cell is not to be asked twice: two of the longest round trips, but for a single late answer
        four graces are enough; where answers usually take that long, two of the usual ones.
        """
        least, most = RETRY_FIRST_GRACES * self.grace, RETRY_FIRST_MAX_GRACES * self.grace
        longest = min(max(least, RETRY_ROUND_TRIPS * self._longest), most)
        return max(longest, RETRY_ROUND_TRIPS * self._usual)

    def retry_longest(self, quorum: int, waited: float, candidates: int, now: float) -> float:
        """What the intervals between the repetitions of a candidate grow to, in seconds; it has ``waited``
        so long for an answer, as one of so many ``candidates`` of this session.

        Where no quorum has been heard of late, there is hardly anybody to be spared: an eighth of the time
        waited, so that nodes that come up are found soon. That reaches the longest interval after 4 s; many
        candidates of one session begin with longer ones, a millisecond for each.
        """
        if now - self.heard_by(quorum) < HEARD_OF_LATE_S:
            return RETRY_MAX_S
        least = max(SILENT_RETRY_GRACES * self.grace, self.retry_first(), candidates * SILENT_RETRY_EACH_S)
        return min(RETRY_MAX_S, max(least, waited * SILENT_RETRY_SHARE))

    def jitter(self, interval: float) -> float:
        """Never later than the interval: a place in line lapses by what was stated."""
        return interval * self.rng.uniform(0.75, 1.0)
