"""The examples of which many copies are started and one works: it is killed, and another one takes over."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from paxlock import Cell, State
from paxlock.blocking import Client, open_client
from tests.blocking.cells import thread_cell
from tests.singletons import EXAMPLES, Programs, programs, wait_in_line

pytestmark = pytest.mark.processes


@pytest.fixture
def cell() -> Iterator[Cell]:
    with thread_cell() as found:
        yield found.cell


@pytest.fixture
def client(cell: Cell) -> Iterator[Client]:
    with open_client(cell, label="test") as found:
        yield found


@pytest.fixture
def run(cell: Cell, tmp_path: Path) -> Iterator[Programs]:
    with programs(cell, tmp_path) as found:
        yield found


def take_turns(run: Programs, client: Client, name: str, *command: str) -> None:
    """Three copies: the first that works is killed, the second is told to end, the third works on."""
    copies = {copy.pid: copy for copy in (run.start(*command) for _ in range(3))}
    terms = []
    for waiting, signum in ((2, signal.SIGKILL), (1, signal.SIGTERM), (0, signal.SIGTERM)):
        pid, term = run.worker()
        terms.append(term)
        wait_in_line(client, name, waiting)
        run.nobody_works()
        code = run.end(copies.pop(pid), signum)
        assert code in ((-signal.SIGKILL,) if signum == signal.SIGKILL else (0, -signal.SIGTERM))
    assert terms == sorted(set(terms))
    assert client.poll(name).state is State.FREE  # released, and not left to run out


@pytest.mark.parametrize("program", ["asyncio_worker.py", "blocking_worker.py"])
def test_a_worker(run: Programs, client: Client, program: str) -> None:
    take_turns(run, client, "worker", str(EXAMPLES / program))


@pytest.mark.slow
def test_a_background_task_of_one_replica(run: Programs, client: Client) -> None:
    """`fastapi_lifespan.py`, by uvicorn."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    uvicorn = ("-m", "uvicorn", "--app-dir", str(EXAMPLES), "fastapi_lifespan:app", "--port", "0")
    take_turns(run, client, "refresh", *uvicorn)


@pytest.mark.slow
def test_one_worker_schedules(run: Programs, client: Client) -> None:
    """`apscheduler_gunicorn.py`: gunicorn replaces the worker that is killed."""
    pytest.importorskip("apscheduler")
    pytest.importorskip("gunicorn")
    config = str(EXAMPLES / "apscheduler_gunicorn.py")
    master = run.start("-m", "gunicorn", "-c", config, "-b", "127.0.0.1:0", "--control-socket-disable")
    terms = []
    for signum in (signal.SIGKILL, signal.SIGTERM):
        pid, term = run.worker()
        terms.append(term)
        wait_in_line(client, "scheduler", 2)
        run.nobody_works()
        os.kill(pid, signum)
    terms.append(run.worker()[1])
    assert terms == sorted(set(terms))
    assert run.end(master) == 0
    assert client.poll("scheduler").state is State.FREE
