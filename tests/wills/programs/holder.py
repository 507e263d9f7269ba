"""``holder.py FACE CELLFILE NAME HOW``: takes a lease with a last will, says so, and waits to be killed.

It prints ``held TERM``, then what HOW has to say, each in one line.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable

import trio

import paxlock
import paxlock.aio
import paxlock.blocking

TTL_S = 10.0


def say(*words: object) -> None:
    print(*words, flush=True)


def just_wait() -> None:
    pass


def a_fork_lives_on() -> None:
    """The child stays for good, and closes nothing."""
    say("forked", fork_for_good())


def fork_for_good() -> int:
    pid = os.fork()
    if not pid:
        while True:
            signal.pause()
    return pid


def a_daemon_closes_all() -> None:
    """The child closes every descriptor that it has."""
    pid = os.fork()
    if not pid:
        os.closerange(3, 4096)
        while True:
            signal.pause()
    say("forked", pid)


def closes_all() -> None:
    """Once it is told to, the holder closes its end of the channel, as one that closes all would."""
    signal.sigwait({signal.SIGUSR1})
    for fd in range(3, 4096):
        try:
            found = socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
        if found.family == socket.AF_UNIX and found.type == socket.SOCK_SEQPACKET:
            os.close(fd)
        found.close()
    say("closed")


def dies() -> None:
    """In the moment in which it is told that it holds."""
    os.kill(os.getpid(), signal.SIGKILL)


HOWS: dict[str, Callable[[], None]] = {
    "dies": dies,
    "just_wait": just_wait,
    "a_fork_lives_on": a_fork_lives_on,
    "a_daemon_closes_all": a_daemon_closes_all,
    "closes_all": closes_all,
}


def kept(how: str) -> float:
    """How many seconds the name is wanted at least."""
    return TTL_S if how == "kept" else 0.0


async def in_trio(cell: str, name: str, how: str) -> None:
    async with (
        paxlock.open_client(cell, last_will=True) as client,
        client.lock(name, ttl=TTL_S, at_least=kept(how)) as held,
    ):
        say("held", held.term)
        if how == "shows":
            say(held.handle)
        elif how in HOWS:
            HOWS[how]()
        if how != "leaves":
            await trio.sleep_forever()


async def in_asyncio(cell: str, name: str, how: str) -> None:
    async with (
        paxlock.aio.open_client(cell, last_will=True) as client,
        client.lock(name, ttl=TTL_S, at_least=kept(how)) as held,
    ):
        say("held", held.term)
        if how == "shows":
            say(held.handle)
        elif how in HOWS:
            HOWS[how]()
        if how != "leaves":
            await asyncio.get_running_loop().create_future()


def in_a_thread(cell: str, name: str, how: str) -> None:
    with (
        paxlock.blocking.open_client(cell, last_will=True) as client,
        client.lock(name, ttl=TTL_S, at_least=kept(how)) as held,
    ):
        say("held", held.term)
        if how == "shows":
            say(held.handle)
        elif how in HOWS:
            HOWS[how]()
        while how != "leaves":
            time.sleep(60.0)


def main(face: str, cell: str, name: str, how: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    if how == "double_fork":  # as a server does that becomes a daemon
        for _ in range(2):
            if os.fork():
                os._exit(0)
            os.setsid()
        say(os.getpid())
    if face == "trio":
        trio.run(in_trio, cell, name, how)
    elif face == "asyncio":
        asyncio.run(in_asyncio(cell, name, how))
    else:
        in_a_thread(cell, name, how)


if __name__ == "__main__":
    main(*sys.argv[1:])
