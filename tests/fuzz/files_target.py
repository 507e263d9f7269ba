"""What is found on a disk: torn, flipped, or with a right checksum around nonsense."""

from __future__ import annotations

import atexit
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from random import Random

import attrs

from paxlock.core.durable import NodeRecord, Snapshot
from paxlock.errors import StoreError
from paxlock.store.damage import DamagedError
from paxlock.store.folder import RECORD_FILE, SNAPSHOT_FILE, Store
from paxlock.store.format import decode_record, encode_record
from paxlock.store.snapshot import DIGEST_BYTES, decode_snapshot, encode_snapshot

from .engine import Target, check
from .script import SESSIONS
from .traffic import new_replica, serve, traffic

__all__ = ["FILES"]

INPUT_MAX_BYTES = 8_192
RECORD, SNAPSHOT, SEALED_RECORD, SEALED_SNAPSHOT = range(4)


@cache
def folder() -> Store:
    """One data folder for all inputs; removed at the end of the process."""
    path = tempfile.mkdtemp(prefix="paxlock-fuzz-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Store.open(path, create_folder=False)


def seal(body: bytes) -> bytes:
    return body + b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n"


def sealed_rightly(content: bytes) -> bool:
    """A second opinion on the checksum."""
    body, last = content[:-72], content[-72:]
    return last == b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n"


def read_record(content: bytes) -> None:
    """StoreError, or the record; never None, as for a folder that was never used."""
    store = folder()
    (store.folder / RECORD_FILE).write_bytes(content)
    try:
        record = store.read_record()
    except StoreError:
        return
    check(isinstance(record, NodeRecord), "a damaged record is read as none")
    check(sealed_rightly(content), "a record with a wrong checksum is read")


def read_snapshot(content: bytes) -> None:
    """The snapshot, or none: then the node sits out."""
    store = folder()
    (store.folder / SNAPSHOT_FILE).write_bytes(content)
    if store.read_snapshot(1) is not None:
        digest = hashlib.sha256(content[:-DIGEST_BYTES]).digest()
        check(digest == content[-DIGEST_BYTES:], "a snapshot with a wrong checksum is read")


def decode_sealed_record(body: bytes) -> None:
    try:
        record = decode_record(seal(body))
    except DamagedError:
        return
    check(decode_record(encode_record(record)) == record, "a record reads back differently")


def decode_sealed_snapshot(body: bytes) -> None:
    try:
        snapshot = decode_snapshot(body + hashlib.sha256(body).digest())
    except DamagedError:
        return
    check(
        decode_snapshot(b"".join(encode_snapshot(snapshot))) == snapshot, "a snapshot reads back differently"
    )


READERS = (read_record, read_snapshot, decode_sealed_record, decode_sealed_snapshot)


def run(data: bytes) -> None:
    """An error of the store, or what was written."""
    if data:
        READERS[data[0] % len(READERS)](data[1:])


JSON_VALUES = (
    "0",
    "-1",
    "1e400",
    "1.0",
    "9223372036854775808",
    "NaN",
    '""',
    '"00"',
    "null",
    "[]",
    "{}",
    "true",
)


def change(data: bytes, rng: Random, change_bytes: Callable[[bytes], bytes]) -> bytes:
    """Other bytes, or another value for a key."""
    if not data or rng.random() < 0.5:
        return data[:1] + change_bytes(data[1:])
    body = data[1:]
    colons = [at for at, byte in enumerate(body) if byte == 0x3A]
    if not colons:
        return data[:1] + change_bytes(body)
    start = rng.choice(colons) + 1
    ends = [end for end in (body.find(mark, start) for mark in (b",", b"}", b"\n")) if end != -1]
    value = f" {rng.choice(JSON_VALUES)}".encode()
    return data[:1] + body[:start] + value + body[min(ends, default=len(body)) :]


@cache
def written() -> tuple[NodeRecord, Snapshot]:
    """What a node of a real cell writes."""
    replica = new_replica("a", "create")
    serve(replica, 0.0)
    for sent in traffic()[:120]:
        if sent.receiver == "a" and sent.sender in SESSIONS:
            replica.receive(sent.message, sent.sender, sent.at)
    snapshot = replica.stop(1.0)
    assert snapshot is not None
    return attrs.evolve(replica.record, clean=True), snapshot


def seeds() -> list[bytes]:
    record, snapshot = written()
    bodies = [
        json.dumps({"format": "paxlock record", "version": version, "record": 0}).encode()
        for version in (1, 2)
    ]
    whole, empty = (b"".join(encode_snapshot(found)) for found in (snapshot, Snapshot(1, 0, ())))
    contents = [(RECORD, encode_record(record)), (SEALED_RECORD, encode_record(record)[:-72]), (RECORD, b"")]
    contents += [(SNAPSHOT, content) for content in (whole, empty, b"")]
    contents += [(SEALED_SNAPSHOT, content[:-DIGEST_BYTES]) for content in (whole, empty)]
    contents += [(RECORD, seal(body)) for body in bodies]
    return [bytes((kind,)) + content for kind, content in contents]


FILES = Target("files", run, change, seeds, INPUT_MAX_BYTES)
