"""What stands for the network and the clock in tests in virtual time (paxlock.testing): by the running
loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from paxlock.aio.udp import LoopTransport
from paxlock.host.clock import Clock

__all__ = ["StandIn", "stand_in_for"]


class StandIn(Protocol):
    """The network and the clock of one virtual cell."""

    def clock(self) -> Clock:
        """The clock of leases for one client."""

    def bind(self) -> LoopTransport:
        """A client's end of the network."""

    def label(self, label: str) -> str:
        """Who a client is that did not say so, and would be ``label`` elsewhere."""

    def kind(self, make: Any) -> Any:
        """What makes the client in the place of ``make``."""


def stand_in_for(addresses: Iterable[str]) -> StandIn | None:
    """The virtual cell of the running loop that has nodes at these addresses; None in production."""
    find: Callable[[Iterable[str]], StandIn | None] | None
    find = getattr(asyncio.get_running_loop(), "paxlock_stand_in", None)
    return find(addresses) if find is not None else None
