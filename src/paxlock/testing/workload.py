"""What the clients of a run want, and what they do with what they get."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from paxlock.core.lease import Candidate, Timing
from paxlock.core.notices import (
    Answered,
    Changed,
    Extended,
    Failed,
    Granted,
    HandleOutcome,
    Lost,
    Mismatch,
)
from paxlock.core.standing import State
from paxlock.testing.checkers import CheckFailed
from paxlock.testing.machines import ClientMachine

if TYPE_CHECKING:
    from paxlock.testing.simulation import Simulation

__all__ = ["Workload"]

HANDLE_RENEWALS_MAX = 3
HANDLE_PATIENCE_S = 0.15
HEALED_HOLD_S = 0.03
DRAIN_PER_WISH_S = 0.4
END_S = 3.0


class _Stage(enum.Enum):
    FAULTY = enum.auto()
    DRAINING = enum.auto()  #: healed: whoever waits is served
    LAST = enum.auto()  #: one last campaign for every name
    WATCHING = enum.auto()  #: watchers must arrive at the last state


@attrs.define(eq=False)
class _Wish:
    client: ClientMachine
    ticket: int
    name: str
    ttl: float
    timing: Timing
    once: bool
    kept: bool | None = None  #: of a last campaign: whether it is held until the run ends
    candidate: Candidate | None = None
    over: bool = False

    @property
    def waiting(self) -> bool:
        return not self.over and self.candidate is None


@attrs.define(eq=False)
class _Handle:
    """A detached lease, renewed and released by whoever has its handle."""

    name: str
    candidate: Candidate
    term: int
    timing: Timing
    left: int
    over: bool = False


class Workload:
    """Drives the clients; hears their notices and passes them on to the checkers."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        scenario = simulation.scenario
        self.clients: list[ClientMachine] = []
        self.names = [f"name {at}" for at in range(scenario.names)]
        self._ttls = sorted(
            simulation.rng.randint(scenario.ttl_min_ms, scenario.max_ttl_ms) / 1000.0
            for _ in range(scenario.ttls)
        )
        self._stage = _Stage.FAULTY
        self._stage_until = 0.0
        self._wishes: dict[tuple[bytes, int], _Wish] = {}
        self._handles: dict[tuple[bytes, int], tuple[_Handle, float]] = {}
        self._polls: dict[tuple[bytes, int], tuple[str, float]] = {}
        self._watches: list[tuple[ClientMachine, int, str]] = []
        self._detached: set[Candidate] = set()
        self._gave_away: set[tuple[bytes, str]] = set()

    # The parts of the run

    def begin(self) -> None:
        sim = self._sim
        for at in range(sim.scenario.clients):
            sim.at(sim.rng.random() * 0.01, self._arrive, at < sim.scenario.watchers)

    def heal(self) -> None:
        """From now on nobody wants anything new, and nobody holds for long."""
        self._stage = _Stage.DRAINING
        sim = self._sim
        for wish in self._open():
            if wish.candidate is not None:
                sim.at(sim.true + sim.rng.random() * HEALED_HOLD_S, self._release, wish)

    def wanted(self) -> set[str]:
        """The names that somebody waits for in line."""
        return {wish.name for wish in self._open() if wish.waiting and not wish.once}

    def settled(self, true: float) -> bool:
        """Whether the run has come to its end; called now and then after the heal."""
        if self._sim.healthy_at > true:
            return False
        if self._stage is _Stage.DRAINING:
            self._drain(true)
        elif self._stage is _Stage.LAST:
            if all(wish.candidate is not None for wish in self._open()):
                self._stage, self._stage_until = _Stage.WATCHING, true + END_S
                for wish in self._open():
                    if not wish.kept:
                        self._release(wish)
        elif self._stage is _Stage.WATCHING:
            return self._watchers_are_right(true)
        return False

    def _drain(self, true: float) -> None:
        sim, check = self._sim, self._sim.check
        if not self._stage_until:
            count = len(self._open())
            self._stage_until = true + check.progress.first_max + count * DRAIN_PER_WISH_S
        held = [name for name in self.names if check.exclusion.holders(name, true)]
        if self._open() or held:
            if true > self._stage_until and self._open():
                raise CheckFailed("progress", f"{len(self._open())} wishes are still open")
            return
        if not self.clients:
            return  # all have vanished; others are about to arrive
        self._stage = _Stage.LAST
        for name in self.names:
            wish = self._campaign(sim.rng.choice(self.clients), name, None)
            wish.kept = sim.rng.random() < 0.5

    def _watchers_are_right(self, true: float) -> bool:
        exclusion, watches = self._sim.check.exclusion, self._sim.check.watches
        wrong = []
        for client, ticket, pattern in self._watches:
            if client.core is None:
                continue
            for name in self.names:
                if not name.startswith(pattern):
                    continue
                newest = exclusion.newest[name]
                kept = newest.valid(true)
                expected = State.LED if kept else State.FREE
                state, term = watches.last((client.peer, ticket), name)
                if not kept and (term == 0 or state is expected):
                    continue  # states that were replaced may have been skipped
                if (state, term) != (expected, newest.token):
                    wrong.append(f"{name!r} is shown {state} ({term}), but is {expected} ({newest.token})")
        if wrong and true > self._stage_until:
            raise CheckFailed("watch", f"{END_S} s after the last change: " + "; ".join(wrong))
        return not wrong

    # What clients do

    def vanish(self, client: ClientMachine) -> None:
        """The client's process is killed; another one takes its place."""
        sim = self._sim
        sim.note(f"{client.label} vanishes")
        client.core = None
        self.clients.remove(client)
        del sim.machines[client.peer]
        for wish in self._open():
            if wish.client is client:
                wish.over = True
                if wish.candidate is not None:
                    sim.check.exclusion.ended(wish.candidate, sim.true)
        sim.at(sim.true + sim.rng.random() * 0.05, self._arrive, False)

    def _arrive(self, watches: bool) -> None:
        sim = self._sim
        client = sim.new_client()
        sim.note(f"{client.label} is {client.session.hex()[:6]}")
        self.clients.append(client)
        if watches and client.core is not None:
            prefix = sim.rng.random() < 0.5
            pattern = "name" if prefix else sim.rng.choice(self.names)
            ticket = client.core.watch(pattern, prefix, client.now(sim.true))
            self._watches.append((client, ticket, pattern))
            sim.client_did(client)
        self._think(client)

    def _think(self, client: ClientMachine) -> None:
        sim = self._sim
        sim.at(sim.true + sim.rng.expovariate(1.0 / sim.scenario.think), self._act, client)

    def _act(self, client: ClientMachine) -> None:
        sim, scenario, random = self._sim, self._sim.scenario, self._sim.rng.random
        if client.core is None or self._stage is not _Stage.FAULTY:
            return
        if sim.true >= client.paused_until:
            name = sim.rng.choice(self.names)
            if random() < scenario.polls:
                ticket = client.core.poll(name, client.now(sim.true))
                self._polls[client.session, ticket] = (name, sim.true)
                sim.client_did(client)
            elif (client.session, name) in self._gave_away:
                pass  # a later attempt's tombstone would speak for the detached one as well
            elif sum(1 for wish in self._open() if wish.client is client) < scenario.wishes_max:
                wait = None
                if random() < scenario.once:
                    wait = 0.0
                elif random() < scenario.limited:
                    wait = random() * 2.0 * scenario.max_ttl
                wish = self._campaign(client, name, wait)
                if random() < scenario.cancelled:
                    sim.at(sim.true + random() * scenario.max_ttl, self._release, wish)
        self._think(client)

    def _campaign(self, client: ClientMachine, name: str, wait: float | None) -> _Wish:
        sim = self._sim
        assert client.core is not None
        ttl = sim.rng.choice(self._ttls)
        timing = Timing.for_ttl(ttl, max_ttl=sim.scenario.max_ttl, drift=sim.scenario.drift)
        sim.note(f"{client.label} wants {name!r}, ttl {ttl} s, wait {wait}")
        ticket = client.core.campaign(name, ttl=ttl, now=client.now(sim.true), wait=wait)
        wish = _Wish(client, ticket, name, ttl, timing, once=wait == 0.0)
        self._wishes[client.session, ticket] = wish
        sim.client_did(client)
        sim.look_for_progress()
        return wish

    def _release(self, wish: _Wish) -> None:
        """Leave the wish, waiting or held. A paused client does it when it goes on."""
        sim, core = self._sim, wish.client.core
        if wish.over or core is None:
            return
        if sim.true < wish.client.paused_until:
            sim.at(wish.client.paused_until + 1e-6, self._release, wish)
            return
        wish.over = True
        if wish.candidate is not None:
            sim.check.exclusion.ended(wish.candidate, sim.true)
        sim.note(f"{wish.client.label} leaves {wish.name!r}")
        core.release(wish.ticket, wish.client.now(sim.true))
        sim.client_did(wish.client)
        sim.look_for_progress()

    # What clients hear

    def hear_of_losses(self, client: ClientMachine, published: tuple[object, ...]) -> None:
        """A program that is told of a loss counts nothing as valid any more: before its Release leaves."""
        for notice in published:
            if isinstance(notice, Lost):
                wish = self._wishes[client.session, notice.ticket]
                if wish.candidate is not None:
                    self._sim.check.exclusion.ended(wish.candidate, self._sim.true)

    def notice(self, client: ClientMachine, notice: object) -> None:
        """A client's machine has published this."""
        match notice:
            case Granted():
                self._granted(client, notice)
            case Extended(ticket, deadline):
                wish = self._wishes[client.session, ticket]
                assert wish.candidate is not None
                until = client.clock.true(deadline + wish.timing.margin)
                self._sim.check.exclusion.extended(wish.candidate, until, self._sim.true)
            case Lost(ticket) | Failed(ticket):
                self._wishes[client.session, ticket].over = True
                self.hear_of_losses(client, (notice,))
                self._sim.look_for_progress()
            case HandleOutcome():
                self._handle_outcome(client, notice)
            case Changed(ticket, name, state, term):
                watch = (client.peer, ticket)
                self._sim.check.watches.changed(
                    watch, name, state, term, self._sim.check.exclusion, self._sim.true
                )
            case Answered():
                self._polled(client, notice)
            case Mismatch(explanation):
                raise CheckFailed("configuration", explanation)
            case _:
                pass

    def _granted(self, client: ClientMachine, notice: Granted) -> None:
        sim, random = self._sim, self._sim.rng.random
        wish = self._wishes[client.session, notice.ticket]
        wish.candidate = notice.candidate
        until = client.clock.true(notice.deadline + wish.timing.margin)
        sim.check.nodes.granted(wish.name, notice.term, notice.candidate, sim.scenario.nodes)
        sim.check.exclusion.granted(wish.name, notice.term, notice.candidate, until, sim.true)
        sim.look_for_progress()
        if wish.kept is not None:
            return
        if self._stage is not _Stage.FAULTY:
            sim.at(sim.true + random() * HEALED_HOLD_S, self._release, wish)
        elif random() < sim.scenario.detached:
            sim.at(sim.true + random() * 0.02, self._detach, wish, notice.term)
        elif random() >= sim.scenario.hold_for_ever:
            sim.at(sim.true + random() * sim.scenario.hold_max, self._release, wish)

    def _polled(self, client: ClientMachine, notice: Answered) -> None:
        sim = self._sim
        name, asked_at = self._polls.pop((client.session, notice.ticket))
        if notice.judgement.state is not State.FREE:
            return
        for tenure in sim.check.exclusion.holders(name, sim.true):
            if tenure.since <= asked_at and tenure.candidate not in self._detached:
                raise CheckFailed("poll", f"{name!r} is said to be free while {tenure.token} is valid")

    # Detached leases

    def _detach(self, wish: _Wish, term: int) -> None:
        sim, client = self._sim, wish.client
        if wish.over or client.core is None or sim.true < client.paused_until:
            return
        assert wish.candidate is not None
        if any(o.client is client and o.name == wish.name and o is not wish for o in self._open()):
            self._release(wish)  # others of this process stand in line behind it
            return
        sim.note(f"{client.label} detaches {wish.name!r}")
        wish.over = True
        client.core.detach(wish.ticket, client.now(sim.true))
        sim.check.sessions.detached(wish.name, wish.candidate)
        sim.client_did(client)
        self._detached.add(wish.candidate)
        self._gave_away.add((client.session, wish.name))
        left = sim.rng.randint(0, HANDLE_RENEWALS_MAX)
        handle = _Handle(wish.name, wish.candidate, term, wish.timing, left)
        sim.at(sim.true + sim.rng.random() * wish.timing.renew, self._use_handle, handle)

    def _use_handle(self, handle: _Handle) -> None:
        """Somebody renews the lease of the handle, releases it, or forgets it."""
        sim = self._sim
        able = [client for client in self.clients if sim.true >= client.paused_until]
        if handle.over or not able:
            return
        client = sim.rng.choice(able)
        assert client.core is not None
        now = client.now(sim.true)
        if handle.left > 0 and self._stage is _Stage.FAULTY:
            handle.left -= 1
            ticket = client.core.renew_detached(
                handle.candidate, handle.term, now, patience=HANDLE_PATIENCE_S
            )
            self._handles[client.session, ticket] = (handle, now)
            sim.at(sim.true + handle.timing.renew, self._use_handle, handle)
        elif sim.rng.random() < 0.7:
            handle.over = True
            sim.check.exclusion.ended(handle.candidate, sim.true)
            client.core.release_detached(
                handle.name, handle.candidate, handle.term, now, patience=HANDLE_PATIENCE_S
            )
        sim.client_did(client)

    def _handle_outcome(self, client: ClientMachine, notice: HandleOutcome) -> None:
        found = self._handles.pop((client.session, notice.ticket), None)
        if found is None or found[0].over:
            return
        handle, since = found
        if notice.done:
            until = client.clock.true(since + handle.timing.span)
            if until > self._sim.true:
                self._sim.check.exclusion.extended(handle.candidate, until, self._sim.true, detached=True)
        elif notice.over:
            handle.over = True
            self._sim.check.exclusion.ended(handle.candidate, self._sim.true)

    def _open(self) -> list[_Wish]:
        """The wishes that are not over yet."""
        return [wish for wish in self._wishes.values() if not wish.over]
