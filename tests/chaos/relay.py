"""A UDP relay between all processes: it delays, reorders, repeats, drops, and cuts links one way or both.

A node is known to the cell by a *public* address, which is a socket of the relay; the node itself listens
elsewhere. A client has one socket of the relay too, as behind a NAT. So every receiver sees the address that
it expects, and the relay knows of every datagram who sent it and to whom.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from random import Random
from typing import TypeAlias

import attrs

__all__ = ["CALM", "Address", "Relay", "Weather", "udp_socket"]

Address: TypeAlias = tuple[str, int]
Link: TypeAlias = tuple[str, str]

DATAGRAM_MAX_BYTES = 2048
DRAIN_MAX_DATAGRAMS = 64
BUFFER_BYTES = 4 << 20
IDLE_S = 0.5
WELCOMED_MAX = 100


@attrs.frozen
class Weather:
    """What happens to datagrams; shares are probabilities.

    Each is delayed by at least ``delay`` seconds and up to ``spread`` more; a share ``tail`` waits another
    time that is exponentially distributed around ``tail_mean`` seconds.
    """

    delay: float = 0.0002
    spread: float = 0.0008
    tail: float = 0.01
    tail_mean: float = 0.02
    loss: float = 0.003
    repeat: float = 0.003

    def delays(self, rng: Random) -> list[float]:
        """When a datagram arrives: no time where it is lost, two where it is repeated."""
        if rng.random() < self.loss:
            return []
        copies = 2 if rng.random() < self.repeat else 1
        return [self._delay(rng) for _ in range(copies)]

    def _delay(self, rng: Random) -> float:
        late = rng.expovariate(1.0 / self.tail_mean) if rng.random() < self.tail else 0.0
        return self.delay + rng.random() * self.spread + late


CALM = Weather()


def udp_socket(address: Address) -> socket.socket:
    """A bound UDP socket that never blocks."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    sock.bind(address)
    return sock


class Relay:
    """The network of one cell, in a thread of its own.

    ``public`` and ``private`` are the addresses of the nodes: known to the cell, and really listened on.
    ``weather`` and ``blocked`` may be replaced at any time, from any thread.
    """

    def __init__(
        self, public: dict[str, Address], private: dict[str, Address], rng: Random, weather: Weather = CALM
    ) -> None:
        self.weather = weather
        self.blocked: frozenset[Link] = frozenset()
        self.counts: Counter[str] = Counter()
        self.busy_s = 0.0
        self.welcome: str | None = None  #: at which host whoever speaks first gets a socket; nobody if None
        self._rng = rng
        self._private = dict(private)  #: where each process really is
        self._names = {address: name for name, address in private.items()}
        self._sockets = {name: udp_socket(address) for name, address in public.items()}
        self._nodes = frozenset(public)
        self._waiting: list[tuple[float, int, socket.socket, bytes, Address]] = []
        self._order = itertools.count()
        self._welcomed: deque[str] = deque()
        self._newest: dict[Link, float] = {}
        self._orders: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wake, self._woken = socket.socketpair()
        # select() waits to the microsecond; epoll would round every delay up to a millisecond.
        self._selector = selectors.SelectSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        for name, sock in self._sockets.items():
            self._selector.register(sock, selectors.EVENT_READ, name)
        self._open = True
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def faces(self) -> dict[str, Address]:
        """Where the others see each node and client."""
        return {name: sock.getsockname() for name, sock in self._sockets.items()}

    def add_client(self, name: str, private: Address, beside: str) -> None:
        """Give a client at ``private`` its socket at the host ``beside``."""
        sock = udp_socket((beside, 0))
        self._order_up(lambda: self._add(name, private, sock))

    def remove_client(self, name: str) -> None:
        """A client is no more: what is still sent to it is dropped."""
        self._order_up(lambda: self._remove(name))

    def block(self, sources: Iterable[str], targets: Iterable[str]) -> None:
        """Drop everything from any of the sources to any of the targets, from now on."""
        self.blocked |= frozenset(itertools.product(sources, targets))

    def heal(self) -> None:
        """No link is cut any more, and the weather is calm."""
        self.blocked = frozenset()
        self.weather = CALM

    def close(self) -> None:
        """Stop the thread and close every socket. Closing again does nothing."""
        if not self._open:
            return
        self._order_up(self._end)
        if self._thread.is_alive():
            self._thread.join()
        self._open = False
        self._selector.close()
        for sock in (*self._sockets.values(), self._wake, self._woken):
            sock.close()

    # In the thread

    def _order_up(self, order: Callable[[], None]) -> None:
        self._orders.put(order)
        self._wake.send(b"x")

    def _add(self, name: str, private: Address, sock: socket.socket) -> None:
        self._private[name] = private
        self._names[private] = name
        self._sockets[name] = sock
        self._selector.register(sock, selectors.EVENT_READ, name)

    def _stranger(self, face: str, sender: Address) -> str | None:
        """Let a client in that nobody has announced; the oldest of too many has to speak first again."""
        if self.welcome is None or face not in self._nodes:
            return None
        if len(self._welcomed) >= WELCOMED_MAX:
            self._remove(self._welcomed.popleft())
        name = "{}:{}".format(*sender)
        self._add(name, sender, udp_socket((self.welcome, 0)))
        self._welcomed.append(name)
        return name

    def _end(self) -> None:
        self._open = False

    def _remove(self, name: str) -> None:
        sock = self._sockets.pop(name, None)
        if sock is not None:
            self._names.pop(self._private.pop(name), None)
            self._selector.unregister(sock)
            sock.close()

    def _run(self) -> None:
        while self._open:
            now = time.monotonic()
            wait = max(0.0, self._waiting[0][0] - now) if self._waiting else IDLE_S
            for key, _ in self._selector.select(wait):
                if key.data is None:
                    self._woken.recv(DATAGRAM_MAX_BYTES)
                    self._carry_out()
                elif isinstance(key.fileobj, socket.socket):
                    self._drain(key.data, key.fileobj)
            self._deliver(time.monotonic())
            self.busy_s = time.thread_time()

    def _carry_out(self) -> None:
        while not self._orders.empty():
            self._orders.get()()

    def _drain(self, face: str, sock: socket.socket) -> None:
        """Take what has come to the face that ``face`` shows to the others."""
        for _ in range(DRAIN_MAX_DATAGRAMS):
            try:
                datagram, sender = sock.recvfrom(DATAGRAM_MAX_BYTES)
            except OSError:  # nothing more, or the socket has just been closed
                return
            if sender not in self._names:
                self._carry_out()  # it may have been added a moment ago
            source = self._names.get(sender) or self._stranger(face, sender)
            if source is None or (face not in self._nodes and source not in self._nodes):
                self.counts["strangers"] += 1
                continue
            self._carry(source, face, datagram)

    def _carry(self, source: str, target: str, datagram: bytes) -> None:
        if (source, target) in self.blocked:
            self.counts["cut off"] += 1
            return
        delays = self.weather.delays(self._rng)
        self.counts["lost" if not delays else "repeated" if len(delays) > 1 else "plain"] += 1
        now = time.monotonic()
        for delay in delays:
            due = now + delay
            newest = self._newest.get((source, target), 0.0)
            self.counts["reordered"] += due < newest
            self._newest[source, target] = max(due, newest)
            if source not in self._sockets or target not in self._private:
                return  # a client that is no more
            entry = (due, next(self._order), self._sockets[source], datagram, self._private[target])
            heapq.heappush(self._waiting, entry)

    def _deliver(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now:
            _, _, sock, datagram, address = heapq.heappop(self._waiting)
            try:
                sock.sendto(datagram, address)
                self.counts["delivered"] += 1
            except OSError:  # as in any network, what cannot be sent is lost
                self.counts["undeliverable"] += 1
