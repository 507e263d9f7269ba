"""What the programs of a simulated run want and hold."""

from __future__ import annotations

import enum
from random import Random

import attrs

from paxlock.core.lease import Candidate, Timing
from paxlock.simulator.machines import ClientMachine

__all__ = ["DetachedLease", "Stage", "Wish"]


class Stage(enum.Enum):
    """How far the run has come."""

    FAULTY = enum.auto()
    DRAINING = enum.auto()  #: healed: whoever waits is served
    LAST = enum.auto()  #: one last campaign for every name
    WATCHING = enum.auto()  #: watchers must arrive at the last state


@attrs.define(eq=False)
class Wish:
    """A campaign of one client, waiting or held."""

    client: ClientMachine
    ticket: int
    name: str
    ttl: float
    timing: Timing
    once: bool
    kept: bool | None = None  #: of a last campaign: whether it is held until the run ends
    candidate: Candidate | None = None
    term: int = 0
    deadline: float = 0.0  #: by the client's clock, as its program knows it
    over: bool = False
    ended_elsewhere: bool = False  #: somebody has released it by its handle: the holder is to be told

    @property
    def waiting(self) -> bool:
        return not self.over and self.candidate is None


@attrs.define(eq=False)
class DetachedLease:
    """A detached lease, renewed and released by whoever has its handle."""

    name: str
    candidate: Candidate
    term: int
    secret: bytes
    timing: Timing
    left: int
    rng: Random
    over: bool = False
