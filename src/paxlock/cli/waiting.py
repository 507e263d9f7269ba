"""What a command waits for: told on stderr once it has waited for a while, and again when that changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import trio

from paxlock.cli.exits import NO_ANSWER, ExitCode, Failure
from paxlock.cli.output import printable, say, voice
from paxlock.cli.runtime import TELL_AFTER_S, typed_values
from paxlock.core.messages import NodeMode
from paxlock.core.shortfall import shortfall
from paxlock.errors import NotAcquired, Reason

if TYPE_CHECKING:
    from paxlock.client.client import Client, HeldLease
    from paxlock.core.session.events import NodeStanding

__all__ = [
    "TELL_SOON_S",
    "Look",
    "acquire_patiently",
    "no_quorum",
    "nodes_serving",
    "tell_why",
    "why_no_quorum",
]

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

    What does not fit is Failure (bad usage), and so is no quorum, with what keeps the nodes from being one.
    Errors come out in a group.
    """

    async def tell() -> None:
        await tell_why(lambda: _in_the_way(client, name), waiting, after=after)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        try:
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
        except NotAcquired as error:
            if error.reason is not Reason.NO_QUORUM:
                raise
            sentence = f"{name!r} was not acquired: {await why_no_quorum(client)}"
            raise Failure(ExitCode.NO_QUORUM, sentence) from error
        nursery.cancel_scope.cancel()
    return held


async def _in_the_way(client: Client, name: str) -> str:
    """What is in the way of whoever waits for a name: no quorum, or a holder; ``""`` if neither is seen."""
    trouble = no_quorum(await client.survey(), countdown=False)
    if trouble:
        return trouble
    standing = await client.inspect(name)
    if standing.state.value != "led":
        return ""
    return f"held by {printable(standing.label)!r}" if standing.label else "held by somebody without a label"


async def why_no_quorum(client: Client) -> str:
    """What keeps the nodes from being a quorum, after a question that none has answered in time."""
    return no_quorum(await client.survey()) or "no quorum answered in time, but one serves now: try again"


def nodes_serving(nodes: Sequence[NodeStanding]) -> int:
    """How many of the nodes serve, and count."""
    return sum(1 for node in nodes if node.mode is NodeMode.SERVING and not node.outlived)


def no_quorum(nodes: Sequence[NodeStanding], *, countdown: bool = True) -> str:
    """What keeps the nodes from being a quorum; ``""`` where they are one. With ``countdown`` it says for how
    long yet, where that is known: what is said again whenever it changes leaves that out.
    """
    answered = sum(1 for node in nodes if node.mode is not None)
    if not answered:
        return NO_ANSWER
    return shortfall(
        len(nodes),
        answered=answered,
        serving=nodes_serving(nodes),
        sits_out=[node.sits_out for node in nodes if node.mode is NodeMode.RECOVERING],
        countdown=countdown,
    )
