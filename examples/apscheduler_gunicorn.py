"""APScheduler in gunicorn: all workers serve requests, one of them schedules.

    PAXLOCK_CELL=cell.toml gunicorn -c examples/apscheduler_gunicorn.py

This is a configuration file of gunicorn. The client below is made before the fork and used after it: each
worker opens its own session with its first use. Kill the worker that schedules: another one takes over within
a ttl.
"""

import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from apscheduler.schedulers.background import BackgroundScheduler

import paxlock.blocking

TTL = 2.0  # seconds: how long the lease of a worker that was killed stands in the way

chdir = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - gunicorn wants a string
wsgi_app = "apscheduler_gunicorn:app"
workers = 3

client = paxlock.blocking.open_client(os.environ["PAXLOCK_CELL"])  # opens nothing yet
stopping = threading.Event()
scheduling = threading.Lock()


def job(term: int) -> None:
    """What is to be done once, and not once per worker. ``term`` goes along with every write."""


def schedule(held: paxlock.blocking.HeldLease) -> None:
    """Schedule while the lease is held. The end of this function releases it: no job runs any more then."""
    with scheduling:
        scheduler = BackgroundScheduler()
        scheduler.add_job(job, "interval", seconds=1, args=[held.term])
        scheduler.start()
        print(f"{os.getpid()} works with term {held.term}", flush=True)
        try:
            while not stopping.wait(0.1):
                held.check()  # raises LeaseLost: then `lead` campaigns again
        finally:
            scheduler.shutdown()  # waits for the job that runs


def lead() -> None:
    with suppress(paxlock.ClosedError):  # the worker ends
        while not stopping.is_set():
            client.lead("scheduler", schedule, ttl=TTL)


def post_worker_init(worker: object) -> None:
    """Called by gunicorn in each worker, after the fork."""
    threading.Thread(target=lead, daemon=True).start()


def worker_exit(server: object, worker: object) -> None:
    """Called by gunicorn in each worker, at its end: hand over at once."""
    stopping.set()
    with scheduling:  # the scheduler has ended
        client.close()


def app(environ: dict[str, object], start_response: Callable[..., object]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served by any worker\n"]
