"""Carries IPv4 packets between TUN devices: late, in the order of their way, and not all of them.

``python -m benchmarks.relay SPECIFICATION``, a process of its own, started by places.py.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import socket
import sys
import time
from collections.abc import Mapping

PACKET_MAX = 65_536
SOURCE, DESTINATION = slice(12, 16), slice(16, 20)  #: of the header of an IPv4 packet


class Network:
    """The packets that are under way. ``devices`` by the addresses of their hosts, four bytes each."""

    def __init__(
        self,
        devices: Mapping[bytes, int],
        round_trip: float,
        jitter: float,
        loss: float,
        seed: int | None = None,
    ) -> None:
        self._devices = devices
        self._one_way, self._jitter, self._loss = round_trip / 2.0, jitter, loss
        self._draw = random.Random(seed)
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._last: dict[bytes, float] = {}  #: by way: when its last packet arrives
        self._taken = 0

    def take(self, packet: bytes, now: float) -> None:
        """A packet has come out of a device."""
        device = self._devices.get(packet[DESTINATION])
        if packet[:1] < b"\x40" or packet[:1] > b"\x4f" or device is None or self._draw.random() < self._loss:
            return
        later = self._draw.expovariate(1.0 / self._jitter) if self._jitter else 0.0
        way = packet[SOURCE] + packet[DESTINATION]
        arrives = self._last[way] = max(self._last.get(way, 0.0), now + self._one_way + later)
        self._taken += 1
        heapq.heappush(self._under_way, (arrives, self._taken, device, packet))

    def arrived(self, now: float) -> list[tuple[int, bytes]]:
        """The packets that are due, with the device of each."""
        due = []
        while self._under_way and self._under_way[0][0] <= now:
            _, _, device, packet = heapq.heappop(self._under_way)
            due.append((device, packet))
        return due

    def wait(self, now: float) -> float | None:
        """Seconds until the next packet arrives; None where none is under way."""
        return max(0.0, self._under_way[0][0] - now) if self._under_way else None


def main() -> None:
    specification = json.loads(sys.argv[1])
    devices = {socket.inet_aton(address): fd for address, fd in specification.pop("devices").items()}
    network = Network(devices, **specification)
    for fd in devices.values():
        os.set_blocking(fd, False)
    while True:
        ready, _, _ = select.select(list(devices.values()), [], [], network.wait(time.monotonic()))
        for fd in ready:
            try:
                network.take(os.read(fd, PACKET_MAX), time.monotonic())
            except BlockingIOError:
                continue
        for fd, packet in network.arrived(time.monotonic()):
            try:
                os.write(fd, packet)
            except (BlockingIOError, OSError):
                continue  # a full queue, or a host that is gone: lost


if __name__ == "__main__":
    main()
