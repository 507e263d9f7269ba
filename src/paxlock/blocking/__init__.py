"""Leases for programs without an event loop: the same verbs, errors and semantics, in blocking words.

with paxlock.blocking.open_client("cell.toml") as client:
    with client.lock("nightly-report", ttl=10.0, wait=5.0) as held:
        upload(report, token=held.term)
"""

from paxlock.blocking.changes import Changes
from paxlock.blocking.client import Client, open_client
from paxlock.blocking.lease import HeldLease, LeaseBlock
from paxlock.blocking.node import Node, open_node

__all__ = ["Changes", "Client", "HeldLease", "LeaseBlock", "Node", "open_client", "open_node"]
