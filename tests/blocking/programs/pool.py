"""``pool.py fork|spawn|forkserver``: processes of a parent that has used the client and holds a lease."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

from paxlock.blocking import open_client

client = open_client(os.environ["PAXLOCK_CELL"])


def work(_: int) -> tuple[int, int]:
    with client.lock("pool", ttl=10.0) as held:
        inside = Path("inside")
        inside.touch(exist_ok=False)
        inside.unlink()
        return os.getpid(), held.term


def main() -> None:
    held = client.acquire("parent", ttl=10.0)
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        found = pool.map(work, range(12), chunksize=1)
        pool.close()
        pool.join()
    held.check()
    assert client.poll("parent").term == held.term
    terms = {term for _, term in found}
    assert len(terms) == len(found)
    assert os.getpid() not in {pid for pid, _ in found}
    print("pool done", len({pid for pid, _ in found}), flush=True)
    client.close()


if __name__ == "__main__":
    main()
