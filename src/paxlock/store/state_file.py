"""The state file of one run of a node: what a start on the same boot needs (protocol.md section 7).

A head, which says whose file it is, of which boot, place and run, and how much of it counts; then frames. A
frame is its length, the checksum, and one entry (entries.py). Each checksum goes on from the one before it,
so it is of everything up to there.

    head:   mark 8 | length of the CBOR 4 | committed length 8 | checksum up to there 4
            | checksum of these two 4 | CBOR [format, boot, mount, file number, cell id, epoch, node id,
            incarnation] | checksum 4
    frame:  length 4 | checksum 4 | entry

An entry is written first and committed then, each by one system call, before its effect is sent; nothing
waits for the disk. So whatever is committed must be whole, and beyond it lies at most one frame, torn or
not, whose effect was not sent. Anything else is damage, and the file counts for nothing.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import Any

import cbor2

from paxlock.core.durable import Kept, NodeRecord
from paxlock.core.node.keeping import replay
from paxlock.store.boot import same_mount
from paxlock.store.entries import decode_entry, encode_entry

__all__ = ["FORMAT", "GROWS_BY_BYTES", "STATE_MAX_BYTES", "StateFile", "read_state"]

FORMAT = 1
MARK = b"paxlock\n"
PREFIX = struct.Struct(">8sI")
COMMIT = struct.Struct(">QI")
CHECK = struct.Struct(">I")
FRAME = struct.Struct(">II")
COMMIT_AT = PREFIX.size
HEAD_AT = COMMIT_AT + COMMIT.size + CHECK.size
HEAD_MAX_BYTES = 4096
GROWS_BY_BYTES = (
    4 * 1024 * 1024
)  #: so much is added to a file, or four times what it began with, and it is begun anew
GROWS_TIMES = 4
STATE_MAX_BYTES = 1024 * 1024 * 1024


class Identity:
    """Whose state it is, of which boot and where."""

    def __init__(self, record: NodeRecord, boot: str, mount: str, file_number: int) -> None:
        self.boot = boot
        self.mount = mount
        self.rest = [file_number, record.cell_id, record.epoch, record.node_id, record.incarnation]

    def encode(self) -> bytes:
        return cbor2.dumps([FORMAT, self.boot, self.mount, *self.rest])

    def is_of(self, found: Any) -> bool:
        """Whether this is what a head says, seen from now."""
        if not isinstance(found, list) or len(found) != 3 + len(self.rest):
            return False
        form, boot, mount, *rest = found
        return (form, boot, rest) == (FORMAT, self.boot, self.rest) and same_mount(mount, self.mount)


class StateFile:
    """The file of the present run, open for writing. Every method raises OSError where the file system
    does.
    """

    def __init__(self, handle: int, record: NodeRecord, boot: str, mount: str, whole: Kept) -> None:
        """Write a head and the first entry, which is whole, into an empty file, and take over its handle."""
        self._handle = handle
        head = Identity(record, boot, mount, os.fstat(handle).st_ino).encode()
        self._checksum = zlib.crc32(head)
        self._end = HEAD_AT + len(head) + CHECK.size
        _write_all(handle, PREFIX.pack(MARK, len(head)), 0)
        _write_all(handle, head + CHECK.pack(self._checksum), HEAD_AT)
        self.add(whole)
        self._limit = self._end + max(GROWS_BY_BYTES, GROWS_TIMES * self._end)

    @property
    def full(self) -> bool:
        """Whether it is time to begin anew."""
        return self._end > self._limit

    def add(self, entry: Kept) -> None:
        """Write an entry, and commit it."""
        content = encode_entry(entry)
        checksum = zlib.crc32(content, self._checksum)
        frame = FRAME.pack(len(content), checksum) + content
        _write_all(self._handle, frame, self._end)
        committed = COMMIT.pack(self._end + len(frame), checksum)
        _write_all(self._handle, committed + CHECK.pack(zlib.crc32(committed)), COMMIT_AT)
        self._end += len(frame)
        self._checksum = checksum

    def spoil(self) -> None:
        """Make sure that it counts for nothing any more."""
        os.ftruncate(self._handle, 0)

    def close(self) -> None:
        os.close(self._handle)


def _write_all(handle: int, content: bytes, at: int) -> None:
    if (done := os.pwrite(handle, content, at)) < len(content):
        # A signal, or a full disk: go on, and hear the reason.
        while done < len(content):
            done += os.pwrite(handle, content[done:], at + done)


def read_state(handle: int, record: NodeRecord, boot: str, mount: str) -> Kept | None:
    """All that the state file of the run of this record says, as one entry; None where it is of another run,
    boot or place, or not whole. Raises OSError.
    """
    told = os.fstat(handle)
    if told.st_size > STATE_MAX_BYTES:
        return None
    content = _read_all(handle, told.st_size)
    try:
        return _read(content, Identity(record, boot, mount, told.st_ino))
    except (struct.error, cbor2.CBORDecodeError, ValueError, TypeError, RecursionError, OverflowError):
        return None


def _read_all(handle: int, size: int) -> bytes:
    parts = []
    at = 0
    while at <= size and (part := os.pread(handle, size + 1 - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _read(content: bytes, identity: Identity) -> Kept | None:
    mark, length = PREFIX.unpack_from(content)
    committed, last_checksum = COMMIT.unpack_from(content, COMMIT_AT)
    (check,) = CHECK.unpack_from(content, COMMIT_AT + COMMIT.size)
    sealed = zlib.crc32(content[COMMIT_AT : COMMIT_AT + COMMIT.size]) == check
    if mark != MARK or length > HEAD_MAX_BYTES or not sealed or committed > len(content):
        return None
    head = content[HEAD_AT : HEAD_AT + length]
    at = HEAD_AT + length
    checksum = zlib.crc32(head)
    if CHECK.unpack_from(content, at) != (checksum,) or not identity.is_of(cbor2.loads(head)):
        return None
    at += CHECK.size
    entries = []
    while at < committed:
        size, expected = FRAME.unpack_from(content, at)
        at += FRAME.size
        payload = content[at : at + size]
        at += size
        checksum = zlib.crc32(payload, checksum)
        if at > committed or checksum != expected:
            return None
        entries.append(decode_entry(payload))
    if at != committed or checksum != last_checksum or not _one_frame_at_most(content, at):
        return None
    return replay(entries)


def _one_frame_at_most(content: bytes, at: int) -> bool:
    """What was written and not committed is one entry: if there is more, an older commitment has come
    back.
    """
    if at + FRAME.size > len(content):
        return True
    size, _ = FRAME.unpack_from(content, at)
    return bool(at + FRAME.size + size >= len(content))
