"""What is measured on each network: programs in virtual time, the same ones everywhere."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from math import ceil, inf
from random import Random

import attrs

from paxlock.core.messages import NodeMode
from paxlock.core.session.events import Answered, Failed, Granted, Lost
from paxlock.core.session.judgement import State
from paxlock.simulator.limits import small_limits
from paxlock.simulator.machines import ClientMachine, NodeMachine
from paxlock.simulator.scenario import Scenario
from paxlock.simulator.wide_area.networks import Net, WideSimulation
from paxlock.simulator.workload import Workload

__all__ = ["MEASURES", "Measured", "measure"]

TTL_S = 10.0
SETTLE_TRIPS = 10.0  #: round trips that nodes and clients are given to find each other
SETTLE_S = 1.0
LIMIT_S = 60.0  #: of virtual time: what is not served by then is not waited for
AT_ONCE_S = 0.0001
ACQUISITIONS = 100
FIRST_ACQUISITIONS = 12
POLLS = 50
HOLD_S = 0.02
WAITERS = 50
HAND_OFFS = 30
AWAY_S = 1.0
SITTING_OUT_S = 1.25 * TTL_S + 3.0

CROWD_S, CROWD_TRIPS = 0.3, 30.0  #: within the larger of the two, ten candidates at once
CROWD_OF_50_S, CROWD_OF_50_TRIPS = 1.5, 100.0
ACQUIRE_P50_TRIPS, ACQUIRE_P99_TRIPS = 1.1, 4.0  #: p50 is one round trip; the rest is what jitter does to it
HAND_OFF_P50_TRIPS, HAND_OFF_LONGEST_TRIPS = 2.0, 30.0


@attrs.frozen
class Measured:
    """One figure: as text, and whether it is within its bar (None where there is no bar). Of several runs the
    one with the median ``value`` is shown, or the worst one where there is none that may be missed.
    """

    text: str
    within: bool | None
    value: float
    always: bool = False


class _Program(Workload):
    """Clients that do what they are told; ``told`` has every notice, with its true time."""

    def __init__(self, simulation: WideSimulation) -> None:
        super().__init__(simulation)
        self.wide = simulation
        self.told: list[tuple[float, ClientMachine, object]] = []

    def notice(self, client: ClientMachine, notice: object) -> None:
        self.told.append((self.wide.true, client, notice))
        if not isinstance(notice, Answered):
            super().notice(client, notice)

    # What a program does

    def client(self) -> ClientMachine:
        """One more client, that begins now."""
        made = self.wide.clients.begin(len(self.clients), 0)
        self.clients.append(made)
        self._labels[made.session] = made.label
        return made

    def want(self, client: ClientMachine, name: str, wait: float | None = None) -> int:
        return self._campaign(client, name, wait).ticket

    def leave(self, client: ClientMachine, ticket: int) -> None:
        self.release(self._wishes[client.session, ticket])

    def poll(self, client: ClientMachine, name: str) -> None:
        assert client.core is not None
        client.core.poll(name, client.now(self.wide.true))
        self.wide.clients.turn(client, [])

    def pass_time(self, seconds: float) -> None:
        self.until(lambda: False, within=seconds)

    def until(self, done: Callable[[], bool], *, within: float = LIMIT_S) -> bool:
        """Let time pass until this is so; False where it is not within the time given."""
        sim, end = self.wide, self.wide.true + within
        heap = sim._heap  # noqa: SLF001 - the run is played step by step here, instead of as a whole
        while not done():
            if not heap or heap[0][0] > end:
                sim.true = end
                return done()
            sim.true, _, action, arguments = heapq.heappop(heap)
            sim.events += 1
            action(*arguments)
        return True

    def hear(
        self, *kinds: type[object], of: ClientMachine | None = None, within: float = LIMIT_S
    ) -> object | None:
        """The next notice of one of these kinds, to this client or to anybody; None if there is none."""
        at, found = len(self.told), None

        def heard() -> bool:
            nonlocal at, found
            while at < len(self.told) and found is None:
                _, who, notice = self.told[at]
                at += 1
                if isinstance(notice, kinds) and of in (None, who):
                    found = notice
            return found is not None

        self.until(heard, within=within)
        return found


def _started(net: Net, clients: int, *, grace_ms: int, seed: int) -> _Program:
    """A cell that serves, and clients that have found its nodes."""
    scenario = Scenario(
        clients=clients,
        max_ttl_ms=round(TTL_S * 1000),
        ttl_min_ms=round(TTL_S * 1000),
        ttls=1,
        grace_ms=grace_ms,
        hold_for_ever=1.0,
        detached=0.0,
        watchers=0,
    )
    sim = WideSimulation(seed, net, scenario, _Program)
    program = sim.workload
    assert isinstance(program, _Program)
    sim.nodes.begin()
    if not program.until(lambda: all(map(_serves, sim.nodes.all))):
        raise RuntimeError(f"the cell does not serve: {net}")
    for _ in range(clients):
        program.client()
    program.pass_time(SETTLE_S + SETTLE_TRIPS * net.longest)
    return program


def _rank(values: list[float], share: float) -> float:
    """The value that this share of all values is not above."""
    return sorted(values)[max(0, ceil(share * len(values)) - 1)] if values else inf


def _acquire(net: Net, grace_ms: int, seed: int) -> dict[str, Measured]:
    """Free names, one after the other, in every region: from the call until it holds, in round trips to a
    quorum. And the same of clients that have only just begun.
    """
    regions = len(net.trips)
    program = _started(net, regions, grace_ms=grace_ms, seed=seed)
    took = [_acquired(program, program.clients[at % regions], f"name {at}") for at in range(ACQUISITIONS)]
    first = [_acquired(program, program.client(), f"first {at}") for at in range(FIRST_ACQUISITIONS)]
    p50, p99 = _rank(took, 0.5), _rank(took, 0.99)
    bar = not net.loss
    return {
        "acquire p50": Measured(_trips(p50), p50 <= ACQUIRE_P50_TRIPS if bar else None, p50),
        "p99": Measured(_trips(p99), p99 <= ACQUIRE_P99_TRIPS if bar else None, p99),
        "first p50": Measured(_trips(_rank(first, 0.5)), None, _rank(first, 0.5)),
    }


def _acquired(program: _Program, client: ClientMachine, name: str) -> float:
    """How many round trips to a quorum an acquisition takes; what was acquired is released."""
    net, since = program.wide.net, program.wide.true
    ticket = program.want(client, name)
    granted = program.hear(Granted, of=client)
    took = program.wide.true - since
    program.leave(client, ticket)
    program.pass_time(net.longest * 2.0)
    return took / net.of_quorum(net.region(client.label)) if granted is not None else inf


def _crowd(net: Net, grace_ms: int, seed: int, size: int, least: float, trips: float) -> Measured:
    """So many candidates at once, each of which holds for a moment: until the last one is served."""
    program = _started(net, size, grace_ms=grace_ms, seed=seed)
    sim, tickets = program.wide, dict[int, int]()
    rng, since = Random(seed), program.wide.true

    def want(client: ClientMachine) -> None:
        tickets[client.slot] = program.want(client, "name")

    for client in program.clients:
        sim.at(since + rng.random() * AT_ONCE_S, want, client)
    served: list[float] = []
    while len(served) < size and sim.true < since + LIMIT_S:
        heard = len(program.told)
        if program.hear(Granted) is None:
            break
        for at, client, notice in program.told[heard:]:
            if isinstance(notice, Granted):
                served.append(at)
                sim.at(at + HOLD_S, program.leave, client, tickets[client.slot])
    if len(served) < size:
        return Measured(f"{len(served)} of {size}", False, inf)
    took = served[-1] - since - (size - 1) * HOLD_S
    return Measured(_seconds(took), took <= max(least, trips * net.longest), took)


def _crowds(net: Net, grace_ms: int, seed: int) -> dict[str, Measured]:
    return {
        "10 at once": _crowd(net, grace_ms, seed, 10, CROWD_S, CROWD_TRIPS),
        "50 at once": _crowd(net, grace_ms, seed, 50, CROWD_OF_50_S, CROWD_OF_50_TRIPS),
    }


def _hand_off(net: Net, grace_ms: int, seed: int) -> dict[str, Measured]:
    """Fifty wait in line; the name goes from hand to hand: from the release until the next one holds."""
    program = _started(net, WAITERS + 1, grace_ms=grace_ms, seed=seed)
    sim = program.wide
    holder = program.clients[0]
    tickets = {0: program.want(holder, "name")}
    program.hear(Granted)
    for client in program.clients[1:]:
        tickets[client.slot] = program.want(client, "name")
        program.pass_time(0.05 + net.longest / 4.0)
    program.pass_time(SETTLE_S + 2.0 * net.longest)
    gaps: list[float] = []
    while len(gaps) < HAND_OFFS:
        heard, since = len(program.told), sim.true
        program.leave(holder, tickets[holder.slot])
        if program.hear(Granted) is None:
            break
        gaps.append((sim.true - since) / net.longest)
        holder = next(c for _, c, notice in program.told[heard:] if isinstance(notice, Granted))
        program.pass_time(HOLD_S)
    if len(gaps) < HAND_OFFS:
        return {
            "hand-off p50": Measured(f"{len(gaps)} of {HAND_OFFS}", False, inf),
            "longest": Measured("-", False, inf),
        }
    p50, longest = _rank(gaps, 0.5), max(gaps)
    return {
        "hand-off p50": Measured(_trips(p50), p50 <= HAND_OFF_P50_TRIPS, p50),
        "longest": Measured(_trips(longest), longest <= HAND_OFF_LONGEST_TRIPS, longest),
    }


def _tenure(net: Net, grace_ms: int, seed: int) -> dict[str, Measured]:
    """One holds, three wait, and every node in turn is killed, comes back and sits out: is it still held?"""
    program = _started(net, 4, grace_ms=grace_ms, seed=seed)
    sim = program.wide
    program.want(program.clients[0], "name")
    program.hear(Granted)
    for client in program.clients[1:]:
        program.want(client, "name")
    for outlived, node in enumerate(sim.nodes.all):
        if program.hear(Lost, within=SETTLE_S + 5.0 * net.longest) is not None:
            return _lost(outlived)
        sim.nodes.crash(node)
        if program.hear(Lost, within=AWAY_S) is not None:
            return _lost(outlived)
        sim.nodes.bring_back(node)
        if program.hear(Lost, within=SITTING_OUT_S) is not None:
            return _lost(outlived)
        if not _serves(node):
            raise RuntimeError(f"{node.label} does not come back: {net}")
    if program.hear(Lost, within=TTL_S) is not None:
        return _lost(len(sim.nodes.all))
    return {"tenure": Measured("lives", True, 0.0, always=True)}


def _lost(outlived: int) -> dict[str, Measured]:
    return {"tenure": Measured(f"lost after {outlived}", False, 1.0, always=True)}


def _serves(node: NodeMachine) -> bool:
    return node.core is not None and node.core.mode is NodeMode.SERVING


def _polls(net: Net, grace_ms: int, seed: int) -> dict[str, Measured]:
    """How often ``wait=0`` gets a free name, and how often a poll of a free name says that it is free."""
    program = _started(net, 1, grace_ms=grace_ms, seed=seed)
    (client,) = program.clients
    free = got = 0
    for number in range(POLLS):
        program.poll(client, f"name {number}")
        answered = program.hear(Answered)
        free += isinstance(answered, Answered) and answered.judgement.state is State.FREE
    for number in range(POLLS):
        ticket = program.want(client, f"name {number}", 0.0)
        got += isinstance(program.hear(Granted, Failed), Granted)
        program.leave(client, ticket)
        program.pass_time(net.longest * 2.0)
    return {
        "wait=0": Measured(f"{got / POLLS:.0%}", got == POLLS, -got, always=True),
        "poll free": Measured(f"{free / POLLS:.0%}", free == POLLS, -free, always=True),
    }


def _trips(value: float) -> str:
    return f"{value:.1f}" if value < inf else "never"


def _seconds(value: float) -> str:
    return f"{value:.2f} s"


#: What is measured, each in a cell of its own.
MEASURES: dict[str, Callable[[Net, int, int], dict[str, Measured]]] = {
    "acquire": _acquire,
    "crowds": _crowds,
    "hand-off": _hand_off,
    "tenure": _tenure,
    "questions": _polls,
}


def measure(net: Net, what: str, *, grace_ms: int, runs: int) -> dict[str, Measured]:
    """Play one program on one network, so often, each time with other random numbers; gives the columns of
    the table with their figures: of times the median, of what must not be missed the worst.
    """
    with small_limits(Scenario(clients=WAITERS + 1)):
        played = [MEASURES[what](net, grace_ms, seed) for seed in range(1, runs + 1)]
    return {column: _of([figures[column] for figures in played]) for column in played[0]}


def _of(found: list[Measured]) -> Measured:
    found.sort(key=lambda one: one.value)
    return found[-1] if found[0].always else found[len(found) // 2]
