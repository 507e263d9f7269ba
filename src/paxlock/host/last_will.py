"""The guardian of last wills, a tiny process beside a program: it tells the nodes that its holder is dead
(protocol.md section 11).

Run as a script with the arguments ``CHANNEL HOLDER``, two inherited descriptors: one end of a pair of
sockets, and a pidfd of the program. The module loads little of the standard library and nothing of paxlock.
The supervisor of ``paxlock run`` has a `LastWill` of its own.

The datagrams that it sends were sealed by the program: it has no key. It sends them when the pidfd says that
the program is dead *and* the channel, whose other end every fork of the program has inherited, is at its end.
A program that lives on without the channel has no will any more.

Each datagram of the channel is one line:

======================================  ==============================================================
``client N MS``, with sockets           client ``N`` sends from these; no lease of it outlives ``MS``
``will N PAGE AT PORT HOST HEX...``     from now on these, in the place of those of this page and node
``gone N``                              nothing of client ``N`` is to be sent any more
``sync K``                              answered with ``synced K``, once all before it is taken over
``end``                                 the program needs no guardian any more
======================================  ==============================================================

The first line that it says itself is ``guardian PID STARTED``.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress

#: How long after its beginning each round of sending begins, in seconds: what is lost is sent again.
ROUNDS_S = (0.0, 0.02, 0.08, 0.25, 0.6)
SENDING_MAX_S = 2.0  #: all rounds together
FULL_PATIENCE_MS = 50  #: for a socket whose buffer is full
DYING_TICK_MS = 20
DYING_S = 2.0  #: the descriptors of a process are closed before it is dead: so long it may take
LINE_MAX_BYTES = 65_536
SOCKETS_MAX = 8
FIRST_FD_ABOVE_STDIO = 3

IGNORED_SIGNALS = ("SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM", "SIGTSTP", "SIGPIPE", "SIGUSR1", "SIGUSR2")


class LastWill:
    """What is to be sent, and whether it may be: once the process is dead and all its forks are.

    Datagrams are sent in the order in which they were deposited, which is that of their numbers.
    """

    def __init__(self) -> None:
        self.process_dead = False
        self.pipe_ended = False
        self._deposits: dict[tuple[int, int, int], tuple[tuple[str, int], tuple[bytes, ...]]] = {}

    def deposit(
        self, client: int, page: int, at: int, address: tuple[str, int], datagrams: tuple[bytes, ...]
    ) -> None:
        """These take the place of those of the same client, page and number ``at`` of a node."""
        self._deposits.pop((client, page, at), None)
        if datagrams:
            self._deposits[client, page, at] = address, datagrams

    def revoke(self, client: int) -> None:
        """Nothing of this client is to be sent."""
        for key in [key for key in self._deposits if key[0] == client]:
            del self._deposits[key]

    def due(self) -> list[tuple[int, tuple[str, int], bytes]]:
        """All datagrams, with client and address; none while the process or a fork of it may live."""
        if not (self.process_dead and self.pipe_ended):
            return []
        return [
            (client, address, datagram)
            for (client, _, _), (address, datagrams) in self._deposits.items()
            for datagram in datagrams
        ]


def will_words(
    client: int, page: int, at: int, address: tuple[str, int], datagrams: tuple[bytes, ...]
) -> str:
    """The line of a deposit. ``obey_will`` reads it."""
    host, port = address
    return " ".join(map(str, ["will", client, page, at, port, host, *map(bytes.hex, datagrams)]))


def obey_will(will: LastWill, words: list[bytes]) -> None:
    """Take over what a line says that begins with ``will``. Raises ValueError for one that makes no sense."""
    client, page, at, port = map(int, words[1:5])
    host = words[5].decode("ascii") if len(words) > 5 else ""
    if not host:
        raise ValueError("a will without an address")
    will.deposit(client, page, at, (host, port), tuple(bytes.fromhex(word.decode()) for word in words[6:]))


def carry_out(will: LastWill, sockets: dict[int, list[socket.socket]]) -> None:
    """Send what is due, several times, within SENDING_MAX_S. Raises nothing: what cannot be sent runs out."""
    begin = time.monotonic()
    for after in ROUNDS_S:
        due = will.due()
        if not due:
            return
        time.sleep(max(0.0, begin + after - time.monotonic()))
        for client, address, datagram in due:
            if time.monotonic() > begin + SENDING_MAX_S:
                return
            send_one(sockets.get(client, []), address, datagram)


def send_one(sockets: list[socket.socket], address: tuple[str, int], datagram: bytes) -> None:
    """Send by the socket of the right family, from the address that the cookie was issued to."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    for sock in sockets:
        if sock.family != family:
            continue
        try:
            try:
                sock.sendto(datagram, socket.MSG_DONTWAIT, address)
            except BlockingIOError:
                poller = select.poll()
                poller.register(sock, select.POLLOUT)
                poller.poll(FULL_PATIENCE_MS)
                sock.sendto(datagram, socket.MSG_DONTWAIT, address)
        except OSError:
            return
        return


def started_at(pid: int) -> int:
    """When this process was started, in the clock ticks of ``/proc``; 0 if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib takes long to import
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


class Vigil:
    """What the guardian does until its time has come: takes deposits, and watches."""

    def __init__(self, channel: socket.socket, holder: int) -> None:
        self.will = LastWill()
        self._channel = channel
        self._holder = holder
        self._sockets: dict[int, list[socket.socket]] = {}
        self._longest_s = 0.0
        self._over = False

    def watch(self) -> None:
        """Take deposits until the program and its forks are dead; then carry out its will."""
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        poller.register(self._holder, select.POLLIN)
        until: float | None = None
        while not self._over and not (self.will.process_dead and self.will.pipe_ended):
            # While it dies, look again and again: not every kernel wakes who waits for it at once.
            ready = [fd for fd, _ in poller.poll(None if until is None else DYING_TICK_MS)]
            if not ready and until is not None and time.monotonic() >= until:
                return  # it goes on without us; or a fork does, and by now all has run out
            if self._channel.fileno() in ready:
                self._hear()
                if self.will.pipe_ended:
                    poller.unregister(self._channel)
                    until = until or time.monotonic() + DYING_S
            if self._holder in ready:
                poller.unregister(self._holder)
                self.will.process_dead = True
                until = time.monotonic() + self._longest_s
        if not self._over:
            carry_out(self.will, self._sockets)

    def _hear(self) -> None:
        """One datagram of the channel, or its end."""
        try:
            line, fds, _, _ = socket.recv_fds(self._channel, LINE_MAX_BYTES, SOCKETS_MAX)
        except (BlockingIOError, ConnectionResetError):
            # A reset is told once, and ahead of what is left to hear: the program has ended without reading
            # what we had said, as a killed one does.
            return
        except OSError:
            line, fds = b"", []
        if not line:
            self.will.pipe_ended = True
            return
        try:
            self._obey(line.split(), fds)
        except ValueError:
            return

    def _obey(self, words: list[bytes], fds: list[int]) -> None:
        match words:
            case [b"client", client, longest_ms]:
                self._sockets[int(client)] = [socket.socket(fileno=fd) for fd in fds]
                self._longest_s = max(self._longest_s, int(longest_ms) / 1000.0)
            case [b"will", *_]:
                obey_will(self.will, words)
            case [b"gone", client]:
                self.will.revoke(int(client))
                for sock in self._sockets.pop(int(client), []):
                    sock.close()
            case [b"sync", number]:
                with suppress(OSError):  # who asked is dead
                    self._channel.send(b"synced " + number)
            case [b"end"]:
                self._over = True
            case _:
                return


def stand_apart(keep: tuple[int, ...]) -> None:
    """Keep nothing open that is not needed, above all no stdio: a pipeline must end with its program."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(FIRST_FD_ABOVE_STDIO):
        os.dup2(null, fd)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        fd = int(name)
        if fd >= FIRST_FD_ABOVE_STDIO and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                continue  # the descriptor that listed the folder


def main(arguments: list[str]) -> None:
    """Become a process that is nobody's child, and stay until the program is dead."""
    channel, holder = int(arguments[0]), int(arguments[1])
    for name in IGNORED_SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    stand_apart((channel, holder))
    for fd in (channel, holder):
        os.set_inheritable(fd, False)
    link = socket.socket(fileno=channel)
    # The program waits for its children as it likes: one that never ends before it would not be understood.
    pid = os.fork()
    if pid:
        try:
            link.send(f"guardian {pid} {started_at(pid)}".encode())
        finally:
            os._exit(0)
    try:
        Vigil(link, holder).watch()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
