"""Frozen counters of a node, under one spelling each, fit as names of metrics."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from paxlock.core.messages import NodeMode
from paxlock.observe.noticing import PeerSeen

__all__ = ["NodeCounters"]


@attrs.frozen
class NodeCounters:
    """What a node has counted since its start; times in seconds. The peers, ``serving`` and ``quorum`` (None:
    not known yet) are as this node sees them, from a probe a second.
    """

    node_id: str
    incarnation: int
    mode: NodeMode
    sits_out: float
    names: int
    nodes: int
    needed: int
    serving: int
    quorum: bool | None
    max_ttl: float
    peers: Mapping[str, PeerSeen]
    messages: Mapping[str, int]
    endpoint: Mapping[str, int]
    transport: Mapping[str, int]
    writes: int
    write_seconds: float
    longest_write: float
    slow_writes: int
    late_turns: int
    longest_late: float
    floods: int
