"""What an acceptor keeps of one name (protocol.md section 2), and the timers by which it looks again."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import attrs

from paxlock.core.lease import Candidate, Lease
from paxlock.core.node.line import Line

__all__ = ["NEVER", "PushTimer", "Record", "RecordTimer", "SweepTimer"]

NEVER = float("inf")


class RecordTimer(NamedTuple):
    """Something of some name may have run out."""

    kind: str = "record"


class SweepTimer(NamedTuple):
    """Tombstones may have served their time; idle names may be forgotten."""

    kind: str = "sweep"


class PushTimer(NamedTuple):
    """A pushed Accepted of this name may not have been answered."""

    name: str
    kind: str = "push"


@attrs.define(eq=False)
class Record:
    """One name at one acceptor. Without an owner the term is closed.

    ``repeat`` is how long to wait before the Accepted of a standing accept is pushed again; 0 where the
    candidate has answered, or was not told without having asked. ``alarm`` is when the acceptor looks whether
    something has run out, ``swept`` whether the sweep is to look at this record; ``seen`` is whose lease the
    learner last saw held here, ``confirmed`` who has said of itself that its lease is valid.

    ``window`` is for how long a promise to the owner is kept, in seconds: what it stated.

    Tombstones lie in the order in which they were set.
    """

    name: str
    term: int
    owner: Candidate | None = None
    owner_since: float = 0.0
    owner_arrival: float = 0.0
    owner_label: str = ""
    window: float = 0.0
    lease: Lease | None = None
    lease_term: int = 0
    lease_arrival: float = 0.0
    sender: bytes = b""
    seq: int = 0
    deadline: float = 0.0
    repeat: float = 0.0
    line: Line | None = None
    tombstones: dict[bytes, tuple[int, float]] | None = None
    alarm: float = NEVER
    swept: bool = False
    seen: Candidate | None = None
    confirmed: Candidate | None = None

    def holds(self, candidate: Candidate) -> bool:
        return self.lease is not None and self.lease.candidate == candidate

    def excludes(self, candidate: Candidate) -> bool:
        """The one rule on which exclusion rests: while another's lease is held here, this candidate is
        neither promised anything nor accepted.
        """
        return self.lease is not None and self.lease.candidate != candidate

    def ended(self, candidate: Candidate) -> bool:
        """Whether a tombstone stands for this attempt or a later one (rule L1)."""
        if self.tombstones is None:
            return False
        attempt, _ = self.tombstones.get(candidate.session, (0, 0.0))
        return attempt >= candidate.attempt

    def drop_expired(self, now: float, most: int) -> float | None:
        """Drop a line of which all have lapsed, and tombstones that have served their time, at most so many.
        Tells until when the oldest of the others stands, or None where they are all gone, or some of them
        might go at once.
        """
        if self.line is not None and self.line.head(now) is None:
            self.line = None
        stones = self.tombstones or {}
        for session in list(islice(stones, most)):
            _, until = stones[session]
            if until > now:
                return until
            del stones[session]
        if not stones:
            self.tombstones = None
        return None

    @property
    def in_use(self) -> bool:
        """Whether somebody holds the name, was promised it, or waits for it."""
        return self.lease is not None or self.owner is not None or bool(self.line)

    @property
    def idle(self) -> bool:
        return not self.in_use and not self.tombstones
