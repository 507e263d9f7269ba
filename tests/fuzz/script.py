"""Inputs that are a conversation: steps with a payload, and how they are changed without losing their form.

An input begins with two bytes that choose the scene. Every byte string is some script: what is cut off at
the end is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any, NamedTuple

from paxlock.core.lease import TERM_MAX
from paxlock.wire.codec import INT_MAX, PAYLOAD_MAX_BYTES, Malformed, pack, unpack_untrusted
from paxlock.wire.header import SessionSender

__all__ = ["SCENE_BYTES", "STEPS_MAX", "Step", "change_payload", "change_script", "parse", "write"]

SCENE_BYTES = 2
STEPS_MAX = 48
_HEAD = struct.Struct(">BBBHH")


class Step(NamedTuple):
    """One thing that happens, after a pause: what, by whom, where, and with which bytes."""

    kind: int
    who: int
    where: int
    pause_ms: int
    payload: bytes


def parse(data: bytes) -> list[Step]:
    """The steps after the scene."""
    steps: list[Step] = []
    at = SCENE_BYTES
    while at + _HEAD.size <= len(data) and len(steps) < STEPS_MAX:
        kind, who, where, pause_ms, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        steps.append(Step(kind, who, where, pause_ms, data[at : at + size]))
        at += size
    return steps


def write(scene: bytes, steps: Iterable[Step]) -> bytes:
    """The bytes that ``parse`` reads."""
    return scene + b"".join(
        _HEAD.pack(step.kind, step.who, step.where, step.pause_ms, len(step.payload)) + step.payload
        for step in steps
    )


# Changing


def change_script(
    data: bytes, rng: Random, change_bytes: Callable[[bytes], bytes], others: Sequence[bytes]
) -> bytes:
    """One to four changes, to the steps or within one of them."""
    scene, steps = data[:SCENE_BYTES].ljust(SCENE_BYTES, b"\0"), parse(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(steps) + 1)
        if at == len(steps) or rng.random() < 0.1:
            other = parse(rng.choice(others))
            start = rng.randrange(len(other)) if other else 0
            steps[at:at] = other[start : start + rng.choice((1, 2, 6, STEPS_MAX))]
            continue
        step = steps[at]
        match rng.randrange(8):
            case 0:
                del steps[at]
            case 1:
                steps.insert(rng.randrange(len(steps) + 1), step)
            case 2:
                steps.insert(rng.randrange(len(steps)), steps.pop(at))
            case 3 | 4:
                steps[at] = _change_head(step, rng)
            case 5:
                steps[at] = step._replace(payload=change_bytes(step.payload)[:PAYLOAD_MAX_BYTES])
            case 6 | 7:
                steps[at] = step._replace(payload=change_payload(step.payload, rng, change_bytes))
    if rng.random() < 0.1:
        place = rng.randrange(SCENE_BYTES)
        scene = scene[:place] + bytes((rng.randrange(256),)) + scene[place + 1 :]
    return write(scene, steps[:STEPS_MAX])


def _change_head(step: Step, rng: Random) -> Step:
    match rng.randrange(4):
        case 0:
            return step._replace(kind=rng.randrange(16))
        case 1:
            return step._replace(who=rng.randrange(16))
        case 2:
            return step._replace(where=rng.randrange(256))
        case _:
            return step._replace(pause_ms=rng.choice((0, 1, 9, 11, 100, 1_000, 10_000, 31_000, 61_000)))


def change_payload(payload: bytes, rng: Random, change_bytes: Callable[[bytes], bytes]) -> bytes:
    """Change one value of a sound payload, or its bytes where it is none."""
    try:
        tree = unpack_untrusted(payload)
    except Malformed:
        return change_bytes(payload)[:PAYLOAD_MAX_BYTES]
    inner = list(_lists(tree))
    values = rng.choice(inner)
    if not values:
        values.append(_value(0, rng))
        return pack(tree)
    at = rng.randrange(len(values))
    match rng.randrange(10):
        case 0:
            del values[at]
        case 1:
            values.insert(at, values[at])
        case 2:
            values.extend([values[at]] * rng.choice((1, 5, 127)))
        case _:
            values[at] = _value(values[at], rng)
    changed = pack(tree)
    return changed if len(changed) <= PAYLOAD_MAX_BYTES else payload


def _lists(tree: list[Any]) -> Iterable[list[Any]]:
    yield tree
    for value in tree:
        if isinstance(value, list):
            yield from _lists(value)


# The ends of every range, and values that others use too, so that messages meet.
INTEGERS = (
    *(0, 1, 2, 3, 4, 10, 23, 24, 50, 128, 255, 256, 1_000, 10_000, 30_000, 65_535, 65_536),
    *((1 << 32) - 1, 1 << 32, 1 << 53, TERM_MAX - 1, TERM_MAX, TERM_MAX + 1, INT_MAX - 1, INT_MAX),
)
SENDERS = tuple(SessionSender(letter * 16) for letter in (b"S", b"T", b"U", b"V"))
SESSIONS = tuple(sender.session for sender in SENDERS)
OCTETS = (*SESSIONS, b"r" * 16, b"q" * 16, b"", b"d" * 512, b"d" * 513, b"x" * 15)
TEXTS = ("", "n", "m", "m/1", "n" * 255, "é" * 128, "a", "b", "c", "l" * 64, "10.0.0.1:7400", "\0")


def _value(old: object, rng: Random) -> object:
    """A value, mostly of the type of the old one."""
    if rng.random() < 0.05:
        return rng.choice((0, b"", "", None, True, []))
    match old:
        case bool():
            return not old
        case int():
            near = min(max(0, old + rng.choice((-1, 1, 2, -2))), INT_MAX)
            return rng.choice((near, near, rng.choice(INTEGERS)))
        case bytes():
            return rng.choice(OCTETS)
        case str():
            return rng.choice(TEXTS)
        case None:
            return rng.choice((0, [SESSIONS[0], 1], [[SESSIONS[0], 1], 10_000, "l", b"", 0]))
        case _:
            return [_value(value, rng) for value in old] if isinstance(old, list) else old
