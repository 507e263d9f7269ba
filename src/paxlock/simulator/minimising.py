"""Leaving out what does not matter: delta debugging over a list (after Zeller's ddmin)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["minimised"]

T = TypeVar("T")


def minimised(items: Sequence[T], fails: Callable[[list[T]], bool]) -> list[T]:
    """A part of ``items``, in their order, that ``fails``, and of which no single one can be left out.

    ``items`` themselves must fail; that is not tried again. First large pieces are left out, then ever
    smaller ones.
    """
    left = list(items)
    size = len(left)
    while left:
        shorter = _without_pieces(left, size, fails)
        if size == 1 and len(shorter) == len(left):
            break
        left, size = shorter, max(1, min(size, len(shorter)) // 2)
    return left


def _without_pieces(items: list[T], size: int, fails: Callable[[list[T]], bool]) -> list[T]:
    left, at = items, 0
    while at < len(left):
        without = left[:at] + left[at + size :]
        if fails(without):
            left = without
        else:
            at += size
    return left
