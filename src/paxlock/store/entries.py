"""An entry of the state file as bytes (``Kept``; protocol.md section 7). Integers are big-endian.

    entry:    whole 1 | floor 8 | serves at 8 | number of renewals, names, tombstones, dropped names, 4 each
              | these, in this order
    renewal:  session 16 | at 8 | seq 8 | number of attempts 4 | sender | attempts, 8 each
    name:     term, lease term, attempt, token, edition, seq, deadline, ttl_ms, 8 each | name | session
              | sender | label | data | lock
    stone:    attempt 8 | forced 1 | session | name

What has no fixed length has it in the part before, in 1 byte, data in 2. A node writes one for each
turn that changes something, before it answers: this costs a quarter of what CBOR does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from paxlock.core.durable import Kept, KeptName, KeptRenewal, KeptStone
from paxlock.limits import SESSION_BYTES
from paxlock.store.damage import DamagedError

__all__ = ["decode_entry", "encode_entry", "encode_pieces"]

ENTRY = struct.Struct(">BQdIIII")
RENEWAL = struct.Struct(f">{SESSION_BYTES}sdQIB")
NAME = struct.Struct(">QQQQQQdQBBBBHB")
LENGTH = struct.Struct(">B")
STONE = struct.Struct(">Q?BB")
ITEMS_A_PIECE = 1000
T = TypeVar("T")
Same: TypeAlias = dict[bytes | tuple[bytes], bytes | str]


def encode_entry(entry: Kept) -> bytes:
    """The bytes of an entry."""
    _, _, _, renewals, names, stones, dropped = entry
    parts = [_head(entry)]
    for renewal in renewals:
        parts += _renewal_parts(renewal)
    for kept in names:
        parts += _name_parts(kept)
    for stone in stones:
        parts += _stone_parts(stone)
    for text in dropped:
        parts += _dropped_parts(text)
    return b"".join(parts)


def encode_pieces(entry: Kept) -> Iterator[bytes]:
    """The same of an entry with very many names, in pieces: as a whole it is never in memory."""
    yield _head(entry)
    yield from _pieces(entry.renewals, _renewal_parts)
    yield from _pieces(entry.names, _name_parts)
    yield from _pieces(entry.stones, _stone_parts)
    yield from _pieces(entry.dropped, _dropped_parts)


def _pieces(items: Iterable[T], parts: Callable[[T], Iterable[bytes]]) -> Iterator[bytes]:
    left = iter(items)
    while piece := b"".join([part for item in islice(left, ITEMS_A_PIECE) for part in parts(item)]):
        yield piece


def _head(entry: Kept) -> bytes:
    whole, floor, serves_at, renewals, names, stones, dropped = entry
    return ENTRY.pack(whole, floor, serves_at, len(renewals), len(names), len(stones), len(dropped))


def _renewal_parts(renewal: KeptRenewal) -> tuple[bytes, ...]:
    session, attempts, sender, seq, at = renewal
    head = RENEWAL.pack(session, at, seq, len(attempts), len(sender))
    return head, sender, struct.pack(f">{len(attempts)}Q", *attempts)


def _name_parts(kept: KeptName) -> tuple[bytes, ...]:
    name, shown = kept.name.encode(), kept.label.encode()
    head = NAME.pack(
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
        len(kept.lock),
    )
    return head, name, kept.session, kept.sender, shown, kept.data, kept.lock


def _stone_parts(stone: KeptStone) -> tuple[bytes, ...]:
    text, session, attempt, forced = stone
    name = text.encode()
    return STONE.pack(attempt, forced, len(session), len(name)), session, name


def _dropped_parts(text: str) -> tuple[bytes, ...]:
    name = text.encode()
    return LENGTH.pack(len(name)), name


def decode_entry(content: bytes, same: Same | None = None) -> Kept:
    """The entry that these bytes are. Raises DamagedError for others. What is in ``same`` already, of
    sessions and labels, is not made again: one session may hold all of very many names.
    """
    reader = _Reader(content, {} if same is None else same)
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
    sender = reader.one_of_few(length)
    return KeptRenewal(session, reader.unpack(struct.Struct(f">{count}Q")), sender, seq, at)


def _name(reader: _Reader) -> KeptName:
    term, lease_term, attempt, token, edition, seq, deadline, ttl_ms, *lengths = reader.unpack(NAME)
    name, session, sender, label, data, lock = reader.take_each(lengths)
    same = reader.same
    return KeptName(
        name.decode(),
        term,
        term if lease_term == term else lease_term,  # one object: there are very many names
        same.setdefault(session, session),
        attempt,
        ttl_ms,
        reader.text_of_few(label),
        data,
        token,
        same.setdefault(sender, sender),
        seq,
        deadline,
        edition,
        lock,
    )


def _stone(reader: _Reader) -> KeptStone:
    attempt, forced, session_length, length = reader.unpack(STONE)
    session = reader.one_of_few(session_length)
    return KeptStone(reader.text(length), session, attempt, forced)


class _Reader:
    """Takes the parts of some content, one after the other. Each method raises DamagedError, or an error of
    struct or of Unicode, where the content is another one.
    """

    def __init__(self, content: bytes, same: Same) -> None:
        self._content = content
        self._at = 0
        self.same: dict[Any, Any] = same

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

    def take_each(self, lengths: Iterable[int]) -> list[bytes]:
        """The parts of these lengths that come next."""
        content, at = self._content, self._at
        found = []
        for length in lengths:
            end = at + length
            found.append(content[at:end])
            at = end
        if at > len(content):
            raise DamagedError("it ends early")
        self._at = at
        return found

    def text(self, length: int) -> str:
        """Text of so many bytes."""
        return self.take(length).decode()

    def one_of_few(self, length: int) -> bytes:
        """So many bytes, that many entries may have in common."""
        found = self.take(length)
        return self.same.setdefault(found, found)  # type: ignore[no-any-return]

    def text_of_few(self, written: bytes) -> str:
        """The same for text."""
        key = (written,)  # of its own kind: a session may have the same bytes
        found: str | None = self.same.get(key)
        if found is None:
            found = self.same[key] = written.decode()
        return found

    def short_text(self) -> str:
        """Text with its length before it."""
        return self.text(*self.unpack(LENGTH))

    def end(self) -> None:
        """Nothing may be left."""
        if self._at != len(self._content):
            raise DamagedError("there is more than it says")
