"""How the classes of the protocol are written as plain values, and read and checked (protocol.md section 8).

A schema is a class and its fields in order. The code that reads and writes is made from it once, as attrs
makes methods: a loop over the fields of each message took twice as long. Whatever is not exactly as the
schema says is Malformed.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import attrs

from paxlock.core.handles import SECRET_BYTES
from paxlock.core.lease import (
    DATA_MAX_BYTES,
    LABEL_MAX_BYTES,
    NAME_MAX_BYTES,
    TERM_MAX,
    Candidate,
)
from paxlock.core.value import value
from paxlock.limits import NODE_ID_MAX_BYTES, RUN_BYTES, SESSION_BYTES
from paxlock.text import is_normal

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable

__all__ = [
    "ADDRESS",
    "ADDRESS_MAX_BYTES",
    "ATTEMPTS",
    "ATTEMPTS_MAX",
    "BOOL",
    "CANDIDATE",
    "DATA",
    "INT",
    "LABEL",
    "NAME",
    "NODE",
    "PREFIX",
    "RUN",
    "SECRET",
    "SEEN_RUN",
    "SESSION",
    "TERM",
    "Field",
    "Malformed",
    "Schema",
    "UnknownKind",
    "choice",
    "is_node_id",
    "nested",
    "pairs",
    "sequence",
]

ADDRESS_MAX_BYTES = 255
ATTEMPTS_MAX = 128

_UTF8_WIDTH_MAX = 4

_Convert: TypeAlias = "Callable[[Any], Any]"


class Malformed(ValueError):
    """The bytes are not a list of messages of this protocol."""

    reason = "malformed"  #: what a datagram with them is counted under


class UnknownKind(Malformed):
    """One of the messages is of a kind that is not in the table: a later version may know it."""

    reason = "unknown_kind"


@value
class Field:
    """The type on the wire, and what turns a value of it into the field's own (checking its limits) and back.

    ``usual``, where there is one, is an expression of the value ``{0}``: while it holds, the value is good as
    it is, and ``decode`` need not be called.
    """

    wire: type
    decode: _Convert | None = None
    encode: _Convert | None = None
    usual: str = ""
    nullable: bool = False


def _term(value: int) -> int:
    if value > TERM_MAX:
        raise Malformed("a term is out of range")
    return value


def _text(limit: int, *, empty: bool, given: bool = False) -> Field:
    """A text; with ``given`` one that people give, a name or a label, which clients send in NFC."""

    def check(value: str) -> str:
        if len(value.encode()) > limit or (not value and not empty):
            raise Malformed("a text is too long, or empty")
        if given and not is_normal(value):
            raise Malformed("a name or a label is not in NFC, or has characters that nobody sees")
        return value

    least = 0 if empty else 1
    usual = f"{least} <= len({{0}}) <= {limit // _UTF8_WIDTH_MAX}"
    return Field(str, check, usual=f"{usual} and {{0}}.isascii() and {{0}}.isprintable()" if given else usual)


def _exactly(length: int, *, empty: bool = False) -> Field:
    def check(value: bytes) -> bytes:
        if len(value) != length and (value or not empty):
            raise Malformed("a byte string does not have its fixed length")
        return value

    return Field(bytes, check, usual=f"len({{0}}) == {length}")


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


def _candidate(values: list[Any]) -> Candidate:
    """As `pair` would, in one step: a candidate is in nearly every message."""
    if len(values) != 2:
        raise Malformed("not a candidate")
    session, attempt = values
    if type(session) is not bytes or len(session) != SESSION_BYTES or type(attempt) is not int:
        raise Malformed("not a candidate")
    return tuple.__new__(Candidate, values)


INT = Field(int)
BOOL = Field(bool)
TERM = Field(int, _term, usual=f"{{0}} <= {TERM_MAX}")
NAME = _text(NAME_MAX_BYTES, empty=False, given=True)
PREFIX = _text(NAME_MAX_BYTES, empty=True, given=True)
LABEL = _text(LABEL_MAX_BYTES, empty=True, given=True)
ADDRESS = _text(ADDRESS_MAX_BYTES, empty=False)
DATA = Field(bytes, _data, usual=f"len({{0}}) <= {DATA_MAX_BYTES}")
NODE = Field(str, _node_id)
SESSION = _exactly(SESSION_BYTES)
RUN = _exactly(RUN_BYTES)
SEEN_RUN = _exactly(RUN_BYTES, empty=True)
SECRET = _exactly(SECRET_BYTES, empty=True)  #: or a lock
CANDIDATE = Field(list, _candidate, list)  # cbor2 writes a list faster than a tuple


def choice(enumeration: type[enum.IntEnum]) -> Field:
    """One of an enumeration, by its number."""
    known = {int(member): member for member in enumeration}

    def decode(value: int) -> enum.IntEnum:
        member = known.get(value)
        if member is None:
            raise Malformed(f"no such {enumeration.__name__}")
        return member

    return Field(int, decode, int)


def sequence(item: Field, limit: int) -> Field:
    """A tuple of at most ``limit`` items of one kind."""
    types = {item.wire}

    def decode(values: list[Any]) -> tuple[Any, ...]:
        if len(values) > limit or not types.issuperset(map(type, values)):
            raise Malformed("a sequence is too long, or has an item of a wrong type")
        return tuple(values) if item.decode is None else tuple(map(item.decode, values))

    def encode(values: tuple[Any, ...]) -> tuple[Any, ...]:
        return values if item.encode is None else tuple(map(item.encode, values))

    return Field(list, decode, encode)


def pairs(first: Field, second: Field, limit: int) -> Field:
    """A tuple of at most ``limit`` pairs, each a nested array of two plain values.

    They are checked by columns: a renewal has a hundred of them, and a step for each would take longer.
    """
    columns = (({first.wire}, first.decode), ({second.wire}, second.decode))
    arrays, length = {list}, {2}

    def decode(values: list[Any]) -> tuple[Any, ...]:
        if not values:
            return ()
        if len(values) > limit or not arrays.issuperset(map(type, values)) or set(map(len, values)) != length:
            raise Malformed("a sequence is too long, or has an item that is no pair")
        for column, (types, check) in zip(zip(*values, strict=True), columns, strict=True):
            if not types.issuperset(map(type, column)):
                raise Malformed("a pair has an item of a wrong type")
            if check is not None:
                for value in column:
                    check(value)
        return tuple(map(tuple, values))

    return Field(list, decode)


ATTEMPTS = sequence(INT, ATTEMPTS_MAX)


def _refuse(what: str = "the fields are not those of the class") -> NoReturn:
    raise Malformed(what) from None


_SOURCE = """
def decode(values):
    try:
        {names}, = values
    except ValueError:
        refuse()
    if not ({types}):
        refuse()
    return build({read})

def encode(instance):
    return [{written}]
"""


class Schema:
    """How one class is written: its fields in order, and what must hold for the whole.

    ``decode`` builds an instance from a list of plain values, or raises Malformed; ``encode`` gives the list.
    Their code is made when it is first wanted: a start does not pay for messages that it does not see.
    """

    def __init__(self, cls: type, *fields: Field, check: Callable[[Any], bool] | None = None) -> None:
        """``check`` is asked whether the fields go together."""
        self.cls = cls
        self.fields = fields
        self._check = check

    @cached_property
    def decode(self) -> Callable[[list[Any]], Any]:
        plain: _Convert = self._code["decode"]
        return plain if self._check is None else _checked(plain, self._check)

    @cached_property
    def encode(self) -> Callable[[Any], list[Any]]:
        written: Callable[[Any], list[Any]] = self._code["encode"]
        return written

    @cached_property
    def _code(self) -> dict[str, Any]:
        attributes = [attribute.name for attribute in attrs.fields(self.cls)]
        scope: dict[str, Any] = {"refuse": _refuse, "build": self.cls}
        named = [(f"v{index}", field) for index, field in enumerate(self.fields)]
        for name, field in named:
            scope |= {f"{name}_type": field.wire, f"read_{name}": field.decode, f"write_{name}": field.encode}
        source = _SOURCE.format(
            names=", ".join(name for name, _ in named),
            types=" and ".join(_type_of(name, field) for name, field in named),
            read=", ".join(_read(name, field) for name, field in named),
            written=", ".join(
                _written(name, attribute, field)
                for (name, field), attribute in zip(named, attributes, strict=True)
            ),
        )
        exec(compile(source, f"{__file__}, {self.cls.__name__}", "exec"), scope)
        return scope


def _type_of(name: str, field: Field) -> str:
    expression = f"type({name}) is {name}_type"
    return f"({name} is None or {expression})" if field.nullable else expression


def _read(name: str, field: Field) -> str:
    if field.decode is None:
        return name
    unless = [f"{name} is None"] if field.nullable else []
    unless += [field.usual.format(name)] if field.usual else []
    return f"{name} if {' or '.join(unless)} else read_{name}({name})" if unless else f"read_{name}({name})"


def _written(name: str, attribute: str, field: Field) -> str:
    value = f"instance.{attribute}"
    if field.encode is None:
        return value
    written = f"write_{name}({value})"
    return f"None if {value} is None else {written}" if field.nullable else written


def _checked(decode: _Convert, check: Callable[[Any], bool]) -> _Convert:
    def decode_and_check(values: list[Any]) -> Any:
        instance = decode(values)
        if not check(instance):
            raise Malformed("the fields contradict each other")
        return instance

    return decode_and_check


def nested(schema: Schema, *, nullable: bool = False) -> Field:
    """A nested array with the fields of a class."""
    return Field(list, schema.decode, schema.encode, nullable=nullable)
