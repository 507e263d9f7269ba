"""What fuzzing has found, each as the shortest conversation that shows it."""

from __future__ import annotations

import pytest

from paxlock.core.messages import Hello, Member, NodeMode, Welcome
from paxlock.wire.codec import encode, join
from paxlock.wire.endpoint import DATAGRAM_MAX_BYTES, Endpoint, NodeSender, SessionSender
from paxlock.wire.keyring import SEAL_BYTES, Keyring
from paxlock.wire.sealing import ANY_NODE

CELL = b"cell" * 4
SENDER = SessionSender(b"S" * 16)
HOME = ("10.0.1.1", 5000)
MEMBERS = {"a": [("10.0.0.1", 7400)], "b": [("10.0.0.2", 7400)]}


def endpoint(sender: SessionSender | NodeSender) -> Endpoint:
    return Endpoint(sender, Keyring({1: bytes(32)}), cell_id=CELL, epoch=1, members=MEMBERS)


@pytest.mark.parametrize("sender", [SENDER, NodeSender("b", 1, b"r" * 16)], ids=["session", "node"])
def test_a_hello_that_is_not_padded_proves_its_address_first(sender: SessionSender | NodeSender) -> None:
    """Else whoever has the key could make a node send much more to somebody than it was sent."""
    node = endpoint(NodeSender("a", 1, b"r" * 16))
    asker = endpoint(sender)
    to = ANY_NODE if isinstance(sender, SessionSender) else "a"
    short = asker._sealing.seal(join([encode(Hello(1))]), asker._issued(asker._nodes["a"]), 0, to)
    home = HOME if isinstance(sender, SessionSender) else MEMBERS["b"][0]
    assert node.receive_untrusted(short, home) is None
    ((challenge, back),) = node.flush()
    assert back == home
    assert len(challenge) == node._table.challenge_bytes + SEAL_BYTES <= len(short)
    # With the cookie from the challenge it is answered, padded or not.
    assert asker.receive_untrusted(challenge, MEMBERS["a"][0]) is None
    proof = asker._nodes["a"].echo
    received = node.receive_untrusted(
        asker._sealing.seal(join([encode(Hello(2))]), asker._issued(asker._nodes["a"]), proof, to), home
    )
    assert received is not None and received.messages == (Hello(2),)


def test_a_short_hello_from_nowhere_is_dropped() -> None:
    node, asker = endpoint(NodeSender("a", 1, b"r" * 16)), endpoint(SENDER)
    hello = join([encode(Hello(1))])
    short = asker._sealing.seal(hello, 0, 0, unconfigured=True)
    assert node.receive_untrusted(short, HOME) is None
    assert node.flush() == []
    whole = asker._sealing.seal(hello, 0, 0, padded=True, unconfigured=True)
    assert len(whole) == DATAGRAM_MAX_BYTES
    assert node.receive_untrusted(whole, HOME) is not None
    node.queue(SENDER.session, Welcome(1, "a", (Member("a", "a:1"),), 1, 1, 1, NodeMode.SERVING, 0, 0))
    ((answer, _),) = node.flush()
    assert len(answer) <= len(whole)
