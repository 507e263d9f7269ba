"""C: eight client processes on one lock."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.bench import RESULT_PATIENCE_S, Bench
from benchmarks.figures import Figures, Tenure, evenness, hand_offs, quantiles, within
from benchmarks.peers.base import Peer
from benchmarks.processes import Client
from benchmarks.scenarios.base import Column, Scenario, Table

HOLDS = (("0", 0.0, "nothing"), ("1", 0.001, "1 ms"))
BEGIN_AFTER_S = 0.2
NS_PER_S = 1_000_000_000


def measure(bench: Bench, peer: Peer) -> Figures:
    """The clients are started once, and told the moment at which they all begin."""
    effort = bench.effort
    figures: dict[str, float] = {}
    with bench.shared(peer) as cluster, ExitStack() as stack:
        holds = [hold_s for _, hold_s, _ in HOLDS]
        clients = [
            stack.enter_context(bench.client(peer, cluster, "contend", holds=holds, seconds=effort.seconds))
            for _ in range(effort.clients)
        ]
        for key, _, _ in HOLDS:
            begin, tenures = contend(clients)
            end = begin + int(effort.seconds * NS_PER_S)
            for name, value in judged(tenures, effort.clients, begin, end).items():
                figures[f"{name}_{key}"] = value
    return figures


def contend(clients: Sequence[Client]) -> tuple[int, list[Tenure]]:
    """Have these contend, all from one moment on: the moment, and every tenure."""
    for client in clients:
        client.wait_ready()
    begin = time.monotonic_ns() + int(BEGIN_AFTER_S * NS_PER_S)
    for client in clients:
        client.tell(str(begin))
    found = [client.hear(RESULT_PATIENCE_S)["tenures"] for client in clients]
    return begin, [Tenure(number, *tenure) for number, of in enumerate(found) for tenure in of]


def judged(tenures: Sequence[Tenure], clients: int, begin: int, end: int) -> Figures:
    """The figures of one lock. The first hand-offs are left out: all ask at the same moment, and the order
    of those means nothing.
    """
    first = sorted(tenure.held for tenure in tenures)[: clients + 1]
    counted = within(tenures, first[-1] if first else begin, end)
    found = hand_offs(counted)
    return {
        "per_s": found.per_s,
        **quantiles("gap", found.gaps),
        "longest_waiter": found.longest_waiter_share,
        "evenness": evenness(counted, clients),
        "overlaps": float(found.overlaps),
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
