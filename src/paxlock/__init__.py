"""Leader election and locks for Python programs, with no coordination server to run.

Three copies of a program, or three small ``paxlock serve`` processes, are the service::

    async with paxlock.open_client("cell.toml") as client:
        async with client.lock("nightly-report", ttl=10.0, wait=5.0) as held:
            await upload(report, token=held.term)

Promised: at most one valid holder per name, by the holder's own clock; losing the lease cancels the block
before anyone else can get it; the fencing token ``held.term`` only grows; a minority of dead nodes causes no
pause. Not promised: anything about a machine that is frozen from outside and cannot know it. There only the
fencing token protects, if what the lease protects refuses older tokens.

Everything named here is public and kept stable; everything else may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from paxlock.errors import (
    BusyError,
    ClosedError,
    ConfigError,
    InternalError,
    LeaseLost,
    LossReason,
    NotAcquired,
    NotAllowed,
    PaxlockError,
    Reason,
    StaleToken,
    StoreError,
)

if TYPE_CHECKING:
    from paxlock.client.changes import Changes
    from paxlock.client.client import Client, Statistics
    from paxlock.client.lease import HeldLease, LeaseBlock
    from paxlock.client.opening import open_client
    from paxlock.client.standing import Change, Standing, State, Waiter
    from paxlock.config.cell import Cell, NodeConfig
    from paxlock.core.messages import Member, NodeMode
    from paxlock.core.session.events import NodeCounters, NodeJournal, NodePing, NodeStanding
    from paxlock.node.dev_cell import open_dev_cell
    from paxlock.node.embedded import Node, open_node
    from paxlock.node.server import serve_node

__version__ = "0.1.0"

__all__ = [
    "BusyError",
    "Cell",
    "Change",
    "Changes",
    "Client",
    "ClosedError",
    "ConfigError",
    "HeldLease",
    "InternalError",
    "LeaseBlock",
    "LeaseLost",
    "LossReason",
    "Member",
    "Node",
    "NodeConfig",
    "NodeCounters",
    "NodeJournal",
    "NodeMode",
    "NodePing",
    "NodeStanding",
    "NotAcquired",
    "NotAllowed",
    "PaxlockError",
    "Reason",
    "StaleToken",
    "Standing",
    "State",
    "Statistics",
    "StoreError",
    "Waiter",
    "open_client",
    "open_dev_cell",
    "open_node",
    "serve_node",
]

# trio and cryptography take a while to load: who only asks for the version should not wait for them.
_LAZY = {
    "Cell": "paxlock.config.cell",
    "Change": "paxlock.client.standing",
    "Changes": "paxlock.client.changes",
    "Client": "paxlock.client.client",
    "HeldLease": "paxlock.client.lease",
    "LeaseBlock": "paxlock.client.lease",
    "Member": "paxlock.core.messages",
    "Node": "paxlock.node.embedded",
    "NodeConfig": "paxlock.config.cell",
    "NodeMode": "paxlock.core.messages",
    "NodeCounters": "paxlock.core.session.events",
    "NodeJournal": "paxlock.core.session.events",
    "NodePing": "paxlock.core.session.events",
    "NodeStanding": "paxlock.core.session.events",
    "Standing": "paxlock.client.standing",
    "State": "paxlock.client.standing",
    "Statistics": "paxlock.client.client",
    "Waiter": "paxlock.client.standing",
    "open_client": "paxlock.client.opening",
    "open_dev_cell": "paxlock.node.dev_cell",
    "open_node": "paxlock.node.embedded",
    "serve_node": "paxlock.node.server",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'paxlock' has no attribute {name!r}")
    found: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
