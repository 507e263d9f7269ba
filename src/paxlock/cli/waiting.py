"""What a command waits for: told on stderr once it has waited for a while, and again when that changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import trio

from paxlock.cli.exits import KEY_OR_NODES
from paxlock.cli.output import printable, say, voice
from paxlock.cli.runtime import TELL_AFTER_S, typed_values
from paxlock.core.messages import NodeMode
from paxlock.core.quorum import majority

if TYPE_CHECKING:
    from paxlock.client.client import Client, HeldLease
    from paxlock.core.session.events import NodeStanding

__all__ = ["TELL_SOON_S", "Look", "acquire_patiently", "no_quorum", "tell_why"]

TELL_SOON_S = 0.5  # a person looks on, or the command's own words are still to come
LOOK_EVERY_S = 5.0

Look: TypeAlias = Callable[[], Awaitable[str]]


async def tell_why(look: Look, waiting: str, *, after: float = TELL_AFTER_S, over: str = "") -> None:
    """After a while, and then whenever it has changed, say what ``look`` finds; ``""`` is nothing to tell.

    ``over`` is said when there is nothing to tell any more. Runs until cancelled, or the client is closed.
    """
    said = ""
    if voice.quiet:
        return
    try:
        await trio.sleep(after)
        while True:
            why = await look()
            if why and why != said:
                say(f"{waiting}: {why}")
                said = why
            elif said and not why and over:
                say(over)
                said = ""
            await trio.sleep(LOOK_EVERY_S)
    except trio.ClosedResourceError:
        return  # whoever waits is told so as well


async def acquire_patiently(
    client: Client,
    name: str,
    waiting: str,
    *,
    ttl: float | None,
    wait: float | None = None,
    label: str | None = None,
    data: bytes = b"",
    kill_after: float = 0.0,
    at_least: float = 0.0,
    after: float = TELL_AFTER_S,
) -> HeldLease:
    """Acquire a name, and tell meanwhile what is in the way: ``waiting`` begins the sentence.

    What does not fit is Failure (bad usage). Errors come out in a group.
    """

    async def tell() -> None:
        await tell_why(lambda: _in_the_way(client, name), waiting, after=after)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        with typed_values():
            held = await client.acquire(
                name,
                ttl=ttl,
                wait=wait,
                label=label,
                data=data,
                kill_after=kill_after,
                at_least=at_least,
            )
        nursery.cancel_scope.cancel()
    return held


async def _in_the_way(client: Client, name: str) -> str:
    """What is in the way of whoever waits for a name: no quorum, or a holder; ``""`` if neither is seen."""
    trouble = no_quorum(await client.survey())
    if trouble:
        return trouble
    standing = await client.inspect(name)
    if standing.state.value != "led":
        return ""
    return f"held by {printable(standing.label)!r}" if standing.label else "held by somebody without a label"


def no_quorum(nodes: Sequence[NodeStanding]) -> str:
    """What keeps the nodes from being a quorum; ``""`` where they are one."""
    total, needed = len(nodes), majority(len(nodes))
    answered = sum(1 for node in nodes if node.mode is not None)
    serving = sum(1 for node in nodes if node.mode is NodeMode.SERVING)
    if serving >= needed:
        return ""
    if answered >= needed:
        return f"no quorum: {serving} of {total} nodes serve; {answered - serving} have started and sit out"
    hint = f"; {KEY_OR_NODES}" if answered == 0 else f", {needed} are needed"
    return f"no quorum: {answered} of {total} nodes answered{hint}"
