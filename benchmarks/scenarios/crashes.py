"""D: the holder is killed. E: a server is killed while a steady client works."""

from __future__ import annotations

import random
import time
from contextlib import ExitStack

from benchmarks.bench import Bench, result_of
from benchmarks.figures import Figures, longest_gap, seconds
from benchmarks.peers.base import Peer
from benchmarks.scenarios.base import Column, Scenario, Table, columns

HOLDER_TTL_S = 2.0
KILL_AT = 0.3  #: of the steady client's time
RECORD_PATIENCE_S = 30.0
NS_PER_S = 1_000_000_000


def measure_dead_holder(bench: Bench, peer: Peer) -> Figures:
    """Several holders, each in a process of its own, are killed at different moments of their renewals."""
    names = [f"dead{number}-0" for number in range(bench.effort.holders)]
    with bench.fresh(peer, HOLDER_TTL_S) as cluster, ExitStack() as stack:
        holders = [
            stack.enter_context(
                bench.client(peer, cluster, "hold", HOLDER_TTL_S, prefix=name.removesuffix("0"))
            )
            for name in names
        ]
        for holder in holders:
            holder.wait_ready()
            holder.tell("go")
            holder.tell("1")
            holder.hear(RECORD_PATIENCE_S)
        waiter = stack.enter_context(bench.client(peer, cluster, "succeed", HOLDER_TTL_S, names=names))
        waiter.wait_ready()
        waiter.tell("go")
        waiter.hear(RECORD_PATIENCE_S)
        killed = {}
        for holder, name in zip(holders, names, strict=True):
            time.sleep(random.uniform(0, HOLDER_TTL_S / 3))
            killed[name] = holder.kill()
        acquired = result_of(waiter)["acquired"]
    waits = [seconds(acquired[name] - moment) for name, moment in killed.items()]
    return {"shortest": min(waits), "longest": max(waits)}


def measure_dead_server(bench: Bench, peer: Peer) -> Figures:
    with (
        bench.fresh(peer) as cluster,
        bench.client(peer, cluster, "steady", seconds=bench.effort.steady_s) as client,
    ):
        client.wait_ready()
        begin = time.monotonic_ns()
        client.tell("go")
        time.sleep(bench.effort.steady_s * KILL_AT)
        killed = cluster.kill_victim()
        found = result_of(client)
    successes = found["successes"]
    end = max(begin + int(bench.effort.steady_s * NS_PER_S), successes[-1])
    return {
        "before": longest_gap(successes, successes[0], killed),
        "gap": longest_gap(successes, killed, end),
        "failed": float(len(found["failures"])),
    }


DEAD_HOLDER = Scenario(
    "D",
    "The holder is killed; ttl 2 s",
    (
        Table(
            "From the kill until a waiter holds the lock (ZooKeeper: its shortest session is 4 s)",
            columns("ms", shortest="shortest", longest="longest"),
        ),
    ),
    measure_dead_holder,
)

DEAD_SERVER = Scenario(
    "E",
    "A server is killed under traffic: the leader, where there is one",
    (
        Table(
            "A client that acquires and releases one name without a pause",
            (
                *columns("ms", before="longest gap before the kill", gap="longest gap after it"),
                Column("failed", "failed calls", "whole", compared=False),
            ),
        ),
    ),
    measure_dead_server,
)
