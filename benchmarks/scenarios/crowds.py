"""K: a crowd that waits for one lock, or watches it, while nothing happens."""

from __future__ import annotations

from benchmarks.bench import Bench
from benchmarks.figures import Figures, divided, seconds
from benchmarks.peers.base import Peer
from benchmarks.places import Alone, missing
from benchmarks.processes import Failed
from benchmarks.scenarios.base import Column, Scenario, Table

KINDS = {"waiter": False, "watcher": True}  #: and whether they watch
SETTLE_S = 10.0  #: all have asked by then, and nothing is repeated any more because of that


def measure(bench: Bench, peer: Peer) -> Figures:
    if wanted := missing():
        raise Failed(f"needs {', '.join(wanted)}")
    figures: dict[str, float] = {}
    count, lasts = bench.effort.crowd, bench.effort.crowd_s
    for kind, watching in KINDS.items():
        with Alone() as places, bench.fresh(peer, places=places) as cluster:
            found = bench.one_client(
                peer, cluster, "crowd", count=count, watching=watching, settle_s=SETTLE_S, seconds=lasts
            )
        took = seconds(found["elapsed"])
        figures[f"packets_{kind}"] = divided(found["packets"], took * count)
        figures[f"servers_{kind}"] = divided(found["servers_cpu"], took)
        figures[f"client_{kind}"] = divided(found["client_cpu"], took)
    return figures


CROWDS = Scenario(
    "K",
    "A crowd of 1,000 clients, one lock that is held, and nothing happens",
    tuple(
        Table(
            f"Each a {kind}: packets/s that are sent for one, and cores for all",
            (
                Column(f"packets_{kind}", "packets/s", "rate"),
                Column(f"servers_{kind}", "servers", "cores"),
                Column(f"client_{kind}", "their process", "cores"),
            ),
        )
        for kind in KINDS
    ),
    measure,
)
