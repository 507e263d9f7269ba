"""``python -m paxlock.simulator.tries``: callers that do not wait, all at one moment, on a free name
(protocol.md section 5, "one winner").

Every round is a cell of its own, drawn from the seed: its size, round trips from 0.2 to 300 ms, callers, some
of them in one process. The callers try three times in a row, each time as soon as the last winner has let go.
Each time exactly one must get the name, and every other one must be told "held", with the winner's label.

The machines are the shipped ones, and time is virtual: no sockets, no bytes, no waiting.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable
from functools import partial
from math import inf, log
from random import Random

import attrs

from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, Membership, NodeRecord
from paxlock.core.messages import Member, Message
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.node.starts import Start
from paxlock.core.session.events import Ended, Failed, Granted, Lost
from paxlock.core.session.outbox import SessionSettings
from paxlock.core.session.session import Session
from paxlock.errors import Reason

__all__ = ["Figures", "Round", "Wrong", "main", "play"]

NAME = "the name"
CELL_ID = bytes(16)
MAX_TTL_S = 30.0
DRIFT_PPM = 10_000
TTL_S = 10.0
OFFSET_MAX_S = 1_000.0
ROUND_S_MAX = 30.0  #: by then everybody has been told something
FAILURES_SHOWN = 20


class Wrong(AssertionError):
    """A burst of tries that did not end as it must; the sentence names the seed and the round."""


@attrs.frozen
class Figures:
    """What rounds may be like. Times in seconds; what is a pair is drawn between the two."""

    callers: tuple[int, int] = (2, 20)
    round_trip: tuple[float, float] = (0.0002, 0.3)
    jitter_max: float = 0.5  #: a datagram is late by up to this share of its way
    skew_max: float = 4.0  #: how many times longer than the shortest way the longest of a round is at most
    loss: float = 0.0
    shared: float = 0.3  #: how many of the rounds have callers that share a process
    apart_max: float = 0.02  #: what "at one moment" means, at most
    graces_ms: tuple[int, ...] = (10, 50, 200)  #: of the cell, whether it fits the network or not
    bursts: int = 3


@attrs.frozen
class Told:
    """How a burst ended: who won, and after how many seconds the winner and the last loser were told."""

    round_trip: float
    won_after: float
    lost_after: float


@attrs.define(eq=False)
class _Node:
    label: str
    core: Replica
    offset: float
    wakes_at: float = inf


@attrs.define(eq=False)
class _Process:
    label: str
    core: Session
    offset: float
    wakes_at: float = inf


@attrs.define(eq=False)
class _Caller:
    """One try of one caller: its process, its ticket there, and what it was told."""

    label: str
    process: _Process
    ticket: int = 0
    told: Granted | Failed | None = None
    after: float = 0.0


class Round:
    """One cell and its callers. ``play()`` gives how each burst ended, or raises Wrong."""

    def __init__(self, seed: int, number: int, figures: Figures) -> None:
        self.seed, self.number, self.figures = seed, number, figures
        rng = self._rng = Random(f"tries {seed} {number}")
        least, most = figures.round_trip
        self.round_trip = least * 2.0 ** (rng.random() * log(most / least, 2))
        self.jitter = rng.random() * figures.jitter_max
        self.skew = 1.0 if rng.random() < 0.5 else rng.uniform(1.0, figures.skew_max)
        self.skew = min(self.skew, most / self.round_trip)
        self.apart = rng.choice((0.0, rng.random() * figures.apart_max))
        self.grace_ms = rng.choice(figures.graces_ms)
        self.true = 0.0
        self._heap: list[tuple[float, int, _Node | _Process, Message | None, str | bytes]] = []
        self._pushed = 0
        self._ways: dict[tuple[object, object], float] = {}
        members = tuple(Member(node, node) for node in "abcde"[: rng.choice((3, 3, 3, 5, 1))])
        self._nodes = {m.node_id: self._node(m.node_id, members) for m in members}
        callers = rng.randint(*figures.callers)
        processes = rng.randint(1, callers) if rng.random() < figures.shared else callers
        self._processes = [self._process(at, members) for at in range(processes)]
        self._of_session = {process.core.session: process for process in self._processes}
        everywhere = [*range(processes), *(rng.randrange(processes) for _ in range(callers - processes))]
        self._where = [self._processes[at] for at in everywhere]
        self._tries: dict[tuple[bytes, int], _Caller] = {}
        self._ended: set[int] = set()
        for node in self._nodes.values():
            self._effects(node)
        for process in self._processes:
            self._effects(process)

    def _node(self, node_id: str, members: tuple[Member, ...]) -> _Node:
        record = NodeRecord(
            *(CELL_ID, 1, node_id, 5, 1000, Durability.RECORD, Membership.MEMBER, int(MAX_TTL_S * 1000)),
            False,
        )
        offset = self._rng.random() * OFFSET_MAX_S
        settings = ReplicaSettings(
            node_id, Configuration(members, int(MAX_TTL_S * 1000), DRIFT_PPM, self.grace_ms), 0.0
        )
        rng, run = Random(self._rng.random()), self._rng.randbytes(16)
        return _Node(
            node_id, Replica(settings, Start(record, 0, 0.0, None), run=run, now=offset, rng=rng), offset
        )

    def _process(self, at: int, members: tuple[Member, ...]) -> _Process:
        settings = SessionSettings(Configuration(members, int(MAX_TTL_S * 1000), DRIFT_PPM, self.grace_ms))
        offset = self._rng.random() * OFFSET_MAX_S
        session, rng = self._rng.randbytes(16), Random(self._rng.random())
        machine = Session(settings, session=session, secret=session, now=offset, rng=rng)
        return _Process(f"process {at}", machine, offset)

    # What happens

    def play(self) -> list[Told]:
        return [self._burst(burst) for burst in range(self.figures.bursts)]

    def _burst(self, burst: int) -> Told:
        began = self.true
        callers = [_Caller(f"caller {at}", process) for at, process in enumerate(self._where)]
        starts = sorted((began + self._rng.random() * self.apart, at) for at in range(len(callers)))
        self._tries.clear()
        for start, at in starts:
            self._run(start, lambda: False)
            caller = callers[at]
            process = caller.process
            caller.ticket = process.core.campaign(
                NAME, ttl=TTL_S, now=process.offset + self.true, wait=0.0, label=caller.label
            )
            self._tries[process.core.session, caller.ticket] = caller
            self._effects(process)
        self._run(began + ROUND_S_MAX, lambda: all(caller.told for caller in callers))
        self._judge(burst, callers)
        (winner,) = (caller for caller in callers if isinstance(caller.told, Granted))
        winner.process.core.release(winner.ticket, winner.process.offset + self.true)
        self._effects(winner.process)
        self._ended.clear()
        self._run(self.true + ROUND_S_MAX, lambda: winner.ticket in self._ended)
        self._run(
            self.true + self._rng.choice((0.0, self._rng.random() * 2.0 * self.round_trip)), lambda: False
        )
        lost = max((c.after - began for c in callers if c is not winner), default=0.0)
        return Told(self.round_trip, winner.after - began, lost)

    def _judge(self, burst: int, callers: list[_Caller]) -> None:
        """One has won, and all others know who."""
        winners = [caller.label for caller in callers if isinstance(caller.told, Granted)]
        wrong = Counter[str]()
        for caller in callers:
            match caller.told:
                case None:
                    wrong["nothing"] += 1
                case Failed(_, reason, holder, detail) if reason is not Reason.HELD or [holder] != winners:
                    wrong[f"{reason.name} {holder or detail!r}"] += 1
        if len(winners) != 1 or wrong:
            raise Wrong(
                f"seed {self.seed} round {self.number} burst {burst} ({len(self._nodes)} nodes, "
                f"{len(callers)} callers in {len(self._processes)} processes, "
                f"round trip {self.round_trip * 1000:.1f} ms x 1 to {self.skew:.1f}, "
                f"jitter {self.jitter:.2f}, grace {self.grace_ms} ms, {self.apart * 1000:.0f} ms apart): "
                f"{winners or 'nobody'} won"
                + "".join(f"; {count} were told {what}" for what, count in wrong.items())
            )

    # Time and the network

    def _run(self, until: float, done: object) -> None:
        """Let happen what happens until then, or until it is ``done``."""
        heap = self._heap
        assert callable(done)
        while heap and heap[0][0] <= until and not done():
            self.true, _, machine, message, peer = heapq.heappop(heap)
            now = machine.offset + self.true
            if message is not None:
                machine.core.receive(message, peer, now)
            else:
                machine.wakes_at = inf
                if machine.core.deadline() > now + 1e-9:
                    self._wake(machine)
                    continue
                machine.core.tick(max(now, machine.core.deadline()))
            self._effects(machine)
        if not done():
            self.true = max(self.true, until)

    def _wake(self, machine: _Node | _Process) -> None:
        due = max(self.true, machine.core.deadline() - machine.offset)
        if due < machine.wakes_at:
            machine.wakes_at = due
            self._push(due, machine, None, "")

    def _push(
        self, when: float, machine: _Node | _Process, message: Message | None, peer: str | bytes
    ) -> None:
        self._pushed += 1
        heapq.heappush(self._heap, (when, self._pushed, machine, message, peer))

    def _effects(self, machine: _Node | _Process) -> None:
        """Carry out what the machine wants; disks are quick."""
        core = machine.core
        me = machine.label if isinstance(core, Replica) else core.session
        while True:
            effects = core.take_effects()
            for peer, message in effects.sends:
                self._send(me, peer, message)
            for notice in effects.published:
                self._hear(machine, notice)
            if effects.persist is None or not isinstance(core, Replica):
                break
            core.persisted(effects.persist, machine.offset + self.true)
        self._wake(machine)

    def _send(self, sender: str | bytes, to: str | bytes, message: Message) -> None:
        target = self._nodes.get(to) if isinstance(to, str) else self._of_session.get(to)
        if target is None or (self.figures.loss and self._rng.random() < self.figures.loss):
            return
        way = self._ways.get((sender, to))
        if way is None:
            way = self.round_trip / 2.0 * self._rng.uniform(1.0, self.skew)
            self._ways[sender, to] = self._ways[to, sender] = way
        self._push(self.true + way * (1.0 + self._rng.random() * self.jitter), target, message, sender)

    def _hear(self, machine: _Node | _Process, notice: object) -> None:
        match notice:
            case Granted(ticket) | Failed(ticket) if isinstance(machine, _Process):
                caller = self._tries.get((machine.core.session, ticket))
                if caller is not None:
                    caller.told, caller.after = notice, self.true
            case Ended(ticket):
                self._ended.add(ticket)
            case Lost():
                raise Wrong(f"seed {self.seed} round {self.number}: {machine.label} has lost its lease")


def play(seed: int, numbers: Iterable[int], figures: Figures) -> tuple[list[Told], list[str]]:
    """Play these rounds; gives how the bursts ended, and what went wrong."""
    ends: list[Told] = []
    wrong: list[str] = []
    for number in numbers:
        try:
            ends += Round(seed, number, figures).play()
        except Wrong as failure:
            wrong.append(str(failure))
    return ends, wrong


def main(arguments: list[str] | None = None) -> int:
    """Play many rounds; 1 where one did not end as it must."""
    parser = argparse.ArgumentParser(
        prog="python -m paxlock.simulator.tries",
        description="Callers that do not wait, all at one moment, on a free name: exactly one gets it.",
    )
    add = parser.add_argument
    usual = Figures()
    add("--rounds", type=int, metavar="N", default=1000, help="bursts of tries in all")
    add("--callers", type=_range, metavar="A-B", default=usual.callers, help="how many at one moment")
    add("--round-trip", type=_millis, metavar="A-B", default=usual.round_trip, help="in milliseconds")
    add("--grace", type=int, metavar="MS", help="the cell's, in milliseconds")
    add("--loss", type=float, metavar="SHARE", default=0.0, help="of the datagrams, lost")
    add("--seed", type=int, metavar="S", default=0)
    add("--round", type=int, metavar="N", help="only this round of the seed")
    add("--jobs", type=int, metavar="J", default=1, help="processes that share the rounds")
    options = parser.parse_args(arguments)
    figures = Figures(
        callers=options.callers,
        round_trip=options.round_trip,
        graces_ms=usual.graces_ms if options.grace is None else (options.grace,),
        loss=options.loss,
    )
    cells = -(-options.rounds // figures.bursts)
    numbers = range(cells) if options.round is None else range(options.round, options.round + 1)
    began = time.perf_counter()
    share = partial(play, options.seed, figures=figures)
    if options.jobs == 1:
        parts = [share(numbers)]
    else:
        with multiprocessing.Pool(options.jobs) as pool:
            parts = pool.map(share, [numbers[at :: options.jobs] for at in range(options.jobs)])
    ends = [end for part, _ in parts for end in part]
    wrong = [sentence for _, part in parts for sentence in part]
    for sentence in wrong[:FAILURES_SHOWN]:
        print(f"FAILED  {sentence}")
    print(f"{len(ends)} bursts in {time.perf_counter() - began:.1f} s, {len(wrong)} rounds went wrong")
    for what, took in (
        ("the winner was told", [(end.won_after, end.round_trip) for end in ends]),
        ("the last loser was told", [(end.lost_after, end.round_trip) for end in ends]),
    ):
        shares = sorted(after / trip for after, trip in took) or [0.0]
        worst = max((after for after, _ in took), default=0.0)
        print(
            f"{what} after {shares[len(shares) // 2]:.1f} round trips (median), "
            f"{shares[len(shares) * 99 // 100]:.1f} (p99); at most {worst:.3f} s"
        )
    return 1 if wrong else 0


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def _millis(text: str) -> tuple[float, float]:
    first, _, last = text.partition("-")
    return float(first) / 1000.0, float(last or first) / 1000.0


if __name__ == "__main__":
    sys.exit(main())
