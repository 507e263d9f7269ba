"""The process that is weighed: threads and tasks that take, lose and release names of one cell.

``python -m tests.soak.worker CELLFILE THREADS TASKS``. Each line on stdin begins a stretch of work of so many
seconds; when it is over, and nothing is held any more, the weight of the process is told on stdout, as JSON.
At the end of stdin the process ends.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs

import paxlock.aio
import paxlock.blocking
from paxlock import LeaseLost, NotAcquired, State
from paxlock.core.statistics import SessionStatistics
from tests.soak.scales import Weight

NAMES = 120
TTLS = (0.5, 1.0, 1.5)
WAITS = (0.0, 0.1, 1.0)
LINGER_S = 0.05  #: the body of most
HUNG_S = 3.0
CALM_S = 30.0  #: until nothing is held, released or asked any more
SHARE_HUNG = 0.02
SHARE_BY_HANDLE = 0.05
SHARE_KEPT = 0.05
SHARE_CANCELLED = 0.1
SHARE_ANOTHER_CLIENT = 0.01
SHARE_WATCH = 0.02
SHARE_REVOKES = 0.02
SHARE_LOOKS = 0.005
REVOKE_S = 0.5

OVER = ("leases", "campaigns", "releases", "watches")


class Deeds:
    """What was done, counted by several threads; and what must not have happened."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self._lock = threading.Lock()

    def did(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def failed(self, error: BaseException) -> None:
        with self._lock:
            self.errors.append(f"{type(error).__name__}: {error}")


@attrs.frozen
class Chance:
    """What one turn of a worker is to be like."""

    name: str
    ttl: float
    wait: float
    at_least: float
    linger: float
    kind: float

    @classmethod
    def drawn(cls, rng: random.Random) -> Chance:
        return cls(
            name=f"soak/{rng.randrange(NAMES)}",
            ttl=rng.choice(TTLS),
            wait=rng.choice(WAITS),
            at_least=rng.random() if rng.random() < SHARE_KEPT else 0.0,
            linger=rng.random() * LINGER_S,
            kind=rng.random(),
        )

    @property
    def how(self) -> dict[str, Any]:
        return {"ttl": self.ttl, "wait": self.wait, "at_least": self.at_least}


def shares(kind: float, *parts: tuple[float, str]) -> str:
    """Which of these a random number means; ``"plain"`` beyond them."""
    for share, what in parts:
        if kind < share:
            return what
        kind -= share
    return "plain"


class Threads:
    """The work of one thread, again and again."""

    def __init__(self, client: paxlock.blocking.Client, cell: str, deeds: Deeds) -> None:
        self._client = client
        self._cell = cell
        self._deeds = deeds

    def run(self, seed: int, until: float) -> None:
        rng = random.Random(seed)
        while time.monotonic() < until:
            try:
                self._turn(Chance.drawn(rng), rng)
                self._deeds.did("threads: released")
            except NotAcquired as error:
                self._deeds.did(f"threads: {error.reason.value}")
            except LeaseLost as error:
                self._deeds.did(f"threads: lost, {error.reason.value}")
            except TimeoutError:
                self._deeds.did("threads: nothing to see")
            except Exception as error:  # noqa: BLE001 - told at the end of the stretch
                self._deeds.failed(error)

    def _turn(self, chance: Chance, rng: random.Random) -> None:
        what = shares(
            chance.kind,
            (SHARE_HUNG, "hung"),
            (SHARE_BY_HANDLE, "by handle"),
            (SHARE_ANOTHER_CLIENT, "another client"),
            (SHARE_WATCH, "watch"),
            (SHARE_REVOKES, "revokes"),
            (SHARE_LOOKS, "looks"),
        )
        client = self._client
        if what == "hung":
            with client.lock(chance.name, **chance.how, renew="manual", interrupt=True) as held:
                held.wait_lost(HUNG_S)
        elif what == "by handle":
            with client.lock(chance.name, **chance.how, on_lost=lambda error: None) as held:
                client.release_handle(held.handle, wait=0.5)
                held.check()
        elif what == "another client":
            with paxlock.blocking.open_client(self._cell, label="for a moment") as other:
                other.acquire(chance.name, **chance.how)  # left to the end of the client
        elif what == "watch":
            with client.watch(chance.name) as changes:
                changes.receive(1.0)
        elif what == "revokes":
            found = client.poll(chance.name)
            if found.state is State.LED:
                client.revoke(chance.name, found.term, force=rng.random() < 0.5, wait=REVOKE_S)
                self._deeds.did("threads: revoked")
        elif what == "looks":
            client.ping()
            client.counters()
            self._deeds.did("threads: looked")
        else:
            with client.lock(chance.name, **chance.how) as held:
                time.sleep(chance.linger)
                held.check()


class Tasks:
    """The work of one task, again and again."""

    def __init__(self, client: paxlock.aio.Client, cell: str, deeds: Deeds) -> None:
        self._client = client
        self._cell = cell
        self._deeds = deeds

    async def run(self, seed: int, until: float) -> None:
        rng = random.Random(seed)
        while time.monotonic() < until:
            try:
                await self._turn(Chance.drawn(rng), rng)
                self._deeds.did("tasks: released")
            except NotAcquired as error:
                self._deeds.did(f"tasks: {error.reason.value}")
            except LeaseLost as error:
                self._deeds.did(f"tasks: lost, {error.reason.value}")
            except TimeoutError:
                self._deeds.did("tasks: cancelled")
            except Exception as error:  # noqa: BLE001 - told at the end of the stretch
                self._deeds.failed(error)

    async def _turn(self, chance: Chance, rng: random.Random) -> None:
        what = shares(
            chance.kind,
            (SHARE_CANCELLED, "cancelled"),
            (SHARE_BY_HANDLE, "by handle"),
            (SHARE_ANOTHER_CLIENT, "another client"),
            (SHARE_WATCH, "watch"),
            (SHARE_REVOKES, "revokes"),
            (SHARE_LOOKS, "looks"),
        )
        client = self._client
        if what == "cancelled":
            async with asyncio.timeout(rng.random() * LINGER_S):
                async with client.lock(chance.name, ttl=chance.ttl):
                    await asyncio.sleep(HUNG_S)
        elif what == "by handle":
            async with client.lock(chance.name, **chance.how) as held:
                await client.release_handle(held.handle, wait=0.5)
                await asyncio.sleep(HUNG_S)
        elif what == "another client":
            async with paxlock.aio.open_client(self._cell, label="for a moment") as other:
                await other.acquire(chance.name, **chance.how)
        elif what == "watch":
            async with asyncio.timeout(1.0), client.watch(chance.name) as changes:
                await changes.receive()
        elif what == "revokes":
            found = await client.poll(chance.name)
            if found.state is State.LED:
                await client.revoke(chance.name, found.term, force=rng.random() < 0.5, wait=REVOKE_S)
                self._deeds.did("tasks: revoked")
        elif what == "looks":
            await client.ping()
            await client.counters()
            self._deeds.did("tasks: looked")
        else:
            async with client.lock(chance.name, **chance.how) as held:
                await asyncio.sleep(chance.linger)
                held.check()


async def until_calm(*statistics: Callable[[], SessionStatistics]) -> list[str]:
    """Wait until nothing is held, wanted, released or watched; what is left after too long."""
    end = time.monotonic() + CALM_S
    while True:
        left = [
            f"{what}: {size}"
            for read in statistics
            for what, size in attrs.asdict(read()).items()
            if what in OVER and size
        ]
        if not left or time.monotonic() > end:
            return left
        await asyncio.sleep(0.05)


async def stretch(threads: Threads, tasks: Tasks, counts: tuple[int, int], seconds: float, seed: int) -> None:
    """All of them at work, for so long."""
    until = time.monotonic() + seconds
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(counts[0], thread_name_prefix="soak") as pool:
        at_work = [loop.run_in_executor(pool, threads.run, seed + n, until) for n in range(counts[0])]
        async with asyncio.TaskGroup() as group:
            for number in range(counts[1]):
                group.create_task(tasks.run(-1 - seed - number, until))
        await asyncio.gather(*at_work)


async def main(cell: str, counts: tuple[int, int]) -> None:
    deeds = Deeds()
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with paxlock.aio.open_client(cell, label="tasks") as tasks_client:
        with paxlock.blocking.open_client(cell, label="threads") as threads_client:
            threads, tasks = Threads(threads_client, cell, deeds), Tasks(tasks_client, cell, deeds)
            seed = 0
            while line := (await lines.readline()).strip():
                seed += 1_000
                await stretch(threads, tasks, counts, float(line), seed)
                left = await until_calm(
                    lambda: tasks_client.statistics().session, lambda: threads_client.statistics().session
                )
                weight = Weight.of_this_process()
                told = {
                    "weight": attrs.asdict(weight),
                    "counts": dict(deeds.counts),
                    "errors": deeds.errors[:10],
                    "left": left,
                }
                print(json.dumps(told), flush=True)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    asyncio.run(main(sys.argv[1], (int(sys.argv[2]), int(sys.argv[3]))))
