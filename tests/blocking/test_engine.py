"""Threads that ask the machine for something at one moment."""

from __future__ import annotations

import threading

from paxlock.blocking import Client
from paxlock.blocking.engine import Engine
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
    Worker(lambda: engine.do(second)).result()  # it has come back, and nothing is done yet
    assert by == []
    leave.set()
    one.result()
    assert done.wait(PATIENCE_S)
    assert by == [one.ident]


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
