"""A whole node under hostile input: its endpoint and its machine, or the endpoint alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Protocol

import attrs

from paxlock.core.durable import Durability, NodeRecord, Snapshot
from paxlock.core.effects import NOTHING, Effects
from paxlock.core.handles import lock_of
from paxlock.core.lease import Candidate, Lease
from paxlock.core.lives import Lives
from paxlock.core.messages import (
    Accept,
    Greeted,
    Hello,
    Message,
    Names,
    NodeMode,
    Peer,
    Prepare,
    Release,
    Renew,
    Welcome,
)
from paxlock.core.node import line as queue
from paxlock.core.node import subscriptions
from paxlock.core.node.replica import Replica
from paxlock.core.node.starts import begin
from paxlock.store.format import decode_record, encode_record
from paxlock.store.snapshot import decode_snapshot, encode_snapshot
from paxlock.wire.codec import encode, join
from paxlock.wire.endpoint import Endpoint, NodeSender, Received
from paxlock.wire.header import LENGTH, head_bytes
from paxlock.wire.keyring import ReplayWindow
from paxlock.wire.transport import Address

from .engine import Broken, Target, check
from .hostile import (
    ADDRESSES,
    METER,
    PLACES,
    Gate,
    Rogue,
    check_endpoint,
    forge,
    keyring,
    small_tables,
    wrong_keyring,
)
from .script import SCENE_BYTES, SESSIONS, STEPS_MAX, Step, change_script, parse, write
from .traffic import (
    CELL_ID,
    DRIFT_PPM,
    EPOCH,
    MAX_TTL_MS,
    MEMBERS,
    RUN,
    UNIX_S,
    new_replica,
    serve,
    traffic,
)

__all__ = ["ENDPOINT", "NODE", "Echo", "NodeWorld"]

INPUT_MAX_BYTES = 8_192
TICKS_AT_ONE_MOMENT_MAX = 50
WRITES_IN_A_STEP_MAX = 10
RESTARTS_MAX = 2
MODES = ("alone", "create", "join", "memory", "serving")
SERVING = 4

KINDS = 12  #: of steps: see NodeWorld.step
RAW, FORGED = 4, 5


class Machine(Protocol):
    """What stands behind the endpoint."""

    def receive(self, message: Message, peer: Peer, now: float, lives: Lives) -> None: ...
    def tick(self, now: float) -> None: ...
    def deadline(self) -> float: ...
    def take_effects(self) -> Effects: ...


class Echo:
    """A machine that answers every message with a long one: for the endpoint alone, which shall be fast."""

    def __init__(self) -> None:
        self._sends: list[tuple[Peer, Message]] = []

    def receive(self, message: Message, peer: Peer, now: float, lives: Lives) -> None:
        if isinstance(message, Hello):
            welcome = Welcome(message.request, "a", MEMBERS, MAX_TTL_MS, 0, 10, NodeMode.SERVING, 0, 0)
            self._sends.append((peer, welcome))
        else:
            self._sends.append((peer, Names(1, "", ("n" * 200,) * 4, True)))

    def tick(self, now: float) -> None:
        """Nothing ever comes due."""

    def deadline(self) -> float:
        return float("inf")

    def take_effects(self) -> Effects:
        sends, self._sends = tuple(self._sends), []
        return Effects(None, sends, ()) if sends else NOTHING


class NodeWorld:
    """Node "a", a virtual clock and a disk; the crew, and strangers, send to it."""

    def __init__(self, scene: bytes, machine: Machine | None = None) -> None:
        self.now = 0.0
        self.sealed = scene[0] < 0xC0
        self.ring = keyring(self.sealed)
        self.run = RUN
        self.restarts = 0
        self.crew = [Rogue.session(number, self.sealed) for number in range(len(SESSIONS))]
        for node, incarnation, run in (("b", 1, RUN), ("b", 2, RUN), ("b", 1, b"q" * 16), ("c", 1, RUN)):
            self.crew.append(Rogue.node(node, incarnation, run, self.sealed))
        self.sent: list[tuple[bytes, Address, bool]] = []
        self.passed: dict[bytes, ReplayWindow | None] = {}
        mode = MODES[scene[1] % len(MODES)]
        self.writing: NodeRecord | None = None
        self.alone = mode == "alone"
        if machine is None:
            machine = new_replica("a", "create" if mode == "serving" else mode)
            if mode == "serving":
                serve(machine, self.now)
        self.machine: Machine = machine
        self.incarnation = 1
        self._connect()

    def _connect(self) -> None:
        others = {node: [] if self.alone else [address] for node, address in ADDRESSES.items()}
        sender = NodeSender("a", self.incarnation, self.run)
        self.endpoint = Endpoint(
            sender, self.ring, cell_id=CELL_ID, epoch=EPOCH, members=others, secret=self.run
        )
        self.gate = Gate(frozenset(places[0] for node, places in others.items() if places and node != "a"))
        self._carry_out()

    # What happens

    def step(self, step: Step) -> None:
        self.pass_time(step.pause_ms / 1000.0)
        who = self.crew[step.who % len(self.crew)]
        place = PLACES[step.where % len(PLACES)]
        payload = step.payload
        match step.kind % KINDS:
            case 0:  # sealed by a member of the cell, with a right echo
                self.deliver(who.seal(payload, "a"), who.home)
            case 1:  # without the proof of its address
                self.deliver(who.seal(payload, "a", echo=step.where), who.home)
            case 2:  # from another address
                self.deliver(who.seal(payload, "a"), place)
            case 3:  # without the cell's key
                stranger = attrs.evolve(who, endpoint=self._stranger(who))
                self.deliver(stranger.seal(payload, "a"), who.home, genuine=False)
            case 4:  # as the script says
                self.deliver(payload, place, genuine=not self.sealed)
            case 5:  # any header and any content, sealed with the key
                self.deliver(forge(payload, self.ring, "a"), place)
            case 6:  # once more what was sent before
                if self.sent:
                    datagram, home, genuine = self.sent[-1 - step.who % len(self.sent)]
                    self.deliver(datagram, place if step.where else home, genuine=genuine)
            case 8:  # the disk is done
                self.save()
            case 9:  # the node stops and starts
                self.restart(clean=step.who % 2 == 0)
            case 10:  # one bit turned on the way
                flipped = bytearray(who.seal(payload, "a"))
                flipped[(step.where * 5) % len(flipped)] ^= 1 << (step.who % 8)
                self.deliver(bytes(flipped), who.home, genuine=not self.sealed)
            case 11:  # by a session that does not know its cell
                self.deliver(who.seal(payload, "a", nowhere=True), place)

    def _stranger(self, who: Rogue) -> Endpoint:
        found = Endpoint(
            who.endpoint.sender,
            wrong_keyring(),
            cell_id=CELL_ID,
            epoch=EPOCH,
            members={"a": [ADDRESSES["a"]]},
        )
        found._nodes["a"].echo = who.endpoint._nodes["a"].echo
        return found

    def deliver(self, datagram: bytes, address: Address, *, genuine: bool = True) -> None:
        """One datagram from the network, as the driver would handle it, and what goes out because of it."""
        self.sent.append((datagram, address, genuine))
        self.gate.heard(datagram, address, genuine)
        with METER.datagram():
            received = self.endpoint.receive_untrusted(datagram, address)
            if received is not None:
                check(genuine, "what was not sealed with the cell's key is passed up")
                self._check_new(datagram, received)
                for message in received.messages:
                    self.machine.tick(self.now)  # what has run out is no doing of the message
                    kept = self._not_opened_by(message, received.peer)
                    shown = self._shown_to_others(message, received.peer)
                    self.machine.receive(message, received.peer, self.now, received.lives)
                    check(kept == self._not_opened_by(message, received.peer), "a wrong handle is heeded")
                    if shown is not None and isinstance(message, Release):
                        check(shown == self._told(message.name), "a wrong handle is shown to others")
            out = self._carry_out()
        if not genuine:
            check(not out, "a datagram without the cell's key is answered")
        self.gate.said(out, datagram, address, genuine)
        self._route(out)
        self.check_tables()

    def _check_new(self, datagram: bytes, received: Received) -> None:
        """Nothing but a Hello is passed up twice, as long as its sender is remembered."""
        check(received.messages, "an empty datagram is passed up")
        peer = received.peer
        known = self.endpoint._nodes.get(peer) if isinstance(peer, str) else self.endpoint._sessions.get(peer)
        window = known.window if known is not None else None
        again = window is not None and self.passed.get(datagram) is window
        check(not again or isinstance(received.messages[0], Hello), "a datagram is passed up twice")
        self.passed[datagram] = window

    def _not_opened_by(self, message: Message, peer: Peer) -> list[tuple[str, Lease, float]]:
        """The leases, with their deadlines, that this message would end or renew, and whose lock it does not
        open: of another session than the one that says so.
        """
        if not isinstance(self.machine, Replica) or not isinstance(message, Release | Renew):
            return []
        if isinstance(message, Release):
            shown = {message.candidate: message.secret}
        else:
            secrets = message.secrets or (b"",) * len(message.attempts)
            named = (Candidate(message.session, attempt) for attempt in message.attempts)
            shown = dict(zip(named, secrets, strict=True))
        return [
            (record.name, record.lease, record.deadline)
            for record in self.machine._acceptor.records.values()
            if record.lease is not None
            and record.deadline > self.now
            and record.lease.candidate in shown
            and record.lease.candidate.session != peer
            and record.lock != lock_of(record.lease.candidate, shown[record.lease.candidate])
        ]

    def _shown_to_others(self, message: Message, peer: Peer) -> tuple[object, ...] | None:
        """What is told of the name that this Release would end without right, as far as is known here; None
        where it is something else.
        """
        machine = self.machine
        own = isinstance(message, Release) and message.candidate.session == peer
        if own or not isinstance(machine, Replica) or not isinstance(message, Release):
            return None
        candidate, record = message.candidate, machine._acceptor.records.get(message.name)
        held = record is not None and record.holds(candidate)
        told = machine._learner.lock_told(message.name, candidate)
        lock = record.lock if record is not None and held else told
        return None if lock == lock_of(candidate, message.secret) else self._told(message.name)

    def _told(self, name: str) -> tuple[object, ...]:
        assert isinstance(self.machine, Replica)
        view = self.machine._learner.view(name, self.now)
        return view.lease, view.lease_term, view.holds, view.chosen, view.released

    def _carry_out(self) -> list[tuple[bytes, Address]]:
        effects = self.machine.take_effects()
        if effects.persist is not None:
            check(decode_record(encode_record(effects.persist)) == effects.persist, "a record is not stored")
            self.writing = effects.persist
        if effects.lives is not None:
            self.endpoint.live(effects.lives)
        for peer, message in effects.sends:
            self.endpoint.queue(peer, message)
        return self.endpoint.flush()

    def _route(self, out: list[tuple[bytes, Address]]) -> None:
        for datagram, to in out:
            for rogue in self.crew:
                if rogue.home == to:
                    rogue.learn(datagram)

    def pass_time(self, seconds: float) -> None:
        """Let what comes due come due; it may speak to members and to those who proved themselves."""
        self.now += seconds
        for _ in range(TICKS_AT_ONE_MOMENT_MAX):
            if self.machine.deadline() > self.now:
                break
            self.machine.tick(self.now)
        else:
            raise Broken("the timers of a node do not come to an end")
        out = self._carry_out()
        self.gate.said(out, b"", PLACES[-1], False)
        self._route(out)

    def save(self) -> None:
        """The disk is done with what it was given."""
        if self.writing is not None and isinstance(self.machine, Replica):
            record, self.writing = self.writing, None
            self.machine.persisted(record, self.now)
            self._route(self._carry_out())

    def restart(self, *, clean: bool) -> None:
        """Stop, perhaps cleanly, and begin again from what the disk holds."""
        old = self.machine
        if self.restarts == RESTARTS_MAX or not isinstance(old, Replica):
            return
        if old.record.durability is Durability.MEMORY:
            return
        self.restarts += 1
        snapshot: Snapshot | None = old.stop(self.now) if clean else None
        record = old._recovery.saved
        if snapshot is not None:
            snapshot = decode_snapshot(b"".join(encode_snapshot(snapshot)))
            record = attrs.evolve(record, clean=True)
        self.run = bytes((self.restarts,)) * 16
        start = begin(
            record,
            snapshot,
            cell_id=CELL_ID,
            epoch=EPOCH,
            node_id="a",
            nodes=len(old.settings.configuration.members),
            max_ttl_ms=MAX_TTL_MS,
            drift=DRIFT_PPM / 1e6,
            durability=Durability.RECORD,
            unix_seconds=UNIX_S,
            run=self.run,
        )
        self.writing = None
        self.machine = Replica(old.settings, start, run=self.run, now=self.now, rng=Random(1))
        self.incarnation = start.record.incarnation
        self._connect()

    # What must be true

    def check_tables(self) -> None:
        check_endpoint(self.endpoint)
        if not isinstance(self.machine, Replica):
            return
        acceptor, learned, timers = self.machine._acceptor, self.machine._learner, self.machine._timers
        for record in acceptor.records.values():
            check(record.line is None or len(record.line) <= queue.LINE_MAX_ENTRIES, "a line is too long")
        watched = learned.subscriptions
        kept = len(watched._subscriptions)
        check(kept <= subscriptions.SUBSCRIPTIONS_MAX, "too many subscriptions")
        indexed = len(watched._prefixes) + sum(map(len, watched._by_name.values()))
        check(indexed == kept, "a subscription is in no index, or in two")
        for table in (learned._chosen, learned._inquiries, watched._shown):
            check(
                table.keys() <= acceptor.records.keys(), "the learner knows a name that the acceptor forgot"
            )
        check(len(timers._heap) <= 65 + 2 * len(timers._at), "stale timers pile up")
        check(len(self.machine._after_save) <= STEPS_MAX, "answers that wait for the disk pile up")

    def silence(self) -> None:
        """Two minutes without a word: whatever was not a fact of the disk is forgotten."""
        machine = self.machine
        for pause in (0.0, 31.0, 31.0, 61.0, 1.0, 31.0, 61.0, 61.0):
            for _ in range(WRITES_IN_A_STEP_MAX):
                if self.writing is None:
                    break
                self.save()
            else:
                raise Broken("a node writes without end")
            self.pass_time(pause)
        if not isinstance(machine, Replica) or machine.mode is not NodeMode.SERVING:
            return
        acceptor, learned = machine._acceptor, machine._learner
        kept = {
            **{f"a record of {name!r}": record for name, record in acceptor.records.items()},
            "held leases": acceptor.held,
            "tombstones to look at": acceptor.sweeper,
            "alarms": acceptor._expiry,
            "names in order": acceptor.names,
            "lists in the making": machine._listing,
            "names short of terms": acceptor._short_of_terms,
            "chosen leases": learned._chosen,
            "inquiries": learned._inquiries,
            "leases to ask about": learned._lingering,
            "subscriptions": learned.subscriptions._subscriptions,
            "watched names": learned.subscriptions._by_name,
            "shown views": learned.subscriptions._shown,
            "answers that wait for the disk": machine._after_save,
        }
        left = [what for what, table in kept.items() if table]
        check(not left, f"after a long silence a node still keeps {', '.join(left)}")


def run_node(data: bytes) -> None:
    """No exception, no answer to strangers, bounded tables, and nothing kept of those who have gone."""
    with small_tables():
        environment = NodeWorld(data[:SCENE_BYTES].ljust(SCENE_BYTES, b"\0"))
        for step in parse(data):
            environment.step(step)
        environment.silence()


def run_endpoint(data: bytes) -> None:
    """The same without a machine."""
    with small_tables():
        environment = NodeWorld(data[:SCENE_BYTES].ljust(SCENE_BYTES, b"\0"), Echo())
        for step in parse(data):
            environment.step(step)


@cache
def conversation() -> tuple[Step, ...]:
    """What real sessions and nodes send to node "a": of each kind the first two of each sender."""
    steps = []
    last = 0.0
    seen: Counter[tuple[Peer, type]] = Counter()
    for sent in traffic():
        what = (sent.sender, type(sent.message))
        seen[what] += sent.receiver == "a"
        if sent.receiver == "a" and seen[what] <= 2:
            who = {SESSIONS[0]: 0, SESSIONS[1]: 1, "b": 4, "c": 7}[sent.sender]
            pause_ms = int((sent.at - last) * 1000)
            steps.append(Step(0, who, 0, pause_ms, join([encode(sent.message)])))
            last = sent.at
    return tuple(steps)


HELLO = LENGTH.pack(5) + join([encode(Hello(1))])


@cache
def endpoint_seeds() -> tuple[bytes, ...]:
    """The conversation, one step of every kind, and headers to be forged; sealed and not."""
    hello = HELLO[LENGTH.size :]
    kinds = [Step(kind, 0, where, 0, hello) for kind in range(KINDS) for where in (0, 7)]
    crowd = [Step(kind, who, 7, 0, hello) for who in range(4) for kind in (1, 11)]
    heads = []
    for rogue in (Rogue.session(0, True), Rogue.node("b", 1, RUN, True)):
        head = rogue.seal(b"", "a")[: head_bytes(rogue.endpoint.sender)]
        heads += [Step(kind, 0, place, 0, head + HELLO) for kind in (RAW, FORGED) for place in (0, 5)]
    parts = (conversation()[:STEPS_MAX], [*kinds, conversation()[0], *kinds], heads, crowd)
    return tuple(write(bytes((scene, SERVING)), steps) for scene in (0, 0xC0) for steps in parts)


def _slow_seeds() -> list[bytes]:
    """What needs more than one turn of the disk or of the clock: joining, and terms above the ceiling."""
    state = (1, RUN, 5_000, NodeMode.SERVING, True, False, MAX_TTL_MS, 0, 0, ())
    noted, told = (Greeted(phase, UNIX_S, RUN, 0, b"", *state) for phase in (1, 2))
    first, late = (
        [Step(0, who, 0, 0, join([encode(greeted)])) for who in (4, 7, 4, 7)] for greeted in (noted, told)
    )
    saved = Step(8, 0, 0, 0, b"")
    join_late = [*first, saved, Step(7, 0, 0, 31_000, b""), *late, saved, saved, *conversation()[6:20]]
    mine, term = Candidate(SESSIONS[0], 1), 10_000
    asks: list[Message] = [
        Prepare(1, "n", term, mine, 0, 100, 0, ""),
        Accept(2, "n", term, Lease(mine, 5_000, "", b""), 1, 0),
        Prepare(1, "n", 2 * term, Candidate(SESSIONS[0], 2), 0, 1_000, 0, ""),
        Release(3, "n", mine, 3 * term),
    ]
    high = [Step(0, 0, 0, 0, join([encode(ask)])) for ask in asks for _ in range(2)]
    right, wrong = b"right" * 3 + b"!", b"wrong" * 3 + b"!"
    held = Accept(2, "n", 1, Lease(mine, 5_000, "", b""), 1, 0, 0, lock_of(mine, right))
    by_handle: list[Message] = [
        *(Renew(4, mine.session, seq, (1,), shown) for seq, shown in ((1, ()), (2, (wrong,)), (3, (right,)))),
        *(Release(5, "n", mine, 1, shown) for shown in (b"", wrong, right, right)),
    ]
    others = [Step(0, 1, 0, 0, join([encode(ask)])) for ask in by_handle]
    holds = Step(0, 0, 0, 0, join([encode(held)]))
    return [
        *(write(bytes((0, mode)), join_late) for mode in (MODES.index("join"), MODES.index("memory"))),
        write(bytes((0, SERVING)), high),
        write(bytes((0, SERVING)), [holds, holds, others[0], *others, holds, *others]),
        write(bytes((0, SERVING)), [others[0], *others[3:], holds, holds, *others]),
        write(bytes((0, SERVING)), [step for one in high for step in (one, saved)]),
    ]


@cache
def seeds() -> tuple[bytes, ...]:
    """The same with every way to start, and a restart at the end."""
    steps = [*conversation()[: STEPS_MAX - 2], Step(8, 0, 0, 0, b""), Step(9, 0, 0, 0, b"")]
    starts = [write(bytes((0, mode)), steps) for mode in range(len(MODES))]
    crowd = [
        Step(
            0,
            who,
            0,
            0,
            join([encode(Prepare(1, "n", 1, Candidate(SESSIONS[who], attempt), 0, 1_000, 0, ""))]),
        )
        for attempt in (1, 2, 3)
        for who in range(len(SESSIONS))
    ]
    return (*endpoint_seeds(), *starts, write(bytes((0, SERVING)), crowd), *_slow_seeds())


def change(data: bytes, rng: Random, change_bytes: Callable[[bytes], bytes]) -> bytes:
    return change_script(data, rng, change_bytes, seeds())


NODE = Target("node", run_node, change, lambda: list(seeds()), INPUT_MAX_BYTES)
ENDPOINT = Target("endpoint", run_endpoint, change, lambda: list(endpoint_seeds()), INPUT_MAX_BYTES)
