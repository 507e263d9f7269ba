"""A worker without an event loop, of which many copies are started, and one works.

    PAXLOCK_CELL=cell.toml python examples/blocking_worker.py     # in two terminals

Kill the one that works: the other takes over within a ttl, with a higher term. End it with SIGTERM or Ctrl-C:
the other takes over at once.
"""

import os
import signal
import sys
import time
from types import FrameType

import paxlock.blocking

TTL = 2.0  # seconds: how long the lease of a copy that was killed stands in the way


def work(held: paxlock.blocking.HeldLease) -> None:
    """What one copy does. Nothing can end a thread from outside, so it looks before each piece of work."""
    print(f"{os.getpid()} works with term {held.term}", flush=True)
    while True:
        held.check()  # raises LeaseLost: then `lead` campaigns again
        time.sleep(0.1)  # a piece of work, shorter than the ttl


def stop(signum: int, frame: FrameType | None) -> None:
    """SIGTERM raises SystemExit in the main thread: the blocks unwind, and the lease is released."""
    print(f"{os.getpid()} stops", flush=True)
    sys.exit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, stop)
    with paxlock.blocking.open_client(os.environ["PAXLOCK_CELL"]) as client:
        client.lead("worker", work, ttl=TTL)


if __name__ == "__main__":
    main()
