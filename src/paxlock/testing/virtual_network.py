"""The network of a virtual cell: a MemoryNetwork with partitions, which hold for those who come later too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs

from paxlock.errors import ConfigError
from paxlock.testing.memory_network import MemoryNetwork
from paxlock.wire.transport import Address

__all__ = ["Cut", "Latency", "LinkLatency", "VirtualNetwork", "Way", "bounds_of", "checked_probability"]

Latency: TypeAlias = float | tuple[float, float]
LinkLatency: TypeAlias = Callable[[str, str], Latency]
Way: TypeAlias = Literal["both", "out", "in"]

NOWHERE: Address = ("", 0)


@attrs.frozen
class Cut:
    """One partition: who is on the one side, and which addresses on the other (None: everybody else)."""

    who: tuple[Any, ...]
    inside: Callable[[tuple[Any, ...], Address], bool]
    away_from: frozenset[Address] | None
    way: Way

    def parts(self, source: Address, target: Address) -> bool:
        """Whether this datagram does not get through."""
        out = self.inside(self.who, source)
        if out == self.inside(self.who, target):
            return False
        far = target if out else source
        return self.way in ("both", "out" if out else "in") and (
            self.away_from is None or far in self.away_from
        )


@attrs.define(eq=False)
class VirtualNetwork(MemoryNetwork):
    """``cuts`` and ``link_latency`` may be changed at any time. ``name_of`` tells who is at an address."""

    cuts: list[Cut] = attrs.field(init=False, factory=list)
    link_latency: LinkLatency | None = attrs.field(init=False, default=None)
    name_of: Callable[[Address], str] = attrs.field(init=False, default=str)

    def bounds(self, source: Address, target: Address) -> tuple[float, float]:
        if self.link_latency is None:
            return super().bounds(source, target)
        return bounds_of(self.link_latency(self.name_of(source), self.name_of(target)))

    def carry(self, datagram: bytes, source: Address, target: Address) -> str:
        if any(cut.parts(source, target) for cut in self.cuts):
            target = NOWHERE  # the random numbers of the others stay the same
        return super().carry(datagram, source, target)


def checked_probability(what: str, value: float) -> float:
    """The value unchanged; ConfigError unless it is a probability."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{what} is a probability from 0 to 1, not {value!r}")
    return value


def bounds_of(latency: Latency) -> tuple[float, float]:
    """The least and the most seconds that a datagram takes; ConfigError for what is no latency."""
    least, most = latency if isinstance(latency, tuple) else (latency, latency)
    if not 0 <= least <= most < math.inf:
        raise ConfigError(
            f"latency is a number of seconds, or the least and the most of them, not {latency!r}"
        )
    return least, most
