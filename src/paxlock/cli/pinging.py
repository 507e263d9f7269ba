"""Pings to every node for a while: what is lost, and how long a round trip takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from paxlock.cli.output import Facts
from paxlock.client.client import Client
from paxlock.core.session.events import NodePing

__all__ = ["answered", "loss_facts", "ping_for"]


async def ping_for(
    client: Client, duration: float, *, every: float, nodes: Sequence[str] | None = None
) -> Mapping[str, Sequence[NodePing]]:
    """Ping these nodes, or all, for so many seconds, once at least, and wait for the answers: of each node,
    in the order in which they left. One that waits for its answer does not hold up the next.
    """
    found: list[tuple[NodePing, ...]] = []

    async def ping(number: int) -> None:
        found[number] = await client.ping(nodes)

    async with trio.open_nursery() as nursery:
        due = trio.current_time()
        until = due + duration
        while not found or due < until:
            found.append(())
            nursery.start_soon(ping, len(found) - 1)
            due = max(due + every, trio.current_time())
            await trio.sleep_until(due)
    pings: dict[str, list[NodePing]] = {}
    for each in found:
        for one in each:
            pings.setdefault(one.node_id, []).append(one)
    return pings


def answered(pings: Sequence[NodePing]) -> int:
    """How many of them came back in time."""
    return sum(ping.round_trip is not None for ping in pings)


def loss_facts(sent: int, came_back: int) -> Facts:
    """What JSON says of it."""
    return {"pings": sent, "answered": came_back, "loss": round(1.0 - came_back / sent, 3)}
