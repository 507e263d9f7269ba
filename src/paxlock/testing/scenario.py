"""What a simulated run is made of: every figure is drawn from the seed, or given by the caller."""

from __future__ import annotations

from random import Random

import attrs

from paxlock.core.durable import Durability

__all__ = ["Scenario"]

DRIFT_PPM = 10_000
GRACE_MS = 10
GRACE_ROUND_TRIPS = 4  #: section 5: a shorter grace costs progress


@attrs.frozen
class Scenario:
    """The rates of one run. Times are true seconds unless a name says otherwise; rates are per second.

    ``drawn`` makes one from a seed; ``attrs.evolve`` changes single figures, as planted bugs do.
    """

    nodes: int = 3
    clients: int = 3
    names: int = 1
    max_ttl_ms: int = 400
    ttl_min_ms: int = 200
    ttls: int = 2  #: from how many different ttls campaigns choose
    drift_ppm: int = DRIFT_PPM
    grace_ms: int = GRACE_MS
    durability: Durability = Durability.RECORD
    faulty_for: float = 1.0  #: how long faults go on, before everything heals
    handoff_max: float = 0.5  #: the longest gap between holders allowed once all is well: a whole back-off
    #: the network
    loss: float = 0.0
    repeated: float = 0.0
    delay_min: float = 0.0002
    delay_max: float = 0.001
    late: float = 0.0  #: the share of datagrams that come late
    late_max: float = 0.1
    #: the machines
    persist_min: float = 0.0005
    persist_max: float = 0.004
    crashes: float = 0.0
    clean_stops: float = 0.0
    disk_losses: float = 0.0
    node_pauses: float = 0.0
    client_crashes: float = 0.0
    client_pauses: float = 0.0
    partitions: float = 0.0
    away_max: float = 0.3  #: how long a machine is down or paused, or a network split, at most
    #: the clients
    think: float = 0.05  #: between a client's wishes, on average
    wishes_max: int = 2  #: per client, at a time
    hold_max: float = 0.1
    hold_for_ever: float = 0.05  #: the share of tenures that are held until a fault or the end of faults
    once: float = 0.1
    limited: float = 0.2
    cancelled: float = 0.1
    detached: float = 0.05
    polls: float = 0.05
    watchers: int = 1
    attempts_per_renew: int = 100
    ceiling_step: int = 1000  #: small ones make the durable ceiling matter

    @property
    def drift(self) -> float:
        return self.drift_ppm / 1e6

    @property
    def max_ttl(self) -> float:
        return self.max_ttl_ms / 1000.0

    @classmethod
    def drawn(cls, seed: int, nodes: int | None = None) -> Scenario:
        """The scenario of a seed; the same seed gives the same scenario for ever."""
        rng = Random(f"scenario {seed}")
        some = _Some(rng)
        max_ttl_ms = rng.choice((250, 300, 400, 700))
        delay_max = rng.choice((0.0008, 0.002, 0.006))
        return cls(
            nodes=nodes if nodes is not None else rng.choices((1, 3, 5), (1, 8, 3))[0],
            clients=rng.randint(2, 4) if rng.random() < 0.9 else 5,
            names=rng.choices((1, 2, 3), (5, 2, 1))[0],
            max_ttl_ms=max_ttl_ms,
            ttls=rng.randint(1, 3),
            durability=Durability.MEMORY if rng.random() < 0.1 else Durability.RECORD,
            faulty_for=rng.uniform(0.2, 0.8),
            loss=some.of(0.5, 0.02, 0.3),
            repeated=some.of(0.5, 0.02, 0.3),
            delay_max=delay_max,
            grace_ms=max(GRACE_MS, round(GRACE_ROUND_TRIPS * 2.0 * delay_max * 1000.0)),
            late=some.of(0.5, 0.005, 0.1),
            late_max=rng.choice((0.03, 0.2, 1.0)),
            persist_max=rng.choice((0.002, 0.01, 0.1)),
            crashes=some.of(0.5, 0.5, 5.0),
            clean_stops=some.of(0.4, 0.5, 5.0),
            disk_losses=some.of(0.2, 0.3, 2.0),
            node_pauses=some.of(0.4, 0.5, 5.0),
            client_crashes=some.of(0.4, 0.5, 5.0),
            client_pauses=some.of(0.4, 0.5, 6.0),
            partitions=some.of(0.4, 0.5, 5.0),
            away_max=rng.choice((0.03, 0.2, 0.6)),
            think=rng.choice((0.02, 0.08, 0.2)),
            wishes_max=rng.randint(1, 3),
            hold_max=rng.choice((0.01, 0.1, 0.5)),
            hold_for_ever=some.of(0.5, 0.02, 0.3),
            once=some.of(0.4, 0.05, 0.5),
            limited=some.of(0.4, 0.05, 0.5),
            cancelled=some.of(0.5, 0.05, 0.5),
            detached=some.of(0.3, 0.05, 0.4),
            polls=some.of(0.4, 0.05, 0.3),
            watchers=rng.randint(0, 2),
            attempts_per_renew=rng.choice((1, 2, 100)),
            ceiling_step=rng.choice((4, 20, 1000)),
        )


class _Some:
    """A figure that is often nothing at all: runs without a kind of fault show other bugs."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def of(self, share: float, low: float, high: float) -> float:
        return self._rng.uniform(low, high) if self._rng.random() < share else 0.0
