"""What a blocking program is told of a loss, and when."""

# A body that is cut off is several statements, and a block within a block is what is tested.
# ruff: noqa: PT012, PT031, SIM117

from __future__ import annotations

import gc
import logging
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable

import pytest

from paxlock import BusyError, Cell, ClosedError, ConfigError, LeaseLost, LossReason, State
from paxlock.blocking import Client, HeldLease, LeaseBlock, open_client
from paxlock.blocking.callbacks import Callbacks
from paxlock.blocking.interrupts import Interrupt, interrupt_here, interruptible
from paxlock.client.nesting import Nesting
from tests.blocking.cells import Worker, thread_cell, until


def spin_until_interrupted() -> None:
    """Python code that looks at nothing."""
    end = time.monotonic() + 60.0
    while time.monotonic() < end:
        pass
    pytest.fail("nothing has interrupted it")


def test_a_silent_cell_is_a_loss_by_the_holders_own_clock() -> None:
    told: list[LeaseLost] = []
    with thread_cell() as cell, open_client(cell.cell) as client:
        block = client.lock("x", ttl=1.0, on_lost=told.append)
        with pytest.raises(LeaseLost) as caught, block as held:
            cell.silence()
            assert held.wait_lost(0.0) is None
            assert held.wait_lost() is LossReason.EXPIRED
            assert not held.valid
        assert caught.value.reason is LossReason.EXPIRED
        assert (caught.value.name, caught.value.term) == ("x", held.term)
        until(lambda: bool(told), "on_lost")
        assert [(one.name, one.reason) for one in told] == [("x", LossReason.EXPIRED)]


def test_a_body_that_passes_the_deadline_unseen_is_told_at_its_end() -> None:
    with thread_cell() as cell, open_client(cell.cell) as client:
        held = client.acquire("x", ttl=1.0)
        cell.silence()
        with pytest.raises(LeaseLost), LeaseBlock(lambda: held, Nesting(), None, interrupt=False):
            until(lambda: held.remaining() == 0.0, "the deadline")


def test_an_error_of_the_body_has_the_loss_as_its_context(client: Client, other: Client) -> None:
    with pytest.raises(KeyError) as caught, client.lock("context", ttl=1.0) as held:
        other.release_handle(held.handle)
        held.wait_lost()
        raise KeyError("mine")
    assert isinstance(caught.value.__context__, LeaseLost)
    with pytest.raises(LeaseLost) as lost, client.lock("context", ttl=1.0) as held:
        other.release_handle(held.handle)
        held.wait_lost()
        held.check()
    assert lost.value.reason is LossReason.RELEASED


def test_a_callback_that_raises_is_logged_and_harms_nobody(
    client: Client, other: Client, caplog: pytest.LogCaptureFixture
) -> None:
    held = client.acquire("raises", ttl=1.0, on_lost=lambda lost: 1 // 0)
    with caplog.at_level(logging.ERROR, "paxlock"):
        other.release_handle(held.handle)
        held.wait_lost()
        until(lambda: bool(caplog.records), "the log")
    assert client.poll("raises").state is State.FREE


def test_a_callback_whose_thread_cannot_be_started_is_called_with_the_next(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    callbacks, called, done = Callbacks(), list[int](), threading.Event()

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        callbacks.call(lambda: called.append(1))
    assert "no thread can be started (can't start new thread)" in caplog.text
    callbacks.call(lambda: called.append(2))
    callbacks.call(done.set)
    assert done.wait(30.0)
    assert called == [1, 2]
    callbacks.close()


@pytest.mark.parametrize("error", [SystemExit("enough"), KeyboardInterrupt(), ValueError("mine")])
def test_whatever_a_callback_raises_those_after_it_are_called(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def raises() -> None:
        raise error

    callbacks, called = Callbacks(), threading.Event()
    with caplog.at_level(logging.ERROR, "paxlock"):
        callbacks.call(raises)
        callbacks.call(called.set)
        assert called.wait(5.0), "the thread of the callbacks has ended"
    callbacks.close()
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]


def test_a_callback_may_call_verbs(client: Client, other: Client) -> None:
    found: list[State] = []
    held = client.acquire("verbs", ttl=1.0, on_lost=lambda lost: found.append(client.poll("verbs").state))
    other.release_handle(held.handle)
    until(lambda: bool(found), "the callback")
    assert found == [State.FREE]


def test_on_extended_is_told_of_each_renewal(client: Client) -> None:
    deadlines: list[float] = []
    with client.lock("extended", ttl=0.5) as held:
        first = held.deadline
        held.on_extended(deadlines.append)
        until(lambda: len(deadlines) >= 2, "two renewals")
    assert first < deadlines[0] < deadlines[1]


# interrupt=True


def test_a_loss_interrupts_the_body(client: Client, other: Client) -> None:
    def work() -> None:
        with client.lock(f"interrupt {threading.get_ident()}", ttl=1.0, interrupt=True) as held:
            Worker(lambda: other.release_handle(held.handle))
            spin_until_interrupted()

    with pytest.raises(LeaseLost) as caught:
        work()  # in the main thread
    assert type(caught.value) is LeaseLost
    assert caught.value.reason is LossReason.RELEASED
    thread = Worker(work)
    with pytest.raises(LeaseLost):
        thread.result()
    assert not interruptible(threading.get_ident())


def test_a_verb_of_the_body_is_interrupted_too(client: Client, other: Client) -> None:
    with other.lock("other's"), pytest.raises(LeaseLost) as caught:
        with client.lock("mine", ttl=1.0, interrupt=True) as held:
            Worker(lambda: other.release_handle(held.handle))
            client.acquire("other's")
    assert caught.value.name == "mine"
    assert not client.inspect("other's").waiters


def test_waiting_for_a_loss_is_interrupted_in_no_wait_of_threading(
    client: Client, other: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent in the midst of one, the exception may come out as RuntimeError: "release unlocked lock"."""

    def refuse(timeout: float | None = None) -> bool:
        raise AssertionError("waited in threading")

    with pytest.raises(LeaseLost), client.lock("waited", ttl=1.0, interrupt=True) as held:
        monkeypatch.setattr(held._over, "wait", refuse)
        assert held.wait_lost(0.01) is None
        Worker(lambda: other.release_handle(held.handle))
        held.wait_lost()


def test_an_interruption_never_comes_after_the_block() -> None:
    """The loss is sent at every moment of a block that ends: what was not raised yet is taken back."""
    orders: queue.SimpleQueue[Interrupt | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[None] = queue.SimpleQueue()

    def send() -> None:
        while (order := orders.get()) is not None:
            order.send(LossReason.EXPIRED)
            done.put(None)

    sender = Worker(send)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(500):
            interrupt = interrupt_here("x", 1)
            try:
                orders.put(interrupt)
                interrupt.disarm()
            except LeaseLost:  # within the block, as far as Python sees it
                interrupt.disarm()
            done.get()
            for _ in range(50):
                pass
    finally:
        sys.setswitchinterval(interval)
        orders.put(None)
    sender.result()
    assert not interruptible(threading.get_ident())


# renew="manual"


def test_a_worker_that_hangs_loses_in_time(client: Client, other: Client) -> None:
    with pytest.raises(LeaseLost) as caught, client.lock("manual", ttl=1.0, renew="manual") as held:
        first = held.deadline
        until(lambda: held.deadline > first or not held.valid, "nothing, or the end")
        end = held.deadline
        assert held.wait_lost() is LossReason.EXPIRED
        assert end <= first + 0.2  # no renewal counts for longer than from the start
        assert other.acquire("manual", wait=30.0).term > held.term
    assert caught.value.reason is LossReason.EXPIRED


def test_a_worker_that_works_keeps_it(client: Client) -> None:
    with client.lock("beats", ttl=1.0, renew="manual") as held:
        first = held.deadline
        while held.deadline < first + 2.0:
            held.heartbeat()
            time.sleep(0.01)
        held.check()
    with client.lock("beats") as held, pytest.raises(ConfigError):
        held.heartbeat()


def test_a_worker_that_hangs_loses_in_time_and_the_slot_stays_taken(client: Client, other: Client) -> None:
    with (
        pytest.raises(LeaseLost),
        client.lock("slot", ttl=1.0, renew="manual", at_least=3.0) as held,
    ):
        began = time.monotonic()
        assert held.remaining() < 1.0
        assert held.wait_lost() is LossReason.EXPIRED
        assert time.monotonic() - began < 2.5
    with other.lock("slot", wait=30.0):
        assert time.monotonic() - began >= 2.95


def test_a_worker_that_hangs_does_not_keep_what_is_wanted_back(client: Client, other: Client) -> None:
    held = client.acquire("wanted", ttl=1.0, renew="manual")
    assert other.revoke("wanted", held.term, wait=30.0) == 0.0  # nobody has released it
    assert held.wait_lost() is LossReason.REVOKED
    with pytest.raises(LeaseLost):
        held.heartbeat()


# What nobody has any more


def test_a_client_that_is_dropped_is_collected_with_its_thread(cell: Cell, other: Client) -> None:
    client = open_client(cell)
    held = client.acquire("dropped")
    running = client._running
    assert running is not None
    engine, gone = running.engine, weakref.ref(client)
    with pytest.warns(ResourceWarning, match="not closed"):
        del client
        gc.collect()
    assert gone() is None
    assert engine.over.wait(60.0)
    assert held.wait_lost() is LossReason.CLOSED
    assert other.acquire("dropped", wait=5.0).term > held.term


def test_a_client_that_was_never_used_has_no_thread(cell: Cell) -> None:
    before = threading.active_count()
    client = open_client(cell)
    assert threading.active_count() == before
    client.close()
    with pytest.raises(ClosedError):
        client.poll("x")


def test_a_finalizer_within_a_turn_waits_for_nothing(client: Client) -> None:
    """As where the garbage collector runs a ``__del__`` of the program within the machine's own work."""
    held = client.acquire("finalizer")
    found: list[BaseException] = []

    def within() -> None:
        try:
            client.poll("finalizer")
        except BusyError as error:
            found.append(error)
        held.release()

    assert client._running is not None
    client._running.engine.do(within)
    until(lambda: client.poll("finalizer").state is State.FREE, "the release")
    assert len(found) == 1


def test_callbacks_come_in_order() -> None:
    found: list[int] = []
    callbacks = Callbacks()
    for number in range(10):
        callbacks.call(lambda number=number: found.append(number))  # type: ignore[misc]
    callbacks.close()
    until(lambda: len(found) == 10, "all of them")
    assert found == sorted(found)


def test_a_thread_that_enters_blocks_for_others_is_not_taken_for_their_caller() -> None:
    """As the threads of a pool do: all jobs are called from one step of one frame, which never ends."""
    jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[object] = queue.SimpleQueue()

    def serve() -> None:
        while (job := jobs.get()) is not None:
            try:
                done.put(job())
            except BaseException as error:  # noqa: BLE001 - whatever it is, the test is to see it
                done.put(error)

    with thread_cell() as cell, open_client(cell.cell) as client:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        first, second = client.lock("x"), client.lock("x")
        jobs.put(first.__enter__)
        held = done.get(timeout=60.0)
        assert isinstance(held, HeldLease)
        jobs.put(second.__enter__)
        until(lambda: client.statistics().session.campaigns == 2, "the second waits")
        first.__exit__(None, None, None)
        later = done.get(timeout=60.0)
        assert isinstance(later, HeldLease), later
        assert later.term > held.term
        second.__exit__(None, None, None)
        jobs.put(None)
        thread.join(60.0)
