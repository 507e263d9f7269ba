"""The same, for ``--preload``: the master uses the client, and holds a lease, before it forks."""

from __future__ import annotations

import os

from tests.blocking.programs.prefork_lazy import app, client

held = client.acquire("master", ttl=10.0)
print(f"{os.getpid()} holds the lease of the master with term {held.term}", flush=True)

__all__ = ["app"]
