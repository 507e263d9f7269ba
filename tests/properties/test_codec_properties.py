"""Every message comes back as it went; whatever else comes in is Malformed and nothing worse."""

from __future__ import annotations

import types
import typing
from typing import Any, TypeAlias

import attrs
import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxlock.core import journal as core_journal
from paxlock.core import lease as core_lease
from paxlock.core import messages as m
from paxlock.core.lease import TERM_MAX, Candidate
from paxlock.text import is_normal, normal
from paxlock.wire.codec import INT_MAX, Malformed, decode_untrusted, encode, join

Strategy: TypeAlias = st.SearchStrategy[Any]

CODEPOINTS = st.characters(codec="utf-8")


def text(limit: int, *, least: int = 0) -> Strategy:
    found = st.text(CODEPOINTS, min_size=least, max_size=limit // 4)
    return found.map(normal).filter(lambda one: is_normal(one) and least <= len(one) <= limit // 4)


# Limits that do not follow from a field's type follow from its name.
BY_NAME: dict[str, Strategy] = {
    "name": text(255, least=1),
    "address": text(255, least=1),
    "pattern": text(255, least=1),
    "prefix_text": text(255),
    "after": text(255),
    "label": text(64),
    "complaint": text(64),
    "node_id": st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=16),
    "session": st.binary(min_size=16, max_size=16),
    "sender": st.binary(min_size=16, max_size=16),
    "run": st.binary(min_size=16, max_size=16),
    "to_run": st.binary(min_size=16, max_size=16),
    "seen_run": st.binary(min_size=16, max_size=16) | st.just(b""),
    "data": st.binary(max_size=512),
    **dict.fromkeys(("lock", "secret"), st.binary(min_size=16, max_size=16) | st.just(b"")),
    **dict.fromkeys(
        ("term", "at_least", "lease_term", "floor", "ceiling", "token"), st.integers(0, TERM_MAX)
    ),
}


def values_of(hint: Any, name: str) -> Strategy:
    if name == "prefix" and hint is str:
        return BY_NAME["prefix_text"]
    if name == "after" and hint is int:
        return st.integers(0, INT_MAX)
    if hint in (int, str, bytes) and name in BY_NAME:
        return BY_NAME[name]
    if hint is int:
        return st.integers(0, INT_MAX)
    if hint is bool:
        return st.booleans()
    if isinstance(hint, types.UnionType):
        return st.one_of(*(values_of(option, name) for option in typing.get_args(hint)))
    if hint is type(None):
        return st.none()
    if hint is Candidate:
        return st.builds(Candidate, BY_NAME["session"], st.integers(0, INT_MAX))
    if typing.get_origin(hint) is tuple:
        return tuples_of(typing.get_args(hint), name)
    if attrs.has(hint):
        return instances_of(hint)
    return st.sampled_from(list(hint))


def tuples_of(options: tuple[Any, ...], name: str) -> Strategy:
    if name == "secrets":
        return st.just(())  # as many as there are attempts, or none: tests/unit/test_codec.py has both
    if options[-1] is Ellipsis:
        item = BY_NAME["name"] if name == "names" else values_of(options[0], name)
        return st.lists(item, max_size=4).map(tuple)
    if name in ("versions", "counters"):
        return st.tuples(BY_NAME["name"], st.integers(0, INT_MAX))
    assert name == "held"
    return st.tuples(st.integers(0, INT_MAX), BY_NAME["term"])


def instances_of(cls: Any) -> Strategy:
    hints = typing.get_type_hints(cls, {**vars(core_journal), **vars(core_lease), **vars(m)})
    return st.builds(
        cls, **{field.name: values_of(hints[field.name], field.name) for field in attrs.fields(cls)}
    )


MESSAGE_CLASSES = typing.get_args(m.Message)
MESSAGES = st.one_of(*map(instances_of, MESSAGE_CLASSES))


@pytest.mark.parametrize("cls", MESSAGE_CLASSES, ids=lambda cls: cls.__name__)
def test_each_class_round_trips(cls: type) -> None:
    @given(instances_of(cls))
    def check(message: Any) -> None:
        payload = join([encode(message)])
        if len(payload) > 1200:
            with pytest.raises(Malformed, match="too long"):
                decode_untrusted(payload)
        else:
            assert decode_untrusted(payload) == (message,)

    check()


@given(st.lists(MESSAGES, max_size=4))
def test_lists_round_trip_in_order(messages: list[Any]) -> None:
    payload = join([encode(message) for message in messages])
    if len(payload) <= 1200:
        assert decode_untrusted(payload) == tuple(messages)


def decode_or_malformed(payload: bytes) -> None:
    """Nothing but Malformed comes out, and what is decoded has exactly these bytes."""
    try:
        decoded = decode_untrusted(payload)
    except Malformed:
        return
    assert join([encode(message) for message in decoded]) == payload


@given(st.binary(max_size=300))
def test_junk_is_malformed(payload: bytes) -> None:
    decode_or_malformed(payload)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 65), 1 << 65)
    | st.floats()
    | st.binary(max_size=20)
    | st.text(CODEPOINTS, max_size=20)
    | st.datetimes(timezones=st.timezones()),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.integers(0, 30), inner, max_size=3),
    max_leaves=20,
)


@given(st.lists(st.tuples(st.integers(0, 30), PLAIN, PLAIN) | PLAIN, max_size=4))
def test_sound_cbor_of_other_things_is_malformed(values: list[Any]) -> None:
    decode_or_malformed(cbor2.dumps(values))


@given(MESSAGES, st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=3))
def test_mutated_payloads_are_malformed_or_other_messages(
    message: Any, changes: list[tuple[int, int]]
) -> None:
    payload = bytearray(join([encode(message)]))
    for place, value in changes:
        payload[place % len(payload)] = value
    decode_or_malformed(bytes(payload))


@given(MESSAGES, st.integers(0), st.binary(max_size=3), st.integers(0, 3))
def test_spliced_payloads_are_malformed_or_other_messages(
    message: Any, place: int, put_in: bytes, cut_out: int
) -> None:
    payload = join([encode(message)])
    at = place % (len(payload) + 1)
    decode_or_malformed(payload[:at] + put_in + payload[at + cut_out :])
