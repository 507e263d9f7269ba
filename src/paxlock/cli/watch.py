"""``paxlock watch``: a line for every change of the names watched."""

from __future__ import annotations

from typing import TypeAlias

import click
import trio

from paxlock.cli.exits import ExitCode, epilog
from paxlock.cli.hook import NO_SHELL, Hook
from paxlock.cli.options import PATTERN, CellOptions, client_options
from paxlock.cli.output import change_facts, emit, paint, printable, say, to_json
from paxlock.cli.runtime import connect, room_on_stdout, run_async
from paxlock.cli.waiting import Look, no_quorum, tell_why
from paxlock.client.client import Client
from paxlock.client.standing import Change

__all__ = ["watch_command"]


def format_change(change: Change) -> str:
    """One line for people: ``NAME STATE TERM LABEL``, the last two where they are known."""
    words = [printable(change.name), paint(change.state.value)]
    if change.term > 0:
        words.append(str(change.term))
    if change.state.value == "led" and change.label:
        words.append(printable(change.label))
    return " ".join(words)


LOOK_AGAIN_S = 1.0
Send: TypeAlias = "trio.MemorySendChannel[tuple[str, Change | None]]"


class EndCondition:
    """When a watch has seen enough."""

    def __init__(self, patterns: list[str], once: bool, until: str | None) -> None:
        self._unseen = set(patterns)
        self._once = once
        self._until = until

    def describe(self, patterns: list[str]) -> str:
        """What is watched, and until when, for people."""
        names = ", ".join(repr(pattern) for pattern in patterns)
        if self._until is None:
            return f"watching {names}; Ctrl-C ends it"
        return f"watching {names} until {'it' if len(patterns) == 1 else 'one'} is {self._until}"

    def none_there(self, pattern: str) -> bool:
        """Take note that no name matches, and tell whether there is nothing more to see."""
        self._unseen.discard(pattern)
        return self._once and not self._unseen

    def reached(self, pattern: str, change: Change) -> bool:
        """Take note of a change, and tell whether it was the last one asked for."""
        self._unseen.discard(pattern)
        if self._until is not None:
            return change.state.value == self._until
        return self._once and not self._unseen


async def _tell_when_blind(look: Look) -> None:
    await tell_why(look, "still waiting for an answer", over="a quorum of the nodes answers again")


async def _tell_if_none(client: Client, pattern: str, send: Send) -> None:
    """Send None in place of a change where no name that matches is led: there a watch says nothing."""
    while True:
        states = {standing.state.value for standing in await client.list(pattern.removesuffix("*"))}
        if "led" in states:
            return
        if "unknown" not in states:
            await send.send((pattern, None))
            return
        await trio.sleep(LOOK_AGAIN_S)


async def _forward(client: Client, pattern: str, send: Send) -> None:
    async with client.watch(pattern) as changes:
        async for change in changes:
            await send.send((pattern, change))


@click.command("watch", epilog=epilog(0, 64, 77, 78, 126, 127, 130))
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=PATTERN)
@click.option("--jsonl", "--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@click.option(
    "--exec", "command", metavar="COMMAND", help="Run this for each change, one at a time. " + NO_SHELL
)
@click.option(
    "--once",
    is_flag=True,
    help="Print the first state of each NAME and exit; of NAME* that of one name, or nothing if none is led.",
)
@click.option("--until", type=click.Choice(["led", "free"]), help="Exit when one of the names is that.")
@client_options
def watch_command(
    options: CellOptions,
    names: tuple[str, ...],
    as_json: bool,
    command: str | None,
    once: bool,
    until: str | None,
) -> int:
    """Follow who leads one or more names.

    NAME* stands for all names that begin so. The first line of a name is its present state: led, free or
    unknown. States that were replaced meanwhile may be left out, the last one never is.
    """
    if once and until is not None:
        raise click.UsageError("give --once or --until, not both")
    hook = None if command is None else Hook.parse(command, options.environment())
    settings = options.settings()
    patterns = list(dict.fromkeys(names))
    end = EndCondition(patterns, once, until)

    unseen = set(patterns)

    async def watch() -> int:
        send, receive = trio.open_memory_channel[tuple[str, Change | None]](0)
        if not once:
            say(end.describe(patterns))
        async with connect(settings) as client, trio.open_nursery() as nursery:
            told = None if hook is None else hook.of_cell(client.cell.cell_id)

            async def look() -> str:
                return no_quorum(await client.survey(), countdown=False) if unseen else ""

            nursery.start_soon(_tell_when_blind, look)
            for pattern in patterns:
                nursery.start_soon(_forward, client, pattern, send)
                if once and pattern.endswith("*"):
                    nursery.start_soon(_tell_if_none, client, pattern, send)
            async for pattern, change in receive:
                if change is None:
                    unseen.discard(pattern)
                    say(f"no name that is led matches {pattern!r}")
                    if end.none_there(pattern):
                        break
                    continue
                (unseen.add if change.state.value == "unknown" else unseen.discard)(pattern)
                await room_on_stdout()
                emit(to_json(change_facts(change)) if as_json else format_change(change))
                if told is not None:
                    await told.run(change_facts(change))
                if end.reached(pattern, change):
                    break
            nursery.cancel_scope.cancel()
        return ExitCode.DONE

    return run_async(watch)
