"""A client that is run by its path in the interpreter of either version: ``python -I worker.py ORDERS``.

So it takes nothing but the standard library, trio, and names of paxlock that are promised to stay. Its
journal has the lines that ``tests.chaos.journal`` reads; a second file, the notes, has whatever else is told
to the judge. TERM ends it in good order: what it has begun it finishes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import trio

import paxlock

WAIT_S = 20.0  #: far longer than any restart of a node: who has not acquired by then has failed
CALL_S = 10.0  #: for what does not wait for a holder
RELEASE_HEARD_S = 0.9  #: below the shortest patience of a release: what took longer was perhaps not heard
POLLED_SHARE = 0.3


def now() -> float:
    """Seconds of the clock that all processes of this machine share, and that leases are timed by."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lines:
    """A file of JSON lines, each written by one system call."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, **facts: object) -> None:
        os.write(self._handle, json.dumps(facts, separators=(",", ":")).encode() + b"\n")

    def close(self) -> None:
        os.close(self._handle)


class Journal:
    """What the client did, in the lines of ``tests.chaos.journal``, which an older version cannot import."""

    def __init__(self, folder: Path, label: str) -> None:
        self._lines = Lines(folder / f"{label}.journal")
        self._count = 0

    def call(self, kind: str, name: str, term: int = 0) -> int:
        """An operation begins; gives its number."""
        self._count += 1
        self._lines.write(call=self._count, kind=kind, name=name, term=term, at=now())
        return self._count

    def answer(
        self, call: int, outcome: str, *, term: int = 0, until: float | None = None, state: str = ""
    ) -> None:
        """It has returned: ok, refused or unknown."""
        self._lines.write(answer=call, outcome=outcome, term=term, until=until, state=state, at=now())

    def extended(self, name: str, term: int, ttl: float, deadline: float) -> None:
        """A renewal was heard by a quorum."""
        self._lines.write(extended=name, term=term, sent=deadline - ttl, until=deadline, at=now())

    def lost(self, name: str, term: int, reason: str) -> None:
        """The lease is over, not by a release."""
        self._lines.write(lost=name, term=term, reason=reason, at=now())

    def attempt(self, name: str, term: int, at: float) -> None:
        """At this moment, read before the lease was looked at, it was held."""
        self._lines.write(attempt=name, term=term, at=at)

    def close(self) -> None:
        self._lines.close()


class Worker:
    """The tasks of one client."""

    def __init__(self, orders: dict[str, Any], client: paxlock.Client) -> None:
        folder, self.label = Path(orders["folder"]), orders["label"]
        self.orders = orders
        self.client = client
        self.journal = Journal(folder, self.label)
        self.notes = Lines(folder / f"{self.label}.notes")
        self.rng = Random(orders["seed"])
        self.over = trio.Event()

    async def work(self) -> None:
        """Want one name after the other, hold it for a moment, and poll in between."""
        rng = self.rng
        while not self.over.is_set():
            name = rng.choice(self.orders["names"])
            if rng.random() < POLLED_SHARE:
                await self.poll(name)
            else:
                await self.turn(name, self.orders["ttl"], partial(trio.sleep, rng.uniform(0.01, 0.15)))
            await trio.sleep(rng.uniform(0.02, 0.1))

    async def keep(self) -> None:
        """Hold a name of one's own from the first to the last moment: its lease must outlive everything."""
        await self.turn(self.orders["kept"], self.orders["ttl"], self.over.wait)

    async def poll(self, name: str) -> None:
        call = self.journal.call("poll", name)
        try:
            with trio.fail_after(CALL_S):
                standing = await self.client.poll(name)
        except (paxlock.PaxlockError, trio.TooSlowError) as error:
            self.failed("poll", name, error)
            return
        known = standing.state.value != "unknown"
        outcome = "ok" if known else "unknown"
        self.journal.answer(call, outcome, term=standing.term, state=standing.state.value)
        if not known:
            self.failed("poll", name, "no quorum answered")

    async def turn(self, name: str, ttl: float, use: Callable[[], Any]) -> None:
        """Acquire, hold, look at the lease at both ends of that, and release."""
        journal = self.journal
        call = journal.call("acquire", name)
        release, ended = 0, 0.0
        try:
            async with self.client.lock(name, ttl=ttl, wait=WAIT_S) as held:
                # Before the first checkpoint, so that no extension is missed.
                held.on_extended(partial(journal.extended, name, held.term, ttl))
                journal.answer(call, "ok", term=held.term, until=held.deadline)
                try:
                    self.look(held)
                    await use()
                    self.look(held)
                finally:
                    release, ended = journal.call("release", name, held.term), now()
        except paxlock.NotAcquired as error:
            journal.answer(call, "refused")
            self.failed("acquire", name, error)
        except paxlock.LeaseLost as error:
            journal.lost(name, error.term, error.reason.name)
        except paxlock.PaxlockError as error:
            self.failed("acquire", name, error)
        else:
            journal.answer(release, "ok" if now() - ended < RELEASE_HEARD_S else "unknown")

    def look(self, held: paxlock.HeldLease) -> None:
        at = now()
        held.check()
        self.journal.attempt(held.name, held.term, at)

    async def watch(self, name: str) -> None:
        try:
            async with self.client.watch(name) as changes:
                async for change in changes:
                    self.notes.write(watch=change.name, state=change.state.value, term=change.term, at=now())
        except paxlock.PaxlockError as error:
            self.failed("watch", name, error)

    def failed(self, verb: str, name: str, error: object) -> None:
        """A call did not do what it is for."""
        said = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
        self.notes.write(failed=verb, name=name, said=said, at=now())

    async def run(self, signals: Any) -> None:
        """Until TERM, and then until all that was begun is finished."""
        async with trio.open_nursery() as watching:
            for name in self.orders["watched"]:
                watching.start_soon(self.watch, name)
            async with trio.open_nursery() as working:
                for _ in range(self.orders["workers"]):
                    working.start_soon(self.work)
                working.start_soon(self.keep)
                async for _ in signals:
                    break
                self.over.set()
            watching.cancel_scope.cancel()
        dropped = {
            key: count
            for key, count in self.client.statistics().endpoint.items()
            if key.startswith("dropped_")
        }
        self.notes.write(dropped=dropped)


async def main(orders: dict[str, Any]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with paxlock.open_client(orders["cell"], label=orders["label"]) as client:
            worker = Worker(orders, client)
            worker.notes.write(runs=paxlock.__version__, at=now())
            await worker.run(signals)


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
