"""Running the asynchronous part of a command: signals, and the way to the cell."""

from __future__ import annotations

import logging
import math
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import trio

from paxlock.cli.exits import NO_ANSWER, NO_KEY, ExitCode, Failure, signal_code
from paxlock.cli.gc_pauses import load
from paxlock.cli.output import say
from paxlock.errors import ConfigError

if TYPE_CHECKING:
    from paxlock.client.client import Client
    from paxlock.config.cell import ClientSettings

__all__ = [
    "TELL_AFTER_S",
    "connect",
    "ending_signals",
    "logs_as_talk",
    "not_ignored",
    "room_on_stdout",
    "run_async",
    "scope_until_signal",
    "typed_values",
]

TELL_AFTER_S = 5.0  # who has waited so long is told what for
TRY_PATIENCE_S = 1.0  # contract.md section 2: one attempt gives up after at most so long without a quorum


def not_ignored(*signums: signal.Signals) -> list[signal.Signals]:
    """Those of the signals that were not ignored when we were started, as by nohup: they stay ignored."""
    return [signum for signum in signums if signal.getsignal(signum) is not signal.SIG_IGN]


def ending_signals(*, hup: bool = True) -> list[signal.Signals]:
    """The signals that end a command in an orderly way; with or without HUP."""
    return not_ignored(signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hup else ()))


async def scope_until_signal(
    scope: trio.CancelScope,
    heard: list[int],
    *,
    hup: bool = True,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Cancel ``scope`` at the first signal that ends a command, and note it in ``heard``.

    The second one does what it does by default: it ends the process on the spot.
    """
    signums = ending_signals(hup=hup)
    if not signums:
        task_status.started()
        return
    with trio.open_signal_receiver(*signums) as signals:
        task_status.started()
        async for signum in signals:
            heard.append(signum)
            scope.cancel()
            return


def run_async(command: Callable[[], Awaitable[int]], *, stopped: int | None = None, hup: bool = True) -> int:
    """Run the command to its end and return its exit code.

    INT, TERM and HUP cancel it; then the exit code is ``stopped`` if given, else 128 + the signal's number.
    Without ``hup`` the command itself takes HUP.
    """
    heard: list[int] = []

    async def until_signal() -> int:
        code: int | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(scope_until_signal, nursery.cancel_scope, heard, hup=hup))
            code = await command()
            nursery.cancel_scope.cancel()
        if code is not None:
            return code
        if stopped is not None:
            return stopped
        raise Failure(signal_code(heard[0]) if heard else ExitCode.INTERRUPTED, "interrupted")

    return trio.run(until_signal)


async def room_on_stdout() -> None:
    """Wait until stdout takes a line, or nobody reads it any more: a signal is heard meanwhile. It is not
    while a write waits for a reader that has stopped, such as a pager.
    """
    if sys.stdout is None:
        return
    with suppress(OSError, ValueError):  # a file takes everything, and there is nothing to wait for
        await trio.lowlevel.wait_writable(sys.stdout.fileno())


@contextmanager
def typed_values() -> Iterator[None]:
    """What is refused in this block was typed on the command line: ConfigError is bad usage here."""
    try:
        yield
    except ConfigError as error:
        raise Failure(ExitCode.USAGE, str(error)) from error


class _Talk(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextmanager
def logs_as_talk() -> Iterator[None]:
    """What a client has to say to the log of its program is said as all else is, and with -q it is not."""
    logger, talk = logging.getLogger("paxlock"), _Talk(logging.WARNING)
    before = logger.propagate
    logger.addHandler(talk)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(talk)
        logger.propagate = before


@asynccontextmanager
async def connect(
    settings: ClientSettings, *, label: str | None = None, wait: float | None = None
) -> AsyncIterator[Client]:
    """A client of the cell. ``wait`` (seconds, None for ever) bounds the time until it knows the cell.

    Raises Failure (no quorum) when that time is over. Errors of the body come out in a group.
    """
    load("paxlock.client.opening")
    from paxlock.client.opening import open_client  # here, because a node does without it

    limit = math.inf if wait is None else max(wait, TRY_PATIENCE_S)
    nobody = NO_ANSWER if settings.keys else NO_KEY
    with logs_as_talk(), trio.move_on_after(limit) as opening:
        async with trio.open_nursery() as nursery:
            found = trio.CancelScope()
            if limit > TELL_AFTER_S:
                nursery.start_soon(_tell_that_nobody_answers, found, nobody)
            async with open_client(settings, label=label) as client:
                opening.deadline = math.inf
                found.cancel()
                yield client
    if opening.cancelled_caught:
        raise Failure(ExitCode.NO_QUORUM, nobody)


async def _tell_that_nobody_answers(found: trio.CancelScope, nobody: str) -> None:
    with found:
        await trio.sleep(TELL_AFTER_S)
        say(f"still waiting: {nobody}")
