"""The text form of a node's record and snapshot: format version 1 (protocol.md section 7).

A file is JSON in ASCII, then one line ``sha256 HEX`` over everything before it; bytes are written as hex.
Reading is strict: exactly the fields that are written, each with its type and range.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from paxlock.core.durable import Durability, Membership, NodeRecord, SeenNode, Snapshot, SnapshotName
from paxlock.core.lease import TERM_MAX, Candidate, Lease
from paxlock.limits import CELL_ID_BYTES

__all__ = [
    "FORMAT_VERSION",
    "DamagedError",
    "decode_record",
    "decode_snapshot",
    "encode_record",
    "encode_snapshot",
]

FORMAT_VERSION = 1
NODE_ID_MAX_CHARS = 16
RUN_MAX_BYTES = 64
SESSION_MAX_BYTES = 64
OCTETS_MAX_BYTES = 65_536
INTEGER_MAX = (1 << 63) - 1


class DamagedError(ValueError):
    """What was read is not what a store writes."""


class _Fields:
    """A JSON object with exactly the keys given; each value is taken out with its type checked."""

    def __init__(self, source: object, *keys: str) -> None:
        if type(source) is not dict or source.keys() != set(keys):
            raise DamagedError(f"an object with the keys {', '.join(keys)} was expected")
        self._source: dict[str, Any] = source

    def integer(self, key: str, maximum: int = INTEGER_MAX) -> int:
        value = self._source[key]
        if type(value) is not int or not 0 <= value <= maximum:
            raise DamagedError(f"{key} is not an integer from 0 to {maximum}")
        return value

    def text(self, key: str) -> str:
        value = self._source[key]
        if type(value) is not str:
            raise DamagedError(f"{key} is not a string")
        return value

    def flag(self, key: str) -> bool:
        value = self._source[key]
        if type(value) is not bool:
            raise DamagedError(f"{key} is not true or false")
        return value

    def octets(self, key: str, minimum: int = 0, maximum: int = OCTETS_MAX_BYTES) -> bytes:
        text = self.text(key)
        try:
            value = bytes.fromhex(text)
        except ValueError:
            raise DamagedError(f"{key} is not hexadecimal") from None
        if value.hex() != text or not minimum <= len(value) <= maximum:
            raise DamagedError(f"{key} is not {minimum} to {maximum} bytes in hexadecimal")
        return value

    def items(self, key: str) -> list[Any]:
        value = self._source[key]
        if type(value) is not list:
            raise DamagedError(f"{key} is not a list")
        return value

    def raw(self, key: str) -> object:
        return self._source[key]


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
    fields = _Fields(file, "format", "version", kind)
    if fields.text("format") != f"paxlock {kind}":
        raise DamagedError(f"it is not a paxlock {kind}")
    if (version := fields.integer("version")) != FORMAT_VERSION:
        raise DamagedError(
            f"it is of format version {version}, and this paxlock knows version {FORMAT_VERSION}"
        )
    return fields.raw(kind)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def encode_record(record: NodeRecord) -> bytes:
    """The content of a record file."""
    body = {
        "format": "paxlock record",
        "version": FORMAT_VERSION,
        "record": {
            "cell_id": record.cell_id.hex(),
            "epoch": record.epoch,
            "node_id": record.node_id,
            "incarnation": record.incarnation,
            "ceiling": record.ceiling,
            "durability": record.durability.value,
            "membership": record.membership.value,
            "max_ttl_ms": record.max_ttl_ms,
            "clean": record.clean,
            "seen": [_plain_seen(seen) for seen in record.seen],
            "creating_runs": [_plain_seen(seen) for seen in record.creating_runs],
        },
    }
    return _seal(json.dumps(body, indent=2) + "\n")


def decode_record(content: bytes) -> NodeRecord:
    """Read what encode_record wrote; DamagedError for anything else."""
    fields = _Fields(
        _unseal(content, "record"),
        *("cell_id", "epoch", "node_id", "incarnation", "ceiling", "durability", "membership"),
        *("max_ttl_ms", "clean", "seen", "creating_runs"),
    )
    try:
        durability = Durability(fields.text("durability"))
        membership = Membership(fields.text("membership"))
    except ValueError as error:
        raise DamagedError(str(error)) from error
    return NodeRecord(
        cell_id=fields.octets("cell_id", CELL_ID_BYTES, CELL_ID_BYTES),
        epoch=fields.integer("epoch"),
        node_id=_node_id(fields),
        incarnation=fields.integer("incarnation"),
        ceiling=fields.integer("ceiling", TERM_MAX),
        durability=durability,
        membership=membership,
        max_ttl_ms=fields.integer("max_ttl_ms"),
        clean=fields.flag("clean"),
        seen=tuple(_decode_seen(item) for item in fields.items("seen")),
        creating_runs=tuple(_decode_seen(item) for item in fields.items("creating_runs")),
    )


def _plain_seen(seen: SeenNode) -> dict[str, object]:
    return {"node_id": seen.node_id, "incarnation": seen.incarnation, "run": seen.run.hex()}


def _decode_seen(item: object) -> SeenNode:
    fields = _Fields(item, "node_id", "incarnation", "run")
    return SeenNode(_node_id(fields), fields.integer("incarnation"), fields.octets("run", 0, RUN_MAX_BYTES))


def _node_id(fields: _Fields) -> str:
    node_id = fields.text("node_id")
    if not 1 <= len(node_id) <= NODE_ID_MAX_CHARS:
        raise DamagedError(f"node_id is not 1 to {NODE_ID_MAX_CHARS} characters")
    return node_id


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The content of a snapshot file: one line for each name, for there may be very many."""
    names = ",\n".join(json.dumps(_plain_name(entry)) for entry in snapshot.names)
    return _seal(
        f'{{"format": "paxlock snapshot", "version": {FORMAT_VERSION}, "snapshot": {{\n'
        f'"incarnation": {snapshot.incarnation:d}, "floor": {snapshot.floor:d}, "names": [\n{names}\n]}}}}\n'
    )


def _plain_name(entry: SnapshotName) -> dict[str, Any]:
    return {
        "name": entry.name,
        "term": entry.term,
        "lease": _plain_lease(entry.lease),
        "lease_term": entry.lease_term,
        "sender": entry.sender.hex(),
        "seq": entry.seq,
        "remaining_ms": entry.remaining_ms,
        "tombstones": [_plain_candidate(candidate) for candidate in entry.tombstones],
        "chosen": _plain_lease(entry.chosen),
        "chosen_term": entry.chosen_term,
        "released": entry.released,
    }


def _plain_candidate(candidate: Candidate) -> dict[str, Any]:
    return {"session": candidate.session.hex(), "attempt": candidate.attempt}


def _plain_lease(lease: Lease | None) -> dict[str, Any] | None:
    if lease is None:
        return None
    return {
        "candidate": _plain_candidate(lease.candidate),
        "ttl_ms": lease.ttl_ms,
        "label": lease.label,
        "data": lease.data.hex(),
        "token": lease.token,
    }


def decode_snapshot(content: bytes) -> Snapshot:
    """Read what encode_snapshot wrote; DamagedError for anything else."""
    fields = _Fields(_unseal(content, "snapshot"), "incarnation", "floor", "names")
    return Snapshot(
        incarnation=fields.integer("incarnation"),
        floor=fields.integer("floor", TERM_MAX),
        names=tuple(_decode_name(item) for item in fields.items("names")),
    )


def _decode_name(item: object) -> SnapshotName:
    fields = _Fields(
        item,
        *("name", "term", "lease", "lease_term", "sender", "seq", "remaining_ms", "tombstones"),
        *("chosen", "chosen_term", "released"),
    )
    return SnapshotName(
        name=fields.text("name"),
        term=fields.integer("term", TERM_MAX),
        lease=_decode_lease(fields.raw("lease")),
        lease_term=fields.integer("lease_term", TERM_MAX),
        sender=fields.octets("sender", 0, SESSION_MAX_BYTES),
        seq=fields.integer("seq"),
        remaining_ms=fields.integer("remaining_ms"),
        tombstones=tuple(_decode_candidate(candidate) for candidate in fields.items("tombstones")),
        chosen=_decode_lease(fields.raw("chosen")),
        chosen_term=fields.integer("chosen_term", TERM_MAX),
        released=fields.flag("released"),
    )


def _decode_candidate(item: object) -> Candidate:
    fields = _Fields(item, "session", "attempt")
    return Candidate(fields.octets("session", 0, SESSION_MAX_BYTES), fields.integer("attempt"))


def _decode_lease(item: object) -> Lease | None:
    if item is None:
        return None
    fields = _Fields(item, "candidate", "ttl_ms", "label", "data", "token")
    return Lease(
        candidate=_decode_candidate(fields.raw("candidate")),
        ttl_ms=fields.integer("ttl_ms"),
        label=fields.text("label"),
        data=fields.octets("data"),
        token=fields.integer("token", TERM_MAX),
    )
