"""What an endpoint passes up: the messages of one datagram that has passed every check."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.rights import ROOT, Rights

if TYPE_CHECKING:
    from paxlock.core.messages import Message, Peer
    from paxlock.wire.header import Header, NodeSender, Sender, SessionSender
    from paxlock.wire.lives import Said
    from paxlock.wire.transport import Address

__all__ = ["Received", "from_node", "from_session"]


class Received(NamedTuple):
    """The messages of one datagram that passed every check. ``peer`` is the session, or the node's id;
    ``lives`` what a node says of itself and of the others, ``rights`` what the key of a session allows.
    """

    peer: Peer
    sender: Sender
    messages: tuple[Message, ...]
    address: Address
    cell_id: bytes
    epoch: int
    lives: Lives = UNKNOWN
    rights: Rights = ROOT


def from_node(
    sender: NodeSender, messages: tuple[Message, ...], address: Address, header: Header, said: Said
) -> Received:
    """The messages of a node, with what its datagram says of lives."""
    return Received(sender.node_id, sender, messages, address, header.cell_id, header.epoch, said.lives)


def from_session(
    sender: SessionSender, messages: tuple[Message, ...], address: Address, header: Header, rights: Rights
) -> Received:
    """The messages of a session, with what its key allows."""
    return Received(sender.session, sender, messages, address, header.cell_id, header.epoch, UNKNOWN, rights)
