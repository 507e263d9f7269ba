"""Celery beat on several hosts, of which one runs:

    paxlock run beat --ttl 10s -- celery -A celery_beat beat

Two beats would send every task twice. This file knows nothing of paxlock: `paxlock run` starts beat once the
lease is held, and kills it before the lease can pass to another host. Workers need no lock: start as many as
you want.
"""

import os

from celery import Celery
from celery.signals import beat_init

app = Celery("celery_beat", broker=os.environ.get("BROKER_URL", "memory://"))
app.conf.beat_schedule = {"refresh": {"task": "refresh", "schedule": 1.0}}


@app.task(name="refresh")  # type: ignore[untyped-decorator, unused-ignore]
def refresh() -> None:
    """What the workers do each second."""


@beat_init.connect  # type: ignore[untyped-decorator, unused-ignore]
def tell(**_: object) -> None:
    print(f"{os.getpid()} works with term {os.environ.get('PAXLOCK_TERM', 'none')}", flush=True)


if __name__ == "__main__":
    app.start()
