"""Bytes <-> messages (protocol.md section 8): the only module that knows CBOR.

A message is an array that begins with its kind, then the fields of its class in their order; a nested class
is a nested array without a kind; what is absent is null. Only a small part of CBOR occurs: whole numbers from
0 to 2**63 - 1, byte and text strings, arrays of known length, false, true and null, each with its shortest
length prefix. `decode_untrusted` walks over the bytes and refuses everything else *before* a general decoder
sees them: tags alone could make it build regular expressions, dates or cyclic lists.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs
import cbor2

from paxlock.core import messages as m
from paxlock.core.lease import (
    DATA_MAX_BYTES,
    LABEL_MAX_BYTES,
    NAME_MAX_BYTES,
    TERM_MAX,
    Candidate,
    Lease,
)

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable, Sequence

__all__ = [
    "ADDRESS_MAX_BYTES",
    "ATTEMPTS_MAX",
    "INT_MAX",
    "MEMBERS_MAX",
    "MESSAGES_MAX",
    "NODE_ID_MAX_BYTES",
    "PAYLOAD_MAX_BYTES",
    "RUN_BYTES",
    "SEQUENCE_MAX",
    "SESSION_BYTES",
    "Malformed",
    "decode_untrusted",
    "encode",
    "is_node_id",
    "join",
    "pack",
    "unpack_untrusted",
]

SESSION_BYTES = 16
RUN_BYTES = 16
NODE_ID_MAX_BYTES = 16
ADDRESS_MAX_BYTES = 255
INT_MAX = (1 << 63) - 1
ATTEMPTS_MAX = 128
SEQUENCE_MAX = 128
MEMBERS_MAX = 16
MESSAGES_MAX = 255
PAYLOAD_MAX_BYTES = 1200

_UTF8_WIDTH_MAX = 4


class Malformed(ValueError):
    """The bytes are not a list of messages of this protocol."""


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
            # The two most frequent of the long forms, here because a call would double the time.
            elif initial == _INT_8 and payload[at + 1] >= _SHORT:
                at += 2
                missing -= 1
            elif initial == _INT_16 and payload[at + 1]:
                at += 3
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


# Fields: the type on the wire, and what turns the value from the wire (checking its limits) and to it.

_Convert: TypeAlias = "Callable[[Any], Any]"


@attrs.frozen
class _Field:
    wire: type
    decode: _Convert | None = None
    encode: _Convert | None = None
    nullable: bool = False


def _term(value: int) -> int:
    if value > TERM_MAX:
        raise Malformed("a term is out of range")
    return value


def _text(limit: int, *, empty: bool) -> _Convert:
    surely = limit // _UTF8_WIDTH_MAX

    def check(value: str) -> str:
        if (len(value) > surely and len(value.encode()) > limit) or (not value and not empty):
            raise Malformed("a text is too long, or empty")
        return value

    return check


def _exactly(length: int, *, empty: bool = False) -> _Convert:
    def check(value: bytes) -> bytes:
        if len(value) != length and (value or not empty):
            raise Malformed("a byte string does not have its fixed length")
        return value

    return check


def _data(value: bytes) -> bytes:
    if len(value) > DATA_MAX_BYTES:
        raise Malformed("data is too long")
    return value


def is_node_id(text: str) -> bool:
    """May this be a node id: 1 to 16 visible ASCII characters?"""
    return 0 < len(text) <= NODE_ID_MAX_BYTES and text.isascii() and text.isprintable() and " " not in text


def _node_id(value: str) -> str:
    if not is_node_id(value):
        raise Malformed("not a node id")
    return value


def _choice(enumeration: type[enum.IntEnum]) -> _Field:
    known = {int(member): member for member in enumeration}

    def decode(value: int) -> enum.IntEnum:
        member = known.get(value)
        if member is None:
            raise Malformed(f"no such {enumeration.__name__}")
        return member

    return _Field(int, decode, int)


def _sequence(item: _Field, limit: int) -> _Field:
    """A tuple of at most ``limit`` items of one kind."""

    def decode(values: list[Any]) -> tuple[Any, ...]:
        if len(values) > limit or any(type(value) is not item.wire for value in values):
            raise Malformed("a sequence is too long, or has an item of a wrong type")
        return tuple(values) if item.decode is None else tuple(map(item.decode, values))

    def encode(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return values if item.encode is None else tuple(map(item.encode, values))

    return _Field(list, decode, encode)


def _pair(first: _Field, second: _Field) -> _Field:
    """A nested array of two items without nested ones."""
    shape = (first.wire, second.wire)

    def decode(values: list[Any]) -> Any:
        if tuple(map(type, values)) != shape:
            raise Malformed("not a pair of the right types")
        if first.decode is not None:
            first.decode(values[0])
        if second.decode is not None:
            second.decode(values[1])
        return tuple(values)

    return _Field(list, decode, tuple)


@attrs.frozen
class _Schema:
    """How one class is written: its fields in order, and what must hold for the whole."""

    build: Callable[..., Any]
    values: Callable[[Any], tuple[Any, ...]]
    shapes: tuple[tuple[type, ...], ...]
    decoders: tuple[tuple[int, _Convert], ...]
    encoders: tuple[tuple[int, _Convert], ...]
    check: Callable[[Any], bool] | None

    def decode(self, values: list[Any]) -> Any:
        if tuple(map(type, values)) not in self.shapes:
            raise Malformed("the fields are not those of the class")
        for index, convert in self.decoders:
            values[index] = convert(values[index])
        instance = self.build(*values)
        if self.check is not None and not self.check(instance):
            raise Malformed("the fields contradict each other")
        return instance

    def encode(self, instance: Any) -> list[Any]:
        values = list(self.values(instance))
        for index, convert in self.encoders:
            values[index] = convert(values[index])
        return values


def _schema(cls: type, *fields: _Field, check: Callable[[Any], bool] | None = None) -> _Schema:
    names = [attribute.name for attribute in attrs.fields(cls)]
    assert len(names) == len(fields), cls
    getter = attrgetter(*names)

    def optional(convert: _Convert) -> _Convert:
        return lambda value: None if value is None else convert(value)

    def converters(chosen: list[_Convert | None]) -> tuple[tuple[int, _Convert], ...]:
        return tuple(
            (index, optional(convert) if fields[index].nullable else convert)
            for index, convert in enumerate(chosen)
            if convert is not None
        )

    shape = tuple(field.wire for field in fields)
    absent = tuple(type(None) if field.nullable else field.wire for field in fields)
    return _Schema(
        build=cls,
        values=getter if len(names) > 1 else lambda instance: (getter(instance),),
        shapes=(shape,) if absent == shape else (shape, absent),
        decoders=converters([field.decode for field in fields]),
        encoders=converters([field.encode for field in fields]),
        check=check,
    )


def _candidate(values: list[Any]) -> Candidate:
    """As `_pair` would, in one step: a candidate is in nearly every message."""
    if len(values) != 2:
        raise Malformed("not a candidate")
    session, attempt = values
    if type(session) is not bytes or len(session) != SESSION_BYTES or type(attempt) is not int:
        raise Malformed("not a candidate")
    return Candidate(session, attempt)


def _nested(schema: _Schema, *, nullable: bool = False) -> _Field:
    return _Field(list, schema.decode, schema.encode, nullable)


_INT = _Field(int)
_BOOL = _Field(bool)
_TERM_FIELD = _Field(int, _term)
_NAME = _Field(str, _text(NAME_MAX_BYTES, empty=False))
_PREFIX = _Field(str, _text(NAME_MAX_BYTES, empty=True))
_LABEL = _Field(str, _text(LABEL_MAX_BYTES, empty=True))
_ADDRESS = _Field(str, _text(ADDRESS_MAX_BYTES, empty=False))
_DATA = _Field(bytes, _data)
_NODE = _Field(str, _node_id)
_SESSION = _Field(bytes, _exactly(SESSION_BYTES))
_RUN = _Field(bytes, _exactly(RUN_BYTES))
_SEEN_RUN = _Field(bytes, _exactly(RUN_BYTES, empty=True))
_ATTEMPTS = _sequence(_INT, ATTEMPTS_MAX)
_CANDIDATE = _Field(list, _candidate, tuple)
_HELD = _sequence(_pair(_INT, _TERM_FIELD), ATTEMPTS_MAX)
_MODE = _choice(m.NodeMode)

_LEASE = _schema(Lease, _CANDIDATE, _INT, _LABEL, _DATA, _TERM_FIELD)
_OCCUPANT = _schema(m.Occupant, _CANDIDATE, _choice(m.Occupancy), _INT, _LABEL, _INT, _INT)
_MEMBER = _schema(m.Member, _NODE, _ADDRESS)
_WAITER = _schema(m.Waiter, _CANDIDATE, _LABEL, _INT)
_LEASE_FIELD = _nested(_LEASE)
_VIEW = _schema(
    m.View,
    *(_INT, _NAME, _TERM_FIELD, _nested(_LEASE, nullable=True), _TERM_FIELD, _BOOL, _BOOL, _BOOL, _INT),
)
_REFUSED = (_CANDIDATE, _choice(m.RefusalReason), _TERM_FIELD, _TERM_FIELD, _nested(_OCCUPANT, nullable=True))
_WELCOME = (_NODE, _sequence(_nested(_MEMBER), MEMBERS_MAX), _INT, _INT, _INT, _MODE, _INT, _TERM_FIELD)

# The table of kinds. A number is given once: it is never used again for another class or other fields,
# also after its message has gone out of use. Below 24 a kind takes up one byte.
_BY_KIND: dict[int, _Schema] = {
    # from sessions to nodes
    1: _schema(m.Hello, _INT),
    2: _schema(m.Prepare, _INT, _NAME, _TERM_FIELD, _CANDIDATE, _INT, _INT, _LABEL),
    3: _schema(m.Accept, _INT, _NAME, _TERM_FIELD, _LEASE_FIELD, _INT, _INT),
    4: _schema(m.Commit, _NAME, _TERM_FIELD, _LEASE_FIELD),
    5: _schema(m.Renew, _INT, _SESSION, _INT, _ATTEMPTS),
    6: _schema(m.Release, _INT, _NAME, _CANDIDATE, _TERM_FIELD),
    7: _schema(m.Poll, _INT, _NAME),
    8: _schema(m.Watch, _INT, _INT, _PREFIX, _BOOL, _INT, check=lambda watch: watch.prefix or watch.pattern),
    9: _schema(m.Seen, _INT, _sequence(_pair(_NAME, _INT), SEQUENCE_MAX)),
    # from nodes to sessions
    10: _schema(m.Promise, _INT, _NAME, _CANDIDATE, _TERM_FIELD, _TERM_FIELD, _TERM_FIELD),
    11: _schema(m.Refused, _INT, _NAME, *_REFUSED),
    12: _schema(m.Recovering, _INT, _INT),
    13: _schema(m.Accepted, _INT, _NAME, _CANDIDATE, _TERM_FIELD, _INT),
    14: _schema(
        m.Renewed,
        _INT,
        _SESSION,
        _SESSION,
        _INT,
        _sequence(_pair(_INT, _TERM_FIELD), ATTEMPTS_MAX),
        _ATTEMPTS,
    ),
    15: _schema(m.Released, _INT, _NAME, _CANDIDATE, _TERM_FIELD),
    16: _VIEW,
    17: _schema(m.Watching, _INT, _INT),
    18: _schema(m.Event, _INT, _INT, _nested(_VIEW)),
    19: _schema(m.Welcome, _INT, *_WELCOME),
    # between nodes
    20: _schema(m.Greet, _INT, _INT, _RUN),
    21: _schema(m.Greeted, _INT, _INT, _SEEN_RUN, _INT, _RUN, _TERM_FIELD, _MODE),
    22: _schema(m.Inquire, _INT, _NAME),
    # from sessions to nodes
    23: _schema(
        m.StandingPrepare,
        *(_INT, _NAME, _TERM_FIELD, _CANDIDATE, _INT, _INT, _LABEL, _INT, _DATA, _INT),
    ),
    # the rarer ones, in two bytes
    24: _schema(m.Waiting, _INT, _NAME, _INT),
    25: _schema(m.List, _INT, _PREFIX, _PREFIX),
    26: _schema(m.Unwatch, _INT, _INT),
    27: _schema(m.Waiters, _INT, _NAME, _INT, _sequence(_nested(_WAITER), SEQUENCE_MAX)),
    28: _schema(m.Names, _INT, _sequence(_NAME, SEQUENCE_MAX), _BOOL),
}
_BY_CLASS: dict[Any, tuple[int, _Schema]] = {
    schema.build: (kind, schema) for kind, schema in _BY_KIND.items()
}


def encode(message: m.Message) -> bytes:
    """Encode one message. Limits are those of whoever built it: they are checked where bytes come in."""
    kind, schema = _BY_CLASS[type(message)]
    values = [kind, *schema.values(message)]
    for index, convert in schema.encoders:
        values[index + 1] = convert(values[index + 1])
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
            raise Malformed("a message of unknown kind")
        del values[0]
        decoded.append(cast("m.Message", schema.decode(values)))
    return tuple(decoded)
