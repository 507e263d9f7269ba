"""The examples of which many copies are started and one works: it is killed, and another one takes over."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from paxlock import Cell, State
from paxlock.blocking import Client, open_client
from tests.blocking.cells import thread_cell
from tests.singletons import EXAMPLES, PATIENCE_S, Programs, programs, wait_in_line

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


def ancestor(pid: int, among: set[int]) -> int:
    """The process that was started here, of one that may be a child of its children."""
    while pid not in among:
        assert pid > 1, "not started here"
        pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    return pid


def take_turns(run: Programs, client: Client, name: str, *command: str, stop: int = signal.SIGTERM) -> None:
    """Three copies: the first that works is killed, the second is told to end, the third works on."""
    copies = {copy.pid: copy for copy in (run.start(*command) for _ in range(3))}
    terms = []
    for waiting, signum in ((2, signal.SIGKILL), (1, stop), (0, stop)):
        pid, term = run.worker()
        terms.append(term)
        wait_in_line(client, name, waiting)
        run.nobody_works()
        code = run.end(copies.pop(ancestor(pid, set(copies))), signum)
        expected = {-signal.SIGKILL} if signum == signal.SIGKILL else {0, -stop, 128 + stop}
        assert code in expected, run.printed
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


def test_an_error_of_the_background_task_is_logged_while_the_application_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fastapi")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    example = importlib.import_module("fastapi_lifespan")

    async def fail() -> None:
        raise KeyError("the work has failed")

    async def main() -> None:
        for work in (fail(), asyncio.sleep(1000)):
            task = asyncio.create_task(work)
            task.add_done_callback(example.tell_of_its_end)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await asyncio.sleep(0)

    asyncio.run(main())
    (record,) = caplog.records
    assert record.message == "the background task has ended"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


@pytest.mark.slow
def test_one_worker_schedules(run: Programs, client: Client) -> None:
    """`apscheduler_gunicorn.py`: gunicorn replaces the worker that is killed."""
    pytest.importorskip("apscheduler")
    pytest.importorskip("gunicorn")
    config = str(EXAMPLES / "apscheduler_gunicorn.py")
    master = run.start("-m", "gunicorn", "-c", config, "-b", "127.0.0.1:0")
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


@pytest.mark.slow
def test_one_beat(run: Programs, client: Client) -> None:
    """`celery_beat.py`, by `paxlock run`: what is killed is that, and beat goes with it."""
    pytest.importorskip("celery")
    beat = ("celery", "--workdir", str(EXAMPLES), "-A", "celery_beat", "beat")
    schedule = ("--schedule", str(run.folder / "schedule"), "--pidfile=")
    command = (sys.executable, "-m", *beat, *schedule)
    take_turns(run, client, "beat", "-m", "paxlock", "run", "beat", "--ttl", "2s", "--", *command)


@pytest.mark.slow
def test_a_command_by_three_crons(run: Programs) -> None:
    """`django_cron`: all three end well, and one has sent the report."""
    pytest.importorskip("django")
    command = (sys.executable, str(EXAMPLES / "django_cron" / "manage.py"), "send_report")
    lock = ("send-report", "--try", "-E", "0", "--at-least", "20s")
    crons = [run.start("-m", "paxlock", "run", *lock, "--", *command) for _ in range(3)]
    assert [cron.wait(PATIENCE_S) for cron in crons] == [0, 0, 0]
    run.rest()
    assert len([line for line in run.printed if "the report was sent, fencing token" in line]) == 1
    assert len([line for line in run.printed if "was not acquired" in line]) == 2


def test_a_notebook(run: Programs, client: Client) -> None:
    """`notebook.ipynb`: its cells, in one loop and one namespace, as IPython runs them; and interrupted."""
    runner = str(Path(__file__).parent / "notebook_runner.py")
    take_turns(run, client, "notebook", runner, str(EXAMPLES / "notebook.ipynb"), stop=signal.SIGINT)
