"""A FastAPI application with a background task that runs on one replica only.

    PAXLOCK_CELL=cell.toml uvicorn --app-dir examples fastapi_lifespan:app --port 8000
    PAXLOCK_CELL=cell.toml uvicorn --app-dir examples fastapi_lifespan:app --port 8001

Every replica serves requests. The lifespan of each wants the name, and one gets it. A replica that is stopped
cancels its task, and releases: another takes over at once.
"""

import asyncio
import itertools
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

import paxlock.aio

TTL = 2.0  # seconds: how long the lease of a replica that was killed stands in the way


async def refresh_forever(held: paxlock.aio.HeldLease) -> None:
    """The work of one replica: cancelled when the lease is lost."""
    print(f"{os.getpid()} works with term {held.term}", flush=True)
    for _ in itertools.count():
        await asyncio.sleep(0.1)  # a piece of work


def tell_of_its_end(task: asyncio.Task[None]) -> None:
    """An error of the work ends its task, while the application goes on: without this nobody would hear of it
    before the application ends.
    """
    if not task.cancelled() and (error := task.exception()) is not None:
        logging.getLogger("uvicorn.error").error("the background task has ended", exc_info=error)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with paxlock.aio.open_client(os.environ["PAXLOCK_CELL"]) as client:
        app.state.client = client
        # A task: the application starts whether or not it will ever lead.
        task = asyncio.create_task(client.lead("refresh", refresh_forever, ttl=TTL))
        task.add_done_callback(tell_of_its_end)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])  # the work has ended, and the lease is released


app = FastAPI(lifespan=lifespan)


@app.get("/leader")
async def leader() -> dict[str, str | int]:
    """Which replica runs the task: for people, and for a health check."""
    standing = await app.state.client.poll("refresh")
    return {"state": standing.state.value, "leader": standing.label, "term": standing.term}
