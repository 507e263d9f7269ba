"""Names in order, so that no list looks at every name: a change costs about as much for a hundred thousand
entries as for a hundred.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

__all__ = ["SortedNames"]

CHUNK_MAX_NAMES = 512


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
