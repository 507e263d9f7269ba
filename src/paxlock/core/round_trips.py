"""How long each node takes to answer: one estimate for each node, as TCP has it (RFC 6298).

Windows and timers follow these estimates. They are about progress only: no rule of safety rests on them.
"""

from __future__ import annotations

import attrs

from paxlock.core.quorum import majority

__all__ = ["RoundTrip", "RoundTrips"]

SMOOTHING = 0.125  #: RFC 6298, alpha
VARIATION_SMOOTHING = 0.25  #: RFC 6298, beta
VARIATIONS = 4.0  #: RFC 6298, K
ROUND_TRIP_MAX_S = 10.0  #: what a single answer counts at most


@attrs.define(eq=False)
class RoundTrip:
    """The round trip to one node, in seconds: smoothed, and how much it varies."""

    smoothed: float
    variation: float

    def measured(self, took: float) -> None:
        """Take one more measured round trip."""
        self.variation += VARIATION_SMOOTHING * (abs(self.smoothed - took) - self.variation)
        self.smoothed += SMOOTHING * (took - self.smoothed)

    @property
    def timeout(self) -> float:
        """By when an answer has nearly always come, in seconds after the request was sent."""
        return self.smoothed + VARIATIONS * self.variation


class RoundTrips:
    """The round trips of one session to the nodes of its cell."""

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self._quorum = majority(len(nodes))
        self._nodes = nodes
        self._measured: dict[str, RoundTrip] = {}

    def measured(self, node: str, took: float) -> None:
        """A node has answered ``took`` seconds after it was asked. Only for requests that were sent once
        (Karn's rule): the answer to a repeated one does not tell which sending it answers.
        """
        if node not in self._nodes:
            return
        took = min(max(took, 0.0), ROUND_TRIP_MAX_S)
        known = self._measured.get(node)
        if known is None:
            self._measured[node] = RoundTrip(took, took / 2.0)
        else:
            known.measured(took)

    def of(self, node: str) -> RoundTrip | None:
        """The estimate for one node; None before its first answer."""
        return self._measured.get(node)

    def smoothed(self, default: float) -> float:
        """The usual time until a quorum has answered, in seconds; ``default`` before one was measured."""
        return self._of_quorum([known.smoothed for known in self._measured.values()], default)

    def timeout(self, default: float) -> float:
        """By when a quorum has nearly always answered, in seconds; ``default`` before one was measured."""
        return self._of_quorum([known.timeout for known in self._measured.values()], default)

    def _of_quorum(self, values: list[float], default: float) -> float:
        if len(values) < self._quorum:
            return default
        return sorted(values)[self._quorum - 1]
