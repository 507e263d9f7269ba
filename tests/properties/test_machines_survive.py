"""Whatever well-sealed messages arrive, in any order and with any values that the schema allows: no machine
stops, nothing it sends is too long or unreadable, and what a node keeps can be written down.
"""

from __future__ import annotations

import enum
import types
import typing
from random import Random
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paxlock.core import journal as core_journal
from paxlock.core import lease as core_lease
from paxlock.core import messages as m
from paxlock.core.configuration import Configuration
from paxlock.core.durable import Durability, StartWord
from paxlock.core.effects import Effects
from paxlock.core.lease import TERM_MAX, Candidate
from paxlock.core.node.replica import Replica, ReplicaSettings
from paxlock.core.node.starts import begin
from paxlock.core.seeing import Count, Ping
from paxlock.core.session.session import Session, SessionSettings
from paxlock.store.format import decode_record, encode_record
from paxlock.store.snapshot import decode_snapshot, encode_snapshot
from paxlock.wire.codec import INT_MAX, decode_untrusted, encode, join
from paxlock.wire.endpoint import Endpoint, NodeSender
from paxlock.wire.keyring import Keyring
from paxlock.wire.schema import ATTEMPTS_MAX

Strategy: TypeAlias = st.SearchStrategy[Any]

NODES = ("a", "b", "c")
MEMBERS = tuple(m.Member(node, f"{node}.example:7400") for node in NODES)
SESSIONS = (b"athens".ljust(16, b"."), b"byblos".ljust(16, b"."))
CELL_ID = b"cell" * 4
TICKS_AT_ONE_MOMENT_MAX = 10
SENDS_IN_A_STEP_MAX = 500

# A node's header is the longer one, so what fits here fits everywhere.
ROOM = Endpoint(
    NodeSender("sixteen-letters-", 1, b"r" * 16),
    Keyring({1: b"k" * 32}),
    cell_id=CELL_ID,
    epoch=1,
    members={node: [] for node in "bcdefg"},  # the largest cell
).room

ATTEMPTS = tuple(range(INT_MAX - ATTEMPTS_MAX, INT_MAX))

# Few values, so that messages meet; the ends of every range among them.
NUMBERS = st.sampled_from((0, 1, 2, 3, 50, 10_000, 1 << 32, INT_MAX))
TERMS = st.sampled_from((0, 1, 2, 3, 4, 1_000, 1 << 33, TERM_MAX))
NAMES = st.sampled_from(("n", "m/1", "n" * 255))
CANDIDATES = st.builds(Candidate, st.sampled_from(SESSIONS), st.sampled_from((0, 1, 2, 3, INT_MAX)))
BY_NAME: dict[str, Strategy] = {
    "name": NAMES,
    "names": NAMES,
    "pattern": NAMES,
    "after": NAMES | st.just(""),
    "address": st.just("a.example:7400"),
    "label": st.sampled_from(("", "l" * 64)),
    "complaint": st.sampled_from(("", "c" * 64)),
    "node_id": st.sampled_from((*NODES, "stranger")),
    "session": st.sampled_from(SESSIONS),
    "sender": st.sampled_from(SESSIONS),
    "run": st.sampled_from((b"r" * 16, b"s" * 16)),
    "to_run": st.sampled_from((b"r" * 16, b"s" * 16)),
    "seen_run": st.sampled_from((b"", b"r" * 16, b"s" * 16)),
    "data": st.sampled_from((b"", b"d" * 512)),
    **dict.fromkeys(("lock", "secret"), st.sampled_from((b"", b"k" * 16))),
    "secrets": st.sampled_from(((), (b"k" * 16,), (b"", b"k" * 16, b"k" * 16))),
    **dict.fromkeys(("term", "at_least", "lease_term", "floor", "ceiling", "token"), TERMS),
}


def values_of(hint: Any, name: str) -> Strategy:
    if name == "prefix" and hint is str:
        return NAMES | st.just("")
    if name == "after" and hint is int:
        return NUMBERS
    if (hint in (int, str, bytes) or name == "secrets") and name in BY_NAME:
        return BY_NAME[name]
    if hint is int:
        return NUMBERS
    if hint is bool:
        return st.booleans()
    if hint is Candidate:
        return CANDIDATES
    if isinstance(hint, types.UnionType):
        return st.one_of(*(values_of(option, name) for option in typing.get_args(hint)))
    if hint is type(None):
        return st.none()
    if typing.get_origin(hint) is tuple:
        return tuples_of(typing.get_args(hint), name)
    if attrs.has(hint):
        return instances_of(hint)
    assert issubclass(hint, enum.Enum)
    return st.sampled_from(list(hint))


def tuples_of(options: tuple[Any, ...], name: str) -> Strategy:
    if options[-1] is Ellipsis:
        if options[0] is int:
            return st.sampled_from(((), (1,), (1, 2, 3), (INT_MAX,) * ATTEMPTS_MAX, ATTEMPTS))
        return st.lists(values_of(options[0], name), max_size=3).map(tuple)
    if name in ("versions", "counters"):
        return st.tuples(NAMES, NUMBERS)
    return st.tuples(NUMBERS, TERMS)


def instances_of(cls: Any) -> Strategy:
    hints = typing.get_type_hints(cls, {**vars(core_journal), **vars(core_lease), **vars(m)})
    return st.builds(
        cls, **{field.name: values_of(hints[field.name], field.name) for field in attrs.fields(cls)}
    )


def own(peer: m.Peer, message: m.Message) -> m.Message:
    """Let a session speak of its own candidate, as a node demands; but not where the request is 0."""
    if isinstance(peer, str) or not getattr(message, "request", 1):
        return message
    if isinstance(message, m.Renew):  # each with its secret, or none: the codec lets nothing else in
        shown = message.secrets[:1] * len(message.attempts)
        return attrs.evolve(message, secrets=shown)
    if isinstance(message, m.Prepare):
        return attrs.evolve(message, candidate=Candidate(peer, message.candidate.attempt))
    if isinstance(message, m.Accept | m.Commit):
        candidate = Candidate(peer, message.lease.candidate.attempt)
        return attrs.evolve(message, lease=attrs.evolve(message.lease, candidate=candidate))
    return message


CLASSES = typing.get_args(m.Message)
ASKED_OF_NODES = (*CLASSES[: CLASSES.index(m.Welcome)], Ping, Count)
BETWEEN_NODES = (m.Commit, m.Greet, m.Greeted, m.Inquire, m.View, m.Hello)
PAUSES = st.sampled_from((0.0, 0.0, 0.001, 0.06, 1.0, 31.0, 61.0))


def steps_of(peers: tuple[m.Peer, ...], classes: tuple[Any, ...]) -> Strategy:
    return st.tuples(PAUSES, st.sampled_from(peers), st.one_of(*map(instances_of, classes)))


TO_NODES = st.lists(
    steps_of(SESSIONS, ASKED_OF_NODES)
    | steps_of(("b", "c"), BETWEEN_NODES)
    | steps_of(("stranger", "b", SESSIONS[0]), CLASSES),
    max_size=12,
)
TO_CLIENTS = st.lists(steps_of(("a", "b", "c", "stranger"), CLASSES), max_size=12)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def check_sends(effects: Effects) -> None:
    """Every message fits into a datagram and is read back as it was meant."""
    assert len(effects.sends) <= SENDS_IN_A_STEP_MAX
    for _, message in effects.sends:
        encoded = encode(message)
        assert len(encoded) <= ROOM, message
        assert decode_untrusted(join([encoded])) == (message,)


def run_timers(machine: Replica | Session, now: float) -> None:
    """Let come due what is due; a machine must not keep itself busy at one moment for ever."""
    for _ in range(TICKS_AT_ONE_MOMENT_MAX):
        if machine.deadline() > now:
            return
        machine.tick(now)
    pytest.fail("the timers of one machine do not come to an end")


def replica_in(how: str) -> Replica:
    durability = Durability.MEMORY if how == "memory" else Durability.RECORD
    start = begin(
        None,
        None,
        cell_id=CELL_ID,
        epoch=1,
        node_id="a",
        nodes=1 if how == "alone" else 3,
        max_ttl_ms=30_000,
        drift=0.01,
        durability=durability,
        unix_seconds=1_000,
        run=b"r" * 16,
        word=StartWord.CREATE if how in ("alone", "create") else StartWord.JOIN,
    )
    members = MEMBERS[:1] if how == "alone" else MEMBERS
    found = ReplicaSettings("a", Configuration(members, 30_000, 10_000, 10), 0.0)
    return Replica(found, start, run=b"r" * 16, now=0.0, rng=Random(1))


def settle_replica(machine: Replica, now: float) -> None:
    for _ in range(10):
        effects = machine.take_effects()
        check_sends(effects)
        if effects.persist is None:
            return
        assert decode_record(encode_record(effects.persist)) == effects.persist
        machine.persisted(effects.persist, now)
    pytest.fail("a node writes without end")


@pytest.mark.parametrize("how", ["alone", "create", "join", "memory"])
def test_a_node_survives_every_message(how: str) -> None:
    @FEW
    @given(TO_NODES)
    def check(steps: list[tuple[float, m.Peer, m.Message]]) -> None:
        machine, now = replica_in(how), 0.0
        settle_replica(machine, now)
        for pause, peer, message in steps:
            now += pause
            run_timers(machine, now)
            machine.receive(own(peer, message), peer, now)
            settle_replica(machine, now)
        snapshot = machine.stop(now)
        if snapshot is not None:
            assert decode_snapshot(b"".join(encode_snapshot(snapshot))) == snapshot

    check()


@FEW
@given(TO_CLIENTS, st.booleans())
def test_a_client_survives_every_message(
    steps: list[tuple[float, m.Peer, m.Message]], released: bool
) -> None:
    outbox = SessionSettings(Configuration(MEMBERS, 30_000, 10_000, 10))
    machine, now = Session(outbox, session=SESSIONS[0], secret=bytes(16), now=0.0, rng=Random(1)), 0.0
    tickets = [machine.campaign(name, ttl=10.0, now=now, wait=wait) for name in "nm" for wait in (None, 0, 5)]
    machine.watch("n", False, now)
    machine.watch("m/", True, now)
    machine.poll("n", now, line=True, patience=1e9)
    machine.names("", now, patience=1e9)
    machine.survey(now, patience=1e9)
    machine.ping(NODES, now, patience=1e9)
    machine.count(now, patience=1e9)
    machine.renew_detached(Candidate(SESSIONS[1], 1), 1, bytes(16), now, patience=1e9)
    machine.release_detached("n", Candidate(SESSIONS[1], 1), 1, bytes(16), now, patience=1e9)
    check_sends(machine.take_effects())
    for pause, peer, message in steps:
        now += pause
        run_timers(machine, now)
        machine.take_effects()
        machine.receive(message, peer, now)
        check_sends(machine.take_effects())
    if released:
        for ticket in tickets:
            machine.release(ticket, now)
    run_timers(machine, now)
