"""Bytes <-> messages (protocol.md section 8): the only module that knows CBOR.

A message is an array that begins with its kind, then the fields of its class in their order; a nested class
is a nested array without a kind; what is absent is null. Only a small part of CBOR occurs: whole numbers from
0 to 2**63 - 1, byte and text strings, arrays of known length, false, true and null, each with its shortest
length prefix. `decode_untrusted` walks over the bytes and refuses everything else *before* a general decoder
sees them: tags alone could make it build regular expressions, dates or cyclic lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import cbor2

from paxlock.core import journal as j
from paxlock.core import messages as m
from paxlock.core import seeing as s
from paxlock.core import steering as st
from paxlock.core.durable import SeenNode
from paxlock.core.lease import Lease
from paxlock.core.reasons import Barrier, RefusalReason
from paxlock.wire.schema import (
    ADDRESS,
    ATTEMPTS,
    ATTEMPTS_MAX,
    BOOL,
    CANDIDATE,
    DATA,
    INT,
    LABEL,
    NAME,
    NODE,
    PREFIX,
    RUN,
    SECRET,
    SEEN_RUN,
    SESSION,
    TERM,
    Malformed,
    Schema,
    UnknownKind,
    choice,
    nested,
    pairs,
    sequence,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "INT_MAX",
    "MEMBERS_MAX",
    "MESSAGES_MAX",
    "PAYLOAD_MAX_BYTES",
    "SEQUENCE_MAX",
    "Malformed",
    "decode_untrusted",
    "encode",
    "join",
    "pack",
    "unpack_untrusted",
]

INT_MAX = (1 << 63) - 1
SEQUENCE_MAX = 128
MEMBERS_MAX = 16
MESSAGES_MAX = 255
PAYLOAD_MAX_BYTES = 1200


# The walk over the bytes. For each initial byte: how many bytes the item takes up here, and by how much the
# number of items still to come changes (-1, and +n for an array of n). A size of 0 marks what needs a closer
# look, or does not belong to the schema.

_INT_8, _INT_16, _INT_32, _INT_64 = 0x18, 0x19, 0x1A, 0x1B
_BYTES, _BYTES_8, _BYTES_16 = 0x40, 0x58, 0x59
_TEXT, _TEXT_8 = 0x60, 0x78
_ARRAY, _ARRAY_8 = 0x80, 0x98
_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6
_SHORT = 24  #: counts below this one are part of the initial byte


def _walk_tables() -> tuple[bytes, tuple[int, ...]]:
    sizes = bytearray(256)
    change = [-1] * 256
    for count in range(_SHORT):
        sizes[count] = 1
        sizes[_BYTES + count] = sizes[_TEXT + count] = 1 + count
        sizes[_ARRAY + count] = 1
        change[_ARRAY + count] = count - 1
    for simple in (_FALSE, _TRUE, _NULL):
        sizes[simple] = 1
    return bytes(sizes), tuple(change)


_SIZES, _CHANGE = _walk_tables()
_INT_BYTES = {_INT_8: 1, _INT_16: 2, _INT_32: 4, _INT_64: 8}
_COUNT_BYTES = {_BYTES_8: 1, _BYTES_16: 2, _TEXT_8: 1, _ARRAY_8: 1}


def _long_form(payload: bytes, at: int) -> tuple[int, int]:
    """Size and change of the item at ``at`` whose number follows its initial byte; Malformed if not ours."""
    initial = payload[at]
    width = _INT_BYTES.get(initial) or _COUNT_BYTES.get(initial)
    if width is None:
        raise Malformed(f"an item of type 0x{initial:02x} does not occur in a message")
    number = int.from_bytes(payload[at + 1 : at + 1 + width])
    # The shortest form only, so that one message has one encoding.
    if number < (_SHORT if width == 1 else 1 << (4 * width)) or number > INT_MAX:
        raise Malformed("a number is not in its shortest form, or too large")
    if initial in _INT_BYTES:
        return 1 + width, -1
    if initial == _ARRAY_8:
        return 2, number - 1
    return 1 + width + number, -1


def _walk(payload: bytes) -> None:
    """Refuse what is not exactly one item of our part of CBOR. Each step consumes at least one byte."""
    sizes, change = _SIZES, _CHANGE
    at = 0
    missing = 1
    try:
        while missing:
            initial = payload[at]
            size = sizes[initial]
            if size:
                at += size
                missing += change[initial]
            # The most frequent of the long forms, here because a call would double the time: in a cell that
            # has run for long, requests and attempts take up four bytes, and terms that began by the clock
            # are between 2**48 and 2**56.
            elif initial == _INT_8 and payload[at + 1] >= _SHORT:
                at += 2
                missing -= 1
            elif initial == _INT_16 and payload[at + 1]:
                at += 3
                missing -= 1
            elif initial == _INT_32 and (payload[at + 1] or payload[at + 2]):
                at += 5
                missing -= 1
            elif initial == _INT_64 and payload[at + 2] and not payload[at + 1]:
                at += 9
                missing -= 1
            else:
                size, more = _long_form(payload, at)
                at += size
                missing += more
    except IndexError:
        raise Malformed("the bytes end too early") from None
    if at != len(payload):
        raise Malformed("bytes are missing at the end, or left over")


def pack(values: Sequence[object]) -> bytes:
    """Encode one array of plain values: int, bytes, str, bool, None and tuples of these."""
    return cbor2.dumps(values)


def unpack_untrusted(payload: bytes) -> list[Any]:
    """Decode exactly one array of plain values from bytes of unknown origin; raise Malformed."""
    if len(payload) > PAYLOAD_MAX_BYTES:
        raise Malformed("too long")
    _walk(payload)
    try:
        values = cbor2.loads(payload)
    except (cbor2.CBORDecodeError, ValueError, RecursionError) as error:
        raise Malformed("the bytes cannot be decoded") from error
    if type(values) is not list:
        raise Malformed("not an array")
    return values


_MODE = choice(m.NodeMode)

_LEASE = Schema(Lease, CANDIDATE, INT, LABEL, DATA, TERM, INT)
_OCCUPANT = Schema(m.Occupant, CANDIDATE, choice(m.Occupancy), INT, LABEL, INT, INT, INT, BOOL)
_MEMBER = Schema(m.Member, NODE, ADDRESS)
_WAITER = Schema(m.WaiterEntry, CANDIDATE, LABEL, INT)
_HAPPENED = Schema(
    j.Happened,
    *(INT, choice(j.Happening), INT, attrs.evolve(CANDIDATE, nullable=True), TERM, LABEL, INT),
    *(attrs.evolve(choice(RefusalReason), nullable=True), INT),
)
_SEEN = Schema(SeenNode, NODE, INT, RUN)
_LEASE_FIELD = nested(_LEASE)
_VIEW = Schema(
    m.View,
    *(INT, NAME, TERM, nested(_LEASE, nullable=True), TERM, BOOL, BOOL, BOOL, INT),
)
_REFUSED = (CANDIDATE, choice(m.RefusalReason), TERM, TERM, nested(_OCCUPANT, nullable=True), INT)
_WELCOME = (NODE, sequence(nested(_MEMBER), MEMBERS_MAX), INT, INT, INT, _MODE, INT, TERM, LABEL)

# The table of kinds. A number is given once: it is never used again for another class or other fields,
# also after its message has gone out of use. Below 24 a kind takes up one byte.
_BY_KIND: dict[int, Schema] = {
    # from sessions to nodes
    1: Schema(m.Hello, INT),
    2: Schema(m.Prepare, INT, NAME, TERM, CANDIDATE, INT, INT, INT, LABEL),
    3: Schema(m.Accept, INT, NAME, TERM, _LEASE_FIELD, INT, INT, INT, SECRET),
    4: Schema(m.Commit, NAME, TERM, _LEASE_FIELD, SECRET),
    5: Schema(
        m.Renew,
        *(INT, SESSION, INT, ATTEMPTS, sequence(SECRET, ATTEMPTS_MAX)),
        check=lambda renew: len(renew.secrets) in (0, len(renew.attempts)),
    ),
    6: Schema(m.Release, INT, NAME, CANDIDATE, TERM, SECRET),
    7: Schema(m.Poll, INT, NAME),
    8: Schema(m.Watch, INT, INT, PREFIX, BOOL, INT, check=lambda watch: watch.prefix or watch.pattern),
    9: Schema(m.Seen, INT, pairs(NAME, INT, SEQUENCE_MAX)),
    # from nodes to sessions
    10: Schema(m.Promise, INT, NAME, CANDIDATE, TERM, TERM, TERM),
    11: Schema(m.Refused, INT, NAME, *_REFUSED),
    12: Schema(m.Recovering, INT, INT),
    13: Schema(m.Accepted, INT, NAME, CANDIDATE, TERM, INT),
    14: Schema(
        m.Renewed,
        INT,
        SESSION,
        SESSION,
        INT,
        pairs(INT, TERM, ATTEMPTS_MAX),
        ATTEMPTS,
    ),
    15: Schema(m.Released, INT, NAME, CANDIDATE, TERM),
    16: _VIEW,
    17: Schema(m.Watching, INT, INT),
    18: Schema(m.WatchEvent, INT, INT, nested(_VIEW)),
    # between nodes
    20: Schema(m.Greet, INT, INT, RUN),
    22: Schema(m.Inquire, INT, NAME),
    # from sessions to nodes
    23: Schema(
        m.StandingPrepare,
        *(INT, NAME, TERM, CANDIDATE, INT, INT, INT, LABEL, INT, DATA, INT, SECRET),
    ),
    # the rarer ones, in two bytes
    24: Schema(m.Waiting, INT, NAME, INT),
    25: Schema(m.List, INT, PREFIX, PREFIX, INT),
    26: Schema(m.Unwatch, INT, INT),
    27: Schema(m.Waiters, INT, NAME, INT, sequence(nested(_WAITER), SEQUENCE_MAX)),
    28: Schema(m.Names, INT, PREFIX, sequence(NAME, SEQUENCE_MAX), BOOL),
    31: Schema(m.Forbidden, INT, choice(Barrier)),
    32: Schema(st.Revoke, INT, NAME, CANDIDATE, TERM, BOOL, attrs.evolve(CANDIDATE, nullable=True)),
    33: Schema(st.Publish, INT, NAME, CANDIDATE, INT, DATA),
    34: Schema(st.RevokeAnswer, INT, NAME, CANDIDATE, BOOL, BOOL),
    35: Schema(st.LetGo, INT, NAME, CANDIDATE),
    36: Schema(st.Published, INT, NAME, CANDIDATE, INT),
    37: Schema(j.Recall, INT, NAME, INT),
    38: Schema(j.Recalled, INT, NAME, INT, INT, BOOL, sequence(nested(_HAPPENED), SEQUENCE_MAX)),
    39: Schema(s.Ping, INT),
    40: Schema(s.Pong, INT, INT),
    41: Schema(s.Count, INT, PREFIX),
    42: Schema(s.Counted, INT, PREFIX, BOOL, pairs(NAME, INT, SEQUENCE_MAX)),
    # 19 and 21 were Welcome and Greeted in version 1 of the wire format
    30: Schema(m.Welcome, INT, *_WELCOME),
    29: Schema(
        m.Greeted,
        *(INT, INT, RUN, INT, SEEN_RUN, INT, RUN, TERM, _MODE, BOOL, BOOL, INT, INT, INT),
        sequence(nested(_SEEN), MEMBERS_MAX),
    ),
}
_BY_CLASS: dict[Any, tuple[int, Schema]] = {schema.cls: (kind, schema) for kind, schema in _BY_KIND.items()}


def encode(message: m.Message) -> bytes:
    """Encode one message. Limits are those of whoever built it: they are checked where bytes come in."""
    kind, schema = _BY_CLASS[type(message)]
    values = schema.encode(message)
    values.insert(0, kind)
    return cbor2.dumps(values)


def join(encoded: Sequence[bytes]) -> bytes:
    """Put encoded messages, at most MESSAGES_MAX, into one array: the payload of a datagram."""
    count = len(encoded)
    if count > MESSAGES_MAX:
        raise ValueError(f"at most {MESSAGES_MAX} messages go into one payload, not {count}")
    header = bytes((_ARRAY + count,)) if count < _SHORT else bytes((_ARRAY_8, count))
    return header + b"".join(encoded)


def decode_untrusted(payload: bytes) -> tuple[m.Message, ...]:
    """Decode a payload of at most PAYLOAD_MAX_BYTES; raise Malformed for anything not in the schema.

    The work is bounded by the length: one walk over the bytes, one pass of the decoder, one check per field.
    """
    decoded: list[m.Message] = []
    for values in unpack_untrusted(payload):
        if type(values) is not list or not values or type(values[0]) is not int:
            raise Malformed("a message is not an array that begins with its kind")
        schema = _BY_KIND.get(values[0])
        if schema is None:
            raise UnknownKind("a message of unknown kind")
        del values[0]
        decoded.append(schema.decode(values))
    return tuple(decoded)
