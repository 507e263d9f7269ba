"""Majorities, and tallies of named voters (protocol.md section 1 and rule S10).

A tally counts the names of nodes, never messages: a datagram that the network repeats must not
become a second vote.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Tally", "Verdict", "blocking", "majority"]


def majority(nodes: int) -> int:
    """The size of a quorum in a cell of ``nodes`` nodes."""
    return nodes // 2 + 1


def blocking(nodes: int) -> int:
    """How many nodes meet every quorum: N - quorum + 1."""
    return nodes - majority(nodes) + 1


class Verdict(enum.Enum):
    PENDING = enum.auto()
    WON = enum.auto()  #: a quorum said yes
    LOST = enum.auto()  #: so many said no that no quorum can say yes any more


@attrs.define(eq=False)
class Tally:
    """Yes and no of the nodes of one configuration. The last word of a node counts; strangers do not."""

    nodes: frozenset[str]
    yes: set[str] = attrs.field(init=False, factory=set)
    no: set[str] = attrs.field(init=False, factory=set)

    def record(self, node: str, vote: bool) -> None:
        """Count the vote of one node; ignored where the node is not of this configuration."""
        if node not in self.nodes:
            return
        into, out_of = (self.yes, self.no) if vote else (self.no, self.yes)
        into.add(node)
        out_of.discard(node)

    def verdict(self, *, silent: Iterable[str] = ()) -> Verdict:
        """The state of the vote; ``silent`` nodes have been given up on and count as no."""
        if len(self.yes) >= majority(len(self.nodes)):
            return Verdict.WON
        lost = (self.no.union(silent) & self.nodes) - self.yes
        return Verdict.LOST if len(lost) >= blocking(len(self.nodes)) else Verdict.PENDING
