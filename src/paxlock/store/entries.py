"""An entry of the state file as bytes (``Kept``; protocol.md section 7). Integers are big-endian.

    entry:    whole 1 | floor 8 | serves at 8 | number of renewals, names, tombstones, dropped names, 4 each
              | these, in this order
    renewal:  session 16 | at 8 | seq 8 | number of attempts 4 | sender | attempts, 8 each
    name:     term, lease term, attempt, token, edition, seq, deadline, ttl_ms, 8 each | name | session
              | sender | label | data
    stone:    attempt 8 | session 16 | forced 1 | name

What has no fixed length has it in the part before, in 1 byte, data in 2. A node writes one for each
turn that changes something, before it answers: this costs a quarter of what CBOR does.
"""

from __future__ import annotations

import struct
from typing import Any

from paxlock.core.durable import Kept, KeptName, KeptRenewal, KeptStone
from paxlock.limits import SESSION_BYTES
from paxlock.store.damage import DamagedError

__all__ = ["decode_entry", "encode_entry"]

ENTRY = struct.Struct(">BQdIIII")
RENEWAL = struct.Struct(f">{SESSION_BYTES}sdQIB")
NAME = struct.Struct(">QQQQQQdQBBBBH")
LENGTH = struct.Struct(">B")
STONE = struct.Struct(f">Q{SESSION_BYTES}s?B")


def encode_entry(entry: Kept) -> bytes:
    """The bytes of an entry."""
    whole, floor, serves_at, renewals, names, stones, dropped = entry
    parts = [ENTRY.pack(whole, floor, serves_at, len(renewals), len(names), len(stones), len(dropped))]
    for session, attempts, sender, seq, at in renewals:
        parts.append(RENEWAL.pack(session, at, seq, len(attempts), len(sender)))
        parts.append(sender)
        parts.append(struct.pack(f">{len(attempts)}Q", *attempts))
    for kept in names:
        name, shown = kept.name.encode(), kept.label.encode()
        parts.append(
            NAME.pack(
                kept.term,
                kept.lease_term,
                kept.attempt,
                kept.token,
                kept.edition,
                kept.seq,
                kept.deadline,
                kept.ttl_ms,
                len(name),
                len(kept.session),
                len(kept.sender),
                len(shown),
                len(kept.data),
            )
        )
        parts.append(name + kept.session + kept.sender + shown + kept.data)
    for text, session, attempt, forced in stones:
        name = text.encode()
        parts.append(STONE.pack(attempt, session, forced, len(name)) + name)
    for text in dropped:
        name = text.encode()
        parts.append(LENGTH.pack(len(name)) + name)
    return b"".join(parts)


def decode_entry(content: bytes) -> Kept:
    """The entry that these bytes are. Raises DamagedError for others."""
    reader = _Reader(content)
    try:
        whole, floor, serves_at, renewals, names, stones, dropped = reader.unpack(ENTRY)
        found = Kept(
            bool(whole),
            floor,
            serves_at,
            tuple([_renewal(reader) for _ in range(renewals)]),
            tuple([_name(reader) for _ in range(names)]),
            tuple([_stone(reader) for _ in range(stones)]),
            tuple([reader.short_text() for _ in range(dropped)]),
        )
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedError(str(error)) from error
    reader.end()
    return found


def _renewal(reader: _Reader) -> KeptRenewal:
    session, at, seq, count, length = reader.unpack(RENEWAL)
    sender = reader.take(length)
    return KeptRenewal(session, reader.unpack(struct.Struct(f">{count}Q")), sender, seq, at)


def _name(reader: _Reader) -> KeptName:
    term, lease_term, attempt, token, edition, seq, deadline, ttl_ms, *lengths = reader.unpack(NAME)
    name_length, session_length, sender_length, label_length, data_length = lengths
    return KeptName(
        name=reader.text(name_length),
        session=reader.take(session_length),
        sender=reader.take(sender_length),
        label=reader.text(label_length),
        data=reader.take(data_length),
        term=term,
        lease_term=lease_term,
        attempt=attempt,
        ttl_ms=ttl_ms,
        token=token,
        seq=seq,
        deadline=deadline,
        edition=edition,
    )


def _stone(reader: _Reader) -> KeptStone:
    attempt, session, forced, length = reader.unpack(STONE)
    return KeptStone(reader.text(length), session, attempt, forced)


class _Reader:
    """Takes the parts of some content, one after the other. Each method raises DamagedError, or an error of
    struct or of Unicode, where the content is another one.
    """

    def __init__(self, content: bytes, at: int = 0) -> None:
        self._content = content
        self._at = at

    def unpack(self, shape: struct.Struct) -> tuple[Any, ...]:
        """Values of this shape."""
        found = shape.unpack_from(self._content, self._at)
        self._at += shape.size
        return found

    def take(self, length: int) -> bytes:
        """So many bytes."""
        end = self._at + length
        if end > len(self._content):
            raise DamagedError("it ends early")
        found = self._content[self._at : end]
        self._at = end
        return found

    def text(self, length: int) -> str:
        """Text of so many bytes."""
        return self.take(length).decode()

    def short_text(self) -> str:
        """Text with its length before it."""
        return self.text(*self.unpack(LENGTH))

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._content):
            raise DamagedError("there is more than it says")
