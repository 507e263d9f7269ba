"""A Celery application whose tasks take a lock; the broker is a folder."""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery

from paxlock.blocking import open_client

client = open_client(os.environ["PAXLOCK_CELL"])
app = Celery("prefork", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "messages",
    "data_folder_out": "messages",
    "control_folder": "control",
}
app.conf.worker_hijack_root_logger = False
app.conf.broker_connection_retry_on_startup = False
if os.environ.get("USED_IN_THE_MASTER"):
    client.poll("task")


@app.task(name="work")  # type: ignore[untyped-decorator, unused-ignore]
def work() -> None:
    with client.lock("task", ttl=10.0) as held:
        inside = Path("inside")
        inside.touch(exist_ok=False)
        inside.unlink()
        term = held.term
    print(f"task of {os.getpid()} had term {term}.", flush=True)
