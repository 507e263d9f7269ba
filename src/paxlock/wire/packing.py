"""Messages into datagrams: encoded once, in order, as many in each as fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from paxlock.core.messages import Hello
from paxlock.wire.codec import MESSAGES_MAX, decode_untrusted, encode
from paxlock.wire.header import DATAGRAM_MAX_BYTES

if TYPE_CHECKING:
    from paxlock.core.messages import Message

__all__ = ["Encoder", "PendingMessages", "batches", "hello_only_untrusted"]


@attrs.define(eq=False)
class PendingMessages:
    """Encoded messages for one peer; ``padded`` where a Hello is among them."""

    messages: list[bytes] = attrs.field(factory=list)
    padded: bool = False


class Encoder:
    """Encodes messages of at most ``room`` bytes; the same one to several nodes only once."""

    __slots__ = ("_encoded", "_message", "_room")

    def __init__(self, room: int) -> None:
        self._room = room
        self._message: Message | None = None
        self._encoded = b""

    def encode(self, message: Message) -> bytes:
        """Raises ValueError for a message that does not fit into a datagram."""
        if message is not self._message:
            encoded = encode(message)
            if len(encoded) > self._room:
                raise ValueError(
                    f"a {type(message).__name__} of {len(encoded)} bytes does not fit into a datagram: "
                    f"there is room for {self._room} bytes"
                )
            self._message, self._encoded = message, encoded
        return self._encoded


def batches(messages: list[bytes], room: int) -> list[list[bytes]]:
    """These encoded messages, in order, as many at a time as go into one datagram."""
    if len(messages) <= MESSAGES_MAX and sum(map(len, messages)) <= room:
        return [messages]
    found: list[list[bytes]] = []
    left = 0
    for encoded in messages:
        if not found or left < len(encoded) or len(found[-1]) == MESSAGES_MAX:
            found.append([])
            left = room
        found[-1].append(encoded)
        left -= len(encoded)
    return found


def hello_only_untrusted(datagram: bytes, payload: bytes) -> tuple[Message, ...]:
    """The first Hello of a sender that has not proved its address: one datagram in, one answer out.

    It counts only where it is padded, so that the answer is never longer than what it answers.
    """
    for message in decode_untrusted(payload):
        if type(message) is Hello and len(datagram) == DATAGRAM_MAX_BYTES:
            return (message,)
    return ()
