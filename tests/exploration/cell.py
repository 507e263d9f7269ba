"""The cell that is explored, and what its nodes and sessions share.

Clocks hardly move by themselves: a moment per event, so that every reading differs. A session's jumps to
the end of the span for which a sending counts. At a node the deadline is moved to its clock instead, since
what waits in line beside the lease has ends of its own. docs/exploration.md says why this leaves nothing out.
"""

from __future__ import annotations

from random import Random

from paxlock.core.handles import lock_of, secret_of
from paxlock.core.lease import Candidate
from paxlock.core.messages import Member
from paxlock.core.round_trips import RoundTrips

__all__ = [
    "DRIFT",
    "GRACE_MS",
    "MEMBERS",
    "NAME",
    "NODES",
    "SECRET",
    "SESSIONS",
    "STEP_S",
    "TTL_S",
    "OutOfBounds",
    "Steady",
    "Unmeasured",
    "lock",
    "who",
]

NODES = ("a", "b", "c")
SESSIONS = (b"\x01" * 16, b"\x02" * 16)
SECRET = bytes(16)  #: of both sessions: what follows from it is bound to the candidate
NAME = "x"
TTL_S = 1.0
DRIFT = 0.01
GRACE_MS = 1
STEP_S = 1e-8  #: how far a clock moves with every event
MEMBERS = tuple(Member(node, f"{node}:7400") for node in NODES)


class OutOfBounds(Exception):
    """This step leaves the space that is explored; it is not followed."""


class Steady(Random):
    """No jitter: when a timer fires is a choice of the explorer."""

    def uniform(self, a: float, b: float) -> float:
        return b

    def __reduce__(self) -> tuple[type[Steady], tuple[()]]:
        return Steady, ()


class Unmeasured(RoundTrips):
    """How long answers take is a choice of the explorer: nothing is learned from it."""

    def measured(self, node: str, took: float) -> None:
        pass


def who(candidate: Candidate) -> tuple[int, int]:
    """A candidate as (index of the session, attempt)."""
    return SESSIONS.index(candidate.session), candidate.attempt


def lock(candidate: Candidate) -> bytes:
    """The lock of its lease."""
    return lock_of(candidate, secret_of(SECRET, candidate.attempt))
