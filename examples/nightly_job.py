"""A job that must run once: a lock, and a fencing token that the database checks.

    python examples/nightly_job.py [CELLFILE]

The lock keeps two machines from running the job at the same time. The token is for the one case that no lock
can cover: a machine that was frozen in the middle of its work, wakes up after its lease has run out, and
goes on writing. The table below keeps the highest token it has seen, and refuses older ones.

Without a cell file the script runs a cell of its own, in memory.
"""

import sqlite3
import sys
import tempfile
from contextlib import AsyncExitStack, closing
from pathlib import Path

import trio

import paxlock

SCHEMA = "CREATE TABLE IF NOT EXISTS report (day TEXT PRIMARY KEY, body TEXT, term INTEGER NOT NULL)"

# One statement: the comparison and the write must not come apart.
STORE = """
    INSERT INTO report VALUES (:day, :body, :term)
    ON CONFLICT (day) DO UPDATE SET body = excluded.body, term = excluded.term
    WHERE excluded.term >= report.term
"""


class StaleTerm(Exception):
    """Somebody with a later fencing token has written already."""


def store(database: Path, day: str, body: str, term: int) -> None:
    """Write the report, unless a holder with a later term has written it."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(SCHEMA)
        if connection.execute(STORE, {"day": day, "body": body, "term": term}).rowcount == 0:
            raise StaleTerm(f"term {term} is too old")


async def nightly_job(client: paxlock.Client, database: Path, body: str) -> int:
    """Make the report under the lock; gives the term it was written with."""
    async with client.lock("nightly-report", ttl=5.0, wait=10.0) as held:
        held.check()  # raises LeaseLost if the lease ran out: before what cannot be undone
        await trio.to_thread.run_sync(store, database, "2031-05-01", body, held.term)
    return held.term


async def main() -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paxlock-")))
        database = folder / "reports.sqlite"
        cell = sys.argv[1] if len(sys.argv) > 1 else await stack.enter_async_context(paxlock.open_dev_cell())
        client = await stack.enter_async_context(paxlock.open_client(cell))

        first = await nightly_job(client, database, "made by the first machine")
        print(f"the first machine wrote with term {first}")
        second = await nightly_job(client, database, "made by the second machine")
        print(f"the second machine wrote with term {second}")
        try:
            # The first machine was frozen before its write, and knows nothing of the second.
            await trio.to_thread.run_sync(store, database, "2031-05-01", "a late write", first)
        except StaleTerm as error:
            print(f"the late write of the first machine was refused: {error}")


if __name__ == "__main__":
    trio.run(main)
