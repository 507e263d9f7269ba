"""Coverage by pairs of lines, the smallest corpus that has it, and a plain coverage-guided loop.

The loop is what runs where libFuzzer is not installed, and what the tests use: slower, but the same targets,
the same changes and the same checks.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from random import Random
from types import CodeType, FrameType
from typing import Any, Self, TypeAlias

import attrs

import paxlock

__all__ = ["Broken", "Change", "Crash", "Found", "Target", "Tracer", "check", "explore", "minimise", "replay"]

SOURCE = paxlock.__path__[0]

Edge: TypeAlias = tuple[int, int, int]
Change: TypeAlias = Callable[[bytes, Random, Callable[[bytes], bytes]], bytes]


class Broken(AssertionError):
    """Something that must always be true of the code under test was not."""


def check(condition: object, what: str) -> None:
    """Raise Broken, also where assertions are switched off."""
    if not condition:
        raise Broken(what)


@attrs.frozen
class Target:
    """One function that reads bytes of unknown origin, with its checks.

    ``run`` raises for a bug and for nothing else. ``change`` makes another input from one: it is given a
    source of chance, and what changes plain bytes. ``seeds`` come from real traffic and real files.
    """

    name: str
    run: Callable[[bytes], None]
    change: Change
    seeds: Callable[[], list[bytes]]
    input_max_bytes: int


@attrs.define(eq=False)
class Crash(Exception):
    """An input that broke something; its cause says what."""

    data: bytes = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"an input of {len(self.data)} bytes breaks it: {self.__cause__!r}"


class Tracer:
    """While entered: which line followed which in src/paxlock, and how many lines were run."""

    def __init__(self) -> None:
        self.edges: set[Edge] = set()
        self.lines = 0
        self._ours: dict[CodeType, int] = {}
        self._files: dict[str, bool] = {}

    def __enter__(self) -> Self:
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        code = frame.f_code
        ours = self._files.get(code.co_filename)
        if ours is None:
            ours = self._files[code.co_filename] = code.co_filename.startswith(SOURCE)
        if not ours:
            return None
        number, last, edges = id(code), 0, self.edges

        def step(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal last
            if event == "line":
                line = frame.f_lineno
                edges.add((number, last, line))
                last = line
                self.lines += 1
            return step

        return step


def replay(target: Target, inputs: Iterable[bytes], tracer: Tracer | None = None) -> Tracer:
    """Run every input; raises Crash for the first that breaks something."""
    tracer = tracer or Tracer()
    for data in inputs:
        _run(target, data, tracer)
    return tracer


def _run(target: Target, data: bytes, tracer: Tracer) -> None:
    try:
        with tracer:
            target.run(data)
    except Exception as error:
        raise Crash(data) from error


def minimise(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Of the inputs those that together cover what all cover, the short ones preferred."""
    ordered = sorted(set(inputs), key=lambda data: (len(data), data))
    replay(target, ordered)  # what is done once in a process is no input's own
    covers = {data: replay(target, [data]).edges for data in ordered}
    # Once more from the longest: what came later may cover what the short ones were kept for.
    return _needed(reversed(_needed(ordered, covers)), covers)


def _needed(inputs: Iterable[bytes], covers: dict[bytes, set[Edge]]) -> list[bytes]:
    """Those that cover something that none before them does."""
    covered: set[Edge] = set()
    needed = []
    for data in inputs:
        if not covers[data] <= covered:
            covered |= covers[data]
            needed.append(data)
    return needed


@attrs.frozen
class Found:
    """What a run of the plain loop did."""

    executions: int
    corpus: list[bytes]
    edges: int


def explore(
    target: Target,
    inputs: Iterable[bytes],
    *,
    rng: Random,
    executions: int | None = None,
    seconds: float | None = None,
    tracer: Tracer | None = None,
) -> Found:
    """Change inputs at random and keep those that reach something new; raises Crash."""
    tracer = tracer or Tracer()
    corpus: list[bytes] = []
    for data in inputs:
        _run(target, data, tracer)
        corpus.append(data)
    until = None if seconds is None else time.monotonic() + seconds
    done = len(corpus)
    while (executions is None or done < executions) and (until is None or time.monotonic() < until):
        data = target.change(rng.choice(corpus), rng, lambda data: change_bytes(data, rng))
        data = data[: target.input_max_bytes]
        before = len(tracer.edges)
        _run(target, data, tracer)
        done += 1
        if len(tracer.edges) > before:
            corpus.append(data)
    return Found(done, corpus, len(tracer.edges))


INTERESTING_BYTES = bytes((0, 1, 0x17, 0x18, 0x19, 0x1B, 0x40, 0x5F, 0x80, 0x9F, 0xC0, 0xF6, 0x7F, 0xFF))


def change_bytes(data: bytes, rng: Random) -> bytes:
    """Another string of bytes: turned, put in, taken out, cut, or repeated."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(changed) + 1)
        end = min(len(changed), at + rng.choice((1, 1, 2, 8, 40)))
        match rng.randrange(6):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.choice(INTERESTING_BYTES)
            case 2:
                changed[at:at] = rng.randbytes(rng.choice((1, 1, 2, 8)))
            case 3:
                del changed[at:end]
            case 4:
                changed[at:at] = changed[at:end]
            case 5 if rng.random() < 0.2:
                del changed[at:]
    return bytes(changed)
