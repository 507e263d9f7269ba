"""Host names under asyncio: looked up side by side, and again while a client runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from paxlock.aio.udp import resolve
from paxlock.errors import ConfigError
from paxlock.host.whereabouts import OTHERS_PATIENCE_S, Whereabouts
from paxlock.wire.transport import Address

__all__ = ["keep", "resolve_all"]


async def resolve_all(wanted: Mapping[str, str]) -> dict[str, list[Address]]:
    """The addresses under each key, host names resolved side by side; none for those that cannot be resolved
    at the moment, or take longer than the others. Raises ConfigError where not one can be.
    """
    found: dict[str, list[Address]] = {}
    troubles: list[ConfigError] = []

    async def look_up(key: str, address: str) -> None:
        try:
            found[key] = await resolve(address)
        except ConfigError as trouble:
            troubles.append(trouble)

    pending = {asyncio.ensure_future(look_up(key, address)) for key, address in wanted.items()}
    try:
        while pending:
            patience = OTHERS_PATIENCE_S if found else None
            done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if found and not done:
                break
            for one in done:
                one.result()
    finally:
        for one in pending:
            one.cancel()
    if troubles and not found:
        raise troubles[0]
    return {key: found.get(key, []) for key in wanted}


async def keep(whereabouts: Whereabouts, node_id: str, address: str, news: asyncio.Event) -> None:
    """Look the name of a node up again from time to time, and when there is a reason to, which ``news``
    tells.
    """
    loop = asyncio.get_running_loop()
    while True:
        while (left := whereabouts.due(node_id, loop.time()) - loop.time()) > 0.0:
            try:
                async with asyncio.timeout(left):
                    await news.wait()
            except TimeoutError:
                pass
            news.clear()
        whereabouts.begin(node_id, loop.time())
        try:
            whereabouts.end(node_id, await resolve(address))
        except ConfigError:
            whereabouts.end(node_id, None)
