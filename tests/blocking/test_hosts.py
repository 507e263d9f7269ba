"""Programs whose host changes threads and sockets: gevent's greenlets, eventlet, uWSGI."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from paxlock import Cell, ConfigError, State
from paxlock.blocking import Client, open_client
from paxlock.host.last_resort import EXIT_CODE
from tests.blocking.cells import SOURCE, Script, until

Run = Callable[..., Script]

with_gevent = pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is not installed")
processes = pytest.mark.processes

HERE = -1  #: this process


def holds(script: Script) -> int:
    """Wait until it holds: the term."""
    word, term = script.line().split()
    assert word == "held"
    return int(term)


def lines(*words: str) -> tuple[int, str, str]:
    """What `Script.end` gives where these were the last lines, and all is well."""
    return 0, "\n".join(words), ""


@processes
@with_gevent
def test_a_greenlet_that_computes_keeps_its_lease(path: str, client: Client, run: Run) -> None:
    script = run("greenlets.py", path, "g1", "computes")
    term = holds(script)
    assert script.line() == "computed True"
    assert script.end() == lines("")
    assert client.acquire("g1", wait=5.0).term == term + 1


@processes
@with_gevent
@pytest.mark.parametrize("how", ["computes_until_lost", "is_interrupted", "outlives_its_loss", "is_told"])
def test_a_loss_reaches_a_greenlet(path: str, client: Client, run: Run, how: str) -> None:
    script = run("greenlets.py", path, how, how)
    client.revoke(how, holds(script), wait=20.0)
    found = {
        "computes_until_lost": ("stopped", "revoked"),
        "is_interrupted": ("revoked", "free"),
        "outlives_its_loss": ("revoked", "free"),
    }
    if how in found:
        assert script.end() == lines(*found[how])
        return
    code, out, err = script.end()
    assert (code, err) == (0, "")
    assert sorted(out.splitlines()) == ["LossReason.REVOKED", "revoked True free"]


@processes
@with_gevent
def test_other_greenlets_run_while_one_waits(path: str, client: Client, run: Run) -> None:
    with client.lock("g2"):
        script = run("greenlets.py", path, "g2", "waits")
        assert script.line() == "timeout True"
        until(lambda: bool(client.inspect("g2").waiters), "the next is in line")
        assert script.line() == "killed True"
        until(lambda: not client.inspect("g2").waiters, "nobody is in line")
    assert script.end() == lines("")


@processes
@with_gevent
@pytest.mark.parametrize("how", ["take_turns", "patched_late"])
def test_greenlets_and_threads_take_turns(path: str, client: Client, run: Run, how: str) -> None:
    assert run("greenlets.py", path, how, how).end() == lines("40 True")
    assert client.poll(how).state is State.FREE


@processes
@with_gevent
def test_a_fork_of_greenlets_begins_anew(path: str, run: Run) -> None:
    assert run("greenlets.py", path, "g3", "forks").end() == lines("child True", "parent 0 free")


@processes
@with_gevent
def test_the_end_of_a_program_of_greenlets_releases(path: str, client: Client, run: Run) -> None:
    script = run("greenlets.py", path, "g4", "ends")
    holds(script)
    assert script.end() == lines("")
    assert client.poll("g4").state is State.FREE  # well below the ttl of 30 s


@processes
@with_gevent
@pytest.mark.skipif(sys.platform != "linux", reason="there is no last will")
def test_the_last_will_of_a_program_of_greenlets(path: str, client: Client, run: Run) -> None:
    script = run("greenlets.py", path, "g5", "is_killed")
    term = holds(script)
    script.process.kill()
    assert client.acquire("g5", wait=20.0).term > term  # well below the ttl of 30 s


@processes
@with_gevent
def test_a_signal_handler_may_run_in_the_hub(path: str, run: Run) -> None:
    assert run("greenlets.py", path, "g6", "handles_signals").end() == lines("handler free", "handler free")


@processes
@with_gevent
def test_a_node_is_refused_where_trio_cannot_run(path: str, run: Run) -> None:
    code, out, err = run("greenlets.py", path, "g7", "has_a_node").end()
    assert (code, err) == (0, "")
    assert out.count("no node can run in it: run the node as a process of its own (paxlock serve)") == 2


@processes
@with_gevent
def test_the_last_resort_ends_a_greenlet_that_computes(path: str, run: Run) -> None:
    code, out, err = run("greenlets.py", path, "g8", "exits").end()
    assert (code, out) == (EXIT_CODE, "")
    assert "its work goes on 0.1 s later" in err


@processes
@pytest.mark.skipif(importlib.util.find_spec("eventlet") is None, reason="eventlet is not installed")
@pytest.mark.parametrize("verb", ["open_client({path!r}).poll('x')", "open_node(None)"])
def test_eventlet_is_refused(path: str, verb: str) -> None:
    program = f"""
import eventlet
eventlet.monkey_patch()
import paxlock
from paxlock.blocking import open_client, open_node
try:
    {verb.format(path=path)}
except paxlock.ConfigError as error:
    print(error)
"""
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": SOURCE, "PATH": ""},
        check=True,
    )
    assert found.stdout.startswith("eventlet has patched this program, and no lease can be kept in it")


def uwsgi(
    monkeypatch: pytest.MonkeyPatch, *, worker: int, master: int, processes: int, threads: int = 1
) -> None:
    """Have the module that uWSGI gives to its programs."""
    found = SimpleNamespace(
        worker_id=lambda: worker,
        masterpid=lambda: os.getpid() if master == HERE else master,
        numproc=processes,
        has_threads=threads,
    )
    monkeypatch.setitem(sys.modules, "uwsgi", found)


@pytest.mark.parametrize(("master", "processes"), [(HERE, 1), (0, 2)])
def test_uwsgi_is_refused_before_it_forks(
    cell: Cell, monkeypatch: pytest.MonkeyPatch, master: int, processes: int
) -> None:
    uwsgi(monkeypatch, worker=0, master=master, processes=processes)
    client = open_client(cell)
    with pytest.raises(ConfigError, match="has not forked its workers yet"):
        client.poll("x")
    uwsgi(monkeypatch, worker=1, master=1, processes=processes)
    with client:
        assert client.poll("x").state is State.FREE


@pytest.mark.parametrize(("worker", "master"), [(1, HERE), (2, 1), (0, 0), (0, 1)])
def test_uwsgi_takes_a_client_where_no_worker_is_forked_any_more(
    cell: Cell, monkeypatch: pytest.MonkeyPatch, worker: int, master: int
) -> None:
    """With --lazy-apps; in a worker; without processes; in a mule."""
    uwsgi(monkeypatch, worker=worker, master=master, processes=1)
    with open_client(cell) as client:
        assert client.poll("x").state is State.FREE


def test_uwsgi_without_threads_is_warned_of(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    uwsgi(monkeypatch, worker=1, master=1, processes=1, threads=0)
    client = open_client(cell)
    with pytest.warns(RuntimeWarning, match="--enable-threads"):
        client.poll("x")
    client.close()
