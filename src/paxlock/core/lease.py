"""The proposed value, its timing, and what makes it valid at the holder (protocol.md sections 1 and 3)."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import attrs

from paxlock.core.lives import UNKNOWN, Lives, outlived
from paxlock.core.quorum import majority
from paxlock.core.value import value
from paxlock.errors import ConfigError

__all__ = [
    "DATA_MAX_BYTES",
    "LABEL_MAX_BYTES",
    "NAME_MAX_BYTES",
    "TERM_MAX",
    "TTL_DEFAULT_S",
    "TTL_MIN_S",
    "Candidate",
    "Lease",
    "Timing",
    "Validity",
    "quarantine",
]

NAME_MAX_BYTES = 255
LABEL_MAX_BYTES = 64
DATA_MAX_BYTES = 512
TERM_MAX = (1 << 62) - 1
TTL_MIN_S = 0.2
TTL_DEFAULT_S = 10.0  #: of a lease whose program names none; less where the cell has a shorter max_ttl
MARGIN_DIVISOR = 10
FRESH_DIVISOR = 4
RENEW_DIVISOR = 3
ROUND_TRIPS_S = 0.02
SETTLE_GRACES = 4  #: from the sending of what a lease rests on to its first validity, nearly always
LONG_AGO = float("-inf")


class Candidate(NamedTuple):
    """One attempt of one session at one name: the identity of the lease that it proposes."""

    session: bytes
    attempt: int


@value
class Lease:
    """The value of a Paxos round. ``token`` is 0 until the tenure is valid, then its fencing token.
    ``edition``: how often its holder has published other data.
    """

    candidate: Candidate
    ttl_ms: int
    label: str
    data: bytes
    token: int = 0
    edition: int = 0

    @property
    def ttl(self) -> float:
        return self.ttl_ms / 1000.0

    def with_token(self, token: int) -> Lease:
        """The same lease, with this token. (`attrs.evolve` takes five times as long.)"""
        return Lease(self.candidate, self.ttl_ms, self.label, self.data, token, self.edition)

    def is_but_for_token(self, other: Lease) -> bool:
        """Whether the other is the same lease, perhaps with another token."""
        return (
            self.candidate == other.candidate
            and self.edition == other.edition
            and self.data == other.data
            and self.ttl_ms == other.ttl_ms
            and self.label == other.label
        )

    def with_data(self, data: bytes, edition: int) -> Lease:
        """The same lease, with other data."""
        return Lease(self.candidate, self.ttl_ms, self.label, data, self.token, edition)


def quarantine(max_ttl: float, drift: float) -> float:
    """How long a node that lost its memory stays silent, on its own clock (section 7)."""
    return max_ttl * (1.0 + drift) / (1.0 - drift)


@value
class Timing:
    """The durations of one lease, in seconds, checked as a chain when built.

    ``span`` is how long an acknowledgement keeps the lease valid on the holder's own clock;
    the program is told ``margin`` earlier. A standing accept by a number older than ``fresh`` does not make
    a lease valid: too little would be left of it. The lease is kept for ``at_least`` from its first validity
    on, also where its program has done with it earlier.
    """

    ttl: float
    renew: float
    margin: float
    span: float
    fresh: float
    at_least: float = 0.0

    @classmethod
    def for_ttl(cls, ttl: float, *, max_ttl: float, drift: float, kill_after: float = 0.0) -> Timing:
        """Derive the timing of a lease; raise ConfigError where the durations do not nest."""
        if not ttl >= TTL_MIN_S:
            raise ConfigError(f"ttl must be at least {TTL_MIN_S * 1000:.0f} ms, not {ttl * 1000:.0f} ms")
        if ttl > max_ttl:
            raise ConfigError(
                f"ttl must not be above the cell's max_ttl of {max_ttl:g} s, but it is {ttl:g} s: "
                "ask for a shorter ttl, or raise max_ttl in the cell file of every node and client"
            )
        margin = ttl / MARGIN_DIVISOR
        span = ttl * (1.0 - drift) / (1.0 + drift)
        if not span > margin + kill_after + ROUND_TRIPS_S:
            raise ConfigError(
                f"a ttl of {ttl:g} s is too short: margin {margin:g} s, kill time {kill_after:g} s "
                f"and {ROUND_TRIPS_S:g} s for trips must be less than {round(span, 3):g} s; "
                "ask for a longer ttl"
            )
        fresh = min(ttl / FRESH_DIVISOR, (span - margin - kill_after) / 2.0)
        return cls(ttl=ttl, renew=ttl / RENEW_DIVISOR, margin=margin, span=span, fresh=fresh)

    def keeping(self, at_least: float, *, max_ttl: float, drift: float, grace: float) -> Timing:
        """The timing of such a lease that is kept for ``at_least``: its ttl is raised so that it lasts that
        long without any renewal, up to ``max_ttl``, in case its holder goes away.

        It is renewed as late before its end as it would have been, and its margin is as long: a lease that
        was renewed without need would outlast ``at_least`` by as much.
        """
        slower = (1.0 + drift) / (1.0 - drift)
        ttl = min(max_ttl, at_least * slower + SETTLE_GRACES * grace)
        if ttl <= self.ttl:
            return attrs.evolve(self, at_least=at_least)
        span = ttl / slower
        renew = span - (self.span - self.renew)
        return attrs.evolve(self, ttl=ttl, renew=renew, span=span, at_least=at_least)

    @property
    def raised(self) -> bool:
        """Whether the ttl is longer than what was asked for."""
        return self.renew > self.ttl / RENEW_DIVISOR


@attrs.define(eq=False)
class Validity:
    """Until when a quorum's acknowledgements last, on the holder's own clock (section 3, "Validity").

    For every node: the time read just before the newest number that it acknowledged was sent.
    """

    nodes: int
    span: float
    sent: dict[str, float] = attrs.field(init=False, factory=dict)
    quorum: int = attrs.field(init=False)
    _lives: Lives = attrs.field(init=False, default=UNKNOWN)  #: with which all of them were given; or
    _different: dict[str, Lives] | None = attrs.field(init=False, default=None)  #: each with its own

    def __attrs_post_init__(self) -> None:
        self.quorum = majority(self.nodes)

    def acknowledge(self, node: str, sent_at: float, lives: Lives = UNKNOWN) -> bool:
        """Node acknowledged a number first sent at ``sent_at``, in a datagram that says ``lives``; older news
        changes nothing, and is False.
        """
        if sent_at <= self.sent.get(node, LONG_AGO):
            return False
        if not self.sent:
            self._lives = lives
        self.sent[node] = sent_at
        if self._different is not None or lives is not self._lives:
            self._keep(node, lives)
        return True

    def _keep(self, node: str, lives: Lives) -> None:
        """An acknowledgement is kept with what the node knew when it gave it (rule S15)."""
        different = self._different
        if different is None:
            different = self._different = dict.fromkeys(self.sent, self._lives)
        different[node] = lives
        if all(others is lives for others in different.values()):
            self._lives, self._different = lives, None

    def outlived(self) -> Collection[str]:
        """The nodes whose acknowledgements do not count: another names a later life of theirs (rule S15)."""
        return outlived(self._different) if self._different is not None else ()

    def since(self) -> float:
        """The quorum-th largest sending time; -inf without a quorum."""
        sent = self.sent
        if self._different is not None:
            gone = self.outlived()
            sent = {node: at for node, at in sent.items() if node not in gone}
        if len(sent) < self.quorum:
            return LONG_AGO
        return sorted(sent.values(), reverse=True)[self.quorum - 1]

    def until(self) -> float:
        """The end of validity: (the quorum-th largest sending time) + span; -inf without a quorum."""
        return self.since() + self.span
