"""What a simulated run is made of: every figure is drawn from the seed, or given by the caller."""

from __future__ import annotations

from math import ceil
from random import Random
from typing import Any

import attrs

from paxlock.core.durable import Durability
from paxlock.core.lease import quarantine
from paxlock.core.node import forgetting as forgetting
from paxlock.core.node.line import lapses_after
from paxlock.core.node.starts import CLOCK_EXTRA_S
from paxlock.core.session import pacing

__all__ = ["BACK_OFF_S", "LAPSE_S", "START_S", "Scenario"]

START_S = 0.05  #: how long the cell has to form before the time of faults is counted
#: A candidate that heard of no quorum repeats itself as late as this, and is in no line until then.
BACK_OFF_S = pacing.RETRY_MAX_S
#: What dead candidates may cost: places in the line that lapse, the graces of promises, one after another.
LAPSE_S = 0.3
HANDOFF_MAX_S = BACK_OFF_S + LAPSE_S
#: A round that cannot succeed is given up only when silent nodes have had so long to answer.
SILENCE_GRACES = pacing.PATIENCE_WINDOWS
LAPSED_WINDOWS = 10.0
DRIFT_PPM = 10_000
GRACE_MS = 10
GRACE_ROUND_TRIPS = 4  #: section 5: a shorter grace costs progress
CROWDS = 0.04  #: the share of runs with many clients, and of those with many names
BURSTS = 0.02  #: the share of runs in which one client wants very many names at one moment
KILLED, KILLS_MAX = 0.4, 8.0  #: the share of such runs, and how often in a second
AUTO = 0.15  #: the share of runs in which every node starts by itself
GONE = 0.5  #: of those with enough nodes, the share in which members are gone for good
GONE_NODES_MIN = 5  #: of three none can be waived
FAR = 0.25  #: the share of runs in which some links take longer than others
FAR_MAX_S = 0.03
ROTATED = 0.2  #: the share of runs in which the root key of the cell is changed
ROTATION_PARTS = 8  #: of each change, that all machines go through before the next one begins
#: The share of runs whose round trips are longer than the grace, up to so many graces.
SLOW = 0.1
SLOW_GRACES_MAX = 4.0
SLOW_JITTER = 3.0  #: there the longest delay is so many times the shortest
THRIFTY, RECKLESS = 0.5, 0.9  #: the share of runs in which a quorum is asked first, and of these, everywhere
RESTING = 0.25  #: the share of runs in which lines and watches come to rest
RESTS = 0.02, 0.2
RESTS_ROUND_TRIPS = 4.0
TTL_ROUND_TRIPS = 8  #: a shorter ttl cannot be renewed in time where a single answer is lost
LONG_AWAY_TTLS = 1.5  #: how long, in max_ttl, an absence lasts at most that is measured by it
TAIL_MAX_S = 1.5  #: how late a datagram of the heavy tail is at most
TOMBSTONE_MIN_S = 0.2  #: how much longer than the latest datagram a short tombstone stands


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
    handoff_max: float = HANDOFF_MAX_S  #: the longest gap between holders allowed once all is well
    #: the network
    loss: float = 0.0
    repeated: float = 0.0
    delay_min: float = 0.0002
    delay_max: float = 0.001
    far_node: float = 0.0  #: how much longer each way to and from one of the nodes takes
    far_client: float = 0.0  #: the same of one of the clients
    uneven: float = 0.0  #: how much longer each way of each pair of machines takes, at most
    late: float = 0.0  #: the share of datagrams that come late
    late_max: float = 0.1
    heavy_tail: float = 0.0  #: the share of datagrams whose delay has a heavy tail
    reordered: float = 0.0  #: the share of datagrams that wait for a few later ones
    damaged: float = 0.0  #: the share of datagrams that arrive with a flipped bit, or cut off
    sealed: bool = True
    #: the machines
    persist_min: float = 0.0005
    persist_max: float = 0.004
    crashes: float = 0.0
    kills: float = 0.0
    clean_stops: float = 0.0
    disk_losses: float = 0.0
    auto: bool = (
        False  #: every node starts by itself, at the first start too; then several may lose their disks
    )
    wipes: float = 0.0  #: all nodes lose their disks at one moment
    gone: float = 0.0  #: a member is gone for good, and comes back; who starts meanwhile is told so
    disk_failures: float = 0.0
    slow_disks: float = 0.0
    node_pauses: float = 0.0
    node_suspends: float = 0.0
    client_crashes: float = 0.0
    client_pauses: float = 0.0
    client_suspends: float = 0.0
    client_stalls: float = 0.0
    forks: float = 0.0
    wills: float = 0.0  #: the share of clients that leave a last will
    daemons: float = 0.0
    partitions: float = 0.0
    one_way_splits: float = 0.0
    broken_links: float = 0.0
    holders_cut_off: float = 0.0
    twins: float = 0.0  #: a node joins elsewhere while its old process lives on
    echoes: float = 0.0  #: what nodes sent to each other in lives that are over arrives once more
    left_out: int = 0  #: how many nodes, less than a quorum, the heal leaves out
    away_max: float = 0.3  #: how long a machine is down or paused, or a network split, at most
    #: the keys
    rotations: int = 0  #: how often the root key is changed for another one
    rotation_step: float = 0.03  #: how long a step of that takes at most, on all machines together
    key_look: float = 0.1  #: how often a client looks at its key file, by its own clock
    #: the clients
    think: float = 0.05  #: between a client's wishes, on average
    wishes_max: int = 2  #: per client, at a time
    hold_max: float = 0.1
    hold_for_ever: float = 0.05  #: the share of tenures that are held until a fault or the end of faults
    once: float = 0.1
    limited: float = 0.2
    cancelled: float = 0.1
    detached: float = 0.05
    at_once: float = 0.0  #: the share of grants and losses to which the program does something at once
    released_elsewhere: float = 0.0  #: the share of tenures that somebody else ends by the handle
    revokes: float = 0.0  #: the share of tenures that somebody revokes
    insiders: float = 0.0  #: how often somebody makes up a handle
    publishes: float = 0.0  #: the share of tenures with other data from time to time
    polls: float = 0.05
    burst: int = 0  #: how many further names one client wants at one moment
    watchers: int = 1
    attempts_per_renew: int = 100
    ceiling_step: int = 1000  #: small ones make the durable ceiling matter
    line_max: int = 1024
    attempts_per_answer: int = 40
    sessions_spare: int = 65_536  #: how many sessions a node's endpoint remembers beyond those that live
    short_tombstones: bool = False  #: so that they end, and names are forgotten, within the run
    thrifty: bool = False  #: sessions may ask a quorum first
    reckless: bool = False  #: and do so however far its nodes are, and however often the rest must be asked
    near_places: int = pacing.NEAR_PLACES  #: so many at the front of a line ask as often as the head
    rests: float = (
        1.0  #: the seconds between rare refreshes, in line and of watches, as parts of the shipped ones
    )

    @property
    def drift(self) -> float:
        return self.drift_ppm / 1e6

    @property
    def max_ttl(self) -> float:
        return self.max_ttl_ms / 1000.0

    @property
    def farther(self) -> float:
        """How much longer than another a datagram may take because of where it comes from and goes to."""
        return self.far_node + self.far_client + self.uneven

    @property
    def round_trip(self) -> float:
        """The longest round trip of a datagram that is not late, and of its answer."""
        return 2.0 * (self.delay_max + self.farther)

    @property
    def window(self) -> float:
        """How long the longest of the windows may be by which promises lapse and candidates are patient: the
        grace, or the round trips that a grace is to span.
        """
        return max(self.grace_ms / 1000.0, GRACE_ROUND_TRIPS * self.round_trip)

    @property
    def sits_out(self) -> float:
        """How long a node without memory sits out, once enough others have noted it."""
        extra = CLOCK_EXTRA_S if self.auto or self.durability is Durability.MEMORY else 0.0
        return quarantine(self.max_ttl, self.drift) + extra

    @property
    def silence(self) -> float:
        """What nodes that are left out of the heal may cost, on top of what follows."""
        return SILENCE_GRACES * self.window if self.left_out else 0.0

    @property
    def lapses(self) -> float:
        """What a window above the usual grace costs, on top of LAPSE_S: promises lapse by it, and who
        withdraws pauses by it (L2).
        """
        return LAPSED_WINDOWS * max(0.0, self.window - GRACE_MS / 1000.0)

    @property
    def far_places(self) -> float:
        """For how long candidates that have died far back in line may stand in the way, one after another."""
        if self.near_places == pacing.NEAR_PLACES:
            return 0.0
        rarest = min(
            self.rests * pacing.FAR_REFRESH_MAX_S, self.clients * self.max_ttl / pacing.REFRESH_DIVISOR
        )
        return lapses_after(rarest)

    @property
    def next_max(self) -> float:
        """How long a name with waiters may be without a holder between two, once all is well."""
        return self.handoff_max + self.lapses + self.silence + self.far_places

    @property
    def served_max(self) -> float:
        """How long after the heal a name with waiters may be blocked: one ttl, by the lease of a dead holder
        or by a node that sits out, or as long as everybody backs off; and what dead candidates cost.
        """
        blocked = max(quarantine(self.max_ttl, self.drift), BACK_OFF_S)
        return blocked + LAPSE_S + self.lapses + self.silence + self.far_places

    @property
    def rotated_within(self) -> float:
        """How long the changes of the root key take at most, where no machine is paused."""
        look = self.key_look / (1.0 - self.drift)
        return self.rotations * (ROTATION_PARTS * self.rotation_step + look)

    @property
    def lateness_max(self) -> float:
        """How long after its sending a datagram may at most be looked at, through a paused machine too."""
        network = (
            self.delay_max + self.farther + 2.0 * self.late_max + (TAIL_MAX_S if self.heavy_tail else 0.0)
        )
        return network + max(self.away_max, LONG_AWAY_TTLS * self.max_ttl)

    @property
    def tombstone(self) -> float:
        """How long tombstones stand: longer than any datagram that they are against may be on its way."""
        return TOMBSTONE_MIN_S + self.lateness_max if self.short_tombstones else forgetting.TOMBSTONE_S

    @classmethod
    def drawn(cls, seed: int, nodes: int | None = None, *, near: bool = False) -> Scenario:
        """The scenario of a seed; the same seed gives the same scenario for ever.

        With ``near`` all links are of one length, and nobody wants many names at once: for those who give
        figures of their own, which must go together with the round trip.
        """
        rng = Random(f"scenario {seed}")
        some = _Some(rng)
        max_ttl_ms = rng.choice((250, 300, 400, 700))
        delay_max = rng.choice((0.0008, 0.002, 0.006))
        nodes = nodes if nodes is not None else rng.choices((1, 3, 5), (1, 8, 3))[0]
        drawn = cls(
            nodes=nodes,
            clients=rng.randint(10, 15) if rng.random() < CROWDS else rng.randint(2, 5),
            names=rng.randint(10, 30) if rng.random() < CROWDS else rng.choices((1, 2, 3), (5, 2, 1))[0],
            max_ttl_ms=max_ttl_ms,
            ttls=rng.randint(1, 3),
            durability=_durability(rng.random()),
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
        drawn = _with_what_is_rare(drawn, rng, some)
        return drawn if near else _varied(seed, drawn)


def _with_what_is_rare(drawn: Scenario, rng: Random, some: _Some) -> Scenario:
    """The rarer faults, and limits that are nearly always too wide to matter."""
    return attrs.evolve(
        drawn,
        heavy_tail=some.of(0.2, 0.005, 0.05),
        reordered=some.of(0.3, 0.02, 0.3),
        damaged=some.of(0.3, 0.005, 0.05),
        disk_failures=some.of(0.2, 0.5, 4.0),
        slow_disks=some.of(0.2, 0.5, 4.0),
        node_suspends=some.of(0.2, 0.5, 4.0),
        client_suspends=some.of(0.2, 0.5, 5.0),
        forks=some.of(0.15, 0.5, 4.0),
        one_way_splits=some.of(0.2, 0.5, 4.0),
        broken_links=some.of(0.2, 0.5, 4.0),
        holders_cut_off=some.of(0.2, 0.5, 4.0),
        left_out=rng.randint(1, drawn.nodes // 2) if drawn.nodes > 1 and rng.random() < 0.25 else 0,
        line_max=rng.choice((1, 2, 4)) if rng.random() < 0.1 else 1024,
        short_tombstones=rng.random() < 0.3,
        attempts_per_answer=1 if rng.random() < 0.1 else 40,
        sessions_spare=rng.randint(0, 2) if rng.random() < 0.1 else 65_536,
        client_stalls=some.of(0.3, 0.5, 8.0),
        at_once=some.of(0.5, 0.05, 0.5),
        released_elsewhere=some.of(0.2, 0.05, 0.4),
        twins=some.of(0.1, 0.5, 3.0),
        echoes=some.of(0.2, 2.0, 20.0),
    )


def _varied(seed: int, drawn: Scenario) -> Scenario:
    """What only some runs have, each drawn by itself."""
    drawn = _betrayed(seed, drawn)
    for vary in (
        _with_wills,
        _administered,
        _killed,
        _many,
        _far,
        _slow,
        _auto,
        _resting,
        _rotated,
        _thrifty,
    ):
        drawn = vary(seed, drawn)
    return drawn


def _killed(seed: int, drawn: Scenario) -> Scenario:
    """In some runs processes of nodes are killed, and their machines go on."""
    rng = Random(f"kills {seed}")
    return attrs.evolve(drawn, kills=rng.uniform(0.5, KILLS_MAX)) if rng.random() < KILLED else drawn


def _with_wills(seed: int, drawn: Scenario) -> Scenario:
    """In some runs clients leave a last will."""
    some = _Some(Random(f"wills {seed}"))
    return attrs.evolve(drawn, wills=some.of(0.3, 0.3, 1.0), daemons=some.of(0.3, 0.5, 5.0))


def _administered(seed: int, drawn: Scenario) -> Scenario:
    """In some runs tenures are revoked, or have other data."""
    some = _Some(Random(f"administered {seed}"))
    return attrs.evolve(drawn, revokes=some.of(0.3, 0.1, 0.6), publishes=some.of(0.3, 0.2, 1.0))


def _betrayed(seed: int, drawn: Scenario) -> Scenario:
    """In some runs clients make up handles."""
    return attrs.evolve(drawn, insiders=_Some(Random(f"insiders {seed}")).of(0.3, 2.0, 60.0))


def _rotated(seed: int, drawn: Scenario) -> Scenario:
    """In some runs the root key is changed, most of it while things go wrong."""
    rng = Random(f"keys change {seed}")
    if rng.random() >= ROTATED:
        return drawn
    rotated = attrs.evolve(
        drawn,
        rotations=rng.choice((1, 1, 2)),
        rotation_step=rng.choice((0.005, 0.03, 0.1)),
        key_look=rng.choice((0.02, 0.1, 0.5)),
    )
    return attrs.evolve(rotated, faulty_for=drawn.faulty_for + rng.random() * rotated.rotated_within)


def _durability(drawn: float) -> Durability:
    """Every tenth cell has no disks, every tenth syncs them."""
    return Durability.MEMORY if drawn < 0.1 else Durability.SYNC if drawn < 0.2 else Durability.RECORD


def _thrifty(seed: int, drawn: Scenario) -> Scenario:
    """In half of the runs a quorum is asked first; in nearly all of these whatever the network is like."""
    rng = Random(f"thrift {seed}")
    if rng.random() >= THRIFTY:
        return drawn
    return attrs.evolve(drawn, thrifty=True, reckless=rng.random() < RECKLESS)


def _many(seed: int, drawn: Scenario) -> Scenario:
    """In some runs one client wants many names at once."""
    rng = Random(f"burst {seed}")
    return attrs.evolve(drawn, burst=rng.randint(50, 300)) if rng.random() < BURSTS else drawn


def _auto(seed: int, drawn: Scenario) -> Scenario:
    """In some runs every node starts by itself. Before it serves it needs every other one, if all are new."""
    rng = Random(f"auto {seed}")
    if rng.random() >= AUTO or drawn.durability is Durability.MEMORY:
        return drawn
    losses, wipes = rng.choice((0.0, 0.2, 0.5)), rng.choice((0.0, 0.2, 0.5))
    auto = attrs.evolve(drawn, auto=True, left_out=0, disk_losses=losses, wipes=wipes)
    if drawn.nodes >= GONE_NODES_MIN and Random(f"gone {seed}").random() < GONE:
        auto = attrs.evolve(auto, gone=0.3, disk_losses=max(losses, 0.5))
    return attrs.evolve(auto, faulty_for=drawn.faulty_for + rng.uniform(1.0, 4.0) * auto.sits_out)


def _far(seed: int, drawn: Scenario) -> Scenario:
    """In some runs a node or a client is far away, or every way has a length of its own."""
    rng = Random(f"far {seed}")
    if rng.random() >= FAR:
        return drawn
    kinds = rng.choice((("far_node",), ("far_client",), ("uneven",), ("far_node", "uneven")))
    each = rng.uniform(0.1, 1.0) * FAR_MAX_S / len(kinds)
    farther: dict[str, Any] = dict.fromkeys(kinds, each)
    far = attrs.evolve(drawn, **farther)
    grace_ms = round(GRACE_ROUND_TRIPS * far.round_trip * 1000.0)
    return _with_time_for_round_trips(attrs.evolve(far, grace_ms=max(GRACE_MS, grace_ms)))


def _resting(seed: int, drawn: Scenario) -> Scenario:
    """In some runs lines and watches come to rest within the run: only the first are near the head, and what
    is refreshed rarely is so after a part of the time.
    """
    rng = Random(f"resting {seed}")
    if rng.random() >= RESTING:
        return drawn
    rests = max(rng.uniform(*RESTS), RESTS_ROUND_TRIPS * drawn.round_trip)
    return attrs.evolve(drawn, near_places=rng.randint(1, 2), rests=rests, watchers=max(1, drawn.watchers))


def _slow(seed: int, drawn: Scenario) -> Scenario:
    """In some runs the round trip is above the grace of the configuration."""
    rng = Random(f"slow {seed}")
    if rng.random() >= SLOW:
        return drawn
    grace_ms = rng.choice((GRACE_MS, 2 * GRACE_MS, 4 * GRACE_MS))
    one_way = rng.uniform(1.0, SLOW_GRACES_MAX) * grace_ms / 2000.0
    # Where links differ, they do so by a part of it.
    part = one_way / (drawn.delay_max + drawn.farther)
    near = part * drawn.delay_max
    slow = attrs.evolve(
        drawn,
        grace_ms=grace_ms,
        delay_min=near / SLOW_JITTER,
        delay_max=near,
        far_node=part * drawn.far_node,
        far_client=part * drawn.far_client,
        uneven=part * drawn.uneven,
    )
    return _with_time_for_round_trips(slow)


def _with_time_for_round_trips(drawn: Scenario) -> Scenario:
    """Leases that last for some round trips, and time for some of them before everything heals."""
    ttl_min_ms = max(drawn.ttl_min_ms, ceil(TTL_ROUND_TRIPS * drawn.round_trip * 1000.0))
    return attrs.evolve(
        drawn,
        ttl_min_ms=ttl_min_ms,
        max_ttl_ms=max(drawn.max_ttl_ms, ttl_min_ms),
        faulty_for=drawn.faulty_for + TTL_ROUND_TRIPS * drawn.round_trip,
    )


class _Some:
    """A figure that is often nothing at all: runs without a kind of fault show other bugs."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def of(self, share: float, low: float, high: float) -> float:
        return self._rng.uniform(low, high) if self._rng.random() < share else 0.0
