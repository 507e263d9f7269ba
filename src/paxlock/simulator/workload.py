"""What the clients of a run want, and what they do with what they get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from paxlock.core.lease import Candidate, Timing
from paxlock.core.session.events import (
    Answered,
    Barred,
    Changed,
    DataPublished,
    Ended,
    Extended,
    Failed,
    Granted,
    HandleOutcome,
    LetGoAsked,
    Lost,
    Mismatch,
)
from paxlock.errors import LossReason
from paxlock.simulator.checkers import EPSILON_S, CheckFailed
from paxlock.simulator.detached import DetachedLeases
from paxlock.simulator.endurance import check_loss
from paxlock.simulator.linearizability import OperationKind, OperationOutcome
from paxlock.simulator.machines import ClientMachine
from paxlock.simulator.moments import What
from paxlock.simulator.scenario import START_S
from paxlock.simulator.wishes import DetachedLease, Stage, Wish

if TYPE_CHECKING:
    from paxlock.simulator.simulation import Simulation

__all__ = ["Workload"]

HEALED_HOLD_S = 0.03
BURST_WITHIN = 0.5  #: the part of the time of faults in which a burst begins
DRAIN_PER_WISH_S = 0.4  #: after a ttl, every open wish is served within so much for each that is open
END_S = 3.0  #: how long watchers may take to arrive at the last state
FIRST_CLIENTS_S = 0.01
NEXT_CLIENT_S = 0.05


class Workload:
    """Drives the clients; hears their notices and passes them on to the checkers."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        scenario = simulation.scenario
        rng = Random(f"workload {simulation.seed}")
        self.clients: list[ClientMachine] = []
        self.names = [f"name {at}" for at in range(scenario.names + scenario.burst)]
        self._ttls = sorted(
            rng.randint(scenario.ttl_min_ms, scenario.max_ttl_ms) / 1000.0 for _ in range(scenario.ttls)
        )
        self.stage = Stage.FAULTY
        self._stage_until = 0.0
        self._wishes: dict[tuple[bytes, int], Wish] = {}
        self._detached = DetachedLeases(simulation, self)
        self._polls: dict[tuple[bytes, int], tuple[str, float]] = {}
        self._rng = rng
        self._watches: list[tuple[ClientMachine, int, list[str]]] = []
        self._labels: dict[bytes, str] = {}
        self.gave_away: set[tuple[bytes, str]] = set()

    # The parts of the run

    def begin(self) -> None:
        sim = self._sim
        for slot in range(sim.scenario.clients):
            sim.at(self._rng.random() * FIRST_CLIENTS_S, self._arrive, slot, 0)
        if sim.scenario.burst:
            rng = Random(f"burst of {sim.seed}")
            sim.at(START_S + rng.random() * BURST_WITHIN * sim.scenario.faulty_for, self._burst, rng)

    def heal(self) -> None:
        """From now on nobody wants anything new, and nobody holds for long."""
        self.stage = Stage.DRAINING
        sim = self._sim
        for wish in self._open():
            if wish.candidate is not None:
                sim.at(sim.true + wish.client.rng.random() * HEALED_HOLD_S, self.release, wish)

    def wanted(self) -> set[str]:
        """The names that somebody waits for in line."""
        return {wish.name for wish in self._open() if wish.waiting and not wish.once}

    def settled(self, true: float) -> bool:
        """Whether the run has come to its end; called now and then after the heal."""
        if self._sim.healthy_at > true:
            return False
        if self.stage is Stage.DRAINING:
            self._drain(true)
        elif self.stage is Stage.LAST:
            if all(wish.candidate is not None for wish in self._open()):
                self.stage, self._stage_until = Stage.WATCHING, true + END_S
                for wish in self._open():
                    if not wish.kept:
                        self.release(wish)
        elif self.stage is Stage.WATCHING:
            return self._watchers_are_right(true)
        return False

    @property
    def at_rest(self) -> bool:
        """Whether nothing is to change any more, so that watches arrive at the last state."""
        return self.stage is Stage.WATCHING

    def _drain(self, true: float) -> None:
        check = self._sim.check
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
        self.stage = Stage.LAST
        for name in self.names:
            able = [client for client in self.clients if (client.session, name) not in self.gave_away]
            if not able:
                continue  # whoever detached a name does not get it again
            wish = self._campaign(self._rng.choice(able), name, None)
            wish.kept = self._rng.random() < 0.5

    def _watchers_are_right(self, true: float) -> bool:
        exclusion, watches = self._sim.check.exclusion, self._sim.check.watches
        administration = self._sim.administration
        wrong = [
            found
            for client, ticket, names in self._watches
            if client.core is not None
            for name in names
            if name in exclusion.newest  # nothing need be said of one that nobody ever held
            if (found := watches.wrong((client.label, ticket), name, exclusion.newest[name], true))
            or (
                found := administration.wrong(
                    (client.label, ticket), name, exclusion.newest[name].candidate, true
                )
            )
        ]
        if wrong and true > self._stage_until:
            raise CheckFailed("watch", f"{END_S} s after the last change: " + "; ".join(wrong))
        return not wrong

    # What clients do

    def vanish(self, client: ClientMachine) -> None:
        """The client's process is killed; another one takes its place."""
        sim = self._sim
        sim.tell(client.label, What.STOPPED, text="killed")
        client.core = None
        self.clients.remove(client)
        mine = [wish for wish in self._open() if wish.client is client]
        will, works_on = sim.last_wills.die(client, mine)
        for wish in mine:
            wish.over = True
            if will and wish.candidate is not None and not wish.ended_elsewhere:
                self.called(client, wish.ticket, wish.name, OperationKind.RELEASE, wish.term)
            if not works_on:
                self.ended(wish.candidate)
        delay = client.rng.random() * NEXT_CLIENT_S
        sim.at(sim.true + delay, self._arrive, client.slot, client.life + 1)

    def _arrive(self, slot: int, life: int) -> None:
        sim = self._sim
        client = sim.clients.begin(slot, life)
        self.clients.append(client)
        self._labels[client.session] = client.label
        if slot < sim.scenario.watchers and not life and client.core is not None:
            prefix = client.rng.random() < 0.5
            pattern = "name" if prefix else client.rng.choice(self.names)
            ticket = client.core.watch(pattern, prefix, client.now(sim.true))
            self._watches.append((client, ticket, self.names if prefix else [pattern]))
            sim.clients.turn(client, [])
        self._think(client)

    def _think(self, client: ClientMachine) -> None:
        sim = self._sim
        sim.at(sim.true + client.rng.expovariate(1.0 / sim.scenario.think), self._act, client)

    def _act(self, client: ClientMachine) -> None:
        sim, scenario, random = self._sim, self._sim.scenario, client.rng.random
        if client.core is None or self.stage is not Stage.FAULTY:
            return
        if sim.true >= client.paused_until:
            name = client.rng.choice(self.names[: scenario.names])
            if random() < scenario.polls:
                ticket = client.core.poll(name, client.now(sim.true))
                self._polls[client.session, ticket] = (name, sim.true)
                sim.administration.asks(client, ticket)
                self.called(client, ticket, name, OperationKind.POLL)
                sim.clients.turn(client, [])
            elif (client.session, name) in self.gave_away:
                pass  # a later attempt's tombstone would speak for the detached one as well
            elif sum(1 for wish in self._open() if wish.client is client) < scenario.wishes_max:
                wait = None
                if random() < scenario.once:
                    wait = 0.0
                elif random() < scenario.limited:
                    wait = random() * 2.0 * scenario.max_ttl
                wish = self._campaign(client, name, wait)
                if random() < scenario.cancelled:
                    sim.at(sim.true + random() * scenario.max_ttl, self.release, wish)
        self._think(client)

    def _burst(self, rng: Random) -> None:
        """One client wants very many names at one moment, and nobody else wants these so far."""
        sim = self._sim
        able = [client for client in self.clients if sim.true >= client.paused_until]
        if able:
            client = rng.choice(able)
            for name in self.names[sim.scenario.names :]:
                self._want(client, name, None)
            sim.clients.turn(client, [])

    def _campaign(self, client: ClientMachine, name: str, wait: float | None) -> Wish:
        wish = self._want(client, name, wait)
        self._sim.clients.turn(client, [])
        self._sim.look_for_progress()
        return wish

    def _want(self, client: ClientMachine, name: str, wait: float | None) -> Wish:
        """Call the client; what it has to send leaves in its next turn."""
        sim = self._sim
        assert client.core is not None
        ttl = client.rng.choice(self._ttls)
        timing = Timing.for_ttl(ttl, max_ttl=sim.scenario.max_ttl, drift=sim.scenario.drift)
        sim.tell(client.label, What.WANTED, name=name, text=f"ttl {ttl} s, wait {wait}")
        ticket = client.core.campaign(name, ttl=ttl, now=client.now(sim.true), wait=wait)
        wish = Wish(client, ticket, name, ttl, timing, once=wait == 0.0)
        self._wishes[client.session, ticket] = wish
        self.called(client, ticket, name, OperationKind.ACQUIRE)
        return wish

    def release(self, wish: Wish) -> None:
        """Leave the wish, waiting or held. A paused client does it when it goes on."""
        sim, core = self._sim, wish.client.core
        if wish.over or core is None:
            return
        if sim.true < wish.client.paused_until:
            sim.at(wish.client.paused_until + 1e-6, self.release, wish)
            return
        wish.over = True
        if wish.candidate is not None and not wish.ended_elsewhere:
            self.called(wish.client, wish.ticket, wish.name, OperationKind.RELEASE, wish.term)
        self.ended(wish.candidate)
        sim.last_wills.drop(wish)
        sim.tell(wish.client.label, What.LEFT, name=wish.name)
        core.release(wish.ticket, wish.client.now(sim.true))
        sim.clients.turn(wish.client, [])
        sim.look_for_progress()

    # What clients hear

    def hear_of_losses(self, client: ClientMachine, published: Sequence[object]) -> None:
        """A program that is told of a loss counts nothing as valid any more: before its Release leaves."""
        for notice in published:
            if isinstance(notice, Lost):
                self.ended(self._wishes[client.session, notice.ticket].candidate)

    def notice(self, client: ClientMachine, notice: object) -> None:
        """A client's machine has published this."""
        sim = self._sim
        match notice:
            case Granted():
                self._granted(client, notice)
            case Extended(ticket, deadline):
                self._renewed(client, self._wishes[client.session, ticket], deadline)
            case Lost(ticket, reason):
                wish = self._wishes[client.session, ticket]
                if reason is LossReason.EXPIRED and wish.candidate is not None:
                    check_loss(sim, client, wish.candidate, wish.timing)
                wish.over = True
                sim.last_wills.drop(wish)
                self.lost(client, wish)
                sim.look_for_progress()
                self._try_again(wish)
            case Failed(ticket) | Barred(ticket):
                self._wishes[client.session, ticket].over = True
                self.returned(client, ticket, OperationKind.ACQUIRE, OperationOutcome.REFUSED)
                sim.look_for_progress()
            case Ended(ticket, heard):
                outcome = OperationOutcome.OK if heard else OperationOutcome.UNKNOWN
                self.returned(client, ticket, OperationKind.RELEASE, outcome)
            case HandleOutcome():
                if not (sim.administration.outcome(client, notice) or sim.insiders.outcome(client, notice)):
                    self._detached.outcome(client, notice)
            case LetGoAsked(ticket):
                sim.administration.let_go(self._wishes[client.session, ticket])
            case DataPublished():
                sim.administration.data_published(client, notice)
            case Changed(ticket, name, state, term):
                watch = (client.label, ticket)
                sim.administration.changed(watch, notice)
                sim.check.watches.changed(watch, name, state, term, sim.check.exclusion, sim.true)
            case Answered():
                self._polled(client, notice)
            case Mismatch(explanation):
                raise CheckFailed("configuration", explanation)
            case _:
                pass

    def _granted(self, client: ClientMachine, notice: Granted) -> None:
        sim, random = self._sim, client.rng.random
        wish = self._wishes[client.session, notice.ticket]
        if wish.over:
            return  # left in this very turn
        if client.now(sim.true) >= notice.deadline:
            self._too_late(wish)
            self.returned(client, wish.ticket, OperationKind.ACQUIRE, OperationOutcome.REFUSED)
            return
        wish.candidate, wish.term, wish.deadline = notice.candidate, notice.term, notice.deadline
        sim.last_wills.hold(wish)
        sim.administration.granted(wish)
        until = client.clock.true(notice.deadline + wish.timing.margin)
        sim.check.nodes.granted(wish.name, notice.term, notice.candidate, sim.scenario.nodes)
        sim.check.exclusion.granted(wish.name, notice.term, notice.candidate, until, sim.true)
        sim.check.nodes.covered(notice.candidate, notice.term, until, sim.scenario.nodes)
        sim.tell(client.label, What.GRANTED, name=wish.name, term=notice.term, until=until)
        told = {"term": notice.term, "until": until - EPSILON_S}
        self.returned(client, notice.ticket, OperationKind.ACQUIRE, OperationOutcome.OK, **told)
        sim.look_for_progress()
        if wish.kept is not None:
            return
        at_once = client.order.random() < sim.scenario.at_once
        if self.stage is not Stage.FAULTY:
            sim.at(sim.true + random() * HEALED_HOLD_S, self.release, wish)
            return
        if client.order.random() < sim.scenario.released_elsewhere:
            later = sim.true + client.order.random() * wish.timing.ttl
            sim.at(later, self._detached.release_elsewhere, wish, client.order)
        if random() < sim.scenario.detached:
            self._soon(random() * 0.02, at_once, self._detached.detach, wish)
        elif random() >= sim.scenario.hold_for_ever:
            self._soon(random() * sim.scenario.hold_max, at_once, self.release, wish)

    def _soon(self, delay: float, at_once: bool, action: Callable[[Wish], None], wish: Wish) -> None:
        """After this delay, or in the turn of the grant itself."""
        if at_once:
            action(wish)
        else:
            self._sim.at(self._sim.true + delay, action, wish)

    def _try_again(self, wish: Wish) -> None:
        """A program may campaign again in the turn in which it is told of a loss."""
        client = wish.client
        if (
            self.stage is Stage.FAULTY
            and client.order.random() < self._sim.scenario.at_once
            and (client.session, wish.name) not in self.gave_away
        ):
            self._campaign(client, wish.name, None)

    def _renewed(self, client: ClientMachine, wish: Wish, deadline: float) -> None:
        if wish.over or wish.ended_elsewhere:
            return  # left in this very turn; or the world knows better, and the holder will be told
        if client.now(self._sim.true) >= wish.deadline:
            self._too_late(wish)
            self.lost(client, wish)
            return
        wish.deadline = deadline
        self.extended(client, wish, client.clock.true(deadline + wish.timing.margin))

    def _too_late(self, wish: Wish) -> None:
        """The program hears of it when what it knew has run out: it is over, and nobody shall renew it."""
        client, core = wish.client, wish.client.core
        assert core is not None
        wish.over = True
        self.ended(wish.candidate)
        self._sim.tell(client.label, What.LEFT, name=wish.name, text="told too late")
        core.release(wish.ticket, client.now(self._sim.true))
        self._sim.clients.turn(client, [])
        self._sim.look_for_progress()

    def extended(
        self, client: ClientMachine, holding: Wish | DetachedLease, until: float, *, detached: bool = False
    ) -> None:
        sim, candidate = self._sim, holding.candidate
        assert candidate is not None
        sim.check.exclusion.extended(candidate, until, sim.true, detached=detached)
        sim.administration.extended(candidate, until)
        sim.check.nodes.covered(candidate, holding.term, until, sim.scenario.nodes)
        sim.tell(client.label, What.EXTENDED, name=holding.name, term=holding.term, until=until)
        sim.calls.told(
            client.label, holding.name, OperationKind.RENEW, sim.true, holding.term, until=until - EPSILON_S
        )

    def ended(self, candidate: Candidate | None) -> None:
        """Nobody counts on this lease any more, if it ever was one."""
        tenure = self._sim.check.exclusion.ended(candidate, self._sim.true)
        if tenure is not None:
            who = self._labels[tenure.candidate.session]
            self._sim.tell(who, What.ENDED, name=tenure.name, term=tenure.token, until=tenure.ended)

    def _polled(self, client: ClientMachine, notice: Answered) -> None:
        sim, judgement = self._sim, notice.judgement
        name, asked_at = self._polls.pop((client.session, notice.ticket))
        told = {"term": judgement.term, "state": judgement.state}
        self.returned(client, notice.ticket, OperationKind.POLL, OperationOutcome.OK, **told)
        sim.check.exclusion.polled(name, judgement.state, asked_at, sim.true)
        sim.administration.polled(client, notice)

    def tickets(self, client: ClientMachine) -> list[int]:
        """What the client's program wants or holds at this moment."""
        return [wish.ticket for wish in self._open() if wish.client is client]

    # Within

    def _open(self) -> list[Wish]:
        """The wishes that are not over yet."""
        return [wish for wish in self._wishes.values() if not wish.over]

    def lost(self, client: ClientMachine, holding: Wish | DetachedLease) -> None:
        sim = self._sim
        sim.calls.told(client.label, holding.name, OperationKind.RENEW, sim.true, holding.term, until=None)

    def called(
        self, client: ClientMachine, ticket: int, name: str, kind: OperationKind, term: int = 0
    ) -> None:
        key = (client.session, ticket, kind)
        self._sim.calls.called(key, client.label, name, kind, self._sim.true, term=term)

    def returned(
        self, client: ClientMachine, ticket: int, kind: OperationKind, outcome: OperationOutcome, **told: Any
    ) -> None:
        self._sim.calls.returned((client.session, ticket, kind), self._sim.true, outcome, **told)
