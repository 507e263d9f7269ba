"""The configuration that nodes and sessions decide in: what a quorum is of, and the times that all keep."""

from __future__ import annotations

from paxlock.core.messages import Member, Welcome
from paxlock.core.value import value

__all__ = ["Configuration"]


@value
class Configuration:
    """What every node and client of a cell must agree on (rule S14). Who answers with another one is not of
    this cell.
    """

    members: tuple[Member, ...]
    max_ttl_ms: int
    drift_ppm: int
    grace_ms: int

    @classmethod
    def told(cls, message: Welcome) -> Configuration:
        """The one that a node decides in, as it says."""
        return cls(message.members, message.max_ttl_ms, message.drift_ppm, message.grace_ms)

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(member.node_id for member in self.members)

    @property
    def max_ttl(self) -> float:
        return self.max_ttl_ms / 1000.0

    @property
    def drift(self) -> float:
        return self.drift_ppm / 1e6

    @property
    def grace(self) -> float:
        return self.grace_ms / 1000.0
