"""Bytes: the codec and the seal, with the messages of an acquire, a release and a renewal."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from paxlock.config.keys import new_key
from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accepted,
    Commit,
    Message,
    Release,
    Released,
    Renew,
    Renewed,
    StandingPrepare,
)
from paxlock.wire.channels import up
from paxlock.wire.codec import decode_untrusted, encode, join
from paxlock.wire.endpoint import Endpoint, NodeSender, SessionSender
from paxlock.wire.keyring import Keyring

Benchmark = Callable[..., Any]

SESSION = b"athens".ljust(16, b".")
CHANNEL = up(SessionSender(SESSION))
CANDIDATE = Candidate(SESSION, 1234)
LABEL = "worker-17.example:31337"
LEASE = Lease(CANDIDATE, 10_000, LABEL, b"")
MANY = tuple(range(1000, 1050))

HOT: dict[str, Message] = {
    "StandingPrepare": StandingPrepare(
        77, "jobs/nightly", 5, CANDIDATE, 0, 5_000, 10, LABEL, 10_000, b"", 99
    ),
    "Accepted": Accepted(77, "jobs/nightly", CANDIDATE, 5, 99),
    "Commit": Commit("jobs/nightly", 5, LEASE),
    "Release": Release(78, "jobs/nightly", CANDIDATE, 5),
    "Released": Released(78, "jobs/nightly", CANDIDATE, 4),
    "Renew-50": Renew(79, SESSION, 100, MANY),
    "Renewed-50": Renewed(79, SESSION, SESSION, 100, tuple((attempt, 5) for attempt in MANY), ()),
}
every_message = pytest.mark.parametrize("message", HOT.values(), ids=list(HOT))


@every_message
def test_encode(benchmark: Benchmark, message: Message) -> None:
    assert benchmark(encode, message)


@every_message
def test_decode(benchmark: Benchmark, message: Message) -> None:
    assert benchmark(decode_untrusted, join([encode(message)])) == (message,)


@pytest.mark.parametrize("size", [100, 1000])
def test_seal(benchmark: Benchmark, size: int) -> None:
    sealer = Keyring.of([new_key()]).sealer(CHANNEL)
    header, plaintext = secrets.token_bytes(56), secrets.token_bytes(size)
    sequence = iter(range(1, 1 << 40))
    sealed = benchmark(lambda: sealer.seal(next(sequence), plaintext, header))
    assert len(sealed) == size + sealer.overhead


@pytest.mark.parametrize("size", [100, 1000])
def test_open(benchmark: Benchmark, size: int) -> None:
    keyring = Keyring.of([new_key()])
    sealer = keyring.sealer(CHANNEL)
    header, plaintext = secrets.token_bytes(56), secrets.token_bytes(size)
    sealed = sealer.seal(1, plaintext, header)
    opened = benchmark(lambda: keyring.open_untrusted(sealer.key_id, CHANNEL, 1, sealed, header))
    assert opened == plaintext


ADDRESSES = {node: [("127.0.0.1", 7400 + number)] for number, node in enumerate("abc")}
CLIENT = ("127.0.0.1", 9999)


def test_a_request_from_a_session_through_a_node(benchmark: Benchmark) -> None:
    """Encode, seal, open, check, decode: all that both ends do for one request but the sockets."""
    keys, cell = Keyring.of([new_key()]), secrets.token_bytes(16)
    session = Endpoint(SessionSender(SESSION), keys, cell_id=cell, epoch=1, members=ADDRESSES)
    node = Endpoint(
        NodeSender("a", 1, secrets.token_bytes(16)), keys, cell_id=cell, epoch=1, members=ADDRESSES
    )

    def once() -> object:
        session.queue("a", HOT["StandingPrepare"])
        ((datagram, _),) = session.flush()
        return node.receive_untrusted(datagram, CLIENT)

    assert once() is None  # not proved yet: a challenge comes back
    ((challenge, _),) = node.flush()
    session.receive_untrusted(challenge, ADDRESSES["a"][0])
    for datagram, _ in session.flush():
        node.receive_untrusted(datagram, CLIENT)
    assert benchmark(once) is not None
