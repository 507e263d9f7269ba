"""Asyncio programs in a virtual cell, as tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from paxlock.testing import run_virtual
from paxlock.testing.virtual_asyncio import AsyncioCell

__all__ = ["virtual"]


def virtual(scenario: Callable[[AsyncioCell], Awaitable[None]]) -> Callable[[], None]:
    """A test that runs as an asyncio program in a virtual cell."""

    def test() -> None:
        run_virtual(scenario, loop="asyncio", time_limit=3600.0)

    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    return test
