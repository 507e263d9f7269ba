"""A WSGI application whose client is a global: gunicorn imports it in each worker."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from paxlock.blocking import open_client

client = open_client(os.environ["PAXLOCK_CELL"])


def app(environ: dict[str, str], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Do something under the lock, which must not be done by two, and tell who did it."""
    with client.lock("app", ttl=10.0) as held:
        inside = Path("inside")
        inside.touch(exist_ok=False)
        threads = sum(thread.name == "paxlock" for thread in threading.enumerate())
        inside.unlink()
        answer = {"pid": os.getpid(), "term": held.term, "threads": threads}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]
