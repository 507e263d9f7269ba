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

In synchronous mode the file is on the disk before the effect is sent, and a crash of the machine leaves any
part of what was not there yet. So an entry is committed only with the next one, when it is surely on the
disk; beyond what is committed every frame counts that is whole, until one is not: that one was not sent.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import cbor2

from paxlock.core.durable import Durability, Kept, NodeRecord
from paxlock.core.node.keeping import replay
from paxlock.store.boot import same_mount
from paxlock.store.entries import Same, decode_entry, encode_entry, encode_pieces

__all__ = ["FORMAT", "GROWS_BY_BYTES", "STATE_MAX_BYTES", "Found", "StateFile", "read_state"]

FORMAT = 2  #: 1 had no locks
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
READS_BYTES = 1024 * 1024
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
        if not self.is_of_run(found):
            return False
        _, boot, mount, *_ = found
        return bool(boot == self.boot) and same_mount(mount, self.mount)

    def is_of_run(self, found: Any) -> bool:
        """The same, of whatever boot."""
        if not isinstance(found, list) or len(found) != 3 + len(self.rest):
            return False
        form, _, _, *rest = found
        return (form, rest) == (FORMAT, self.rest)


class StateFile:
    """The file of the present run, open for writing. Every method raises OSError where the file system
    does.
    """

    def __init__(self, handle: int, record: NodeRecord, boot: str, mount: str, whole: Kept) -> None:
        """Write a head and the first entry, which is whole, into an empty file, and take over its handle."""
        self._handle = handle
        self._lags = record.durability is Durability.SYNC
        head = Identity(record, boot, mount, os.fstat(handle).st_ino).encode()
        self._checksum = zlib.crc32(head)
        self._end = HEAD_AT + len(head) + CHECK.size
        _write_all(handle, PREFIX.pack(MARK, len(head)), 0)
        _write_all(handle, head + CHECK.pack(self._checksum), HEAD_AT)
        self._append_pieces(whole)
        self._commit()
        self._limit = self._end + max(GROWS_BY_BYTES, GROWS_TIMES * self._end)

    @property
    def full(self) -> bool:
        """Whether it is time to begin anew."""
        return self._end > self._limit

    def add(self, entry: Kept) -> None:
        """Write an entry, and commit it; in synchronous mode the one before it."""
        if self._lags:
            self._commit()
        self._append(encode_entry(entry))
        if not self._lags:
            self._commit()

    def _append(self, content: bytes) -> None:
        self._checksum = zlib.crc32(content, self._checksum)
        frame = FRAME.pack(len(content), self._checksum) + content
        _write_all(self._handle, frame, self._end)
        self._end += len(frame)

    def _append_pieces(self, entry: Kept) -> None:
        """The same for the first entry, piece by piece; what is before the content is written last. Nobody
        reads the file before it is committed.
        """
        begin, at = self._end, self._end + FRAME.size
        for piece in encode_pieces(entry):
            self._checksum = zlib.crc32(piece, self._checksum)
            _write_all(self._handle, piece, at)
            at += len(piece)
        _write_all(self._handle, FRAME.pack(at - begin - FRAME.size, self._checksum), begin)
        self._end = at

    def _commit(self) -> None:
        committed = COMMIT.pack(self._end, self._checksum)
        _write_all(self._handle, committed + CHECK.pack(zlib.crc32(committed)), COMMIT_AT)

    def sync(self) -> None:
        """Wait until all that was written is on the disk."""
        os.fdatasync(self._handle)

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


class Found(NamedTuple):
    """All that a state file says, as one entry; ``rebooted``: it is of another boot of the machine."""

    kept: Kept
    rebooted: bool


def read_state(handle: int, record: NodeRecord, boot: str, mount: str) -> Found | None:
    """What the state file of the run of this record says; None where it is of another run or place, not
    whole, or of another boot and was not written in synchronous mode. Raises OSError.
    """
    told = os.fstat(handle)
    if told.st_size > STATE_MAX_BYTES:
        return None
    content = Content(handle, told.st_size)
    try:
        identity = Identity(record, boot, mount, told.st_ino)
        return _read(content, identity, synchronous=record.durability is Durability.SYNC)
    except (struct.error, cbor2.CBORDecodeError, ValueError, TypeError, RecursionError, OverflowError):
        return None


class Content:
    """The content of a file, of which only a part is in memory: slices of it are read when they are asked
    for, and are shorter where it ends. Raises OSError.
    """

    def __init__(self, handle: int, size: int) -> None:
        self._handle = handle
        self._size = size
        self._part = b""
        self._begin = 0

    def __len__(self) -> int:
        return self._size

    def take(self, begin: int, length: int) -> bytes:
        """So many bytes from here on."""
        at, end = begin - self._begin, min(begin + length, self._size)
        if at < 0 or end > self._begin + len(self._part):
            self._begin, at = begin, 0
            self._part = self._read(begin, min(max(length, READS_BYTES), self._size - begin))
        return self._part[at : at + length]

    def _read(self, at: int, length: int) -> bytes:
        parts = []
        while length > 0 and (part := os.pread(self._handle, length, at)):
            parts.append(part)
            at, length = at + len(part), length - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def unpack(self, shape: struct.Struct, at: int) -> tuple[Any, ...]:
        """Values of this shape from here on; struct.error where the content ends before."""
        return shape.unpack(self.take(at, shape.size))


def _read(content: Content, identity: Identity, *, synchronous: bool) -> Found | None:
    mark, length = content.unpack(PREFIX, 0)
    committed, last_checksum = content.unpack(COMMIT, COMMIT_AT)
    (check,) = content.unpack(CHECK, COMMIT_AT + COMMIT.size)
    sealed = zlib.crc32(content.take(COMMIT_AT, COMMIT.size)) == check
    if mark != MARK or length > HEAD_MAX_BYTES or not sealed or committed > len(content):
        return None
    head = content.take(HEAD_AT, length)
    at = HEAD_AT + length
    checksum = zlib.crc32(head)
    if content.unpack(CHECK, at) != (checksum,):
        return None
    whose = cbor2.loads(head)
    rebooted = not identity.is_of(whose)
    if rebooted and not (synchronous and identity.is_of_run(whose)):
        return None
    at += CHECK.size
    first = at
    while at < committed:
        frame = _frame(content, at, checksum)
        if frame is None:
            return None
        at, checksum = frame
    if at != committed or checksum != last_checksum:
        return None
    if not synchronous and not _one_frame_at_most(content, at):
        return None
    while synchronous and (frame := _frame(content, at, checksum)) is not None:
        at, checksum = frame
    kept = replay(_entries(content, first, at))
    return Found(kept, rebooted) if kept is not None else None


def _frame(content: Content, at: int, checksum: int) -> tuple[int, int] | None:
    """The frame that begins here: where it ends, and its checksum; None if it is not whole."""
    begin = at + FRAME.size
    if begin > len(content):
        return None
    size, expected = content.unpack(FRAME, at)
    payload = content.take(begin, size)
    found = zlib.crc32(payload, checksum)
    if len(payload) < size or found != expected:
        return None
    return begin + size, found


def _entries(content: Content, begin: int, end: int) -> Iterator[Kept]:
    """The entries of frames that are whole, one after the other: all at once would be several times what
    they say together. Raises DamagedError.
    """
    same: Same = {}
    while begin < end:
        size, _ = content.unpack(FRAME, begin)
        yield decode_entry(content.take(begin + FRAME.size, size), same)
        begin += FRAME.size + size


def _one_frame_at_most(content: Content, at: int) -> bool:
    """What was written and not committed is one entry: if there is more, an older commitment has come
    back.
    """
    if at + FRAME.size > len(content):
        return True
    size, _ = content.unpack(FRAME, at)
    return bool(at + FRAME.size + size >= len(content))
