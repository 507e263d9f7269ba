"""What a node keeps: one small record on disk, a snapshot written at a clean stop, and for a start on the
same boot the entries of its state file (section 7).
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from paxlock.core.handles import Stone
from paxlock.core.lease import Candidate, Lease
from paxlock.core.value import value

__all__ = [
    "Durability",
    "Kept",
    "KeptName",
    "KeptRenewal",
    "KeptStone",
    "Membership",
    "NodeRecord",
    "SeenNode",
    "Snapshot",
    "SnapshotName",
    "StartWord",
    "incarnation_max",
]

INCARNATION_MAX = (1 << 64) - 1
INCARNATION_AHEAD_S = 86_400  #: so far may the clocks of two nodes differ before one does not hear the other
CLOCK_SET_S = 1_700_000_000  #: a clock that shows less was never set: nothing is told by it


def incarnation_max(unix: float) -> int:
    """The highest incarnation of another node that is believed at this unix second (section 7).

    Incarnations are counted, or begin at unix seconds. One from far ahead, once noted, would lock out the
    node that it names until that time has come.
    """
    return int(unix) + INCARNATION_AHEAD_S if unix >= CLOCK_SET_S else INCARNATION_MAX


class Durability(enum.Enum):
    """The mode a node runs in. What counts at a start is the mode in which the node *ran*."""

    RECORD = "record"  #: one small record; after a crash of the machine a node sits out max_ttl
    SYNC = "sync"  #: what is told is on the disk first; nothing is sat out
    MEMORY = "memory"  #: nothing on disk; every start sits out max_ttl


class StartWord(enum.Enum):
    """What a node is told at a start; it counts only where there is no record, but for ``join``."""

    AUTO = "auto"  #: find out from the others whether the cell is new
    CREATE = "create"  #: the cell is new: serve as soon as the others say that they never saw this node
    JOIN = "join"  #: its memory was lost, whatever record there is
    BY_CLOCK = "by-clock"  #: as auto, but who has been heard of by nobody here is gone for good


class Membership(enum.Enum):
    """How far a node has come in becoming one of its cell. All but members have no memory yet."""

    CREATING = "creating"  #: told ``create``; the other members have not yet said that they never saw it
    JOINING = "joining"  #: told ``join``; sits out, then reads the ceilings of the others
    BLANK = "blank"  #: told ``auto``; the same, or, where nobody has a memory, begins by the clock
    MEMBER = "member"


@value
class SeenNode:
    """The highest incarnation heard of another member, and its run."""

    node_id: str
    incarnation: int
    run: bytes


@value
class NodeRecord:
    """The durable record. Nothing above ``ceiling`` was ever promised, accepted or closed.

    While a cell is being created, ``creating_runs`` are the runs of this very disk, so that others who have
    seen them have not seen an earlier memory of this node.

    ``clean`` is true only between a clean stop and the next start; a snapshot counts only if it carries
    the same incarnation.
    """

    cell_id: bytes
    epoch: int
    node_id: str
    incarnation: int
    ceiling: int
    durability: Durability
    membership: Membership
    max_ttl_ms: int
    clean: bool
    seen: tuple[SeenNode, ...] = ()
    creating_runs: tuple[SeenNode, ...] = ()


@value
class SnapshotName:
    """One name of the snapshot: leases with the time that is LEFT (rule L8). Of the tombstones that of
    ``revoked`` was set by force (section 12). ``lock`` is that of the lease which is held, ``chosen_lock``
    that of the one which is known to be chosen.
    """

    name: str
    term: int
    lease: Lease | None
    lease_term: int
    sender: bytes
    seq: int
    remaining_ms: int
    tombstones: tuple[Stone, ...]
    chosen: Lease | None
    chosen_term: int
    released: bool
    revoked: Candidate | None = None
    lock: bytes = b""
    chosen_lock: bytes = b""


@value
class Snapshot:
    """The state of a node that stopped cleanly, tied to the incarnation that stopped."""

    incarnation: int
    floor: int
    names: tuple[SnapshotName, ...]


class KeptName(NamedTuple):
    """One name of the state file, as it stands: a lease of no ``session`` is none. ``deadline`` is on the
    boot clock.
    """

    name: str
    term: int
    lease_term: int = 0
    session: bytes = b""
    attempt: int = 0
    ttl_ms: int = 0
    label: str = ""
    data: bytes = b""
    token: int = 0
    sender: bytes = b""
    seq: int = 0
    deadline: float = 0.0
    edition: int = 0
    lock: bytes = b""


class KeptRenewal(NamedTuple):
    """What one Renew has re-armed, received at ``at`` on the boot clock."""

    session: bytes
    attempts: tuple[int, ...]
    sender: bytes
    seq: int
    at: float


class KeptStone(NamedTuple):
    """A tombstone: this attempt at the name is over, and those of its session before it; ``forced`` where
    somebody has ended it by force (section 12). It may be one that is against a lock (handles.py).
    """

    name: str
    session: bytes
    attempt: int
    forced: bool = False


class Kept(NamedTuple):
    """An entry of the state file: what must be there before what follows from it is sent (section 7).

    Read in this order: renewals, names, tombstones. ``whole``: everything, nothing before it counts. The node
    answers from ``serves_at`` on, on the boot clock; 0.0 once it serves.
    """

    whole: bool
    floor: int
    serves_at: float
    renewals: tuple[KeptRenewal, ...] = ()
    names: tuple[KeptName, ...] = ()
    stones: tuple[KeptStone, ...] = ()
    dropped: tuple[str, ...] = ()
