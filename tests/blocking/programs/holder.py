"""``holder.py CELLFILE NAME HOW``: takes a lease, says so, and ends in one of many ways."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import paxlock
from paxlock.blocking import Client, HeldLease, open_client


def say(*words: object) -> None:
    print(*words, flush=True)


def wait() -> None:
    threading.Event().wait()


def ctrl_c_in_acquire(client: Client, name: str) -> None:
    try:
        say("waits")
        client.acquire(name)
    except KeyboardInterrupt:
        say("interrupted", client.poll(name).state.value)
        sys.exit(3)


def ctrl_c_in_a_block(client: Client, name: str) -> None:
    try:
        with client.lock(name) as held:
            say("held", held.term)
            wait()
    except KeyboardInterrupt:
        say("interrupted", client.poll(name).state.value)


def ends_with_a_lease(client: Client, name: str) -> None:
    say("held", client.acquire(name, ttl=30.0).term)


def ends_while_a_thread_works(client: Client, name: str) -> None:
    """Of a thread that is no daemon, and goes on when the main thread has ended."""
    go_on = threading.Event()

    def work() -> None:
        with client.lock(name, ttl=30.0) as held:
            go_on.set()
            threading.main_thread().join()
            client.poll(name)
            held.check()
            say("worked on", held.term)

    threading.Thread(target=work).start()
    go_on.wait()


def ends_while_an_executor_works(client: Client, name: str) -> None:
    def work() -> None:
        with client.lock(name, ttl=30.0) as held:
            held.check()
            say("worked", held.term)

    client.poll(name)
    executor = ThreadPoolExecutor(1)
    for _ in range(2):
        executor.submit(work)


def begins_too_late(client: Client, name: str) -> None:
    """From Python 3.12 on no thread can be started once the main thread has ended."""

    def work() -> None:
        threading.main_thread().join()
        try:
            say("holds", client.lock(name).__enter__().valid)
        except paxlock.ClosedError as error:
            say("refused", "the interpreter ends" in str(error))

    threading.Thread(target=work).start()


def ends_while_a_daemon_waits(client: Client, name: str) -> None:
    held = client.acquire(name, ttl=30.0)

    def wait_in_line() -> None:
        with suppress(paxlock.ClosedError):
            client.acquire(name)

    threading.Thread(target=wait_in_line, daemon=True).start()
    say("held", held.term)


def outcome(held: HeldLease) -> str:
    try:
        held.check()
    except paxlock.ClosedError as error:
        return "closed" if "fork" in str(error) else str(error)
    return "held"


def forks(client: Client, name: str) -> None:
    """A client without a block: the child begins anew with its first use."""
    held = client.acquire(name, ttl=30.0)
    with client.watch(name) as changes:
        stop = threading.Event()
        busy = [threading.Thread(target=keep_busy, args=(client, stop)) for _ in range(8)]
        for thread in busy:
            thread.start()
        child = os.fork()
        if child == 0:
            try:
                changes.receive()
            except paxlock.ClosedError:
                say("child watches nothing")
            say(
                "child", outcome(held), client.poll(name).label == f"{os.uname().nodename}:{os.getpid()}"[:64]
            )
            say("child sees", client.poll(name).state.value)
            with client.lock(f"{name}/child") as own:
                say("child holds", own.valid)
            sys.exit(0)  # unwinds, and ends as an interpreter does
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        stop.set()
        for thread in busy:
            thread.join()
        say("parent", outcome(held), client.poll(name).term == held.term, status)


def keep_busy(client: Client, stop: threading.Event) -> None:
    while not stop.is_set():
        with client.lock(f"busy {threading.get_ident()}"):
            pass


def forks_in_a_block(client: Client, name: str) -> None:
    with client, client.lock(name, ttl=30.0) as held:
        child = os.fork()
        if child == 0:
            for verb in (lambda: client.poll(name), lambda: client.acquire(name), client.statistics):
                try:
                    verb()
                except paxlock.ClosedError as error:
                    say("child", "fork" in str(error))
            sys.exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        held.check()
        say("parent", outcome(held), client.poll(name).term == held.term, status)


def in_child(client: Client, name: str) -> None:
    with client.lock(name) as held:
        say("child holds", held.valid)


def multiprocesses(client: Client, name: str) -> None:
    client.poll(name)
    process = multiprocessing.get_context("fork").Process(target=in_child, args=(client, name))
    process.start()
    process.join()
    say("parent", process.exitcode, client.poll(name).state.value)


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    globals()[how](the_client, name)


path, name, how = sys.argv[1:]
the_client = open_client(path)  # of the module, as in a server
main()
