"""Every verb of the blocking face, on a cell of real sockets."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import attrs
import pytest

from paxlock import (
    BusyError,
    Cell,
    Change,
    ClosedError,
    ConfigError,
    InternalError,
    LeaseLost,
    LossReason,
    NodeMode,
    NotAcquired,
    Reason,
    State,
)
from paxlock.blocking import Client, HeldLease, open_client
from tests.blocking.cells import Worker, until


def test_a_block_holds_and_releases(client: Client, other: Client) -> None:
    with client.lock("block", data=b"here") as held:
        held.check()
        assert held.valid
        assert 0.0 < held.remaining() <= 10.0
        standing = other.poll("block")
        assert (standing.state, standing.term, standing.data) == (State.LED, held.term, b"here")
        with pytest.raises(NotAcquired) as caught, other.lock("block", wait=0):
            pytest.fail("two held it")
        assert caught.value.reason is Reason.HELD
    assert not held.valid
    with pytest.raises(ClosedError, match="released"):
        held.check()
    with other.campaign("block", wait=5.0) as next_held:
        assert next_held.term > held.term


def test_an_error_of_the_body_comes_out_bare(client: Client) -> None:
    with pytest.raises(KeyError) as caught, client.lock("bare"):
        raise KeyError("mine")
    assert caught.value.__context__ is None
    assert client.poll("bare").state is State.FREE


def test_acquire_waits_in_line(client: Client, other: Client) -> None:
    held = client.acquire("line")
    waiting = Worker(lambda: other.acquire("line"))
    until(lambda: bool(client.inspect("line").waiters), "somebody in line")
    held.release()
    held.release()
    later: HeldLease = waiting.result()
    assert later.term > held.term
    later.release()


def test_what_does_not_fit_is_said_in_one_sentence(client: Client) -> None:
    for wrong in (
        lambda: client.acquire("", wait=0),
        lambda: client.acquire("x", ttl=1e6),
        lambda: client.acquire("x", wait=-1.0),
        lambda: client.acquire("x", data=bytes(1000)),
        lambda: client.acquire("x", renew="sometimes"),  # type: ignore[arg-type]
        lambda: client.poll(""),
        lambda: client.watch(""),
        lambda: client.release_handle("nonsense"),
        lambda: open_client("no/such/file.toml"),
    ):
        with pytest.raises(ConfigError):
            wrong()


def test_lead_returns_what_the_function_returns(client: Client) -> None:
    assert client.lead("lead", lambda held, more: (held.name, more), 7) == ("lead", 7)
    with pytest.raises(ZeroDivisionError):
        client.lead("lead", lambda held: 1 // 0)


def test_lead_campaigns_again_after_a_loss(client: Client, other: Client) -> None:
    terms = []

    def work(held: HeldLease) -> str:
        terms.append(held.term)
        if len(terms) == 1:
            other.release_handle(held.handle)
            assert held.wait_lost() is LossReason.RELEASED
        return "done"

    assert client.lead("lead again", work, ttl=1.0) == "done"
    assert terms[1] > terms[0]


def test_a_watch_tells_of_a_hand_over(client: Client, other: Client) -> None:
    with other.watch("watched") as changes:
        assert next(iter(changes)).state is State.FREE
        with client.lock("watched") as held:
            assert changes.receive(30.0) == Change("watched", State.LED, held.term, held_label(other), b"")
        for change in changes:
            assert change.state is State.FREE
            break
        with pytest.raises(TimeoutError):
            changes.receive(0.0)
    with pytest.raises(ClosedError):
        changes.receive()


def held_label(client: Client) -> str:
    return client.poll("watched").label


def test_a_slow_consumer_sees_the_last_state(client: Client, other: Client) -> None:
    with other.watch("slow/*") as changes, other.watch("slow/*") as witness:
        for _ in range(5):
            held = client.acquire("slow/a")
            told = None  # of what is released at once nobody is told
            while told != (State.LED, held.term):  # on a busy machine the one before may be told once more
                change = witness.receive(30.0)
                told = change.state, change.term
            held.release()
        last = client.acquire("slow/b")
        until(lambda: other.poll("slow/b").state is State.LED, "b is led")
        seen: dict[str, Change] = {}
        wanted = {"slow/a": (State.FREE, held.term), "slow/b": (State.LED, last.term)}
        while {name: (change.state, change.term) for name, change in seen.items()} != wanted:
            change = changes.receive(30.0)
            seen[change.name] = change


def test_where_no_thread_can_be_started_a_sentence_says_so(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(ClosedError, match=r"has as many as it may \(ulimit"):
            open_client(cell).acquire("x")
    with open_client(cell) as client, client.lock("x", wait=30.0) as held:
        assert held.valid


def test_two_threads_do_not_receive_from_one_watch(client: Client) -> None:
    with client.watch("two") as changes:
        changes.receive(30.0)
        waiting = Worker(changes.receive)
        until(changes._receiving.locked, "the other receives")
        with pytest.raises(BusyError):
            changes.receive()
        changes.close()
        with pytest.raises(ClosedError):
            waiting.result()


def test_watch_forever_goes_on_until_the_client_is_closed(cell: Cell) -> None:
    seen: list[Change] = []
    with open_client(cell) as client:
        watching = Worker(lambda: client.watch_forever("ever", seen.append))
        until(lambda: bool(seen), "the present state")
    with pytest.raises(ClosedError):
        watching.result()


def test_questions(client: Client, other: Client) -> None:
    with client.lock("q/a"), client.lock("q/b"):
        assert [standing.name for standing in other.list("q/")] == ["q/a", "q/b"]
        assert client.statistics().session.leases == 2
    assert {node.mode for node in other.survey()} == {NodeMode.SERVING}
    assert other.list("none/") == []


def test_handles(client: Client, other: Client) -> None:
    held = client.acquire("handle", ttl=5.0)
    held.detach()
    with pytest.raises(BusyError):
        client.acquire("handle", wait=0)
    assert 0.0 < other.renew_handle(held.handle) <= 5.0
    other.release_handle(held.handle)
    with pytest.raises(LeaseLost):
        other.renew_handle(held.handle)


def test_seeds_are_enough(cell: Cell) -> None:
    seeds = [member.address for member in cell.members]
    with open_client(seeds, key=cell.keys[0][1], label="by seeds") as client, client.lock("seeds"):
        assert client.poll("seeds").label == "by seeds"


def test_a_cell_that_is_silent_is_waited_for_until_close() -> None:
    client = open_client(["127.0.0.1:9"], key=bytes(range(32)))
    waiting = Worker(lambda: client.poll("x"))
    until(client._opening.locked, "it is being opened")
    client.close()
    with pytest.raises(ClosedError):
        waiting.result()


def test_close_ends_every_wait(cell: Cell, client: Client) -> None:
    with client.lock("closing"):
        closing = open_client(cell)
        held = closing.acquire("closing too")
        waiting = Worker(lambda: closing.acquire("closing"))
        until(lambda: bool(client.inspect("closing").waiters), "somebody in line")
        closing.close()
        with pytest.raises(ClosedError):
            waiting.result()
        assert held.wait_lost() is LossReason.CLOSED
        with pytest.raises(LeaseLost):
            held.check()
        with pytest.raises(ClosedError):
            closing.poll("x")
        assert client.poll("closing too").state is State.FREE
        assert not client.inspect("closing").waiters


def test_a_bug_in_the_thread_comes_out_of_every_verb(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    client = open_client(cell)
    told: list[LeaseLost] = []
    held = client.acquire("bug", on_lost=told.append)
    with client.watch("bug") as changes:
        waiting = Worker(lambda: list(changes))
        running = client._running
        assert running is not None
        monkeypatch.setattr(running._session, "tick", lambda now: 1 // 0)
        monkeypatch.setattr(running._session, "deadline", lambda: 0.0)
        running.engine.wake()
        with pytest.raises(InternalError) as caught:
            waiting.result()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(InternalError):
        client.poll("bug")
    assert held.wait_lost() is LossReason.CLOSED
    until(lambda: bool(told), "on_lost")
    with pytest.raises(LeaseLost):
        held.check()
    client.close()


def test_nodes_with_another_configuration_are_refused(cell: Cell) -> None:
    def ask_until_refused() -> None:
        with open_client(attrs.evolve(cell, max_ttl=12.0)) as client:
            while True:
                client.poll("x")

    # The first to hear of it may be the opening of the client, or a poll.
    with pytest.raises(ConfigError, match="another configuration"):
        ask_until_refused()


@pytest.mark.parametrize("main", [True, False])
def test_two_hundred_threads_exclude_each_other(client: Client, other: Client, main: bool) -> None:
    inside = {name: threading.Lock() for name in ("t/0", "t/1", "t/2")}
    terms: dict[str, list[int]] = {name: [] for name in inside}

    def work(number: int) -> None:
        name = f"t/{number % len(inside)}"
        with (client if number % 2 else other).lock(name, ttl=20.0) as held:
            assert inside[name].acquire(blocking=False), "two held it"
            terms[name].append(held.term)
            held.check()
            inside[name].release()

    threads = [Worker(lambda number=number: work(number)) for number in range(200)]  # type: ignore[misc]
    if main:
        client.poll("t/0")
    for thread in threads:
        thread.result()
    assert sum(map(len, terms.values())) == 200
    for found in terms.values():
        assert found == sorted(set(found))


def test_no_event_loop_is_loaded(path: str) -> None:
    program = (
        "import sys, paxlock.blocking\n"
        f"with paxlock.blocking.open_client({path!r}) as client, client.lock('loops'):\n"
        "    client.poll('x'), client.list(), client.watch('x')\n"
        "print([name for name in ('trio', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=Path(path).parent,
    )
    assert done.stdout.strip() == "[]"
