"""Real programs that fork their workers, with a client that is a global of theirs.

The work under the lock makes a file that must not exist yet: two at once would be told.
"""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paxlock import Cell, State
from paxlock.blocking import Client
from tests.blocking.cells import PATIENCE_S, until
from tests.singletons import Programs, programs

pytestmark = [pytest.mark.processes, pytest.mark.slow]


@pytest.fixture
def start(cell: Cell, tmp_path: Path) -> Iterator[Programs]:
    with programs(cell, tmp_path) as found:
        yield found


def ask(address: str) -> dict[str, int]:
    with urllib.request.urlopen(f"http://{address}/", timeout=PATIENCE_S) as response:
        found: dict[str, int] = json.load(response)
        return found


def gunicorn(start: Programs, application: str, *options: str) -> str:
    """Start it with two workers: its address, once both have booted."""
    start.start("-m", "gunicorn", application, "-w", "2", "-b", "127.0.0.1:0", *options)
    address = start.line(r"Listening at: http://(\S+)")[1]
    for _ in range(2):
        start.line("Booting worker")
    return address


def both_take_turns(address: str, threads: int = 1) -> list[int]:
    """Ask until both workers have answered, four at a time: the terms, in order. In each worker a client has
    so many threads that Python's module knows of.
    """
    answers: list[dict[str, int]] = []

    def both() -> bool:
        with ThreadPoolExecutor(4) as pool:
            answers.extend(pool.map(ask, [address] * 8))
        return len({answer["pid"] for answer in answers}) == 2

    until(both, "both workers have answered")
    terms = sorted(answer["term"] for answer in answers)
    assert len(terms) == len(set(terms))
    assert {answer["threads"] for answer in answers} == {threads}
    return terms


@pytest.mark.parametrize("preload", [False, True])
def test_gunicorn(start: Programs, client: Client, preload: bool) -> None:
    """Each worker opens a session of its own; what the master holds is the master's, to its end."""
    pytest.importorskip("gunicorn")
    module = f"tests.blocking.programs.prefork_{'preload' if preload else 'lazy'}:app"
    address = gunicorn(start, module, *(["--preload"] if preload else []))
    first = both_take_turns(address)
    assert both_take_turns(address)[0] > first[-1]
    if preload:
        assert client.poll("master").state is State.LED
    (master,) = start.processes
    assert start.end(master) == 0
    for name in ("app", "master"):
        assert client.poll(name).state is State.FREE  # released, not left to run out


@pytest.mark.parametrize("preload", [False, True])
def test_gunicorn_with_greenlets(start: Programs, client: Client, preload: bool) -> None:
    """Its workers are patched after the fork; the client of the preloaded application is older than that."""
    pytest.importorskip("gunicorn")
    pytest.importorskip("gevent")
    module = f"tests.blocking.programs.prefork_{'preload' if preload else 'lazy'}:app"
    address = gunicorn(start, module, "-k", "gevent", *(["--preload"] if preload else []))
    first = both_take_turns(address, threads=0)
    assert both_take_turns(address, threads=0)[0] > first[-1]
    (master,) = start.processes
    assert start.end(master) == 0
    for name in ("app", "master"):
        assert client.poll(name).state is State.FREE
    assert not [line for line in start.printed if "Traceback" in line]


@pytest.mark.parametrize("pool", ["gevent", "threads"])
def test_a_celery_worker_of_one_process(start: Programs, client: Client, pool: str) -> None:
    pytest.importorskip("celery")
    pytest.importorskip("gevent")
    for folder in ("messages", "control"):
        (start.folder / folder).mkdir()
    app = "tests.blocking.programs.prefork_celery"
    worker = start.start("-m", "celery", "-A", app, "worker", "-P", pool, "-c", "4", "-l", "INFO")
    start.line("ready")
    sender = start.start("-c", f"from {app} import work\nfor _ in range(12): work.apply_async()")
    tasks = [start.line(r"task of (\d+) had term (\d+)\.") for _ in range(12)]
    assert sender.wait(PATIENCE_S) == 0
    assert len({int(task[2]) for task in tasks}) == len(tasks)
    assert {task[1] for task in tasks} == {str(worker.pid)}
    assert start.end(worker, signal.SIGTERM) == 0
    assert not [line for line in start.printed if "Traceback" in line]
    assert client.poll("task").state is State.FREE


@pytest.mark.parametrize("used_before", [False, True])
def test_celery(start: Programs, client: Client, used_before: bool) -> None:
    """A prefork worker with two children."""
    pytest.importorskip("celery")
    start.environment["USED_IN_THE_MASTER"] = "1" if used_before else ""
    for folder in ("messages", "control"):
        (start.folder / folder).mkdir()
    app = "tests.blocking.programs.prefork_celery"
    worker = start.start(
        "-m", "celery", "-A", app, "worker", "-P", "prefork", "-c", "2", "-l", "INFO", "-O", "fair"
    )
    start.line("ready")
    sender = start.start("-c", f"from {app} import work\nfor _ in range(12): work.apply_async()")
    tasks = [start.line(r"task of (\d+) had term (\d+)\.") for _ in range(12)]
    assert sender.wait(PATIENCE_S) == 0
    terms = sorted(int(task[2]) for task in tasks)
    assert len(terms) == len(set(terms))
    assert str(worker.pid) not in {task[1] for task in tasks}
    assert start.end(worker, signal.SIGTERM) == 0
    assert not [line for line in start.printed if "Traceback" in line]
    assert client.poll("task").state is State.FREE


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool(start: Programs, client: Client, method: str) -> None:
    process = start.start(str(Path(__file__).parent / "programs" / "pool.py"), method)
    start.line("pool done [12]")
    assert process.wait(PATIENCE_S) == 0
    assert client.poll("parent").state is State.FREE
    assert client.poll("pool").state is State.FREE
