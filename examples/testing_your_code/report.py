"""A nightly report, which one of several machines makes; its tests are in test_report.py.

The work stops when the lease is lost, nothing half-done is published, and the store refuses the late write of
a machine that was frozen meanwhile.
"""

from pathlib import Path

import trio

import paxlock

NAME = "nightly-report"
TTL = 15.0  # seconds: how long a machine that has died stands in the way of the next one
PAGES = 5
PAGE_TIME = 60.0


class StaleTerm(Exception):
    """Somebody with a later fencing token is at work already."""


class Store:
    """Stands for your database: it remembers the highest fencing token, and refuses older ones."""

    def __init__(self) -> None:
        self.term = 0
        self.reports: dict[str, list[str]] = {}

    def fence(self, term: int) -> None:
        if term < self.term:
            raise StaleTerm(f"term {term} is too old: term {self.term} is at work")
        self.term = term

    async def publish(self, day: str, pages: list[str], *, term: int) -> None:
        await trio.sleep(0.1)
        self.fence(term)
        self.reports[day] = pages


async def make_report(held: paxlock.HeldLease, store: Store, day: str) -> None:
    """What only the holder does. Cancelled when the lease is lost."""
    store.fence(held.term)  # from now on nobody with an older token can write
    if day in store.reports:
        return
    pages = []
    for number in range(1, PAGES + 1):
        await trio.sleep(PAGE_TIME)  # stands for the work
        pages.append(f"page {number}")
    held.check()  # before what cannot be undone
    await store.publish(day, pages, term=held.term)


async def take_part(cell: paxlock.Cell | Path, store: Store, day: str) -> None:
    """One machine. It returns when the report is there, whoever has made it."""
    async with paxlock.open_client(cell) as client:
        await client.lead(NAME, make_report, store, day, ttl=TTL)
