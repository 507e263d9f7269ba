"""Majorities: figures by hand. How votes are counted is in test_proposer.py; the properties have the twin."""

from __future__ import annotations

import pytest

from paxlock.core.quorum import blocking, majority


@pytest.mark.parametrize(
    ("nodes", "quorum", "blocks"),
    [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 3, 2), (5, 3, 3), (6, 4, 3), (7, 4, 4)],
)
def test_sizes(nodes: int, quorum: int, blocks: int) -> None:
    assert (majority(nodes), blocking(nodes)) == (quorum, blocks)
