"""A short way for the datagrams that come again and again: from one peer, at one address, in one run.

Of two such datagrams only the sequence number differs in the header. Once one has passed every check, the
next need only be compared with it, and then have what is left: the seal, its number, its contents. Whatever
is not as before goes the long way (endpoint.py), which decides, and counts, and answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from paxlock.wire.header import DATAGRAM_MAX_BYTES, SEQUENCE_BYTES, Dropped, NodeSender, payload_of_untrusted

if TYPE_CHECKING:
    from collections.abc import Callable

    from paxlock.core.messages import Peer
    from paxlock.core.rights import Rights
    from paxlock.wire.header import Header, Sender
    from paxlock.wire.lives import Said
    from paxlock.wire.peers import KnownNode, KnownSession
    from paxlock.wire.transport import Address

__all__ = ["LANES_MAX", "Lane", "Lanes"]

LANES_MAX = 65_536


@attrs.define(eq=False)
class Lane:
    """What the datagrams of one peer from one address have in common.

    ``start`` is the header before the sequence number, ``cookies`` what is behind it, ``said`` what a node
    says of lives; for ``opener`` see `Keyring.opener`. ``rights`` are those of its key.
    """

    peer: Peer
    sender: Sender
    state: KnownSession | KnownNode
    start: bytes
    cookies: bytes
    said: Said
    size: int
    opener: Callable[[bytes, bytes, bytes], bytes | None]
    rights: Rights

    @property
    def newest(self) -> bool:
        """Whether this is still the run that its node is known by."""
        sender = self.sender
        return not isinstance(sender, NodeSender) or getattr(self.state, "run", None) == sender.run


class Lanes:
    """The lanes of one endpoint, by address: at most LANES_MAX, then all begin anew."""

    __slots__ = ("_lanes",)

    def __init__(self) -> None:
        self._lanes: dict[Address, Lane] = {}

    def clear(self) -> None:
        """The configuration has changed: everybody goes the long way once."""
        self._lanes.clear()

    def keep(
        self,
        address: Address,
        datagram: bytes,
        header: Header,
        state: KnownSession | KnownNode,
        said: Said,
        opener: Callable[[bytes, bytes, bytes], bytes | None],
        rights: Rights,
    ) -> None:
        """This datagram has passed every check, and its messages are passed up."""
        if len(self._lanes) >= LANES_MAX:
            self._lanes.clear()
        sender, size = header.sender, header.size
        peer = sender.node_id if isinstance(sender, NodeSender) else sender.session
        cut = size - 3 * SEQUENCE_BYTES
        cookies = datagram[cut + SEQUENCE_BYTES : size]
        self._lanes[address] = Lane(peer, sender, state, datagram[:cut], cookies, said, size, opener, rights)

    def open_untrusted(self, datagram: bytes, address: Address) -> tuple[Lane, bytes, int] | None:
        """The lane of a datagram, its payload and its number; None for what must go the long way."""
        lane = self._lanes.get(address)
        if lane is None or len(datagram) > DATAGRAM_MAX_BYTES or not datagram.startswith(lane.start):
            return None
        size = lane.size
        behind = len(lane.start) + SEQUENCE_BYTES
        if datagram[behind:size] != lane.cookies or lane.state.address != address or not lane.newest:
            return None
        sequence = datagram[behind - SEQUENCE_BYTES : behind]
        plaintext = lane.opener(sequence, datagram[size:], datagram[:size])
        prefix = lane.said.prefix
        if plaintext is None or not plaintext.startswith(prefix):
            return None
        try:
            return lane, payload_of_untrusted(plaintext, len(prefix)), int.from_bytes(sequence)
        except Dropped:
            return None
