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
    ConfigError,
    InternalError,
    LeaseLost,
    LossReason,
    NotAcquired,
    PaxlockError,
    Reason,
    StoreError,
)

if TYPE_CHECKING:
    from paxlock.changes import Change, Changes, Standing, State, Waiter
    from paxlock.client import Client, Statistics
    from paxlock.config import Cell, NodeConfig
    from paxlock.core.messages import Member, NodeMode
    from paxlock.core.notices import NodeStanding
    from paxlock.dev import open_dev_cell
    from paxlock.held import HeldLease, LeaseBlock
    from paxlock.node import Node, open_node
    from paxlock.opening import open_client
    from paxlock.service import serve_node

__version__ = "0.1.0"

__all__ = [
    "Cell",
    "Change",
    "Changes",
    "Client",
    "ConfigError",
    "HeldLease",
    "InternalError",
    "LeaseBlock",
    "LeaseLost",
    "LossReason",
    "Member",
    "Node",
    "NodeConfig",
    "NodeMode",
    "NodeStanding",
    "NotAcquired",
    "PaxlockError",
    "Reason",
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
    "Cell": "paxlock.config",
    "Change": "paxlock.changes",
    "Changes": "paxlock.changes",
    "Client": "paxlock.client",
    "HeldLease": "paxlock.held",
    "LeaseBlock": "paxlock.held",
    "Member": "paxlock.core.messages",
    "Node": "paxlock.node",
    "NodeConfig": "paxlock.config",
    "NodeMode": "paxlock.core.messages",
    "NodeStanding": "paxlock.core.notices",
    "Standing": "paxlock.changes",
    "State": "paxlock.changes",
    "Statistics": "paxlock.client",
    "Waiter": "paxlock.changes",
    "open_client": "paxlock.opening",
    "open_dev_cell": "paxlock.dev",
    "open_node": "paxlock.node",
    "serve_node": "paxlock.service",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'paxlock' has no attribute {name!r}")
    found: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
