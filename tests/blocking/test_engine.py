"""Threads that ask the machine for something at one moment."""

from __future__ import annotations

import threading

import pytest

from paxlock import State
from paxlock.blocking import Client
from paxlock.blocking import engine as engine_module
from paxlock.blocking.engine import Engine
from paxlock.core.messages import Commit, Message, Peer
from tests.blocking.cells import PATIENCE_S, Worker, until


def engine_of(client: Client) -> Engine:
    client.survey()  # the first use
    assert client._running is not None
    return client._running.engine


def test_who_finds_the_machine_taken_does_not_wait_and_its_work_is_done_by_who_has_it(
    client: Client,
) -> None:
    engine = engine_of(client)
    entered, leave, done = threading.Event(), threading.Event(), threading.Event()
    by: list[int] = []

    def first() -> None:
        entered.set()
        assert leave.wait(PATIENCE_S)

    def second() -> None:
        by.append(threading.get_ident())
        done.set()

    one = Worker(lambda: engine.do(first))
    assert entered.wait(PATIENCE_S)
    other = Worker(lambda: engine.do(second))
    other.result()  # it has come back, and nothing is done yet
    assert by == []
    leave.set()
    one.result()
    assert done.wait(PATIENCE_S)
    assert by in ([one.ident], [engine._thread])  # this one, where a datagram has come meanwhile
    assert by != [other.ident]


def add(engine: Engine, done: list[None], count: int) -> None:
    for _ in range(count):
        engine.do(lambda: done.append(None))


def test_no_work_is_left_behind(client: Client) -> None:
    engine, done = engine_of(client), list[None]()
    workers = [Worker(lambda: add(engine, done, 2_000)) for _ in range(8)]
    for worker in workers:
        worker.result()
    until(lambda: len(done) == 16_000, "the rest of the work")


def test_no_work_is_left_behind_at_the_end(client: Client) -> None:
    engine, done = engine_of(client), list[None]()
    workers = [Worker(lambda: add(engine, done, 2_000)) for _ in range(4)]
    client.close()
    for worker in workers:
        worker.result()
    until(lambda: len(done) == 8_000, "what was handed over to a thread that ends")


def note_queued(engine: Engine) -> list[Message]:
    """The messages that the client sends from now on."""
    queued: list[Message] = []
    queue = engine.endpoint.queue

    def noting(peer: Peer, message: Message) -> None:
        queued.append(message)
        queue(peer, message)

    engine.endpoint.queue = noting  # type: ignore[method-assign]
    return queued


def commits(queued: list[Message]) -> int:
    return sum(isinstance(message, Commit) for message in queued)


@pytest.mark.parametrize("by_main_thread", [False, True])
def test_a_thread_that_is_done_at_once_needs_no_commit(
    client: Client, monkeypatch: pytest.MonkeyPatch, by_main_thread: bool
) -> None:
    """However late it runs on a loaded machine: here it has all the time."""
    monkeypatch.setattr(engine_module, "LINGER_S", PATIENCE_S)
    queued = note_queued(engine_of(client))

    def pairs() -> None:
        for number in range(16):
            with client.lock(f"x{number % 2}"):
                pass

    if by_main_thread:
        pairs()
    else:
        for worker in [Worker(pairs) for _ in range(3)]:
            worker.result()
    assert commits(queued) == 0


def test_what_is_held_for_longer_is_committed(client: Client) -> None:
    queued = note_queued(engine_of(client))
    with client.lock("x"):
        until(lambda: commits(queued) > 0, "the Commits")


def test_commits_do_not_keep_a_release_or_another_grant_waiting(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "LINGER_S", PATIENCE_S)
    queued = note_queued(engine_of(client))
    with client.lock("x"), client.lock("y"):
        pass
    assert commits(queued) == 0
    assert client.poll("x").state is State.FREE
