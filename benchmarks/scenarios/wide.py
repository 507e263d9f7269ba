"""W: a wide area, each two machines far apart: acquire, hand-off and watch where packets are lost."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.bench import Bench, result_of
from benchmarks.figures import Figures, hand_offs, quantiles, seconds, within
from benchmarks.peers.base import Cluster, Peer
from benchmarks.places import Distance, FarPlaces, missing
from benchmarks.processes import Failed
from benchmarks.scenarios.base import Column, Scenario, Table
from benchmarks.scenarios.contended import NS_PER_S, contend
from benchmarks.scenarios.watches import watched

DISTANCES = {
    "20": Distance(round_trip=0.020, jitter=0.001, loss=0.01),
    "100": Distance(round_trip=0.100, jitter=0.005, loss=0.01),
}
SERVERS, CLIENTS = 3, 3
ROUND_TRIPS = 60  #: for each of what is measured, at least
CHANGES = 20
HEADINGS = {
    "acquire_p50": "acquire p50",
    "acquire_p99": "acquire p99",
    "release_p50": "release p50",
    "gap_p50": "hand-off p50",
    "gap_p99": "hand-off p99",
    "released_p50": "told of a release p50",
}


def measure(bench: Bench, peer: Peer) -> Figures:
    if wanted := missing():
        raise Failed(f"needs {', '.join(wanted)}")
    figures: dict[str, float] = {}
    for key, distance in DISTANCES.items():
        with (
            FarPlaces(SERVERS + CLIENTS, distance) as places,
            bench.fresh(peer, places=places) as cluster,
        ):
            lasts = max(bench.effort.seconds, ROUND_TRIPS * distance.round_trip)
            found = {
                **_pairs(bench, peer, cluster, lasts),
                **_contended(bench, peer, cluster, lasts),
                **_watched(bench, peer, cluster, 4 * distance.round_trip),
            }
        figures.update({f"{name}_{key}": value for name, value in found.items()})
    return figures


def _pairs(bench: Bench, peer: Peer, cluster: Cluster, lasts: float) -> Figures:
    with bench.client(peer, cluster, "pairs", place=SERVERS, warm_up_s=lasts / 10, seconds=lasts) as client:
        client.wait_ready()
        client.tell("go")
        found = result_of(client)
    return {
        **quantiles("acquire", [seconds(ns) for ns in found["acquire"]]),
        **quantiles("release", [seconds(ns) for ns in found["release"]]),
    }


def _contended(bench: Bench, peer: Peer, cluster: Cluster, lasts: float) -> Figures:
    """A client at each of three places, on one lock."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                bench.client(peer, cluster, "contend", place=SERVERS + number, holds=[0.0], seconds=lasts)
            )
            for number in range(CLIENTS)
        ]
        begin, tenures = contend(clients)
    of_all = hand_offs(within(tenures, begin, begin + int(lasts * NS_PER_S)))
    return {**quantiles("gap", of_all.gaps), "overlaps": float(of_all.overlaps)}


def _watched(bench: Bench, peer: Peer, cluster: Cluster, pause_s: float) -> Figures:
    _, left = watched(bench, peer, cluster, CHANGES, pause_s, (SERVERS, SERVERS + 1))
    return {**quantiles("released", left.delays), "missed": float(left.missed)}


def _table(key: str, distance: Distance) -> Table:
    return Table(
        f"A round trip of {distance.round_trip * 1000:.0f} ms between each two machines, "
        f"{distance.jitter * 1000:.0f} ms of jitter each way, {distance.loss * 100:.0f} % of packets lost",
        (
            *(Column(f"{figure}_{key}", heading, "ms") for figure, heading in HEADINGS.items()),
            Column(f"overlaps_{key}", "two holders at once", "whole", compared=False),
        ),
    )


WIDE = Scenario(
    "W",
    "A wide area: three servers and three clients, far apart",
    tuple(_table(key, distance) for key, distance in DISTANCES.items()),
    measure,
)
