"""Every message of the protocol: one frozen class each (protocol.md sections 2 to 8).

Times on the wire are whole milliseconds and always durations, never dates. ``request`` is the number by
which an answer finds its question; 0 where nothing was asked (a push). The wire form, kinds and limits
are in wire/codec.py.

A *peer* is whom a machine talks to: a session by its 16 bytes, a node by its id.
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import attrs

from paxlock.core.durable import SeenNode
from paxlock.core.journal import Recall, Recalled, Recollection  # noqa: F401
from paxlock.core.lease import Candidate, Lease
from paxlock.core.listing import List, Names, WaiterEntry, Waiters, Waiting
from paxlock.core.reasons import Barrier, RefusalReason
from paxlock.core.seeing import Count, Counted, Ping, Pong, Seeing  # noqa: F401
from paxlock.core.steering import LetGo, Publish, Published, Revoke, RevokeAnswer, Steering  # noqa: F401
from paxlock.core.value import value

__all__ = [
    "Accept",
    "Accepted",
    "Commit",
    "Forbidden",
    "Greet",
    "Greeted",
    "Hello",
    "Inquire",
    "List",
    "Member",
    "Message",
    "Names",
    "NodeMode",
    "Occupancy",
    "Occupant",
    "Peer",
    "Poll",
    "Prepare",
    "Promise",
    "Recovering",
    "RefusalReason",
    "Refused",
    "Release",
    "Released",
    "Renew",
    "Renewed",
    "Seen",
    "StandingPrepare",
    "Unwatch",
    "View",
    "WaiterEntry",
    "Waiters",
    "Waiting",
    "Watch",
    "WatchEvent",
    "Watching",
    "Welcome",
]

Peer: TypeAlias = bytes | str


class Occupancy(enum.IntEnum):
    """How an occupant stands in the way."""

    HELD = 1
    PROMISED = 2
    HEAD = 3


class NodeMode(enum.IntEnum):
    """What a node may do after its start (section 7)."""

    STARTING = 1  #: waiting for the other members before it may serve
    RECOVERING = 2  #: sitting out
    SERVING = 3


@value
class Occupant:
    """Who stands in the way, how, and for how long it has been waiting or holding. ``window_ms`` is what it
    stated, or 0 where that is not known. ``confirmed``, of one that holds: it has said itself that its lease
    is valid.
    """

    candidate: Candidate
    occupancy: Occupancy
    age_ms: int
    label: str
    remaining_ms: int
    ttl_ms: int
    window_ms: int = 0
    confirmed: bool = False


@value
class Member:
    """One node of the configuration: its id and its address as configured."""

    node_id: str
    address: str


# From sessions to nodes.


@value
class Hello:
    """Who are you, and what is the configuration? Padded on the wire."""

    request: int


@value
class Prepare:
    """Phase 1. ``refresh_ms`` is 0 for a candidate that does not wait in line; ``window_ms`` is for
    how long it wants a promise kept, by the round trips that it measured; 0 leaves that to the grace.
    """

    request: int
    name: str
    at_least: int
    candidate: Candidate
    age_ms: int
    refresh_ms: int
    window_ms: int
    label: str


@value
class StandingPrepare(Prepare):
    """Both phases in one request: it carries the lease with its lock, and a number of the session's one
    counter.

    An acceptor that is free, or becomes free while this waits in line, accepts the lease (section 5).
    """

    ttl_ms: int
    data: bytes
    seq: int
    lock: bytes = b""

    @property
    def ttl(self) -> float:
        return self.ttl_ms / 1000.0

    @property
    def lease(self) -> Lease:
        return Lease(self.candidate, self.ttl_ms, self.label, self.data)


@value
class Accept:
    """Phase 2. Age and window are for those who are refused because of it (rule L2). ``lock``: what a handle
    of this lease must open; one without has no handle.
    """

    request: int
    name: str
    term: int
    lease: Lease
    seq: int
    age_ms: int
    window_ms: int = 0
    lock: bytes = b""


@value
class Commit:
    """Phase 3: this lease was chosen in this term. Never answered; also sent between nodes. ``lock`` is for
    nodes that do not hold it: so they too know what its handle must open.
    """

    name: str
    term: int
    lease: Lease
    lock: bytes = b""


@value
class Renew:
    """Prolong many leases of one session. Another session than theirs shows the secret of each."""

    request: int
    session: bytes
    seq: int
    attempts: tuple[int, ...]
    secrets: tuple[bytes, ...] = attrs.field(default=(), repr=False)


@value
class Release:
    """The last word of a candidate (rule S2). Another session than its own shows its secret."""

    request: int
    name: str
    candidate: Candidate
    term: int
    secret: bytes = attrs.field(default=b"", repr=False)


@value
class Poll:
    """A client asks a node what it knows of a name; answered with View."""

    request: int
    name: str


@value
class Watch:
    """Subscribe, or refresh a subscription: it lapses ``lapse_ms`` after the last refresh."""

    request: int
    watch: int
    pattern: str
    prefix: bool
    lapse_ms: int


@value
class Unwatch:
    """A session is not to be told any more of what it watched."""

    request: int
    watch: int


@value
class Seen:
    """Acknowledges events up to these versions: pairs of (name, version)."""

    watch: int
    versions: tuple[tuple[str, int], ...]


# From nodes to sessions.


@value
class Welcome:
    """The configuration and the state of the node that answers. ``complaint``, for people: of whom it hears
    and cannot work with, or nothing.
    """

    request: int
    node_id: str
    members: tuple[Member, ...]
    max_ttl_ms: int
    drift_ppm: int
    grace_ms: int
    mode: NodeMode
    remaining_ms: int
    floor: int
    complaint: str = ""


@value
class Promise:
    """The acceptor's term is promised to this candidate.

    ``lease_term`` is the term of the candidate's own lease held here, or 0.
    """

    request: int
    name: str
    candidate: Candidate
    term: int
    lease_term: int
    floor: int


@value
class Refused:
    """No. ``term`` is the acceptor's own; ``place``: how many stand in its line before who waits there."""

    request: int
    name: str
    candidate: Candidate
    reason: RefusalReason
    term: int
    floor: int
    occupant: Occupant | None
    place: int = 0


@value
class Recovering:
    """``Refused(recovering, remaining)``: this node sits out and answers nothing else."""

    request: int
    remaining_ms: int


@value
class Forbidden:
    """``Refused(not allowed)``: the session's key, or the handle, stands in the way, and nothing was done."""

    request: int
    barrier: Barrier


@value
class Accepted:
    """The lease is held here in this term; its deadline counts from the receipt of this number, or later.

    Pushed (request 0) where a waiting candidate was accepted without having asked just then.
    """

    request: int
    name: str
    candidate: Candidate
    term: int
    seq: int


@value
class Renewed:
    """What was re-armed by this number of this sender, as (attempt, lease term), and what is not held."""

    request: int
    sender: bytes
    session: bytes
    seq: int
    held: tuple[tuple[int, int], ...]
    not_held: tuple[int, ...]


@value
class Released:
    """A Release was taken, or there was nothing to let go of. ``floor`` is that of the node's terms."""

    request: int
    name: str
    candidate: Candidate
    floor: int


@value
class View:
    """What one node knows of a name: no fact of the cell until enough nodes agree (section 6).

    ``lease`` is the lease held here (``holds``), else the newest that this node knows to have been chosen;
    ``lease_term`` is the term it was accepted or chosen in; ``chosen`` says that this node knows it to be
    chosen; ``released`` that it was released. ``term`` is the record's own.
    """

    request: int
    name: str
    term: int
    lease: Lease | None
    lease_term: int
    holds: bool
    chosen: bool
    released: bool
    remaining_ms: int


@value
class Watching:
    """The subscription stands."""

    request: int
    watch: int


@value
class WatchEvent:
    """A view has changed; repeated until Seen. ``version`` grows with every change at this node."""

    watch: int
    version: int
    view: View


# Between nodes.


@value
class Greet:
    """A node's start: its incarnation, and the random number of this run (section 7). ``request`` is the
    phase of its start in which it asks: what answers an earlier one does not count.
    """

    request: int
    incarnation: int
    run: bytes


@value
class Greeted:
    """The answer to one Greet, which it names by phase, incarnation and run: it is for nobody else (S15).

    ``seen_...`` is the life of the greeter that was known before; that of the Greet is durably noted by now,
    or was outdated. The rest is the answerer's own: whether it is a ``member`` (and does not join itself),
    whether it is ``blank`` (it has nothing to remember, or does not yet know what there was), the
    ``max_ttl_ms`` that it runs with, one that was lowered and for how long that still matters (0 where
    there is none), and ``known``, the newest lives it knows of the other members.
    """

    request: int
    to_incarnation: int
    to_run: bytes
    seen_incarnation: int
    seen_run: bytes
    incarnation: int
    run: bytes
    ceiling: int
    mode: NodeMode
    member: bool
    blank: bool
    max_ttl_ms: int
    old_max_ttl_ms: int
    old_left_ms: int
    known: tuple[SeenNode, ...]


@value
class Inquire:
    """A node that accepted but heard no Commit asks the others (section 6); answered by a View."""

    request: int
    name: str


Message: TypeAlias = (
    Hello
    | Prepare
    | StandingPrepare
    | Accept
    | Commit
    | Renew
    | Release
    | Poll
    | Waiting
    | List
    | Watch
    | Unwatch
    | Seen
    | Welcome
    | Promise
    | Refused
    | Recovering
    | Forbidden
    | Accepted
    | Renewed
    | Released
    | View
    | Waiters
    | Names
    | Watching
    | WatchEvent
    | Greet
    | Greeted
    | Inquire
    | Steering
    | Recollection
    | Seeing
)
