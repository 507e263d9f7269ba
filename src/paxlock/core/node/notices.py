"""What a node tells those who watch over it; nothing follows from it for the protocol."""

from __future__ import annotations

from collections.abc import Iterable

from paxlock.core.messages import NodeMode
from paxlock.core.node.record import Record
from paxlock.core.value import value

__all__ = ["HandleRefused", "LeftBehind", "PeerAnswered", "left_in"]


@value
class PeerAnswered:
    """Published when another node has said how it is (a Welcome)."""

    node_id: str
    request: int
    mode: NodeMode


@value
class HandleRefused:
    """Published when this session has shown a secret that does not open the lease of its handle."""

    session: bytes


@value
class LeftBehind:
    """How many leases are held, and how many candidates wait in line."""

    leases: int
    waiters: int


def left_in(records: Iterable[Record]) -> LeftBehind:
    """What there is in these records."""
    leases = waiters = 0
    for record in records:
        leases += record.lease is not None
        waiters += len(record.line) if record.line is not None else 0
    return LeftBehind(leases, waiters)
