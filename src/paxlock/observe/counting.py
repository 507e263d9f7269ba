"""The counters of a node as whoever asks over the wire is told them, and as people read them.

The names are those of the metrics, in two parts at most: a metric, and after a dot the value of its label.
Times are whole microseconds on the wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from paxlock.core.messages import NodeMode
from paxlock.observe.noticing import PeerSeen
from paxlock.observe.statistics import NodeStatistics

__all__ = ["flat", "readable"]

_DROPPED = "dropped_"
_SECONDS, _MICROSECONDS, _MILLISECONDS = "_seconds", "_us", "_ms"
#: Not a number, or told in another way.
_APART = {"node_id", "mode", "quorum", "peers", "messages", "endpoint", "transport"}


def flat(found: NodeStatistics) -> dict[str, int]:
    """Whole numbers by name."""
    return {_name(metric, label): number for metric, label, number in _numbers(found)}


def readable(counters: Mapping[str, int]) -> dict[str, float]:
    """The same with milliseconds in place of microseconds: people think in these."""
    told: dict[str, float] = {}
    for name, number in counters.items():
        metric, dot, label = name.partition(".")
        words = metric.split("_")
        if "us" in words:
            metric = "_".join("ms" if word == "us" else word for word in words)
            told[metric + dot + label] = number // 1000 if number % 1000 == 0 else round(number / 1000.0, 3)
        else:
            told[name] = number
    return told


def _name(metric: str, label: str) -> str:
    return f"{metric}.{label}" if label else metric


def _numbers(found: NodeStatistics) -> Iterator[tuple[str, str, int]]:
    # A node of `paxlock dev` asks no other how it is, and so sees none.
    alone = bool(found.peers) and not any(peer.asked for peer in found.peers.values())
    yield "serving", "", int(found.mode is NodeMode.SERVING)
    yield "starting", "", int(found.mode is NodeMode.STARTING)
    for field in attrs.fields(NodeStatistics):
        if field.name in _APART or (alone and field.name == "cell_serving_nodes"):
            continue
        number = getattr(found, field.name)
        if isinstance(number, float):
            yield field.name.replace(_SECONDS, _MICROSECONDS), "", int(number * 1e6)
        else:
            yield field.name, "", int(number)
    for kind, number in found.messages.items():
        yield "messages", kind, number
    for what, number in found.endpoint.items():
        if what.startswith(_DROPPED):
            yield "dropped", what.removeprefix(_DROPPED), number
        else:
            yield "datagrams", what, number
    for what, number in found.transport.items():
        yield from _of_socket(what, number)
    for peer, seen in found.peers.items() if not alone else ():
        for metric, number in _of_peer(seen):
            yield metric, peer, number


def _of_socket(what: str, number: int) -> Iterator[tuple[str, str, int]]:
    if what == "kernel_drops":
        yield what, "", number
    for errors in ("send_errors", "receive_errors"):
        if what.startswith(f"{errors}_"):
            yield errors, what.removeprefix(f"{errors}_"), number


def _of_peer(seen: PeerSeen) -> Iterator[tuple[str, int]]:
    yield "peer_up", int(seen.up)
    yield "peer_serving", int(seen.mode is NodeMode.SERVING)
    yield "peer_round_trip_us", int(seen.round_trip * 1e6)
    yield "peer_probes", seen.asked
    yield "peer_answers", seen.answered
