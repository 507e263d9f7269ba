"""Who sends to us and cannot be understood, so that people can be told (protocol.md section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paxlock.core.value import value
from paxlock.wire.header import NodeSender

if TYPE_CHECKING:
    from paxlock.wire.header import Sender
    from paxlock.wire.transport import Address

__all__ = ["STRANGERS_MAX", "Stranger", "other_members", "other_version"]

STRANGERS_MAX = 16


@value
class Stranger:
    """Somebody of this cell and epoch whose configuration names other nodes (``members``; the seal is right),
    or somebody who speaks an older version of the protocol (anybody could say so).

    ``short`` is for a table, at most 64 bytes.
    """

    members: bool
    short: str
    explanation: str


def other_members(sender: Sender, address: Address) -> Stranger:
    """The cell file of this sender names other nodes."""
    who = f"node {sender.node_id!r}" if isinstance(sender, NodeSender) else "a client"
    return Stranger(
        True,
        f"{who} has other nodes in its cell file",
        f"{who} at {address[0]} port {address[1]} has other nodes in its cell file than this one: nothing is "
        "decided together; give the same cell file to every node and client",
    )


def other_version(version: int, ours: int, address: Address) -> Stranger:
    """This sender speaks an older version."""
    return Stranger(
        False,
        "",
        f"somebody at {address[0]} port {address[1]} speaks version {version} of paxlock's protocol, and "
        f"this is version {ours}: it gets no answer; bring every node and client to the same release",
    )
