"""A node whose machine has a thread of its own (runtime/thread_driver.py), on real sockets."""

# A body that fails is several statements.
# ruff: noqa: PT012

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
import trio

from paxlock import Cell, Client, Member, NodeConfig, StoreError, open_client
from paxlock.core.durable import Kept
from paxlock.core.effects import NOTHING, Effects
from paxlock.core.lives import UNKNOWN, Lives
from paxlock.core.messages import Hello, Message, NodeMode, Peer
from paxlock.core.rights import ROOT, Rights
from paxlock.host.clock import BootClock
from paxlock.host.socket_filter import keep_junk_away
from paxlock.host.waiting import WaitingSocket
from paxlock.node.reloading import reload_node
from paxlock.node.server import Service, serve_alone
from paxlock.runtime.thread_driver import FairLock, ThreadDriver
from paxlock.runtime.udp import TwoFamilies, UdpTransport, bind_all
from paxlock.store.folder import Store
from paxlock.wire.endpoint import Endpoint, NodeSender, Received
from paxlock.wire.transport import Address, format_address

CELL_ID = bytes(16)
A = NodeSender("a", 1, bytes(16))
PATIENCE_S = 60.0
FAR_S = 3600.0


class Echo:
    """A machine that wants whatever comes kept and answered, its endpoint, and the order of what is done."""

    def __init__(self) -> None:
        self.done: list[str] = []  #: in the thread
        self.done_in_loop: list[str] = []
        self.comes_due = math.inf
        self.ticked: list[float] = []
        self.trouble: Exception | None = None
        self.driver: ThreadDriver
        self._answers: list[Address] = []
        self._wanted = NOTHING

    def note(self, what: str) -> None:
        here = threading.current_thread() is threading.main_thread()
        (self.done_in_loop if here else self.done).append(what)

    # The machine

    def receive(
        self, message: Message, peer: Peer, now: float, lives: Lives = UNKNOWN, rights: Rights = ROOT
    ) -> None:
        assert self.driver.lock.locked()
        if self.trouble is not None:
            raise self.trouble
        self.note("heard")
        self._wanted = Effects(
            sends=(("b", Hello(1)),),
            keep=Kept(True, 0, 0.0),
            published=("told",),
            persist=cast(Any, "record"),
        )

    def tick(self, now: float) -> None:
        assert now >= self.comes_due
        self.ticked.append(now)
        self.comes_due = math.inf
        self._wanted = Effects(published=("ticked",))

    def deadline(self) -> float:
        return self.comes_due

    def take_effects(self) -> Effects:
        effects, self._wanted = self._wanted, NOTHING
        return effects

    # The endpoint

    refused = ""
    strangers = ()

    def receive_untrusted(self, datagram: bytes, address: Address) -> Received:
        self._answers.append(address)
        return Received("a", A, (Hello(1),), address, CELL_ID, 1)

    def queue(self, peer: Peer, message: Message) -> None:
        self.note("queued")

    def age(self, now: float) -> None:
        pass

    def flush(self) -> list[tuple[bytes, Address]]:
        assert self.driver.lock.locked()
        answers, self._answers = self._answers, []
        if answers:
            self.note("sent")
        return [(b"answer", address) for address in answers]


@asynccontextmanager
async def running(
    echo: Echo, *, sync: Callable[[], None] | None = None, transport: UdpTransport | TwoFamilies | None = None
) -> AsyncIterator[tuple[Any, dict[str, trio.Event]]]:
    """A socket that is connected to the echo, and an event for each thing that this tells."""
    told = {"told": trio.Event(), "ticked": trio.Event()}

    def publish(notice: object) -> None:
        echo.note(str(notice))
        told[str(notice)].set()

    bound = transport or UdpTransport.bind("127.0.0.1", 0)
    driver = echo.driver = ThreadDriver(
        cast(Any, echo),
        cast(Endpoint, echo),
        bound,
        BootClock(),
        publish=publish,
        persist=lambda record: echo.note("persist"),
        keep=lambda entry: echo.note("kept"),
        sync=sync,
    )
    family = trio.socket.AF_INET6 if ":" in bound.address[0] else trio.socket.AF_INET
    with trio.fail_after(PATIENCE_S), trio.socket.socket(family, trio.socket.SOCK_DGRAM) as peer:
        await peer.connect(bound.address)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(driver.run)
                yield peer, told
                nursery.cancel_scope.cancel()
        finally:
            bound.close()


def when_it_ends(echo: Echo, do: Callable[[], None]) -> None:
    """Call this once the driver is cancelled; its loop waits for its thread then."""

    def watch() -> None:
        while not echo.driver._over:
            time.sleep(0.001)
        do()

    threading.Thread(target=watch, daemon=True).start()


async def test_what_comes_is_kept_then_answered_by_the_thread_and_told_in_the_loop() -> None:
    echo = Echo()
    async with running(echo) as (peer, told):
        await peer.send(b"question")
        assert await peer.recv(100) == b"answer"
        await told["told"].wait()
    assert echo.done_in_loop == ["persist", "told"]
    assert echo.done == ["heard", "kept", "queued", "sent"]


async def test_in_synchronous_mode_it_is_on_the_disk_before_and_the_lock_is_free_meanwhile() -> None:
    echo, begun, go_on = Echo(), threading.Event(), threading.Event()

    def sync() -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        echo.note("on the disk")

    async with running(echo, sync=sync) as (peer, _):
        await peer.send(b"question")
        assert await trio.to_thread.run_sync(begun.wait, PATIENCE_S)
        with echo.driver.lock:
            echo.driver.poke()
        assert "sent" not in echo.done
        go_on.set()
        assert await peer.recv(100) == b"answer"
    assert echo.done == ["heard", "kept", "queued", "on the disk", "sent"]


async def test_the_end_waits_for_the_turn_and_nothing_is_answered_after_it() -> None:
    echo, begun, go_on = Echo(), threading.Event(), threading.Event()

    def sync() -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)

    async with running(echo, sync=sync) as (peer, _):
        await peer.send(b"first")
        assert await trio.to_thread.run_sync(begun.wait, PATIENCE_S)
        await peer.send(b"second")
        when_it_ends(echo, go_on.set)
    assert echo.done.count("heard") == echo.done.count("sent") == 1


async def test_what_comes_with_the_end_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The snapshot of a clean stop is made after the end: it would not have what was told."""
    echo, came, receive = Echo(), threading.Event(), WaitingSocket.receive

    def receive_late(self: WaitingSocket, seconds: float) -> tuple[bytes, Address] | None:
        found = receive(self, seconds)
        if found is not None:
            came.set()
            while not echo.driver._over:
                time.sleep(0.001)
        return found

    monkeypatch.setattr(WaitingSocket, "receive", receive_late)
    async with running(echo) as (peer, _):
        await peer.send(b"question")
        assert await trio.to_thread.run_sync(came.wait, PATIENCE_S)
    assert echo.done == []


async def test_what_comes_due_is_done_in_time_and_not_before() -> None:
    """Soon, and far enough away for the socket's own timeout."""
    for seconds in (0.0, 0.005, 0.15):
        echo = Echo()
        echo.comes_due = due = BootClock().now() + seconds
        async with running(echo) as (_, told):
            await told["ticked"].wait()
        assert len(echo.ticked) == 1
        assert due <= echo.ticked[0]


async def test_the_bell_wakes_it_and_is_no_datagram(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind the filter against junk, and where another deadline was far away."""
    monkeypatch.setattr("paxlock.host.waiting.IDLE_S", FAR_S)
    monkeypatch.setattr("paxlock.runtime.thread_driver.IDLE_S", FAR_S)
    transport = UdpTransport.bind("127.0.0.1", 0)
    keep_junk_away(transport, CELL_ID)
    echo = Echo()
    async with running(echo, transport=transport) as (_, told):
        with echo.driver.lock:
            echo.comes_due = BootClock().now()
        echo.driver.poke()
        await told["ticked"].wait()
        assert echo.done_in_loop == ["ticked"]
        assert transport.statistics()["received"] == transport.statistics()["sent"] == 0


async def test_the_end_does_not_wait_for_a_datagram(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for a bell that a firewall swallows."""
    monkeypatch.setattr("paxlock.host.waiting.IDLE_S", FAR_S)
    monkeypatch.setattr("paxlock.runtime.thread_driver.IDLE_S", FAR_S)
    monkeypatch.setattr(WaitingSocket, "ring", lambda self: None)
    echo = Echo()
    async with running(echo) as (peer, _):
        await peer.send(b"question")
        assert await peer.recv(100) == b"answer"


async def test_a_bell_that_is_not_heard_costs_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WaitingSocket, "ring", lambda self: None)
    echo = Echo()
    async with running(echo) as (peer, told):
        await peer.send(b"question")
        await told["told"].wait()  # it is asleep again, or soon
        with echo.driver.lock:
            echo.comes_due = BootClock().now()
        await told["ticked"].wait()
    assert len(echo.ticked) == 1


async def test_an_error_in_the_thread_comes_out() -> None:
    echo = Echo()
    echo.trouble = StoreError("the disk is full")
    with pytest.raises(ExceptionGroup) as caught:
        async with running(echo) as (peer, _):
            await peer.send(b"question")
            await trio.sleep_forever()
    assert caught.value.exceptions == (echo.trouble,)


async def test_an_error_of_the_last_turn_comes_out_too() -> None:
    """Else a node would stop cleanly that has not kept what it should."""
    echo, begun, go_on = Echo(), threading.Event(), threading.Event()
    trouble = StoreError("the disk is full")

    def sync() -> None:
        begun.set()
        assert go_on.wait(PATIENCE_S)
        raise trouble

    with pytest.raises(ExceptionGroup) as caught:
        async with running(echo, sync=sync) as (peer, _):
            await peer.send(b"question")
            assert await trio.to_thread.run_sync(begun.wait, PATIENCE_S)
            when_it_ends(echo, go_on.set)
    assert caught.value.exceptions == (trouble,)
    assert "sent" not in echo.done


async def test_both_families_are_heard() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    both = cast(TwoFamilies, bind_all([("::1", 0), ("127.0.0.1", 0)]))
    echo = Echo()
    async with running(echo, transport=both) as (peer, _):
        await peer.send(b"question")
        assert await peer.recv(100) == b"answer"
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as other:
            await other.connect(("127.0.0.1", both.address[1]))
            await other.send(b"question")
            assert await other.recv(100) == b"answer"


async def test_the_child_of_a_fork_finds_the_lock_free() -> None:
    """Whoever has it in the parent is not there to give it back."""
    echo = Echo()
    async with running(echo):
        with echo.driver.lock:
            pid = os.fork()
            if pid == 0:
                os._exit(0 if echo.driver.inherited and not echo.driver.lock.locked() else 1)
        _, status = await trio.to_thread.run_sync(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0


def test_who_waits_for_the_lock_goes_before_who_has_just_had_it() -> None:
    lock, order = FairLock(), list[str]()

    def waits() -> None:
        with lock:
            order.append("who waits")

    other = threading.Thread(target=waits, daemon=True)
    with lock:
        other.start()
        while not lock._gate.locked():
            time.sleep(0.001)
    with lock:
        order.append("who has had it")
    other.join(PATIENCE_S)
    assert order == ["who waits", "who has had it"]


@asynccontextmanager
async def alone(cell: Cell, tmp_path: Path) -> AsyncIterator[Service]:
    """The one node of a cell, as ``paxlock serve`` runs it."""
    async with trio.open_nursery() as nursery:
        config = NodeConfig(cell, "a", tmp_path / "a")
        service = await nursery.start(partial(serve_alone, config, start="auto"))
        assert isinstance(service.driver, ThreadDriver)
        with trio.fail_after(PATIENCE_S):
            await service.serving.wait()
        yield service
        nursery.cancel_scope.cancel()


def cell_of_one() -> Cell:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return Cell.new([Member("a", format_address(free.getsockname()))], max_ttl=1.0)


async def pairs(client: Client) -> None:
    for _ in range(20):
        async with client.lock("busy", ttl=1.0):
            pass


async def test_a_node_that_is_alone_serves_and_stops_cleanly(tmp_path: Path) -> None:
    cell = cell_of_one()
    async with alone(cell, tmp_path) as service, open_client(cell) as client:
        held = await client.acquire("x", ttl=1.0)
        assert (await client.poll("x")).term == held.term
        assert service.eyes.statistics().mode is NodeMode.SERVING
        for generation in range(1, 4):  # while the thread answers
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pairs, client)
                for _ in range(20):
                    reload_node(service, attrs.evolve(cell, generation=generation))
                    assert service.eyes.statistics().messages
                    await trio.sleep(0.001)
        held.detach()
        taken = service.config.cell
    assert isinstance(taken, Cell)
    assert taken.generation == 3
    store = Store.open(tmp_path / "a", create_folder=False)
    record = store.read_record()
    store.close()
    assert record is not None
    assert record.clean
    async with alone(cell, tmp_path), open_client(cell) as client, client.lock("y", ttl=1.0) as other:
        assert other.valid
