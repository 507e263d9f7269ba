"""The header of a datagram and the two kinds of sender (protocol.md section 8).

A datagram is a header, which is authenticated, and sealed messages:

    version 1 B | key id 1 B | sender kind 1 B | cell id 16 B | epoch 4 B | members 4 B
    | sender 17 to 177 or 40 B | sequence 8 B | issue 8 B | echo 8 B
    || lives (of a node) | length 2 B | array of messages | zeros

Numbers are big-endian. A node's 40 bytes are incarnation (8), run (16)
and node id (16, padded with zeros). The 16 bytes that a session has drawn are followed by its
grant: a length of one byte, and as many bytes.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import attrs

from paxlock.core.value import value
from paxlock.limits import CELL_ID_BYTES, GRANT_MAX_BYTES, NODE_ID_MAX_BYTES, RUN_BYTES, SESSION_BYTES
from paxlock.wire.codec import PAYLOAD_MAX_BYTES
from paxlock.wire.grants import session_of
from paxlock.wire.schema import is_node_id

__all__ = [
    "CHALLENGE_BYTES",
    "DATAGRAM_MAX_BYTES",
    "LENGTH",
    "NO_CELL",
    "NO_EPOCH",
    "SEQUENCE_BYTES",
    "SESSION_BYTES_MIN",
    "VERSION",
    "Dropped",
    "Header",
    "NodeSender",
    "Sender",
    "SessionSender",
    "end_header",
    "head_bytes",
    "parse_untrusted",
    "payload_of_untrusted",
]

VERSION = 3
DATAGRAM_MAX_BYTES = PAYLOAD_MAX_BYTES
NO_CELL = bytes(CELL_ID_BYTES)  #: from a session that does not know its cell yet; only with a Hello
NO_EPOCH = 0
SEQUENCE_BYTES = 8
LENGTH = struct.Struct(">H")  #: of the payload, before it under the seal

_SESSION_KIND = 1
_NODE_KIND = 2
_START = struct.Struct(">BBB")
_SESSION = struct.Struct(">BBB16sI4s16sB")  #: up to the length of the grant
_NODE = struct.Struct(">BBB16sI4s40sQQQ")
_NODE_SENDER = struct.Struct(">Q16s16s")
_INCARNATION = struct.Struct(">Q")
_CELL = struct.Struct(">BBB16sI4s")
_TAIL = struct.Struct(">QQQ")
SESSION_BYTES_MIN = _SESSION.size + _TAIL.size  #: the shortest header there is
_RUNS_REMEMBERED = 256
_U64_MAX = (1 << 64) - 1

#: An empty datagram of a node, without the seal, and without what it says of lives (wire/lives.py).
CHALLENGE_BYTES = _NODE.size + LENGTH.size + 1


class Dropped(Exception):
    """The datagram goes no further; ``reason`` is what it is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SessionSender(NamedTuple):
    """A session: one client in one process, by the 16 bytes that it has drawn, and the grant of its key: what
    it may do (empty where it has the root key).

    Of what is ``drawn`` follow, with the key, the keys that seal what it says: nodes are told that and nobody
    else. Everywhere else it goes by its ``session``, from which nobody finds the former.
    """

    drawn: bytes
    grant: bytes = b""

    def __repr__(self) -> str:
        return f"SessionSender(grant={self.grant!r})"  # what is drawn is for nobody's log

    @property
    def session(self) -> bytes:
        """What nodes and other sessions call it. Raises Malformed where the grant cannot be read."""
        return session_of(self.drawn, self.grant)

    @property
    def identity(self) -> bytes:
        """What tells it from every other sender."""
        return b"\x01" + self.drawn

    def check(self) -> None:
        """Raise ValueError for a session that cannot be written into a header."""
        if len(self.drawn) != SESSION_BYTES:
            raise ValueError(f"a session has {SESSION_BYTES} bytes, not {len(self.drawn)}")
        if len(self.grant) > GRANT_MAX_BYTES:
            raise ValueError(f"a grant has at most {GRANT_MAX_BYTES} bytes, not {len(self.grant)}")

    def start_header(self, key_id: int, cell_id: bytes, epoch: int, members: bytes) -> bytes:
        """The header without its last part, which is new for every datagram (`end_header`)."""
        return _CELL.pack(VERSION, key_id, _SESSION_KIND, cell_id, epoch, members) + (
            self.drawn + bytes((len(self.grant),)) + self.grant
        )


@value
class NodeSender:
    """One run of a node: its id, its incarnation, and the 16 random bytes of this run (section 7)."""

    node_id: str
    incarnation: int
    run: bytes
    identity: bytes = attrs.field(init=False, eq=False, repr=False)  #: tells it from every other sender

    @identity.default
    def _identity(self) -> bytes:
        # Cut off here what `check` will refuse.
        return b"\x02" + _INCARNATION.pack(self.incarnation & _U64_MAX) + self.run + self.node_id.encode()

    def check(self) -> None:
        """Raise ValueError for a node that cannot be written into a header."""
        if not is_node_id(self.node_id):
            raise ValueError(
                f"{self.node_id!r} is not a node id: 1 to {NODE_ID_MAX_BYTES} visible ASCII characters"
            )
        if len(self.run) != RUN_BYTES or not 0 <= self.incarnation <= _U64_MAX:
            raise ValueError(f"a run has {RUN_BYTES} bytes, and an incarnation is from 0 to 2**64 - 1")

    def start_header(self, key_id: int, cell_id: bytes, epoch: int, members: bytes) -> bytes:
        """The header without its last part, which is new for every datagram (`end_header`)."""
        sender = _NODE_SENDER.pack(self.incarnation, self.run, self.node_id.encode())
        return _CELL.pack(VERSION, key_id, _NODE_KIND, cell_id, epoch, members) + sender


Sender: TypeAlias = SessionSender | NodeSender


class Header(NamedTuple):
    """What a header says; nothing of it is true until the seal has been opened."""

    size: int
    key_id: int
    cell_id: bytes
    epoch: int
    members: bytes  #: a digest of the ids of the nodes
    sender: Sender
    sequence: int
    issue: int
    echo: int


def head_bytes(sender: Sender) -> int:
    """How long the headers of this sender are."""
    if isinstance(sender, SessionSender):
        return _SESSION.size + len(sender.grant) + _TAIL.size
    return _NODE.size


def payload_of_untrusted(plaintext: bytes, start: int) -> bytes:
    """What the seal held from ``start`` on, without length and padding; Dropped where these are not as they
    should be.
    """
    start += LENGTH.size
    if len(plaintext) < start:
        raise Dropped("malformed")
    end = start + LENGTH.unpack_from(plaintext, start - LENGTH.size)[0]
    if end > len(plaintext) or plaintext.count(0, end) != len(plaintext) - end:
        raise Dropped("malformed")
    return plaintext[start:end]


def end_header(sequence: int, issue: int, echo: int) -> bytes:
    """The last part of every header."""
    return _TAIL.pack(sequence, issue, echo)


@lru_cache(maxsize=_RUNS_REMEMBERED)
def _node_sender_untrusted(packed: bytes) -> NodeSender:
    """The run of a node in a header. The few runs of a cell come again and again."""
    incarnation, run, padded_id = _NODE_SENDER.unpack(packed)
    node_id = padded_id.rstrip(b"\0").decode("latin-1")
    if not is_node_id(node_id):
        raise Dropped("sender")
    return NodeSender(node_id, incarnation, run)


def parse_untrusted(datagram: bytes) -> Header:
    """Read the header of a datagram from the network; raise Dropped for what has none."""
    if not _START.size <= len(datagram) <= DATAGRAM_MAX_BYTES:
        raise Dropped("length")
    version, key_id, kind = datagram[0], datagram[1], datagram[2]
    if version != VERSION:
        raise Dropped("older_version" if 0 < version < VERSION else "version")
    if kind == _SESSION_KIND:
        if len(datagram) < _SESSION.size:
            raise Dropped("length")
        _, _, _, cell_id, epoch, members, session, length = _SESSION.unpack_from(datagram)
        start = _SESSION.size + length
        if length > GRANT_MAX_BYTES or len(datagram) < start + _TAIL.size:
            raise Dropped("length")
        sender = SessionSender(session, datagram[_SESSION.size : start])
        return Header(
            start + _TAIL.size,
            *(key_id, cell_id, epoch, members, sender),
            *_TAIL.unpack_from(datagram, start),
        )
    if kind != _NODE_KIND:
        raise Dropped("sender")
    if len(datagram) < _NODE.size:
        raise Dropped("length")
    _, _, _, cell_id, epoch, members, packed, *end = _NODE.unpack_from(datagram)
    return Header(_NODE.size, key_id, cell_id, epoch, members, _node_sender_untrusted(packed), *end)
