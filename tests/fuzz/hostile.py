"""Those who send what a target is fed with, and the check that strangers hear nothing.

The crew has the cell's key, but bugs or bad intentions: it seals whatever it likes. Strangers have a wrong
key, or replay, flip and invent bytes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import attrs

from paxlock.core.node import line as queue
from paxlock.core.node import subscriptions
from paxlock.core.session import watches as watcher
from paxlock.limits import SEEDS_MAX
from paxlock.wire import endpoint as endpoint_module
from paxlock.wire import keyring as keyring_module
from paxlock.wire import peers
from paxlock.wire import peers as peers_module
from paxlock.wire.channels import channel_of
from paxlock.wire.cookies import Cookies
from paxlock.wire.endpoint import DATAGRAM_MAX_BYTES, Endpoint, NodeSender, SessionSender
from paxlock.wire.header import LENGTH, Dropped, Sender, parse_untrusted
from paxlock.wire.keyring import Keyring, ReplayWindow
from paxlock.wire.sealing import ANY_NODE
from paxlock.wire.transport import Address

from .engine import Tracer, check
from .script import SENDERS
from .traffic import CELL_ID, EPOCH, NODES

__all__ = [
    "ADDRESSES",
    "HOMES",
    "METER",
    "PLACES",
    "Gate",
    "Meter",
    "Rogue",
    "check_endpoint",
    "forge",
    "keyring",
    "small_tables",
    "wrong_keyring",
]

ADDRESSES: Mapping[str, Address] = {node: (f"10.0.0.{at}", 7400) for at, node in enumerate(NODES, 1)}
#: Two sessions share an address, as when a port is used again.
HOMES: tuple[Address, ...] = (("10.0.1.1", 5000), ("10.0.1.2", 5000), ("10.0.1.2", 5000), ("10.0.1.3", 5000))
PLACES: tuple[Address, ...] = (*HOMES, *ADDRESSES.values(), ("6.6.6.6", 6))

LINES_PER_DATAGRAM_MAX = 50_000  #: MESSAGES_MAX of up to 200 lines each

_TABLES = (
    (peers_module, "SESSIONS_MAX", 3),
    (peers, "GREETERS_MAX", 2),
    (endpoint_module, "CHALLENGES_MAX", 2),
    (keyring_module, "SUBKEYS_MAX", 4),
    (peers, "RETIRED_RUNS_MAX", 2),
    (peers, "OUTDATED_RUNS_MAX", 2),
    (queue, "LINE_MAX_ENTRIES", 3),
    (subscriptions, "SUBSCRIPTIONS_MAX", 3),
    (subscriptions, "EVENTS_IN_FLIGHT", 2),
    (watcher, "WATCH_NAMES_MAX", 3),
)


@contextmanager
def small_tables() -> Iterator[None]:
    """Lower the named maxima for a while, so that a short script reaches every one of them."""
    before = [(module, name, getattr(module, name)) for module, name, _ in _TABLES]
    for module, name, size in _TABLES:
        setattr(module, name, size)
    try:
        yield
    finally:
        for module, name, size in before:
            setattr(module, name, size)


def keyring(sealed: bool) -> Keyring:
    """What every member of the cell has."""
    return Keyring({1: bytes(range(32))}) if sealed else Keyring.unsealed()


def wrong_keyring() -> Keyring:
    """The same key id, another key."""
    return Keyring({1: bytes(32)})


@attrs.define
class Meter:
    """What one datagram costs: of all that were measured, the most."""

    tracer: Tracer | None = None
    datagrams: int = 0
    worst_lines: int = 0
    worst_cpu_ns: int = 0

    def begin(self, tracer: Tracer | None) -> Tracer | None:
        """Forget what was measured; from here on count the lines of this tracer."""
        self.tracer, self.datagrams, self.worst_lines, self.worst_cpu_ns = tracer, 0, 0, 0
        return tracer

    @contextmanager
    def datagram(self) -> Iterator[None]:
        """Measure what is done for one datagram; lines only while the tracer is running."""
        lines = self.tracer.lines if self.tracer is not None else 0
        start = time.thread_time_ns()
        try:
            yield
        finally:
            self._count(lines, start)

    def _count(self, lines: int, start: int) -> None:
        self.worst_cpu_ns = max(self.worst_cpu_ns, time.thread_time_ns() - start)
        self.datagrams += 1
        if self.tracer is not None:
            lines = self.tracer.lines - lines
            self.worst_lines = max(self.worst_lines, lines)
            check(lines <= LINES_PER_DATAGRAM_MAX, f"one datagram took {lines} lines of Python")


METER = Meter()

CLIENT_SECRET = b"client"
CLIENT_ISSUE = Cookies(CLIENT_SECRET).of(endpoint_module.NOWHERE)


@attrs.define(eq=False)
class Rogue:
    """One sender with the cell's key that seals whatever it is told to, and learns the cookies it is sent."""

    endpoint: Endpoint
    home: Address

    @classmethod
    def session(cls, number: int, sealed: bool) -> Rogue:
        return cls._of(SENDERS[number], HOMES[number], sealed)

    @classmethod
    def node(cls, node: str, incarnation: int, run: bytes, sealed: bool) -> Rogue:
        return cls._of(NodeSender(node, incarnation, run), ADDRESSES[node], sealed)

    @classmethod
    def _of(cls, sender: Sender, home: Address, sealed: bool) -> Rogue:
        members = {node: [address] for node, address in ADDRESSES.items()}
        secret = b"secret"
        return cls(
            Endpoint(sender, keyring(sealed), cell_id=CELL_ID, epoch=EPOCH, members=members, secret=secret),
            home,
        )

    def learn(self, datagram: bytes) -> None:
        """Take the cookie of what came from node "a"."""
        self.endpoint._nodes["a"].echo = parse_untrusted(datagram).issue

    def seal(self, payload: bytes, to: str, *, echo: int | None = None, nowhere: bool = False) -> bytes:
        """A datagram with this payload for a node, with the right echo unless another is given."""
        node = self.endpoint._nodes[to]
        proof = node.echo if echo is None else echo
        receiver = to if isinstance(self.endpoint.sender, NodeSender) else ANY_NODE
        return self._seal(payload, self.endpoint._issued(node), proof, nowhere, receiver)

    def answer(self, payload: bytes, issue: int) -> bytes:
        """A datagram of a node for a client with CLIENT_SECRET."""
        return self._seal(payload, issue, CLIENT_ISSUE, False, SENDERS[0])

    def _seal(
        self, payload: bytes, issue: int, echo: int, nowhere: bool, receiver: SessionSender | str
    ) -> bytes:
        sealing = self.endpoint._sealing
        room = sealing._plaintext_max - len(sealing._prefix) - LENGTH.size
        return sealing.seal(payload[:room], issue, echo, receiver, padded=nowhere, unconfigured=nowhere)


def forge(data: bytes, ring: Keyring, receiver: SessionSender | str) -> bytes:
    """Seal rightly, for this receiver, around whatever header and plaintext the bytes say."""
    try:
        header = parse_untrusted(data)
    except Dropped:
        return data
    sealer = ring.sealer(channel_of(header.sender, receiver))
    head, plaintext = data[: header.size], data[header.size : DATAGRAM_MAX_BYTES - sealer.overhead]
    return head + sealer.seal(header.sequence, plaintext, head)


@attrs.define(eq=False)
class Gate:
    """Watches what a node sends: only those who proved their address hear more than they said.

    ``issued`` are the cookies that went out to an address. Whoever sends one back, sealed, is there.
    """

    members: frozenset[Address]
    issued: dict[Address, set[int]] = attrs.field(factory=dict)
    proved: set[Address] = attrs.field(factory=set)

    def heard(self, datagram: bytes, address: Address, genuine: bool) -> None:
        """A datagram is on its way in; ``genuine`` if it is sealed with the cell's key."""
        try:
            header = parse_untrusted(datagram)
        except Dropped:
            return
        if genuine and header.echo in self.issued.get(address, ()):
            self.proved.add(address)

    def said(
        self, out: list[tuple[bytes, Address]], datagram: bytes, address: Address, genuine: bool
    ) -> None:
        """These datagrams went out while that one was handled."""
        strangers = [(answer, to) for answer, to in out if to not in self.proved | self.members]
        check(len(strangers) <= 1, "one datagram of a stranger is answered by several")
        for answer, to in strangers:
            check(genuine, "a datagram without the cell's key is answered")
            check(to == address, "something is sent to an address that never proved itself")
            check(
                len(answer) <= len(datagram), f"{len(datagram)} bytes of a stranger, {len(answer)} in answer"
            )
        for answer, to in out:
            check(len(answer) <= DATAGRAM_MAX_BYTES, "a datagram is too long")
            self.issued.setdefault(to, set()).add(parse_untrusted(answer).issue)


def check_endpoint(endpoint: Endpoint) -> None:
    """The named maxima hold, and every datagram is counted once."""
    check(len(endpoint._sessions) <= peers_module.SESSIONS_MAX, "too many sessions")
    check(len(endpoint._greeters) <= peers.GREETERS_MAX, "too many greeters")
    check(len(endpoint._ready) <= endpoint_module.CHALLENGES_MAX, "too many challenges")
    check(len(endpoint._keyring._ciphers) <= keyring_module.SUBKEYS_MAX, "too many derived keys")
    check(len(endpoint._seed_cookies) <= SEEDS_MAX, "too many cookies of seeds")
    check(not endpoint._outboxes, "something is left in an outbox")
    for node in endpoint._nodes.values():
        check(len(node.retired) <= peers.RETIRED_RUNS_MAX, "too many retired runs")
    windows = [node.window for node in endpoint._nodes.values()]
    for window in (*windows, *(session.window for session in endpoint._sessions.values())):
        check(_sound(window), "a replay window is larger than it may be")
    counts = endpoint.statistics()
    ends = sum(n for what, n in counts.items() if what in ("passed", "challenged") or what[:7] == "dropped")
    check(counts.get("received", 0) == ends, "a datagram is counted twice, or not at all")


def _sound(window: ReplayWindow) -> bool:
    return window.seen.bit_length() <= keyring_module.REPLAY_WINDOW_DATAGRAMS
