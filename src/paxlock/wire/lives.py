"""What the datagrams of nodes say of lives, in bytes (protocol.md section 8; the rule is in core/lives.py).

Before all else under the seal: how many numbers follow (1 byte), then the highest incarnation that the node
knows of each other member, 8 bytes each, in the order of the sorted ids. Its own is in the header.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from paxlock.core.lives import UNKNOWN, Lives
from paxlock.wire.header import CHALLENGE_BYTES, Dropped, NodeSender

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paxlock.wire.header import Sender

__all__ = ["NO_MEMBERS", "LifeTable", "Said"]

MEMBERS_BYTES = 4
NO_MEMBERS = bytes(MEMBERS_BYTES)  #: from a session that does not know its cell yet
INCARNATION_BYTES = 8
INTERNED_MAX = 256


class Said(NamedTuple):
    """What a datagram says of lives, and the bytes that say it."""

    lives: Lives = UNKNOWN
    prefix: bytes = b""


NOTHING = Said()


class LifeTable:
    """Reads and writes lives for the nodes of one configuration; without any, skips them.

    Equal contents of different datagrams, of whatever node, give the same object: to compare them is then a
    comparison of identities.
    """

    def __init__(self, nodes: Iterable[str] = ()) -> None:
        self.nodes = tuple(sorted(nodes))
        #: Of the ids of the nodes: whoever has others decides with other quorums.
        self.digest = _digest(self.nodes) if self.nodes else NO_MEMBERS
        others = max(0, len(self.nodes) - 1)
        self.prefix_bytes = 1 + INCARNATION_BYTES * others
        #: The length of an empty datagram of a node, without the seal.
        self.challenge_bytes = CHALLENGE_BYTES + self.prefix_bytes
        self._pack = struct.Struct(f">B{others}Q")
        self._known: dict[tuple[int, ...], Lives] = {}

    def write(self, sender: Sender, lives: Lives) -> bytes:
        """What stands before the messages of this sender: nothing, but for a node."""
        if not isinstance(sender, NodeSender):
            return b""
        others = [lives.get(node, 0) for node in self.nodes if node != sender.node_id]
        return self._pack.pack(len(others), *others)

    def read_untrusted(self, sender: Sender, plaintext: bytes) -> Said:
        """What the seal of this sender held; raise Dropped where it is cut short, or not of these nodes."""
        if not isinstance(sender, NodeSender):
            return NOTHING
        if not plaintext:
            raise Dropped("malformed")
        size = 1 + INCARNATION_BYTES * plaintext[0]
        if not self.nodes:
            return Said(UNKNOWN, plaintext[:size])
        if size != self.prefix_bytes or len(plaintext) < size or sender.node_id not in self.nodes:
            raise Dropped("malformed")
        _, *incarnations = self._pack.unpack_from(plaintext)
        incarnations.insert(self.nodes.index(sender.node_id), sender.incarnation)
        return Said(self._lives(tuple(incarnations)), plaintext[:size])

    def _lives(self, incarnations: tuple[int, ...]) -> Lives:
        found = self._known.get(incarnations)
        if found is None:
            if len(self._known) >= INTERNED_MAX:
                self._known.clear()
            found = self._known[incarnations] = dict(zip(self.nodes, incarnations, strict=True))
        return found


def _digest(nodes: tuple[str, ...]) -> bytes:
    return blake2b("\0".join(nodes).encode(), digest_size=MEMBERS_BYTES).digest()
