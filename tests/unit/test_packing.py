"""Encoded messages into datagrams: in order, none too long, none with too many."""

from __future__ import annotations

import pytest

from paxlock.wire.codec import MESSAGES_MAX
from paxlock.wire.packing import batches


def test_what_fits_into_one_datagram_is_one() -> None:
    assert batches([b"1234", b"56", b"7890"], room=10) == [[b"1234", b"56", b"7890"]]


def test_a_byte_more_begins_another_datagram() -> None:
    assert batches([b"1234", b"567", b"7890"], room=10) == [[b"1234", b"567"], [b"7890"]]


def test_small_ones_do_not_go_before_large_ones() -> None:
    assert batches([b"1234567890", b"1", b"1234567890", b"2"], room=10) == [
        [b"1234567890"],
        [b"1"],
        [b"1234567890"],
        [b"2"],
    ]


@pytest.mark.parametrize(("count", "sizes"), [(MESSAGES_MAX, [255]), (2 * MESSAGES_MAX + 1, [255, 255, 1])])
def test_no_datagram_has_more_messages_than_can_be_counted(count: int, sizes: list[int]) -> None:
    messages = [bytes((number % 256,)) for number in range(count)]
    found = batches(messages, room=10_000)
    assert [len(batch) for batch in found] == sizes
    assert [message for batch in found for message in batch] == messages
