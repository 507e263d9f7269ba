"""What an endpoint passes up: the messages of one datagram that has passed every check."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from paxlock.core.lives import UNKNOWN, Lives

if TYPE_CHECKING:
    from paxlock.core.messages import Message, Peer
    from paxlock.wire.header import Header, NodeSender, Sender
    from paxlock.wire.lives import Said
    from paxlock.wire.transport import Address

__all__ = ["Received", "from_node"]


class Received(NamedTuple):
    """The messages of one datagram that passed every check. ``peer`` is the session, or the node's id;
    ``lives`` what a node says of itself and of the others.
    """

    peer: Peer
    sender: Sender
    messages: tuple[Message, ...]
    address: Address
    cell_id: bytes
    epoch: int
    lives: Lives = UNKNOWN


def from_node(
    sender: NodeSender, messages: tuple[Message, ...], address: Address, header: Header, said: Said
) -> Received:
    """The messages of a node, with what its datagram says of lives."""
    return Received(sender.node_id, sender, messages, address, header.cell_id, header.epoch, said.lives)
