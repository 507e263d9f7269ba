"""``python -m benchmarks.flood``: pairs of acquire and release of a client while junk arrives at the nodes.

Each rate is played with the filter of the kernel and without it, with random bytes, and with datagrams that
name the right cell (which the filter must let pass). The sender of the junk is pinned to the last core; the
nodes and the client share the others, so what changes is what the nodes must do about the junk.
"""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import paxlock
from benchmarks.holding import cpu_of, node_processes
from paxlock.blocking import open_client
from paxlock.errors import NotAcquired
from paxlock.wire.header import NO_CELL, VERSION
from paxlock.wire.transport import split_address

JUNK_BYTES = 200
DIFFERENT = 256
BATCH_S = 0.001
TTL_S = 5.0

#: ``paxlock`` whose nodes leave the sockets as they are.
UNFILTERED = """
import sys
import paxlock.node.server
paxlock.node.server.keep_junk_away = lambda transport, cell_id: False
from paxlock.cli import main
sys.exit(main())
"""


def junk(cell_id: bytes) -> list[bytes]:
    """Random bytes; or, with a cell, those of a session there, with a seal that nobody has made."""
    if cell_id == NO_CELL:
        return [secrets.token_bytes(JUNK_BYTES) for _ in range(DIFFERENT)]
    start = bytes((VERSION, 1, 1)) + cell_id
    return [start + secrets.token_bytes(JUNK_BYTES - len(start)) for _ in range(DIFFERENT)]


def send(rate: float, cell_id: bytes, addresses: list[tuple[str, int]], core: int) -> None:
    """Send so many a second, in turn to all of these, until stdin ends. Says how many it sent a second."""
    os.sched_setaffinity(0, {core})
    datagrams = junk(cell_id)
    os.set_blocking(0, False)
    print("ready", flush=True)
    sent, began = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        while True:
            due = int((time.monotonic() - began) * rate)
            while sent < due:
                sock.sendto(datagrams[sent % DIFFERENT], addresses[sent % len(addresses)])
                sent += 1
                if not sent & 0xFF and due - sent > rate:
                    break  # it cannot be sent so fast
            time.sleep(BATCH_S)
            try:
                if not os.read(0, 1):
                    break
            except BlockingIOError:
                continue
    print(f"{sent / (time.monotonic() - began):.0f}", flush=True)


@contextmanager
def flooded(rate: float, cell: paxlock.Cell, core: int, *, aimed: bool) -> Iterator[list[float]]:
    """Junk arrives within the block; afterwards the list has how much a second."""
    found: list[float] = []
    if not rate:
        yield found
        return
    addresses = [member.address for member in cell.members]
    cell_id = cell.cell_id if aimed else NO_CELL
    command = [sys.executable, "-m", "benchmarks.flood", "--send", str(rate), str(core), cell_id.hex()]
    command += addresses
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        try:
            assert sender.stdout.readline() == "ready\n"
            yield found
            said, _ = sender.communicate(timeout=30)
            found.append(float(said))
        finally:
            sender.kill()


def pairs(cell: paxlock.Cell, seconds: float) -> tuple[float, float]:
    """Pairs a second of one client, and the longest one, in seconds."""
    done, longest = 0, 0.0
    with open_client(cell) as client:
        with client.lock("warm", ttl=TTL_S):
            pass
        end = time.monotonic() + seconds
        while (begin := time.monotonic()) < end:
            try:
                with client.lock("pair", ttl=TTL_S, wait=TTL_S):
                    pass
                done += 1
            except NotAcquired:
                pass
            longest = max(longest, time.monotonic() - begin)
    return done / seconds, longest


def play(rates: list[float], seconds: float, core: int) -> None:
    """Print a line for each. The junk comes from this core."""
    print(
        f"{'junk':>8} {'a second':>9} {'filter':>7} {'pairs/s':>8} {'longest ms':>11} {'cores of nodes':>15}"
    )
    for filtered in (True, False):
        program = ("-m", "paxlock") if filtered else ("-c", UNFILTERED)
        with node_processes(program=program) as (cell, nodes):
            for rate in rates:
                for aimed in (False, True) if rate else (False,):
                    with flooded(rate, cell, core, aimed=aimed) as sent:
                        before, began = sum(map(cpu_of, nodes)), time.monotonic()
                        found, longest = pairs(cell, seconds)
                        cores = (sum(map(cpu_of, nodes)) - before) / (time.monotonic() - began)
                    kind = ("aimed" if aimed else "random") if rate else "none"
                    row = (kind, f"{sent[0] if sent else 0.0:.0f}", "yes" if filtered else "no")
                    figures = (f"{found:.0f}", f"{1000 * longest:.1f}", f"{cores:.2f}")
                    print(" ".join(f"{word:>14}" for word in (*row, *figures)), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flood", description=__doc__.split("\n")[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[0, 10_000, 50_000], metavar="R")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="for each")
    parser.add_argument("--send", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if options.send:
        rate, core, cell_id, *addresses = options.send
        send(float(rate), bytes.fromhex(cell_id), [split_address(one) for one in addresses], int(core))
        return 0
    if len(cores) > 1:
        os.sched_setaffinity(0, set(cores[:-1]))
    play(options.rates, options.seconds, cores[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
