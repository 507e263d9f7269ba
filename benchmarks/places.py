"""Where the processes of a measurement run: all on loopback, or each in a network of its own, far away.

A far place is a network namespace whose only way out is a TUN device; ``benchmarks.relay`` carries the
packets between those devices, late, and loses some. So TCP and UDP meet the same network. It needs root and
iproute2, and changes nothing outside of namespaces that have a name of this process.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from benchmarks.machine import LOOPBACK, find_program
from benchmarks.processes import PYTHON, ROOT, STOP_PATIENCE_S, Failed

__all__ = ["Alone", "Distance", "FarPlaces", "Here", "Places", "missing"]

TUN = Path("/dev/net/tun")
SET_INTERFACE = 0x400454CA  #: TUNSETIFF of the kernel
BARE_PACKETS = 0x0001 | 0x1000  #: IFF_TUN, IFF_NO_PI


class Here:
    """One network for all: loopback of this host."""

    round_trip = 0.0  #: seconds between two places

    def address(self, number: int) -> str:
        """The address of a place."""
        return LOOPBACK

    def command(self, number: int, words: Sequence[str]) -> list[str]:
        """The command line by which a command is run at a place."""
        return list(words)


class Alone(Here):
    """One network for all, a loopback on which nobody else is: what is sent there can be counted.

    A context manager: it is gone at its end.
    """

    def __init__(self) -> None:
        self._space = f"bench{os.getpid()}"

    def command(self, number: int, words: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self._space, *words]

    def __enter__(self) -> Self:
        _ip("netns", "add", self._space)
        _ip("-n", self._space, "link", "set", "lo", "up")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _ip("netns", "del", self._space)


@attrs.frozen
class Distance:
    """How far each two places are apart, for every packet. Seconds; ``loss`` is a share of packets.

    ``jitter`` is the mean of what a packet takes longer, one way; no packet overtakes another on its way.
    """

    round_trip: float
    jitter: float
    loss: float


class FarPlaces(Here):
    """So many places, each two of them ``distance`` apart. A context manager: it is all gone at its end."""

    def __init__(self, count: int, distance: Distance) -> None:
        self._count = count
        self._distance = distance
        self.round_trip = distance.round_trip
        self._name = f"bench{os.getpid()}"
        self._stack = ExitStack()

    def address(self, number: int) -> str:
        return f"10.75.{number + 1}.1"

    def command(self, number: int, words: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", f"{self._name}-{number}", *words]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            devices = {self.address(number): self._place(number, stack) for number in range(self._count)}
            specification = json.dumps({"devices": devices, **attrs.asdict(self._distance)})
            relay = subprocess.Popen(
                [PYTHON, "-m", "benchmarks.relay", specification],
                cwd=ROOT,
                pass_fds=list(devices.values()),
            )
            stack.callback(relay.wait, STOP_PATIENCE_S)
            stack.callback(relay.kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _place(self, number: int, stack: ExitStack) -> int:
        """Make a namespace with a device; its end here, as a file descriptor."""
        space, device = f"{self._name}-{number}", f"tun{os.getpid() % 100_000}.{number}"
        _ip("netns", "add", space)
        stack.callback(_ip, "netns", "del", space)
        end = os.open(TUN, os.O_RDWR)
        stack.callback(os.close, end)
        fcntl.ioctl(end, SET_INTERFACE, struct.pack("16sH", device.encode(), BARE_PACKETS))
        _ip("link", "set", device, "netns", space)
        _ip("-n", space, "addr", "add", f"{self.address(number)}/16", "dev", device)
        _ip("-n", space, "link", "set", device, "up")
        _ip("-n", space, "link", "set", "lo", "up")
        return end


Places = Here


def missing() -> list[str]:
    """What far places need and this machine, or this user, has not."""
    wanted = [] if find_program("ip") else ["iproute2 (Debian)"]
    return (
        wanted
        if os.access(TUN, os.R_OK | os.W_OK) and os.geteuid() == 0
        else [*wanted, "a TUN device, and root"]
    )


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"ip {' '.join(words)}: {done.stderr.strip()}")
