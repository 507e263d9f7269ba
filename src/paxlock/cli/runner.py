"""The work of ``paxlock run``: acquire, start the command, watch over it, release (contract.md section 3)."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

import attrs
import trio

from paxlock.cli.child import ChildEnd, CommandFailed, SupervisedChild
from paxlock.cli.exits import ExitCode, Failure, signal_code
from paxlock.cli.output import say, seconds, voice
from paxlock.cli.run_will import RunWill
from paxlock.cli.runtime import connect, not_ignored
from paxlock.cli.waiting import TELL_SOON_S, acquire_patiently
from paxlock.client.client import Client, HeldLease
from paxlock.config.cell import ClientSettings, format_duration
from paxlock.errors import LeaseLost, LossReason

__all__ = ["Order", "run_order"]

#: Without a child to pass them on to, these end the waiting; the others are ignored then.
KILL_AFTER_MAX_S = 2.0
KILL_AFTER_DIVISOR = 5
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
TYPED = (signal.SIGINT, signal.SIGQUIT)
PASSED_ON = (*ENDING, signal.SIGUSR1, signal.SIGUSR2)


@attrs.frozen
class Order:
    """What ``run`` was asked to do; times in seconds."""

    settings: ClientSettings
    name: str
    ttl: float | None
    wait: float | None
    label: str | None
    data: bytes
    kill_after: float | None
    at_least: float
    foreground: bool
    argv: Sequence[str]
    environment: Mapping[str, str]


def _from_the_terminal(signum: int) -> bool:
    """Whether a signal was typed at the terminal whose foreground job we are: all of the job gets it."""
    if signum not in TYPED:
        return False
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _tell_of_strays(end: ChildEnd) -> None:
    """Say what was ended because it had outlived the command."""
    if not end.left:
        return
    pids = ", ".join(map(str, end.left_pids)) + (" and more" if end.left > len(end.left_pids) else "")
    what = (
        "1 process that it had started was"
        if end.left == 1
        else f"{end.left} processes that it had started were"
    )
    say(f"the command has ended; {what} still there, and ended with it: pid {pids}")


def _check_at_least(at_least: float, max_ttl: float) -> None:
    """Raise Failure where no lease of the cell lives so long after its holder has gone: ``run`` does not stay
    to renew it.
    """
    if at_least > max_ttl:
        sentence = (
            f"--at-least must not be above the cell's max_ttl of {format_duration(max_ttl)}, but it is "
        )
        advice = "ask for less, or raise max_ttl in the cell file of every node and client"
        raise Failure(ExitCode.USAGE, f"{sentence}{format_duration(at_least)}: {advice}")


def _say_left_early(name: str, missing: float) -> None:
    """The lease that this process leaves behind could not be renewed a last time."""
    early = f"it may run out up to {seconds(missing)} before --at-least has passed"
    say(f"the lease of {name!r} could not be renewed when the command had ended: {early}")


class Runner:
    """One call of ``run``: acquire, start, watch over, release."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._child: SupervisedChild | None = None
        self._ended_by: int | None = None
        self._lost: LossReason | None = None
        self._kill_after = order.kill_after or 0.0
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
                    if not (self._order.foreground and _from_the_terminal(signum)):
                        self._child.send_signal(signum)
                elif signum in ENDING:
                    self._ended_by = signum
                    self._waiting.cancel()

    async def _hold(self, client: Client) -> int:
        order = self._order
        _check_at_least(order.at_least, client.cell.max_ttl)
        ttl = client.lease_ttl(order.ttl)
        if order.kill_after is None:
            self._kill_after = min(KILL_AFTER_MAX_S, ttl / KILL_AFTER_DIVISOR)
        held = await acquire_patiently(
            client,
            order.name,
            f"waiting for {order.name!r}",
            ttl=ttl,
            wait=order.wait,
            label=order.label,
            data=order.data,
            kill_after=self._kill_after,
            at_least=order.at_least,
            after=TELL_SOON_S,
        )
        client.on_left_early(_say_left_early)
        keep_until = client.now() + order.at_least
        try:
            return await self._run_child(client, held, keep_until)
        finally:
            await held.release()  # the child has ended: every way out of there waits for that

    async def _run_child(self, client: Client, held: HeldLease, keep_until: float) -> int:
        order = self._order
        if voice.verbose:  # the command has the same stderr, and more to say
            say(f"acquired {order.name!r} with term {held.term}")
        handle = held.handle
        will = RunWill(client.will_sockets(), keep_until)
        client.bequeath(will, held)
        try:
            child = await SupervisedChild.start(
                order.argv,
                env=dict(order.environment)
                | {
                    "PAXLOCK_NAME": order.name,
                    "PAXLOCK_TERM": str(held.term),
                    "PAXLOCK_CELL_ID": held.cell,
                    "PAXLOCK_HANDLE": handle,
                },
                term_at=held.deadline - self._kill_after,
                kill_at=held.deadline,
                kill_after=self._kill_after,
                foreground=order.foreground,
                will=will,
            )
        except CommandFailed as failed:
            held.waive()
            raise Failure(failed.code, failed.message) from failed
        self._child = child

        def extend(deadline: float) -> None:
            child.extend(deadline - self._kill_after, deadline)

        held.on_extended(extend)
        extend(held.deadline)  # it may have moved while the child was started
        try:
            end = await self._watch_over(child, held)
        except BaseException:
            await child.end()
            raise
        if self._lost is None and not end.by_deadline:
            _tell_of_strays(end)
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


def run_order(order: Order) -> int:
    """Do what was asked for, and return the exit code; whatever way this ends, no child is left."""
    return trio.run(Runner(order).run)
