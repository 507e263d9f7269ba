"""An entry of the state file as bytes (``Kept``; protocol.md section 7). Integers are big-endian.

    entry:    whole 1 | floor 8 | serves at 8 | number of renewals, names, tombstones, dropped names, 4 each
              | these, in this order
    renewal:  session 16 | at 8 | seq 8 | number of attempts 4 | sender | attempts, 8 each
    name:     term, lease term, attempt, token, seq, deadline, 8 each | ttl_ms 4 | name | session | sender
              | label | data
    stone:    attempt 8 | session 16 | name

Text and what may be empty has its length before it, in 1 byte, that of data in 2. A node writes one for each
turn that changes something, before it answers: this costs a quarter of what CBOR does.
"""

from __future__ import annotations

import struct
from typing import Any

from paxlock.core.durable import Kept, KeptName, KeptRenewal, KeptStone
from paxlock.limits import SESSION_BYTES

__all__ = ["DamagedEntryError", "decode_entry", "encode_entry"]

ENTRY = struct.Struct(">BQdIIII")
RENEWAL = struct.Struct(f">{SESSION_BYTES}sdQIB")
NAME = struct.Struct(">QQQQQdIBBBBH")
STONE = struct.Struct(f">Q{SESSION_BYTES}sB")
LENGTH = struct.Struct(">B")


class DamagedEntryError(ValueError):
    """These bytes are no entry."""


def encode_entry(entry: Kept) -> bytes:
    """The bytes of an entry."""
    whole, floor, serves_at, renewals, names, stones, dropped = entry
    parts = [ENTRY.pack(whole, floor, serves_at, len(renewals), len(names), len(stones), len(dropped))]
    for session, attempts, sender, seq, at in renewals:
        parts.append(RENEWAL.pack(session, at, seq, len(attempts), len(sender)))
        parts.append(sender)
        parts.append(struct.pack(f">{len(attempts)}Q", *attempts))
    for text, term, lease_term, session, attempt, ttl_ms, label, data, token, sender, seq, deadline in names:
        name, shown = text.encode(), label.encode()
        parts.append(
            NAME.pack(
                term,
                lease_term,
                attempt,
                token,
                seq,
                deadline,
                ttl_ms,
                len(name),
                len(session),
                len(sender),
                len(shown),
                len(data),
            )
        )
        parts.append(name + session + sender + shown + data)
    for text, session, attempt in stones:
        name = text.encode()
        parts.append(STONE.pack(attempt, session, len(name)) + name)
    for text in dropped:
        name = text.encode()
        parts.append(LENGTH.pack(len(name)) + name)
    return b"".join(parts)


def decode_entry(content: bytes) -> Kept:
    """The entry that these bytes are. Raises DamagedEntryError for others."""
    try:
        return _Reader(content).entry()
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedEntryError(str(error)) from error


class _Reader:
    """Takes the parts of an entry from its bytes, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def entry(self) -> Kept:
        whole, floor, serves_at, renewals, names, stones, dropped = self._unpack(ENTRY)
        found = Kept(
            bool(whole),
            floor,
            serves_at,
            tuple([self._renewal() for _ in range(renewals)]),
            tuple([self._name() for _ in range(names)]),
            tuple([self._stone() for _ in range(stones)]),
            tuple([self._text(*self._unpack(LENGTH)) for _ in range(dropped)]),
        )
        if self._at != len(self._content):
            raise DamagedEntryError("there is more than the entry says")
        return found

    def _renewal(self) -> KeptRenewal:
        session, at, seq, count, length = self._unpack(RENEWAL)
        sender = self._bytes(length)
        return KeptRenewal(session, self._unpack(struct.Struct(f">{count}Q")), sender, seq, at)

    def _name(self) -> KeptName:
        term, lease_term, attempt, token, seq, deadline, ttl_ms, *lengths = self._unpack(NAME)
        name_length, session_length, sender_length, label_length, data_length = lengths
        name, session, sender = (
            self._text(name_length),
            self._bytes(session_length),
            self._bytes(sender_length),
        )
        label, data = self._text(label_length), self._bytes(data_length)
        return KeptName(
            name, term, lease_term, session, attempt, ttl_ms, label, data, token, sender, seq, deadline
        )

    def _stone(self) -> KeptStone:
        attempt, session, length = self._unpack(STONE)
        return KeptStone(self._text(length), session, attempt)

    def _unpack(self, shape: struct.Struct) -> tuple[Any, ...]:
        found = shape.unpack_from(self._content, self._at)
        self._at += shape.size
        return found

    def _bytes(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._content):
            raise DamagedEntryError("it ends early")
        found = self._content[self._at : end]
        self._at = end
        return found

    def _text(self, length: int) -> str:
        return self._bytes(length).decode()
