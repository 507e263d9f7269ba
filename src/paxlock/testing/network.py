"""The simulated network: what becomes of a datagram (protocol.md section 2: lost, repeated, late)."""

from __future__ import annotations

from random import Random

from paxlock.core.messages import Peer
from paxlock.testing.scenario import Scenario

__all__ = ["Network"]


class Network:
    """Decides, from the run's random numbers, how often and after how long a datagram arrives."""

    __slots__ = ("_apart", "_rng", "_scenario", "healed")

    def __init__(self, scenario: Scenario, rng: Random) -> None:
        self.healed = False
        self._scenario = scenario
        self._rng = rng
        self._apart: frozenset[Peer] = frozenset()

    def split(self, apart: frozenset[Peer]) -> None:
        """From now on nothing passes between those in ``apart`` and the rest."""
        self._apart = apart

    def join(self) -> None:
        """Everybody can reach everybody again."""
        self._apart = frozenset()

    def heal(self) -> None:
        """From now on every datagram arrives once and soon. Late ones are still on their way."""
        self.healed = True
        self._apart = frozenset()

    def delays(self, source: Peer, target: Peer) -> tuple[float, ...]:
        """After how many seconds the datagram arrives, once for every time that it does."""
        scenario, random = self._scenario, self._rng.random
        delay = scenario.delay_min + random() * (scenario.delay_max - scenario.delay_min)
        if self.healed:
            return (delay,)
        if self._apart and (source in self._apart) != (target in self._apart):
            return ()
        if scenario.loss and random() < scenario.loss:
            return ()
        if scenario.late and random() < scenario.late:
            delay += random() * scenario.late_max
        if scenario.repeated and random() < scenario.repeated:
            return (delay, delay + random() * max(scenario.late_max, scenario.delay_max))
        return (delay,)
