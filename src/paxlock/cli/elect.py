"""``paxlock elect``: take part in an election, and tell when leadership begins and ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import click
import trio

from paxlock.cli.exits import ExitCode, Failure, epilog
from paxlock.cli.hook import NO_SHELL, Hook
from paxlock.cli.options import DATA, DEFAULT_TTL, DURATION, LABEL, NAME, CellOptions, client_options
from paxlock.cli.output import Facts, emit, name_facts, say, to_json
from paxlock.cli.runtime import connect, room_on_stdout, scope_until_signal
from paxlock.cli.waiting import acquire_patiently
from paxlock.client.client import Client, HeldLease
from paxlock.config.cell import ClientSettings
from paxlock.host.labels import default_label

__all__ = ["elect_command"]


LAST_WORDS_S = 1.0  #: who resigns waits so long for a reader of stdout that has stopped

T = TypeVar("T")


class _InTurn(ABC, Generic[T]):
    """Does one thing after the other, in a task of its own."""

    def __init__(self) -> None:
        self._waiting: list[T] = []  # at most two: elect waits for both before it campaigns again
        self._wanted = trio.Event()
        self._idle = trio.Event()
        self._idle.set()
        self._over = False

    def submit(self, what: T) -> None:
        """Have this done after those before it, while somebody works."""
        if self._over:
            return
        self._waiting.append(what)
        self._idle = trio.Event()
        self._wanted.set()

    async def idle(self) -> None:
        """Wait until all has been done."""
        await self._idle.wait()

    async def work(self) -> None:
        """Do it, until cancelled."""
        try:
            while True:
                while self._waiting:
                    await self._do(self._waiting.pop(0))
                self._wanted = trio.Event()
                self._idle.set()
                await self._wanted.wait()
        finally:
            self._over = True
            self._idle.set()  # nothing more will be done: nobody may wait for it

    @abstractmethod
    async def _do(self, what: T) -> None: ...


class Hooks(_InTurn[Facts]):
    """Runs the command of ``--exec`` for each change.

    So leadership that is lost while the command runs is told at once, and a signal to ``elect`` does not
    tear the command apart.
    """

    def __init__(self, hook: Hook | None) -> None:
        super().__init__()
        self._hook = hook

    def of_cell(self, cell_id: bytes) -> None:
        """The command is told which cell it is."""
        if self._hook is not None:
            self._hook = self._hook.of_cell(cell_id)

    def submit(self, what: Facts) -> None:
        if self._hook is not None:
            super().submit(what)

    async def _do(self, what: Facts) -> None:
        assert self._hook is not None
        await self._hook.run(what)


class Lines(_InTurn[str]):
    """Prints lines. A reader that has stopped reading holds up neither the lease nor the hooks; where they
    cannot be printed, ``stop`` is cancelled, and ``check`` raises what is in the way.
    """

    def __init__(self, stop: trio.CancelScope) -> None:
        super().__init__()
        self._stop = stop
        self._trouble: BrokenPipeError | Failure | None = None

    async def work(self) -> None:
        try:
            await super().work()
        except (BrokenPipeError, Failure) as error:
            self._trouble = error
            self._stop.cancel()

    def check(self) -> None:
        """Raise BrokenPipeError where nobody reads any more, or Failure."""
        if self._trouble is not None:
            raise self._trouble

    async def _do(self, what: str) -> None:
        await room_on_stdout()
        emit(what)


class Elector:
    """One process's part in the election of a name."""

    def __init__(
        self,
        client: Client,
        name: str,
        ttl: float | None,
        label: str,
        data: bytes,
        hooks: Hooks,
        lines: Lines,
        as_json: bool,
    ) -> None:
        self._client = client
        self._name = name
        self._ttl = ttl
        self._label = label
        self._data = data
        self._hooks = hooks
        self._lines = lines
        self._as_json = as_json
        self._held: HeldLease | None = None

    async def campaign(self, *, once: bool) -> int:
        """Campaign, lead, campaign again after a loss; with ``once`` return after the first loss."""
        while True:
            waiting = f"still waiting to lead {self._name!r}"
            self._held = held = await acquire_patiently(
                self._client, self._name, waiting, ttl=self._ttl, label=self._label, data=self._data
            )
            self._tell_led(held)
            reason = await held.wait_lost()
            self._held = None
            self._tell_lost(held)
            say(f"the leadership of {self._name!r} with term {held.term} was lost: {reason.value}")
            await self._hooks.idle()  # whoever still has to clean up does not lead again
            await held.release()  # where it was revoked, it is held until now
            await self._lines.idle()
            if once:
                return ExitCode.LEASE_LOST

    async def resign(self) -> None:
        """Let the command of ``--exec`` finish. If this process leads: tell first, release after it. A reader
        that has stopped is waited for no longer than LAST_WORDS_S.
        """
        held, self._held = self._held, None
        try:
            if held is not None:
                self._tell_lost(held)
        finally:
            await self._hooks.idle()
            with trio.move_on_after(LAST_WORDS_S):
                await self._lines.idle()
            if held is not None:
                await held.release()

    def _tell_led(self, held: HeldLease) -> None:
        facts = name_facts(
            self._name,
            "led",
            term=held.term,
            label=self._label,
            data=self._data,
            remaining=held.remaining(),
            ttl=held.ttl,
        )
        self._tell(f"led {held.term}", facts)

    def _tell_lost(self, held: HeldLease) -> None:
        # Who leads now is not known here.
        self._tell(f"lost {held.term}", name_facts(self._name, "unknown", term=held.term))

    def _tell(self, line: str, facts: Facts) -> None:
        self._hooks.submit(facts)
        self._lines.submit(to_json(facts) if self._as_json else line)


async def _elect(
    settings: ClientSettings,
    name: str,
    ttl: float | None,
    label: str,
    data: bytes,
    hook: Hook | None,
    once: bool,
    as_json: bool,
) -> int:
    code: int = ExitCode.DONE
    stop = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        await nursery.start(scope_until_signal, stop, [])
        hooks, lines = Hooks(hook), Lines(stop)
        nursery.start_soon(hooks.work)
        nursery.start_soon(lines.work)
        with stop:
            async with connect(settings, label=label) as client:
                hooks.of_cell(client.cell.cell_id)
                elector = Elector(client, name, ttl, label, data, hooks, lines, as_json)
                try:
                    code = await elector.campaign(once=once)
                finally:
                    with trio.CancelScope(shield=True):
                        await elector.resign()
        nursery.cancel_scope.cancel()
    lines.check()
    return code


@click.command(
    "elect",
    epilog=epilog(
        "0 resigned", 64, 77, 78, "79 with --once, the leadership was lost", 126, 127, durations=True
    ),
)
@click.argument("name", type=NAME)
@click.option("--data", type=DATA, default="", help="Up to 512 bytes for all to see: an address, say.")
@click.option("--label", type=LABEL, help="Who is this, for people; up to 64 bytes.")
@click.option("--ttl", type=DURATION, help=f"The ttl of the lease {DEFAULT_TTL}.")
@click.option(
    "--exec",
    "command",
    metavar="COMMAND",
    help="Run this when leadership begins (PAXLOCK_STATE is led) and when it ends (it is unknown). "
    + NO_SHELL,
)
@click.option("--once", is_flag=True, help="End with exit code 79 after a loss, instead of trying again.")
@click.option("--jsonl", "--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@client_options
def elect_command(
    options: CellOptions,
    name: str,
    data: bytes,
    label: str | None,
    ttl: float | None,
    command: str | None,
    once: bool,
    as_json: bool,
) -> int:
    """Take part in an election.

    Prints 'led TERM' when this process becomes the leader and 'lost TERM' when it no longer is, and campaigns
    again. INT and TERM resign: the command of --exec hears of it and ends first, then the lease is released.
    """
    hook = None if command is None else Hook.parse(command, options.environment())
    settings = options.settings()
    who = default_label() if label is None else label
    return trio.run(_elect, settings, name, ttl, who, data, hook, once, as_json)
