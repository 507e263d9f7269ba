"""``paxlock run``: a command that lives only while the lease does (contract.md section 3)."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

import attrs
import click
import trio

from paxlock.cli.child import ChildEnd, CommandFailed, SupervisedChild
from paxlock.cli.exits import ExitCode, Failure, explain, signal_code, unwrap
from paxlock.cli.options import DURATION, NAME, CellOptions, acquire_options, client_options, patience
from paxlock.cli.output import say, voice
from paxlock.cli.runtime import connect, not_ignored, typed_values
from paxlock.client.client import Client, HeldLease
from paxlock.config.cell import ClientSettings
from paxlock.errors import LeaseLost, LossReason, NotAcquired, Reason

__all__ = ["run_command"]

EXIT_CODE_MAX = 255
KILL_AFTER_MAX_S = 2.0
KILL_AFTER_DIVISOR = 5

#: Without a child to pass them on to, these end the waiting; the others are ignored then.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
PASSED_ON = (*ENDING, signal.SIGUSR1, signal.SIGUSR2)


@attrs.frozen
class Order:
    """What ``run`` was asked to do; times in seconds."""

    settings: ClientSettings
    name: str
    ttl: float
    wait: float | None
    label: str | None
    data: bytes
    kill_after: float
    argv: Sequence[str]
    environment: Mapping[str, str]


class Runner:
    """One call of ``run``: acquire, start, watch over, release."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._child: SupervisedChild | None = None
        self._ended_by: int | None = None
        self._lost: LossReason | None = None
        self._waiting = trio.CancelScope()

    async def run(self) -> int:
        """Return the exit code; whatever way this ends, no child is left."""
        code: int | None = None
        async with trio.open_nursery() as nursery:
            await nursery.start(self._pass_signals_on)
            with self._waiting:
                async with connect(self._order.settings, wait=self._order.wait) as client:
                    code = await self._hold(client)
            nursery.cancel_scope.cancel()
        if code is not None:
            return code
        assert self._ended_by is not None
        raise Failure(signal_code(self._ended_by), f"interrupted while waiting for {self._order.name!r}")

    async def _pass_signals_on(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        signums = not_ignored(*PASSED_ON)
        with trio.open_signal_receiver(*signums) as signals:
            task_status.started()
            async for signum in signals:
                if self._child is not None:
                    self._child.send_signal(signum)
                elif signum in ENDING:
                    self._ended_by = signum
                    self._waiting.cancel()

    async def _hold(self, client: Client) -> int:
        order = self._order
        with typed_values():
            held = await client.acquire(
                order.name,
                ttl=order.ttl,
                wait=order.wait,
                label=order.label,
                data=order.data,
                kill_after=order.kill_after,
            )
        try:
            return await self._run_child(held)
        finally:
            await held.release()  # the child has ended: every way out of there waits for that

    async def _run_child(self, held: HeldLease) -> int:
        order = self._order
        if voice.verbose:  # the command has the same stderr, and more to say
            say(f"acquired {order.name!r} with term {held.term}")
        try:
            child = await SupervisedChild.start(
                order.argv,
                env=dict(order.environment)
                | {
                    "PAXLOCK_NAME": order.name,
                    "PAXLOCK_TERM": str(held.term),
                    "PAXLOCK_CELL_ID": held.cell,
                    "PAXLOCK_HANDLE": held.handle,
                },
                term_at=held.deadline - order.kill_after,
                kill_at=held.deadline,
                kill_after=order.kill_after,
            )
        except CommandFailed as failed:
            raise Failure(failed.code, failed.message) from failed
        self._child = child

        def extend(deadline: float) -> None:
            child.extend(deadline - order.kill_after, deadline)

        held.on_extended(extend)
        extend(held.deadline)  # it may have moved while the child was started
        try:
            end = await self._watch_over(child, held)
        except BaseException:
            await child.end()
            raise
        if self._lost is None and not end.by_deadline:
            return end.returncode
        lost = LeaseLost(order.name, held.term, self._lost or LossReason.EXPIRED)
        raise Failure(ExitCode.LEASE_LOST, f"{lost}; the command was ended")

    async def _watch_over(self, child: SupervisedChild, held: HeldLease) -> ChildEnd:
        """Wait for the child's end. When the lease is lost the supervisor kills by the deadline, without
        being told; but a lease may also be lost earlier, released by its handle, say.
        """

        async def end_when_lost() -> None:
            self._lost = await held.wait_lost()
            await child.end()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_when_lost)
            end = await child.wait()
            nursery.cancel_scope.cancel()
        return end


class CommandBehindDashes(click.Command):
    """Options of the command that stands behind ``--``, without the ``--``, are a common slip."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        dashed = "--" in args
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if dashed:
                raise
            sentence = (
                f"no such option: {error.option_name}; if it is the command's, put -- before the command"
            )
            raise click.UsageError(sentence, ctx) from error


@click.command("run", cls=CommandBehindDashes)
@click.argument("name", type=NAME)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@acquire_options
@click.option(
    "--kill-after",
    type=DURATION,
    help="The time between TERM and KILL [default: 2s, at most a fifth of the ttl].",
)
@click.option(
    "-E",
    "--conflict-exit-code",
    "held_code",
    type=click.IntRange(0, EXIT_CODE_MAX),
    metavar="CODE",
    help="End with this code instead of 75 when the name was not to be had.",
)
@client_options
def run_command(
    options: CellOptions,
    name: str,
    command: tuple[str, ...],
    ttl: float,
    wait: float | None,
    try_once: bool,
    label: str | None,
    data: bytes,
    kill_after: float | None,
    held_code: int | None,
) -> int:
    """Run a command while holding a lease.

    The command gets PAXLOCK_NAME, PAXLOCK_TERM (the fencing token), PAXLOCK_CELL_ID and PAXLOCK_HANDLE. If
    the lease cannot be renewed in time it gets TERM and then KILL, before anybody else can hold the name,
    even if this process is itself killed, stopped or cut off; the exit code is 79 then, else the command's
    own.
    """
    order = Order(
        settings=options.settings(),
        name=name,
        ttl=ttl,
        wait=patience(wait, try_once),
        label=label,
        data=data,
        kill_after=min(KILL_AFTER_MAX_S, ttl / KILL_AFTER_DIVISOR) if kill_after is None else kill_after,
        argv=command,
        environment=dict(os.environ) | options.environment(),
    )
    try:
        return trio.run(Runner(order).run)
    except (NotAcquired, ExceptionGroup) as error:
        refused = unwrap(error)
        if held_code is None or not isinstance(refused, NotAcquired) or refused.reason is Reason.NO_QUORUM:
            raise
        raise Failure(held_code, explain(refused)[1]) from error
