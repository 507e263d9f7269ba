"""The shell of one machine: in which order it reads the clock, takes datagrams, and writes to the disk."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from paxlock import Cell, Client, Member, NodeConfig, open_client, open_dev_cell
from paxlock.core.durable import Kept
from paxlock.core.effects import NOTHING, Effects
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import Commit, Hello, Message, Peer
from paxlock.core.node import acceptor, recovery
from paxlock.core.rights import ROOT, Rights
from paxlock.core.session.thrift import LEARNING_SHARE, LEARNT, NEAR_S
from paxlock.node import server as service_module
from paxlock.node.server import run_service
from paxlock.runtime.clock import TrioClock
from paxlock.runtime.driver import Driver
from paxlock.store.folder import MemoryStore
from paxlock.testing import open_virtual_cell
from paxlock.testing.memory_network import MemoryNetwork
from paxlock.wire.endpoint import Endpoint, NodeSender, Received
from paxlock.wire.transport import Address, Transport, format_address

HERE: Address = ("127.0.0.1", 7400)
CELL_ID = bytes(16)
A = NodeSender("a", 1, bytes(16))
HANDLED_S = 0.5
CEILING_STEP = 4


class HandClock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        return self.time


class Busy:
    """A machine that takes its time for every message, and keeps the time by which it was given each."""

    def __init__(self, clock: HandClock) -> None:
        self.given: list[float] = []
        self._clock = clock

    def receive(
        self, message: Message, peer: Peer, now: float, lives: Lives = UNKNOWN, rights: Rights = ROOT
    ) -> None:
        self.given.append(now)
        self._clock.time += HANDLED_S

    def tick(self, now: float) -> None:
        raise AssertionError("nothing comes due")

    def deadline(self) -> float:
        return math.inf

    def take_effects(self) -> Effects:
        return NOTHING


class OneByOne:
    """A transport to which each datagram comes while the one before is being handled, and an endpoint that
    takes them all.
    """

    def __init__(self, clock: HandClock, count: int) -> None:
        self.came: list[float] = []
        self.done = trio.Event()
        self._clock = clock
        self._left = count

    def receive_nowait(self) -> tuple[bytes, Address] | None:
        if not self._left:
            self.done.set()
            return None
        self._left -= 1
        self.came.append(self._clock.time)
        return b"", HERE

    async def wait_readable(self) -> None:
        await trio.sleep_forever()

    def receive_untrusted(self, datagram: bytes, address: Address) -> Received:
        return Received("a", A, (Hello(1),), address, CELL_ID, 1)

    def age(self, now: float) -> None:
        pass

    def flush(self) -> list[tuple[bytes, Address]]:
        return []


async def test_a_datagram_is_judged_by_a_time_read_after_it_came() -> None:
    """By an older time a lease would seem to be held that is over, and one that is renewed end too early."""
    clock = HandClock()
    machine, line = Busy(clock), OneByOne(clock, 3)
    driver = Driver(machine, cast(Endpoint, line), cast(Transport, line), clock, publish=lambda notice: None)
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            await line.done.wait()
            nursery.cancel_scope.cancel()
    assert line.came == [100.0, 100.0 + HANDLED_S, 100.0 + 2 * HANDLED_S]
    assert machine.given == line.came


class Keeper:
    """A machine that wants something kept and something sent, and the order in which that is done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.sent = trio.Event()
        self._wanted = Effects(sends=(("b", Hello(1)),), keep=Kept(True, 0, 0.0))
        self._effects = self._wanted

    def tick(self, now: float) -> None:
        pass

    def deadline(self) -> float:
        return math.inf

    def again(self) -> None:
        """The same once more."""
        self.done.clear()
        self.sent = trio.Event()
        self._effects = self._wanted

    def take_effects(self) -> Effects:
        effects, self._effects = self._effects, NOTHING
        return effects

    def receive_nowait(self) -> None:
        return None

    def queue(self, peer: Peer, message: Message) -> None:
        self.done.append("queued")

    def age(self, now: float) -> None:
        pass

    def flush(self) -> list[tuple[bytes, Address]]:
        return [(b"", HERE)] if "queued" in self.done and "sent" not in self.done else []

    def send_nowait(self, datagram: bytes, address: Address) -> None:
        self.done.append("sent")
        self.sent.set()

    async def wait_readable(self) -> None:
        await trio.sleep_forever()


async def test_what_is_sent_is_kept_before() -> None:
    """A process that is killed between the two has told nobody; else it has forgotten what it told."""
    it = Keeper()
    driver = Driver(
        cast(Any, it),
        cast(Endpoint, it),
        cast(Transport, it),
        HandClock(),
        publish=lambda notice: None,
        keep=lambda entry: it.done.append("kept"),
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            await it.sent.wait()
            nursery.cancel_scope.cancel()
    assert it.done == ["kept", "queued", "sent"]


@pytest.mark.parametrize("poked", [False, True])
async def test_in_synchronous_mode_it_is_on_the_disk_before(poked: bool) -> None:
    """Also where a local verb makes the driver send at once."""
    it = Keeper()

    async def sync() -> None:
        it.done.append("begun")
        await trio.sleep(0.0)
        it.done.append("on the disk")

    driver = Driver(
        cast(Any, it),
        cast(Endpoint, it),
        cast(Transport, it),
        HandClock(),
        publish=lambda notice: None,
        keep=lambda entry: it.done.append("kept"),
        sync=sync,
    )
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(driver.run)
            await it.sent.wait()
            if poked:
                await wait_all_tasks_blocked()
                it.again()
                driver.poke()
                await it.sent.wait()
            nursery.cancel_scope.cancel()
    assert it.done == ["kept", "queued", "begun", "on the disk", "sent"]


async def test_no_term_above_the_ceiling_on_the_disk_is_used_while_a_higher_one_is_being_written(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (acceptor, recovery):
        monkeypatch.setattr(module, "CEILING_STEP_TERMS", CEILING_STEP)
    network, store = MemoryNetwork(Random(1)), MemoryStore()
    transport = network.bind()
    cell = Cell.new([Member("a", format_address(transport.address))])
    written = trio.Event()
    write: Callable[..., Awaitable[Any]] = service_module._in_thread

    async def wait_for_the_disk(*what: Any) -> Any:
        await written.wait()
        return await write(*what)

    config = NodeConfig(cell, "a", "/nowhere")
    async with run_service(config, create=True, transport=transport, store=store, clock=TrioClock()) as node:
        await node.serving.wait()
        monkeypatch.setattr(service_module, "_in_thread", wait_for_the_disk)
        async with open_client(cell, transport=network.bind(), clock=TrioClock()) as client:
            tokens: list[int] = []
            with trio.move_on_after(10):
                while True:
                    async with client.lock("x") as held:
                        tokens.append(held.term)
            on_disk = store.read_record()
            assert on_disk is not None
            assert tokens == list(range(1, on_disk.ceiling + 1))
            written.set()
            with trio.fail_after(10):
                async with client.lock("x") as held:
                    assert held.term > on_disk.ceiling


PAIRS = 64  #: trio shuffles the tasks of a tick: so often no order of them is left out


def note_queued(client: Client) -> list[Message]:
    """The messages that the client sends from now on."""
    queued: list[Message] = []
    queue = client.driver.endpoint.queue

    def noting(peer: Peer, message: Message) -> None:
        queued.append(message)
        queue(peer, message)

    client.driver.endpoint.queue = noting  # type: ignore[method-assign]
    return queued


def commits(queued: Sequence[Message]) -> int:
    return sum(isinstance(message, Commit) for message in queued)


@pytest.mark.parametrize("thrifty", [False, True])
async def test_a_pair_of_acquire_and_release_is_twelve_datagrams_or_eight(
    autojump_clock: MockClock, thrifty: bool
) -> None:
    """Eight where a quorum is asked first. The task that is told of its grant runs before anything of that
    turn is sent (core/effects.py).
    """
    async with open_virtual_cell() as cell, open_client(cell.cell, thrifty=thrifty) as client:
        cell.network.delay_min = cell.network.delay_max = NEAR_S / 4
        session = client._session
        for _ in range((LEARNT + 1) * LEARNING_SHARE):
            async with client.lock("x"):
                pass
        before, queued = client.statistics().transport, note_queued(client)
        learnt = session.counters["thrifty"]
        for _ in range(PAIRS):
            async with client.lock("x"):
                pass
        after, spared = client.statistics().transport, session.counters["thrifty"] - learnt
        assert commits(queued) == 0
        assert spared > PAIRS / 2 if thrifty else not spared
        assert after["sent"] - before["sent"] == 6 * PAIRS - 2 * spared
        assert after["received"] - before["received"] == 6 * PAIRS - 2 * spared
        async with client.lock("x"):
            await trio.sleep(1.0)
        assert commits(queued) == len(cell.cell.members)


async def test_all_tasks_that_are_told_in_one_turn_run_before_it_sends(autojump_clock: MockClock) -> None:
    async with open_virtual_cell() as cell, cell.open_client() as client:
        queued = note_queued(client)

        async def work(number: int) -> None:
            for _ in range(PAIRS // 4):
                async with client.lock(f"x{number}"):
                    pass

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(work, number)
        assert commits(queued) == 0


async def test_no_pair_needs_a_commit_over_loopback() -> None:
    """However many datagrams are sent again on a loaded machine."""
    with trio.fail_after(60):
        async with open_dev_cell() as cell, open_client(cell) as client:
            queued = note_queued(client)
            for _ in range(PAIRS):
                async with client.lock("x"):
                    pass
            assert commits(queued) == 0
            async with client.lock("x"):
                while not commits(queued):
                    await client.driver.turned()
