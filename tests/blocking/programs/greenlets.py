"""``greenlets.py CELLFILE NAME HOW``: a program that gevent has patched, first of all or late."""

# ruff: noqa: E402 - the patches come first

from __future__ import annotations

import os
import sys

HOW = sys.argv[3]
if HOW == "patched_late":
    from paxlock.blocking import open_client

    early = open_client(sys.argv[1])

from gevent import monkey

monkey.patch_all()

import asyncio
import signal
import tempfile
import threading
import time
from collections.abc import Callable

import gevent
import gevent.threadpool

import paxlock.aio
import paxlock.blocking
from paxlock import Cell, ConfigError, LeaseLost, NodeConfig
from paxlock.blocking import Client

TTL_S = 1.0


def say(*words: object) -> None:
    print(*words, flush=True)


def compute(until: Callable[[], bool]) -> None:
    """Let no other greenlet run."""
    while not until():
        pass


def seconds(count: float) -> Callable[[], bool]:
    end = time.monotonic() + count
    return lambda: time.monotonic() > end


def computes(client: Client, name: str) -> None:
    with client.lock(name, ttl=TTL_S) as held:
        say("held", held.term)
        compute(seconds(2.5 * TTL_S))
        say("computed", held.valid)


def computes_until_lost(client: Client, name: str) -> None:
    try:
        with client.lock(name, ttl=30.0) as held:
            say("held", held.term)
            compute(lambda: not held.valid)
            say("stopped")
    except LeaseLost as error:
        say(error.reason.value)


def is_interrupted(client: Client, name: str) -> None:
    try:
        with client.lock(name, ttl=30.0, interrupt=True) as held:
            say("held", held.term)
            time.sleep(60.0)
    except LeaseLost as error:
        say(error.reason.value)
    time.sleep(0.0)  # nothing is raised afterwards
    say(client.poll(name).state.value)


def outlives_its_loss(client: Client, name: str) -> None:
    """The exception was sent, and is not raised any more."""
    try:
        with client.lock(name, ttl=30.0, interrupt=True) as held:
            say("held", held.term)
            compute(lambda: not held.valid)
    except LeaseLost as error:
        say(error.reason.value)
    for _ in range(10):
        time.sleep(0.01)
    say(client.poll(name).state.value)


def is_told(client: Client, name: str) -> None:
    work = gevent.spawn(gevent.sleep, 60.0)
    told = threading.Event()

    def lost(error: LeaseLost) -> None:
        work.kill()
        say(error.reason.value, work.dead, client.poll("other").state.value)
        told.set()

    held = client.acquire(name, ttl=30.0, on_lost=lost)
    say("held", held.term)
    say(held.wait_lost())
    told.wait()


def waits(client: Client, name: str) -> None:
    """Other greenlets run while one waits, which can be ended."""
    ticks = []

    def tick() -> None:
        while True:
            gevent.sleep(0.01)
            ticks.append(1)

    ticker = gevent.spawn(tick)
    try:
        with gevent.Timeout(1.0):
            client.acquire(name)
    except gevent.Timeout:
        say("timeout", len(ticks) > 10)
    killed = gevent.spawn(client.acquire, name)
    gevent.sleep(0.3)
    killed.kill()
    say("killed", killed.dead)
    ticker.kill()


def take_turns(client: Client, name: str) -> None:
    terms = []

    def work() -> None:
        with client.lock(name, ttl=30.0) as held:
            terms.append(held.term)
            time.sleep(0.001)

    greenlets = [gevent.spawn(work) for _ in range(30)]
    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    gevent.joinall(greenlets, raise_error=True)
    for thread in threads:
        thread.join()
    pool = gevent.threadpool.ThreadPool(2)
    for result in [pool.spawn(work) for _ in range(5)]:
        result.get()
    pool.kill()
    say(len(terms), terms == sorted(set(terms)))


def patched_late(client: Client, name: str) -> None:
    take_turns(early, name)
    early.close()


def forks(client: Client, name: str) -> None:
    client.poll(name)
    child = os.fork()
    if not child:
        with client.lock(name, ttl=30.0, wait=10.0) as held:
            say("child", held.valid)
        client.close()
        sys.exit(0)
    say("parent", os.waitpid(child, 0)[1], client.poll(name).state.value)


def ends(client: Client, name: str) -> None:
    say("held", client.acquire(name, ttl=30.0).term)


def is_killed(client: Client, name: str) -> None:
    with paxlock.blocking.open_client(sys.argv[1], last_will=True) as mortal:
        say("held", mortal.acquire(name, ttl=30.0).term)
        time.sleep(60.0)


def handles_signals(client: Client, name: str) -> None:
    """A handler runs in the hub while all greenlets wait, else in the one that runs."""
    signal.signal(signal.SIGALRM, lambda *_: say("handler", client.poll(name).state.value))
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    gevent.sleep(0.5)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    compute(seconds(0.5))


def has_a_node(client: Client, name: str) -> None:
    config = NodeConfig(Cell.load(sys.argv[1]), "a", tempfile.mkdtemp())
    try:
        paxlock.blocking.open_node(config)
    except ConfigError as error:
        say(error)
    try:
        asyncio.run(enter(config))
    except ConfigError as error:
        say(error)


async def enter(config: NodeConfig) -> None:
    async with paxlock.aio.open_node(config):
        pass


def exits(client: Client, name: str) -> None:
    async def main() -> None:
        async with paxlock.aio.open_client(sys.argv[1]) as own, own.lock(name, ttl=TTL_S, exit_after=0.1):
            compute(lambda: False)

    asyncio.run(main())


with paxlock.blocking.open_client(sys.argv[1]) as found:
    if HOW in ("ends", "forks"):
        found = paxlock.blocking.open_client(sys.argv[1])
    globals()[HOW](found, sys.argv[2])
