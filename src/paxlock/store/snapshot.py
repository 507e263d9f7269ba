"""The snapshot of a node that stopped cleanly as bytes: format version 3 (protocol.md section 7).

There may be very many names, and a restart waits for both writing and reading. So it is written in pieces,
and is binary, unlike the record, which people may want to read. Integers are big-endian.

    file:   mark 16 | version 4 | incarnation, floor, number of names, 8 each | names
            | SHA-256 of all before it, 32
    name:   term, lease term, seq, remaining_ms, chosen term, 8 each | flags 1 | lengths of name, sender, lock
            and the chosen lease's lock, 1 each | number of tombstones 4 | name | sender | lock
            | the chosen lease's lock | tombstones | who was revoked | the lease | the chosen lease
    lease:  candidate | token, edition, ttl_ms, 8 each | lengths of label, 1, and of data, 2 | label | data
    candidate, tombstone, who was revoked:  attempt 8 | length of session 1 | session

Flags: a lease is held; one is known to be chosen; it is the one that is held; released; somebody was
revoked; the chosen lease has the same lock (and none of its own).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator

from paxlock.core.durable import Snapshot, SnapshotName
from paxlock.core.handles import Stone
from paxlock.core.lease import TERM_MAX, Candidate, Lease
from paxlock.store.damage import DamagedError

__all__ = ["SNAPSHOT_VERSION", "decode_snapshot", "encode_snapshot"]

SNAPSHOT_VERSION = 3  #: 1 was JSON, 2 had no locks
MARK = b"paxlock snapshot"
NAMES_A_PIECE = 1000
HEAD = struct.Struct(">16sI")
BEGIN = struct.Struct(">QQQ")
NAME = struct.Struct(">QQQQQBBBBBI")
LEASE = struct.Struct(">QQQBH")
CANDIDATE = struct.Struct(">QB")
HELD, CHOSEN, SAME, RELEASED, REVOKED, SAME_LOCK = 1, 2, 4, 8, 16, 32
ALL_FLAGS = HELD | CHOSEN | SAME | RELEASED | REVOKED | SAME_LOCK
DIGEST_BYTES = hashlib.sha256().digest_size


def encode_snapshot(snapshot: Snapshot) -> Iterator[bytes]:
    """The content of a snapshot file in pieces. Raises ValueError for what cannot be written."""
    digest = hashlib.sha256()
    for piece in _pieces(snapshot):
        digest.update(piece)
        yield piece
    yield digest.digest()


def _pieces(snapshot: Snapshot) -> Iterator[bytes]:
    names = snapshot.names
    try:
        yield HEAD.pack(MARK, SNAPSHOT_VERSION) + BEGIN.pack(snapshot.incarnation, snapshot.floor, len(names))
        for begin in range(0, len(names), NAMES_A_PIECE):
            yield b"".join([part for name in names[begin : begin + NAMES_A_PIECE] for part in _parts(name)])
    except struct.error as error:
        raise ValueError(str(error)) from error


def _parts(name: SnapshotName) -> Iterator[bytes]:
    lease, chosen, text = name.lease, name.chosen, name.name.encode()
    same = chosen is not None and chosen == lease
    chosen_lock = name.chosen_lock if name.chosen_lock != name.lock else b""
    flags = (lease is not None) * HELD | (chosen is not None) * CHOSEN | same * SAME
    flags |= name.released * RELEASED | (name.revoked is not None) * REVOKED
    flags |= (name.chosen_lock == name.lock) * SAME_LOCK
    yield NAME.pack(
        name.term,
        name.lease_term,
        name.seq,
        name.remaining_ms,
        name.chosen_term,
        flags,
        len(text),
        len(name.sender),
        len(name.lock),
        len(chosen_lock),
        len(name.tombstones),
    )
    yield text + name.sender + name.lock + chosen_lock
    yield from map(_pack_candidate, name.tombstones)
    if name.revoked is not None:
        yield _pack_candidate(name.revoked)
    if lease is not None:
        yield _pack_lease(lease)
    if chosen is not None and not same:
        yield _pack_lease(chosen)


def _pack_lease(lease: Lease) -> bytes:
    label = lease.label.encode()
    sizes = LEASE.pack(lease.token, lease.edition, lease.ttl_ms, len(label), len(lease.data))
    return _pack_candidate(lease.candidate) + sizes + label + lease.data


def _pack_candidate(candidate: Stone) -> bytes:
    session, attempt = candidate
    return CANDIDATE.pack(attempt, len(session)) + session


class _Same:
    """The sessions and labels that were read so far: one object of each, for one session may hold all of very
    many names.
    """

    __slots__ = ("labels", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[bytes, bytes] = {}
        self.labels: dict[bytes, str] = {}


def decode_snapshot(content: bytes) -> Snapshot:
    """Read what `encode_snapshot` wrote; DamagedError for anything else."""
    end = len(content) - DIGEST_BYTES
    body = memoryview(content)[: max(0, end)]  # no copy: there may be very many names
    if hashlib.sha256(body).digest() != content[-DIGEST_BYTES:]:
        raise DamagedError("it is torn, or its checksum is wrong")
    try:
        mark, version = HEAD.unpack_from(content)
        if mark != MARK or version != SNAPSHOT_VERSION:
            raise DamagedError(f"it is not a paxlock snapshot of format version {SNAPSHOT_VERSION}")
        incarnation, floor, count = BEGIN.unpack_from(content, HEAD.size)
        at = HEAD.size + BEGIN.size
        names, same = [], _Same()
        for _ in range(count):
            name, at = _name(content, at, same)
            names.append(name)
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedError(str(error)) from error
    if at != end:  # a part that is cut off is read as a short one
        raise DamagedError("it is longer or shorter than it says")
    _check_term(floor)
    return Snapshot(incarnation, floor, tuple(names))


def _name(content: bytes, at: int, same: _Same) -> tuple[SnapshotName, int]:
    """The name that begins here, and where it ends."""
    found = NAME.unpack_from(content, at)
    term, lease_term, seq, remaining_ms, chosen_term, flags, *lengths, tombstones = found
    name_length, sender_length, lock_length, chosen_lock_length = lengths
    if flags & ~ALL_FLAGS or (flags & SAME and not (flags & HELD and flags & CHOSEN)):
        raise DamagedError("there are no such flags")
    _check_term(max(term, lease_term, chosen_term))
    at += NAME.size
    sender_at = at + name_length
    name = content[at:sender_at].decode()
    at = sender_at + sender_length
    sender = content[sender_at:at]
    chosen_lock = lock = content[at : at + lock_length]
    at += lock_length
    if not flags & SAME_LOCK:
        chosen_lock = content[at : at + chosen_lock_length]
        at += chosen_lock_length
    stones = []
    for _ in range(tombstones):
        stone, at = _candidate(content, at, same)
        stones.append(stone)
    lease = chosen = revoked = None
    if flags & REVOKED:
        revoked, at = _candidate(content, at, same)
    if flags & HELD:
        lease, at = _lease(content, at, same, term, None)
    if flags & SAME:
        chosen = lease
    elif flags & CHOSEN:
        chosen, at = _lease(content, at, same, term, lease)
    return (
        SnapshotName(
            name,
            term,
            lease,
            _one(term, lease_term),
            same.sessions.setdefault(sender, sender),
            seq,
            remaining_ms,
            tuple(stones),
            chosen,
            _one(term, chosen_term),
            bool(flags & RELEASED),
            revoked,
            lock,
            chosen_lock,
        ),
        at,
    )


def _lease(content: bytes, at: int, same: _Same, term: int, held: Lease | None) -> tuple[Lease, int]:
    """The lease that begins here, and where it ends; of the candidate that is held there is one object."""
    candidate, at = _candidate(content, at, same)
    if held is not None and held.candidate == candidate:
        candidate = held.candidate
    token, edition, ttl_ms, label_length, data_length = LEASE.unpack_from(content, at)
    _check_term(token)
    at += LEASE.size
    data_at = at + label_length
    end = data_at + data_length
    written = content[at:data_at]
    label = same.labels.get(written)
    if label is None:
        label = same.labels[written] = written.decode()
    return Lease(candidate, ttl_ms, label, content[data_at:end], _one(term, token), edition), end


def _one(known: int, number: int) -> int:
    """The number that is there already, where it is the same: of very many names each one counts."""
    return known if number == known else number


def _candidate(content: bytes, at: int, same: _Same) -> tuple[Candidate, int]:
    attempt, length = CANDIDATE.unpack_from(content, at)
    at += CANDIDATE.size
    end = at + length
    session = content[at:end]
    return Candidate(same.sessions.setdefault(session, session), attempt), end


def _check_term(term: int) -> None:
    if term > TERM_MAX:
        raise DamagedError(f"a term is not above {TERM_MAX}")
