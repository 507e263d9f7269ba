"""What a client's machine publishes to the shell around it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from paxlock.core.journal import Happened
from paxlock.core.lease import Candidate
from paxlock.core.messages import NodeMode, WaiterEntry
from paxlock.core.session.judgement import Judgement, State
from paxlock.core.value import value
from paxlock.errors import LossReason, Reason

__all__ = [
    "Answered",
    "Barred",
    "Changed",
    "CountersRead",
    "DataPublished",
    "Ended",
    "Event",
    "Extended",
    "Failed",
    "Granted",
    "HandleOutcome",
    "JournalRead",
    "KeyRefused",
    "Left",
    "LetGoAsked",
    "Lost",
    "Mismatch",
    "NamesFound",
    "NodeCounters",
    "NodeJournal",
    "NodePing",
    "NodeStanding",
    "OverQuota",
    "Pinged",
    "Surveyed",
]


@value
class Granted:
    """The lease is valid: the fencing token, and until when, margin taken off, on the machine's clock."""

    ticket: int
    candidate: Candidate
    term: int
    deadline: float


@value
class Extended:
    """Renewed: the new deadline, margin taken off."""

    ticket: int
    deadline: float


@value
class Lost:
    """Valid no longer, and never again."""

    ticket: int
    reason: LossReason


@value
class Failed:
    """Not acquired in the time given."""

    ticket: int
    reason: Reason
    holder: str | None
    detail: str


@value
class Barred:
    """Not tried: this session has detached a lease of the name, and an end of a later attempt would also end
    the handle's power to renew.
    """

    ticket: int


@value
class Ended:
    """No node of a quorum holds the lease any more (``heard``), or the time of its release is over."""

    ticket: int
    heard: bool


@value
class Left:
    """A lease that is left behind runs out so many seconds too early, unless the last renewal, which this
    ticket is of, is heard.
    """

    ticket: int
    name: str
    missing: float


@value
class Answered:
    """The answer to a poll, with the line of the name where it was asked for, oldest first."""

    ticket: int
    judgement: Judgement
    waiters: tuple[WaiterEntry, ...]
    nodes_up: int


@value
class NamesFound:
    """The names that a list has found, and how many nodes have answered."""

    ticket: int
    names: tuple[str, ...]
    nodes_up: int


@value
class NodeStanding:
    """One node as it describes itself; ``mode`` is None where it did not answer. ``complaint``: of whom it
    hears and cannot work with, or nothing. ``round_trip`` is in seconds, None where nothing was heard.
    ``incarnation`` is the life in which it answered, 0 where nothing was heard; it is ``outlived`` where
    another node knows of a later one: then nobody counts what it says, and its process should be ended.
    """

    node_id: str
    address: str
    mode: NodeMode | None
    sits_out: float
    complaint: str = ""
    round_trip: float | None = None
    incarnation: int = 0
    outlived: bool = False


@value
class Surveyed:
    """What every node has said of itself, or that it has not answered."""

    ticket: int
    nodes: tuple[NodeStanding, ...]


@value
class NodeJournal:
    """What one node remembers of a name, in order, and for how many seconds back nothing is missing. The
    ages are of the moment of the answer, alike for all nodes, and known up to ``error`` seconds.
    """

    node_id: str
    answered: bool
    reach: float = 0.0
    error: float = 0.0
    entries: tuple[Happened, ...] = ()


@value
class JournalRead:
    """What every node remembers of a name, or that it has not answered."""

    ticket: int
    nodes: tuple[NodeJournal, ...]


@value
class NodePing:
    """What became of one ping to a node; ``round_trip`` (seconds) is None where nothing came back. ``asked``
    is when it left, on the client's clock; ``up`` for how many seconds the node had run, on its own.
    """

    node_id: str
    round_trip: float | None = None
    asked: float = 0.0
    up: float = 0.0


@value
class Pinged:
    """What became of one ping to every node."""

    ticket: int
    nodes: tuple[NodePing, ...]


@value
class NodeCounters:
    """What one node has counted since its start, by the names of its metrics (docs/metrics.md): where a
    metric has a label, its value follows after a dot. Times are whole microseconds, in names with ``us``
    among their words.
    """

    node_id: str
    answered: bool
    counters: Mapping[str, int] = MappingProxyType({})


@value
class CountersRead:
    """What every node has counted, or that it has not answered."""

    ticket: int
    nodes: tuple[NodeCounters, ...]


@value
class HandleOutcome:
    """A lease was renewed or released by its handle, or revoked (``done``), is over, or the handle is not
    that of the lease (``refused``). Where none of these is true no quorum answered.
    """

    ticket: int
    done: bool
    over: bool
    refused: bool = False


@value
class LetGoAsked:
    """Somebody who may administer the name wants this holder to let go: its program is to stop, and then to
    release. By force, it is not renewed any more, and lost at its deadline.
    """

    ticket: int


@value
class DataPublished:
    """What became of data that the holder published: a quorum has them (``done``), or the tenure is over."""

    ticket: int
    done: bool


@value
class Changed:
    """A watched name has a new state. ``term`` is the fencing token of the newest tenure known."""

    ticket: int
    name: str
    state: State
    term: int
    label: str
    data: bytes


@value
class Mismatch:
    """A node answers with another configuration: nothing may be decided with it."""

    explanation: str


@value
class KeyRefused:
    """The nodes do not take this session's key: it has expired, was revoked, or is of an older generation."""


@value
class OverQuota:
    """A node refused something because this key has as much there as one key may have."""


Event: TypeAlias = (
    Granted
    | Extended
    | Lost
    | Failed
    | Barred
    | Ended
    | Answered
    | NamesFound
    | Surveyed
    | JournalRead
    | Pinged
    | CountersRead
    | HandleOutcome
    | LetGoAsked
    | DataPublished
    | Changed
    | Mismatch
    | KeyRefused
    | OverQuota
)
