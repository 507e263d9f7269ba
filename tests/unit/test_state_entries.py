"""The bytes of an entry of the state file (store/entries.py)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxlock.core.durable import Kept, KeptName, KeptRenewal, KeptStone
from paxlock.core.lease import DATA_MAX_BYTES, LABEL_MAX_BYTES, NAME_MAX_BYTES, TERM_MAX
from paxlock.limits import SESSION_BYTES
from paxlock.store.damage import DamagedError
from paxlock.store.entries import Same, decode_entry, encode_entry, encode_pieces


def text(longest: int, least: int = 0) -> st.SearchStrategy[str]:
    """Text of at most so many bytes."""
    return st.text(st.characters(codec="utf-8"), min_size=least, max_size=longest).filter(
        lambda found: len(found.encode()) <= longest
    )


NUMBERS = st.integers(0, TERM_MAX)
TIMES = st.floats(0.0, 1e9)
NAMES = text(NAME_MAX_BYTES, 1)
SESSIONS = st.binary(min_size=SESSION_BYTES, max_size=SESSION_BYTES)
KEPT_NAMES = st.builds(
    KeptName,
    *(NAMES, NUMBERS, NUMBERS, SESSIONS | st.just(b""), NUMBERS, NUMBERS),
    *(text(LABEL_MAX_BYTES), st.binary(max_size=DATA_MAX_BYTES), NUMBERS, SESSIONS | st.just(b"")),
    *(NUMBERS, TIMES, NUMBERS),
)
RENEWALS = st.builds(
    KeptRenewal, SESSIONS, st.lists(NUMBERS, max_size=5).map(tuple), SESSIONS, NUMBERS, TIMES
)
STONES = st.builds(KeptStone, NAMES, SESSIONS, NUMBERS, st.booleans())


def several(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(items, max_size=3).map(tuple)


ENTRIES = st.builds(
    Kept,
    *(st.booleans(), NUMBERS, TIMES, several(RENEWALS), several(KEPT_NAMES), several(STONES), several(NAMES)),
)


@given(ENTRIES)
def test_an_entry_reads_as_it_was_written(entry: Kept) -> None:
    assert decode_entry(encode_entry(entry)) == entry


@given(ENTRIES)
def test_the_pieces_of_an_entry_are_the_entry(entry: Kept) -> None:
    assert b"".join(encode_pieces(entry)) == encode_entry(entry)


def test_an_entry_with_very_many_names_is_never_whole_in_memory() -> None:
    names = tuple(KeptName(f"name-{number}", number, session=b"s" * 16) for number in range(10_500))
    entry = Kept(True, 3, 0.0, (), names)
    pieces = list(encode_pieces(entry))
    assert b"".join(pieces) == encode_entry(entry)
    assert max(map(len, pieces)) < len(encode_entry(entry)) / 10


def test_what_very_many_names_have_in_common_is_there_once() -> None:
    label, session = "somebody", b"s" * SESSION_BYTES
    names = tuple(KeptName(str(n), n, n, session, 1, 10, label, b"", 0, session) for n in range(3000, 3003))
    same: Same = {}
    entries = [decode_entry(encode_entry(Kept(True, 3, 0.0, (), names)), same) for _ in range(2)]
    found = [name for entry in entries for name in entry.names]
    assert found == [*names, *names]
    assert len({id(name.label) for name in found}) == len({id(name.session) for name in found}) == 1
    assert all(name.sender is name.session and name.lease_term is name.term for name in found)


@given(ENTRIES, st.data())
def test_what_is_too_short_or_too_long_is_no_entry(entry: Kept, data: st.DataObject) -> None:
    content = encode_entry(entry)
    length = data.draw(st.integers(0, len(content) - 1))
    for other in (content[:length], content + b"\0"):
        with pytest.raises(DamagedError):
            decode_entry(other)


@given(st.binary(max_size=200))
def test_any_bytes_are_an_entry_or_damage(content: bytes) -> None:
    with suppress(DamagedError):
        decode_entry(content)
