"""Metrics for Prometheus, of a node or a client in this program (extra ``http``: prometheus-client).

    from prometheus_client import REGISTRY
    REGISTRY.register(paxlock.metrics.Collector(node))

All names and labels are in docs/metrics.md. What is collected is read at each scrape; nothing is kept here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, cast

import attrs
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as _Collector

from paxlock.client.face import Statistics
from paxlock.core.messages import NodeMode
from paxlock.core.statistics import SessionStatistics
from paxlock.errors import PaxlockError
from paxlock.observe.statistics import NodeStatistics

__all__ = ["Collector"]

#: Told from the start, as 0: of a series that begins with 1 Prometheus sees no increase.
_REASONS = (
    "address",
    "cell",
    "epoch",
    "future",
    "incarnation",
    "key",
    "malformed",
    "members",
    "older_version",
    "replay",
    "seal",
    "sender",
    "unknown_kind",
)
_DROPPED, _SENT, _RECEIVED = "dropped_", "send_errors_", "receive_errors_"
#: Fields of NodeStatistics: a metric has the name of its field.
_GAUGES = {
    "sits_out_seconds": "For how long this node still sits out.",
    "up_seconds": "For how long this node has run.",
    "incarnation": "Which life of this node this is.",
    "names": "Names that this node has a record of.",
    "max_ttl_seconds": "The longest ttl of the cell.",
    "cell_nodes": "Nodes of the cell.",
    "cell_quorum_nodes": "How many nodes must serve.",
    "cell_serving_nodes": "How many nodes serve, as this one sees them.",
    "record_write_seconds_max": "The longest write since the start.",
    "data_folder_gone": "1 where its data folder was deleted or moved: its next start finds no memory.",
    "state_not_kept": "1 where its state file was given up: killed, it sits out at its next start.",
    "late_seconds_max": "The longest time that it did not run.",
}
_COUNTERS = {
    "record_writes": "Writes of the record.",
    "record_write_seconds": "Time spent writing the record.",
    "record_slow_writes": "Writes that took more than 0.25 s.",
    "late_turns": "How often the process did not run for 0.25 s.",
    "floods": "Floods of datagrams that had to be dropped.",
}
_Family = GaugeMetricFamily | CounterMetricFamily


class ClientSource(Protocol):
    """A client of any face."""

    def statistics(self) -> Statistics: ...


class NodeSource(Protocol):
    """A node of any face."""

    def node_statistics(self) -> NodeStatistics: ...


class Collector(_Collector):
    """What Prometheus may know of a node, a client, or a node that is a client too; register it once.

    A source that is closed gives nothing any more. ``collect`` may be called in any thread.
    """

    def __init__(self, source: NodeSource | ClientSource) -> None:
        self._source = source

    def describe(self) -> list[Metric]:
        """Nothing is asked for at registration: a client may not be open yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics at this moment."""
        try:
            families = list(self._families())
        except (PaxlockError, RuntimeError):  # closed, or the child of a fork: there is nothing to tell
            return
        yield from families

    def _families(self) -> Iterator[Metric]:
        source = self._source
        if hasattr(source, "node_statistics"):
            yield from _of_node(cast(NodeSource, source).node_statistics())
        if hasattr(source, "statistics"):
            yield from _of_client(cast(ClientSource, source).statistics())


def _of_node(found: NodeStatistics) -> Iterator[Metric]:
    node = found.node_id
    serves, starts = found.mode is NodeMode.SERVING, found.mode is NodeMode.STARTING
    yield _of_one(GaugeMetricFamily, node, "serving", "1 where this node serves.", serves)
    yield _of_one(GaugeMetricFamily, node, "starting", "1 where this node waits for others.", starts)
    for name, text in _GAUGES.items():
        yield _of_one(GaugeMetricFamily, node, name, text, getattr(found, name))
    for name, text in _COUNTERS.items():
        yield _of_one(CounterMetricFamily, node, name, text, getattr(found, name))
    yield _labelled("node_messages", "Messages received and events, by kind.", "kind", node, found.messages)
    yield from _of_peers(found)
    yield from _of_network("node", node, found.endpoint, found.transport)


def _of_one(kind: type[_Family], node: str, name: str, text: str, number: float) -> Metric:
    family = kind(f"paxlock_node_{name}", text, labels=["node"])
    family.add_metric([node], number)
    return family


def _of_peers(found: NodeStatistics) -> Iterator[Metric]:
    labels = ["node", "peer"]
    up = GaugeMetricFamily("paxlock_peer_up", "1 where the peer answers.", labels=labels)
    serving = GaugeMetricFamily("paxlock_peer_serving", "1 where the peer serves.", labels=labels)
    trip = GaugeMetricFamily("paxlock_peer_round_trip_seconds", "Its last round trip.", labels=labels)
    asked = CounterMetricFamily("paxlock_peer_probes", "Questions to the peer.", labels=labels)
    answered = CounterMetricFamily("paxlock_peer_answers", "Answers in time for the next.", labels=labels)
    for name, peer in found.peers.items():
        where = [found.node_id, name]
        up.add_metric(where, peer.up)
        serving.add_metric(where, peer.mode is NodeMode.SERVING)
        if peer.answered:
            trip.add_metric(where, peer.round_trip)
        asked.add_metric(where, peer.asked)
        answered.add_metric(where, peer.answered)
    yield from (up, serving, trip, asked, answered)


def _of_client(found: Statistics) -> Iterator[Metric]:
    for field in attrs.fields(SessionStatistics):
        size = getattr(found.session, field.name)
        if isinstance(size, int):
            yield GaugeMetricFamily(f"paxlock_client_{field.name}", f"{field.name} at this moment.", size)
    kinds = found.session.messages
    yield _labelled("client_messages", "Messages received and events, by kind.", "kind", None, kinds)
    yield from _of_network("client", None, found.endpoint, found.transport)


def _of_network(
    part: str, node: str | None, endpoint: Mapping[str, int], transport: Mapping[str, int]
) -> Iterator[Metric]:
    dropped = dict.fromkeys(_REASONS, 0)
    dropped |= {
        what.removeprefix(_DROPPED): number for what, number in endpoint.items() if what.startswith(_DROPPED)
    }
    others = {what: number for what, number in endpoint.items() if not what.startswith(_DROPPED)}
    yield _labelled(f"{part}_datagrams", "Datagrams, by what became of them.", "what", node, others)
    yield _labelled(f"{part}_dropped", "Datagrams that were dropped, by reason.", "reason", node, dropped)
    lost = CounterMetricFamily(
        f"paxlock_{part}_kernel_drops",
        "Datagrams that the kernel has dropped: junk, or because the receive buffer was full.",
        labels=[] if node is None else ["node"],
    )
    lost.add_metric([] if node is None else [node], transport.get("kernel_drops", 0))
    yield lost
    for direction, prefix in (("send", _SENT), ("receive", _RECEIVED)):
        errors = {
            what.removeprefix(prefix): number for what, number in transport.items() if what.startswith(prefix)
        }
        yield _labelled(f"{part}_{direction}_errors", "Errors of the socket.", "errno", node, errors)


def _labelled(name: str, text: str, label: str, node: str | None, counts: Mapping[str, int]) -> Metric:
    labels = [label] if node is None else ["node", label]
    family = CounterMetricFamily(f"paxlock_{name}", text, labels=labels)
    for what, number in sorted(counts.items()):
        family.add_metric([what] if node is None else [node, what], number)
    return family
