"""A: one client, pairs in sequence, beside the floor. B: many workers in one process."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.bench import TTL_S, Bench, result_of
from benchmarks.figures import Figures, divided, percentile, quantiles, seconds
from benchmarks.floor import EchoCluster
from benchmarks.peers.base import Peer
from benchmarks.processes import Client
from benchmarks.scenarios.base import Column, Scenario, Table, columns

FLOOR = "floor"


def measure_pairs(bench: Bench, peer: Peer) -> Figures:
    effort = bench.effort
    with bench.shared(peer) as cluster:
        found = bench.one_client(peer, cluster, "pairs", warm_up_s=effort.warm_up_s, seconds=effort.seconds)
    acquire, release = ([seconds(ns) for ns in found[verb]] for verb in ("acquire", "release"))
    both = [a + b for a, b in zip(acquire, release, strict=True)]
    return {
        **quantiles("acquire", acquire),
        **quantiles("release", release),
        "pair_p50": percentile(both, 50),
        "per_s": divided(len(both), seconds(found["elapsed"])),
        **_cpu_of_each(found, len(both)),
    }


def measure_floor(bench: Bench) -> Figures:
    """The bare quorum round trip."""
    effort = bench.effort
    cluster = EchoCluster(bench.new_folder(FLOOR), TTL_S)
    try:
        cluster.start()
        specification = {
            "connection": cluster.connection(),
            "servers": cluster.pids,
            "arguments": {"warm_up_s": effort.warm_up_s, "seconds": effort.seconds},
        }
        with Client(specification, cluster.folder / "clients.log", module="benchmarks.floor") as client:
            client.wait_ready()
            client.tell("go")
            found = result_of(client)
    finally:
        cluster.stop()
    took = [seconds(ns) for ns in found["took"]]
    return {**quantiles("acquire", took), **_cpu_of_each(found, len(took))}


def _cpu_of_each(found: Mapping[str, float], count: int) -> Figures:
    return {key: divided(found[key], count) for key in ("client_cpu", "servers_cpu")}


def measure_workers(bench: Bench, peer: Peer) -> Figures:
    effort = bench.effort
    with bench.shared(peer) if peer.reusable else bench.fresh(peer) as cluster:
        found = bench.one_client(
            peer,
            cluster,
            "workers",
            workers=effort.workers,
            warm_up_s=effort.warm_up_s / 2,
            seconds=effort.seconds,
        )
    return {key: value for count in effort.workers for key, value in _of_workers(count, found).items()}


def _of_workers(count: int, found: Mapping[str, Mapping[str, float]]) -> Figures:
    of = found[str(count)]
    return {
        f"per_s_{count}": divided(of["pairs"], seconds(of["elapsed"])),
        f"cpu_{count}": divided(of["client_cpu"] + of["servers_cpu"], of["pairs"]),
        f"failed_{count}": of["failed"],
    }


PAIRS = Scenario(
    "A",
    "One client, acquire and release in sequence",
    (
        Table(
            "Time",
            (
                *columns(
                    "us",
                    acquire_p50="acquire p50",
                    acquire_p99="acquire p99",
                    release_p50="release p50",
                    release_p99="release p99",
                    pair_p50="pair p50",
                ),
                Column("per_s", "pairs/s", "count"),
            ),
        ),
        Table(
            "CPU for a pair (of the floor: for a round trip)",
            columns("us", client_cpu="client", servers_cpu="servers together"),
        ),
    ),
    measure_pairs,
    ((FLOOR, measure_floor),),
)

WORKERS = Scenario(
    "B",
    "Many workers in one client process, each with a name of its own",
    (
        Table(
            "Pairs/s, and calls that failed",
            (
                *(Column(f"per_s_{n}", f"{n} workers", "count") for n in (1, 8, 64)),
                Column("failed_64", "failed, 64 workers", "whole", compared=False),
            ),
        ),
        Table(
            "CPU for a pair, client and servers together",
            tuple(Column(f"cpu_{n}", f"{n} workers", "us") for n in (1, 8, 64)),
        ),
    ),
    measure_workers,
)
