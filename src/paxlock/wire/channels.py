"""Who speaks to whom, as the text that a sealing key is derived from (protocol.md section 8).

    a session, to nodes       client's key   "up"   | what it has drawn
    a node, to a session      client's key   "down" | the same | incarnation | run | node id
    a node, to a node         root key       "node" | incarnation | run | node id | node id of the receiver

So whoever has a client's key can seal neither as a node nor as another client, and what a node has sealed
for one receiver opens at no other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paxlock.wire.header import NodeSender, SessionSender

if TYPE_CHECKING:
    from paxlock.wire.header import Sender

__all__ = ["Channel", "channel_of", "up"]

_UP, _DOWN, _NODE = b"up", b"down", b"node"


class Channel(NamedTuple):
    """What a key is derived from: the grant of the client whose key it comes from, or None where it comes
    from the root key, and the text.
    """

    grant: bytes | None
    text: bytes


def up(session: SessionSender) -> Channel:
    """The channel in which a session speaks, to all nodes."""
    return Channel(session.grant, _UP + session.drawn)


def channel_of(sender: Sender, receiver: SessionSender | str) -> Channel:
    """The channel from this sender to this receiver, a session or the id of a node."""
    if isinstance(sender, SessionSender):
        return up(sender)
    assert isinstance(sender, NodeSender)
    if isinstance(receiver, SessionSender):
        return Channel(receiver.grant, _DOWN + receiver.drawn + sender.identity)
    return Channel(None, _NODE + sender.identity + b"\0" + receiver.encode())
