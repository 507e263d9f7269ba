"""How a task of the program waits for what the machine will tell."""

from __future__ import annotations

import attrs
import trio

from paxlock.runtime.faults import TrioClosedError

__all__ = ["Reply", "check_run"]


def check_run(home: trio.lowlevel.TrioToken) -> None:
    """Raise RuntimeError in another run of trio: what waits there cannot be woken from here."""
    if trio.lowlevel.current_trio_token() is not home:
        raise RuntimeError(
            "this client belongs to another run of trio, the one it was opened in: open a client in each run"
        )


@attrs.define(eq=False)
class Reply:
    """Where the answer to one ticket will arrive; None means that the client was closed.

    An Event of trio's does the same for many tasks, and costs several times as much.
    """

    arrived: bool = False
    value: object = None
    why: str = "this client was closed"
    _waiting: trio.lowlevel.Task | None = None

    def set(self, value: object) -> None:
        self.value = value
        self.arrived = True
        if self._waiting is not None:
            trio.lowlevel.reschedule(self._waiting)
            self._waiting = None

    def take(self, event: object) -> None:
        """The one event that is waited for has come."""
        self.set(event)

    def close(self, why: str) -> None:
        """Nothing will arrive any more."""
        self.why = why
        self.set(None)

    def result(self) -> object:
        """What has arrived. Raises ClosedResourceError where the client was closed instead."""
        if self.value is None:
            raise TrioClosedError(self.why)
        return self.value

    async def wait(self) -> None:
        """Wait for it; one task at most."""
        if self.arrived:
            await trio.lowlevel.checkpoint()
            return

        def abort(_: object) -> trio.lowlevel.Abort:
            self._waiting = None
            return trio.lowlevel.Abort.SUCCEEDED

        self._waiting = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(abort)

    async def wait_shielded(self) -> None:
        """Wait, whatever is cancelled meanwhile: for answers that come within a bounded time."""
        if self.arrived:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._waiting = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
