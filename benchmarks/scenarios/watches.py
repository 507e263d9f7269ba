"""G: how long a change takes to reach a watcher in another process."""

from __future__ import annotations

from benchmarks.bench import Bench, result_of
from benchmarks.figures import Figures, Told, quantiles, told
from benchmarks.peers.base import Cluster, Peer
from benchmarks.scenarios.base import Column, Scenario, Table, columns

PAUSE_S = 0.01


def measure(bench: Bench, peer: Peer) -> Figures:
    with bench.shared(peer) as cluster:
        taken, left = watched(bench, peer, cluster, bench.effort.changes, PAUSE_S)
    return {
        **quantiles("acquired", taken.delays),
        **quantiles("released", left.delays),
        "missed": float(taken.missed + left.missed),
    }


def watched(
    bench: Bench, peer: Peer, cluster: Cluster, count: int, pause_s: float, places: tuple[int, int] = (0, 0)
) -> tuple[Told, Told]:
    """One client changes a name so often, another watches it, each at its place: what it was told of what
    was acquired, and of what was released.
    """
    at, other = places
    with (
        bench.client(peer, cluster, "watch", place=at) as watcher,
        bench.client(peer, cluster, "change", place=other, count=count, pause_s=pause_s) as changer,
    ):
        watcher.wait_ready()
        changer.wait_ready()
        changer.tell("go")
        changes = [(moment, led) for moment, led in result_of(changer)["changes"]]
        watcher.tell("go")
        watcher.tell("stop")
        heard = [(moment, led) for moment, led in result_of(watcher)["heard"]]
    return told(changes, heard, led=True), told(changes, heard, led=False)


WATCHES = Scenario(
    "G",
    "A watcher in another process is told of a change",
    (
        Table(
            "After acquire returned (negative: before that), and after the call to release",
            (
                *columns("us", compared=False, acquired_p50="acquired p50", acquired_p99="acquired p99"),
                *columns("us", released_p50="released p50", released_p99="released p99"),
                Column("missed", "never told", "whole", compared=False),
            ),
        ),
    ),
    measure,
)
