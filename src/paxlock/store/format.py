"""The text form of a node's record: format version 1 (protocol.md section 7).

A file is JSON in ASCII, then one line ``sha256 HEX`` over everything before it; bytes are written as hex.
Reading is strict: exactly the fields that are written, each with its type and range, as the tables below say.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from paxlock.core.durable import Durability, Membership, NodeRecord, SeenNode
from paxlock.core.lease import TERM_MAX
from paxlock.limits import CELL_ID_BYTES, NODE_ID_MAX_BYTES
from paxlock.store.damage import DamagedError, LaterFormatError

__all__ = ["FORMAT_VERSION", "decode_record", "encode_record"]

FORMAT_VERSION = 1
RUN_MAX_BYTES = 64
OCTETS_MAX_BYTES = 65_536
INTEGER_MAX = (1 << 63) - 1


class Kind(NamedTuple):
    """How a value of one kind is written and read; ``read`` gets the name of its field, for what is wrong."""

    write: Callable[[Any], object]
    read: Callable[[object, str], Any]


def _same(value: object) -> object:
    return value


def _object(source: object, keys: Iterable[str]) -> dict[str, Any]:
    """A JSON object with exactly these keys."""
    if type(source) is not dict or source.keys() != set(keys):
        raise DamagedError(f"an object with the keys {', '.join(keys)} was expected")
    return source


def _integer(maximum: int = INTEGER_MAX) -> Kind:
    def read(value: object, key: str) -> int:
        if type(value) is not int or not 0 <= value <= maximum:
            raise DamagedError(f"{key} is not an integer from 0 to {maximum}")
        return value

    return Kind(_same, read)


def _read_text(value: object, key: str) -> str:
    if type(value) is not str:
        raise DamagedError(f"{key} is not a string")
    return value


def _read_flag(value: object, key: str) -> bool:
    if type(value) is not bool:
        raise DamagedError(f"{key} is not true or false")
    return value


def _read_node_id(value: object, key: str) -> str:
    node_id = _read_text(value, key)
    if not 1 <= len(node_id) <= NODE_ID_MAX_BYTES:
        raise DamagedError(f"{key} is not 1 to {NODE_ID_MAX_BYTES} characters")
    return node_id


def _octets(minimum: int = 0, maximum: int = OCTETS_MAX_BYTES) -> Kind:
    def read(value: object, key: str) -> bytes:
        text = _read_text(value, key)
        try:
            found = bytes.fromhex(text)
        except ValueError:
            raise DamagedError(f"{key} is not hexadecimal") from None
        if found.hex() != text or not minimum <= len(found) <= maximum:
            raise DamagedError(f"{key} is not {minimum} to {maximum} bytes in hexadecimal")
        return found

    return Kind(bytes.hex, read)


def _choice(choices: type[enum.Enum]) -> Kind:
    def read(value: object, key: str) -> enum.Enum:
        try:
            return choices(_read_text(value, key))
        except ValueError as error:
            raise DamagedError(str(error)) from error

    return Kind(lambda value: value.value, read)


def _many(kind: Kind) -> Kind:
    def read(value: object, key: str) -> tuple[Any, ...]:
        if type(value) is not list:
            raise DamagedError(f"{key} is not a list")
        return tuple(kind.read(item, key) for item in value)

    return Kind(lambda values: [kind.write(value) for value in values], read)


def _made(cls: Callable[..., Any], **fields: Kind) -> Kind:
    """An object of this class, with its fields in the order in which they are written."""

    def write(value: object) -> dict[str, object]:
        return {name: kind.write(getattr(value, name)) for name, kind in fields.items()}

    def read(value: object, key: str) -> object:
        found = _object(value, fields)
        return cls(**{name: kind.read(found[name], name) for name, kind in fields.items()})

    return Kind(write, read)


INTEGER, TERM = _integer(), _integer(TERM_MAX)
TEXT, FLAG, NODE_ID = Kind(_same, _read_text), Kind(_same, _read_flag), Kind(_same, _read_node_id)

SEEN = _many(_made(SeenNode, node_id=NODE_ID, incarnation=INTEGER, run=_octets(0, RUN_MAX_BYTES)))
RECORD = _made(
    NodeRecord,
    cell_id=_octets(CELL_ID_BYTES, CELL_ID_BYTES),
    epoch=INTEGER,
    node_id=NODE_ID,
    incarnation=INTEGER,
    ceiling=TERM,
    durability=_choice(Durability),
    membership=_choice(Membership),
    max_ttl_ms=INTEGER,
    clean=FLAG,
    seen=SEEN,
    creating_runs=SEEN,
)


def _seal(body: str) -> bytes:
    content = body.encode("ascii")
    return content + b"sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n"


def _unseal(content: bytes, kind: str) -> object:
    """Check the checksum, the kind and the version, and return the body."""
    body, newline, last = content[:-1].rpartition(b"\n")
    body += newline
    if content[-1:] != b"\n" or last != b"sha256 " + hashlib.sha256(body).hexdigest().encode():
        raise DamagedError("it is torn, or its checksum is wrong")
    try:
        file = json.loads(body, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is not JSON: {error}") from error
    fields = _object(file, ("format", "version", kind))
    if TEXT.read(fields["format"], "format") != f"paxlock {kind}":
        raise DamagedError(f"it is not a paxlock {kind}")
    if (version := INTEGER.read(fields["version"], "version")) != FORMAT_VERSION:
        kind_of = LaterFormatError if version > FORMAT_VERSION else DamagedError
        raise kind_of(f"it is of format version {version}, and this paxlock knows version {FORMAT_VERSION}")
    return fields[kind]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def encode_record(record: NodeRecord) -> bytes:
    """The content of a record file."""
    body = {"format": "paxlock record", "version": FORMAT_VERSION, "record": RECORD.write(record)}
    return _seal(json.dumps(body, indent=2) + "\n")


def decode_record(content: bytes) -> NodeRecord:
    """Read what encode_record wrote; DamagedError for anything else."""
    record: NodeRecord = RECORD.read(_unseal(content, "record"), "record")
    return record
