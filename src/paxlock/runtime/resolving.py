"""Host names under trio: looked up side by side, and again while a client or node runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from paxlock.core.messages import Member
from paxlock.errors import ConfigError
from paxlock.host.whereabouts import OTHERS_PATIENCE_S, Whereabouts
from paxlock.runtime.udp import resolve
from paxlock.wire.transport import Address

if TYPE_CHECKING:
    from paxlock.runtime.driver import Driver
    from paxlock.runtime.thread_driver import ThreadDriver

__all__ = ["keep", "resolve_addresses", "resolve_members"]


async def resolve_members(members: Sequence[Member]) -> dict[str, list[Address]]:
    """The addresses of the nodes, host names resolved side by side; none for those that cannot be resolved at
    the moment, or take longer than the others. Raises ConfigError where not one can be.
    """
    return await _resolve_all({member.node_id: member.address for member in members})


async def resolve_addresses(addresses: Iterable[str]) -> list[Address]:
    """The same for addresses of which nothing else is known."""
    found = await _resolve_all({address: address for address in addresses})
    return [address for several in found.values() for address in several]


async def _resolve_all(wanted: Mapping[str, str]) -> dict[str, list[Address]]:
    found: dict[str, list[Address]] = {}
    troubles: list[ConfigError] = []

    async def look_up(key: str, address: str) -> None:
        try:
            found[key] = await resolve(address)
        except ConfigError as trouble:
            troubles.append(trouble)
        if found:
            scope.deadline = min(scope.deadline, trio.current_time() + OTHERS_PATIENCE_S)

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            for key, address in wanted.items():
                nursery.start_soon(look_up, key, address)
    if troubles and not found:
        raise troubles[0]
    return {key: found.get(key, []) for key in wanted}


async def keep(whereabouts: Whereabouts, driver: Driver | ThreadDriver) -> None:
    """Look host names up again from time to time, and when there is a reason to, each by itself: one that the
    resolver is silent about holds up no other. ``driver`` has the endpoint that is kept informed.
    """
    news = {node_id: trio.Event() for node_id in whereabouts.named}
    whereabouts.wake = lambda node_id: driver.call(lambda: news[node_id].set())

    async def follow(node_id: str, address: str) -> None:
        while True:
            while trio.current_time() < (due := whereabouts.due(node_id, trio.current_time())):
                with trio.move_on_at(due):
                    await news[node_id].wait()
                news[node_id] = trio.Event()
            with driver.lock:
                whereabouts.begin(node_id, trio.current_time())
            found = None
            with suppress(ConfigError):
                found = await resolve(address)
            with driver.lock:
                whereabouts.end(node_id, found)

    async with trio.open_nursery() as nursery:
        for node_id, address in whereabouts.named.items():
            nursery.start_soon(follow, node_id, address)
