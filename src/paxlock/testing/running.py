"""Tests in virtual time that are no async functions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar, Unpack

import trio
from trio.testing import MockClock

from paxlock.testing.virtual_asyncio import run_in_asyncio
from paxlock.testing.virtual_cell import CellSettings, open_virtual_cell

__all__ = ["run_virtual"]

T = TypeVar("T")


def run_virtual(
    async_fn: Callable[..., Awaitable[T]],
    *args: object,
    loop: Literal["trio", "asyncio"] = "trio",
    **settings: Unpack[CellSettings],
) -> T:
    """Run ``async_fn(cell, *args)`` in virtual time, with a virtual cell: for tests that are no async
    functions. Gives its value. ``loop`` is what the function runs under: trio, or an asyncio loop in virtual
    time, for programs that use ``paxlock.aio``. The settings are those of ``open_virtual_cell``.
    """

    async def main() -> T:
        async with open_virtual_cell(**settings) as cell:
            if loop == "asyncio":
                return await run_in_asyncio(cell, async_fn, *args)
            return await async_fn(cell, *args)

    return trio.run(main, clock=MockClock(autojump_threshold=0))
