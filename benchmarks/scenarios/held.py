"""F: many leases held by one client."""

from __future__ import annotations

import time

from benchmarks.bench import Bench
from benchmarks.figures import Figures
from benchmarks.machine import cpu_of, pss_of
from benchmarks.peers.base import Peer
from benchmarks.scenarios.base import Scenario, Table, columns

TAKING_PATIENCE_S = 200.0
EVERY_ROUND_MAX = 1_000  #: more leases than that are held in the first round only: taking them is slow
SETTLE_S = 0.5


def measure(bench: Bench, peer: Peer) -> Figures:
    """The servers with none, then with more and more leases held by the same client."""
    effort = bench.effort
    with bench.fresh(peer) as cluster, bench.client(peer, cluster, "hold", prefix="held") as client:
        client.wait_ready()
        client.tell("go")
        time.sleep(SETTLE_S)
        idle_memory = pss_of(cluster.pids)
        figures = {"memory_0": float(idle_memory), "cores_0": _cores(cluster.pids, effort.idle_s)}
        for count in effort.leases:
            if count > peer.leases_max or (count > EVERY_ROUND_MAX and bench.round > 1):
                continue
            client.tell(str(count))
            client.hear(TAKING_PATIENCE_S)
            time.sleep(SETTLE_S)
            cores = _cores(cluster.pids, effort.held_s)
            memory = pss_of(cluster.pids)
            client.tell("count")
            held = client.hear(TAKING_PATIENCE_S)["held"]
            figures |= {
                f"cores_{count}": cores,
                f"memory_{count}": float(memory),
                f"per_lease_{count}": (memory - idle_memory) / count / peer.servers,
                f"lost_{count}": float(count - held),
            }
    return figures


def _cores(pids: list[int], duration_s: float) -> float:
    before, begin = cpu_of(pids), time.monotonic()
    time.sleep(duration_s)
    return (cpu_of(pids) - before) / (time.monotonic() - begin)


HELD = Scenario(
    "F",
    "Leases held by one client; ttl 10 s, kept alive as each peer does it; 10,000 in the first round only",
    (
        Table(
            "CPU of the servers together",
            columns("cores", cores_0="none held", cores_1000="1,000", cores_10000="10,000"),
        ),
        Table(
            "Memory (PSS) of the servers together, and for one more lease on one node",
            (
                *columns("MiB", memory_0="none held", memory_1000="1,000", memory_10000="10,000"),
                *columns("B", per_lease_1000="a lease of 1,000", per_lease_10000="a lease of 10,000"),
                *columns("whole", compared=False, lost_1000="lost of 1,000", lost_10000="lost of 10,000"),
            ),
        ),
    ),
    measure,
)
