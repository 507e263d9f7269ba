"""A client as a process: it wants names over and over, works under them, and writes everything down.

Run by the cluster with one argument, a JSON object; its UDP socket is inherited. TERM ends it in good order.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import attrs
import trio

from paxlock import Client, HeldLease, LeaseLost, NotAcquired, Standing, open_client
from paxlock.core.session.judgement import State
from paxlock.runtime.udp import UdpTransport
from paxlock.simulator.linearizability import OperationKind, OperationOutcome

from .journal import Journal, true_now

__all__ = ["Orders"]

RELEASE_HEARD_S = 0.9  #: below the shortest patience of a release: what took longer was perhaps not heard
HEEDLESS_S = 2.5
POLLED_SHARE = 0.2
FORCED_SHARE = 0.5  #: of the revocations
REVOKE_S = 1.0
SLOW_SHARE = 0.25  #: of the writes; what is stopped in one of them writes too late when it goes on


@attrs.frozen
class Orders:
    """What a client is told at its start. A ``heedless`` one goes on when its lease is lost or released."""

    cell: str
    label: str
    journal: str
    guard: str
    fd: int
    names: Sequence[str]
    ttls: Sequence[float]
    seed: int
    workers: int = 2
    prober: bool = False
    heedless: bool = False
    revokes: float = 0.05  #: the share of its turns in which it ends the tenure of somebody else


class Campaigns:
    """The tasks of one client."""

    def __init__(self, orders: Orders, client: Client, nursery: trio.Nursery) -> None:
        self.orders = orders
        self.client = client
        self.nursery = nursery
        self.journal = Journal(Path(orders.journal), orders.label)
        self.rng = Random(orders.seed)
        self.guard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.guard.setblocking(False)

    async def work(self) -> None:
        """Want one name after the other, for long and for short, with and without patience."""
        rng = self.rng
        while True:
            name = rng.choice(self.orders.names)
            kind = rng.random()
            if kind < self.orders.revokes:
                await self.revoke(name)
            elif kind < self.orders.revokes + POLLED_SHARE:
                await self.poll(name)
            else:
                hold = rng.uniform(0.8, 3.5) if rng.random() < 0.25 else rng.uniform(0.01, 0.3)
                wait = rng.choice((0.0, 0.5, 2.0, 5.0))
                await self.turn(name, rng.choice(self.orders.ttls), wait, hold)
            await trio.sleep(rng.uniform(0.02, 0.25))

    async def probe(self, name: str) -> None:
        """Want one name all the time: so there always is somebody who would notice that it is free."""
        while True:
            await self.turn(name, min(self.orders.ttls), None, 0.02)
            await trio.sleep(self.rng.uniform(0.05, 0.15))

    async def revoke(self, name: str) -> None:
        """Be the operator who does not want the one who holds, perhaps this very client."""
        standing = await self.poll(name)
        if standing.state is State.LED:
            force = self.rng.random() < FORCED_SHARE
            call = self.journal.revoke(name, standing.term, force)
            with suppress(NotAcquired):  # no quorum, or a holder that does not let go in time
                left = await self.client.revoke(name, standing.term, force=force, wait=REVOKE_S)
                self.journal.revoked(call, left)

    async def poll(self, name: str) -> Standing:
        call = self.journal.call(OperationKind.POLL, name)
        standing = await self.client.poll(name)
        known = standing.state is not State.UNKNOWN
        outcome = OperationOutcome.OK if known else OperationOutcome.UNKNOWN
        self.journal.answer(call, outcome, term=standing.term, state=standing.state.value)
        return standing

    async def turn(self, name: str, ttl: float, wait: float | None, hold: float) -> None:
        """Acquire, hold, release; or whatever comes instead."""
        journal = self.journal
        call = journal.call(OperationKind.ACQUIRE, name)
        release, ended = 0, 0.0
        try:
            async with self.client.lock(name, ttl=ttl, wait=wait) as held:
                # Before the first checkpoint, so that no extension is missed.
                held.on_extended(partial(journal.extended, name, held.term, ttl))
                journal.answer(call, OperationOutcome.OK, term=held.term, deadline=held.deadline)
                try:
                    await self.use(held, hold)
                finally:
                    release, ended = journal.call(OperationKind.RELEASE, name, held.term), true_now()
        except NotAcquired:
            journal.answer(call, OperationOutcome.REFUSED)
        except LeaseLost as error:
            journal.lost(name, error.term, error.reason.name)
        else:
            heard = true_now() - ended < RELEASE_HEARD_S
            journal.answer(release, OperationOutcome.OK if heard else OperationOutcome.UNKNOWN)

    async def use(self, held: HeldLease, hold: float) -> None:
        """Write to what the name protects, every now and then, for so many seconds."""
        if self.orders.heedless:
            self.nursery.start_soon(self.write_heedlessly, held)
        end = trio.current_time() + hold
        while True:
            at = true_now()
            held.check()
            self.journal.attempt(held.name, held.term, at)
            slow = self.rng.uniform(0.05, 0.4) if self.rng.random() < SLOW_SHARE else 0.0
            with trio.CancelScope(shield=True):  # a write that is under way can no longer be called back
                await trio.sleep(slow)
                self.send(held, at)
            left = end - trio.current_time()
            if left <= 0.0:
                return
            await trio.sleep(min(left, self.rng.uniform(0.03, 0.15)))

    async def write_heedlessly(self, held: HeldLease) -> None:
        end = trio.current_time() + HEEDLESS_S
        while trio.current_time() < end:
            at = true_now()
            self.journal.attempt(held.name, held.term, at)
            self.send(held, at)
            await trio.sleep(0.05)

    def send(self, held: HeldLease, at: float) -> None:
        write = {"name": held.name, "term": held.term, "writer": self.orders.label, "at": at}
        with suppress(OSError):  # a write that the guard cannot take now is simply not done
            self.guard.sendto(json.dumps(write).encode(), self.orders.guard)


async def main(orders: Orders) -> None:
    sock = socket.socket(fileno=orders.fd)
    transport = UdpTransport(sock)
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with (
            open_client(orders.cell, label=orders.label, transport=transport) as client,
            trio.open_nursery() as nursery,
        ):
            contender = Campaigns(orders, client, nursery)
            if orders.prober:
                for name in orders.names:
                    nursery.start_soon(contender.probe, name)
            else:
                for _ in range(orders.workers):
                    nursery.start_soon(contender.work)
            async for _ in signals:
                nursery.cancel_scope.cancel()
                break


if __name__ == "__main__":
    trio.run(main, Orders(**json.loads(sys.argv[1])))
