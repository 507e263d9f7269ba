"""Payloads: bytes to messages and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from random import Random

from paxlock.wire.codec import PAYLOAD_MAX_BYTES, Malformed, decode_untrusted, encode, join

from .engine import Target, check
from .hostile import METER
from .script import change_payload
from .traffic import traffic

__all__ = ["CODEC", "MESSAGES", "payloads"]


def run(data: bytes) -> None:
    """Malformed, or messages that are written with these very bytes."""
    try:
        with METER.datagram():
            messages = decode_untrusted(data)
    except Malformed:
        return
    check(join([encode(message) for message in messages]) == data, "one message has two encodings")


@cache
def payloads() -> tuple[bytes, ...]:
    """For every kind of message its shortest and its longest in real traffic, alone in a payload."""
    by_kind: dict[str, list[bytes]] = {}
    for sent in traffic():
        by_kind.setdefault(type(sent.message).__name__, []).append(join([encode(sent.message)]))
    chosen = {found for kind in by_kind.values() for found in (min(kind, key=len), max(kind, key=len))}
    return tuple(sorted(chosen))


def raw_seeds() -> list[bytes]:
    together = b"".join(payload[1:] for payload in payloads() if len(payload) < 100)
    count = sum(1 for payload in payloads() if len(payload) < 100)
    many = bytes((0x98, count)) + together
    return [b"", b"\x80", *payloads(), *([many] if len(many) <= PAYLOAD_MAX_BYTES else [])]


def change_raw(data: bytes, rng: Random, change_bytes: Callable[[bytes], bytes]) -> bytes:
    return change_bytes(data)


CODEC = Target("codec", run, change_raw, raw_seeds, PAYLOAD_MAX_BYTES + 1)
MESSAGES = Target("messages", run, change_payload, lambda: list(payloads()), PAYLOAD_MAX_BYTES)
