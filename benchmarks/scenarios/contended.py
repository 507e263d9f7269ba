"""C: eight client processes on one lock."""

from __future__ import annotations

import time
from contextlib import ExitStack

from benchmarks.bench import Bench, result_of
from benchmarks.figures import Figures, Tenure, evenness, hand_offs, percentile, within
from benchmarks.peers.base import Cluster, Peer
from benchmarks.scenarios.base import Column, Scenario, Table

HOLDS = (("0", 0.0, "nothing"), ("1", 0.001, "1 ms"))
BEGIN_AFTER_S = 0.2
NS_PER_S = 1_000_000_000


def measure(bench: Bench, peer: Peer) -> Figures:
    figures: dict[str, float] = {}
    with bench.shared(peer) as cluster:
        for key, hold_s, _ in HOLDS:
            for name, value in _one_lock(bench, peer, cluster, hold_s).items():
                figures[f"{name}_{key}"] = value
    return figures


def _one_lock(bench: Bench, peer: Peer, cluster: Cluster, hold_s: float) -> Figures:
    effort = bench.effort
    with ExitStack() as stack:
        clients = [
            stack.enter_context(bench.client(peer, cluster, "contend", hold_s=hold_s, seconds=effort.seconds))
            for _ in range(effort.clients)
        ]
        for client in clients:
            client.wait_ready()
        begin = time.monotonic_ns() + int(BEGIN_AFTER_S * NS_PER_S)
        for client in clients:
            client.tell(str(begin))
        found = [result_of(client)["tenures"] for client in clients]
    tenures = [Tenure(number, *tenure) for number, of in enumerate(found) for tenure in of]
    # The first hand-offs are left out: all ask in the same moment, and their order means nothing.
    first = sorted(tenure.held for tenure in tenures)[: effort.clients + 1]
    counted = within(tenures, first[-1] if first else begin, begin + int(effort.seconds * NS_PER_S))
    found_of = hand_offs(counted)
    return {
        "per_s": found_of.per_s,
        "gap_p50": percentile(found_of.gaps, 50),
        "gap_p99": percentile(found_of.gaps, 99),
        "longest_waiter": found_of.longest_waiter_share,
        "evenness": evenness(counted, effort.clients),
        "overlaps": float(found_of.overlaps),
    }


CONTENDED = Scenario(
    "C",
    "Eight client processes on one lock",
    tuple(
        Table(
            f"Held for {words}",
            (
                Column(f"per_s_{key}", "hand-offs/s", "count"),
                Column(f"gap_p50_{key}", "gap p50", "us"),
                Column(f"gap_p99_{key}", "gap p99", "us"),
                Column(f"longest_waiter_{key}", "to the longest waiter", "percent", compared=False),
                Column(f"evenness_{key}", "most : fewest of a client", "ratio", compared=False),
                Column(f"overlaps_{key}", "two holders at once", "whole", compared=False),
            ),
        )
        for key, _, words in HOLDS
    ),
    measure,
)
