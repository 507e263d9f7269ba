"""Names in order, and who wants to hear of which: so that no list and no change looks at every name.

Both cost about as much for a hundred thousand entries as for a hundred.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["Prefixes", "SortedNames"]

CHUNK_MAX_NAMES = 512

T = TypeVar("T")


class SortedNames:
    """A set of names that can be walked in order. They lie in chunks, and a change moves one chunk only."""

    __slots__ = ("_chunks", "_lasts")

    def __init__(self) -> None:
        self._chunks: list[list[str]] = []
        self._lasts: list[str] = []  #: the last name of each chunk

    def __len__(self) -> int:
        return sum(map(len, self._chunks))

    def add(self, name: str) -> None:
        """Take in a name that is not here yet."""
        if not self._chunks:
            self._chunks.append([name])
            self._lasts.append(name)
            return
        at = min(bisect_left(self._lasts, name), len(self._chunks) - 1)
        chunk = self._chunks[at]
        insort(chunk, name)
        if len(chunk) > CHUNK_MAX_NAMES:
            half = len(chunk) // 2
            self._chunks.insert(at, chunk[:half])
            self._lasts.insert(at, chunk[half - 1])
            del chunk[:half]
            at += 1
        self._lasts[at] = chunk[-1]

    def remove(self, name: str) -> None:
        """Take out a name that is here."""
        at = bisect_left(self._lasts, name)
        chunk = self._chunks[at]
        del chunk[bisect_left(chunk, name)]
        if chunk:
            self._lasts[at] = chunk[-1]
        else:
            del self._chunks[at], self._lasts[at]

    def walk(self, prefix: str, after: str) -> Iterator[str]:
        """The names that begin with the prefix and come after this one, in order. Not to be changed
        meanwhile.
        """
        where = bisect_right if after >= prefix else bisect_left
        start = max(after, prefix)
        at = where(self._lasts, start)
        if at == len(self._chunks):
            return
        first = where(self._chunks[at], start)
        for chunk in self._chunks[at:]:
            for place in range(first, len(chunk)):
                name = chunk[place]
                if not name.startswith(prefix):
                    return
                yield name
            first = 0


class Prefixes(Generic[T]):
    """Keys by the prefix they belong to; what a change costs depends on how many lengths there are."""

    __slots__ = ("_by_prefix", "_lengths")

    def __init__(self) -> None:
        self._by_prefix: dict[str, set[T]] = {}
        self._lengths: dict[int, int] = {}  #: how many prefixes there are of each length

    def __len__(self) -> int:
        return sum(map(len, self._by_prefix.values()))

    def add(self, prefix: str, key: T) -> None:
        keys = self._by_prefix.get(prefix)
        if keys is None:
            keys = self._by_prefix[prefix] = set()
            self._lengths[len(prefix)] = self._lengths.get(len(prefix), 0) + 1
        keys.add(key)

    def discard(self, prefix: str, key: T) -> None:
        keys = self._by_prefix.get(prefix)
        if keys is None:
            return
        keys.discard(key)
        if not keys:
            del self._by_prefix[prefix]
            self._lengths[len(prefix)] -= 1
            if not self._lengths[len(prefix)]:
                del self._lengths[len(prefix)]

    def of(self, name: str) -> Iterator[T]:
        """The keys of every prefix with which this name begins."""
        for length in self._lengths:
            if length <= len(name):
                yield from self._by_prefix.get(name[:length], ())
