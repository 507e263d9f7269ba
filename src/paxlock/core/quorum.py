"""How many nodes decide (protocol.md section 1). Votes are counted where they are cast: in proposer.py, and
in ``Validity`` of lease.py.
"""

from __future__ import annotations

__all__ = ["blocking", "majority"]


def majority(nodes: int) -> int:
    """The size of a quorum in a cell of ``nodes`` nodes."""
    return nodes // 2 + 1


def blocking(nodes: int) -> int:
    """How many nodes meet every quorum: N - quorum + 1."""
    return nodes - majority(nodes) + 1
