"""Metrics for Prometheus, of a node or a client in this program (extra ``http``: prometheus-client).

    from prometheus_client import REGISTRY
    REGISTRY.register(paxlock.metrics.Collector(node))

All names and labels are in docs/metrics.md. What is collected is read at each scrape; nothing is kept here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, cast

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as _Collector

from paxlock.client.face import Statistics
from paxlock.core.messages import NodeMode
from paxlock.errors import PaxlockError
from paxlock.observe.statistics import NodeCounters

__all__ = ["Collector"]

_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|[^A-Za-z0-9]+")
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
)
_DROPPED, _SENT, _RECEIVED = "dropped_", "send_errors_", "receive_errors_"
#: Of a session's counters those that are sizes, and go down too.
_SIZES = ("leases", "campaigns", "releases", "watches", "recovering_nodes")


class ClientSource(Protocol):
    """A client of any face."""

    def statistics(self) -> Statistics: ...


class NodeSource(Protocol):
    """A node of any face."""

    def node_counters(self) -> NodeCounters: ...


def _word(name: str) -> str:
    """``StandingPrepare`` and ``token above its term`` as words of a metric: lower case, with underscores."""
    return _WORDS.sub("_", name).lower()


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
        if hasattr(source, "node_counters"):
            yield from _of_node(cast(NodeSource, source).node_counters())
        if hasattr(source, "statistics"):
            yield from _of_client(cast(ClientSource, source).statistics())


def _of_node(found: NodeCounters) -> Iterator[Metric]:
    node = found.node_id

    def gauge(name: str, text: str, number: float) -> Metric:
        family = GaugeMetricFamily(f"paxlock_node_{name}", text, labels=["node"])
        family.add_metric([node], number)
        return family

    def counter(name: str, text: str, number: float) -> Metric:
        family = CounterMetricFamily(f"paxlock_node_{name}", text, labels=["node"])
        family.add_metric([node], number)
        return family

    yield gauge("serving", "1 where this node serves.", found.mode is NodeMode.SERVING)
    yield gauge("starting", "1 where this node waits for others.", found.mode is NodeMode.STARTING)
    yield gauge("sits_out_seconds", "For how long this node still sits out.", found.sits_out)
    yield gauge("incarnation", "Which life of this node this is.", found.incarnation)
    yield gauge("names", "Names that this node has a record of.", found.names)
    yield gauge("max_ttl_seconds", "The longest ttl of the cell.", found.max_ttl)
    yield gauge("cell_nodes", "Nodes of the cell.", found.nodes)
    yield gauge("cell_quorum_nodes", "How many nodes must serve.", found.needed)
    yield gauge("cell_serving_nodes", "How many nodes serve, as this one sees them.", found.serving)
    yield counter("record_writes", "Writes of the record.", found.writes)
    yield counter("record_write_seconds", "Time spent writing the record.", found.write_seconds)
    yield gauge("record_write_seconds_max", "The longest write since the start.", found.longest_write)
    yield counter("record_slow_writes", "Writes that took more than 0.25 s.", found.slow_writes)
    yield counter("late_turns", "How often the process did not run for 0.25 s.", found.late_turns)
    yield gauge("late_seconds_max", "The longest time that it did not run.", found.longest_late)
    yield counter("floods", "Floods of datagrams that had to be dropped.", found.floods)
    yield _labelled("node_messages", "Messages received and events, by kind.", "kind", node, found.messages)
    yield from _of_peers(found)
    yield from _of_network("node", node, found.endpoint, found.transport)


def _of_peers(found: NodeCounters) -> Iterator[Metric]:
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
    for name in _SIZES:
        if name in found.session:
            yield GaugeMetricFamily(f"paxlock_client_{name}", f"{name} at this moment.", found.session[name])
    counts = {what: number for what, number in found.session.items() if what not in _SIZES}
    family = CounterMetricFamily("paxlock_client_messages", "Messages and events, by kind.", labels=["kind"])
    for what, number in sorted(counts.items()):
        family.add_metric([_word(what)], number)
    yield family
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
    for what, number in _sorted_words(counts.items(), plain=label == "errno"):
        family.add_metric([what] if node is None else [node, what], number)
    return family


def _sorted_words(counts: Iterable[tuple[str, int]], *, plain: bool) -> list[tuple[str, int]]:
    return sorted((what if plain else _word(what), number) for what, number in counts)
