"""What an endpoint remembers of those it talks to; filled only by datagrams that passed every check."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from paxlock.wire.keyring import ReplayWindow

if TYPE_CHECKING:
    from paxlock.wire.header import NodeSender
    from paxlock.wire.transport import Address

__all__ = ["RETIRED_RUNS_MAX", "NodeState", "Outbox", "SessionState"]

RETIRED_RUNS_MAX = 64


@attrs.define(eq=False)
class SessionState:
    """What a node keeps of a session that has proved its address."""

    address: Address
    issue: int
    echo: int
    window: ReplayWindow = attrs.field(factory=ReplayWindow)


@attrs.define(eq=False)
class NodeState:
    """What is kept of a node: its addresses, its newest run, and the newest cookie it issued to us."""

    addresses: tuple[Address, ...]
    address: Address
    issue: int
    echo: int = 0
    incarnation: int = 0
    run: bytes = b""
    retired: tuple[bytes, ...] = ()
    window: ReplayWindow = attrs.field(factory=ReplayWindow)
    last: Outbox | None = None

    def outdated(self, sender: NodeSender) -> bool:
        """Is this an earlier run than the newest one known?"""
        return sender.incarnation < self.incarnation or sender.run in self.retired

    def adopt(self, sender: NodeSender) -> None:
        """Take over a run that has proved itself; numbers begin anew with it."""
        if sender.incarnation == self.incarnation and sender.run == self.run:
            return
        # Of two runs with one incarnation (nodes without a disk), the one that was replaced stays replaced.
        same = sender.incarnation == self.incarnation
        self.retired = (*self.retired, self.run)[-RETIRED_RUNS_MAX:] if same and self.run else ()
        self.incarnation, self.run = sender.incarnation, sender.run
        self.window = ReplayWindow()


@attrs.define(eq=False)
class Outbox:
    """Encoded messages for one peer; ``padded`` where a Hello is among them."""

    messages: list[bytes] = attrs.field(factory=list)
    padded: bool = False
