"""What a node tells of itself: frozen counters, under words that are fit to be names of metrics."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from paxlock.core.messages import NodeMode
from paxlock.observe.noticing import PeerSeen

__all__ = ["NodeStatistics"]


@attrs.frozen
class NodeStatistics:
    """What a node has counted since its start: what its metrics tell (docs/metrics.md), under the same words.

    The ``peers``, ``cell_serving_nodes`` and ``quorum`` (None: not known yet) are as this node sees them,
    from a probe a second.
    """

    node_id: str
    up_seconds: float  #: for how long it has run
    incarnation: int
    mode: NodeMode
    sits_out_seconds: float
    names: int
    cell_nodes: int
    cell_quorum_nodes: int
    cell_serving_nodes: int
    quorum: bool | None
    max_ttl_seconds: float
    peers: Mapping[str, PeerSeen]
    messages: Mapping[str, int]
    endpoint: Mapping[str, int]
    transport: Mapping[str, int]
    record_writes: int
    record_write_seconds: float
    record_write_seconds_max: float
    record_slow_writes: int
    data_folder_gone: bool  #: deleted, moved or replaced while the node runs: the next start finds no memory
    state_not_kept: (
        bool  #: its file ``state`` was given up in this run: killed, it sits out at its next start
    )
    late_turns: int
    late_seconds_max: float
    floods: int
