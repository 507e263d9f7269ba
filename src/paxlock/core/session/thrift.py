"""Whom a new campaign asks first: a quorum, while that is as good as all (protocol.md section 5, "A quorum is
asked first").

Who is asked is the proposer's choice: no rule of safety rests on what is decided here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import inf
from zlib import crc32

import attrs

from paxlock.core.quorum import majority
from paxlock.core.round_trips import RoundTrip
from paxlock.core.session.pacing import (
    LONG_AGO,
    RETRY_MIN_S,
    RETRY_ROUND_TRIPS,
    RETRY_TIMEOUTS,
    Pacing,
)

__all__ = ["Thrift"]

RELIED_ON_S = 10.0  #: a node that has said nothing for longer is not relied on
FARTHER = 1.5  #: so many times what the fastest quorum usually takes it may take
NEAR_S = 0.001  #: a node that has never answered within this time is too far for a hedge to be cheap
SLOWER = 1.05  #: by so much it may take longer than to ask all: by more than a step of both medians
LEARNT = 6  #: so many of each kind are compared
#: Every so many attempts a quorum is tried: until both are known, and where it is worse; or all, where not.
LEARNING_SHARE, WORSE_SHARE, BETTER_SHARE = 4, 64, 16
STEP_MIN = 1 / 64
WANTED_FOR_S = 10.0  #: so long after another one wanted a name all are asked for it
WANTED_MAX = 1024  #: so many of these names are known
LEAST_S = 1e-6
HEDGED_MAX = 2  #: so many hedges are borne
AMONG = 100  #: among so many attempts
REST_FIRST_S = 1.0  #: after more of them all nodes are asked for so long,
REST_MAX_S = 300.0  #: twice as long each time, at most


@attrs.define(eq=False)
class _Median:
    """About the median of what attempts took, in seconds: each moves it by a step. It begins with the least
    of the first few, for the very first take longer than all that follow.
    """

    value: float = inf
    count: int = 0

    def take(self, took: float) -> None:
        self.count += 1
        took = max(took, LEAST_S)
        if self.count <= LEARNT / 2:
            self.value = min(self.value, took)
        else:
            step = max(STEP_MIN, 0.5 / self.count)
            self.value *= 1.0 + step if took > self.value else 1.0 - step


@attrs.define(eq=False)
class Thrift:
    """The choice for one session. ``recovering`` are the nodes that sit out, and until when."""

    nodes: tuple[str, ...]
    pacing: Pacing
    recovering: dict[str, float]
    switched_on: bool = False
    _all: _Median = attrs.field(factory=_Median)  #: of attempts that asked all nodes
    _few: _Median = attrs.field(factory=_Median)  #: of those that asked a quorum
    _choices: int = 0
    _asked: int = 0  #: attempts that began with a quorum
    _hedges: deque[int] = attrs.field(factory=lambda: deque(maxlen=HEDGED_MAX + 1))
    _hedged_at: float = LONG_AGO
    _silent: dict[str, float] = attrs.field(factory=dict)  #: nodes that kept an attempt waiting, since when
    _wanted: dict[str, float] = attrs.field(factory=dict)  #: names that others wanted, too, and when
    _rests_until: float = LONG_AGO
    _rest: float = REST_FIRST_S
    _quorums: tuple[tuple[str, ...], ...] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        ring, size = sorted(self.nodes), len(self.nodes)
        self._quorums = tuple(
            tuple(ring[(first + more) % size] for more in range(majority(size))) for first in range(size)
        )

    def quorum_of(self, name: str) -> tuple[str, ...]:
        """The nodes that everybody who wants this name asks first. Two who asked different ones would split
        votes more often, and those of one process would all load the same.
        """
        return self._quorums[crc32(name.encode()) % len(self._quorums)]

    def choose(self, name: str, now: float) -> tuple[str, ...]:
        """The nodes to ask first, or none where all are to be asked."""
        if not self.switched_on or now < self._rests_until or len(self.nodes) == 1:
            return ()
        if now - self._wanted.get(name, LONG_AGO) < WANTED_FOR_S:
            return ()
        chosen = self.quorum_of(name)
        if not all(self._answers(node, now) and self._near(node) for node in chosen) or self._farther(chosen):
            return ()
        self._choices += 1
        if min(self._all.count, self._few.count) < LEARNT:
            few = self._choices % LEARNING_SHARE == 0
        elif self._few.value > SLOWER * self._all.value:
            few = self._choices % WORSE_SHARE == 0
        else:
            few = self._choices % BETTER_SHARE != 0
        if not few:
            return ()
        self._asked += 1
        return chosen

    def granted(self, took: float, *, all_asked: bool) -> None:
        """A first sending was enough."""
        if self.switched_on:
            (self._all if all_asked else self._few).take(took)

    def refused(self, name: str, now: float) -> None:
        """Somebody else holds or wants it. Where some ask all, and others a quorum, votes are split."""
        if self.switched_on:
            self._wanted.pop(name, None)
            self._wanted[name] = now
            if len(self._wanted) > WANTED_MAX:
                del self._wanted[next(iter(self._wanted))]

    def _answers(self, node: str, now: float) -> bool:
        """Whether the node serves, as far as is known, and has not kept an attempt waiting since it was heard
        last.
        """
        heard = self.pacing.heard.get(node, LONG_AGO)
        if now - heard > RELIED_ON_S or heard <= self._silent.get(node, LONG_AGO):
            return False
        return now >= self.recovering.get(node, LONG_AGO)

    def _near(self, node: str) -> bool:
        """Whether its answers take little time. How much they differ is told by what attempts take."""
        trip = self.pacing.round_trips.of(node)
        return trip is not None and trip.shortest <= NEAR_S

    def _farther(self, chosen: Iterable[str]) -> bool:
        """Whether another quorum answers much sooner. The medians are those of all names together, and do
        not tell that one of the quorums is slow.
        """
        usual = max((trip.smoothed for trip in self._trips(chosen)), default=0.0)
        return usual > FARTHER * self.pacing.round_trips.smoothed(usual)

    def _trips(self, nodes: Iterable[str]) -> list[RoundTrip]:
        found = (self.pacing.round_trips.of(node) for node in nodes)
        return [trip for trip in found if trip is not None]

    def hedge_after(self, chosen: Iterable[str]) -> float:
        """By when these have nearly always answered: what others take is no reason to wait for longer."""
        trips = self._trips(chosen)
        usual = RETRY_ROUND_TRIPS * max((trip.smoothed for trip in trips), default=0.0)
        late = RETRY_TIMEOUTS * max((trip.timeout for trip in trips), default=0.0)
        return self.pacing.jitter(max(RETRY_MIN_S, usual, late))

    def hedged(self, silent: Iterable[str], now: float) -> None:
        """The rest had to be asked, because these nodes had not answered in time. What happens to many
        attempts at one moment counts once.
        """
        for node in silent:
            self._silent[node] = now
        if now - self._hedged_at < self.pacing.retry_first():
            return
        self._hedged_at = now
        if self._hedges and self._asked - self._hedges[-1] >= AMONG:
            self._rest = REST_FIRST_S
        self._hedges.append(self._asked)
        if len(self._hedges) > HEDGED_MAX and self._asked - self._hedges[0] < AMONG:
            self._hedges.clear()
            self._rests_until = now + self._rest
            self._rest = min(2.0 * self._rest, REST_MAX_S)
